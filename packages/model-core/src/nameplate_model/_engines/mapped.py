"""The engine for the host: tensors are mapped where that costs nothing, else copied, and cast on the way.

A mapped tensor is a private view of the page cache: nothing is read until it is used, and the first write to a page
copies that page. Copies and casts go through a small staging buffer, several at once, so that the peak of a load is
the model itself. What belongs on another device is moved there, one tensor at a time.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from math import prod
from typing import NamedTuple

import torch

from nameplate_model._boxes import Box
from nameplate_model._engines.source import CPU, Memory, Range, byte_view, threads_for
from nameplate_model._files import Stored
from nameplate_model._layout import ALIGNMENT

_SMALLEST_MAPPED = 64 << 10
"""Bytes. A smaller file is read: mapping it would take a page table and a descriptor to save microseconds."""

_STAGING = 1 << 20
"""Bytes that one thread reads before it casts them; they stay in the processor's cache."""

_PIECE = 16 << 20
"""Bytes of a tensor that one thread copies before it takes the next piece."""


class Mapped:
    """Brings tensors through the page cache.

    Attributes:
        device: Where they go.
        memory: ``"mmap"`` maps whatever is aligned to its elements, ``"copy"`` nothing. ``"auto"`` also reads small
            files and those behind a network.
    """

    def __init__(self, device: torch.device, memory: Memory) -> None:
        self.device = device
        self.memory: Memory = memory

    def bring(self, ranges: Sequence[Range]) -> list[torch.Tensor]:
        """Return what is wanted: see `WeightSource`."""
        if self.device != CPU:  # one at a time: the host may be the smaller one
            return [self._moved(each) for each in ranges]
        return self._bring(ranges)

    def _moved(self, wanted: Range) -> torch.Tensor:
        (tensor,) = self._bring([wanted._replace(dtype=wanted.stored.dtype)])
        return tensor.to(self.device, wanted.dtype)

    def _bring(self, ranges: Sequence[Range]) -> list[torch.Tensor]:
        """Return what is wanted, on the host."""
        tensors: list[torch.Tensor] = []
        pieces: list[_Piece] = []
        for each in ranges:
            stored = each.stored
            if each.box is None and each.dtype == stored.dtype and _is_mapped(stored, self.memory):
                tensors.append(stored.mapped())
            else:
                tensors.append(torch.empty(each.shape, dtype=each.dtype, device=CPU))
                pieces += _pieces(each, tensors[-1], self.memory)
        _copy(pieces)
        return tensors


class _Piece(NamedTuple):
    """Elements of a range that are to be copied into a flat tensor.

    Attributes:
        range: Of what.
        flat: The tensor.
        first: Where they begin in both.
        count: How many there are.
        rows: Where they are in the mapped file, or None if they are read.
    """

    range: Range
    flat: torch.Tensor
    first: int
    count: int
    rows: Box | None = None


def _is_mapped(stored: Stored, memory: Memory) -> bool:
    """Whether a tensor of a file becomes a view of it.

    In a file of ours it must lie on the grid on which torch allocates memory: kernels treat the odd ends of a tensor
    differently, so that the same weights elsewhere can give another last bit than before the save. In other files
    hardly anything does, so it only has to be aligned to its own elements.
    """
    return _may_map(stored, memory, ALIGNMENT if stored.file.header.ours else stored.dtype.itemsize)


def _may_map(stored: Stored, memory: Memory, grid: int) -> bool:
    file = stored.file
    if memory == "copy" or stored.begin % grid or stored.begin == stored.end:
        return False
    return memory == "mmap" or (file.size >= _SMALLEST_MAPPED and not file.remote)


def _pieces(wanted: Range, tensor: torch.Tensor, memory: Memory) -> Iterator[_Piece]:
    flat, width, box = tensor.view(-1), wanted.stored.dtype.itemsize, wanted.box
    if box is None or not _may_map(wanted.stored, memory, width):
        step = _PIECE // width
        for first in range(0, flat.numel(), step):
            yield _Piece(wanted, flat, first, min(step, flat.numel() - first))
        return
    row = prod(box.sizes[1:])  # many short runs: torch copies them faster out of the pages than the system reads them
    step = max(1, _PIECE // (row * width))
    for first in range(0, box.sizes[0], step):
        count = min(step, box.sizes[0] - first)
        rows = Box((box.offsets[0] + first, *box.offsets[1:]), (count, *box.sizes[1:]))
        yield _Piece(wanted, flat, first * row, count * row, rows)


def _copy(pieces: Sequence[_Piece]) -> None:
    size = sum(piece.count * piece.range.stored.dtype.itemsize for piece in pieces)
    threads, inference = threads_for(len(pieces), size), torch.is_inference_mode_enabled()
    if threads == 1:
        _copy_share(pieces, inference)
        return
    # one buffer for each thread, for all of its pieces: what threads free, their allocator keeps
    with ThreadPoolExecutor(threads) as pool:
        shares = [pieces[first::threads] for first in range(threads)]
        for _ in pool.map(_copy_share, shares, [inference] * threads):  # raises what a share has raised
            pass


class _Staging:
    """Memory through which a thread casts what it reads; there only once it is needed."""

    @cached_property
    def memory(self) -> torch.Tensor:
        """The bytes."""
        return torch.empty(_STAGING, dtype=torch.uint8, device=CPU)


def _copy_share(pieces: Sequence[_Piece], inference: bool) -> None:
    staging = _Staging()
    with torch.inference_mode(inference), torch.no_grad():  # each thread has modes of its own
        for piece in pieces:
            _copy_piece(piece, staging)


def _copy_piece(piece: _Piece, staging: _Staging) -> None:
    stored, flat = piece.range.stored, piece.flat[piece.first : piece.first + piece.count]
    if piece.rows is not None:
        flat.view(piece.rows.sizes).copy_(stored.mapped()[piece.rows.slices])
        return
    if flat.dtype == stored.dtype:
        piece.range.read_into(byte_view(flat), piece.first)
        return
    width = stored.dtype.itemsize
    step = _STAGING // width
    for first in range(0, piece.count, step):
        part = staging.memory[: min(step, piece.count - first) * width]
        piece.range.read_into(byte_view(part), piece.first + first)
        flat[first : first + step].copy_(part.view(stored.dtype))
