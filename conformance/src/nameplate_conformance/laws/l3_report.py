"""Level 3, the report: what a load says about keys that differ, and what it does before it says so."""

import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.nn.parameter import is_lazy

import nameplate_model
from nameplate_conformance.instruments.bits import Bits, bits, every_tensor, require_same, state_bits, weights
from nameplate_conformance.instruments.carrier import carrying, judging
from nameplate_conformance.instruments.oracle import SINGLE, StoredTensor, keep_only, read_checkpoint, write_safetensors
from nameplate_conformance.instruments.sharing import untied
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, broken, inapplicable, law, require
from nameplate_model import CheckpointError, MismatchError, PreTrainedModel

_STRANGE = ("conformance.nowhere", "conformance_weight")
"""Keys that no architecture has."""

_HEAD = "conformance_head"
_BODY = "conformance_body"


@dataclass(frozen=True, slots=True)
class _Damage:
    """What has been done to the keys of a file: some removed, some added, some given another shape."""

    missing: frozenset[str]
    unexpected: frozenset[str]
    mismatched: frozenset[str]

    @classmethod
    def of(cls, report: nameplate_model.LoadReport) -> "_Damage":
        """Return what a report says has been done."""
        mismatched = frozenset(each.name for each in report.mismatched)
        return cls(frozenset(report.missing), frozenset(report.unexpected), mismatched)

    def __str__(self) -> str:
        shapes = _listed(self.mismatched)
        return f"missing {_listed(self.missing)}, unexpected {_listed(self.unexpected)}, other shapes {shapes}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)[:4]) or "none"


@law("S09", "the report is exact", level=3, needs=["S01", "M09"])
def report_is_exact(case: Case, evidence: Evidence) -> None:
    """When keys are removed from a file, added to it and given other shapes, loading it is an error that lists exactly
    these. Once that is allowed, the report lists exactly these, every other tensor has the file's bits, and what the
    file lacks has, bit for bit, what a plain construction under the same seed gives: nothing is raw memory."""
    with case.folder() as folder:
        state, damage = _damaged(case, folder)
        error = _refused(case, folder, "a damaged file")
        require(error.report is not None, "the error carries no report")
        _require_exact(damage, error.report, evidence, "the error")
        _require_all_needed(case, folder, damage)
        torch.manual_seed(case.seed)
        loaded = case.model_class.from_pretrained(folder, strict=False, ignore_mismatched_sizes=True)
        _require_exact(damage, loaded.load_report, evidence, "the load_report of the model")
    fresh = nn.Module.state_dict(case.plain())
    anew = damage.missing | damage.mismatched
    expected = {name: bits(fresh[name]) if name in anew else kept for name, kept in state.items()}
    require_same(expected, state_bits(loaded), evidence, what="tensors", when="loaded in spite of the differences")


