"""What goes into a field comes out of a file: as the same value, of the same type."""

import copy
import enum
import json
import math
import pickle
import re
import tempfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import field
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, TypeVar

import annotated_types
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_config import ConfigError, PreTrainedConfig

T = TypeVar("T")

quick = settings(deadline=None, max_examples=50)


class Mode(enum.Enum):
    """An enum of texts."""

    FAST = "fast"
    SLOW = "slow"


class Level(enum.IntEnum):
    """An enum of numbers."""

    LOW = 1
    HIGH = 2


class Ratio(enum.Enum):
    """An enum of floats."""

    HALF = 0.5


class Leaf(PreTrainedConfig):
    """A config that is held by another."""

    model_type = "leaf"

    depth: int = 1
    scale: float = 1.0


class Everything(PreTrainedConfig):
    """A field of every kind that a file can carry."""

    model_type = "everything"

    flag: bool = False
    number: int = 0
    real: float = 0.0
    text: str = ""
    numbers: list[int] = field(default_factory=list)
    sizes: tuple[int, ...] = ()
    pair: tuple[int, str] = (0, "")
    names: set[str] = field(default_factory=set)
    primes: frozenset[int] = frozenset()
    labels: dict[int, str] = field(default_factory=dict)
    stages: dict[str, tuple[float, ...]] = field(default_factory=dict)
    switches: dict[bool, Mode] = field(default_factory=dict)
    by_mode: dict[Mode, int] = field(default_factory=dict)
    by_level: dict[Level, int] = field(default_factory=dict)
    by_real: dict[float, int] = field(default_factory=dict)
    by_bounded: dict[Annotated[int, annotated_types.Ge(0)], int] = field(default_factory=dict)
    mode: Mode = Mode.FAST
    level: Level = Level.LOW
    path: Path = Path()
    act: Literal["relu", 1, True] | None = "relu"
    maybe: int | None = None
    maybe_mode: Mode | None = None
    one_of: bool | int | float | str | tuple[int, ...] | None = None
    leaf: Leaf = Leaf()
    leaves: dict[str, Leaf | None] = field(default_factory=dict)
    anything: Any = None


class Bare(PreTrainedConfig):
    """Parameters without annotations, whose defaults show their types."""

    def __init__(  # noqa: PLR0913 - one of each kind
        self, *, sizes=(1,), names={"a"}, primes=frozenset({2}), mode=Mode.FAST, path=Path("a"), labels={0: "a"},  # noqa: B006
        items=[1], scale=0.5, nothing=None, **kwargs,  # noqa: B006
    ):  # fmt: skip
        super().__init__(**kwargs)
        self.sizes, self.names, self.primes, self.mode = sizes, names, primes, mode
        self.path, self.labels, self.items, self.scale, self.nothing = path, labels, items, scale, nothing


INTEGERS = st.integers(-(2**63), 2**63)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | INTEGERS | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
LEAVES = st.builds(Leaf, depth=INTEGERS, scale=st.floats())
PATHS = st.lists(st.text("ab.é ", min_size=1), max_size=3).map(lambda parts: Path(*parts))

EVERYTHING = st.builds(
    Everything,
    flag=st.booleans(),
    number=INTEGERS,
    real=st.floats(),
    text=st.text(),
    numbers=st.lists(INTEGERS),
    sizes=st.lists(INTEGERS).map(tuple),
    pair=st.tuples(INTEGERS, st.text()),
    names=st.sets(st.text()),
    primes=st.frozensets(INTEGERS),
    labels=st.dictionaries(INTEGERS, st.text()),
    stages=st.dictionaries(st.text(), st.lists(st.floats()).map(tuple), max_size=3),
    switches=st.dictionaries(st.booleans(), st.sampled_from(Mode)),
    by_mode=st.dictionaries(st.sampled_from(Mode), INTEGERS),
    by_level=st.dictionaries(st.sampled_from(Level), INTEGERS),
    by_real=st.dictionaries(st.floats(allow_nan=False), INTEGERS, max_size=3),
    by_bounded=st.dictionaries(st.integers(0, 2**63), INTEGERS, max_size=3),
    mode=st.sampled_from(Mode),
    level=st.sampled_from(Level),
    path=PATHS,
    act=st.sampled_from(["relu", 1, True, None]),
    maybe=st.none() | INTEGERS,
    maybe_mode=st.none() | st.sampled_from(Mode),
    one_of=st.none() | st.booleans() | INTEGERS | st.floats() | st.text() | st.lists(INTEGERS).map(tuple),
    leaf=LEAVES,
    leaves=st.dictionaries(st.text(), st.none() | LEAVES, max_size=2),
    anything=JSON_VALUES,
)


