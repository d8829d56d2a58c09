"""What a model answers, by name: comparing it with a promise, with another batch, and up to rounding."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.bits import outputs
from nameplate_conformance.instruments.grid import few
from nameplate_conformance.law import require

WHOLE = "output"
"""The name of a tensor that is the whole answer."""


def named(answer: Any) -> dict[str, Tensor]:
    """Return the tensors of an answer by the names that a promise uses."""
    if isinstance(answer, Mapping):
        return {name: tensor for key, item in answer.items() for name, tensor in outputs(item, str(key))}
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        names = [each.name for each in dataclasses.fields(answer)]
        return {name: tensor for key in names for name, tensor in outputs(getattr(answer, key), key)}
    return dict(outputs(answer, WHOLE))


def batch_size(inputs: Mapping[str, Tensor]) -> int:
    """Return how many rows the inputs have: the length of the first one, or 0 if it has no axis."""
    first = next(iter(inputs.values()), None)
    return 0 if first is None or first.dim() == 0 else len(first)


def another_batch(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs of another size: the first row of several, or the only one twice.

    Inputs that do not have as many rows as the first input belong to the whole batch and stay.
    """
    rows = batch_size(inputs)
    fewer = rows > 1
    return {
        name: (value[:1] if fewer else torch.cat([value, value])) if value.dim() and len(value) == rows else value
        for name, value in inputs.items()
    }


def require_promised(
    architecture: Architecture, head: str, config: Any, inputs: Mapping[str, Tensor], answer: Any
) -> int:
    """Require an answer to have the names, shapes and dtypes that are promised of a head; return how many.

    An architecture that promises nothing promises at least one tensor.
    """
    found = {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in named(answer).items()}
    require(found, "the model answers without any tensor")
    promise = architecture.promise(head)
    if promise is None:
        return len(found)
    promised = {name: (tuple(shape), dtype) for name, (shape, dtype) in promise(config, inputs).items()}
    for name in {**promised, **found}:
        expected, given = promised.get(name, "nothing"), found.get(name, "nothing")
        require(expected == given, f"{name}: promised is {expected}, answered {given}")
    return len(found)


def close(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are equal up to rounding; those that do not round must be equal."""
    if (one.dtype, one.shape) != (other.dtype, other.shape):
        return False
    if not (one.is_floating_point() or one.is_complex()):
        return torch.equal(one, other)
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    wide = torch.complex128 if one.is_complex() else torch.float64
    return torch.allclose(one.to(wide), other.to(wide), rtol=tolerance, atol=tolerance, equal_nan=True)


def in_float64(inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return inputs whose floating tensors are float64; the others are the same objects."""
    return {name: each.double() if each.is_floating_point() else each for name, each in inputs.items()}


def require_close(before: Any, after: Any, when: str) -> int:
    """Require two answers to have the same names and, up to rounding, values; return how many tensors they have."""
    one, other = named(before), named(after)
    require(one.keys() == other.keys(), f"{when}: it answers {sorted(other)}, not {sorted(one)}")
    apart = [name for name in one if not close(one[name], other[name])]
    if apart:
        message = f"{when}: the answers differ: {', '.join(apart[:4])} of {len(one)}"
        raise LawBrokenError(message, few((name, one[name], other[name]) for name in apart))
    return len(one)
