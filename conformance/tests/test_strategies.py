"""What is drawn from typed fields."""

import enum
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge, Le, MultipleOf
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_config import OnlyWhen, PreTrainedConfig, Tiny, fields
from nameplate_conformance import Architecture
from nameplate_conformance.case import simplest_kwargs
from nameplate_conformance.strategies import config_kwargs, field_values, is_accepted, unchecked_kwargs
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
        ("heads", {2, 4, 12}),
        ("act", {"relu", "gelu"}),
        ("shade", set(Shade)),
        ("bias", {True, False}),
        ("name", {"x"}),
    ],
)
def test_a_field_takes_its_small_values(name: str, expected: set[Any]):
    """Each field is drawn from a few small values of its kind, the default among them unless Tiny says otherwise."""
    field = next(each for each in fields(Sampled) if each.name == name)
    seen: set[Any] = set()

    @settings(max_examples=60, database=None)
    @given(field_values(field))
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


def test_given_strategies_win():
    """`Architecture(fields=…)` replaces what the annotation says."""
    architecture = Architecture(config=Sampled, models={"AutoModel": ZooModel}, fields={"free": st.just(7)})

    assert simplest_kwargs(architecture)["free"] == 7


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
