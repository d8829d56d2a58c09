"""Level 7, crashes: whatever befalls a save, and whoever saves or loads meanwhile, a folder holds what was saved."""

import os
from functools import partial
from pathlib import Path
from typing import TypeVar

from nameplate_config import NameplateError
from nameplate_conformance.faults import EACCES, EIO, LASTING_ENOSPC, Fault, contend
from nameplate_conformance.faults.film import Film, Held, Recorder, lay_out
from nameplate_conformance.faults.patcher import patched
from nameplate_conformance.faults.signatures import REMOVING
from nameplate_conformance.instruments.generations import film_of_save, generations, name_of, seen, seen_or_error
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Cost, Evidence, inapplicable, law, require
from nameplate_model import CommittedError

T = TypeVar("T")

_TRANSITIONS = {
    "one file over one": (False, False),
    "shards over one file": (False, True),
    "one file over shards": (True, False),
    "shards over shards": (True, True),
}
"""Whether the old checkpoint has shards, and the new one."""

_MOMENTS = 6
"""How many moments of each save are judged for one example; other examples judge others."""

_ERRORS = 2
"""How many calls of each save fail, one at a time."""

_ROUNDS = 5
"""How often each of two savers saves while the other does."""

OLD, NEW = name_of(1), name_of(2)


@law("F05", "a save is all or nothing", level=7, needs=["C07", "S04", "S07", "S15"], cost=Cost.PROCESS)
def save_is_all_or_nothing(case: Case, evidence: Evidence) -> None:
    """A save over another checkpoint that is killed before any of its changes to the folder, in the middle of a write,
    or by an error of the disk, leaves the old checkpoint or the new one, weights and config, whether either is one
    file or several; one that comes to its end leaves the new one. Long trainings are killed while they save, and
    shards of two states that load without a word are worse than none."""
    _require_a_system_with_descriptors()
    known = generations(case, 2)
    for what, (first, then) in _TRANSITIONS.items():
        with case.folder() as folder:
            known[0].save(folder, shards=first)
            start = _held(folder)
            film = film_of_save(known[1], folder, shards=then)
            found = seen_or_error(case, folder, known)
            require(found == NEW, f"{what}: after a save that nothing befell, there is {found}")
            for moment, held in _chosen(film, case.seed):
                lay_out(folder, held)
                found = seen_or_error(case, folder, known)
                require(found in {OLD, NEW}, f"{what}, {moment}: there is {found}")
            for at in _places(film, _ERRORS, case.seed):
                lay_out(folder, start)
                error, _ = _struck(partial(known[1].save, shards=then), folder, EIO, at)
                found = seen_or_error(case, folder, known)
                require(
                    found in {OLD, NEW}, f"{what}, {_at(film, EIO, at)}: it raised {_told(error)}, there is {found}"
                )
            evidence.count("ways of saving")  # how many moments each has may depend on the order of threads


@law("F06", "a save that fails says so and goes", level=7, needs=["F05", "S06"], cost=Cost.PROCESS)
def save_that_fails_says_so(case: Case, evidence: Evidence) -> None:
    """A save into a folder that may not be written to, or on a disk that is full from some moment on, raises one of
    our errors, and leaves every byte of the old checkpoint and no other file; or it says, as `CommittedError`, that
    the new one is there. A training that goes on after a failed save must know it, and a full disk must not fill
    with drafts."""
    _require_a_system_with_descriptors()
    known = generations(case, 2)
    for what, (first, then) in _TRANSITIONS.items():
        with case.folder() as folder:
            known[0].save(folder, shards=first)
            start = _held(folder)
            film = film_of_save(known[1], folder, shards=then)
            failures = 0
            faults = [(EACCES, 0), *((LASTING_ENOSPC, at) for at in _places(film, _ERRORS, case.seed))]
            for fault, at in faults:
                lay_out(folder, start)
                error, failed = _struck(partial(known[1].save, shards=then), folder, fault, at)
                if failed:
                    where = f"{what}, {_at(film, fault, at)}"
                    _require_true_error(error, where, seen_or_error(case, folder, known))
                    if not isinstance(error, CommittedError) and REMOVING.isdisjoint(failed):
                        _require_untouched(start, folder, where)
                    failures += 1
        require(failures, f"{what}: no call could be made to fail")
        evidence.count("ways of saving")


@law("F07", "a load sees one save", level=7, needs=["F05", "X04"], cost=Cost.PROCESS)
def load_sees_one_save(case: Case, evidence: Evidence) -> None:
    """While two processes save into a folder again and again, one in a single file, the other in shards, every load
    gives one of their checkpoints, whole, and neither save fails; in the end one of the two is there. Evaluation
    loads what training is about to replace, and a restarted job may meet the one it replaces."""
    if not hasattr(os, "fork"):
        inapplicable("processes of their own need os.fork, which this system lacks")
    known = generations(case, 3)
    savers = [partial(known[1].save, shards=False), partial(known[2].save, shards=True)]
    with case.folder() as base:
        prepare = partial(known[0].save, shards=True)
        found = contend(prepare, savers, lambda folder: seen(case, folder, known), rounds=_ROUNDS, base=base)
    problems = found.problems([name_of(each.number) for each in known])
    require(not problems, problems[0] if problems else "")
    require(found.last in {name_of(2), name_of(3)}, f"in the end there is {found.last}, which was saved before")
    evidence.count("states that were saved", len(known))  # how many loads there were is a matter of speed


def _require_a_system_with_descriptors() -> None:
    if os.name != "posix":
        inapplicable("which file a call changes can only be told where descriptors have paths")


def _held(folder: Path) -> Held:
    return Recorder(folder).film().frames[0].held


def _chosen(film: Film, seed: int) -> list[tuple[str, Held]]:
    """Return some of the moments that leave different files."""
    different: dict[frozenset[tuple[str, bytes]], tuple[str, Held]] = {}
    for moment, held in film.killed():
        different.setdefault(frozenset(held.items()), (moment, held))
    return _some(list(different.values()), _MOMENTS, seed)


def _places(film: Film, count: int, seed: int) -> list[int]:
    return _some(list(range(len(film.calls))), count, seed)


def _some(each: list[T], count: int, seed: int) -> list[T]:
    """Return so many at equal distances, others for each seed."""
    step = -(-len(each) // count) or 1
    return each[seed * step // 4 % step :: step]


def _struck(save: partial[None], folder: Path, fault: Fault, at: int) -> tuple[Exception | None, list[str]]:
    """Save while a fault befalls it; return what it raised, and which calls failed."""
    with patched(folder, fault, at) as failed:
        try:
            save(folder)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the result
            return error, failed
    return None, failed


def _at(film: Film, fault: Fault, at: int) -> str:
    return f"{fault.name} at change {at}, {film.calls[at]}"


def _told(error: Exception | None) -> str:
    return "nothing" if error is None else f"{type(error).__name__}: {error}"


def _require_true_error(error: Exception | None, where: str, found: str) -> None:
    require(error is not None or found == NEW, f"{where}: it raised nothing, and there is {found}")
    typed = error is None or isinstance(error, NameplateError)
    require(typed, f"{where}: it raised {_told(error)}, which is none of our errors")
    expected = NEW if error is None or isinstance(error, CommittedError) else OLD
    require(found == expected, f"{where}: it raised {_told(error)}, and there is {found}")


def _require_untouched(start: Held, folder: Path, where: str) -> None:
    left = _held(folder)
    differing = sorted({path for path, _ in start.items() ^ left.items()})
    require(not differing, f"{where}: the failed save left or changed {', '.join(differing[:4])}")
