"""A tensor of a checkpoint that lies in several boxes, as the ranks of a save have left it, seen as one.

What a folder says of its pieces is checked once, when they are put together: they must be the whole, each element
once. Only those that are asked for are read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import NamedTuple, Protocol

import torch

from nameplate_config.wording import sentences, shown
from nameplate_model._boxes import Box, overlap, whole
from nameplate_model._files import Held, Stored
from nameplate_model._reading import CPU, Want, fetch
from nameplate_model.errors import CorruptFileError

_MOST_AXES = 8
"""Along how many axes a tensor may be cut; a mesh has two or three dimensions, and each more doubles the corners."""


class Sealed(Protocol):
    """A piece of which it is known where it lies only after a look into its file."""

    def opened(self) -> Stored | Held:
        """Return it as a tensor of a file, or one in memory."""
        ...


class Piece(NamedTuple):
    """A part of a tensor.

    Attributes:
        box: Which part.
        stored: Where it is.
    """

    box: Box
    stored: Stored | Sealed


@dataclass(frozen=True, slots=True)
class Pieced:
    """A tensor in pieces.

    Attributes:
        dtype: The type of its elements.
        shape: Its size along each axis.
        pieces: Its pieces; together they are the whole.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: tuple[Piece, ...]

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return prod(self.shape) * self.dtype.itemsize

    def take(self, box: Box | None = None) -> torch.Tensor:
        """Return the tensor, or a box of it, always in memory of its own; only what overlaps the box is read.

        Raises:
            CorruptFileError: If a file has changed or cannot be read any more.
        """
        box = whole(self.shape) if box is None else box
        tensor = torch.empty(box.sizes, dtype=self.dtype, device=CPU)
        for piece in self.pieces:  # one at a time: what is read may have to be in memory for a moment
            common = overlap(piece.box, box)
            if common is not None:
                stored = piece.stored if isinstance(piece.stored, Stored) else piece.stored.opened()
                (part,) = fetch([Want(stored, CPU, self.dtype, _within(common, piece.box))], "auto")
                tensor[_within(common, box).slices].copy_(part)
        return tensor


def joined(name: str, dtype: torch.dtype, pieces: Sequence[Piece], shape: Sequence[int], where: str) -> Stored | Pieced:
    """Return pieces as one tensor; if a file holds all of it, as a tensor of that file.

    Args:
        name: Its name, for messages.
        dtype: The type of its elements.
        pieces: Its pieces. Empty ones do not count.
        shape: Its size along each axis.
        where: How messages name the checkpoint.

    Raises:
        CorruptFileError: If the pieces leave a gap, overlap, or reach beyond the whole.
    """
    filled = [piece for piece in pieces if piece.box.numel]
    if prod(shape) or filled:
        _check_cover(name, [piece.box for piece in filled], shape, where)
    only = filled[0].stored if len(filled) == 1 else None
    return only if isinstance(only, Stored) else Pieced(dtype, tuple(shape), tuple(filled))


def _check_cover(name: str, boxes: Sequence[Box], shape: Sequence[int], where: str) -> None:
    """Refuse boxes that are not the whole, each element once.

    With every corner counted up or down in turn, boxes that do not overlap leave nothing where they meet, and so
    those of a whole leave the corners of the whole; nothing else does. That takes one look at each box.
    """
    cut = [axis for axis, size in enumerate(shape) if any(box.sizes[axis] != size for box in boxes)]
    if len(cut) <= _MOST_AXES:
        corners: Counter[tuple[int, ...]] = Counter()
        for box in boxes:
            for corner, sign in _corners(box, cut):
                corners[corner] += sign
        for corner, sign in _corners(whole(shape), cut):
            corners[corner] -= sign
        if all(_is_inside(box, shape) for box in boxes) and not any(corners.values()):
            return
    found, expected = sum(box.numel for box in boxes), prod(shape)
    kind = "leave a gap" if found < expected else "overlap" if found > expected else "leave a gap and overlap"
    message = sentences(
        f"{where}: the pieces of {shown(name)} {kind}.",
        f"There are {len(boxes)} with {found:,} elements in all, and its shape {tuple(shape)} has {expected:,}.",
        "A file is missing, or belongs to another save. Restore the folder from its origin, or save again.",
    )
    raise CorruptFileError(message)


def _is_inside(box: Box, shape: Sequence[int]) -> bool:
    return all(0 <= box.offsets[axis] <= size - box.sizes[axis] for axis, size in enumerate(shape))


def _corners(box: Box, axes: Sequence[int]) -> Iterator[tuple[tuple[int, ...], int]]:
    ends = [((box.offsets[axis], 1), (box.offsets[axis] + box.sizes[axis], -1)) for axis in axes]
    for corner in product(*ends):
        yield tuple(place for place, _ in corner), prod(sign for _, sign in corner)


def _within(box: Box, outer: Box) -> Box:
    """Return a box as seen from the first element of another."""
    offsets = tuple(here - there for here, there in zip(box.offsets, outer.offsets, strict=True))
    return Box(offsets, box.sizes)
