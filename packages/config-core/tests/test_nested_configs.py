"""Configs that hold configs: how they are restored, checked and told apart."""

import json
from dataclasses import field

import pytest

from nameplate_config import ConfigError, PreTrainedConfig


class Stage(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1
    ratio: float = 1.0


class Outer(PreTrainedConfig):
    """A config that holds another."""

    stage: Stage = Stage()
    extra_stages: list[Stage] = field(default_factory=list)
    head: Stage | None = None


def test_nested_configs_come_back():
    """A config inside a config, a list or an optional field is restored as its class."""
    config = Outer(stage=Stage(depth=2), extra_stages=[Stage(depth=3)], head=Stage(ratio=0.5))
    loaded = Outer.from_dict(json.loads(json.dumps(config.to_dict())))

    assert loaded == config
    assert [type(each) for each in (loaded.stage, loaded.extra_stages[0], loaded.head)] == [Stage] * 3


def test_a_dict_is_read_as_a_nested_config():
    """A dict stands for a nested config, in code as in a file."""
    assert Outer(stage={"depth": 5}).stage == Stage(depth=5)


def test_problems_of_nested_configs_are_placed():
    """A problem inside a nested config carries the whole path."""
    with pytest.raises(ConfigError) as caught:
        Outer(stage={"depth": "x"}, extra_stages=[{}, {"ratio": None}])

    assert str(caught.value) == (
        "Outer: 2 problems.\n"
        "  stage.depth: expected an int, found 'x'\n"
        "  extra_stages[1].ratio: expected a float, found None"
    )


def test_a_misspelt_key_in_code_is_refused():
    """A dict given in code for a nested config may hold only its fields."""
    with pytest.raises(ConfigError) as caught:
        Outer(stage={"dept": 5})

    assert (
        str(caught.value)
        == "Outer: 1 problem.\n  stage.dept: expected a field of Stage, found 5. Did you mean 'depth'?"
    )


def test_extras_of_nested_configs_survive():
    """A key of a file that a nested config does not know is kept."""
    config = Outer.from_dict({"stage": {"depth": 2, "note": "kept"}})

    assert Outer.from_dict(config.to_dict()).stage.note == "kept"
    assert Outer(stage=config.stage).stage.note == "kept"


def test_a_subclass_does_not_pass_for_its_base():
    """A nested config of a subclass, which a file could not restore, is refused."""

    class Special(Stage):
        more: int = 1

    with pytest.raises(ConfigError) as caught:
        Outer(stage=Special())

    assert str(caught.value) == (
        "Outer: 1 problem.\n  stage: expected a Stage, found Special(). "
        "Annotate the field with Special, or it could not be restored."
    )


def test_nothing_else_passes_for_a_nested_config():
    """A value that is neither the config nor a dict is refused."""
    with pytest.raises(ConfigError) as caught:
        Outer(stage=3)

    assert str(caught.value) == "Outer: 1 problem.\n  stage: expected a Stage, found 3"
