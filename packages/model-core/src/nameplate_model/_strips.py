"""Strips: where the bytes of a box lie in its tensor, as runs of equal length that are equally far from each other.

A box that is whole along all axes but the first is one run; one that is cut along another axis has a run in each row.
What is done with the bytes of a box (they are summed, written, sent) is done strip by strip, in bounded memory.
"""

from collections.abc import Iterator, Sequence
from math import prod
from typing import NamedTuple

import torch

from nameplate_model._boxes import Box, runs
from nameplate_model._writer import bytes_of

PIECE = 16 << 20
"""The most bytes of a strip: what is copied from a device, sent or written at a time."""


class Strip(NamedTuple):
    """Runs of bytes in a tensor that is stored row by row.

    Attributes:
        begin: Where the first run begins, in bytes from the start of the tensor.
        count: How many runs there are.
        run: The bytes of each.
        period: The bytes from where one begins to where the next does.
    """

    begin: int
    count: int
    run: int
    period: int

    @property
    def size(self) -> int:
        """The bytes of all runs."""
        return self.count * self.run


def strips(box: Box, shape: Sequence[int], width: int, most: int = PIECE) -> Iterator[Strip]:
    """Yield where the bytes of a box lie in its tensor, in the order in which the box has them.

    Args:
        box: The box.
        shape: The size of the tensor along each axis.
        width: The bytes of an element.
        most: The most bytes of a strip.

    Example:
        >>> list(strips(Box((0, 2), (3, 2)), (3, 4), 4))
        [Strip(begin=8, count=3, run=8, period=16)]
        >>> list(strips(Box((1, 0), (2, 4)), (3, 4), 4, most=20))
        [Strip(begin=16, count=1, run=20, period=20), Strip(begin=36, count=1, run=12, period=12)]
    """
    if not box.numel:
        return
    cut = [axis for axis, (size, every) in enumerate(zip(box.sizes, shape, strict=True)) if size != every]
    axis = cut[-1] if cut else 0
    inner = width * prod(shape[axis + 1 :])
    run, period = prod(box.sizes[axis : axis + 1]) * inner, prod(shape[axis : axis + 1]) * inner
    offset = sum(box.offsets[axis : axis + 1]) * inner
    for first, count in runs(Box(box.offsets[:axis], box.sizes[:axis]), shape[:axis]):
        yield from _cut(Strip(first * period + offset, count, run, period), most)


def _cut(strip: Strip, most: int) -> Iterator[Strip]:
    """Yield a strip as several that are not too large."""
    begin, count, run, period = strip
    if run > most or count == 1:
        for place in range(begin, begin + count * period, period):
            for at in range(0, run, most):
                piece = min(most, run - at)
                yield Strip(place + at, 1, piece, piece)
        return
    step = most // run
    for first in range(0, count, step):
        yield Strip(begin + first * period, min(step, count - first), run, period)


def strips_of(part: torch.Tensor, box: Box, shape: Sequence[int]) -> Iterator[tuple[Strip, torch.Tensor]]:
    """Yield the strips of a box with their bytes, which stay on the device of the tensor.

    Args:
        part: The values of the box.
        box: Which part of the tensor that is.
        shape: The size of the tensor along each axis.

    Yields:
        A strip, and its bytes in order: uint8, 1-D. What does not lie in memory as a file has it is copied, one strip
        at a time.
    """
    for block, place in _blocks(part.detach(), box):
        flat = block.resolve_conj().resolve_neg().contiguous().reshape(-1).view(torch.uint8)
        at = 0
        for strip in strips(place, shape, part.element_size()):
            yield strip, flat[at : at + strip.size]
            at += strip.size


def _blocks(part: torch.Tensor, box: Box) -> Iterator[tuple[torch.Tensor, Box]]:
    """Yield what lies row by row as it is, and the rest in blocks that are small enough to be copied."""
    dense = part.is_contiguous() and not part.is_conj() and not part.is_neg()
    if dense or bytes_of(part) <= PIECE:
        yield part, box
        return
    axis = next(axis for axis, size in enumerate(part.shape) if size > 1)
    step = max(1, PIECE * part.shape[axis] // bytes_of(part))
    for first in range(0, part.shape[axis], step):
        block = part.narrow(axis, first, min(step, part.shape[axis] - first))
        offsets = list(box.offsets)
        offsets[axis] += first
        yield from _blocks(block, Box(tuple(offsets), tuple(block.shape)))
