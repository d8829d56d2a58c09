"""Which pages of memory are still those of a file, as Linux tells a process of its own memory.

A tensor loaded by mapping needs no comparison with its file where nobody wrote to it: a write gives the page a private
copy, and the page map shows that. Everything else (another system, another file, a doubt) is compared byte by byte.
"""

import mmap
import os
import re
import sys
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import torch

_PAGE = mmap.PAGESIZE
_ENTRY = 8  # bytes of the page map for each page
_LAST = 7 if sys.byteorder == "little" else 0  # where in an entry its highest byte is
_PRESENT, _SWAPPED, _OF_FILE = 0x80, 0x40, 0x20  # bits of that byte
_OWN = bytes(bool(mark & _SWAPPED or (mark & _PRESENT and not mark & _OF_FILE)) for mark in range(256))
_OF_FILES = re.compile(rb"^([0-9a-f]+)-([0-9a-f]+) ...p ([0-9a-f]+) ([0-9a-f:]+) ([1-9][0-9]*)\b", re.MULTILINE)
_MOST_RUNS = 50_000  # with more changes here and there, reading everything takes no longer


class _Region(NamedTuple):
    """A piece of the address space that is a private mapping of a file.

    Attributes:
        begin: Its first address.
        end: The address behind it.
        offset: Where in the file it begins.
        identity: What the system calls the file.
        changed: The runs of pages, as addresses, that are the process' own by now.
    """

    begin: int
    end: int
    offset: int
    identity: tuple[bytes, bytes]
    changed: Sequence[tuple[int, int]] = ()


class Mapped:
    """The private mappings of one file, and which of their pages are its own, as they are now.

    There are none where the system does not tell.
    """

    def __init__(self, descriptor: int) -> None:
        self._regions: list[_Region] = []
        try:
            page_map = os.open("/proc/self/pagemap", os.O_RDONLY)
        except OSError:  # another system
            page_map = -1
        try:
            if page_map >= 0:
                self._regions = _regions_of(descriptor, page_map)
        except (OSError, ValueError):  # a file that cannot be mapped
            pass
        finally:
            if page_map >= 0:
                os.close(page_map)
        self._begins = [region.begin for region in self._regions]

    def unsure(self, address: int, size: int, offset: int) -> list[tuple[int, int]]:
        """Return the spans of a piece of memory that might differ from the file.

        Args:
            address: Where the memory begins.
            size: How many bytes it has.
            offset: Where in the file the same bytes should be.
        """
        place = bisect_right(self._begins, address) - 1
        if place < 0:
            return [(0, size)]
        region = self._regions[place]
        if address + size > region.end or address - region.begin + region.offset != offset:
            return [(0, size)]
        runs = region.changed
        first = bisect_right(runs, address, key=lambda run: run[1])
        last = bisect_left(runs, address + size, key=lambda run: run[0])
        return [(max(begin - address, 0), min(end - address, size)) for begin, end in runs[first:last]]


def _regions_of(descriptor: int, page_map: int) -> list[_Region]:
    """Return the private mappings of a file, whatever the system calls it: one that is made here shows that.

    The same one shows whether the page map can be believed: it must tell a page that was written to.
    """
    with mmap.mmap(descriptor, 1, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as sample:
        address = torch.frombuffer(sample, dtype=torch.uint8).data_ptr()
        every = _private_mappings()
        first = sample[0]
        as_read = _changed(page_map, address, address + _PAGE)
        sample[0] = first ^ 1
        as_written = _changed(page_map, address, address + _PAGE)
    if as_read != [] or as_written != [(address, address + _PAGE)]:
        return []
    identity = next((region.identity for region in every if region.begin <= address < region.end), None)
    found: list[_Region] = []
    for region in every:
        # The one made here is gone: another thread may have got its place in memory.
        if region.identity == identity and region.begin != address:
            changed = _changed(page_map, region.begin, region.end)
            if changed is not None:
                found.append(region._replace(changed=changed))
    return found


def _changed(page_map: int, begin: int, end: int) -> list[tuple[int, int]] | None:
    """Return the runs of pages of a private mapping that have a copy of their own; None if nobody can say."""
    data = bytearray((end - begin) // _PAGE * _ENTRY)
    if os.preadv(page_map, [data], begin // _PAGE * _ENTRY) != len(data):
        return None
    marks = bytes(data[_LAST::_ENTRY]).translate(_OWN)
    runs = [(begin + run.start() * _PAGE, begin + run.end() * _PAGE) for run in re.finditer(b"\1+", marks)]
    return runs if len(runs) <= _MOST_RUNS else None


def _private_mappings() -> list[_Region]:
    """Return the pieces of this process' address space that are private mappings of files."""
    maps = Path("/proc/self/maps").read_bytes()  # as bytes: a path may be anything
    return [
        _Region(int(begin, 16), int(end, 16), int(offset, 16), (device, inode))
        for begin, end, offset, device, inode in _OF_FILES.findall(maps)
    ]
