"""Boxes: parts of a tensor with sides along its axes, as a rank holds one of a sharded tensor. Plain arithmetic.

What torch calls a placement is a `Cut` here, so that a layout can be reasoned about without any process group.
"""

import sys
from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import torch

from nameplate_model.errors import CheckpointError

_Ranges = list[tuple[int, int]]
"""Indices along one axis, in order: where each stretch begins and ends."""


class Box(NamedTuple):
    """A part of a tensor.

    Attributes:
        offsets: Where it begins along each axis, in elements.
        sizes: How far it reaches along each axis, in elements.

    Example:
        >>> Box((2, 0), (3, 4)).slices
        (slice(2, 5, None), slice(0, 4, None))
    """

    offsets: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def numel(self) -> int:
        """The number of its elements."""
        return prod(self.sizes)

    @property
    def slices(self) -> tuple[slice, ...]:
        """What indexes it in the tensor."""
        return tuple(slice(begin, begin + size) for begin, size in zip(self.offsets, self.sizes, strict=True))


class Cut(NamedTuple):
    """How one dimension of a mesh cuts a tensor.

    Attributes:
        dim: The axis that is cut into as many parts as the dimension of the mesh has ranks.
        factor: Into how many parts the axis is cut first, each of which is then cut for itself: the `split_factor` of
            torch's `_StridedShard`, and 1 for its `Shard`.
    """

    dim: int
    factor: int = 1


def whole(shape: Sequence[int]) -> Box:
    """Return the box that is all of a tensor."""
    return Box((0,) * len(shape), tuple(shape))


def box_of(shape: Sequence[int], cuts: Sequence[Cut | None], sizes: Sequence[int], coordinate: Sequence[int]) -> Box:
    """Return the part of a tensor that one rank of a mesh holds.

    An axis is cut as `torch.chunk` does it: the last parts may be shorter, or empty. An empty part begins where the
    axis ends, as torch has it.

    Args:
        shape: The size of the tensor along each axis.
        cuts: How each dimension of the mesh cuts it, the first one first; None where it is replicated.
        sizes: The number of ranks along each dimension of the mesh.
        coordinate: Where the rank is in the mesh.

    Raises:
        CheckpointError: If a cut is of no axis, or what the rank holds is no box.

    Example:
        >>> box_of((10, 4), [Cut(0), None], [3, 2], [2, 0])
        Box(offsets=(8, 0), sizes=(2, 4))
        >>> box_of((8, 8), [Cut(0, 2), Cut(0)], [2, 2], [0, 1])
        Box(offsets=(4, 0), sizes=(2, 8))
    """
    axes: dict[int, _Ranges] = {}
    for cut, count, place in zip(cuts, sizes, coordinate, strict=True):
        if cut is None:
            continue
        if not 0 <= cut.dim < len(shape):
            message = f"a tensor of shape {tuple(shape)} has no axis {cut.dim}, so it cannot be cut along that."
            raise CheckpointError(message)
        held = axes.get(cut.dim, [(0, shape[cut.dim])])
        axes[cut.dim] = _coalesced(each for part in _chunks(held, cut.factor) for each in _chunk(part, count, place))
    offsets, extents = [0] * len(shape), list(shape)
    for dim, held in axes.items():
        if len(held) > 1:
            message = (
                f"axis {dim} of a tensor of shape {tuple(shape)} is cut by {list(cuts)} into what is no one range."
            )
            raise CheckpointError(message)
        begin, end = held[0] if held else (shape[dim], shape[dim])
        offsets[dim], extents[dim] = begin, end - begin
    return Box(tuple(offsets), tuple(extents))


def _chunks(held: _Ranges, count: int) -> Iterator[_Ranges]:
    return (_chunk(held, count, place) for place in range(count))


