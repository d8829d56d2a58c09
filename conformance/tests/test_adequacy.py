"""Whether examples reach what a config declares, and what is said if they do not."""

import enum
from typing import Annotated, Any, Literal

import pytest
import torch
from annotated_types import Ge, Gt, Interval, Le, Len, Lt, MinLen, MultipleOf

from nameplate_config import PreTrainedConfig, Tiny, fields
from nameplate_conformance import Architecture
from nameplate_conformance.drawing.adequacy import has_one_value, promises, unreached
from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.judging.case import Case, simplest_kwargs
from nameplate_conformance.law import Evidence, all_laws
from nameplate_conformance.zoo import MUTANTS, reference


class Shade(enum.Enum):
    """A choice by name."""

    LIGHT = "light"


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (Any, []),
        (int, []),
        (str, []),
        (bool, ["is never False", "is never True"]),
        (Literal["a", 1], ["is never 'a'", "is never 1"]),
        (Shade, ["is never <Shade.LIGHT: 'light'>"]),
        (bool | None, ["is never False", "is never True", "is never None"]),
        (Annotated[int, Ge(1), Le(9)], ["is never 1", "is never 9"]),
        (Annotated[int, Gt(1), Lt(9)], ["is never 2", "is never 8"]),
        (Annotated[int, Ge(1), MultipleOf(2)], []),
        (Annotated[float, Interval(ge=0, lt=1)], ["is never 0.0"]),
        (Annotated[int, Ge(1), Tiny(4, 8)], ["is never 4", "is never 8"]),
        (Annotated[str, Len(1, 3)], ["never has the length 1", "never has the length 3"]),
        (Annotated[list[int], MinLen(2)], ["never has the length 2"]),
        (Annotated[str, Len(0, 10_000)], ["never has the length 0"]),
        (Annotated[set[int], MinLen(2)], []),
    ],
    ids=repr,
)
def test_an_annotation_promises_its_choices_and_bounds(annotation: Any, expected: list[str]):
    """Each choice, each Tiny value and each bound that can be reached."""
    assert [promise.text for promise in promises(annotation)] == expected


def test_a_strategy_decides_about_sizes_and_not_about_choices():
    """Where the architecture says what to draw, bounds and Tiny values may stay out, but no branch."""
    assert promises(Annotated[int, Ge(1), Tiny(4)], given=True) == []
    assert promises(Annotated[int, Ge(1)], given=True) == []
    assert [promise.text for promise in promises(bool, given=True)] == ["is never False", "is never True"]


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (type(None), True),
        (Shade, True),
        (Literal["a"], True),
        (tuple[()], True),
        (Annotated[int, Ge(2), Le(2)], True),
        (Annotated[tuple[str, ...] | None, Tiny(None)], True),
        (Annotated[int, Ge(1), Tiny(2)], False),
        (Literal["a", "b"], False),
        (int, False),
    ],
    ids=repr,
)
def test_a_field_may_have_one_value_only(annotation: Any, expected: bool):
    """One that can have no other, or that ``Tiny(None)`` leaves to others, need not vary."""
    assert has_one_value(annotation) is expected


class Plain(PreTrainedConfig):
    """Two fields, one that is left alone at its default, and one that is held at another value."""

    width: int = 8
    bias: bool = True
    smoothing: Annotated[float, Ge(0), Tiny(0.0)] = 0.0
    scale: Annotated[float, Ge(0), Tiny(1.0)] = 0.0


@pytest.mark.parametrize(
    ("name", "seen", "expected"),
    [
        ("width", [8, 1], []),
        ("width", [8, 8], ["width is always 8"]),
        ("width", [], ["width has no value that anybody knows of"]),
        ("bias", [True], ["bias is never False"]),
        ("bias", [1, 0], ["bias is never False", "bias is never True"]),
        ("smoothing", [0.0, 0.0], []),
        ("scale", [1.0, 1.0], ["scale is always 1.0"]),
    ],
)
def test_what_no_example_has_is_named(name: str, seen: list[Any], expected: list[str]):
    """A missing choice is named; a field without choices must not always be the same, unless left at its default."""
    declared = next(each for each in fields(Plain) if each.name == name)

    assert list(unreached(declared, seen)) == expected


def _broken(law: str, architecture: Architecture) -> str:
    case = Case(architecture, next(iter(architecture.models), ""), simplest_kwargs(architecture), torch.device("cpu"))
    with pytest.raises(LawBrokenError) as caught:
        all_laws()[law].check(case, Evidence())
    return str(caught.value)


def _bred(name: str) -> Architecture:
    return next(mutant for mutant in MUTANTS if mutant.name == name).breed()


@pytest.mark.parametrize(
    ("name", "begins", "ends"),
    [
        ("OneWidth", "NarrowConfig declares what none of ", " examples has: width is always 2."),
        ("BranchTakenAway", "ZooConfig declares what none of ", " examples has: act is never 'tanh'."),
        ("OneShape", "every example gives RigidModel", " the same names and shapes of tensors."),
    ],
)
def test_inadequate_examples_are_refused(name: str, begins: str, ends: str):
    """Law A04 names the fields and what is missing, and says the way out."""
    said, way_out = _broken("A04", _bred(name)).splitlines()

    assert said.startswith(begins)
    assert said.endswith(ends)
    assert "Tiny" in way_out or "`constrain`" in way_out


class Untyped(PreTrainedConfig):
    """Says nothing of its fields."""

    model_type = "untyped"

    def __init__(self, width=8, depth=2, **kwargs):
        super().__init__(**kwargs)
        self.width, self.depth = width, depth


class Empty(PreTrainedConfig):
    """Has no field."""

    model_type = "empty"


@pytest.mark.parametrize("config_class", [Untyped, Empty], ids=lambda each: each.__name__)
def test_a_config_without_a_typed_field_is_told_what_to_do(config_class: type[PreTrainedConfig]):
    """Law A01 says in one sentence what is missing, and in another what would help."""
    assert _broken("A01", Architecture(config=config_class)) == (
        f"{config_class.__name__} has no typed field: only 1 different config of it can be drawn, and 5 are needed.\n"
        "  Say what its fields may be, as in `width: Annotated[int, Tiny(1, 2)] = 8`, "
        'or give the Architecture strategies, as in fields={"width": st.integers(1, 4)}'
    )


def test_a_field_of_which_nothing_is_known_is_named():
    """Law A01 names the argument that it cannot make up."""

    class Needy(PreTrainedConfig):
        def __init__(self, part, bias=True, **kwargs):
            super().__init__(**kwargs)
            self.part, self.bias = part, bias

    assert _broken("A01", Architecture(config=Needy)) == (
        "nothing says what part of Needy may be, so no config can be drawn.\n"
        "  Give the Architecture a strategy for it, as in fields={'part': st.integers(1, 4)}"
    )


def test_what_the_config_class_refuses_is_counted():
    """Law A01 asks for a constraint where a fifth of what the annotations describe is refused."""
    message = _broken("A01", _bred("RefusesMost"))

    assert message.startswith("the config class refuses ")
    assert "`constrain`" in message


def test_adequate_examples_are_counted():
    """The evidence of law A04 is the values and the shapes that were seen."""
    evidence = Evidence()
    case = Case(reference(), "AutoModel", simplest_kwargs(reference()), torch.device("cpu"))
    all_laws()["A04"].check(case, evidence)

    assert set(evidence.counts) == {"values", "shapes"}
