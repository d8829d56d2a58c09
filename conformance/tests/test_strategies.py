"""What is drawn from typed fields."""

import enum
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, NewType

import pytest
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MaxLen, MinLen, MultipleOf
from hypothesis import find, given, settings
from hypothesis import strategies as st

from nameplate_config import DType, OnlyWhen, PreTrainedConfig, Tiny, fields
from nameplate_conformance import Architecture, ConformanceError
from nameplate_conformance.drawing.coverage import rows
from nameplate_conformance.drawing.domains import is_accepted
from nameplate_conformance.drawing.strategies import config_kwargs, field_values, unchecked_kwargs
from nameplate_conformance.judging.case import simplest_kwargs
from nameplate_conformance.zoo.reference import ZooModel


class Shade(enum.Enum):
    """A choice by name."""

    LIGHT = "light"
    DARK = "dark"


class Sampled(PreTrainedConfig):
    """One field of each kind."""

    model_type = "sampled"

    tiny: Annotated[int, Ge(1), Tiny(4, 8)] = 768
    heads: Annotated[int, Ge(1), Le(16), MultipleOf(2)] = 12
    free: int = 50_000
    rate: Annotated[float, Ge(0.0), Le(1.0)] = 0.1
    act: Literal["relu", "gelu"] = "relu"
    shade: Shade = Shade.LIGHT
    bias: bool = True
    maybe: int | None = None
    sizes: tuple[Annotated[int, Tiny(1, 2)], ...] = (64, 128, 256)
    groups: Annotated[int, Tiny(1, 2), OnlyWhen("act", "gelu")] = 1
    name: str = "x"


ARCHITECTURE = Architecture(config=Sampled, models={"AutoModel": ZooModel})
QUIET = settings(max_examples=60, database=None, derandomize=True)


@given(unchecked_kwargs(ARCHITECTURE))
def test_whatever_is_drawn_is_accepted(kwargs: dict[str, Any]):
    """Arguments drawn from the annotations are within every bound."""
    assert is_accepted(Sampled, kwargs)


@given(unchecked_kwargs(ARCHITECTURE))
def test_a_field_without_effect_is_left_out(kwargs: dict[str, Any]):
    """A field that counts only together with another is drawn only then."""
    assert ("groups" in kwargs) == (kwargs["act"] == "gelu")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tiny", {4, 8}),
        ("heads", {2, 4, 6, 12, 16}),
        ("act", {"relu", "gelu"}),
        ("shade", set(Shade)),
        ("bias", {True, False}),
        ("name", {"x"}),
    ],
)
def test_a_field_takes_its_small_values(name: str, expected: set[Any]):
    """Each field is drawn from a few small values of its kind, the default among them unless Tiny says otherwise."""
    declared = next(each for each in fields(Sampled) if each.name == name)
    seen: set[Any] = set()

    @settings(max_examples=60, database=None)
    @given(field_values(declared))
    def collect(value: Any) -> None:
        seen.add(value)

    collect()

    assert seen == expected


def test_simplest_arguments_are_the_smallest():
    """Shrinking goes to the first value of every choice and the shortest sequence."""
    simplest = simplest_kwargs(ARCHITECTURE)

    assert simplest["tiny"] == 4
    assert simplest["sizes"] == (1,)
    assert simplest["maybe"] is None


def test_the_simplest_row_is_what_hypothesis_shrinks_to():
    """Covering rows and drawn examples agree on what is simple, so that counterexamples of both look alike."""
    assert find(config_kwargs(ARCHITECTURE), lambda _: True, settings=QUIET) == simplest_kwargs(ARCHITECTURE)


@settings(max_examples=40)
@given(unchecked_kwargs(ARCHITECTURE))
def test_arguments_are_drawn_in_the_order_of_the_fields(kwargs: dict[str, Any]):
    """Two examples with the same values read the same."""
    order = [each.name for each in fields(Sampled)]

    assert list(kwargs) == sorted(kwargs, key=order.index)


