"""The engine for accelerators: a few threads read into a ring of pinned buffers, from which the device copies.

All tensors of a load lie in one slab of device memory, in the order of the files. The slab is cut into windows of the
size of a buffer. A thread takes the next window, reads into a buffer what belongs there, and sends it off at once, on
a stream of its own, while it fills its other buffer. What is cast goes through a buffer on the device. So the host
holds no more than the ring, and the device no more than the model and, for casts, half of the ring's size.

With the host as the device, the same threads fill the same slab, through buffers that are not pinned.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from math import prod
from threading import Event
from typing import NamedTuple

import torch
from torch.utils.dlpack import from_dlpack, to_dlpack

from nameplate_model._engines.source import CPU, Range, byte_view, threads_for

MOST_PINNED = 512_000_000
"""Bytes of the host that the buffers of a ring take at most."""

_GRID = 512
"""Bytes on whose multiples tensors begin in the slab, as they do where torch allocates each by itself."""

_SIZES = (1 << 20, 4 << 20, 16 << 20)
"""Bytes of a buffer. Few, and powers of two: torch rounds pinned memory up to one, and keeps what it has of each."""

_BUFFERS = 2
"""Of each thread: one is read into while the other one is copied from."""


class Ring:
    """Brings tensors through a ring of buffers into one slab.

    The slab is freed when none of its tensors is left. What was pinned, torch keeps for the next load.

    Attributes:
        device: Where the tensors go: a CUDA device, or the host.
        threads: How many threads read; None means as many as there is work for.
        buffer: The bytes of a buffer, a power of two; None means as many as suit the load.
    """

    def __init__(self, device: torch.device, threads: int | None = None, buffer: int | None = None) -> None:
        self.device = device
        self.threads = threads
        self.buffer = buffer

    def bring(self, ranges: Sequence[Range]) -> list[torch.Tensor]:
        """Return what is wanted: see `WeightSource`."""
        order = sorted(range(len(ranges)), key=lambda place: _order(ranges[place]))
        begins, size = _laid_out([ranges[place].numel * ranges[place].dtype.itemsize for place in order])
        slab = torch.empty(size, dtype=torch.uint8, device=self.device)
        tensors: dict[int, torch.Tensor] = {}
        for place, begin in zip(order, begins, strict=True):
            tensors[place] = _tensor(slab, begin, ranges[place])
        self._fill(slab, [_Filling(ranges[place], tensors[place]) for place in order])
        return [tensors[place] for place in range(len(ranges))]

    def _fill(self, slab: torch.Tensor, fillings: Sequence["_Filling"]) -> None:
        threads, buffer, buffers = ring_size(sum(each.range.nbytes for each in fillings), self.threads, self.buffer)
        windows = deque(_windows([each for each in fillings if not each.casts], buffer, slab))
        windows += _windows([each for each in fillings if each.casts], buffer, None)
        work = _Work(windows, Event(), torch.is_inference_mode_enabled())
        lanes = [_Lane(slab.device, buffer, buffers) for _ in range(threads)]
        with ThreadPoolExecutor(threads, thread_name_prefix="reading") as pool:
            try:
                for _ in pool.map(_work, lanes, [work] * threads):  # raises what a thread has raised
                    pass
            finally:
                work.stop.set()  # also if somebody interrupts this thread, which is the one that waits


def ring_size(size: int, threads: int | None = None, buffer: int | None = None) -> tuple[int, int, int]:
    """Return how many threads a ring has, the bytes of a buffer, and how many buffers each thread has.

    Args:
        size: The bytes that it is to bring.
        threads: How many threads it shall have at most.
        buffer: How many bytes a buffer shall have at most, a power of two.

    Example:
        >>> ring_size(8 << 30, threads=8)
        (8, 16777216, 2)
        >>> ring_size(8 << 30, threads=8, buffer=64 << 20)
        (7, 67108864, 1)
    """
    threads = threads or threads_for(-(-size // _SIZES[0]), size)
    share = max(1, size // (threads * _BUFFERS))  # with which every thread fills each of its buffers once
    buffer = buffer or next((each for each in _SIZES if each >= share), _SIZES[-1])
    while buffer > MOST_PINNED:
        buffer //= 2
    threads = max(1, min(threads, -(-size // buffer), MOST_PINNED // buffer))
    return threads, buffer, max(1, min(_BUFFERS, MOST_PINNED // buffer // threads))


class _Filling(NamedTuple):
    """A tensor of the slab, and what becomes its values."""

    range: Range
    tensor: torch.Tensor

    @property
    def casts(self) -> bool:
        """Whether it has another dtype than the file."""
        return self.range.dtype != self.range.stored.dtype


class _Part(NamedTuple):
    """Elements of a tensor that a window holds.

    Attributes:
        range: What is read.
        first: The first of its elements here.
        count: How many there are.
        begin: Where their bytes begin in the window.
        tensor: What they are cast into, flat and of the same length, or None if the slab gets them as they are.
    """

    range: Range
    first: int
    count: int
    begin: int
    tensor: torch.Tensor | None

    @property
    def end(self) -> int:
        """Where their bytes end in the window."""
        return self.begin + self.count * self.range.stored.dtype.itemsize


class _Window(NamedTuple):
    """What is read and sent together: a part of the slab, or None where everything is cast, and what belongs there."""

    slab: torch.Tensor | None
    parts: list[_Part]

    @property
    def size(self) -> int:
        """Its bytes."""
        return self.parts[-1].end


class _Work(NamedTuple):
    """What the threads of a load share: the windows that are left, the end, and the mode of whoever loads."""

    windows: deque[_Window]
    stop: Event
    inference: bool


class _Buffer:
    """Host memory that is read into and copied from in turn."""

    def __init__(self, size: int, *, pinned: bool) -> None:
        self.memory = _host_memory(size, pinned=pinned)
        self.bytes = byte_view(self.memory)
        self.sent = torch.cuda.Event() if pinned else None


class _Lane:
    """What one thread needs for itself: its buffers and its stream."""

    def __init__(self, device: torch.device, size: int, buffers: int) -> None:
        self._device = device
        self._size = size
        self._most = buffers
        self._buffers: deque[_Buffer] = deque()
        self._stream = None if device.type == "cpu" else torch.cuda.Stream(device)
        if self._stream is not None:  # what ran before may still use the memory that the slab got
            self._stream.wait_stream(torch.cuda.current_stream(device))

    def current(self) -> AbstractContextManager[object]:
        """Return a context in which the device works on the lane's own stream."""
        return nullcontext() if self._stream is None else torch.cuda.stream(self._stream)

    def bring(self, window: _Window) -> None:
        """Read a window and send it off."""
        buffer = self._next()
        for part in window.parts:
            part.range.read_into(buffer.bytes[part.begin : part.end], part.first)
        read = buffer.memory[: window.size]
        if window.slab is not None:
            window.slab.copy_(read, non_blocking=True)
        else:
            self._cast(window, read)
        if buffer.sent is not None:
            buffer.sent.record()

    def finish(self) -> None:
        """Wait until everything has arrived."""
        if self._stream is not None:
            self._stream.synchronize()

    def _next(self) -> _Buffer:
        """Return a buffer from which nothing is copied any more."""
        if len(self._buffers) < self._most:
            buffer = _Buffer(self._size, pinned=self._stream is not None)
        else:
            buffer = self._buffers.popleft()
            if buffer.sent is not None:
                buffer.sent.synchronize()
        self._buffers.append(buffer)
        return buffer

    def _cast(self, window: _Window, read: torch.Tensor) -> None:
        if self._stream is not None:  # the stream keeps the order: nothing is overwritten before it has been cast
            read = self._on_device[: window.size].copy_(read, non_blocking=True)
        for part in window.parts:
            assert part.tensor is not None
            part.tensor.copy_(read[part.begin : part.end].view(part.range.stored.dtype))

    @cached_property
    def _on_device(self) -> torch.Tensor:
        return torch.empty(self._size, dtype=torch.uint8, device=self._device)


