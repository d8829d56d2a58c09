"""The seam between whoever wants tensors and whoever brings them: ranges of files in, tensors on a device out.

Also what every engine needs: reading a range into memory, piece by piece, and how many threads are worth their while.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

import torch

from nameplate_model._boxes import Box, runs
from nameplate_model._files import Stored

Memory = Literal["auto", "mmap", "copy"]
"""How tensors get into memory: mapped, copied, or whichever suits the file."""

Engine = Literal["auto", "mapped", "ring", "prefetch"]
"""Who brings tensors to their device, or ``"auto"`` for whoever suits the device and the files."""

CPU = torch.device("cpu")

_MUCH = 4 << 20
"""Bytes from which on more than one thread is worth its while."""

_MOST_THREADS = 8
"""More make disks slower, not faster."""


class Kept(Protocol):
    """A tensor of a checkpoint that hands itself out: one in memory, or one that must be put together first."""

    @property
    def dtype(self) -> torch.dtype:
        """The type of its elements."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Its size along each axis."""

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""

    def take(self, box: Box | None = None) -> torch.Tensor:
        """Return it, or a box of it, for good."""


class Want(NamedTuple):
    """A tensor of a checkpoint, and what is to become of it.

    Attributes:
        stored: Where it is.
        device: Where it goes.
        dtype: What it is cast to.
        box: The part of it that is wanted, or None for all of it.
    """

    stored: Stored | Kept
    device: torch.device
    dtype: torch.dtype
    box: Box | None = None


class Range(NamedTuple):
    """What is wanted of one tensor of a file.

    Attributes:
        stored: The tensor.
        dtype: What it is cast to.
        box: The part of it that is wanted, which lies in several places of the file; None if that is all of it.
    """

    stored: Stored
    dtype: torch.dtype
    box: Box | None = None

    @classmethod
    def of(cls, stored: Stored, dtype: torch.dtype, box: Box | None) -> "Range":
        """Return a range; of a box that lies in one place, as all of a smaller tensor."""
        part = stored if box is None else stored.part(box)
        return cls(stored, dtype, box) if part is None else cls(part, dtype)

    @property
    def shape(self) -> tuple[int, ...]:
        """The size of what is wanted along each axis."""
        return self.stored.shape if self.box is None else self.box.sizes

    @property
    def numel(self) -> int:
        """The number of elements that are wanted."""
        return self.stored.nbytes // self.stored.dtype.itemsize if self.box is None else self.box.numel

    @property
    def nbytes(self) -> int:
        """The bytes that are wanted of the file."""
        return self.numel * self.stored.dtype.itemsize

    def read_into(self, buffer: memoryview, first: int) -> None:
        """Fill *buffer* with the elements from *first* on, as they are stored. Threads may do so at once.

        Runs are read one by one, and nothing between them: of an axis that is cut among ranks, each gets two thirds at
        most, so that to read a gap as well would always cost more than the twentieth that may be lost.

        Raises:
            CorruptFileError: If the file has become shorter, or the system cannot read it.
        """
        stored = self.stored
        if self.box is None:
            stored.file.read_into(buffer, stored.begin + first * stored.dtype.itemsize)
        else:
            stored.file.read_each(self._places(self.box, buffer, first))

    def _places(self, box: Box, buffer: memoryview, first: int) -> Iterator[tuple[memoryview, int]]:
        stored, width, done = self.stored, self.stored.dtype.itemsize, 0
        for begin, count in runs(box, stored.shape, first, len(buffer) // width):
            yield buffer[done : done + count * width], stored.begin + begin * width
            done += count * width


class WeightSource(Protocol):
    """A way from files to one device."""

    def bring(self, ranges: Sequence[Range]) -> list[torch.Tensor]:
        """Return what is wanted, in order, contiguous and with values: nothing is still under way.

        Raises:
            CorruptFileError: If a file has changed or cannot be read any more; nothing of the others is left then.
        """


def byte_view(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the host; valid as long as the tensor lives."""
    size = tensor.numel() * tensor.element_size()
    # torch offers no buffer without numpy.
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")


def threads_for(parts: int, size: int) -> int:
    """Return how many threads to use for *size* bytes of work in so many parts."""
    return max(1, min(_MOST_THREADS, parts, os.cpu_count() or 1)) if size > _MUCH and hasattr(os, "preadv") else 1