def _chunk(held: _Ranges, count: int, place: int) -> _Ranges:
    """Return one of the *count* parts that `torch.chunk` makes of indices."""
    step = -(-sum(end - begin for begin, end in held) // count)
    first, last = place * step, (place + 1) * step
    found: _Ranges = []
    for begin, end in held:
        low, high = max(first, 0), min(last, end - begin)
        if low < high:
            found.append((begin + low, begin + high))
        first, last = first - (end - begin), last - (end - begin)
    return found


def _coalesced(ranges: Iterator[tuple[int, int]]) -> _Ranges:
    found: _Ranges = []
    for begin, end in ranges:
        if found and found[-1][1] == begin:
            found[-1] = found[-1][0], end
        else:
            found.append((begin, end))
    return found


def runs(box: Box, shape: Sequence[int], first: int = 0, count: int | None = None) -> Iterator[tuple[int, int]]:
    """Yield where a box lies in a tensor that is stored row by row, in order, in as few runs as there can be.

    Args:
        box: The box.
        shape: The size of the tensor along each axis.
        first: The element of the box from which on it is wanted.
        count: How many of its elements are wanted; None means all that are left.

    Yields:
        The place of the first element of a run in the tensor, and the number of its elements.

    Example:
        >>> list(runs(Box((1, 0), (2, 4)), (3, 4)))
        [(4, 8)]
        >>> list(runs(Box((0, 2), (3, 2)), (3, 4)))
        [(2, 2), (6, 2), (10, 2)]
        >>> list(runs(Box((0, 2), (3, 2)), (3, 4), first=3, count=2))
        [(7, 1), (10, 1)]
    """
    end = box.numel if count is None else min(first + count, box.numel)
    if first >= end:
        return
    axis, length, steps = _run(box, shape)
    start = sum(offset * step for offset, step in zip(box.offsets, steps, strict=True))
    outer = list(zip(reversed(box.sizes[:axis]), reversed(steps[:axis]), strict=True))
    for number in range(first // length, -(-end // length)):
        begin, left = start, number
        for size, step in outer:
            left, place = divmod(left, size)
            begin += place * step
        done = number * length
        if first <= done and done + length <= end:
            yield begin, length
        else:
            low, high = max(first - done, 0), min(end - done, length)
            yield begin + low, high - low


def _run(box: Box, shape: Sequence[int]) -> tuple[int, int, list[int]]:
    """Return the axis within which a run ends, the elements of a run, and how far apart neighbours of each axis are."""
    steps = [prod(shape[axis + 1 :]) for axis in range(len(shape))]
    axis = len(shape) - 1
    while axis > 0 and box.sizes[axis] == shape[axis]:
        axis -= 1
    while axis > 0 and box.sizes[axis - 1] == 1:  # one of it: what is before does not tear it apart
        axis -= 1
    axis = max(axis, 0)
    return axis, prod(box.sizes[axis:]), steps


def overlap(a: Box, b: Box) -> Box | None:
    """Return what two boxes of one tensor share, or None if that is nothing.

    Example:
        >>> overlap(Box((0, 0), (4, 4)), Box((2, 3), (4, 4)))
        Box(offsets=(2, 3), sizes=(2, 1))
    """
    begins = tuple(map(max, a.offsets, b.offsets))
    ends = [min(first, second) for first, second in zip(_ends(a), _ends(b), strict=True)]
    sizes = tuple(end - begin for begin, end in zip(begins, ends, strict=True))
    return Box(begins, sizes) if all(size > 0 for size in sizes) else None


def _ends(box: Box) -> Iterator[int]:
    return (begin + size for begin, size in zip(box.offsets, box.sizes, strict=True))


def is_sharded(tensor: torch.Tensor) -> bool:
    """Return whether a tensor is a DTensor, of which this process holds a part. Imports nothing.

    Example:
        >>> is_sharded(torch.ones(2))
        False
    """
    module = sys.modules.get("torch.distributed.tensor")  # without it there is none
    kind = getattr(module, "DTensor", None)
    return kind is not None and isinstance(tensor, kind)
