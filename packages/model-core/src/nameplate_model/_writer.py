"""The bytes of one safetensors file, written by value, each tensor hashed on the way.

A file begins with a header whose size is known before its digests are: the header goes in last. Equal tensors under
equal names give equal bytes. What the metadata says, and where the file goes, is decided elsewhere.
"""

import ctypes
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from threading import Event
from typing import NamedTuple, Protocol

import torch

from nameplate_config.files import Draft
from nameplate_config.record import seal
from nameplate_config.wording import sentences
from nameplate_model._layout import ALIGNMENT, DIGEST_LENGTH, DIGESTS_KEY, DTYPES, LARGEST_HEADER, METADATA, PAGE
from nameplate_model.errors import CheckpointError

CODES: Mapping[torch.dtype, str] = {getattr(torch, name): code for name, code in DTYPES.items() if hasattr(torch, name)}
"""What a file calls each dtype that it can hold."""

MUCH = 8 << 20
"""The bytes from which on another thread is worth its while."""

_PIECE = 16 << 20  # what is copied from a device, hashed or written at a time
_BATCH = 4 << 20  # what is handed to another thread at a time, at least
_SHARE = 32 << 20  # what the disk is given at a time, at least
_HASHERS = 2  # hashing takes longer than writing, which waits for the disk half of the time
_BLANK = "0" * DIGEST_LENGTH


class Planned(NamedTuple):
    """A tensor and where it goes.

    Attributes:
        name: Its name in the file.
        tensor: Its values.
        begin: Where its bytes begin, counted from the end of the header.
        end: Where they end.
    """

    name: str
    tensor: torch.Tensor
    begin: int
    end: int


class Piece(NamedTuple):
    """A part of a tensor's bytes in host memory.

    Attributes:
        data: The bytes.
        copied: The copy that they were made for, or None where they are the tensor's own.
    """

    data: memoryview
    copied: torch.Tensor | None


class Blank(NamedTuple):
    """A file that is to be written.

    Attributes:
        draft: The empty file.
        plan: What goes into it, and where.
        metadata: Texts by key, the record first, its digest blank.
    """

    draft: Draft
    plan: list[Planned]
    metadata: Mapping[str, str]


class Filled(NamedTuple):
    """A file that has been written and flushed to the disk.

    Attributes:
        digest: That of its header.
        size: Its size in bytes.
    """

    digest: str
    size: int


Filling = Callable[[Sequence[Blank]], list[Filled]]
"""What fills all files of a checkpoint at once, as several ranks do together. One process fills each by itself."""


class StoppedError(Exception):
    """Another thread of the same save has failed, so this one need not go on."""


def bytes_of(tensor: torch.Tensor) -> int:
    """Return the size of a tensor in a file."""
    return tensor.numel() * tensor.element_size()


def planned(state: Mapping[str, torch.Tensor]) -> list[Planned]:
    """Return where each tensor goes; it depends on nothing but names, dtypes and sizes."""
    found: list[Planned] = []
    offset = 0
    for name in sorted(state, key=lambda name: _order(name, state[name])):
        end = offset + bytes_of(state[name])
        found.append(Planned(name, state[name], offset, end))
        offset = end
    return found


def _order(name: str, tensor: torch.Tensor) -> tuple[bool, int, int, str]:
    """Sort so that as many tensors as possible can be mapped, and the order depends on nothing but the tensors.

    The format allows no gaps. Tensors of whole 64-byte blocks come first and keep each other on that grid; of the
    rest, wide elements come first, so that each is at least aligned to its own elements.
    """
    size = bytes_of(tensor)
    return size % ALIGNMENT != 0, -tensor.element_size(), -size, name