def _work(lane: _Lane, work: _Work) -> None:
    """Bring one window after the other until there is none, or somebody has failed."""
    with torch.inference_mode(work.inference), torch.no_grad(), lane.current():  # each thread has modes of its own
        try:
            while not work.stop.is_set():
                try:
                    window = work.windows.popleft()
                except IndexError:
                    return
                lane.bring(window)
        except BaseException:
            work.stop.set()
            raise
        finally:
            lane.finish()  # also after an error: nothing may write into memory that is given back


def _order(wanted: Range) -> tuple[bool, str, int]:
    """Sort what is cast behind the rest, and everything in the order of the files."""
    stored = wanted.stored
    return wanted.dtype != stored.dtype, str(stored.file.path), stored.begin


def _laid_out(sizes: Sequence[int]) -> tuple[list[int], int]:
    """Return where each of several sizes begins if all begin on the grid, and where the last one ends; in bytes."""
    begins: list[int] = []
    end = 0
    for size in sizes:
        begins.append(-(-end // _GRID) * _GRID)
        end = begins[-1] + size
    return begins, end


def _tensor(slab: torch.Tensor, begin: int, wanted: Range) -> torch.Tensor:
    """Return a tensor in the slab with a storage of its own, so that to copy or pickle it takes its own bytes alone."""
    size = prod(wanted.shape) * wanted.dtype.itemsize
    if not size:
        return torch.empty(wanted.shape, dtype=wanted.dtype, device=slab.device)
    return from_dlpack(to_dlpack(slab[begin : begin + size])).view(wanted.dtype).view(wanted.shape)


def _windows(fillings: Sequence[_Filling], size: int, slab: torch.Tensor | None) -> Iterator[_Window]:
    """Cut what is to be filled into windows of so many bytes; tensors lie in them as they do in the slab."""
    begins, _ = _laid_out([each.range.nbytes for each in fillings])
    parts: dict[int, list[_Part]] = {}
    for each, begin in zip(fillings, begins, strict=True):
        width, total, first = each.range.stored.dtype.itemsize, each.range.numel, 0
        while first < total:
            number, place = divmod(begin + first * width, size)
            count = min(total - first, (size - place) // width)
            tensor = each.tensor.view(-1)[first : first + count] if each.casts else None
            parts.setdefault(number, []).append(_Part(each.range, first, count, place, tensor))
            first += count
    for number, each in parts.items():
        target = None if slab is None else slab[number * size : number * size + each[-1].end]
        yield _Window(target, each)


def _host_memory(size: int, *, pinned: bool) -> torch.Tensor:
    if pinned:
        try:
            return torch.empty(size, dtype=torch.uint8, device=CPU, pin_memory=True)
        except RuntimeError:  # some systems pin hardly any memory; copies from other memory are slower, and as right
            pass
    return torch.empty(size, dtype=torch.uint8, device=CPU)
