"""Boxes are what torch's placements give each rank, and where they lie in a file is exact."""

from itertools import pairwise, product
from math import prod

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributed.tensor import Replicate, Shard
from torch.distributed.tensor._utils import _compute_local_shape_and_global_offset
from torch.distributed.tensor.placement_types import _StridedShard

from nameplate_model._boxes import Box, Cut, box_of, is_sharded, overlap, runs, whole
from nameplate_model.errors import CheckpointError

SHAPES = st.lists(st.integers(0, 6), max_size=4).map(tuple)


@st.composite
def boxes(draw: st.DrawFn, shape: tuple[int, ...]) -> Box:
    """Draw a box of a tensor, perhaps an empty one."""
    offsets = tuple(draw(st.integers(0, size)) for size in shape)
    return Box(offsets, tuple(draw(st.integers(0, size - at)) for size, at in zip(shape, offsets, strict=True)))


@st.composite
def layouts(draw: st.DrawFn) -> tuple[tuple[int, ...], list[Cut | None], list[int]]:
    """Draw the shape of a tensor, and how the dimensions of a mesh cut it."""
    shape = draw(st.lists(st.integers(0, 13), min_size=1, max_size=3).map(tuple))
    cut = st.builds(Cut, st.integers(0, len(shape) - 1), st.integers(1, 3))
    cuts = draw(st.lists(st.none() | cut, min_size=1, max_size=3))
    return shape, cuts, [draw(st.integers(1, 4)) for _ in cuts]


def held(size: int, cuts: list[tuple[Cut, int, int]]) -> list[int]:
    """Return which indices of an axis a rank holds, by torch.chunk itself."""
    indices = torch.arange(size)

    def chunk(part: torch.Tensor, count: int, place: int) -> torch.Tensor:
        parts = part.chunk(count)
        return parts[place] if place < len(parts) else part[:0]

    for cut, count, place in cuts:
        indices = torch.cat([chunk(chunk(indices, cut.factor, each), count, place) for each in range(cut.factor)])
    return indices.tolist()


@settings(deadline=None)
@given(layouts())
def test_each_rank_holds_what_chunks_of_chunks_leave_it(layout: tuple[tuple[int, ...], list[Cut | None], list[int]]):
    """A box has the indices that torch.chunk leaves, cut by cut; where these are no range, there is no box."""
    shape, cuts, sizes = layout
    for coordinate in product(*map(range, sizes)):
        along = [
            held(size, [(cut, *at) for cut, *at in zip(cuts, sizes, coordinate, strict=True) if cut and cut.dim == dim])
            for dim, size in enumerate(shape)
        ]
        if any(after - before != 1 for indices in along for before, after in pairwise(indices)):
            with pytest.raises(CheckpointError, match=r"is cut by .* into what is no one range"):
                box_of(shape, cuts, sizes, coordinate)
        else:
            box = box_of(shape, cuts, sizes, coordinate)
            assert [list(range(size))[part] for size, part in zip(shape, box.slices, strict=True)] == along


@settings(deadline=None)
@given(layouts())
def test_boxes_are_those_of_torch(layout: tuple[tuple[int, ...], list[Cut | None], list[int]]):
    """Where torch shards, evenly or not, sizes and offsets are those of its own function; empty parts included."""
    shape, cuts, sizes = layout
    plain = [None if cut is None else Cut(cut.dim) for cut in cuts]
    placements = [Replicate() if cut is None else Shard(cut.dim) for cut in plain]
    for coordinate in product(*map(range, sizes)):
        found = box_of(shape, plain, sizes, coordinate)
        local, offsets = _compute_local_shape_and_global_offset(shape, tuple(sizes), list(coordinate), placements)
        assert (found.sizes, found.offsets) == (tuple(local), tuple(offsets))


@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_two_kinds_of_parallelism_on_one_axis_are_those_of_torch(data: int, model: int, rows: int):
    """What FSDP2 makes of a tensor that is cut for tensor parallelism already has torch's sizes and offsets."""
    shape, sizes = (rows * data * model, 2), (data, model)
    placements = [_StridedShard(0, split_factor=model), Shard(0)]
    for coordinate in product(range(data), range(model)):
        found = box_of(shape, [Cut(0, model), Cut(0)], sizes, coordinate)
        local, offsets = _compute_local_shape_and_global_offset(shape, sizes, list(coordinate), placements)
        assert (found.sizes, found.offsets) == (tuple(local), tuple(offsets))


def test_a_tensor_is_not_cut_along_an_axis_that_it_does_not_have():
    """A cut of another axis is an error that names it."""
    with pytest.raises(CheckpointError) as caught:
        box_of((4, 2), [Cut(2)], [2], [0])

    assert str(caught.value) == "a tensor of shape (4, 2) has no axis 2, so it cannot be cut along that."


@given(st.data())
def test_runs_are_where_a_box_lies(data: st.DataObject):
    """Runs are the elements of the box in order, and no two of them could be one; a part of them is a part of those."""
    shape = data.draw(SHAPES)
    box = data.draw(boxes(shape))
    expected = torch.arange(prod(shape)).reshape(shape)[box.slices].flatten().tolist()
    first, count = data.draw(st.integers(0, box.numel)), data.draw(st.none() | st.integers(0, box.numel + 1))
    every = list(runs(box, shape))
    some = list(runs(box, shape, first, count))

    assert [begin + step for begin, length in every for step in range(length)] == expected
    assert all(begin + length < after for (begin, length), (after, _) in pairwise(every))
    chosen = expected[first:] if count is None else expected[first : first + count]
    assert [begin + step for begin, length in some for step in range(length)] == chosen
    assert all(length for _, length in (*every, *some))


@given(st.data())
def test_an_overlap_is_what_both_have(data: st.DataObject):
    """The overlap of two boxes holds the elements that lie in both, and is None if there are none."""
    shape = data.draw(SHAPES)
    one, other = data.draw(boxes(shape)), data.draw(boxes(shape))
    elements = torch.arange(prod(shape)).reshape(shape)
    both = set(elements[one.slices].flatten().tolist()) & set(elements[other.slices].flatten().tolist())
    found = overlap(one, other)

    assert found == overlap(other, one)
    assert (found is None) == (not both)
    assert found is None or set(elements[found.slices].flatten().tolist()) == both


@given(SHAPES)
def test_the_whole_is_one_run(shape: tuple[int, ...]):
    """All of a tensor is one run, unless it is empty."""
    size = prod(shape)

    assert whole(shape).numel == size
    assert list(runs(whole(shape), shape)) == ([(0, size)] if size else [])


def test_a_plain_tensor_is_not_sharded():
    """A tensor, a parameter and a buffer are whole, also where DTensors are known."""
    assert not is_sharded(torch.ones(2))
    assert not is_sharded(torch.nn.Parameter(torch.ones(2)))
