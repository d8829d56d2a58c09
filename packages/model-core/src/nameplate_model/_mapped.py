"""Which pages of memory are still those of a file, as Linux tells a process of its own memory.

A tensor loaded by mapping needs no comparison with its file where nobody wrote to it: a write gives the page a private
copy, and the page map shows that. Everything else (another system, another file, a doubt) is compared byte by byte.
"""

import mmap
import os
from bisect import bisect_right
from typing import NamedTuple, Self

import torch

_PAGE = mmap.PAGESIZE
_ENTRY = 8  # bytes of the page map for each page
_MOST_CHANGED = 64  # pages of a piece that are compared one by one
_SWAPPED, _OF_FILE = 62, 61  # bits of an entry; the highest, 63, says that the page is in memory


class _Region(NamedTuple):
    """A piece of the address space that is a private mapping of a file.

    Attributes:
        begin: Its first address.
        end: The address behind it.
        offset: Where in the file it begins.
        identity: What the system calls the file.
    """

    begin: int
    end: int
    offset: int
    identity: tuple[str, str]


class Mapped:
    """The private mappings of one file, as they are now; none where the system does not tell. A context."""

    def __init__(self, descriptor: int) -> None:
        self._regions: list[_Region] = []
        self._page_map = -1
        try:
            self._page_map = os.open("/proc/self/pagemap", os.O_RDONLY)
            self._regions = self._regions_of(descriptor)
        except (OSError, ValueError, AttributeError):  # another system, or a file that cannot be mapped
            pass
        self._begins = [region.begin for region in self._regions]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._page_map >= 0:
            os.close(self._page_map)

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
        first = address // _PAGE
        changed = self._changed_pages(first, (address + size - 1) // _PAGE - first + 1)
        if changed is None:
            return [(0, size)]
        starts = [(first + page) * _PAGE - address for page in changed]
        return [(max(start, 0), min(start + _PAGE, size)) for start in starts]

    def _changed_pages(self, first: int, count: int) -> list[int] | None:
        """Return which of some pages of a private mapping have a copy of their own; None if there are many."""
        data = bytearray(count * _ENTRY)
        if os.preadv(self._page_map, [data], first * _ENTRY) != len(data):
            return None
        entries = torch.frombuffer(data, dtype=torch.int64)
        own = (entries < 0) & (((entries >> _OF_FILE) & 1) == 0)
        changed = torch.nonzero(own | (((entries >> _SWAPPED) & 1) == 1)).flatten().tolist()
        return changed if len(changed) <= _MOST_CHANGED else None

    def _regions_of(self, descriptor: int) -> list[_Region]:
        """Return the private mappings of a file, whatever the system calls it: one that is made here shows that.

        The same one shows whether the page map can be believed: it must tell a page that was written to.
        """
        with mmap.mmap(descriptor, 1, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE) as sample:
            address = torch.frombuffer(sample, dtype=torch.uint8).data_ptr()
            regions = _regions()
            first = sample[0]
            as_read = self._changed_pages(address // _PAGE, 1)
            sample[0] = first ^ 1
            as_written = self._changed_pages(address // _PAGE, 1)
        if as_read != [] or as_written != [0]:
            return []
        identity = next((region.identity for region in regions if region.begin <= address < region.end), None)
        return [region for region in regions if region.identity == identity]


def _regions() -> list[_Region]:
    """Return the private mappings of files that this process has."""
    found: list[_Region] = []
    with open("/proc/self/maps", "rb") as file:  # noqa: PTH123 - as bytes: a path may be anything
        for line in file:
            span, mode, offset, device, inode, *_ = line.decode("ascii", "replace").split()
            if mode.endswith("p") and inode != "0":
                begin, end = (int(part, 16) for part in span.split("-"))
                found.append(_Region(begin, end, int(offset, 16), (device, inode)))
    return found
