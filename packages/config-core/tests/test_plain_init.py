"""Configs with a plain `__init__`: its parameters as fields, its `**kwargs`, and the errors that it raises."""

import json
from typing import Any

import pytest

from nameplate_config import ConfigError, PreTrainedConfig, fields


class Plain(PreTrainedConfig):
    """A config in the style of the seed, which calls `super().__init__` last."""

    model_type = "plain"

    def __init__(self, layers=[3, 4], width=8, **kwargs):  # noqa: B006 - what users write
        self.layers = layers
        self.width = width
        super().__init__(**kwargs)


class SuperFirst(PreTrainedConfig):
    """The same, calling `super().__init__` first."""

    model_type = "plain"

    def __init__(self, layers=(3, 4), width=8, **kwargs):
        super().__init__(**kwargs)
        self.layers = layers
        self.width = width


class SuperForgotten(PreTrainedConfig):
    """The same, without calling `super().__init__`."""

    model_type = "plain"

    def __init__(self, layers=(3, 4), width=8, **kwargs):  # noqa: ARG002 - forgotten too
        self.layers = layers
        self.width = width


class Stage(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1
    ratio: float = 1.0


PLAIN_STYLES = [Plain, SuperFirst, SuperForgotten]


@pytest.mark.parametrize("style", PLAIN_STYLES)
def test_parameters_are_fields(style):
    """The parameters of a plain `__init__` are fields, wherever it calls `super().__init__`, or if it forgets."""
    config = style(layers=[5], width=16)

    assert [each.name for each in fields(style)] == ["layers", "width"]
    assert (list(config.layers), config.width) == ([5], 16)


@pytest.mark.parametrize("style", PLAIN_STYLES)
def test_plain_configs_round_trip(style):
    """A plain config comes back from its dict as it was."""
    config = style(layers=[5], width=16, architectures=["Net"])

    assert style.from_dict(config.to_dict()) == config
    assert style.from_dict(config.to_dict()).architectures == ["Net"]


@pytest.mark.parametrize("style", PLAIN_STYLES)
def test_plain_configs_keep_further_arguments(style):
    """What `**kwargs` takes becomes an attribute and is saved, wherever `super().__init__` is called."""
    config = style(note="from the lab")

    assert config.note == "from the lab"
    assert config.to_dict()["note"] == "from the lab"


def test_a_near_miss_is_warned_about_once():
    """An argument of `**kwargs` that looks misspelt is kept, with one warning at the caller's line."""
    with pytest.warns(UserWarning, match="widht") as record:
        config = Plain(widht=16)

    assert [str(each.message) for each in record] == [
        "Plain has no field 'widht'; it is kept as an extra. Did you mean 'width'?"
    ]
    assert record[0].filename == __file__
    assert (config.widht, config.width) == (16, 8)


def test_the_type_of_a_bare_default_comes_back():
    """A parameter without annotation is restored as the type of its default."""
    config = SuperFirst(layers=(1, 2))

    assert SuperFirst.from_dict(json.loads(json.dumps(config.to_dict()))).layers == (1, 2)


def test_annotated_parameters_are_checked():
    """The annotation of a parameter is checked as that of a field is."""

    class Checked(PreTrainedConfig):
        def __init__(self, width: int = 8, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width = width

    with pytest.raises(ConfigError) as caught:
        Checked(width="8")

    assert str(caught.value) == "Checked: 1 problem.\n  width: expected an int, found '8'"


def test_init_may_change_what_it_is_given():
    """The value that `__init__` assigns is the one that counts, and only it must fit."""

    class Lenient(PreTrainedConfig):
        def __init__(self, layers: tuple[int, ...] = (1,), **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.layers = (layers, layers) if isinstance(layers, int) else layers

    assert Lenient(layers=3).layers == (3, 3)
    assert Lenient.from_dict({"layers": 3}).layers == (3, 3)


def test_init_sees_restored_values():
    """A plain `__init__` gets from a file the types that it was given when the config was saved."""
    seen = []

    class Looking(PreTrainedConfig):
        def __init__(self, layers: tuple[int, ...] = (1,), stage: Stage | None = None, **kwargs: Any) -> None:
            seen.append((type(layers), type(stage)))
            super().__init__(**kwargs)

    Looking.from_dict(Looking(layers=(2,), stage=Stage()).to_dict())

    assert seen == [(tuple, Stage), (tuple, Stage)]


def test_a_required_parameter_must_be_given():
    """Leaving out a parameter without default is the same error as for a field, from code and from a file."""

    class Required(PreTrainedConfig):
        def __init__(self, width: int, depth: int = 1, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.width = width
            self.depth = depth

    text = (
        "Required: 2 problems.\n  width: expected an int, and it has no default\n  depth: expected an int, found 'deep'"
    )
    with pytest.raises(ConfigError) as from_code:
        Required(depth="deep")
    with pytest.raises(ConfigError) as from_file:
        Required.from_dict({"depth": "deep"})

    assert (str(from_code.value), str(from_file.value)) == (text, text)


def test_a_value_error_of_init_is_a_config_error():
    """What `__init__` raises about its arguments is a `ConfigError` that keeps the cause."""

    class Strict(PreTrainedConfig):
        def __init__(self, block_type="bottleneck", **kwargs):
            if block_type not in {"basic", "bottleneck"}:
                message = "`block_type` must be 'basic' or 'bottleneck'"
                raise ValueError(message)
            super().__init__(**kwargs)

    with pytest.raises(ConfigError) as caught:
        Strict(block_type="round")

    assert str(caught.value) == "Strict: 1 problem.\n  __init__: `block_type` must be 'basic' or 'bottleneck'"
    assert type(caught.value.__cause__) is ValueError


def test_no_builtin_error_leaves_a_file():
    """A value that makes a plain `__init__` fail is a `ConfigError` when it comes from a file."""

    class Halving(PreTrainedConfig):
        def __init__(self, width=8, **kwargs):
            super().__init__(**kwargs)
            self.half = width // 2

    with pytest.raises(ConfigError) as caught:
        Halving.from_dict({"width": None})

    assert str(caught.value) == (
        "Halving: 1 problem.\n  __init__: TypeError: unsupported operand type(s) for //: 'NoneType' and 'int'"
    )


def test_an_error_of_ours_leaves_init_as_it_is():
    """A `ConfigError` that `__init__` raises, as of another config that it builds, is not wrapped."""

    class Building(PreTrainedConfig):
        def __init__(self, depth=1, **kwargs):
            super().__init__(**kwargs)
            self.stage = Stage(depth=depth)

    with pytest.raises(ConfigError) as caught:
        Building.from_dict({"depth": "deep"})

    assert str(caught.value) == "Stage: 1 problem.\n  depth: expected an int, found 'deep'"


def test_a_bug_in_init_is_not_hidden():
    """An error other than `ValueError` that `__init__` raises on arguments from code reaches the caller as it is."""

    class Broken(PreTrainedConfig):
        def __init__(self, width=8, **kwargs):
            super().__init__(**kwargs)
            self.half = width // 0

    with pytest.raises(ZeroDivisionError):
        Broken()


def test_derived_attributes_are_not_saved():
    """An attribute that `__init__` computes is readable and writable, but belongs to no file."""

    class Derived(PreTrainedConfig):
        def __init__(self, width=8, **kwargs):
            super().__init__(**kwargs)
            self.width = width
            self.area = width * width

    config = Derived(width=4)
    config.area = 17

    assert config.area == 17
    assert config.to_dict() == {"width": 4}
