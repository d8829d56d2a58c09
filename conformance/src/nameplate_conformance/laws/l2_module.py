"""Level 2: a model is a function of its config and its seed, and a well-behaved torch module."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.bits import (
    every_tensor,
    output_bits,
    outputs,
    require_same,
    state_bits,
)
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, law, require
from nameplate_conformance.snapshot import Snapshot


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
    require_same(state_bits(case.model()), state_bits(case.model()), evidence, what="tensors", when="built twice")


@law("M04", "running changes nothing", level=2, needs=["M01"], per_device=True)
def running_changes_nothing(case: Case, evidence: Evidence) -> None:
    """Running a model in evaluation mode changes neither its inputs nor its state, the mode of any module, the
    grad mode or the global random state."""
    model = case.model()
    inputs = case.inputs(model)
    given, state = output_bits(inputs), state_bits(model)
    modes = [module.training for module in model.modules()]
    random, grad = torch.get_rng_state(), torch.is_grad_enabled()
    model(**inputs)
    require_same(given, output_bits(inputs), evidence, what="inputs", when="run in evaluation mode")
    require_same(state, state_bits(model), evidence, what="tensors", when="run in evaluation mode")
    require(modes == [module.training for module in model.modules()], "running it changed the mode of a module")
    require(torch.equal(random, torch.get_rng_state()), "running it drew from the global random state")
    require(grad == torch.is_grad_enabled(), "running it changed the grad mode")


@law("M05", "a model is a function", level=2, needs=["M04"], per_device=True)
def model_is_a_function(case: Case, evidence: Evidence) -> None:
    """In evaluation mode the same inputs give the same bits, whatever the seed: no dropout, no sampling, no state
    that remembers earlier calls."""
    model = case.model()
    answers = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        answers.append(output_bits(case.answer(model)))
    require_same(answers[0], answers[1], evidence, what="outputs", when="run again under another seed")


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


@law("M08", "it builds without memory", level=2, needs=["M01"])
def it_builds_without_memory(case: Case, evidence: Evidence) -> None:
    """Built on the meta device a model has the same keys, shapes, dtypes and shared tensors as a real one, and
    nothing of it is anywhere else. That is how large models are planned and split before a byte is read."""
    real = case.model()
    with torch.device("meta"):
        meta = case.model_class(case.config())
    stray = [name for name, tensor in every_tensor(meta).items() if not tensor.is_meta]
    require(not stray, f"built on the meta device, these are elsewhere: {', '.join(stray[:4])}")
    require(_layout(real) == _layout(meta), "built on the meta device, keys, shapes or dtypes differ")
    require(_ties(real) == _ties(meta), "built on the meta device, other tensors are shared")
    evidence.count("tensors", len(_layout(real)))


def _layout(model: nn.Module) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in every_tensor(model).items()}


def _ties(model: nn.Module) -> set[frozenset[str]]:
    groups: dict[int, set[str]] = {}
    for name, tensor in every_tensor(model).items():
        groups.setdefault(id(tensor), set()).add(name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}
