"""Covering rows: what they go through, and how a failing one is made small."""

from itertools import combinations, product
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Len
from hypothesis import given
from hypothesis import strategies as st

from nameplate_config import OnlyWhen, PreTrainedConfig, Tiny
from nameplate_conformance import Architecture
from nameplate_conformance.drawing.coverage import MOST_ROWS, coverage_of, minimised, rows
from nameplate_conformance.drawing.domains import Either, Few, Given, Items, Pairs, Row, Whole, is_accepted
from nameplate_conformance.drawing.representatives import representatives
from nameplate_conformance.samples.architectures import SAMPLES
from nameplate_conformance.zoo import reference

VALUES: dict[str, tuple[Any, ...]] = {
    "width": (1, 2, 3),
    "act": ("relu", "gelu"),
    "bias": (False, True),
    "shape": ((1, 1), (1, 2), (2, 1), (2, 2)),
    "maybe": (None, 4),
}


class Block(PreTrainedConfig):
    """Fields that do not depend on each other."""

    model_type = "covered"

    width: Annotated[int, Ge(1), Tiny(1, 2, 3)] = 8
    act: Literal["relu", "gelu"] = "relu"
    bias: bool = True
    shape: tuple[Annotated[int, Tiny(1, 2)], Annotated[int, Tiny(1, 2)]] = (8, 8)
    maybe: Annotated[int, Tiny(4)] | None = None


BLOCK = Architecture(config=Block)


class Grouped(Block):
    """One field that counts only beside a value of another, and one value that another refuses."""

    groups: Annotated[int, Tiny(1, 2), OnlyWhen("act", "gelu")] = 1

    def validate_bias(self) -> None:
        """Refuse a bias beside the largest width."""
        if self.bias and self.width == 3:
            message = "no bias there"
            raise ValueError(message)


def test_the_first_row_is_the_simplest_and_the_second_the_other_end():
    """A prefix of two rows has already been to both ends of every field."""
    first, second = rows(BLOCK)[:2]

    assert first == {"width": 1, "act": "relu", "bias": False, "shape": (1, 1), "maybe": None}
    assert second == {"width": 3, "act": "gelu", "bias": True, "shape": (2, 2), "maybe": 4}


@pytest.mark.parametrize("name", list(VALUES))
def test_every_value_is_in_a_row(name: str):
    """Each choice of each field comes up."""
    assert {row[name] for row in rows(BLOCK)} == set(VALUES[name])


def test_every_one_of_many_choices_is_in_a_row():
    """A field may have as many choices as timm has activations: none is left to chance."""

    class Chosen(PreTrainedConfig):
        act: Literal["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o", "p", "q", "r"] = "a"

    assert sorted(row["act"] for row in rows(Architecture(config=Chosen))) == sorted("abcdefghijklmnopqr")


def test_every_pair_of_few_values_is_in_a_row():
    """Two values of two fields meet, if each field has three values at most."""
    few = {name: values for name, values in VALUES.items() if len(values) <= 3}
    met = {(one, row[one], other, row[other]) for row in rows(BLOCK) for one, other in combinations(few, 2)}

    assert met == {
        (one, this, other, that) for one, other in combinations(few, 2) for this, that in product(few[one], few[other])
    }


@pytest.mark.parametrize("architecture", [reference(), *SAMPLES], ids=lambda each: each.label)
@pytest.mark.parametrize("exotic", [False, True], ids=["usual", "exotic"])
def test_rows_are_accepted_and_miss_nothing(architecture: Architecture, exotic: bool):
    """Rows of every sample are few, differ, are accepted, and have every value that stands for a field."""
    found = coverage_of(architecture, exotic=exotic)

    assert 2 <= len(found.rows) <= MOST_ROWS
    assert len({repr(row) for row in found.rows}) == len(found.rows)
    assert all(is_accepted(architecture.config_class, dict(row)) for row in found.rows)
    assert found.missed == ()


def test_what_is_refused_is_repaired_around_the_value_that_is_wanted():
    """A row that the config class refuses is tried again with other values beside; the refusals are counted."""
    found = coverage_of(Architecture(config=Grouped))

    assert found.refused
    assert found.missed == ()
    assert {(row["width"], row["bias"]) for row in found.rows} == {
        (1, False),
        (1, True),
        (2, False),
        (2, True),
        (3, False),
    }


def test_a_field_without_effect_is_in_no_row():
    """A field that counts only beside a value of another is given there, with each of its values, and only there."""
    found = rows(Architecture(config=Grouped))

    assert all(("groups" in row) == (row["act"] == "gelu") for row in found)
    assert {row["groups"] for row in found if "groups" in row} == {1, 2}


def test_what_no_row_can_have_is_told():
    """A value that is always refused is missed."""

    class Picky(Block):
        def validate_width(self) -> None:
            if self.width == 2:
                message = "not two"
                raise ValueError(message)

    assert coverage_of(Architecture(config=Picky)).missed == (("width", 2),)


