"""How ranks agree and fail together: real processes, real stores, one error on all of them."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from torch import distributed

from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import CheckpointError, CorruptFileError, LoadReport, MismatchError, MissingRankError, SaveError
from nameplate_model._distributed.assembly import Assembly
from nameplate_model._distributed.board import Board
from nameplate_model._distributed.team import Team, together
from nameplate_model._distributed.verdict import verdict_on

SOON = 1.0
"""Seconds after which a rank is missed, where one is."""

ENOUGH = 30.0
"""Seconds that nobody should need."""


def _errors(endings):
    """Return the class and the text of what each rank raised; None of one that did not."""
    return [(ending.raised.name, ending.raised.text) if ending.raised else None for ending in endings]


def _one_error(endings):
    """Return the class and the text that all ranks raised."""
    (found,) = set(_errors(endings))
    return found


def _through_all_phases(rank, world):
    with together(range(world), "load", timeout=ENOUGH) as team:
        team.agree(version="1", plan="fsdp")
        shared = team.share({"seed": [1, 2]} if team.leads else None)
        gathered = team.gather(rank * 10)
    return [shared, gathered, team.number, team.size, team.leads]


@pytest.mark.parametrize("world", [1, 2, 3])
def test_the_leader_shares_with_all_and_gathers_from_all(world):
    """What the first rank shares is seen by all, and what all give by the first."""
    found = values(run_ranks(_through_all_phases, world, world))
    all_of_them = [10 * rank for rank in range(world)]
    assert found == [
        [{"seed": [1, 2]}, all_of_them if not rank else [], rank, world, not rank] for rank in range(world)
    ]


def _see_two_versions(rank):
    with together([0, 1, 2], "load", timeout=ENOUGH) as team:
        team.agree(weights_digest="abc", package_version="0.2" if rank == 1 else "0.1")


def test_ranks_that_see_different_things_all_say_which():
    """A fact that differs is one error on every rank, which names the fact, the ranks and both values."""
    kind, text = _one_error(run_ranks(_see_two_versions, 3))
    assert kind == "RanksDisagreeError"
    assert text == (
        "the ranks cannot load together: they do not agree on the package version\n"
        "  package version: ranks 0 and 2 have '0.1', rank 1 has '0.2'\n"
        "  Give every rank the same arguments, the same files and the same versions."
    )


def test_long_facts_are_shown_where_they_differ():
    """Of texts that begin alike for long, the message shows what comes where they part."""
    options = {
        rank: {"what": "load", "step": "agree", "facts": {"options": "x" * 500 + f"dtype={rank}"}} for rank in (0, 1)
    }
    text = verdict_on(options, (0, 1), "")["error"]["text"]
    assert f"options: rank 0 has …'{'x' * 14}dtype=0', rank 1 has …'{'x' * 14}dtype=1'" in text


def _see_lines(rank, lines):
    with together(range(len(lines)), "save", timeout=ENOUGH) as team:
        team.agree(version="1", tensors=lines[rank], config=["{}"])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ([["a", "b"], ["a", "c"]], "rank 0 has 'b', rank 1 has 'c'"),
        ([["a", "b"], ["a"]], "rank 0 has 'b', rank 1 has nothing that the others lack"),
        ([["a"], ["a", "b", "c"]], "rank 0 has nothing that the others lack, rank 1 has 'b' and 1 more"),
        ([["a", "b"], ["b", "a"]], "rank 1 and rank 0 have the same in another order"),
        (
            [["a", "b"], ["a", "b"], ["a", "d"], ["d", "e"]],
            "ranks 0 and 1 have 'a' and 1 more, rank 2 has 'd', rank 3 has 'd' and 1 more",
        ),
        ([["x" * 90 + "b"], ["x" * 90 + "c"]], f"rank 0 has …'{'x' * 20}b', rank 1 has …'{'x' * 20}c'"),
    ],
)
def test_ranks_whose_lines_differ_all_say_which(lines, said):
    """Of long lists, the message shows the first lines that not all ranks have, and who has them."""
    kind, text = _one_error(run_ranks(_see_lines, len(lines), lines))
    assert kind == "RanksDisagreeError"
    assert text == (
        f"the ranks cannot save together: they do not agree on the tensors\n  tensors: {said}\n"
        "  Give every rank the same arguments, the same files and the same versions."
    )


def _load_or_save(rank):
    with together([0, 1], "save" if rank else "load", timeout=ENOUGH) as team:
        team.agree(version="1")


def _share_or_end(rank):
    with together([0, 1], "load", timeout=ENOUGH) as team:
        if not rank:
            team.share("more")


@pytest.mark.parametrize(
    ("job", "found"),
    [
        (_load_or_save, "the ranks do not do the same: rank 0 wants to load, rank 1 wants to save"),
        (_share_or_end, "they are at different steps of it\n  rank 0 is at share, rank 1 is at end"),
    ],
)
def test_ranks_that_do_different_things_all_say_so(job, found):
    """A rank that saves while another loads, or is at another step, is one error on both."""
    kind, text = _one_error(run_ranks(job, 2))
    assert kind == "RanksDisagreeError"
    assert found in text


def _fail_on(rank, failing):
    with together([0, 1, 2], "load", timeout=ENOUGH) as team:
        if rank in failing:
            raise {"torn": CorruptFileError, "full": SaveError, "wrong": ValueError}[failing[rank]](failing[rank])
        team.agree(version="1")


@pytest.mark.parametrize(
    ("failing", "kind", "text"),
    [
        ({1: "torn"}, "CorruptFileError", "rank 1: torn"),
        ({0: "torn"}, "CorruptFileError", "rank 0: torn"),
        ({1: "torn", 2: "torn"}, "CorruptFileError", "ranks 1 and 2: torn"),
        ({0: "full", 2: "torn"}, "CheckpointError", "rank 0: full\nrank 2: torn"),
        ({1: "wrong"}, "CheckpointError", "rank 1: ValueError: wrong"),
        ({0: "torn", 1: "torn", 2: "torn"}, "CorruptFileError", "torn"),
    ],
)
def test_an_error_of_some_ranks_is_one_error_of_all(failing, kind, text):
    """What ranks raise, even before the first phase, becomes one error on all, whose cause is known where it arose."""
    endings = run_ranks(_fail_on, 3, failing)
    assert _one_error(endings) == (kind, text)
    arose = {"torn": "CorruptFileError", "full": "SaveError", "wrong": "ValueError"}
    if len(failing) < 3:
        assert [ending.raised.cause for ending in endings] == [arose.get(failing.get(rank), "") for rank in range(3)]


def _fail(error):
    raise error


def _fail_with_a_report(rank):
    try:
        with together([0, 1], "load", timeout=ENOUGH):
            if rank:
                _fail(MismatchError("no fit", LoadReport(model="Net", source="here", missing=("up",))))
    except MismatchError as error:
        return error.report.missing if error.report else None


def test_an_error_keeps_what_it_carries_where_it_arose():
    """The error on the rank that failed has the attributes of the original."""
    assert values(run_ranks(_fail_with_a_report, 2)) == [None, ("up",)]


def _interrupted(rank, who):
    with together([0, 1], "save", timeout=ENOUGH) as team:
        team.agree(version="1")
        if rank == who:
            raise KeyboardInterrupt
        team.share(None)


@pytest.mark.parametrize("who", [0, 1])
def test_an_interrupted_rank_is_interrupted_and_the_other_hears_of_it(who):
    """`KeyboardInterrupt` goes through as it is; on the other rank it is an error, at once."""
    found = _errors(run_ranks(_interrupted, 2, who, patience=ENOUGH / 2))
    assert found[who] == ("KeyboardInterrupt", "")
    assert found[1 - who] == ("CheckpointError", f"rank {who}: KeyboardInterrupt")


def _interrupted_while_it_waits(rank):
    if rank:
        time.sleep(0.5)
    else:
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    with together([0, 1], "save", timeout=ENOUGH) as team:
        team.agree(version="1")


def test_a_leader_that_is_interrupted_while_it_waits_leaves_a_verdict():
    """The others are told by a leader that was interrupted in the middle of a phase, and do not wait for it."""
    assert _errors(run_ranks(_interrupted_while_it_waits, 2, patience=ENOUGH / 2)) == [
        ("KeyboardInterrupt", ""),
        ("CheckpointError", "rank 0: KeyboardInterrupt"),
    ]


def _come_late(rank, late, world):
    """Try to load, of which some ranks come late to; then do it again, at the same time."""
    if rank in late:
        time.sleep(1.5 * SOON)
    found = None
    begun = time.monotonic()
    try:
        with together(range(world), "load", timeout=SOON) as team:
            team.agree(version="1")
    except MissingRankError as error:
        found = str(error)
    waited = time.monotonic() - begun
    distributed.barrier()
    with together(range(world), "load", timeout=ENOUGH) as team:
        shared = team.share("again")
    distributed.barrier()
    return [found, waited < 5 * SOON, shared, distributed.distributed_c10d._get_default_store().num_keys()]


@pytest.mark.parametrize(
    ("late", "names"), [([1], "rank 1"), ([0], "rank 0"), ([0, 2], "ranks 0 and 2"), ([1, 2], "ranks 1 and 2")]
)
def test_a_late_rank_is_missed_by_all_and_told_so_when_it_comes(late, names):
    """Whoever comes late, the leader or others, all raise one error that names them; the next operation goes well."""
    found = values(run_ranks(_come_late, 3, late, 3))
    texts = {text for text, *_ in found}
    assert len(texts) == 1
    (text,) = texts
    assert text.startswith(
        f"{names} did not come within 1 seconds to load with the other ranks (phase 0: agree)\n  See"
    )
    assert all(rest[:2] == [True, "again"] for _, *rest in found)
    assert [keys for *_, keys in found] == [found[0][3]] * 3


def _count_keys(rank):
    store, keys = distributed.distributed_c10d._get_default_store(), []
    for again in range(4):
        with contextlib.suppress(CorruptFileError), together([0, 1, 2], "load", timeout=ENOUGH) as team:
            team.agree(version="1")
            team.share("x" * (9 * 2**20 if again == 1 else 1))
            if again == 2 and rank:
                _fail(CorruptFileError("torn"))
            team.gather(rank)
        distributed.barrier()
        keys.append(store.num_keys())
        distributed.barrier()
    return keys


def test_what_is_left_on_the_store_does_not_grow():
    """Once an operation is over, well or not, its keys are gone; one number for each rank stays."""
    for keys in values(run_ranks(_count_keys, 3)):
        assert keys[1:] == [keys[0]] * 3


def _share_much(rank):
    long = "é€" * (5 * 2**20)
    with together([0, 1], "save", timeout=ENOUGH) as team:
        return [team.share(long) == long, len("".join(team.gather(long[: 2**22 + rank])))]


def test_a_value_may_be_longer_than_a_store_takes():
    """A TCPStore ends the connection at 8 MiB; ranks may share and gather more."""
    assert values(run_ranks(_share_much, 2)) == [[True, 2**23 + 1], [True, 0]]


def _one_in_another(rank):
    with together([0, 1, 2], "load", timeout=ENOUGH) as outer:
        outer.agree(who="all" if rank in outer.ranks else "none")
        with together([0, 1, 2], "read", timeout=ENOUGH) as inner:
            read = inner.share("inner")
        loaded = outer.share("outer")
    return [read, loaded]


def test_an_operation_may_lie_in_another():
    """Ranks that do something together in the middle of something else do not mix the two up."""
    assert values(run_ranks(_one_in_another, 3)) == [["inner", "outer"]] * 3


def _several_groups(rank):
    found = {}

    def take_part(ranks):
        for again in range(5):
            with together(ranks, "load", timeout=ENOUGH) as team:
                found[tuple(ranks)] = team.share([*ranks, again])

    groups = [ranks for ranks in ([0, 1], [2, 3], [1, 2], [0, 1, 2, 3]) if rank in ranks]
    threads = [threading.Thread(target=take_part, args=(ranks,)) for ranks in groups]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(found.values())


def test_groups_that_overlap_work_at_once():
    """Threads of one rank take part in what several groups do, each in its own."""
    assert values(run_ranks(_several_groups, 4)) == [
        sorted([*ranks, 4] for ranks in ([0, 1], [2, 3], [1, 2], [0, 1, 2, 3]) if rank in ranks) for rank in range(4)
    ]


def _die(rank, who):
    with together([0, 1, 2], "save", timeout=SOON) as team:
        team.agree(version="1")
        if rank == who:
            os.kill(os.getpid(), signal.SIGKILL)
        team.gather("written")


def test_a_killed_rank_is_named():
    """A rank that is killed in the middle is missed by all others within the time that was set."""
    endings = run_ranks(_die, 3, 1)
    assert endings[1].ended_by == "SIGKILL"
    kind, text = _one_error([endings[0], endings[2]])
    assert kind == "MissingRankError"
    assert text.startswith("rank 1 did not come within 1 seconds to save with the other ranks (phase 1: gather)")


def test_a_killed_rank_takes_its_store_along():
    """When rank 0, which hosts the store, is killed, the others raise the same error, which says that it is gone."""
    endings = run_ranks(_die, 3, 0)
    assert endings[0].ended_by == "SIGKILL"
    for ending in endings[1:]:
        assert (ending.raised.name, "TimeoutError" in ending.raised.mro) == ("MissingRankError", True)
        assert ending.raised.text.startswith("the store through which the ranks agree does not answer\n  torch says: ")


def _on_a_file(rank, path):
    distributed.destroy_process_group()
    store = distributed.FileStore(path, 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    return _see_each_other_after_a_failure(rank)


def _see_each_other_after_a_failure(rank):
    found = []
    for kind in (None, CorruptFileError, None):
        try:
            with together([0, 1], "load", timeout=ENOUGH) as team:
                if rank and kind:
                    _fail(kind("torn"))
                found.append(team.share("x" * 5_000_000 if team.leads else None)[:3])
        except CorruptFileError as error:
            found.append(str(error))
    return found


def test_a_store_in_a_file_will_do(tmp_path):
    """Ranks whose process group was started through a shared file agree and fail as others do."""
    assert values(run_ranks(_on_a_file, 2, str(tmp_path / "store"))) == [["xxx", "rank 1: torn", "xxx"]] * 2


def test_a_store_in_memory_will_do():
    """Threads that are ranks of one process agree through a store that it alone has."""
    store, found = distributed.HashStore(), {}

    def take_part(rank):
        assembly = Assembly(Board(store, "here/"), (0, 1), rank, ENOUGH)
        with Team((0, 1), rank, "load", assembly) as team:
            team.agree(version="1")
            found[rank] = [team.share(f"of {rank}"), team.gather(rank)]

    threads = [threading.Thread(target=take_part, args=(rank,)) for rank in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: ["of 0", [0, 1]], 1: ["of 0", []]}


def _start_again(rank):
    """Fail, with nobody there to read it; start the group anew on the same store; agree."""
    store = distributed.distributed_c10d._get_default_store()
    with contextlib.suppress(MissingRankError):
        if rank:
            time.sleep(1.5 * SOON)
        with together([0, 1], "load", timeout=SOON):
            pass
    distributed.barrier()
    distributed.destroy_process_group()
    distributed.init_process_group("gloo", store=distributed.PrefixStore("again", store), rank=rank, world_size=2)
    distributed.destroy_process_group()
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    with together([0, 1], "load", timeout=ENOUGH) as team:
        return team.share("well")


def test_a_process_group_may_be_started_anew_on_an_old_store():
    """What an earlier group left on the store, be it a failure, is not taken for an answer."""
    assert values(run_ranks(_start_again, 2)) == ["well", "well"]


def test_several_ranks_need_a_process_group():
    """Without one the error says how to start it."""
    with pytest.raises(CheckpointError, match=r"^4 ranks cannot load together without a process group\n.* torchrun"):
        together([0, 1, 2, 3], "load", timeout=1.0)


def test_one_rank_needs_nobody():
    """What one rank does alone needs no process group, and its errors are its own."""
    with pytest.raises(ValueError, match=r"^mine$"):
        _fail_alone()


def _fail_alone():
    with together([0], "save", timeout=1.0) as team:
        team.agree(version="1")
        raise ValueError(team.share("mine"))


SCRIPT = """
from torch import distributed
from nameplate_model import CorruptFileError
from nameplate_model._distributed.team import together
distributed.init_process_group("gloo")
rank = distributed.get_rank()
with together([0, 1], "load", timeout=30.0) as team:
    found = team.share(sorted({"one", "two", "three"}))
try:
    with together([0, 1], "load", timeout=30.0):
        if rank:
            raise CorruptFileError("torn")
except CorruptFileError as error:
    found.append(str(error))
with open(f"said.{rank}", "w") as said:
    print(found, file=said)
distributed.barrier()
distributed.destroy_process_group()
"""


def test_ranks_that_torchrun_started_agree(tmp_path: Path):
    """The store of torch's own launcher, which lives in the launcher, will do."""
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "script.py"]
    subprocess.run(command, cwd=tmp_path, check=True, timeout=120, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert {(tmp_path / f"said.{rank}").read_text() for rank in (0, 1)} == {"['one', 'three', 'two', 'rank 1: torn']\n"}