def shape(value: Any) -> Any:
    """Return the types of a value and of all that it holds, in order where there is one."""
    if isinstance(value, PreTrainedConfig):
        return type(value), {name: shape(item) for name, item in vars(value).items()}
    if isinstance(value, Mapping):
        return type(value), [(shape(key), shape(item)) for key, item in value.items()]
    if isinstance(value, (set, frozenset)):
        return type(value), sorted(str(shape(item)) for item in value)
    if isinstance(value, (list, tuple)):
        return type(value), [shape(item) for item in value]
    return type(value)


def reread(config: T) -> T:
    """Return the config that a file with the values of *config* gives."""
    return type(config).from_dict(json.loads(json.dumps(config.to_dict(), allow_nan=False)))


def holding(annotation: Any, **default: Any) -> type[PreTrainedConfig]:
    """Return a config class with one field, called `value`, of the given type."""
    body = {"__annotations__": {"value": annotation}, "__module__": __name__}
    return type(PreTrainedConfig)(
        "Holding", (PreTrainedConfig,), body | ({"value": default["default"]} if default else {})
    )


# ---- properties of every config


@quick
@given(EVERYTHING)
def test_values_and_types_come_back(config: Everything):
    """A config comes back from strict JSON equal, with every value of the type that it had."""
    loaded = reread(config)

    assert loaded == config
    assert shape(loaded) == shape(config)


@quick
@given(EVERYTHING)
def test_saving_again_changes_no_byte(config: Everything):
    """Saving, loading and saving again writes the same bytes."""
    with tempfile.TemporaryDirectory() as folder:
        config.save_pretrained(folder)
        first = Path(folder, "config.json").read_bytes()
        Everything.from_pretrained(folder).save_pretrained(folder)

        assert Path(folder, "config.json").read_bytes() == first


@quick
@given(EVERYTHING)
def test_the_diff_is_sufficient_and_minimal(config: Everything):
    """The diff restores the config, and without any one of its keys it would not."""
    diff = config.to_diff_dict()

    assert Everything.from_dict(diff) == config
    for name in diff.keys() - {"model_type"}:
        assert Everything.from_dict({key: diff[key] for key in diff if key != name}) != config


@quick
@given(EVERYTHING)
def test_repr_evaluates_back(config: Everything):
    """Evaluating the `repr` gives an equal config, infinities, enum members and paths included."""
    names = {"PosixPath": Path, "WindowsPath": Path}

    assert eval(repr(config), globals() | names) == config  # noqa: S307 - that is the promise


@quick
@given(EVERYTHING)
def test_duplicates_are_equal(config: Everything):
    """A deep copy and a pickle are equal to the original, types included."""
    for twin in (copy.deepcopy(config), pickle.loads(pickle.dumps(config))):
        assert twin == config
        assert shape(twin) == shape(config)


@quick
@given(EVERYTHING, EVERYTHING)
def test_equality_is_that_of_the_files(one: Everything, other: Everything):
    """Two configs are equal if and only if their files hold the same, and equality is symmetric."""
    same = json.dumps(one.to_dict(), sort_keys=True) == json.dumps(other.to_dict(), sort_keys=True)

    assert (one == other, other == one) == (same, same)