def test_given_strategies_win():
    """`Architecture(fields=…)` replaces what the annotation says."""
    architecture = Architecture(config=Sampled, models={"AutoModel": ZooModel}, fields={"free": st.just(7)})

    assert simplest_kwargs(architecture)["free"] == 7


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"fre": st.just(7)},
            "the Architecture's `fields` name 'fre', which the config does not have.\n  Did you mean 'free'?",
        ),
        (
            {"free": 7},
            "the Architecture's `fields` have 7 for 'free'; expected a strategy.\n  For it alone, write `st.just(7)`.",
        ),
    ],
)
def test_a_strategy_for_no_field_is_refused(given: dict[str, Any], said: str):
    """`Architecture(fields=…)` names fields that there are, and strategies."""
    with pytest.raises(ConformanceError) as caught:
        rows(Architecture(config=Sampled, models={"AutoModel": ZooModel}, fields=given))

    assert str(caught.value) == said


def test_refused_arguments_are_not_drawn():
    """What the config class refuses is filtered out of the checked strategy."""

    class Even(Sampled):
        def validate_free(self) -> None:
            if self.free % 2:
                message = "free must be even"
                raise ValueError(message)

    architecture = Architecture(config=Even, models={"AutoModel": ZooModel})

    @settings(max_examples=40, database=None)
    @given(config_kwargs(architecture))
    def every_one_is_even(kwargs: dict[str, Any]) -> None:
        assert kwargs["free"] % 2 == 0

    every_one_is_even()


class Point(NamedTuple):
    """A named tuple with a default."""

    x: int
    y: Literal["a", "b"] = "a"


@dataclass
class Record:
    """A dataclass with a list."""

    flag: bool = False
    sizes: list[int] = field(default_factory=list)


class Part(PreTrainedConfig):
    """A config inside of another, and of its own kind."""

    width: Annotated[int, Tiny(4, 8)] = 16
    parts: list["Part"] = []


Number = NewType("Number", int)


class Kinds(PreTrainedConfig):
    """One field of each kind that is no number, text or choice."""

    model_type = "sampled_kinds"

    salt: Annotated[bytes, Len(1, 2)] = b"ab"
    phase: complex = 1j
    compute: DType = "float16"
    place: Path = Path("here")
    word: Annotated[str, MinLen(2)] = "word"
    tags: set[Literal["a", "b"]] = {"a"}
    codes: Annotated[frozenset[int], MinLen(2)] = frozenset({1, 2})
    by_name: dict[str, int] = {}
    by_index: dict[int, bool] = {7: True}
    ordered: OrderedDict[str, int] = OrderedDict(b=1)
    either: Sequence[int] = (1,)
    point: Point = Point(1)
    record: Record = Record()
    part: Part = Part()
    maybe: Part | None = None
    free: Any = None
    number: Number = Number(5)
    anything: float = 0.5


KINDS = Architecture(config=Kinds)
DRAWN_TYPES = {each.name: type(each.default) for each in fields(Kinds)} | {"maybe": Part, "number": int}


@given(config_kwargs(KINDS))
def test_values_have_the_types_of_their_fields(kwargs: dict[str, Any]):
    """Each kind is drawn as what it is, so that a counterexample can be pasted."""
    wrong = {
        name: value
        for name, value in kwargs.items()
        if name not in {"either", "free", "compute", "maybe"} and type(value) is not DRAWN_TYPES[name]
    }

    assert wrong == {}


@given(unchecked_kwargs(KINDS))
def test_lengths_are_within_bounds(kwargs: dict[str, Any]):
    """Bounds on lengths are drawn, not filtered for."""
    assert is_accepted(Kinds, kwargs)


def test_laws_about_configs_see_exotic_values():
    """A float without bounds takes the values that JSON lacks, if no model is going to be built."""
    seen = {repr(row["anything"]) for row in rows(KINDS, exotic=True)}

    assert seen == {"0.0", "0.5", "1.0", "-0.0", "inf", "-inf", "nan"}


@settings(max_examples=30)
@given(config_kwargs(KINDS))
def test_models_are_spared_exotic_values(kwargs: dict[str, Any]):
    """Without asking for them, only ordinary numbers are drawn."""
    assert kwargs["anything"] in {0.0, 0.5, 1.0}


