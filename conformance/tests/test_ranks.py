"""Running a function on several ranks: what comes of those that return, raise, die or hang."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
import torch
from torch import distributed

from nameplate_conformance.instruments.ranks import run_ranks, values


def _sum(rank, *amounts):
    total = torch.tensor([rank + sum(amounts)])
    distributed.all_reduce(total)
    return {"total": total.item(), "of": distributed.get_world_size(), "threads": torch.get_num_threads()}


@pytest.mark.parametrize("world", [1, 2, 8])
def test_ranks_talk(world):
    """Every rank is a process of one group, with one thread, and returns what its job returned."""
    total = sum(range(world)) + 7 * world
    assert values(run_ranks(_sum, world, 3, 4)) == [{"total": total, "of": world, "threads": 1}] * world


class OddError(ValueError):
    """Of a class that only this module knows."""


def _end(rank, ways):
    sys.stdout.write("about to end\n")
    sys.stderr.write("with care\n")
    match ways[rank]:
        case "raises":
            raise OddError(rank) from KeyError("why")
        case "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        case "exits":
            os._exit(3)
        case "leaves":
            sys.exit("enough")
        case "hangs":
            time.sleep(600)
    return ways[rank]


def test_every_ending_is_told():
    """A rank that raises, dies, exits or hangs is told as what it is, beside those that return, with what it said."""
    ways = ["raises", "dies", "exits", "leaves", "hangs", "returns"]
    raises, dies, exits, leaves, hangs, returns = endings = run_ranks(_end, 6, ways, patience=1.5)
    assert (raises.raised.name, raises.raised.text, raises.raised.cause) == ("OddError", "0", "KeyError")
    assert raises.raised.mro[:2] == ("OddError", "ValueError")
    assert "in _end" in raises.raised.trace
    assert (dies.ended_by, dies.hung, exits.exit_code, leaves.raised.name) == ("SIGKILL", False, 3, "SystemExit")
    assert (hangs.ended_by, hangs.hung) == ("SIGKILL", True)
    assert (returns.value, returns.said) == ("returns", "about to end\nwith care\n")
    assert [ending.returned for ending in endings] == [False] * 5 + [True]


def test_values_are_refused_if_a_rank_did_not_return():
    """Who asks for the values of ranks that failed is told how each of them ended."""
    with pytest.raises(AssertionError, match=r"(?s)^rank 0 raised OddError\n.*\nrank 1 was ended by SIGKILL\n"):
        values(run_ranks(_end, 3, ["raises", "dies", "returns"]))


def _say_where(rank, grown):
    return [os.environ["MINE"], os.getcwd(), os.environ["RANK"] == str(rank), random.random(), len(grown) * rank]  # noqa: PTH109, S311 - the process itself is asked


def test_ranks_begin_where_the_process_is_and_with_nothing_of_it(tmp_path, monkeypatch):
    """Ranks have the environment and the folder of the moment, and no state of the process that asks."""
    monkeypatch.setenv("MINE", "yes")
    monkeypatch.setenv("RANK", "17")
    monkeypatch.chdir(tmp_path)
    found = values(run_ranks(_say_where, 2, b"12345"))
    random.seed(3)
    again = values(run_ranks(_say_where, 2, b"12345"))
    assert [each[:3] for each in found] == [["yes", str(tmp_path), True]] * 2
    assert [each[4] for each in found] == [0, 5]
    assert random.random() not in [each[3] for each in again]  # noqa: S311 - no secret


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # Python 3.12 warns where there are threads
def test_a_fork_of_a_process_that_has_asked_may_ask():
    """Whoever is forked from a process that runs ranks starts its own, and leaves the other's alone."""
    child = os.fork()
    if not child:
        os._exit([ending.value for ending in run_ranks(_end, 2, ["one", "two"])] != ["one", "two"])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert values(run_ranks(_end, 1, ["still"])) == ["still"]


def test_a_job_must_be_found_by_others():
    """A function that other processes cannot find by name is refused."""
    with pytest.raises(RuntimeError, match=r"<lambda> is no function at the top of a module"):
        run_ranks(lambda rank: rank, 2)


def test_a_script_that_asks_while_it_is_imported_is_told(tmp_path):
    """A script without a guard, whose ranks would start ranks when they import it, fails at once with what to do."""
    script = tmp_path / "script.py"
    script.write_text(
        "from nameplate_conformance.instruments.ranks import run_ranks, values\n"
        "def job(rank):\n    return rank\n"
        "print(values(run_ranks(job, 2)))\n"
    )
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert (
        f"{script} asks for ranks while a rank imports it; put what asks for them under `if __name__ ==" in ended.stderr
    )
