"""What is derived as wrong for an annotation."""

import enum
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from annotated_types import Ge, Gt, Le, Len, Lt, MaxLen, MinLen, MultipleOf

from nameplate_config import ConfigError, DType, OnlyWhen, PreTrainedConfig
from nameplate_conformance.drawing.negatives import is_json, wrong_together, wrong_values

NO = "no such value"
INF = float("inf")


class Shade(enum.Enum):
    """A choice."""

    LIGHT = "light"


class Pair(NamedTuple):
    """Two numbers."""

    one: int
    other: int


@dataclass
class Record:
    """One number."""

    one: int = 1


class Part(PreTrainedConfig):
    """A config inside of another."""

    model_type = "part"

    width: int = 8
    free: Any = None


class Node(PreTrainedConfig):
    """A config that holds its own kind."""

    children: list["Node"] = []


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Any, []),
        (int, [NO]),
        (complex, [NO]),
        (str, [0.5]),
        (bytes, [0.5]),
        (Path, [0.5]),
        (DType, [NO, 0.5]),
        (Shade, [NO]),
        (Literal["a"], [NO]),
        (int | None, [NO]),
        (int | str, []),
        (int | bool, [NO]),
        (list[int], [NO, [NO]]),
        (set[int], [NO]),
        (tuple[int, str], [NO, [None, None, None]]),
        (tuple[()], [NO, [None]]),
        (tuple[int, ...], [NO, [NO]]),
        (dict[int, str], [NO, {1: 0.5}]),
        (OrderedDict[str, int], [NO, {"x": NO}]),
        (dict[Shade, int], [NO]),
        (Pair, [NO, [None, None, None]]),
        (Record, [NO, {"no_such_field": 1}]),
        (Part, [NO, {"model_type": NO}, {"width": NO}]),
        (Node, [NO, {"children": NO}]),
        (Annotated[int, Ge(1), Le(3)], [NO, 0, 4]),
        (Annotated[int, Gt(1), Lt(3)], [NO, 1, 3]),
        (Annotated[int, MultipleOf(8)], [NO, 9]),
        (Annotated[int, MultipleOf(1)], [NO]),
        (Annotated[float, MultipleOf(0.5)], [NO, 0.75]),
        (Annotated[float, Ge(0.0)], [NO, -1.0, -INF, "nan"]),
        (Annotated[float, Gt(0.0), Le(1.0)], [NO, 0.0, 2.0, -INF, INF, "nan"]),
        (Annotated[str, MinLen(1), MaxLen(2)], [0.5, "", "xxx"]),
        (Annotated[bytes, Len(1, 2)], [0.5, b"", b"xxx"]),
        (Annotated[list[int], Len(1, 2)], [NO, [NO], [], [1, 1, 1]]),
        (Annotated[tuple[float, ...], MaxLen(1)], [NO, [NO], [0.5, 0.5]]),
        (Annotated[list[Part], MaxLen(1)], [NO, [NO]]),
    ],
    ids=repr,
)
def test_wrong_values_follow_from_the_annotation(annotation: Any, expected: list[Any]):
    """Each is wrong in one respect, and what no value can be wrong for has none."""
    found = [each if each == each else "nan" for each in wrong_values(annotation)]  # noqa: PLR0124 - what NaN is not

    assert found == expected


def test_a_value_without_an_effect_is_wrong_together_with_what_takes_it_away():
    """Each field with a condition is given another value than its default where the condition does not hold."""

    class Grouped(PreTrainedConfig):
        kind: Literal["plain", "grouped", "deep"] = "plain"
        groups: Annotated[int, OnlyWhen("kind", "grouped")] = 1
        depth: Annotated[int, OnlyWhen("kind", "deep")] = 3
        width: int = 8

    found = list(wrong_together(Grouped, {"kind": "grouped", "groups": 4, "width": 2}))

    assert found == [
        ("groups", {"kind": "plain", "width": 2, "groups": 2}),
        ("depth", {"kind": "plain", "width": 2, "depth": 1}),
    ]
    for name, together in found:
        with pytest.raises(ConfigError, match=f"{name}: expected .* while kind is 'plain'"):
            Grouped(**together)


@pytest.mark.parametrize(("value", "expected"), [([1, {"a": None}], True), (b"", False), (float("nan"), False)])
def test_only_json_can_stand_in_a_file(value: Any, expected: bool):
    """Byte strings and NaN cannot."""
    assert is_json(value) is expected