def test_a_bare_parameter_varies_only_where_no_model_is_built():
    """Its default alone says what it may be; a config takes more than a model does."""

    class Bare(PreTrainedConfig):
        model_type = "sampled_bare"

        def __init__(self, width=8, bias=True, sizes=(1,), **kwargs):
            super().__init__(**kwargs)
            self.width, self.bias, self.sizes = width, bias, sizes

    usual, exotic = set(), set()

    @settings(max_examples=60, database=None)
    @given(config_kwargs(Architecture(config=Bare)), config_kwargs(Architecture(config=Bare), exotic=True))
    def collect(one: dict[str, Any], other: dict[str, Any]) -> None:
        usual.add(one["width"])
        exotic.add(other["width"])

    collect()

    assert usual == {8}
    assert exotic > {8}


@st.composite
def bounded(draw: st.DrawFn) -> Any:
    """Draw an annotation with bounds of every kind that at least one value fits."""
    kind = draw(st.sampled_from([int, float, str, bytes, list[int], tuple[int, ...]]))
    low = draw(st.integers(-20, 20))
    if kind is float:
        high = low + draw(st.sampled_from([0.125, 1, 9]))
        return Annotated[
            draw(st.sampled_from([(float, Gt(low), Lt(high)), (float, Interval(ge=low, le=high)), (float, Lt(high))]))
        ]
    if kind is int:
        step = draw(st.sampled_from([1, 2, 8]))
        sides = [(Ge(low), Le(low + step)), (Gt(low), Lt(low + 2 * step)), (Ge(low),), (Le(low),)]
        return Annotated[(int, *draw(st.sampled_from(sides)), MultipleOf(step))]
    least = draw(st.integers(0, 5))
    more = draw(st.integers(0, 3))
    return Annotated[(kind, *draw(st.sampled_from([(Len(least, least + more),), (MinLen(least),), (MaxLen(more),)])))]


def _with(annotation: Any) -> type[PreTrainedConfig]:
    return type("Bounded", (PreTrainedConfig,), {"__annotations__": {"value": annotation}, "__module__": __name__})


@settings(max_examples=40)
@given(bounded(), st.data())
def test_bounds_are_drawn_and_not_filtered_for(annotation: Any, data: st.DataObject):
    """Whatever the bounds on numbers and lengths are, every value drawn is within them."""
    config_class = _with(annotation)
    value = data.draw(field_values(fields(config_class)[0]))

    assert is_accepted(config_class, {"value": value})


@settings(max_examples=40)
@given(bounded())
def test_every_bound_leaves_something_small_to_draw(annotation: Any):
    """There is a value whatever the bounds are, and none is larger than what a law can handle."""
    drawn = [row["value"] for row in rows(Architecture(config=_with(annotation)))]

    assert drawn
    assert all(abs(each) <= 40 if isinstance(each, (int, float)) else len(each) <= 8 for each in drawn)


def test_a_constraint_reaches_every_example():
    """`Architecture(constrain=...)` makes drawn and covering arguments fit together."""
    architecture = Architecture(config=Sampled, constrain=lambda kwargs: kwargs | {"tiny": kwargs["heads"] * 2})

    @settings(max_examples=20, database=None)
    @given(unchecked_kwargs(architecture))
    def drawn(kwargs: dict[str, Any]) -> None:
        assert kwargs["tiny"] == 2 * kwargs["heads"]

    drawn()
    assert all(row["tiny"] == 2 * row["heads"] for row in rows(architecture))


def test_a_constraint_leaves_shrinking_alone():
    """A constrained example still shrinks to the simplest values of the fields that it leaves alone."""
    architecture = Architecture(config=Sampled, constrain=lambda kwargs: kwargs | {"tiny": kwargs["heads"] * 2})

    found = find(config_kwargs(architecture), lambda kwargs: kwargs["tiny"] > 4, settings=QUIET)

    assert found == {**simplest_kwargs(ARCHITECTURE), "heads": 4, "tiny": 8}
