"""When two values of a config are the same."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import pytest

from nameplate_config import PreTrainedConfig
from nameplate_conformance.instruments.nesting import configs_of, holds_configs
from nameplate_conformance.instruments.sameness import same


@dataclass(slots=True)
class Record:
    """A class with slots."""

    value: Any


class Part(PreTrainedConfig):
    """A config inside of another."""

    width: float = 1.0


class Whole(PreTrainedConfig):
    """A config with parts."""

    part: Part = Part()
    parts: dict[str, list[Part]] = {}


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (float("nan"), float("nan"), True),
        (0.0, -0.0, False),
        (1, True, False),
        (1, 1.0, False),
        ([1], [1.0], False),
        ([1], (1,), False),
        ([1], [1, 2], False),
        ({1: "a"}, {1: "a"}, True),
        ({1: "a", 2: "b"}, {2: "b", 1: "a"}, False),
        ({1: "a"}, {True: "a"}, False),
        ({1: "a"}, OrderedDict({1: "a"}), False),
        ({1, 2}, {2, 1}, True),
        ({1}, {True}, False),
        (complex(0.0, -0.0), complex(0.0, 0.0), False),
        (Record([1]), Record([1]), True),
        (Record([1]), Record([1.0]), False),
        (Part(), Part(), True),
        (Part(width=2.0), Part(), False),
        ("a", "a", True),
    ],
)
def test_same(one: Any, other: Any, expected: bool):
    """Values are the same if no file could tell them apart."""
    assert same(one, other) is expected


def test_configs_are_found_wherever_they_are():
    """In fields, lists and dicts, with the path that leads to each."""
    whole = Whole(parts={"a": [Part(), Part()]})

    assert [path for path, _ in configs_of(whole)] == ["part", "parts['a'][0]", "parts['a'][1]"]


def test_a_class_says_whether_it_holds_configs():
    """By its annotations, or by the default of a bare parameter."""

    class Bare(PreTrainedConfig):
        def __init__(self, part=Part(), **kwargs):  # noqa: B008
            super().__init__(**kwargs)
            self.part = part

    assert (holds_configs(Whole), holds_configs(Bare), holds_configs(Part)) == (True, True, False)
