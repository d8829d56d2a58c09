"""Level 2: a model is a function of its config and its seed, however it is built."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import is_lazy

from nameplate_conformance.drawing.strategies import Kwargs, is_accepted
from nameplate_conformance.instruments.answers import require_promised
from nameplate_conformance.instruments.bits import Bits, bits, every_tensor, output_bits, outputs, require_same
from nameplate_conformance.instruments.oracle import SINGLE, StoredTensor, write_safetensors
from nameplate_conformance.instruments.overlaps import by_memory, in_common, overlapping, same_objects
from nameplate_conformance.instruments.snapshot import Snapshot
from nameplate_conformance.judging.case import Case, drawn_kwargs
from nameplate_conformance.law import Evidence, Scope, Strength, inapplicable, law, require
from nameplate_model import PreTrainedModel

_SAMPLES = 40
_MOST_PAIRS = 12


@law("M01", "every config builds and runs", level=2, needs=["A02"], per_device=True)
def every_config_builds_and_runs(case: Case, evidence: Evidence) -> None:
    """Every config that the config class accepts builds a model that answers its inputs. A config that cannot be
    built must be refused by the config class, where the user can read why."""
    answered = list(outputs(case.answer(case.model())))
    require(answered, "the model answers without any tensor")
    evidence.count("outputs", len(answered))


@law("M02", "building leaves the config alone", level=2, needs=["M01"])
def building_leaves_the_config_alone(case: Case, evidence: Evidence) -> None:
    """Building a model does not change its config. One that writes into it makes the second model built from the
    same config another model."""
    config = case.config()
    before = Snapshot.of(config.to_dict())
    model = case.model(config)
    before.require_unchanged(config.to_dict(), f"building a {type(model).__name__} changed")
    evidence.count("values", len(before.texts))


@law("M03", "the seed decides the weights", level=2, needs=["M01"])
def seed_decides_the_weights(case: Case, evidence: Evidence) -> None:
    """The same config under the same seed builds a model with the same bits, however many were built before: there
    are no hidden counters or caches."""
    one, other = _all_bits(case.model()), _all_bits(case.model())
    require_same(one, other, evidence, what="tensors", when="built twice")
    _require_tensors(one)


@law("M06", "every tensor is registered", level=2, needs=["M01"])
def every_tensor_is_registered(case: Case, evidence: Evidence) -> None:
    """Every tensor that a module owns is a parameter or a buffer. One in a plain attribute or list is not moved to
    another device, not saved and not trained."""
    model = case.model()
    known = {id(tensor) for tensor in every_tensor(model).values()}
    for prefix, module in model.named_modules():
        attributes = {name: value for name, value in vars(module).items() if not name.startswith("_")}
        for path, tensor in _tensors_in(attributes, prefix or type(model).__name__):
            require(id(tensor) in known, f"{path} is a tensor of shape {tuple(tensor.shape)}, but no buffer")
    evidence.count("tensors", len(known))
    evidence.count("modules", sum(1 for _ in model.modules()))


def _tensors_in(value: Any, path: str) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from _tensors_in(item, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from _tensors_in(item, f"{path}[{position}]")


@law("M07", "shared memory follows from the config", level=2, needs=["M01"])
def shared_memory_follows_from_the_config(case: Case, evidence: Evidence) -> None:
    """Two models of one config have the same tensors in shared memory, and share none with each other: training one
    must not train the other. Ties need not be declared, but those that `_tied_weights_keys` declares are there."""
    one, other = case.model(), case.model()
    foreign = in_common(one, other)
    require(not foreign, f"two models share the memory of {', '.join(foreign[:4])}")
    groups = overlapping(one)
    difference = groups ^ overlapping(other)
    require(not difference, f"built twice, other tensors share memory: {[sorted(each) for each in difference][:2]}")
    tied = {name for group in groups for name in group}
    declared = getattr(one, "_tied_weights_keys", None) or ()
    names = {*declared, *(declared.values() if isinstance(declared, Mapping) else ())}
    loose = sorted(name for name in names & every_tensor(one).keys() if name not in tied)
    require(not loose, f"declared as tied, but alone in its memory: {', '.join(loose[:4])}")
    evidence.count("models")
    evidence.count("shared tensors", len(tied))


@law("M08", "it builds without memory", level=2, needs=["M01", "M07"])
def it_builds_without_memory(case: Case, evidence: Evidence) -> None:
    """Built on the meta device a model has the same keys, shapes, dtypes and shared tensors as a real one, and
    nothing of it is anywhere else. That is how large models are planned and split before a byte is read."""
    _require_meta(case)
    real, meta = case.model(), _on_meta(case)
    stray = [name for name, tensor in every_tensor(meta).items() if not tensor.is_meta]
    require(not stray, f"built on the meta device, these are elsewhere: {', '.join(stray[:4])}")
    require(_layout(real) == _layout(meta), "built on the meta device, keys, shapes or dtypes differ")
    require(same_objects(real) == same_objects(meta), "built on the meta device, other tensors are shared")
    _require_tensors(_layout(real))
    evidence.count("tensors", len(_layout(real)))


def _require_meta(case: Case) -> None:
    if not case.architecture.tags.builds_on_meta:
        inapplicable("the architecture says that it cannot be built on the meta device")


def _on_meta(case: Case) -> PreTrainedModel:
    with torch.device("meta"):
        return case.plain()


def _layout(model: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in every_tensor(model).items()}


@law("M09", "what a file lacks is initialised", level=2, needs=["M03", "M08", "S01"])
def what_a_file_lacks_is_initialised(case: Case, evidence: Evidence) -> None:
    """The constructor gives every tensor a value; and a model that is loaded from a file with half of its tensors
    has, for the other half and for all buffers that no file holds, bit for bit what the constructor gives under the
    same seed. Memory that nobody initialised is full of NaN here, and full of luck elsewhere."""
    plain = case.plain()
    if any(is_lazy(tensor) for tensor in every_tensor(plain).values()):
        inapplicable("the tensors of a lazy layer have no values before the first inputs")
    _require_tensors(every_tensor(plain))
    unset = [name for name, tensor in every_tensor(plain).items() if _has_nan(tensor)]
    require(not unset, f"the constructor leaves NaN, or memory that was never written, in: {', '.join(unset[:4])}")
    with case.folder() as folder:
        stored = _write_half(case, folder)
        torch.manual_seed(case.seed)
        loaded = _all_bits(case.model_class.from_pretrained(folder, strict=False))
    expected = {name: each for name, each in _all_bits(plain).items() if name not in stored}
    found = {name: each for name, each in loaded.items() if name not in stored}
    require_same(expected, found, evidence, what="tensors", when="loaded from a file that lacks them")


def _write_half(case: Case, folder: Path) -> set[str]:
    """Write a checkpoint with every second tensor, and all that shares memory with it; return their names."""
    model = case.poisoned()
    state: dict[str, Any] = nn.Module.state_dict(model)
    tensors = {name: each for name, each in state.items() if isinstance(each, Tensor)}
    stored = {name for names in by_memory(tensors, overlapping(model))[1::2] for name in names}
    model.config.save_pretrained(folder)
    write_safetensors(folder / SINGLE, {name: StoredTensor.of(tensors[name]) for name in sorted(stored)})
    return stored


def _has_nan(tensor: Tensor) -> bool:
    if tensor.is_complex():
        return bool(tensor.isnan().any())
    return tensor.is_floating_point() and bool(tensor.to(torch.float32).isnan().any())


def _all_bits(model: nn.Module) -> dict[str, Bits]:
    return {name: bits(tensor) for name, tensor in every_tensor(model).items()}


def _require_tensors(tensors: Mapping[str, Any]) -> None:
    if not tensors:
        inapplicable("the model has neither parameters nor buffers")


@law("M11", "the default config builds and runs", level=2, needs=["M08", "M10"], scope=Scope.ONCE)
def default_config_builds_and_runs(case: Case, evidence: Evidence) -> None:
    """The default config, which no other law builds because it is large, builds without memory and answers, as far
    as shapes and dtypes go, what is promised. A table that is long enough only for the configs of tests is found
    here."""
    _require_meta(case)
    default = replace(case, kwargs=case.default_kwargs())
    meta = _on_meta(default)
    stray = [name for name, tensor in every_tensor(meta).items() if not tensor.is_meta]
    require(not stray, f"the default model, built on the meta device, has elsewhere: {', '.join(stray[:4])}")
    evidence.count("models")
    if not case.architecture.tags.exportable:
        return
    inputs = case.architecture.make_inputs(meta)
    tensors = [*meta.named_parameters(), *meta.named_buffers()]
    with FakeTensorMode() as fakes, torch.no_grad():
        stand_ins = {name: torch.empty(each.shape, dtype=each.dtype) for name, each in tensors}
        fake_inputs = {name: fakes.from_tensor(value) for name, value in inputs.items()}
        answer = torch.func.functional_call(meta.eval(), stand_ins, kwargs=fake_inputs)
        promised = require_promised(case.architecture, case.head, meta.config, inputs, answer)
    evidence.count("outputs", promised)


@law("M12", "every field counts", level=2, needs=["M03", "M05", "T05"], scope=Scope.ONCE, strength=Strength.SHOULD)
def every_field_counts(case: Case, evidence: Evidence) -> None:
    """For each field of the config there are two values that make a difference to the tensors, the initial weights
    or the answers of a model, in evaluation or in training. A field that does nothing misleads whoever sets it; one
    that is meant for people only belongs into the tag `passive_fields`, and must then really do nothing."""
    heads = list(case.architecture.models) or [case.model_class.__name__]  # the latter says that there is no model
    if case.head != heads[0]:
        return  # a field may count for one head alone, so all of them were asked together
    every = [kwargs for kwargs in drawn_kwargs(case.architecture, _SAMPLES) if is_accepted(case.config_class, kwargs)]
    prints = _Fingerprints(case, heads)
    passive = set(case.architecture.tags.passive_fields)
    names = sorted({name for kwargs in every for name in kwargs})
    unknown = sorted(passive - set(names))
    require(not unknown, f"declared as passive, but no field: {', '.join(unknown)}")
    for name in names:
        pairs = list(_pairs(case, every, name))
        if not pairs:
            continue  # only one value of it can be drawn, so it cannot be judged
        counts = any(prints.differ(one, other) for one, other in pairs)
        require(counts or name in passive, f"{name}: of {len(pairs)} pairs of values none makes a difference")
        require(not (counts and name in passive), f"{name} is declared as passive, but makes a difference")
        evidence.count("fields")


def _pairs(case: Case, every: list[Kwargs], name: str) -> Iterator[tuple[Kwargs, Kwargs]]:
    """Yield arguments that differ in one field only."""
    found = 0
    values = list({repr(kwargs[name]): kwargs[name] for kwargs in every if name in kwargs}.values())
    for position, kwargs in enumerate(kwargs for kwargs in every if name in kwargs):
        value = values[position % len(values)]
        changed = {**kwargs, name: value}
        if repr(value) == repr(kwargs[name]) or not is_accepted(case.config_class, changed):
            continue
        yield kwargs, changed
        found += 1
        if found == _MOST_PAIRS:
            return


class _Fingerprints:
    """What there is to see of the models of an architecture: tensors, initial weights, answers."""

    def __init__(self, case: Case, heads: list[str]) -> None:
        self._cases = [replace(case, head=head) for head in heads]

    def differ(self, one: Kwargs, other: Kwargs) -> bool:
        return any(self._of(replace(case, kwargs=one)) != self._of(replace(case, kwargs=other)) for case in self._cases)

    def _of(self, case: Case) -> tuple[dict[str, Bits], ...]:
        model = case.model()
        answers = []
        for training in (False, True):
            torch.manual_seed(case.seed)
            answers.append(output_bits(case.answer(model.train(training))))
        return (_all_bits(model), *answers)
