"""The suite as the judge of changed libraries: what each law runs of them, and whether any law notices a change.

Only forks call these functions, since only there may the libraries be imported: each has its own change in them.
"""

import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from benchmarks.mutation_forks import Tell, forked

if TYPE_CHECKING:
    from nameplate_conformance.architecture import Architecture
    from nameplate_conformance.judging.cell import Cell
    from nameplate_conformance.judging.runner import Runner

_PROFILE, _PATIENT = "mutation", "mutation-patient"
_EXAMPLES = 4
_PATIENCE, _LONG_PATIENCE = 30.0, 150.0
_CONFIG_LEVEL = 1
_CHEAP = "cheap"
_REFERENCE, _FIRST = "nameplate_resnet", "zoo-reference"
_SAMPLES = (
    *("every_kind", "containers", "unions", "bounded", "versioned", "grandchild", "renamed_labels"),
    *("tree", "two_towers", "base_first", "base_forgotten", "plain_over_annotated"),
)
_TRIPS = ("S01", "S02", "S04", "S05", "S07", "S10", "S14", "M08", "M09", "F02", "F03", "D01")
"""Laws for which it matters what the tensors are: they are asked about models of every kind."""

_PROCESSES = {"subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn"}
_LIMIT = 400.0
"""Seconds that one law may take while what it runs is noted, which is slow."""

_ELSEWHERE = "NAMEPLATE_LINES"
_IN_FRESH_PROCESSES = """
import atexit, json, os, sys, threading
from pathlib import Path
folder, root = os.environ.get("NAMEPLATE_LINES"), f"{Path(__file__).parent}/"
judge = f"{root}nameplate_conformance/"
if folder:
    seen = {}
    def called(frame, event, argument):
        name = frame.f_code.co_filename
        if not name.startswith(root) or name.startswith(judge):
            return None
        lines = seen.setdefault(name.removeprefix(root), set())
        lines.add(frame.f_lineno)
        def run(frame, event, argument):
            lines.add(frame.f_lineno)
            return run
        return run
    def write():
        sys.settrace(None)
        noted = json.dumps({name: sorted(lines) for name, lines in seen.items()})
        draft = Path(folder) / f"{os.getpid()}.draft"
        draft.write_text(noted)
        draft.rename(draft.with_suffix(".json"))
    atexit.register(write)
    threading.settrace(called)
    sys.settrace(called)
"""
"""What Python runs at its start, as `sitecustomize`, so that a fresh process notes its lines as well."""

Reached = Mapping[str, Sequence[int]]
"""The numbers of the lines that were run, by the names of their files."""


@dataclass(frozen=True, slots=True, eq=False)
class Surveyed:
    """What one law does with one architecture while nothing is changed.

    Attributes:
        law: The id.
        architecture: The name.
        seconds: How long it took.
        starts_processes: Whether it starts processes.
        reached: The lines that it ran, in fresh processes, too; not those that only a fork of this one ran.
    """

    law: str
    architecture: str
    seconds: float
    starts_processes: bool
    reached: Reached = field(repr=False)


def survey(overlay: Path, tell: Tell) -> None:
    """Judge the unchanged libraries and send, for every law that holds, what it ran.

    Args:
        overlay: The folder that the libraries are imported from.
        tell: Is sent the lines of the import, then one `Surveyed` after another; and what did not hold.
    """
    elsewhere = overlay.with_name("lines")
    elsewhere.mkdir()
    os.environ[_ELSEWHERE] = str(elsewhere)
    (overlay / "sitecustomize.py").write_text(_IN_FRESH_PROCESSES, encoding="utf-8")
    notes = _Notes(overlay)
    notes.start()
    runner, herd = _suite()
    wanted = _cells_by_law(herd)  # imports the laws, and the classes of every architecture
    notes.stop()
    tell({"imported": notes.reached()})
    for cells in wanted:
        ended = forked(lambda tell_us, cells=cells: _survey_law(runner, cells, overlay, tell_us), limit=_LIMIT)
        for what in ended.told:
            if "law" in what or "broken" in what:
                tell(what)
        if not ended.finished:
            tell({"broken": f"{cells[0].law.id}: {'too slow' if ended.overran else ended.told[-1:]}"})


def judge(asked: Iterable[Surveyed], tell: Tell) -> None:
    """Judge the libraries as they are now by some laws, in this order, until one is broken; send which.

    Args:
        asked: Laws and architectures; those that start processes get more time.
        tell: Is sent each law before it is asked, and the verdict of the one that was broken.
    """
    tell({"asked": "import"})
    runner, herd = _suite()
    by_key = {(c.law.id, c.architecture.label): c for cells in _cells_by_law(herd) for c in cells}
    for each in asked:
        tell({"asked": each.law})
        runner.closer = {each.law: _PATIENT} if each.starts_processes else {}
        result = runner.attempt(by_key[each.law, each.architecture])
        if result.status.is_bad:
            tell({"killed": each.law, "status": result.status.value, "message": result.message[:300]})
            return


