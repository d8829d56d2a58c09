"""Level 6, ranks: cut into slices on several processes, a model is what it is whole, and so is what they save."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from torch import Tensor

from nameplate_conformance.faults.film import lay_out
from nameplate_conformance.instruments.answers import named, require_close
from nameplate_conformance.instruments.bits import Bits, bits, every_tensor, require_same, state_bits, weights
from nameplate_conformance.instruments.in_ranks import unpacked
from nameplate_conformance.instruments.oracle import read_checkpoint
from nameplate_conformance.instruments.slices import (
    ANSWERED,
    BY_ITS_PLAN,
    BY_ITS_PLAN_ALONE,
    HANDED_ON,
    LOADED,
    SAVED,
    SAVED_BY_ONE,
    home_of,
    saved,
    tensors,
    told,
    values,
)
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Cost, Evidence, Strength, broken, inapplicable, law, require

_OF_A_PROCESS = ("source", "built_for_real")
"""What a report says of the folder and of what the process had built before; another process may say another thing."""


@law(
    "K05",
    "loaded in slices, it is the same model",
    level=6,
    needs=["S04", "S09", "D04"],
    strength=Strength.SHOULD,
    cost=Cost.PROCESS,
)
def loaded_in_slices_it_is_the_same(case: Case, evidence: Evidence) -> None:
    """Processes that each load only their own slices of a checkpoint hold, put together, the bits of a plain load, and
    each of them every buffer, whether or not a file holds it; their reports are equal, and say of every key what that
    of a plain load says.
    Large models are loaded in no other way, and a tensor that is another one on one rank spoils a training without
    a word."""
    home_of(case)
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        load: Any = case.model_class.from_pretrained
        model, report = load(folder, output_loading_info=True)
        whole = _whole(model) or inapplicable("the model has no tensors")
        expected = asdict(report)
    found = values(case, LOADED)
    for rank, each in enumerate(found):
        require_same(whole, tensors(each["tensors"]), evidence, what="tensors", when=f"{LOADED}, on rank {rank}")
        _require_same_report(found[0]["report"], each["report"], f"{LOADED}, rank {rank} reports what rank 0 does not")
        own = {name: each["report"][name] for name in _OF_A_PROCESS}
        _require_same_report(
            expected | own, each["report"], f"{LOADED}, rank {rank} reports what a plain load does not"
        )
        evidence.count("reports")


def _require_same_report(one: Mapping[str, Any], other: Mapping[str, Any], what: str) -> None:
    differing = [name for name, value in one.items() if other[name] != value]
    require(not differing, f"{what}: {', '.join(differing)}")


def _whole(model: Any) -> dict[str, Bits]:
    return {name: bits(tensor) for name, tensor in every_tensor(model).items()}


@law(
    "K06",
    "saved in slices, it is a plain checkpoint",
    level=6,
    needs=["K05", "S03"],
    strength=Strength.SHOULD,
    cost=Cost.PROCESS,
)
def saved_in_slices_it_is_a_plain_checkpoint(case: Case, evidence: Evidence) -> None:
    """What two ranks save, each its own slices, in one file or in shards, holds the tensors of a plain save, loads in
    one process, bears a full verification, and is byte for byte what one rank saves: whoever gets the checkpoint must
    not have to know by how many it was trained."""
    home_of(case)
    model = case.poisoned()
    state = weights(model)
    files, alone = saved(case, SAVED), saved(case, SAVED_BY_ONE)
    differing = [name for name in {**files, **alone} if files.get(name) != alone.get(name)]
    with case.folder() as around:
        model.save_pretrained(around / "plain")
        lay_out(around / "in slices", files)
        expected, found = read_checkpoint(around / "plain"), read_checkpoint(around / "in slices")
        names = [name for name in {**expected, **found} if expected.get(name) != found.get(name)]
        require(not names, f"{SAVED}: other tensors than a plain save has: {', '.join(names[:4])} of {len(expected)}")
        loaded = case.model_class.from_pretrained(around / "in slices", verify="full")
        require_same(state, state_bits(loaded), evidence, what="tensors", when=f"{SAVED} and loaded by one process")
    require(not differing, f"{SAVED} by 2 ranks and by 1: other bytes in {', '.join(differing)}")
    evidence.count("files", len(files))


@law(
    "K07",
    "ranks come and go",
    level=6,
    needs=["K06"],
    strength=Strength.SHOULD,
    cost=Cost.PROCESS,
)
def ranks_come_and_go(case: Case, evidence: Evidence) -> None:
    """What some ranks save, a different number of them loads in slices, every bit of it: a training that loses a
    machine goes on with fewer, and one that is given more goes on with more."""
    home_of(case)
    model = case.poisoned()
    whole = weights(model)
    for rank, each in enumerate(values(case, HANDED_ON)):
        found = {name: kept for name, kept in tensors(each["tensors"]).items() if name in whole}
        expected = {name: kept for name, kept in whole.items() if name in every_tensor(model)}
        require_same(expected, found, evidence, what="tensors", when=f"{HANDED_ON}, on rank {rank}")


@law(
    "K08",
    "its own plan loses nothing",
    level=6,
    needs=["K05"],
    strength=Strength.SHOULD,
    cost=Cost.PROCESS,
)
def its_own_plan_loses_nothing(case: Case, evidence: Evidence) -> None:
    """A class that declares a `sharding_plan` can be loaded by it on one rank and, unless a config makes the model too
    small for that, on two; put together it is the model that a plain load gives. A plan names modules by patterns, and
    is forgotten when they are renamed."""
    if getattr(case.model_class, "sharding_plan", None) is None:
        inapplicable("the class declares no sharding_plan")
    home_of(case)
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        whole = _whole(case.model_class.from_pretrained(folder))
    alone, cut = (told(case, errand) for errand in (BY_ITS_PLAN_ALONE, BY_ITS_PLAN))
    if {each.raised for each in cut} == {"ShardingPlanError"} and not alone[0].raised:
        inapplicable(f"the model of this config is too small for its plan: {cut[0].text}")
    for rank, each in enumerate(values(case, BY_ITS_PLAN)):
        require_same(whole, tensors(each["tensors"]), evidence, what="tensors", when=f"{BY_ITS_PLAN}, on rank {rank}")


@law(
    "K09",
    "run in slices, it answers the same",
    level=6,
    needs=["K05", "M05"],
    strength=Strength.SHOULD,
    cost=Cost.PROCESS,
)
def run_in_slices_it_answers_the_same(case: Case, evidence: Evidence) -> None:
    """Loaded in slices and run as FSDP2 does, with the weights of each part put together when it is its turn, the model
    answers on every rank what it answers whole, up to rounding. A `forward` that looks past its modules, or at the
    rank that it is on, trains another model than it serves."""
    home_of(case)
    expected = named(case.answer(case.poisoned()))
    found = told(case, ANSWERED)
    for rank, each in enumerate(found):
        if each.raised == "ShardingPlanError" or each.without_us:
            inapplicable(f"FSDP2 alone does not run it either: {each.without_us or each.text}")
        if each.raised:
            broken(f"{ANSWERED}, rank {rank} raises {each.raised}: {each.text}")
        answer: dict[str, Tensor] = {name: unpacked(kept) for name, kept in each.value.items()}
        evidence.count("outputs", require_close(expected, answer, f"{ANSWERED}, on rank {rank}"))
