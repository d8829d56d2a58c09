"""A model in slices: what a law has several ranks do with the checkpoint of an example, and what they tell.

To start ranks takes longer than all that they do, and the class of the model is imported in each of them. So one
world runs every errand of an example, and the laws share what came of it.
"""

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from torch import distributed

from nameplate_conformance.faults.film import Held, Recorder, lay_out
from nameplate_conformance.instruments import in_ranks
from nameplate_conformance.instruments.bits import Bits, bits
from nameplate_conformance.instruments.folders import example_folder
from nameplate_conformance.instruments.fresh import importable
from nameplate_conformance.instruments.in_ranks import OWN, Errand, Home, Packed, Told, packed, unpacked
from nameplate_conformance.instruments.oracle import SINGLE, read_file
from nameplate_conformance.instruments.ranks import RankEnding, run_ranks
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import broken, inapplicable

LOADED = "loaded in slices"
BY_ITS_PLAN = "loaded by its own plan"
BY_ITS_PLAN_ALONE = "loaded by its own plan on one rank"
ANSWERED = "run in slices"
SAVED = "saved in slices"
SAVED_BY_ONE = "saved by one rank"
HANDED_ON = "saved by some ranks and loaded by others"
CUT_OFF = "loaded where the weights of one rank are cut off"
GONE = "loaded where the weights of one rank are gone"
HEALED = "loaded after those that failed"

_HANDED_OVER = "saved for other ranks"
_BEFORE: Mapping[str, tuple[str, ...]] = {HANDED_ON: (_HANDED_OVER,), HEALED: (CUT_OFF, GONE)}
"""What an errand builds on."""

_COUNTS = (2, 2, 3, 4)
_HANDED = ((2, 3), (3, 2), (1, 3), (4, 2))
"""For each seed: on how many ranks a model is loaded, and how many save it for how many others."""


class Question(NamedTuple):
    """All that ranks are told of an example.

    Attributes:
        home: Where its model class is.
        files: What its checkpoint holds.
        inputs: What its model is to answer.
        seed: Decides how many ranks there are.
        plan: Whether the class declares a plan of its own.
    """

    home: Home
    files: tuple[tuple[str, bytes], ...]
    inputs: tuple[tuple[str, Packed], ...]
    seed: int
    plan: bool


@dataclass(frozen=True, slots=True)
class Life:
    """What came of the errands of one world.

    Attributes:
        told: By the errand's name, what each of its ranks told.
        saved: The files that an errand saved.
        ended: Why the world came to no end; empty if it did.
    """

    told: Mapping[str, Sequence[Told]] = field(default_factory=dict)
    saved: Mapping[str, Held] = field(default_factory=dict)
    ended: str = ""


def values(case: Case, errand: str) -> list[Any]:
    """Return what each rank has to show of an errand, which must not have raised anything.

    A law does not apply where another process cannot import the class, or FSDP2 cannot cut the model.
    """
    found = told(case, errand)
    refused = [each.text for each in found if each.raised == "ShardingPlanError"]
    if len(refused) == len(found) and errand != BY_ITS_PLAN:
        inapplicable(f"it cannot be cut as FSDP2 does: {refused[0]}")
    failed = [f"rank {rank} raises {each.raised}: {each.text}" for rank, each in enumerate(found) if each.raised]
    if failed:
        broken(f"{errand} by {len(found)} ranks: {failed[0]}")
    return [each.value for each in found]


def told(case: Case, errand: str) -> Sequence[Told]:
    """Return what came of an errand on each of its ranks."""
    return _life(case, errand).told[errand]


def saved(case: Case, errand: str) -> Held:
    """Return the files that an errand saved, which must not have raised anything."""
    values(case, errand)
    return _life(case, errand).saved[errand]


def tensors(told_of: Mapping[str, Packed]) -> dict[str, Bits]:
    """Return the bytes of tensors that a rank told."""
    return {name: bits(unpacked(each)) for name, each in told_of.items()}


def held(folder: Path) -> Held:
    """Return what is in each file of a folder."""
    return Recorder(folder).film().frames[0].held


def killed(case: Case, source: Path, target: Path, *, victim: int, at: int) -> Sequence[RankEnding]:
    """Let two ranks load from one folder and save into another, one of which is killed after some change.

    Returns:
        What came of each rank; the signal that ended the victim, unless it has made too few changes.
    """
    errand = Errand("save", (str(source),) * 2, into=str(target))
    return run_ranks(in_ranks.save_until_killed, 2, home_of(case), errand, victim, at, str(target.parent))