def _suite() -> "tuple[Runner, dict[str, Architecture]]":
    """Import the suite and return a runner and healthy architectures, by their names."""
    from nameplate_conformance.judging.profiles import PROFILES, Profile  # noqa: PLC0415 - only in a fork
    from nameplate_conformance.judging.references import named  # noqa: PLC0415
    from nameplate_conformance.judging.runner import Runner  # noqa: PLC0415
    from nameplate_conformance.samples.architectures import SAMPLES  # noqa: PLC0415
    from nameplate_conformance.samples.models import SAMPLE_MODELS  # noqa: PLC0415
    from nameplate_conformance.zoo import relatives  # noqa: PLC0415

    warnings.simplefilter("ignore")
    for name, patience in ((_PROFILE, _PATIENCE), (_PATIENT, _LONG_PATIENCE)):
        PROFILES[name] = Profile(name=name, examples=_EXAMPLES, rows=_EXAMPLES, patience=patience)
    samples = [each for each in SAMPLES if each.label.removeprefix("sample_") in _SAMPLES]
    return Runner(profile=_PROFILE), {
        each.label: each for each in (*relatives(), *samples, *SAMPLE_MODELS, named(_REFERENCE))
    }


def _cells_by_law(herd: "Mapping[str, Architecture]") -> "list[list[Cell]]":
    """Return what may be judged, the laws in their order."""
    from nameplate_conformance.judging.cell import Cell  # noqa: PLC0415
    from nameplate_conformance.judging.runner import HOST  # noqa: PLC0415
    from nameplate_conformance.law import all_laws  # noqa: PLC0415 - only in a fork

    assert all(each.config_class for each in herd.values())  # each is imported
    return [[Cell(each, law, HOST) for each in herd.values()] for law in all_laws().values()]


def _survey_law(runner: "Runner", cells: "Sequence[Cell]", overlay: Path, tell: Tell) -> None:
    """Judge a law for those architectures that differ to it: every config, every kind of tensors, or the first.

    The ResNet is judged, too, since only it runs its own package; but neither compiled nor in other processes.
    """
    law = cells[0].law
    held = False
    processes = _Processes()
    for cell in cells:
        label = cell.architecture.label
        is_resnet = label == _REFERENCE
        if is_resnet and law.cost.value != _CHEAP:
            continue
        if not is_resnet and held and law.level != _CONFIG_LEVEL and law.id not in _TRIPS:
            continue
        if law.level == _CONFIG_LEVEL and cell.architecture.models and label != _FIRST and not is_resnet:
            continue
        notes, started = _Notes(overlay), time.perf_counter()
        processes.seen = False
        notes.start()
        result = runner.attempt(cell)
        notes.stop()
        if result.status.is_bad:
            tell({"broken": f"{law.id} for {label}: {result.message[:200]}"})
        if result.status.value != "pass":
            continue
        held = held or not is_resnet
        surveyed = {"law": law.id, "architecture": label, "starts_processes": processes.seen}
        tell({**surveyed, "seconds": time.perf_counter() - started, "reached": notes.reached()})


class _Processes:
    """Notices that a process is started."""

    def __init__(self) -> None:
        self.seen = False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, _arguments: tuple[Any, ...]) -> None:
        self.seen = self.seen or event in _PROCESSES


class _Notes:
    """Notes which lines of the libraries are run, in all threads."""

    def __init__(self, overlay: Path) -> None:
        self._root, self._judge = f"{overlay}/", f"{overlay}/nameplate_conformance/"
        self._seen: dict[str, set[int]] = {}

    def start(self) -> None:
        """Begin."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def stop(self) -> None:
        """End."""
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]

    def reached(self) -> dict[str, list[int]]:
        """Return the lines by the names of their files, below the overlay; those of processes that ended, too."""
        seen = {name.removeprefix(self._root): set(lines) for name, lines in self._seen.items()}
        for path in Path(os.environ[_ELSEWHERE]).glob("*.json"):
            for name, lines in json.loads(path.read_text(encoding="utf-8")).items():
                seen.setdefault(name, set()).update(lines)
            path.unlink()
        return {name: sorted(lines) for name, lines in seen.items()}

    def _called(self, frame: FrameType, _event: str, _argument: object) -> Callable[..., Any] | None:
        name = frame.f_code.co_filename
        if not name.startswith(self._root) or name.startswith(self._judge):
            return None
        seen = self._seen.setdefault(name, set())
        seen.add(frame.f_lineno)

        def run(frame: FrameType, _event: str, _argument: object) -> Callable[..., Any]:
            seen.add(frame.f_lineno)
            return run

        return run