@quick
@given(EVERYTHING)
def test_changing_the_dict_changes_no_config(config: Everything):
    """Emptying every container that `to_dict` returned leaves the config as it was."""
    before = config.to_json_string()

    def empty(value: Any) -> None:
        if isinstance(value, (list, dict)):
            for item in list(value.values() if isinstance(value, dict) else value):
                empty(item)
            value.clear()

    empty(config.to_dict())

    assert config.to_json_string() == before


@quick
@given(st.dictionaries(st.text(), JSON_VALUES, max_size=4))
def test_extras_survive_verbatim(extras: dict[str, Any]):
    """Whatever JSON a file holds under unknown keys is saved again as it was."""
    values = json.loads(json.dumps({f"x-{name}": value for name, value in extras.items()}))
    saved = Leaf.from_dict(values).to_dict()
    kept = json.dumps({name: saved[name] for name in values})

    # A literal NaN, which strict files lack, is written with its tag.
    untagged = re.sub(r'\{"__float__": "(NaN|-?Infinity)"\}', r"\1", kept)
    assert untagged == json.dumps(values)


@quick
@given(
    st.builds(
        Bare,
        sizes=st.lists(INTEGERS).map(tuple),
        names=st.sets(st.text()),
        primes=st.frozensets(INTEGERS),
        mode=st.sampled_from(Mode),
        path=PATHS,
        labels=st.dictionaries(INTEGERS, st.text()),
        items=st.lists(JSON_VALUES, max_size=3),
        scale=st.floats(),
        nothing=JSON_VALUES,
    )
)
def test_bare_parameters_come_back(config: Bare):
    """Parameters without annotation come back as the types of their defaults."""
    loaded = reread(config)

    assert loaded == config
    assert shape(loaded) == shape(config)


@pytest.mark.parametrize(
    "values",
    [
        {"sizes": [1]},
        {"sizes": "many"},
        {"names": ["b", "a"]},
        {"names": None},
        {"mode": "slow"},
        {"mode": "other"},
        {"path": "b"},
        {"path": 3},
        {"labels": {"x": 1}},
        {"labels": {"1": "a"}},
    ],
    ids=str,
)
def test_bare_parameters_take_anything_that_comes_back(values: dict[str, Any]):
    """A value of another kind than the default is taken as what a file would make of it."""
    config = Bare(**values)
    loaded = reread(config)

    assert loaded == config
    assert shape(loaded) == shape(config)


# ---- single kinds


