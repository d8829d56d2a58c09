"""The checksums of tensors that are written in parts: sums, so that those of the parts add up to that of the whole.

The bytes of a tensor, row by row, are words of 64 bits, the lowest byte first and the last word filled up with zeros:
w0, w1, … Its checksum is the sum of all (2i + 1)·w and that of all (2i + 1)·h, both modulo 2**64, in 16 hexadecimal
digits each, where h is the upper half of a word, with its sign. The first sum alone would not see the highest bits of
two words change. Together they show any one or two bits that flip in up to 16 GB, do not depend on who holds which
part, and are made about as fast as memory is read, on the device of the tensor. A sha256 would have to go through all
bytes in order.
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import gcd
from typing import Final, Protocol, Self

import torch

from nameplate_model._boxes import Box
from nameplate_model._layout import SUMS_KEY
from nameplate_model._strips import PIECE, Strip, strips_of

_MODULUS: Final = 1 << 64
_WORD: Final = 8  # bytes
_HALF: Final = 32  # bits
_ROW: Final = 32 << 10  # bytes of a row into which a long run is folded
_CHUNK: Final = 1 << 20  # bytes that stay in the processor's cache while they are summed along both axes


class Hashing(Protocol):
    """What makes a checksum of bytes that come in order."""

    def update(self, data: memoryview, /) -> None:
        """Take some more bytes."""

    def hexdigest(self) -> str:
        """Return the checksum of all so far."""
        ...


@dataclass(frozen=True, slots=True)
class Sum:
    """What some parts of a tensor add to its checksum.

    Attributes:
        words: The sum of each word times twice its place plus one, modulo 2**64.
        halves: The same of the upper halves of the words.

    Example:
        >>> (Sum(1, 3) + Sum(2, 10)).digest
        '0000000000000003000000000000000d'
        >>> Sum.of_digest("0000000000000003000000000000000d")
        Sum(words=3, halves=13)
    """

    words: int = 0
    halves: int = 0

    def __add__(self, other: "Sum") -> "Sum":
        return Sum((self.words + other.words) % _MODULUS, (self.halves + other.halves) % _MODULUS)

    @property
    def digest(self) -> str:
        """The checksum in hexadecimal digits, if this is the sum of the whole tensor."""
        return f"{self.words:016x}{self.halves:016x}"

    @classmethod
    def of_digest(cls, digest: str) -> Self:
        """Return the sum that has a digest."""
        return cls(int(digest[:16], 16), int(digest[16:], 16))


class Sums:
    """Makes the sum of a tensor whose bytes come in order, as those of `hashlib` make a hash.

    Example:
        >>> sums = Sums()
        >>> sums.update(memoryview(bytearray([1, 0, 0, 0, 5, 0, 0, 0, 2])))
        >>> sums.hexdigest()
        '00000005000000070000000000000005'
    """

    def __init__(self) -> None:
        self._sum = Sum()
        self._place = 0

    def update(self, data: memoryview, /) -> None:
        """Take some more bytes, in writable memory."""
        if data:
            size = len(data)
            self._sum += sum_of(torch.frombuffer(data, dtype=torch.uint8), Strip(self._place, 1, size, size))
            self._place += size

    def hexdigest(self) -> str:
        """Return the checksum of all so far."""
        return self._sum.digest


def hashing_for(key: str) -> Hashing:
    """Return what makes the checksums that the metadata has under a key.

    Args:
        key: One of `CHECKSUM_KEYS`.
    """
    return Sums() if key == SUMS_KEY else hashlib.sha256()


def sum_of_box(part: torch.Tensor, box: Box, shape: Sequence[int]) -> Sum:
    """Return what a part of a tensor adds to its checksum.

    Args:
        part: The values of the box, on any device.
        box: Which part that is.
        shape: The size of the whole tensor along each axis.

    Example:
        >>> whole = torch.arange(12.0).view(3, 4)
        >>> left, right = Box((0, 0), (3, 1)), Box((0, 1), (3, 3))
        >>> parts = [sum_of_box(whole[box.slices], box, whole.shape) for box in (left, right)]
        >>> parts[0] + parts[1] == sum_of_box(whole, Box((0, 0), (3, 4)), whole.shape)
        True
    """
    found = Sum()
    for strip, data in strips_of(part, box, shape):
        found += sum_of(data, strip)
    return found


def sum_of(data: torch.Tensor, strip: Strip) -> Sum:
    """Return what the bytes of a strip add to the checksum of its tensor.

    Args:
        data: The bytes, uint8, 1-D.
        strip: Where they lie in the tensor.
    """
    if strip.count == 1 or strip.run > _CHUNK // 2:
        runs = enumerate(data.split(strip.run))
        return _total(_sum_of_run(run, strip.begin + number * strip.period) for number, run in runs)
    rows = data.view(strip.count, strip.run)
    turn = _WORD // gcd(strip.period, _WORD)  # runs that far apart lie on the grid of words in the same way
    return _total(
        _sum_of_rows(rows[first::turn], strip.begin + first * strip.period, turn * strip.period)
        for first in range(min(turn, strip.count))
    )


def _total(sums: Iterable[Sum]) -> Sum:
    return sum(sums, Sum())


def _sum_of_run(data: torch.Tensor, begin: int) -> Sum:
    """Return the sum of bytes that lie together: up to the first whole word, whole rows, and what is left."""
    head = min(-begin % _WORD, len(data))
    body = (len(data) - head) // _ROW * _ROW
    first, middle, last = data.split([head, body, len(data) - head - body])
    parts = (first[None], begin), (middle.view(-1, _ROW), begin + head), (last[None], begin + head + body)
    return _total(_sum_of_rows(rows, at, _ROW) for rows, at in parts if rows.numel())


def _sum_of_rows(rows: torch.Tensor, begin: int, period: int) -> Sum:
    """Return the sum of bytes in rows that lie alike on the grid of words.

    Args:
        rows: The bytes, ``(rows, bytes)``.
        begin: Where the first row begins in the tensor.
        period: The bytes from where one row begins to where the next does: whole words.
    """
    shift = begin % _WORD
    width = -(-(shift + rows.shape[1]) // _WORD) * _WORD
    step = max(1, (_CHUNK if rows.is_cpu else PIECE) // width)
    halves = torch.empty((min(step, len(rows)), width // _WORD), dtype=torch.int64, device=rows.device)  # not each time
    return _total(
        _sum_of_words(_words(part, shift, width), halves, (begin + number * step * period) // _WORD, period // _WORD)
        for number, part in enumerate(rows.split(step))
    )


def _words(rows: torch.Tensor, shift: int, width: int) -> torch.Tensor:
    """Return rows of bytes as words; copied where they do not lie so, zeros before and after."""
    if width != rows.shape[1] or any(
        place % _WORD for place in (rows.data_ptr(), rows.storage_offset(), *rows.stride()[:1])
    ):
        padded = rows.new_zeros(len(rows), width)
        padded[:, shift : shift + rows.shape[1]] = rows
        rows = padded
    return rows.view(torch.int64)


def _sum_of_words(words: torch.Tensor, halves: torch.Tensor, first: int, period: int) -> Sum:
    """Return the sum of words in rows.

    Args:
        words: The words, ``(rows, words)``.
        halves: Memory for as many at least, which gets their upper halves: new memory takes longer than the sum.
        first: The place of the first one in the tensor.
        period: The words from where one row begins to where the next does.
    """
    upper = torch.bitwise_right_shift(words, _HALF, out=halves[: len(words)])
    return Sum(*(_weighted(each, first, period) for each in (words, upper)))


def _weighted(words: torch.Tensor, first: int, period: int) -> int:
    """Return the sum of words times twice their places plus one; int64 wraps around, as the modulus asks for."""
    of_rows, of_columns = words.sum(1), words.sum(0)
    numbers = _numbers(max(words.shape), words.device)
    plain = int(of_rows.sum())
    rows = int((of_rows * numbers[: len(of_rows)]).sum())
    columns = int((of_columns * numbers[: len(of_columns)]).sum())
    return ((2 * first + 1) * plain + 2 * (period * rows + columns)) % _MODULUS


def _numbers(count: int, device: torch.device) -> torch.Tensor:
    return _counted(1 << (count - 1).bit_length(), device)


@lru_cache(maxsize=64)
def _counted(count: int, device: torch.device) -> torch.Tensor:
    return torch.arange(count, dtype=torch.int64, device=device)
