"""Comparing tensors and outputs by their bytes.

`torch.equal` fails on NaN and passes 0.0 for -0.0; a law that says "the same" means the same bits.
"""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.grid import few
from nameplate_conformance.law import Evidence, inapplicable, require


@dataclass(frozen=True, slots=True)
class Bits:
    """A copy of a tensor's bytes on the host, with its dtype and shape."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    data: Tensor

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Bits):
            return NotImplemented
        return self.dtype == other.dtype and self.shape == other.shape and torch.equal(self.data, other.data)

    __hash__ = None  # type: ignore[assignment]


def bits(tensor: Tensor) -> Bits:
    """Return the bytes of a tensor, copied."""
    dense = tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
    return Bits(tensor.dtype, tuple(tensor.shape), dense.reshape(-1).view(torch.uint8))


def values(kept: Bits) -> Tensor:
    """Return the tensor whose bytes these are.

    Example:
        >>> values(bits(torch.tensor([1.5, -0.0])))
        tensor([1.5000, -0.0000])
    """
    return kept.data.view(kept.dtype).reshape(kept.shape)


def same_bytes(kept: Bits, data: bytes) -> bool:
    """Whether a tensor's bytes are exactly *data*."""
    if len(data) != kept.data.numel():
        return False
    return not data or torch.equal(torch.frombuffer(bytearray(data), dtype=torch.uint8), kept.data)


def state_bits(model: nn.Module) -> dict[str, Bits]:
    """Return the bytes of every parameter and persistent buffer, asked of torch itself, not of the model's class."""
    return {name: bits(tensor) for name, tensor in nn.Module.state_dict(model).items()}


def weights(model: nn.Module) -> dict[str, Bits]:
    """Return what `state_bits` does. A law that asks for weights does not apply to a model without any."""
    return state_bits(model) or inapplicable("the model has no weights")


def every_tensor(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and all buffers, those that no file holds included."""
    found: dict[str, Tensor] = dict(model.named_parameters(remove_duplicate=False))
    found.update(model.named_buffers(remove_duplicate=False))
    return found


def outputs(value: Any, path: str = "output") -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of what a model answers, with the path to each."""
    if isinstance(value, Tensor):
        yield path, value
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from outputs(item, f"{path}[{key!r}]")
    elif isinstance(value, (list, tuple)):
        for position, item in enumerate(value):
            yield from outputs(item, f"{path}[{position}]")
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for each in dataclasses.fields(value):
            yield from outputs(getattr(value, each.name), f"{path}.{each.name}")


def output_bits(value: Any) -> dict[str, Bits]:
    """Return the bytes of every tensor in what a model answers."""
    return {path: bits(tensor) for path, tensor in outputs(value)}


def require_same(
    before: Mapping[str, Bits], after: Mapping[str, Bits], evidence: Evidence, *, what: str, when: str
) -> None:
    """Require two sets of tensors to have the same names and bytes, and count them as evidence."""
    lost, added = sorted(set(before) - set(after)), sorted(set(after) - set(before))
    require(not lost, f"{when}: {what} lost: {_named(lost)}")
    require(not added, f"{when}: {what} added: {_named(added)}")
    changed = [name for name in before if before[name] != after[name]]
    if changed:
        message = f"{when}: {what} differ: {_named(changed)} of {len(before)}"
        raise LawBrokenError(message, few((name, values(before[name]), values(after[name])) for name in changed))
    evidence.count(what, len(before))


def _named(names: list[str]) -> str:
    rest = f", … ({len(names)})" if len(names) > 4 else ""  # noqa: PLR2004 - as the slice below
    return ", ".join(names[:4]) + rest
