"""The checksums that ranks make together: the same whoever sums up what, and different when a bit is."""

from itertools import pairwise, product
from math import prod
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nameplate_model._boxes import Box
from nameplate_model._sums import Sum, Sums, sum_of_box

SHAPES = st.lists(st.integers(0, 9), max_size=4).map(tuple)
DTYPES = st.sampled_from([torch.float64, torch.float32, torch.bfloat16, torch.uint8, torch.bool, torch.complex64])


def defined(data: bytes) -> str:
    """Return the checksum of some bytes as its definition says."""
    words = [int.from_bytes(data[place : place + 8], "little") for place in range(0, len(data), 8)]
    signed = [word - (word >> 63 << 64) for word in words]
    sums = [
        sum((2 * place + 1) * word for place, word in enumerate(each)) for each in (words, [w >> 32 for w in signed])
    ]
    return "".join(f"{each % 2**64:016x}" for each in sums)


def filled(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Return a tensor of bytes that are all different, as far as there are so many."""
    size = prod(shape) * dtype.itemsize
    data = (torch.arange(size) * 37 % 251).to(torch.uint8)
    return (data % 2 if dtype is torch.bool else data).view(dtype).view(shape)


def bytes_of(tensor: torch.Tensor) -> bytes:
    """Return what a file holds of a tensor."""
    return bytes(tensor.contiguous().reshape(-1).view(torch.uint8).tolist())


def whole(tensor: torch.Tensor) -> str:
    """Return the checksum of a tensor in one piece."""
    shape = tuple(tensor.shape)
    return sum_of_box(tensor, Box((0,) * len(shape), shape), shape).digest


@st.composite
def partitions(draw: Any) -> tuple[torch.Tensor, list[Box]]:
    """Draw a tensor and boxes that are all of it."""
    tensor = filled(draw(SHAPES), draw(DTYPES))
    cuts = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))}) for size in tensor.shape]
    sides = [[(begin, end - begin) for begin, end in pairwise(places)] for places in cuts]
    return tensor, [Box(tuple(at for at, _ in each), tuple(size for _, size in each)) for each in product(*sides)]


@given(SHAPES, DTYPES)
def test_a_checksum_is_what_its_definition_says(shape: tuple[int, ...], dtype: torch.dtype):
    """The sums of words and of weighted words, in pure Python, are the same digits."""
    tensor = filled(shape, dtype)

    assert whole(tensor) == defined(bytes_of(tensor))


@given(partitions())
def test_the_parts_of_a_tensor_add_up(drawn: tuple[torch.Tensor, list[Box]]):
    """Whatever boxes a tensor is cut into, their sums add up to its checksum."""
    tensor, boxes = drawn
    total = sum((sum_of_box(tensor[box.slices], box, tensor.shape) for box in boxes), Sum())

    assert total.digest == defined(bytes_of(tensor))


@given(st.binary(min_size=1, max_size=60), st.data())
def test_bits_that_flip_change_the_checksum(data: bytes, drawn: st.DataObject):
    """Neither one bit nor two can change without the checksum, be they the signs of two numbers."""
    bits = st.one_of(st.integers(0, 8 * len(data) - 1), st.sampled_from(range(7, 8 * len(data), 8)))
    other = bytearray(data)
    for place in drawn.draw(st.sets(bits, min_size=1, max_size=2)):
        other[place // 8] ^= 1 << place % 8
    one, two = (torch.tensor(list(each), dtype=torch.uint8) for each in (data, other))

    assert whole(one) != whole(two)


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_bytes_that_come_in_order_make_the_same_checksum(pieces: list[bytes]):
    """Pieces of any sizes, one after the other, are summed up like the whole."""
    sums = Sums()
    for piece in pieces:
        sums.update(memoryview(bytearray(piece)))

    assert sums.hexdigest() == defined(b"".join(pieces))


@pytest.mark.parametrize(
    ("rows", "columns", "begin", "end"), [(700, 1000, 3, 997), (3, 600_000, 5, 599_999), (1, 500_000, 0, 500_000)]
)
def test_large_parts_add_up_too(rows: int, columns: int, begin: int, end: int):
    """Where a part is summed up chunk by chunk, no chunk is lost or counted twice."""
    tensor = filled((rows, columns), torch.uint8)
    boxes = [Box((0, low), (rows, high - low)) for low, high in ((0, begin), (begin, end), (end, columns))]
    parts = [sum_of_box(tensor[box.slices], box, tensor.shape) for box in boxes]

    assert sum(parts, Sum()).digest == defined(bytes_of(tensor))


def test_a_part_that_lies_otherwise_in_memory_has_the_same_sum():
    """Neither strides nor an odd address nor a conjugate bit make a difference; only the values count."""
    tensor = filled((6, 5, 4), torch.float32)
    shifted = filled((481,), torch.uint8)[1:].view(6, 5, 16)
    conjugate = torch.complex(tensor, tensor).conj()

    assert whole(tensor.permute(2, 0, 1)) == defined(bytes_of(tensor.permute(2, 0, 1)))
    assert whole(shifted) == defined(bytes_of(shifted))
    assert whole(conjugate) == defined(bytes_of(conjugate.resolve_conj()))
