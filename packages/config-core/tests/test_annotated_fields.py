"""Configs whose fields are annotations: defaults, keywords, conversion, and which annotations are fields."""

from dataclasses import field
from typing import Annotated, ClassVar, Literal

import pytest
from annotated_types import Ge

from nameplate_config import (
    MISSING,
    ConfigError,
    PreTrainedConfig,
    Tiny,
    UnknownOptionError,
    fields,
)


class Block(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    activation: Literal["relu", "gelu"] = "relu"
    dropout: float = 0.0


class Stage(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1
    ratio: float = 1.0


class Outer(PreTrainedConfig):
    """A config that holds another."""

    stage: Stage = Stage()
    extra_stages: list[Stage] = field(default_factory=list)
    head: Stage | None = None


def test_annotated_fields_have_their_defaults():
    """A config built without arguments holds its class's defaults."""
    config = Block()

    assert (config.layers, config.width, config.activation, config.dropout) == ((2, 2), 8, "relu", 0.0)


def test_annotated_fields_take_keywords():
    """A keyword argument sets the field of its name."""
    config = Block(width=16, activation="gelu")

    assert (config.width, config.activation, config.layers) == (16, "gelu", (2, 2))


def test_values_become_the_annotated_type():
    """A list is a tuple where the field is one, and an integer a float."""
    config = Block(layers=[3, 4], dropout=1)

    assert (config.layers, type(config.dropout)) == ((3, 4), float)


def test_arguments_have_names():
    """A positional argument is refused with the value that lacks its name."""
    with pytest.raises(UnknownOptionError) as caught:
        Block(16)

    assert str(caught.value) == "Block takes keyword arguments only, found 16 without a name."


def test_dataclass_defaults_are_defaults():
    """`dataclasses.field` may hold a default, or none."""

    class Fielded(PreTrainedConfig):
        width: int = field(default=8)
        depth: int = field()

    assert [(each.name, each.default) for each in fields(Fielded)] == [("width", 8), ("depth", MISSING)]
    assert repr(MISSING) == "<required>"


def test_a_field_without_default_must_be_given():
    """Leaving out a field that has no default names the field and what it accepts."""

    class Required(PreTrainedConfig):
        width: int

    with pytest.raises(ConfigError) as caught:
        Required()

    assert str(caught.value) == "Required: 1 problem.\n  width: expected an int, and it has no default"


def test_class_variables_are_no_fields():
    """A `ClassVar` and an underscored name belong to the class: neither is saved."""

    class Constant(PreTrainedConfig):
        stride: ClassVar[int] = 32
        _cache: int = 0
        width: int = 8

    assert [each.name for each in fields(Constant)] == ["width"]


def test_dataclass_factories_are_defaults():
    """`dataclasses.field(default_factory=…)` gives each config a value of its own."""
    first, second = Outer(), Outer()
    first.extra_stages.append(Stage())

    assert second.extra_stages == []


def test_an_annotation_that_no_file_can_carry_is_refused():
    """A field of a type that has no codec is an error that says what to use."""

    class Strange(PreTrainedConfig):
        value: range = range(3)

    with pytest.raises(ConfigError) as caught:
        Strange()

    assert str(caught.value) == (
        "Strange.value: no codec for the annotation <class 'range'>. "
        "Use types that a config file can carry, or a ClassVar."
    )


def test_an_annotation_that_cannot_be_resolved_is_refused():
    """A misspelt name in a quoted annotation is an error that names the field."""

    class Quoted(PreTrainedConfig):
        value: "Nowhere" = 1  # noqa: F821

    with pytest.raises(ConfigError) as caught:
        Quoted()

    assert str(caught.value) == (
        "Quoted.value: the annotation 'Nowhere' cannot be resolved: name 'Nowhere' is not defined."
    )


def test_a_quoted_annotation_is_resolved():
    """A quoted annotation means what it would mean without quotes."""

    class Quoted(PreTrainedConfig):
        layers: "tuple[int, ...]" = (1,)

    assert Quoted(layers=[2, 3]).layers == (2, 3)


def test_a_default_must_fit_its_annotation():
    """A default of the wrong type is an error of the class."""

    class Wrong(PreTrainedConfig):
        width: int = "8"

    with pytest.raises(ConfigError) as caught:
        Wrong()

    assert str(caught.value) == ("the default of Wrong.width: 1 problem.\n  width: expected an int, found '8'")


def test_fields_describe_the_class():
    """`fields` lists what the class declares, with defaults and marks, not what every config has."""

    class Marked(PreTrainedConfig):
        name: str
        width: Annotated[int, Ge(1), Tiny(4, 8)] = 8

    described = [(each.name, each.default, each.required, each.marks) for each in fields(Marked)]

    assert described == [("name", MISSING, True, ()), ("width", 8, False, (Ge(1), Tiny(4, 8)))]