def header(
    plan: list[Planned], metadata: Mapping[str, str], digests: Mapping[str, str] | None = None, key: str = DIGESTS_KEY
) -> bytes:
    """Return the header of a file, its length included, padded to whole pages.

    Args:
        plan: What is in the file, and where.
        metadata: Texts by key, the record first.
        digests: The digest of each tensor; blank ones, of the same size, if not given.
        key: Under which of `CHECKSUM_KEYS` they are.
    """
    every = digests or {each.name: _BLANK for each in plan}
    table: dict[str, object] = {METADATA: {**metadata, key: json.dumps(every, separators=(",", ":"))}}
    for each in plan:
        shape = list(each.tensor.shape)
        table[each.name] = {"dtype": CODES[each.tensor.dtype], "shape": shape, "data_offsets": [each.begin, each.end]}
    text = json.dumps(table, separators=(",", ":")).encode()
    length = -(-(len(text) + 8) // PAGE) * PAGE - 8
    return length.to_bytes(8, "little") + text.ljust(length)


def room_for_header(plan: list[Planned], metadata: Mapping[str, str], key: str = DIGESTS_KEY) -> int:
    """Return the size that the header of a file is going to have.

    Raises:
        CheckpointError: If it is longer than is read.
    """
    room = len(header(plan, metadata, key=key))
    if room > LARGEST_HEADER:
        message = f"the table of the tensors has {room:,} bytes; at most {LARGEST_HEADER:,} are read."
        raise CheckpointError(sentences(message, "Save in several files: give a smaller max_shard_size."))
    return room


def write_tensors(
    draft: Draft, plan: list[Planned], metadata: Mapping[str, str], *, beside: bool, stop: Event | None = None
) -> str:
    """Write a whole file and flush it to the disk; return the digest of its header.

    Args:
        draft: An empty file.
        plan: What goes into it, and where.
        metadata: Texts by key, the record first, its digest blank.
        beside: Whether the hashing has a thread of its own.
        stop: Set by others to end it early.

    Raises:
        OSError: Whatever the system reports.
        StoppedError: If somebody set *stop*.
    """
    draft.write(bytes(room_for_header(plan, metadata)))
    digests = _write_beside(draft, plan) if beside else {each.name: _write_hashed(draft, each, stop) for each in plan}
    sealed, digest = seal(header(plan, metadata, digests))
    draft.write_at(0, sealed)
    draft.finish()
    return digest


def _write_hashed(draft: Draft, each: Planned, stop: Event | None) -> str:
    hashing = hashlib.sha256()
    for piece in pieces(each.tensor):
        if stop is not None and stop.is_set():
            raise StoppedError
        hashing.update(piece.data)
        draft.write(piece.data)
    return hashing.hexdigest()[:DIGEST_LENGTH]


def _write_beside(draft: Draft, plan: list[Planned]) -> dict[str, str]:
    """Write the tensors while others hash them, and while the disk takes what was written before."""
    hashings = {each.name: hashlib.sha256() for each in plan}
    with ExitStack() as stack:
        hashers = [_Hasher(stack) for _ in range(_HASHERS)]
        flusher = Flusher(stack, draft)
        for each in plan:
            hasher = min(hashers, key=lambda hasher: hasher.given)
            for piece in pieces(each.tensor):
                hasher.take(hashings[each.name], piece)
                draft.write(piece.data)
                flusher.take(len(piece.data))
                if piece.copied is not None:  # one copy at a time is kept
                    hasher.finish()
        draft.flush()
        flusher.finish()
        for hasher in hashers:
            hasher.finish()
    return {name: hashing.hexdigest()[:DIGEST_LENGTH] for name, hashing in hashings.items()}


class _Hashing(Protocol):
    def update(self, data: memoryview, /) -> None: ...


class _Hasher:
    """A thread that hashes what it is given, many small pieces at a time."""

    def __init__(self, stack: ExitStack) -> None:
        self._pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="hashing"))
        self._waiting: list[tuple[_Hashing, memoryview]] = []
        self._size = 0
        self.given = 0

    def take(self, hashing: _Hashing, piece: Piece) -> None:
        """Add a piece to what is to be hashed."""
        self._waiting.append((hashing, piece.data))
        self._size += len(piece.data)
        self.given += len(piece.data)
        if self._size >= _BATCH or piece.copied is not None:
            self._start()

    def finish(self) -> None:
        """Wait until everything is hashed."""
        self._start().result()

    def _start(self) -> Future[None]:
        parts, self._waiting, self._size = self._waiting, list[tuple[_Hashing, memoryview]](), 0
        return self._pool.submit(_hash, parts)


def _hash(parts: list[tuple[_Hashing, memoryview]]) -> None:
    for hashing, data in parts:
        hashing.update(data)


class Flushed(Protocol):
    """An open file that can be brought to the disk."""

    def flush(self) -> None:
        """Bring to the disk what has been written."""


class Flusher:
    """A thread that brings to the disk what has been written, while more is; there from the first large share on."""

    def __init__(self, stack: ExitStack, draft: Flushed) -> None:
        self._pool = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="flushing"))
        self._draft = draft
        self._running: Future[None] | None = None
        self._size = 0

    def take(self, size: int) -> None:
        """Know that so many more bytes have been written."""
        self._size += size
        if self._size >= _SHARE and (self._running is None or self._running.done()):
            self.finish()
            self._running = self._pool.submit(self._draft.flush)
            self._size = 0

    def finish(self) -> None:
        """Wait for the disk, and raise what went wrong."""
        if self._running is not None:
            self._running.result()


def pieces(tensor: torch.Tensor) -> Iterator[Piece]:
    """Yield the bytes of a tensor in row-major order, without a copy where it already lies so in host memory."""
    if lies_ready(tensor):
        address, size = tensor.data_ptr(), bytes_of(tensor)
        for begin in range(0, size, _PIECE):
            yield Piece(bytes_at(address + begin, min(_PIECE, size - begin)), None)
        return
    dense = tensor.detach().resolve_conj().resolve_neg().contiguous()
    flat = dense.reshape(-1).view(torch.uint8)
    for begin in range(0, flat.numel(), _PIECE):
        part = flat[begin : begin + _PIECE].cpu()
        yield Piece(bytes_at(part.data_ptr(), part.numel()), part)


def lies_ready(tensor: torch.Tensor) -> bool:
    """Whether the memory of a tensor is, byte for byte, what a file holds of it."""
    return tensor.is_cpu and tensor.is_contiguous() and not tensor.is_conj() and not tensor.is_neg()


def bytes_at(address: int, size: int) -> memoryview:
    """Return memory at an address; what it belongs to must outlive this."""
    # torch has no buffer without numpy; the tensor, or its copy, outlives this one
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")
