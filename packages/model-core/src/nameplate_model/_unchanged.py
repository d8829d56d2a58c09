"""Whether a file holds already what is about to be written, without hashing any of it.

The header is built anew, with the digests that the file has, and compared; then the bytes are, as fast as memory
allows. A tensor that is a private mapping of that very file need not be read where the system knows that nobody wrote
to its pages. In doubt, as on systems without the calls for it, the answer is no, and the file is written.
"""

import ctypes
import json
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, NamedTuple

from nameplate_config.record import RECORD_KEY, blank_again, seal
from nameplate_model._header import digests_key
from nameplate_model._layout import LARGEST_HEADER, METADATA
from nameplate_model._mapped import Mapped
from nameplate_model._writer import MUCH, Planned, header, lies_ready, pieces

_CHUNK = 512 << 10  # read into memory that stays in the processor's cache, then compared
_LARGEST_SHARE = 16 << 20  # dealt to one thread at a time
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
    key = digests_key(texts)
    expected, digest = seal(header(plan, {**metadata, RECORD_KEY: record}, json.loads(texts[key]), key))
    size = len(expected) + (plan[-1].end if plan else 0)
    if found != expected or os.fstat(descriptor).st_size != size:
        return None
    return digest if _Comparison(descriptor, start, Mapped(descriptor)).holds(plan) else None


class _Span(NamedTuple):
    """Some memory, and where the same bytes should be in the file."""

    address: int
    size: int
    offset: int


class _Comparison:
    """Compares tensors with the bytes of an open file."""

    def __init__(self, descriptor: int, start: int, mapped: Mapped) -> None:
        self._descriptor = descriptor
        self._start = start
        self._mapped = mapped
        self._differs = Event()

    def holds(self, plan: list[Planned]) -> bool:
        """Whether the file has the bytes of every tensor in its place."""
        ready = [each for each in plan if lies_ready(each.tensor)]
        spans = [span for each in ready for span in self._unsure(each)]
        if sum(span.size for span in spans) < MUCH:
            self._compare(spans)
        else:
            with ThreadPoolExecutor(_THREADS, thread_name_prefix="comparing") as pool:
                list(pool.map(self._compare, _shares(spans)))
        for each in plan:
            if not self._differs.is_set() and not lies_ready(each.tensor):
                self._compare_copied(each)
        return not self._differs.is_set()

    def _unsure(self, each: Planned) -> Iterator[_Span]:
        address, offset = each.tensor.data_ptr(), self._start + each.begin
        for begin, end in self._mapped.unsure(address, each.end - each.begin, offset):
            yield _Span(address + begin, end - begin, offset + begin)

    def _compare(self, spans: list[_Span]) -> None:
        chunk = memoryview(bytearray(_CHUNK))
        there = ctypes.addressof(ctypes.c_char.from_buffer(chunk))
        for address, size, offset in spans:
            done = 0
            while done < size:
                count = os.preadv(self._descriptor, [chunk[: size - done]], offset + done)
                if self._differs.is_set() or not count or _MEMCMP(there, address + done, count):
                    self._differs.set()
                    return
                done += count

    def _compare_copied(self, each: Planned) -> None:
        offset = self._start + each.begin
        for piece in pieces(each.tensor):
            if piece.copied is None or self._differs.is_set():
                return
            self._compare([_Span(piece.copied.data_ptr(), len(piece.data), offset)])
            offset += len(piece.data)


def _shares(spans: list[_Span]) -> list[list[_Span]]:
    """Deal spans out so that each thread has about as many bytes to compare."""
    shares: list[list[_Span]] = [[] for _ in range(_THREADS)]
    sizes = [0] * _THREADS
    for span in spans:
        for begin in range(0, span.size, _LARGEST_SHARE):
            size = min(_LARGEST_SHARE, span.size - begin)
            least = sizes.index(min(sizes))
            shares[least].append(_Span(span.address + begin, size, span.offset + begin))
            sizes[least] += size
    return shares
