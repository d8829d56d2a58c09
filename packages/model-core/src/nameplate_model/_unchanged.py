"""Whether a file holds already what is about to be written, without hashing any of it.

The header is built anew, with the digests that the file has, and compared; then the bytes are, as fast as memory
allows. A tensor that is a private mapping of that very file need not be read where the system knows that nobody wrote
to its pages. In doubt, as on systems without the calls for it, the answer is no, and the file is written.
"""

import ctypes
import json
import os
import stat
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event, local
from typing import Any

from nameplate_config.record import RECORD_KEY, blank_again, seal
from nameplate_model._layout import DIGESTS_KEY, LARGEST_HEADER, METADATA
from nameplate_model._mapped import Mapped
from nameplate_model._writer import MUCH, Piece, Planned, header, pieces

_CHUNK = 512 << 10  # read into memory that stays in the processor's cache, then compared
_THREADS = 2


def _memcmp_of_system() -> Any:
    """Return C's comparison of memory, which lets other threads run meanwhile; None where there is none to be had."""
    try:
        function = ctypes.CDLL(None).memcmp
    except (OSError, TypeError, AttributeError):  # Windows
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    function.restype = ctypes.c_int
    return function


_MEMCMP = _memcmp_of_system()


def same_file(path: Path, plan: list[Planned], metadata: Mapping[str, str]) -> str | None:
    """Return the digest of a file that holds exactly these tensors and this metadata, or None if it does not.

    Of its record only the config counts: what it superseded in its time makes no difference.

    Args:
        path: The file.
        plan: The tensors, and where they would go.
        metadata: The metadata that the file would get.
    """
    if _MEMCMP is None or not hasattr(os, "preadv"):
        return None
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # a link may lead out of the folder
            return None
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
        try:
            return _same(descriptor, plan, metadata)
        finally:
            os.close(descriptor)
    # Whatever cannot be read, or is no file of ours, is not the same.
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None


def _same(descriptor: int, plan: list[Planned], metadata: Mapping[str, str]) -> str | None:
    start = 8 + int.from_bytes(os.pread(descriptor, 8, 0), "little")
    found = os.pread(descriptor, min(start, LARGEST_HEADER), 0)
    texts: dict[str, Any] = json.loads(found[8:])[METADATA]
    record = blank_again(texts[RECORD_KEY], metadata[RECORD_KEY])
    expected, digest = seal(header(plan, {**metadata, RECORD_KEY: record}, json.loads(texts[DIGESTS_KEY])))
    size = len(expected) + (plan[-1].end if plan else 0)
    if found != expected or os.fstat(descriptor).st_size != size:
        return None
    with Mapped(descriptor) as mapped:
        return digest if _Comparison(descriptor, start, mapped).holds(plan) else None


class _Comparison:
    """Compares tensors with the bytes of an open file."""

    def __init__(self, descriptor: int, start: int, mapped: Mapped) -> None:
        self._descriptor = descriptor
        self._start = start
        self._mapped = mapped
        self._differs = Event()
        self._buffers = local()

    def holds(self, plan: list[Planned]) -> bool:
        """Whether the file has the bytes of every tensor in its place."""
        much = bool(plan) and plan[-1].end >= MUCH
        with ThreadPoolExecutor(_THREADS, thread_name_prefix="comparing") as pool:
            waiting: list[Future[None]] = []
            for each in plan:
                offset = self._start + each.begin
                for piece in pieces(each.tensor):
                    if self._differs.is_set():
                        return False
                    if piece.copied or not much:  # so that one copy at a time is kept
                        self._compare(piece, offset)
                    else:
                        waiting.append(pool.submit(self._compare, piece, offset))
                    offset += piece.memory.numel()
            for done in waiting:
                done.result()
        return not self._differs.is_set()

    def _compare(self, piece: Piece, offset: int) -> None:
        address, size = piece.memory.data_ptr(), piece.memory.numel()
        spans = [(0, size)] if piece.copied else self._mapped.unsure(address, size, offset)
        for begin, end in spans:
            if self._differs.is_set():
                return
            if not self._equal(address + begin, offset + begin, end - begin):
                self._differs.set()

    def _equal(self, address: int, offset: int, size: int) -> bool:
        if not hasattr(self._buffers, "chunk"):
            self._buffers.chunk = bytearray(_CHUNK)
            self._buffers.address = ctypes.addressof(ctypes.c_char.from_buffer(self._buffers.chunk))
        chunk = memoryview(self._buffers.chunk)
        done = 0
        while done < size:
            count = os.preadv(self._descriptor, [chunk[: size - done]], offset + done)
            if not count or _MEMCMP(self._buffers.address, address + done, count):
                return False
            done += count
        return True
