"""The JSON Schema of a config class: it accepts what the class reads and rejects what it refuses."""

import enum
import json
import warnings
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pytest
from annotated_types import Ge, Gt, Le, Len, Lt, MultipleOf
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from nameplate_config import ConfigError, DType, OnlyWhen, PreTrainedConfig, migrates


class Mode(enum.Enum):
    """An enum of a text and a number."""

    FAST = "fast"
    SLOW = 2


class Span(NamedTuple):
    """A named tuple."""

    start: int
    stop: float


@dataclass
class Anchor:
    """A dataclass with a required field."""

    size: int
    name: str = ""


class Leaf(PreTrainedConfig):
    """A nested config."""

    model_type = "leaf"

    depth: Annotated[int, Ge(1)] = 1
    below: "Leaf | None" = None


class Everything(PreTrainedConfig):
    """A field of every kind."""

    model_type = "everything"
    config_version = 2
    attribute_map = {"hidden": "width"}

    needed: int
    width: Annotated[int, Ge(1), Le(64), MultipleOf(2)] = 8
    ratio: Annotated[float, Gt(0), Lt(1)] = 0.5
    scale: float = 1.0
    flag: bool = True
    name: Annotated[str, Len(1, 5)] = "net"
    act: Literal["relu", 1] | None = "relu"
    mode: Mode = Mode.FAST
    home: Path = Path("a")
    blob: bytes = b""
    wave: complex = 0j
    layers: tuple[int, ...] = ()
    pair: tuple[int, str] = (0, "")
    several: Annotated[list[int], Len(1, 2)] = [1]
    kinds: set[str] = set()
    names: dict[int, str] = {}
    flags: dict[bool, int] = {}
    modes: dict[Mode, int] = {}
    order: OrderedDict[str, int] = OrderedDict()
    span: Span = Span(0, 1.0)
    anchor: Anchor = Anchor(1)
    compute: DType = "float32"
    leaf: Leaf = Leaf()
    leaves: list[Leaf | None] = []
    either: int | str | Path | list[int] = 1
    anything: Any = None
    kind: Literal["plain", "grouped"] = "plain"
    groups: Annotated[int, OnlyWhen("kind", "grouped")] = 1

    @migrates(1, 2)
    @staticmethod
    def nothing_changed(values: dict[str, Any]) -> dict[str, Any]:
        """Version 2 changed nothing."""
        return values


SCHEMA = Everything.json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
COMPLETE = json.loads(Everything(needed=1).to_json_string())

numbers = st.one_of(st.integers(-3, 70), st.sampled_from([0.5, 1.0, 2.0, -0.5, 10**19, 1e30]))
scalars = st.one_of(
    st.none(),
    st.booleans(),
    numbers,
    st.sampled_from(["", "a", "relu", "grouped", "fast", "AP8=", "AP8", "float32", "1"]),
)
tagged = st.sampled_from(
    [
        {"__float__": "NaN"},
        {"__float__": "nan"},
        {"__type__": "Path", "value": "a"},
        {"__type__": "str", "value": 1},
        {"__type__": "list[int]", "value": [1]},
        {"depth": 2},
        {"depth": 0},
        {"depth": 1, "below": {"depth": 1}},
        {"model_type": "leaf", "note": 1},
        {"model_type": "root"},
        {"size": 1},
        {"size": 1, "other": 1},
    ]
)
values = st.recursive(
    st.one_of(scalars, tagged),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["1", "01", "-0", "a", "true", "fast", "2", "size"]), inner, max_size=2),
    ),
    max_leaves=4,
)


def accepted(file: dict[str, Any]) -> bool:
    """Whether the class reads a file."""
    with warnings.catch_warnings(action="ignore"):  # of labels that contradict each other
        try:
            Everything.from_dict(json.loads(json.dumps(file)))
        except ConfigError:
            return False
    return True


def test_the_schema_is_one():
    """It is a schema of draft 2020-12, and plain JSON."""
    Draft202012Validator.check_schema(SCHEMA)

    assert json.loads(json.dumps(SCHEMA)) == SCHEMA
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_it_accepts_what_the_class_writes():
    """The file of a default config, and of one with other values, is valid."""
    other = Everything(
        needed=2,
        scale=float("inf"),
        mode=Mode.SLOW,
        either=Path("x"),
        leaf=Leaf(depth=3, below=Leaf()),
        leaves=[None, Leaf()],
        blob=b"\xff",
        wave=1j,
        order=OrderedDict(b=1),
        names={-3: "a"},
        flags={True: 1},
        modes={Mode.FAST: 1, Mode.SLOW: 2},
        kind="grouped",
        groups=4,
        id2label={0: "a"},
        dtype="half",
    )

    for config in (Everything(needed=1), other):
        assert list(VALIDATOR.iter_errors(json.loads(config.to_json_string()))) == []


@settings(deadline=None, max_examples=1500)
@given(name=st.sampled_from([*SCHEMA["properties"], "unknown", "to_dict"]), value=values)
def test_it_says_what_the_class_says(name: str, value: Any):
    """For any value of any key, the schema and the class agree, except where two keys must agree with each other."""
    file = {**COMPLETE, name: value}
    crossed = name in {"hidden", "id2label", "label2id", "num_labels"} and accepted(file) is False
    older = name == "config_version"  # is read too, but the schema is of the present version
    if not (crossed or older):
        assert VALIDATOR.is_valid(file) == accepted(file)


@pytest.mark.parametrize(
    "change",
    [
        {"needed": None},
        {"config_version": 3},
        {"width": 10**21},
        {"names": {"9" * 21: "a"}},
        {"model_type": "other"},
        {"groups": 4},
        {"kind": "grouped", "groups": "4"},
        {"__class__": 1},
        {"leaf": {"to_dict": 1}},
    ],
    ids=str,
)
def test_it_rejects_files_that_the_class_refuses(change: dict[str, Any]):
    """Of keys that are missing, reserved, or only valid together."""
    file = {**COMPLETE, **change}

    assert (VALIDATOR.is_valid(file), accepted(file)) == (False, False)


def test_it_knows_what_is_required():
    """A required field must be there, under its own name or its alias."""

    class Aliased(PreTrainedConfig):
        attribute_map = {"hidden": "width"}

        width: int

    valid = Draft202012Validator(Aliased.json_schema()).is_valid

    assert [valid({}), valid({"width": 1}), valid({"hidden": 1})] == [False, True, True]
    assert not VALIDATOR.is_valid({key: value for key, value in COMPLETE.items() if key != "needed"})
