"""Whatever befalls a save, a power failure included, the folder holds the old state or the new one.

The first half shows that the harness finds every kind of carelessness; the second lets it loose on nameplate-model.
Savers run in programs of their own, which fork a process for each fault: the process of the tests has threads.
"""

import json
import os
import platform
import subprocess
import sys
import threading
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from nameplate_conformance import ConformanceError
from nameplate_conformance.faults import FAULTS, POWER_LOSS, sweep, unsupported
from nameplate_conformance.faults.signatures import SIGNATURES
from nameplate_conformance.faults.transitions import TRANSITIONS

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")

FOLDER = Path(__file__).parent
ENGINES = ("traced", "patched")
POINTS = 4
"""At how many changes of a save each fault befalls it; of eighteen transitions, that makes some 470 runs."""


def environment() -> dict[str, str]:
    """Return the environment of the programs: without the Hub, and with files in memory where that is easy to have.

    What an fsync does to a disk is not looked at, only that it is asked for and may fail.
    """
    memory = {"TMPDIR": "/dev/shm"} if os.access("/dev/shm", os.W_OK) else {}  # noqa: S108
    return {**os.environ, "HF_HUB_OFFLINE": "1", **memory}


def run(*arguments: str | Path) -> str:
    """Run a program to its end and return what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment(), check=False, cwd=FOLDER
    )
    assert not done.returncode, done.stderr
    return done.stdout


@cache
def why_untraced() -> str:
    """Return why system calls cannot be traced here, or an empty text if they can."""
    return run("-c", "from nameplate_conformance.faults import unsupported; print(unsupported() or '', end='')")


def require_engine(engine: str) -> None:
    """Skip a test of the engine that this machine forbids; the other one runs in any case."""
    if engine == "traced" and why_untraced():
        pytest.skip(f"{why_untraced()}; the same is tested with the portable engine")


@cache
def swept(saver: str, engine: str, points: str = "") -> dict[str, Any]:
    """Return what a sweep of a small saver found."""
    return json.loads(run(FOLDER / "small_savers.py", saver, engine, points))


# ---- the harness finds carelessness

MIX = "the folder holds neither the old state nor the new one: [1, 2]"
TORN = "nothing can be loaded: ValueError: a file is torn"
SILENT = "the save returned as if it had saved"
UNCONFIRMED = "the disk did not confirm, and the save returned as if it had"
DRAFT = "the save left .state.tmp"
FULL, BROKEN = "OSError: [Errno 28] No space left on device", "OSError: [Errno 5] Input/output error"
UNDONE = "the save had returned, and yet nothing of it is on the disk"
ZEROS = "the folder holds neither the old state nor the new one: [0]"
LATE = "the new state is there, and the error does not say so: "
CLAIM = "the new state is not there, and the error says it is: CommittedError: "

CARELESS = [
    ("in_place", "kill -9", {MIX, TORN}),
    ("in_place", "torn write", {TORN}),
    ("in_place", "ENOSPC once", {MIX, TORN, LATE + FULL}),
    ("in_place", "EIO once", {MIX, TORN, LATE + BROKEN}),
    ("in_place", "ENOSPC from there", {MIX, TORN, LATE + FULL}),
    ("in_place", "EIO from there", {MIX, TORN, LATE + BROKEN}),
    ("in_a_child", "kill -9", {MIX, TORN}),
    ("in_a_child", "EIO once", {MIX, TORN, SILENT, UNCONFIRMED}),
    ("trusts_one_write", "short write", {TORN}),
    ("trusts_one_write", "ENOSPC once", {DRAFT}),
    ("trusts_one_write", "ENOSPC from there", {DRAFT}),
    ("lists_buffers", "torn write", {TORN}),
    ("lists_buffers", "short write", {TORN}),
    ("keeps_quiet", "ENOSPC once", {SILENT, UNCONFIRMED}),
    ("keeps_quiet", "EIO from there", {SILENT, UNCONFIRMED}),
    ("trusts_the_disk", "EIO once", {UNCONFIRMED}),
    ("raises_late", "ENOSPC once", {LATE + FULL}),
    ("raises_late", "EIO from there", {LATE + BROKEN}),
    ("claims_too_much", "EIO once", {CLAIM}),
    ("forgets_the_folder", "power loss", {UNDONE}),
    ("forgets_the_folder", "kill -9", set()),
    ("forgets_the_file", "power loss", {TORN, ZEROS}),
    ("forgets_the_file", "kill -9", set()),
    ("aborts", "ENOSPC once", {"the save was ended by SIGABRT"}),
    ("waits", "EIO once", {"the save was ended by SIGALRM"}),
]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("saver", "fault", "said"), CARELESS)
def test_a_careless_saver_is_convicted(saver: str, fault: str, said: set[str], engine: str):
    """Each kind of carelessness is found, under the fault that brings it to light, and under no other."""
    require_engine(engine)

    assert set(swept(saver, engine)["problems"][fault]) == said


@pytest.mark.parametrize("engine", ENGINES)
def test_threads_are_followed(engine: str):
    """Changes that threads make are seen and struck, in whatever order they come."""
    require_engine(engine)
    found = swept("in_threads", engine)

    assert sorted(found["calls"]) == sorted(swept("in_place", engine)["calls"])
    for fault in ("kill -9", "torn write"):
        assert found["problems"][fault]
        assert set(found["problems"][fault]) <= {MIX, TORN}


@pytest.mark.parametrize("engine", ENGINES)
def test_a_draft_that_stays_for_ever_is_found(engine: str):
    """Where the next save does not remove what a killed one left, that is a problem."""
    require_engine(engine)
    (first, *_) = swept("leaves_drafts", engine)["problems"]["torn write"]

    assert first.startswith("another save left ['.state.")
    assert first.endswith(".tmp'] and lacks []")


@pytest.mark.parametrize("engine", ENGINES)
def test_a_careful_saver_is_cleared(engine: str):
    """A saver that does everything right has no problem, and its error after the commit says so."""
    require_engine(engine)
    found = swept("careful", engine)

    assert found["text"] == []
    assert found["raised"][-1] == "CommittedError: "
    places = {fault: len(places) for fault, places in found["places"].items()}
    assert places.pop(POWER_LOSS.name) > 5
    assert places == {each.name: 1 if each.only_writes else 5 for each in FAULTS if each is not POWER_LOSS}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("saver", "error"),
    [
        ("does_nothing", "the save changed nothing that could be seen, so nothing could befall it."),
        ("fails", "save failed where nothing befell it: ValueError: no space for that number"),
    ],
)
def test_a_sweep_of_nothing_is_an_error(saver: str, error: str, engine: str):
    """A save that changes nothing, or fails by itself, shows nothing."""
    require_engine(engine)

    assert swept(saver, engine) == {"error": error}


@pytest.mark.parametrize("engine", ENGINES)
def test_points_are_spread_evenly(engine: str):
    """Four points of nine changes are two or three apart, and each fault has others."""
    require_engine(engine)
    places = swept("in_place", engine, "4")["places"]

    assert places["kill -9"] == [0, 2, 4, 6]
    assert places["EIO from there"] == [1, 3, 6, 8]
    assert places["torn write"] == [1, 4, 7]
    assert len(places["power loss"]) == 4


def test_every_way_to_change_a_file_is_traced():
    """Whatever call changes the folder is seen, whichever way its path is given, and nothing outside is."""
    require_engine("traced")

    assert swept("in_every_way", "traced")["calls"] == [
        *("openat", "write", "pwrite64", "writev", "pwritev2", "sendfile", "copy_file_range", "ftruncate", "fallocate"),
        *("fchmod", "fdatasync", "mmap", "truncate", "link", "symlink", "renameat", "chmod", "utimensat", "unlink"),
        *("mkdir", "rmdir", "fsync", "openat", "write", "fsync", "rename"),
    ]


def test_every_way_through_os_is_patched():
    """Whatever function of `os` changes the folder is seen by the portable engine."""
    assert swept("in_every_way", "patched")["calls"] == [
        *("open", "write", "pwrite", "writev", "pwritev", "sendfile", "copy_file_range", "ftruncate"),
        *("posix_fallocate", "fchmod", "fdatasync", "truncate", "link", "symlink", "rename", "chmod", "utime"),
        *("unlink", "mkdir", "rmdir", "fsync", "open", "write", "fsync", "replace"),
    ]


@pytest.mark.parametrize("engine", ENGINES)
def test_every_way_to_change_a_file_can_fail(engine: str):
    """Each of these calls returns the error that is injected into it."""
    require_engine(engine)
    raised = swept("in_every_way", engine)["raised"]

    assert len(raised) == len(swept("in_every_way", engine)["calls"])
    assert [each for each in raised if not each.startswith(FULL)] == []


def test_the_portable_engine_says_what_it_cannot_see():
    """A sweep without ptrace says that it saw only what goes through `os`; one with it saw everything."""
    assert swept("careful", "patched")["blind"] == "whatever does not go through os"
    if not why_untraced():
        assert swept("careful", "traced")["blind"] == ""


def test_both_machines_know_the_same_calls():
    """What aarch64 lacks are the calls whose paths start from the working directory, which have a newer form."""
    names = {machine: {each.name for each in calls.values()} for machine, calls in SIGNATURES.items()}

    assert names["aarch64"] < names["x86_64"]
    assert names["x86_64"] - names["aarch64"] == {
        *("open", "creat", "rename", "mkdir", "rmdir", "link", "unlink", "symlink", "chmod", "chown"),
    }


def test_another_system_is_said_to_be_unsupported(monkeypatch: pytest.MonkeyPatch):
    """Where there is no ptrace, that is said in a sentence."""
    monkeypatch.setattr(sys, "platform", "darwin")

    assert unsupported() == "unsupported: ptrace is used on Linux only, this is darwin"


@pytest.mark.skipif(sys.platform != "linux", reason="the machine is asked for on Linux only")
def test_another_machine_is_said_to_be_unsupported(monkeypatch: pytest.MonkeyPatch):
    """Where the registers are not known, that is said in a sentence."""
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")

    assert unsupported() == "unsupported: the registers of riscv64 are not known, only x86_64, aarch64"


def test_a_process_with_threads_is_not_forked():
    """A copy of a process lacks all threads but one, so a sweep refuses to make one."""
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait, name="another")
    thread.start()
    try:
        with pytest.raises(ConformanceError, match="a process is forked for each fault, which needs one thread") as it:
            sweep(print, print, str)
    finally:
        stop.set()
        thread.join()

    assert "another" in str(it.value)


def test_a_system_without_fork_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Where processes cannot be forked, nothing is swept, and that is said."""
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConformanceError) as caught:
        sweep(print, print, str)

    assert str(caught.value) == "faults need os.fork, which this system lacks: unsupported."


