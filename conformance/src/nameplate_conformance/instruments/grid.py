"""Cutting two tensors that differ down to an `Apart`: a grid of at most 1,024 values that loses no difference."""

import math
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from torch import Tensor

from nameplate_conformance.records.apart import MOST_VALUES, Apart

_FEW = 2
_SIDE = math.isqrt(MOST_VALUES)
_WIDE = 2
_THIN = 32
_NOWHERE = -1.0


def few(pairs: Iterable[tuple[str, Tensor, Tensor]]) -> tuple[Apart, ...]:
    """Return what a report keeps of tensors that differ: the two largest that can be compared place by place."""
    largest = sorted(pairs, key=lambda pair: -pair[1].numel())
    return tuple(islice((apart for pair in largest if (apart := cut(*pair)) is not None), _FEW))


def cut(name: str, before: Tensor, after: Tensor) -> Apart | None:
    """Return what a report keeps of two tensors; None if they cannot be compared place by place.

    Args:
        name: The name of the tensor.
        before: What it was.
        after: What it is, of the same shape for there to be places.

    Example:
        >>> apart = cut("weight", torch.zeros(64, 64), torch.eye(64))
        >>> len(apart.before), apart.differing, apart.index(33)
        (1024, 64, (2, 2))
    """
    if before.shape != after.shape or not before.numel():
        return None
    try:
        one, other = _numbers(before), _numbers(after)
    except RuntimeError:  # a dtype that torch can store and not convert, such as packed float4
        return None
    unequal = _unequal(before, after)
    places, columns = _places(_weight(one, other, unequal), _rows(before.shape))
    return Apart(
        name=name,
        dtype=" → ".join(dict.fromkeys(str(each.dtype).removeprefix("torch.") for each in (before, after))),
        shape=tuple(before.shape),
        columns=columns,
        before=tuple(one[places].tolist()),
        after=tuple(other[places].tolist()),
        at=() if len(places) == before.numel() else tuple(places.tolist()),
        differing=int(unequal.sum()),
    )


def _numbers(tensor: Tensor) -> Tensor:
    """Return the values of a tensor, flat, as the widest numbers; of complex ones the sizes."""
    flat = tensor.detach().to("cpu").reshape(-1)
    return (flat.abs() if flat.is_complex() else flat).to(torch.float64)


def _unequal(before: Tensor, after: Tensor) -> Tensor:
    """Return which values have other bits, or are of another dtype and unequal as numbers."""
    one, other = (each.detach().to("cpu").contiguous().reshape(-1) for each in (before, after))
    if one.dtype != other.dtype:
        one, other = _numbers(before), _numbers(after)
    width = one.element_size()
    return (one.view(torch.uint8) != other.view(torch.uint8)).reshape(-1, width).any(dim=1)


def _weight(one: Tensor, other: Tensor, unequal: Tensor) -> Tensor:
    """Return how much each place deserves to be kept: most where one is no number, least where both are the same."""
    size = (other - one).abs().nan_to_num(nan=math.inf, posinf=math.inf)
    tiny = torch.finfo(size.dtype).tiny
    return torch.where(unequal, size.clamp(min=tiny), torch.zeros_like(size))


def _rows(shape: Sequence[int]) -> int:
    """Return how many rows a tensor is drawn with: its leading axes, as many as make it about twice as wide as high.

    A vector, and whatever is as thin as one, is wrapped like text.
    """
    total = math.prod(shape)
    splits = [math.prod(shape[:axis]) for axis in range(len(shape))] or [1]
    rows = min(splits, key=lambda each: abs(math.log(total / each**2 / _WIDE)))
    thin = max(rows, total // rows) > _SIDE and not 1 / _THIN <= total / rows**2 <= _THIN
    return max(1, math.isqrt(total // _WIDE)) if thin else rows


def _places(weight: Tensor, rows: int) -> tuple[Tensor, int]:
    """Return the flat places that are kept, the heaviest of each block, and how many of them stand in a row."""
    total = weight.numel()
    width = math.ceil(total / rows)
    if total <= MOST_VALUES:
        return torch.arange(total), width
    high, wide = _block(rows, width)
    down, across = math.ceil(rows / high), math.ceil(width / wide)
    padded = torch.full((down * high, across * wide), _NOWHERE, dtype=weight.dtype)
    padded[:rows, :width] = torch.nn.functional.pad(weight, (0, rows * width - total), value=_NOWHERE).view(rows, width)
    blocks = padded.view(down, high, across, wide).transpose(1, 2).reshape(down * across, high * wide)
    heaviest, inside = blocks.max(dim=1)
    number = torch.arange(down * across)
    row = number // across * high + inside // wide
    column = number % across * wide + inside % wide
    return (row * width + column)[heaviest > _NOWHERE], across


def _block(rows: int, width: int) -> tuple[int, int]:
    """Return the height and width of the blocks of which each keeps one value."""
    high = math.ceil(rows / min(rows, max(_SIDE, MOST_VALUES // width)))
    return high, math.ceil(width / (MOST_VALUES // math.ceil(rows / high)))
