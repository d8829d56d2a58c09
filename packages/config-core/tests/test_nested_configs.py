"""Configs that hold configs: how they are restored, checked and told apart."""

import json
import subprocess
import sys
from dataclasses import field
from pathlib import Path

import pytest

from nameplate_config import ConfigError, ConfigFileError, PreTrainedConfig


class Node(PreTrainedConfig):
    """A config that may hold one of its own kind."""

    width: int = 8
    child: "Node | None" = None


class Stage(PreTrainedConfig):
    """A config that others hold."""

    model_type = "stage"

    depth: int = 1
    ratio: float = 1.0


class Outer(PreTrainedConfig):
    """A config that holds another."""

    model_type = "outer"

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


def test_one_class_may_hold_its_own_kind():
    """A config may hold configs of its class, as deep as a file may nest; each costs as much as the one before."""
    config = None
    for depth in range(60):
        config = Node(width=depth, child=config)
    assert config is not None
    loaded = Node.from_dict(json.loads(config.to_json_string()))

    assert loaded == config
    assert loaded.child.child.width == 57


def test_an_init_may_take_its_own_kind():
    """The same holds for a plain `__init__`, which is given the nested config as one."""

    class Plain(PreTrainedConfig):
        def __init__(self, child: "Plain | None" = None, **kwargs):
            super().__init__(**kwargs)
            self.child = child
            self.depth = 1 if child is None else child.depth + 1

    config = Plain()
    for _ in range(40):
        config = Plain(child=config)

    assert Plain.from_dict(json.loads(config.to_json_string())).depth == 41


def test_a_part_is_loaded_from_the_file_of_the_whole(tmp_path: Path):
    """The class of a nested config finds its part in the file by its `model_type`, unknown keys and all."""
    whole = Outer.from_dict({"stage": {"depth": 5, "note": "kept"}})
    whole.save_pretrained(tmp_path)

    assert Stage.from_pretrained(tmp_path) == whole.stage
    assert Stage.from_pretrained(tmp_path, depth=6).depth == 6


def test_a_part_that_is_there_twice_needs_a_key(tmp_path: Path):
    """Which of several parts is meant is said by `base_config_key`, and is an error without."""

    class Keyed(Stage):
        base_config_key = "second"

    values = {"first": {"model_type": "stage", "depth": 1}, "second": {"model_type": "stage", "depth": 2}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "pair", **values}))
    with pytest.raises(ConfigFileError) as caught:
        Stage.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"{tmp_path / 'config.json'} holds 2 configs of model_type 'stage': first, second.\n"
        "  Set Stage.base_config_key to one of them, or load the whole and take its attribute."
    )
    assert Keyed.from_pretrained(tmp_path).depth == 2


def test_a_key_finds_a_part_without_a_type(tmp_path: Path):
    """A part that does not say its `model_type`, as Transformers once wrote them, is found by its key."""

    class Keyed(Stage):
        base_config_key = "stage_config"

    (tmp_path / "config.json").write_text('{"model_type": "pair", "stage_config": {"depth": 7}}')

    assert Keyed.from_pretrained(tmp_path).depth == 7


def test_no_key_is_not_an_empty_key(tmp_path: Path):
    """A class without a `base_config_key` takes no part that happens to stand under an empty name."""
    (tmp_path / "config.json").write_text('{"model_type": "pair", "": {"depth": 7}}')
    with pytest.raises(ConfigFileError, match="model_type: expected 'stage', found 'pair'"):
        Stage.from_pretrained(tmp_path)


def test_any_config_needs_a_registry():
    """A field for any config says which package finds the classes."""
    code = """
from nameplate_config import ConfigError, PreTrainedConfig
class Holder(PreTrainedConfig):
    part: PreTrainedConfig | None = None
try:
    Holder.from_dict({"part": {"model_type": "x"}})
except ConfigError as error:
    print(error)
"""
    said = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert "part: expected a config of a registered model_type or None, found {'model_type': 'x'}" in said
    assert "Nothing is registered before nameplate_auto is imported." in said


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
