"""What a config refuses, built or assigned: values that do not fit, `validate_*` methods and `OnlyWhen`."""

import re
from collections.abc import Iterator
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import ConfigError, OnlyWhen, PreTrainedConfig, Problem


class Block(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    activation: Literal["relu", "gelu"] = "relu"
    dropout: float = 0.0


def test_every_problem_is_reported_at_once():
    """One error lists the problems of all fields and elements."""
    with pytest.raises(ConfigError) as caught:
        Block(layers=(1, "2", 3, None), width=0, activation="rely", dropout="much")

    assert str(caught.value) == (
        "Block: 5 problems.\n"
        "  layers[1]: expected an int, found '2'\n"
        "  layers[3]: expected an int, found None\n"
        "  width: expected an int and at least 1, found 0\n"
        "  activation: expected one of 'relu', 'gelu', found 'rely'. Did you mean 'relu'?\n"
        "  dropout: expected a float, found 'much'"
    )
    assert [problem.path for problem in caught.value.problems] == [
        "layers[1]",
        "layers[3]",
        "width",
        "activation",
        "dropout",
    ]


def test_a_message_lists_five_problems():
    """More than five problems are counted in words; `.problems` has them all."""
    with pytest.raises(ConfigError) as caught:
        Block(layers=["a", "b", "c", "d", "e", "f", "g"])

    assert str(caught.value).splitlines()[-1] == "  and 2 more"
    assert len(caught.value.problems) == 7


def test_a_container_is_searched_to_a_hundred_problems():
    """A container with endless wrong elements yields a hundred problems, so that it costs no memory."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"layers": ["a"] * 100_000})

    assert len(caught.value.problems) == 100


def test_a_problem_is_a_record():
    """A problem tells its place, what was expected, what was found and the way out."""
    with pytest.raises(ConfigError) as caught:
        Block(activation="rely")

    assert caught.value.problems == (Problem("activation", "one of 'relu', 'gelu'", "'rely'", "Did you mean 'relu'?"),)


def test_assigned_values_are_checked():
    """Assigning a value that does not fit raises and leaves the field as it was."""
    config = Block()
    with pytest.raises(ConfigError) as caught:
        config.width = 0

    assert str(caught.value) == "Block: 1 problem.\n  width: expected an int and at least 1, found 0"
    assert config.width == 8


def test_assigned_values_are_converted():
    """An assigned list is a tuple where the field is one."""
    config = Block()
    config.layers = [1, 2, 3]

    assert config.layers == (1, 2, 3)


class Attention(PreTrainedConfig):
    """A config whose fields depend on each other."""

    width: int = 8
    heads: int = 2

    def validate_heads(self) -> None:
        """Raise unless every head has the same width."""
        if self.width % self.heads:
            message = f"width {self.width} must be a multiple of heads {self.heads}"
            raise ValueError(message)

    def validate_sizes(self) -> Iterator[Problem]:
        """Yield what is too large."""
        if self.width > 100:
            yield Problem("width", "at most 100", str(self.width))
        if self.heads > 50:
            yield Problem("heads", "at most 50", str(self.heads))


def test_hooks_raise():
    """A `validate_*` method may raise `ValueError`; its text is the problem."""
    with pytest.raises(ConfigError) as caught:
        Attention(heads=3)

    assert str(caught.value) == "Attention: 1 problem.\n  heads: width 8 must be a multiple of heads 3"


def test_hooks_yield_problems():
    """The problems that `validate_*` methods yield are reported together."""
    with pytest.raises(ConfigError) as caught:
        Attention(width=153, heads=51)

    assert str(caught.value) == (
        "Attention: 2 problems.\n  width: expected at most 100, found 153\n  heads: expected at most 50, found 51"
    )


def test_hooks_run_on_assignment_and_roll_back():
    """An assignment that a `validate_*` method refuses leaves the field as it was."""
    config = Attention()
    with pytest.raises(ConfigError, match=re.escape("heads: width 8 must be a multiple of heads 3")):
        config.heads = 3

    assert config.heads == 2


def test_an_error_of_a_hook_rolls_back_too():
    """An assignment on which a hook fails otherwise leaves the field as it was."""
    config = Attention()
    with pytest.raises(ZeroDivisionError):
        config.heads = 0

    assert config.heads == 2


def test_hooks_are_inherited_and_overridden():
    """A subclass inherits hooks and replaces those it writes again."""

    class Loose(Attention):
        def validate_heads(self) -> None:
            """Accept any."""

    assert Loose(heads=3).heads == 3
    with pytest.raises(ConfigError, match=re.escape("width: expected at most 100, found 101")):
        Loose(width=101)


def test_a_config_error_of_a_hook_counts():
    """A hook that raises `ConfigError` without problems is heard."""

    class Refusing(PreTrainedConfig):
        def validate_all(self) -> None:
            message = "not today"
            raise ConfigError(message)

    with pytest.raises(ConfigError) as caught:
        Refusing()

    assert str(caught.value) == "Refusing: 1 problem.\n  all: not today"


def test_the_problems_of_a_config_error_of_a_hook_are_kept():
    """A hook may pass on the `ConfigError` of another config."""

    class Passing(PreTrainedConfig):
        def validate_all(self) -> None:
            Attention(heads=3)

    with pytest.raises(ConfigError) as caught:
        Passing()

    assert str(caught.value) == "Passing: 1 problem.\n  heads: width 8 must be a multiple of heads 3"


def test_a_field_called_like_a_hook_is_a_field():
    """A field whose name starts with `validate_` is not called."""

    class Distribution(PreTrainedConfig):
        validate_args: bool = True

    assert Distribution(validate_args=False).validate_args is False


class Conditional(PreTrainedConfig):
    """A config with a field that has an effect only sometimes."""

    kind: Literal["plain", "grouped", "depthwise"] = "plain"
    groups: Annotated[int, Ge(1), OnlyWhen("kind", "grouped", "depthwise")] = 1


def test_only_when_allows_the_field_in_its_place():
    """A conditional field may be set while its condition holds."""
    assert Conditional(kind="grouped", groups=4).groups == 4


def test_only_when_refuses_the_field_elsewhere():
    """A conditional field may not differ from its default while its condition does not hold."""
    with pytest.raises(ConfigError) as caught:
        Conditional(groups=4)

    assert str(caught.value) == (
        "Conditional: 1 problem.\n"
        "  groups: expected 1 while kind is 'plain', found 4. "
        "It has an effect only when kind is 'grouped' or 'depthwise'"
    )


def test_only_when_guards_assignment():
    """Taking away the condition of a field that is set is refused and rolled back."""
    config = Conditional(kind="grouped", groups=4)
    with pytest.raises(ConfigError, match=re.escape("groups: expected 1 while kind is 'plain', found 4")):
        config.kind = "plain"

    assert config.kind == "grouped"


def test_only_when_must_name_a_field():
    """A condition on a field that does not exist is an error of the class."""

    class Misspelt(PreTrainedConfig):
        kind: str = "plain"
        groups: Annotated[int, OnlyWhen("kinds", "grouped")] = 1

    with pytest.raises(ConfigError) as caught:
        Misspelt()

    assert str(caught.value) == ("Misspelt.groups: OnlyWhen names 'kinds', which is no field.\n  Did you mean 'kind'?")