def _damaged(case: Case, folder: Path) -> tuple[dict[str, Bits], _Damage]:
    """Save a model, damage its file, and return what it held and what was done."""
    model = case.poisoned()
    model.save_pretrained(folder)
    stored = read_checkpoint(folder)
    lazy = {name for name, tensor in nn.Module.state_dict(case.plain(), keep_vars=True).items() if is_lazy(tensor)}
    candidates = [name for name in untied(model) if name in stored and name not in lazy]
    if not candidates:
        inapplicable("the model has no weights of which one could be removed")
    drawn = random.Random(case.seed)  # noqa: S311 - names, no secret
    chosen = drawn.sample(candidates, max(1, len(candidates) // 3))
    missing, mismatched = frozenset(chosen[::2]), frozenset(chosen[1::2])
    unexpected = frozenset(drawn.sample(_STRANGE, 1 + case.seed % 2))
    for name in missing:
        del stored[name]
    for name in mismatched:
        stored[name] = _reshaped(stored[name])
    stored.update({name: StoredTensor.of(torch.ones(2)) for name in unexpected})
    keep_only(folder, "config.json")
    write_safetensors(folder / SINGLE, stored, {"format": "pt"})
    return state_bits(model), _Damage(missing, unexpected, mismatched)


def _reshaped(tensor: StoredTensor) -> StoredTensor:
    """Return a tensor with one axis more, and as many values."""
    return replace(tensor, shape=(*tensor.shape, 1))


def _refused(case: Case, folder: Path, what: str, **options: Any) -> MismatchError:
    try:
        case.model_class.from_pretrained(folder, **options)
    except MismatchError as error:
        return error
    return broken(f"{what} was loaded without an error")


def _require_exact(damage: _Damage, report: nameplate_model.LoadReport | None, evidence: Evidence, who: str) -> None:
    require(report is not None, f"{who} is not there")
    told = _Damage.of(cast("nameplate_model.LoadReport", report))
    require(told == damage, f"{who} says {told}; true is {damage}")
    evidence.count("keys", len(damage.missing | damage.unexpected | damage.mismatched))


def _require_all_needed(case: Case, folder: Path, damage: _Damage) -> None:
    """Require an error as long as one kind of difference, or one key of it, is not allowed."""
    allowed = {"allow_missing": sorted(damage.missing), "allow_unexpected": sorted(damage.unexpected)}
    everything: dict[str, Any] = {**allowed, "ignore_mismatched_sizes": True}
    case.model_class.from_pretrained(folder, **everything)
    if damage.mismatched:
        _refused(case, folder, "a tensor of another shape", **allowed, strict=False)
    for option, names in allowed.items():
        _refused(case, folder, f"{names[-1]}, which {option} does not name,", **{**everything, option: names[:-1]})


@law("S10", "a head can be swapped", level=3, needs=["S09"])
def head_can_be_swapped(case: Case, evidence: Evidence) -> None:
    """A body loads what the same body with a head saved, and the other way round, without an option: the report lists
    exactly the keys of the head, every tensor of the body has its bits, and a key of the body that is absent is an
    error all the same. Shown with a head beside the body, with a body inside of a head's model, and with every
    pair of models of the architecture that declare it."""
    weights(case.model())
    pairs = [_side_by_side(case), _one_inside_the_other(case)]
    pairs += [(case, other) for other in _declared(case)]
    for body, headed in pairs:
        _require_swap(body, headed, evidence)
        _require_swap(headed, body, evidence)
    _require_body_complete(*pairs[0], tuple(case.model_class.head_prefixes))


def _side_by_side(case: Case) -> tuple[Case, Case]:
    prefixes = (*case.model_class.head_prefixes, f"{_HEAD}.")
    body = carrying(case, lambda _: None, name="ConformanceBody", head_prefixes=prefixes)
    return body, carrying(body, _with_a_head, name="ConformanceHead")


def _with_a_head(model: nn.Module) -> None:
    model.add_module(_HEAD, nn.Linear(2, 2))


def _step(version: int) -> Callable[..., Any]:
    @nameplate_model.migrates_state(version, version + 1)
    def unchanged(state: Mapping[str, Any]) -> Mapping[str, Any]:
        return state

    return unchanged


def _with_versions_of(model_class: type[PreTrainedModel]) -> type:
    """Return a base class for models whose names have as many versions as those of a class, all of them the same."""
    steps = range(1, model_class.state_dict_version)
    body = {f"conformance_step_{each}": staticmethod(_step(each)) for each in steps}
    return type("Versions", (), {**body, "state_dict_version": model_class.state_dict_version})


def _one_inside_the_other(case: Case) -> tuple[Case, Case]:
    body = carrying(case, lambda _: None, name="ConformanceBody", base_model_prefix=_BODY)
    inner = body.model_class

    class ConformanceHead(_with_versions_of(inner), PreTrainedModel):  # type: ignore[misc]
        config_class = inner.config_class
        base_model_prefix = _BODY

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            self.conformance_body = inner(config)
            _with_a_head(self)

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return self.conformance_body(*args, **kwargs)

        @property
        def dummy_inputs(self) -> Any:
            return self.conformance_body.dummy_inputs

    return body, judging(case, ConformanceHead)


def _declared(case: Case) -> list[Case]:
    """Return the case with each other model of the architecture, if one of the two declares what is head."""
    own = case.model_class
    others = [case.architecture.model_class(head) for head in case.architecture.models if head != case.head]
    return [
        judging(case, other)
        for other in others
        if other is not own and (own.head_prefixes or other.head_prefixes or _prefix(own) or _prefix(other))
    ]


def _require_swap(saver: Case, loader: Case, evidence: Evidence) -> None:
    model = saver.poisoned()
    when = f"saved by {type(model).__name__} and loaded by {loader.model_class.__name__}"
    target = loader.plain()
    with saver.folder() as folder:
        model.save_pretrained(folder)
        try:
            loaded = loader.model_class.from_pretrained(folder)
        except MismatchError as error:
            broken(f"{when}: {error}")
        held = _renamed(state_bits(model), set(nn.Module.state_dict(target)), _prefix(model) or _prefix(target))
        wanted = state_bits(loaded)
    head = _Damage(frozenset(set(wanted) - set(held)), frozenset(set(held) - set(wanted)), frozenset())
    _require_exact(head, loaded.load_report, evidence, f"{when}: the report")
    common = {name: kept for name, kept in held.items() if name in wanted}
    there = {name: wanted[name] for name in common}
    require_same(common, there, evidence, what="tensors of the body", when=when)


def _prefix(model: Any) -> str:
    return str(getattr(model, "base_model_prefix", "") or "")


def _renamed(state: Mapping[str, Bits], keys: set[str], prefix: str) -> dict[str, Bits]:
    """Return a state as a model with other keys would name it, which has the body inside or is the body."""
    inside = prefix and any(name.startswith(f"{prefix}.") for name in state)
    wanted = prefix and any(key.startswith(f"{prefix}.") for key in keys)
    if wanted and not inside:
        return {f"{prefix}.{name}": kept for name, kept in state.items()}
    if inside and not wanted:
        return {name.removeprefix(f"{prefix}."): kept for name, kept in state.items()}
    return dict(state)


def _require_body_complete(body: Case, headed: Case, heads: tuple[str, ...]) -> None:
    model = body.poisoned()
    with body.folder() as folder:
        model.save_pretrained(folder)
        stored = read_checkpoint(folder)
        candidates = [name for name in untied(model) if name in stored and not name.startswith(heads)]
        if not candidates:
            require(not heads, f"head_prefixes {list(heads)} leave nothing that is the body")
            return
        lost = candidates[0]
        del stored[lost]
        keep_only(folder, "config.json")
        write_safetensors(folder / SINGLE, stored, {"format": "pt"})
        error = _refused(headed, folder, f"a body without {candidates[0]}")
        require(
            candidates[0] in str(error), f"the error about a body without {candidates[0]} does not name it: {error}"
        )


@law("S11", "a failed load changes nothing", level=3, needs=["S09"])
def failed_load_changes_nothing(case: Case, evidence: Evidence) -> None:
    """Loading weights into a model that is there either fills all of it or, with an error, changes none of its
    tensors, neither their bits nor which objects they are. One that stopped half-way would be neither model."""
    with case.folder() as folder:
        wanted = case.poisoned()
        wanted.save_pretrained(folder / "whole")
        _damaged(case, folder / "damaged")
        target = case.model()
        before, objects = state_bits(target), _objects(target)
        try:
            nameplate_model.load_weights(target, folder / "damaged")
        except MismatchError:
            pass
        else:
            broken("load_weights took a file that does not fit, without an error")
        require_same(before, state_bits(target), evidence, what="tensors", when="refused by load_weights")
        require(objects == _objects(target), "a refused load_weights put other objects into the model")
        nameplate_model.load_weights(target, folder / "whole")
        require_same(state_bits(wanted), state_bits(target), evidence, what="tensors", when="filled by load_weights")


def _objects(model: nn.Module) -> dict[str, int]:
    return {name: id(tensor) for name, tensor in every_tensor(model).items()}


@law("S19", "renamed keys find their places", level=3, needs=["S09"])
def renamed_keys_find_their_places(case: Case, evidence: Evidence) -> None:
    """Names of an older version, mapped by a migration of the class or by key_mapping, load every tensor, and those
    that are right already stay so; two names that become one are an error; and saving again writes the new names,
    so that nothing is mapped twice."""
    with case.folder() as around:
        model = case.poisoned()
        state = weights(model)
        model.save_pretrained(around / "new")
        stored = read_checkpoint(around / "new")
        old = _copy(around, "old", {f"conformance_old.{name}": each for name, each in stored.items()})
        mapping = {r"^conformance_old\.": ""}
        for when, folder in (("from old names", old), ("from new names", around / "new")):
            loaded = case.model_class.from_pretrained(folder, key_mapping=mapping)
            require_same(state, state_bits(loaded), evidence, what="tensors", when=f"loaded {when} with key_mapping")
            loaded.save_pretrained(around / "again")
            written = set(read_checkpoint(around / "again"))
            require(written == set(stored), f"loaded {when}, it is saved under {_listed(written - set(stored))}")
        _require_injective(case, around, stored, mapping)
        _require_migrated(case, old, stored, evidence)


def _copy(around: Path, name: str, stored: Mapping[str, StoredTensor]) -> Path:
    """Write a checkpoint with the config of the one that is there and other tensors."""
    folder = around / name
    folder.mkdir()
    (folder / "config.json").write_bytes((around / "new" / "config.json").read_bytes())
    write_safetensors(folder / SINGLE, stored, {"format": "pt"})
    return folder


def _require_injective(
    case: Case, around: Path, stored: Mapping[str, StoredTensor], mapping: Mapping[str, str]
) -> None:
    first = next(iter(stored))
    twice = _copy(around, "twice", {**stored, f"conformance_old.{first}": _reshaped(stored[first])})
    try:
        case.model_class.from_pretrained(twice, key_mapping=mapping)
    except CheckpointError as error:
        require(first in str(error), f"the error about two tensors for {first} does not name it: {error}")
    else:
        broken(f"two tensors were mapped to {first}, and one of them was loaded without a word")


def _require_migrated(case: Case, old: Path, stored: Mapping[str, StoredTensor], evidence: Evidence) -> None:
    version = case.model_class.state_dict_version

    def migrate(state: Mapping[str, Any]) -> dict[str, Any]:
        return {name.removeprefix("conformance_old."): tensor for name, tensor in state.items()}

    marked = staticmethod(nameplate_model.migrates_state(version, version + 1)(migrate))
    newer = carrying(case, lambda _: None, state_dict_version=version + 1, conformance_migration=marked)
    loaded = newer.model_class.from_pretrained(old)
    state = {name: StoredTensor.of(tensor) for name, tensor in nn.Module.state_dict(loaded).items()}
    wrong = [name for name, each in stored.items() if state[name] != each]
    require(not wrong, f"migrated from old names, other bytes for: {_listed(wrong)}")
    with case.folder() as again:
        loaded.save_pretrained(again)
        require(set(read_checkpoint(again)) == set(stored), "migrated and saved, it has other names")
        newer.model_class.from_pretrained(again)
    evidence.count("migrated tensors", len(stored))