def home_of(case: Case) -> Home:
    """Return where other processes find the model class; a law that asks does not apply if they cannot."""
    model_class = case.model_class
    file = getattr(sys.modules.get(model_class.__module__), "__file__", None)
    if not hasattr(os, "fork") or not distributed.is_available() or not distributed.is_gloo_available():
        inapplicable("ranks need os.fork and gloo, which this system lacks")
    if file is None or not importable(model_class):
        inapplicable("its model class is in no module from which another process could import it")
    return Home(model_class.__module__, model_class.__qualname__, file)


# ---- one world for one example


def _life(case: Case, errand: str) -> Life:
    """Return the world of an example; one for this errand alone if some errand brings the common one to no end."""
    question = _question(case)
    life = _lived(question, ())
    if life.ended:
        life = _lived(question, (*_BEFORE.get(errand, ()), errand))
    if life.ended:
        broken(f"{errand}: {life.ended}")
    return life


def _question(case: Case) -> Question:
    home = home_of(case)
    model = case.poisoned()
    with case.folder() as folder:
        model.save_pretrained(folder)
        files = tuple(sorted(held(folder).items()))
    inputs = tuple((name, packed(each)) for name, each in case.inputs(model).items())
    plan = getattr(case.model_class, "sharding_plan", None) is not None
    return Question(home, files, inputs, case.seed, plan)


@lru_cache(maxsize=4)
def _lived(question: Question, only: tuple[str, ...]) -> Life:
    """Run the errands of an example, or some of them; the same question has the same answer."""
    with example_folder() as around:
        errands = _errands(question, around)
        errands = {name: errand for name, errand in errands.items() if not only or name in only}
        world = max(len(errand.folders) for errand in errands.values())
        endings = run_ranks(in_ranks.run, world, question.home, errands, str(around))
        failed = [ending for ending in endings if not ending.returned]
        if failed:
            return Life(ended=_sentence(min(failed, key=lambda ending: (ending.hung, ending.raised is not None))))
        found = {
            name: [endings[rank].value[name] for rank in range(len(errand.folders))] for name, errand in errands.items()
        }
        return Life(found, {name: held(Path(errand.into)) for name, errand in errands.items() if errand.into})


def _errands(question: Question, around: Path) -> dict[str, Errand]:
    """Lay out the checkpoint, whole and damaged, and return what is done with it, in order."""
    files = dict(question.files)
    weights = files[SINGLE]
    whole = _laid_out(around / "whole", files)
    cut_off = _laid_out(around / "cut off", {**files, SINGLE: weights[: len(weights) - 1]})
    gone = _laid_out(around / "gone", {name: data for name, data in files.items() if name != SINGLE})
    count, (before, after) = _COUNTS[question.seed % len(_COUNTS)], _HANDED[question.seed % len(_HANDED)]
    total = read_file(Path(whole) / SINGLE).size
    options = {"max_shard_size": max(1, total // 3)} if question.seed % 2 else {}
    into = {name: str(around / name) for name in (SAVED, SAVED_BY_ONE, _HANDED_OVER)}
    for folder in into.values():
        Path(folder).mkdir()
    sizes = {BY_ITS_PLAN_ALONE: 1, BY_ITS_PLAN: 2} if question.plan else {}
    plan = {name: Errand("load", (whole,) * size, OWN) for name, size in sizes.items()}
    return {
        LOADED: Errand("load", (whole,) * count),
        **plan,
        ANSWERED: Errand("answer", (whole,) * 2, inputs=dict(question.inputs)),
        SAVED: Errand("save", (whole,) * 2, into=into[SAVED], options=options),
        SAVED_BY_ONE: Errand("save", (whole,), into=into[SAVED_BY_ONE], options=options),
        _HANDED_OVER: Errand("save", (whole,) * before, into=into[_HANDED_OVER]),
        HANDED_ON: Errand("load", (into[_HANDED_OVER],) * after),
        CUT_OFF: Errand("load", _spread(whole, cut_off, question.seed)),
        GONE: Errand("load", _spread(whole, gone, question.seed + 1)),
        HEALED: Errand("load", (whole,) * 2),
    }


def _laid_out(folder: Path, files: Held) -> str:
    folder.mkdir()
    lay_out(folder, files)
    return str(folder)


def _spread(whole: str, damaged: str, seed: int) -> tuple[str, str]:
    """Return which folder each of two ranks sees."""
    return (damaged, whole) if seed % 2 else (whole, damaged)


def _sentence(ending: RankEnding) -> str:
    if ending.raised:
        return f"rank {ending.rank} raises {ending.raised.name}: {ending.raised.text}"
    if ending.hung:
        return f"rank {ending.rank} does not come to an end"
    return f"rank {ending.rank} ends {f'by {ending.ended_by}' if ending.ended_by else f'with code {ending.exit_code}'}"