# ---- nameplate-model

NAMES = [each.name for each in TRANSITIONS]
PORTABLE = ("6 shards → single", "6 shards → 6 shards")
"""The transitions that the portable engine goes through even where the other one may be used."""


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what Transformers has saved."""
    folder = tmp_path_factory.mktemp("foreign")
    run(FOLDER / "saved_by_transformers.py", folder)
    return folder


@pytest.fixture(scope="module")
def ours(foreign: Path) -> dict[str, Any]:
    """Return what the sweeps of all transitions found: two programs, each with every other one."""
    engine = "patched" if why_untraced() else "traced"
    program = [sys.executable, FOLDER / "swept_transitions.py", foreign, engine, str(POINTS)]
    halves = [
        subprocess.Popen([*program, *NAMES[part::2]], stdout=subprocess.PIPE, env=environment()) for part in range(2)
    ]
    records: dict[str, Any] = {}
    for half in halves:
        printed, _ = half.communicate()
        assert half.returncode == 0
        records |= json.loads(printed)
    return records


@pytest.mark.parametrize("transition", TRANSITIONS, ids=lambda each: each.name)
def test_whatever_befalls_our_save_it_is_old_or_new(transition: Any, ours: dict[str, Any]):
    """Killed, torn or failing at any change: one whole state, a true error, no litter, and the next save mends all."""
    found = ours[transition.name]

    assert found["problems"] == []
    assert len(found["files"]) == transition.files
    assert found["runs"] >= min(POINTS, len(found["calls"])) * len([each for each in FAULTS if not each.only_writes])


@pytest.mark.parametrize("name", [each.name for each in TRANSITIONS if each.old != each.new])
def test_the_faults_befall_our_save_on_both_sides_of_its_commit(name: str, ours: dict[str, Any]):
    """Some runs leave the old state and some the new one, so the sweep has looked at both."""
    assert {outcome for counts in ours[name]["outcomes"].values() for outcome in counts} == {"old", "new"}


def test_nothing_of_our_saves_escapes_the_trace(ours: dict[str, Any]):
    """Where system calls may be traced, there was none that could not be seen."""
    expected = "whatever does not go through os" if why_untraced() else ""

    assert {each["blind"] for each in ours.values()} == {expected}


def test_our_saves_survive_the_portable_engine(foreign: Path):
    """Without ptrace the same faults befall the calls of `os`, and the same holds."""
    found = json.loads(run(FOLDER / "swept_transitions.py", foreign, "patched", str(POINTS), *PORTABLE))

    assert list(found) == [name for name in NAMES if name in PORTABLE]
    assert [each["problems"] for each in found.values()] == [[], []]
