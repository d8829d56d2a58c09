"""From places in files to tensors in memory: mapped where that costs nothing, else copied, and cast on the way.

A mapped tensor is a private view of the page cache: nothing is read until it is used, and the first write to a page
copies that page. Copies and casts go through a small staging buffer, several at once, so that the peak of a load is
the model itself. Which tensor goes where is decided elsewhere.
"""

import ctypes
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Literal, NamedTuple

import torch

from nameplate_model._files import Held, Stored
from nameplate_model._layout import ALIGNMENT

Memory = Literal["auto", "mmap", "copy"]
"""How tensors get into memory: mapped, copied, or whichever suits the file."""

_SMALLEST_MAPPED = 64 << 10
"""Bytes. A smaller file is read: mapping it would take a page table and a descriptor to save microseconds."""

_STAGING = 1 << 20
"""Bytes that one thread reads before it casts them; they stay in the processor's cache."""

_MUCH = 4 << 20
"""Bytes from which on more than one thread is worth its while."""

_PIECE = 16 << 20
"""Bytes of a tensor that one thread copies before it takes the next piece."""

_MOST_THREADS = 8
"""More make disks slower, not faster."""

CPU = torch.device("cpu")


class Want(NamedTuple):
    """A tensor of a checkpoint, and what is to become of it.

    Attributes:
        stored: Where it is.
        device: Where it goes.
        dtype: What it is cast to.
    """

    stored: "Stored | Held"
    device: torch.device
    dtype: torch.dtype


class _Piece(NamedTuple):
    """A range of elements to be copied from a file into a flat tensor."""

    stored: Stored
    flat: torch.Tensor
    first: int
    count: int


def fetch(wants: Sequence[Want], memory: Memory) -> list[torch.Tensor]:
    """Return the wanted tensors, in order.

    Args:
        wants: What is wanted.
        memory: ``"mmap"`` maps whatever is aligned to its elements, ``"copy"`` nothing. ``"auto"`` also reads small
            files and those behind a network.

    Raises:
        CorruptFileError: If a file has changed or cannot be read any more.
    """
    tensors: list[torch.Tensor] = []
    pieces: list[_Piece] = []
    for want in wants:
        stored = want.stored
        if isinstance(stored, Held):
            tensors.append(_moved(stored.take(), want))
        elif want.device != CPU:
            tensors.append(_moved(_on_host(stored, memory), want))  # one at a time: the host may be the smaller one
        elif want.dtype == stored.dtype and is_mapped(stored, memory):
            tensors.append(stored.mapped())
        else:
            tensors.append(torch.empty(stored.shape, dtype=want.dtype, device=CPU))
            pieces += _pieces(stored, tensors[-1])
    _copy(pieces)
    return tensors


def is_mapped(stored: Stored, memory: Memory) -> bool:
    """Whether a tensor of a file becomes a view of it.

    In a file of ours it must lie on the grid on which torch allocates memory: kernels treat the odd ends of a tensor
    differently, so that the same weights elsewhere can give another last bit than before the save. In other files
    hardly anything does, so it only has to be aligned to its own elements.
    """
    file = stored.file
    grid = ALIGNMENT if file.header.ours else stored.dtype.itemsize
    if memory == "copy" or stored.begin % grid or stored.begin == stored.end:
        return False
    return memory == "mmap" or (file.size >= _SMALLEST_MAPPED and not file.remote)


def byte_view(tensor: torch.Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the host; valid as long as the tensor lives."""
    size = tensor.numel() * tensor.element_size()
    # torch offers no buffer without numpy.
    return memoryview((ctypes.c_char * size).from_address(tensor.data_ptr())).cast("B")


def in_parallel(work: Sequence[object], size: int) -> int:
    """Return how many threads to use for *size* bytes of work in so many parts."""
    return max(1, min(_MOST_THREADS, len(work), os.cpu_count() or 1)) if size > _MUCH and hasattr(os, "preadv") else 1


def _on_host(stored: Stored, memory: Memory) -> torch.Tensor:
    """Return a tensor as it is stored, on its way to another device."""
    if is_mapped(stored, memory):
        return stored.mapped()
    tensor = torch.empty(stored.shape, dtype=stored.dtype, device=CPU)
    _copy(list(_pieces(stored, tensor)))
    return tensor


def _moved(tensor: torch.Tensor, want: Want) -> torch.Tensor:
    return tensor.to(want.device, want.dtype)


def _pieces(stored: Stored, tensor: torch.Tensor) -> Iterator[_Piece]:
    flat, step = tensor.view(-1), _PIECE // stored.dtype.itemsize
    for first in range(0, flat.numel(), step):
        yield _Piece(stored, flat, first, min(step, flat.numel() - first))


def _copy(pieces: Sequence[_Piece]) -> None:
    size = sum(piece.count * piece.stored.dtype.itemsize for piece in pieces)
    threads = in_parallel(pieces, size)
    if threads == 1:
        staging = _Staging()
        for piece in pieces:
            _copy_piece(piece, staging)
        return
    # one buffer for each thread, for all of its pieces: what threads free, their allocator keeps
    with ThreadPoolExecutor(threads) as pool:
        shares = [pieces[first::threads] for first in range(threads)]
        for _ in pool.map(_copy_share, shares):  # raises what a share has raised
            pass


class _Staging:
    """Memory through which a thread casts what it reads; there only once it is needed."""

    @cached_property
    def memory(self) -> torch.Tensor:
        """The bytes."""
        return torch.empty(_STAGING, dtype=torch.uint8, device=CPU)


def _copy_share(pieces: Sequence[_Piece]) -> None:
    staging = _Staging()
    for piece in pieces:
        _copy_piece(piece, staging)


def _copy_piece(piece: _Piece, staging: _Staging) -> None:
    stored, flat = piece.stored, piece.flat[piece.first : piece.first + piece.count]
    width = stored.dtype.itemsize
    begin = stored.begin + piece.first * width
    with torch.no_grad():
        if flat.dtype == stored.dtype:
            stored.file.read_into(byte_view(flat), begin)
            return
        step = _STAGING // width
        for first in range(0, piece.count, step):
            count = min(step, piece.count - first)
            part = staging.memory[: count * width]
            stored.file.read_into(byte_view(part), begin + first * width)
            flat[first : first + count].copy_(part.view(stored.dtype))