def test_a_config_class_that_crashes_has_rows():
    """What a constructor trips over is not left out: the laws must see it."""

    class Crashing(Block):
        def __init__(self, width: Annotated[int, Tiny(1, 2)] = 8, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width = [][width]

    assert {row["width"] for row in rows(Architecture(config=Crashing))} == {1, 2}


def test_rows_are_bounded_in_number():
    """Sixty switches have too many pairs; each of their values comes up nevertheless."""
    names = [f"switch{number}" for number in range(60)]
    body = {"__annotations__": dict.fromkeys(names, bool), "__module__": __name__, **dict.fromkeys(names, False)}
    found = rows(Architecture(config=type("Switches", (PreTrainedConfig,), body)))

    assert len(found) <= MOST_ROWS
    assert all({row[name] for row in found} == {False, True} for name in names)


def test_rows_are_copies():
    """Whoever changes a row changes no other run."""
    before = rows(reference())
    rows(reference())[0]["scales"].append(7.0)
    before[0]["scales"].append(8.0)

    assert coverage_of(reference()).rows[0]["scales"] == [0.0]


def test_a_field_of_which_nothing_is_known_leaves_no_rows():
    """There is no example without a value for it."""

    class Unknown(PreTrainedConfig):
        def __init__(self, part, **kwargs):  # type: ignore[no-untyped-def]
            super().__init__(**kwargs)
            self.part = part

    assert rows(Architecture(config=Unknown)) == []


@given(st.fixed_dictionaries({name: st.sampled_from(values) for name, values in VALUES.items()}), st.data())
def test_a_failing_row_becomes_as_simple_as_it_can(row: dict[str, Any], data: st.DataObject):
    """What fails for the values of some fields keeps those, and every other field becomes the simplest."""
    guilty = data.draw(st.sets(st.sampled_from(list(row))))
    found = minimised(BLOCK, row, lambda kwargs: all(kwargs[name] == row[name] for name in guilty))

    assert found == {name: row[name] if name in guilty else values[0] for name, values in VALUES.items()}


def test_a_smaller_row_is_one_that_the_config_accepts():
    """Only arguments that the config class accepts are tried, and fields without effect leave with their condition."""
    asked: list[dict[str, Any]] = []
    failing = {"width": 3, "act": "gelu", "bias": False, "shape": (2, 2), "maybe": 4, "groups": 2}
    found = minimised(Architecture(config=Grouped), failing, lambda kwargs: not asked.append(kwargs))

    assert all(is_accepted(Grouped, kwargs) for kwargs in asked)
    assert found == {"width": 1, "act": "relu", "bias": False, "shape": (1, 1), "maybe": None}


class Node(PreTrainedConfig):
    """A config that holds its own kind."""

    width: Annotated[int, Tiny(1, 2)] = 1
    child: "Node | None" = None


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (Few([1, 2, 1]), [1, 2]),
        (Either([Few([None]), Few([3])]), [None, 3]),
        (Given(st.integers(0, 1)), [0, 1]),
        (Given(st.nothing()), []),
        (Row([]), [()]),
        (Row([Few([1]), Few([])]), []),
        (Items(list, Few([]), 0, 2), [[]]),
        (Items(list, Few([]), 1, 2), []),
        (Items(tuple, Few([1, 2, 3]), 0, 2), [(), (1,), (2,), (3,), (3, 2)]),
        (Items(frozenset, Few([1, 2]), 1, 3, unique=True), [frozenset({1}), frozenset({2}), frozenset({1, 2})]),
        (Pairs(dict, Few(["a", "b"]), Few([0, 1]), 1, 2), [{"a": 0}, {"b": 0}, {"b": 1}, {"b": 1, "a": 0}]),
        (Pairs(dict, Few(["a"]), Few([]), 0, 2), [{}]),
    ],
    ids=repr,
)
def test_representatives_are_every_choice_and_length(domain: Any, expected: list[Any]):
    """The simplest value is first, the other end last."""
    assert representatives(domain) == expected


def test_representatives_of_what_holds_its_own_kind_come_to_an_end():
    """A config inside of a config inside of a config is deep enough."""
    found = representatives(Whole(Node, exotic=False))

    assert found[0] == Node(width=1)
    assert max(repr(each).count("Node(") for each in found) == 2


@pytest.mark.parametrize("lengths", [Len(1, 3), Len(0, 4)], ids=repr)
def test_both_ends_of_a_bounded_length_are_in_rows(lengths: Len):
    """A list that may have up to a few elements has as few and as many as it may."""

    class Sized(PreTrainedConfig):
        sizes: Annotated[list[int], lengths]

    found = {len(row["sizes"]) for row in rows(Architecture(config=Sized), exotic=True)}

    assert found >= {lengths.min_length, lengths.max_length}
