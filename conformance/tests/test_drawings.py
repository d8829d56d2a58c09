"""What a report keeps and draws of two tensors that differ, and of the laws around a root cause."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.bits import bits, require_same, values
from nameplate_conformance.instruments.grid import cut, few
from nameplate_conformance.law import Evidence, all_laws
from nameplate_conformance.records.apart import MOST_VALUES, Apart
from nameplate_conformance.report.graph import graph
from nameplate_conformance.report.heatmap import figures, legend, pictures, places

SHAPES = st.lists(st.integers(1, 40), max_size=3).map(tuple)


def kept(before: Any, after: Any) -> Apart:
    """Return what a report keeps of two tensors that can be compared."""
    apart = cut("weight", torch.as_tensor(before), torch.as_tensor(after))
    assert apart is not None
    return apart


@settings(deadline=None, max_examples=25)
@given(shape=SHAPES, where=st.integers(0), value=st.sampled_from([1e-30, -5.0, math.nan, math.inf]))
def test_no_difference_is_lost_to_the_grid(shape: tuple[int, ...], where: int, value: float):
    """However large the tensor, a single value that differs is kept, with its place."""
    before = torch.zeros(shape)
    after = before.clone()
    index = torch.unravel_index(torch.tensor(where % before.numel()), shape)
    after[index] = value

    apart = kept(before, after)
    changed = [place for place, each in enumerate(apart.after) if each != 0]

    assert len(apart.before) == len(apart.after) <= MOST_VALUES
    assert apart.differing == 1
    assert [apart.index(place) for place in changed] == [tuple(map(int, index))]


@settings(deadline=None, max_examples=25)
@given(shape=SHAPES)
def test_small_tensors_are_kept_whole(shape: tuple[int, ...]):
    """Of a tensor with no more values than are kept, all are there in their order."""
    tensor = torch.randn(shape)
    apart = kept(tensor, tensor)

    assert bool(apart.at) == (tensor.numel() > MOST_VALUES)
    assert apart.at or apart.before == tuple(tensor.double().reshape(-1).tolist())
    assert apart.differing == 0


@pytest.mark.parametrize(
    ("before", "after"),
    [(torch.zeros(2), torch.zeros(3)), (torch.zeros(0), torch.zeros(0))],
    ids=["of other shapes", "without values"],
)
def test_some_tensors_have_no_places_to_compare(before: torch.Tensor, after: torch.Tensor):
    """Nothing is kept of tensors that have no common places."""
    assert cut("weight", before, after) is None


def test_a_dtype_that_changed_is_named():
    """Both dtypes are told, and equal numbers do not count as different."""
    apart = kept(torch.tensor([1.0, 0.1]), torch.tensor([1.0, 0.1]).half())

    assert (apart.dtype, apart.differing) == ("float32 → float16", 1)


def test_the_largest_tensors_are_kept():
    """Of many tensors that differ two are kept: a picture of more values says more."""
    pairs = [(str(size), torch.zeros(size), torch.ones(size)) for size in (1, 5, 3)]

    assert [each.name for each in few(pairs)] == ["5", "3"]


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("shape", [(), (0,), (2, 3)], ids=str)
def test_bits_become_the_tensor_again(dtype: torch.dtype, shape: tuple[int, ...]):
    """Bytes are read back as the tensor that they were taken from."""
    tensor = torch.ones(shape, dtype=dtype)

    assert bits(values(bits(tensor))) == bits(tensor)


def test_a_broken_law_shows_the_tensors():
    """Tensors that should be the same and are not travel with the error that says so."""
    before, after = {"weight": bits(torch.zeros(2))}, {"weight": bits(torch.tensor([0.0, 1.0]))}

    with pytest.raises(LawBrokenError, match="reloaded: tensors differ: weight of 1") as caught:
        require_same(before, after, Evidence(), what="tensors", when="reloaded")

    (apart,) = caught.value.apart
    assert (apart.name, apart.before, apart.after) == ("weight", (0.0, 0.0), (0.0, 1.0))


def test_what_is_no_number_is_marked():
    """Each kind of value that has no colour has a pattern, which the legend explains; others need none."""
    wild = kept([0.0, 1.0, 2.0, 0.0], [math.nan, math.inf, -math.inf, -0.0])

    assert list(legend(wild)) == ["not a number", "infinite", "minus infinity", "other bits, same value"]
    assert legend(kept([1.0], [2.0])) == {}


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.floats(), st.floats()), min_size=1, max_size=30))
def test_whatever_the_values_they_are_drawn(pairs: list[tuple[float, float]]):
    """No value is too large, too small or too odd for a picture and its figures."""
    before, after = (torch.tensor(each, dtype=torch.float64) for each in zip(*pairs, strict=True))
    apart = kept(before, after)

    assert [each.title for each in pictures(apart)] == ["before", "after", "difference"]
    assert len(places(apart)) <= min(5, apart.differing)
    assert figures(apart)["differ"] == f"{apart.differing} of {len(pairs)} values"


def test_the_worst_places_come_first():
    """A value that became no number is worse than any difference, and a sign of zero the least."""
    apart = kept([[0.0, 1.0], [2.0, 3.0]], [[-0.0, 1.5], [math.nan, 3.0]])

    assert [(each.index, each.difference) for each in places(apart)] == [
        ("[1, 0]", "NaN"),
        ("[0, 1]", "0.5"),
        ("[0, 0]", "other bits"),
    ]


def test_graph_puts_needs_before_and_blocked_laws_after():
    """From left to right stand what the root needs, the root, and what it blocks, nearest first."""
    drawn = graph("S01", all_laws(), ["S02", "S04", "S09"], {"S01": "bad"})

    assert drawn is not None
    places = {box.text: box.x for box in drawn.boxes}
    assert places["C02"] < places["S01"] < places["S02"]
    assert drawn.described.endswith("it blocks S02, S04, S09")


def test_graph_of_many_laws_says_how_many_more():
    """A column never grows without end."""
    drawn = graph("S01", all_laws(), [law_id for law_id, law in all_laws().items() if "S01" in law.needs], {})

    assert drawn is not None
    assert any(box.text.startswith("+") for box in drawn.boxes)
    assert all(0 <= box.y <= drawn.height - box.height for box in drawn.boxes)


def test_a_law_that_stands_alone_has_no_graph():
    """A root that needs nothing and blocks nothing needs no picture."""
    alone = next(each for each in all_laws().values() if not each.needs)

    assert graph(alone.id, all_laws(), [], {}) is None