@pytest.mark.parametrize(
    ("annotation", "value", "expected"),
    [
        (bool, 1, "a bool, found 1"),
        (int, True, "an int, found True"),
        (int, 1.0, "an int, found 1.0"),
        (int, "1", "an int, found '1'"),
        (int, Level.LOW, "an int, found <Level.LOW: 1>"),
        (str, 1, "a str, found 1"),
        (str, None, "a str, found None"),
        (float, "1", "a float, found '1'"),
        (float, True, "a float, found True"),
        (float, 10**400, "a float, found " + "1" + "0" * 78 + "…"),
        (Mode, "medium", "a Mode: 'fast', 'slow', found 'medium'"),
        (Mode, ["fast"], "a Mode: 'fast', 'slow', found ['fast']"),
        (Path, 3, "a path, found 3"),
        (Literal["relu", 1], True, "one of 'relu', 1, found True"),
        (Literal["relu", 1], [], "one of 'relu', 1, found []"),
        (list[int], {1}, "a list, found {1}"),
        (tuple[int, ...], "12", "a tuple, found '12'"),
        (tuple[int, str], (1,), "a tuple of 2, found (1,)"),
        (tuple[int, str], 3, "a tuple of 2, found 3"),
        (set[int], [1], "a set, found [1]"),
        (frozenset, {1: 2}, "a frozenset, found {1: 2}"),
        (dict[str, int], [1], "a dict, found [1]"),
        (int | None, "1", "an int or None, found '1'"),
        (list[int] | dict[str, int], 3, "a list of which each is an int or a dict from a str to an int, found 3"),
        (Leaf, [1], "a Leaf, found [1]"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_values_are_refused(annotation: Any, value: Any, expected: str):
    """A value of another type is refused in words that say what was expected."""
    with pytest.raises(ConfigError) as caught:
        holding(annotation)(value=value)

    assert str(caught.value) == f"Holding: 1 problem.\n  value: expected {expected}"


@pytest.mark.parametrize(
    ("annotation", "found", "text"),
    [
        (dict[int, str], {"x": "a"}, "value['x']: expected an int, found 'x'"),
        (dict[int, str], {"01": "a"}, "value['01']: expected an int, found '01'"),
        (dict[int, str], {"-0": "a"}, "value['-0']: expected an int, found '-0'"),
        (dict[int, str], {"--5": "a"}, "value['--5']: expected an int, found '--5'"),
        (dict[int, str], {"1.0": "a"}, "value['1.0']: expected an int, found '1.0'"),
        (dict[int, str], {"[" * 5000: "a"}, None),
        (dict[int, str], {"9" * 5000: "a"}, None),
        (dict[int, int], {"1": "a"}, "value['1']: expected an int, found 'a'"),
        (dict[str, list[int]], {"a": [1, None]}, "value['a'][1]: expected an int, found None"),
        (tuple[int, str], ["a", 1], None),
        (set, [[1]], None),
        (float, {"__float__": "Inf"}, "value: expected a float, found {'__float__': 'Inf'}"),
        (float, {"__float__": ["Infinity"]}, "value: expected a float, found {'__float__': ['Infinity']}"),
        (list[int] | None, [1, "a"], "value[1]: expected an int, found 'a'"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_wrong_values_of_files_are_refused(annotation: Any, found: Any, text: str | None):
    """No value of a file leads to anything but a `ConfigError` of bounded length."""
    with pytest.raises(ConfigError) as caught:
        holding(annotation).from_dict({"value": found})

    assert text is None or str(caught.value) == f"Holding: 1 problem.\n  {text}"
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("annotation", "key", "expected"),
    [(dict[int, str], "1", "an int"), (dict, 1, "a str"), (dict[str, Any], 1, "a str")],
)
def test_keys_in_code_have_their_type(annotation: Any, key: Any, expected: str):
    """Only in a file does a text stand for the key of another type."""
    with pytest.raises(ConfigError) as caught:
        holding(annotation)(value={key: "a"})

    assert str(caught.value) == f"Holding: 1 problem.\n  value[{key!r}]: expected {expected}, found {key!r}"


def test_a_dict_is_searched_to_a_hundred_problems():
    """A dict with endless wrong entries yields a hundred problems."""
    with pytest.raises(ConfigError) as caught:
        holding(dict[int, str]).from_dict({"value": {f"x{number}": "a" for number in range(10_000)}})

    assert len(caught.value.problems) == 100


def test_enum_members_may_be_given_by_value():
    """The value of a member stands for the member."""
    assert (Everything(mode="slow").mode, Everything(level=2).level) == (Mode.SLOW, Level.HIGH)


def test_paths_may_be_given_as_text():
    """A text stands for the path, in a field for a pure path too."""
    assert Everything(path="a/b").path == Path("a/b")
    assert holding(PurePosixPath)(value="a").value == PurePosixPath("a")


def test_subclasses_of_scalars_become_plain():
    """A text or float of a subclass, which no file can tell from a plain one, becomes plain."""

    class Name(str):
        __slots__ = ()

    assert type(Everything(text=Name("a")).text) is str


def test_an_ordered_dict_keeps_its_order():
    """An `OrderedDict` is taken as a dict with that order, in a typed field and in one for anything."""
    ordered = OrderedDict([("b", 1), ("a", 2)])
    config = reread(Everything(stages=OrderedDict(b=(1.0,), a=()), anything=ordered))

    assert (type(config.anything), list(config.anything), list(config.stages)) == (dict, ["b", "a"], ["b", "a"])


def test_sets_are_written_in_one_order():
    """A set is written sorted, whatever order it has in memory."""
    assert Everything(names={"b", "c", "a"}).to_dict()["names"] == ["a", "b", "c"]


@pytest.mark.parametrize(("value", "tag"), [(math.inf, "Infinity"), (-math.inf, "-Infinity"), (math.nan, "NaN")])
def test_special_floats_are_tagged(value: float, tag: str):
    """The three floats that JSON lacks are written as Transformers writes them, in any field."""
    config = Everything(real=value, anything=[value])

    assert (config.to_dict()["real"], config.to_dict()["anything"]) == ({"__float__": tag}, [{"__float__": tag}])


def test_a_dict_that_looks_like_a_float_is_refused():
    """A dict that a file would give back as a float cannot be set."""
    with pytest.raises(ConfigError) as caught:
        Everything(anything={"__float__": "NaN"})

    assert str(caught.value) == ("Everything: 1 problem.\n  anything: expected a float, found {'__float__': 'NaN'}")


def test_a_field_for_anything_says_what_it_cannot_carry():
    """A value that JSON would change is refused in an untyped field, with the way out."""
    with pytest.raises(ConfigError) as caught:
        Everything(anything=[1, {2}])

    assert str(caught.value) == (
        "Everything: 1 problem.\n"
        "  anything[1]: expected a value that JSON can carry (None, bool, int, float, str, list, dict with str "
        "keys), found {2}. Annotate the field with its type so that it can be restored."
    )


def test_a_type_variable_stands_for_anything():
    """A field of a type variable or of `object` takes what JSON can carry."""
    assert holding(T)(value=[1]).value == holding(object)(value=[1]).value == [1]


# ---- unions


@pytest.mark.parametrize(
    ("annotation", "value"),
    [
        (int | float, 1),
        (int | float, 1.0),
        (float | None, 1),
        (Literal["auto"] | int, "auto"),
        (Path | None, "a"),
        (Mode | str, "fast"),
        (tuple[int, ...] | int, [1]),
        (set[int] | None, {1}),
        (dict[int, str] | None, {1: "a"}),
        (Leaf | None, Leaf(depth=3)),
        (list[Leaf] | Leaf, [Leaf()]),
    ],
    ids=str,
)
def test_unions_come_back(annotation: Any, value: Any):
    """A value of a union comes back as the member that it was."""
    config = holding(annotation)(value=value)
    loaded = reread(config)

    assert (shape(loaded), loaded) == (shape(config), config)


@pytest.mark.parametrize(
    ("annotation", "value", "written"),
    [
        (str | Path, Path("a"), {"__type__": "Path", "value": "a"}),
        (str | Path, "a", "a"),
        (Mode | str, Mode.FAST, {"__type__": "Mode", "value": "fast"}),
        (Mode | str, "other", "other"),
        (str | Mode, Mode.FAST, {"__type__": "Mode", "value": Mode.FAST.value}),
        (list[int] | tuple[int, ...], (1,), {"__type__": "tuple[int, ...]", "value": [1]}),
        (list[str] | list[Path], [Path("a")], {"__type__": "list[pathlib.Path]", "value": ["a"]}),
        (int | float, 1.0, 1.0),
        (float | int, 1, 1),
        (dict[str, Any] | str, {"__type__": "str", "value": "a"}, None),
    ],
    ids=str,
)
def test_members_that_a_file_confuses_are_written_by_name(annotation: Any, value: Any, written: Any):
    """A value that JSON would give back as another member of its union is tagged, and no other is."""
    config = holding(annotation)(value=value)

    assert shape(reread(config)) == shape(config)
    assert reread(config) == config
    if written is not None:
        assert config.to_dict()["value"] == written


# ---- bounds


@pytest.mark.parametrize(
    ("annotation", "good", "bad", "expected"),
    [
        (Annotated[int, annotated_types.Ge(1)], 1, 0, "an int and at least 1"),
        (Annotated[int, annotated_types.Gt(1)], 2, 1, "an int and more than 1"),
        (Annotated[float, annotated_types.Le(1)], 1.0, 1.5, "a float and at most 1"),
        (Annotated[float, annotated_types.Lt(1)], 0.5, 1.0, "a float and less than 1"),
        (Annotated[float, annotated_types.Ge(0)], 0.0, math.nan, "a float and at least 0"),
        (Annotated[int, annotated_types.MultipleOf(8)], 16, 12, "an int and a multiple of 8"),
        (Annotated[int, annotated_types.Interval(ge=1, lt=3)], 2, 3, "an int and at least 1 and less than 3"),
        (Annotated[str, annotated_types.MinLen(1)], "a", "", "a str and at least 1 long"),
        (Annotated[str, annotated_types.MaxLen(1)], "a", "ab", "a str and at most 1 long"),
        (
            Annotated[tuple[int, ...], annotated_types.Len(1, 2)],
            (1,),
            (),
            "a tuple of which each is an int and at least 1 long and at most 2 long",
        ),
        (
            Annotated[list[int], annotated_types.Len(0, 1)],
            [],
            [1, 2],
            "a list of which each is an int and at most 1 long",
        ),
        (Annotated[int | None, annotated_types.Ge(1)], None, 0, "an int or None and at least 1"),
        (Annotated[int | str, annotated_types.Ge(1)], 1, "a", "an int or a str and at least 1"),
        (Annotated[int, "words"], 1, "a", "an int"),
    ],
    ids=str,
)
def test_bounds_hold(annotation: Any, good: Any, bad: Any, expected: str):
    """The marks of annotated_types bound a value, from code, from a file and on assignment."""
    kind = holding(annotation)
    config = kind(value=good)
    with pytest.raises(ConfigError) as from_code:
        kind(value=bad)
    with pytest.raises(ConfigError) as assigned:
        config.value = bad
    with pytest.raises(ConfigError) as from_file:
        kind.from_dict({"value": list(bad) if isinstance(bad, tuple) else bad})

    assert [each.value.problems[0].expected for each in (from_code, assigned, from_file)] == [expected] * 3
    assert config.value == good


def test_bounds_of_elements_hold():
    """A bound on the elements names the element."""
    kind = holding(tuple[Annotated[int, annotated_types.Ge(1)], ...])
    with pytest.raises(ConfigError) as caught:
        kind(value=(1, 0))

    assert str(caught.value) == "Holding: 1 problem.\n  value[1]: expected an int and at least 1, found 0"


# ---- what has no codec


class Pair(enum.Enum):
    """An enum whose values JSON would change."""

    BOTH = (1, 2)


@pytest.mark.parametrize(
    ("annotation", "reason"),
    [
        (bytearray, "no codec for the annotation <class 'bytearray'>"),
        (list[range], "no codec for the annotation <class 'range'>"),
        (Pair, "no codec for Pair: JSON has no scalar for each of its values"),
        (Literal[Mode.FAST], "no codec for the choices Mode.FAST"),
        (dict[tuple[int, int], int], "no codec for dict keys that are tuple[int, int]"),
        (dict[int | str, int], "no codec for dict keys that are int | str"),
    ],
    ids=str,
)
def test_kinds_that_a_file_cannot_carry_are_refused(annotation: Any, reason: str):
    """An annotation whose values would not come back is refused, by field."""
    with pytest.raises(ConfigError) as caught:
        holding(annotation)()

    assert str(caught.value) == (f"Holding.value: {reason}. Use types that a config file can carry, or a ClassVar.")


def test_a_bare_default_that_a_file_cannot_carry_is_refused():
    """A parameter whose default would not come back is refused, by name."""

    class Paired(PreTrainedConfig):
        def __init__(self, pair=Pair.BOTH):
            self.pair = pair

    with pytest.raises(ConfigError) as caught:
        Paired()

    assert str(caught.value) == (
        "the default of Paired.pair: 1 problem.\n"
        "  pair: expected a value that JSON can carry (None, bool, int, float, str, list, dict with str keys), "
        "found <Pair.BOTH: (1, 2)>. Annotate the field with its type so that it can be restored."
    )
