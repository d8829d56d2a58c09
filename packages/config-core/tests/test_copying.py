"""What a config shares with others, which is nothing: defaults, arguments, dicts, copies and pickles."""

import copy
import pickle
import re
from dataclasses import field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import ConfigError, PreTrainedConfig


class Block(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    activation: Literal["relu", "gelu"] = "relu"
    dropout: float = 0.0


class Plain(PreTrainedConfig):
    """A config in the style of the seed, which calls `super().__init__` last."""

    model_type = "plain"

    def __init__(self, layers=[3, 4], width=8, **kwargs):  # noqa: B006 - what users write
        self.layers = layers
        self.width = width
        super().__init__(**kwargs)


class MyModelConfig(PreTrainedConfig):
    """The class of the second seed document, as it stands there."""

    model_type = "my_model"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(self, hidden_size=768, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size


class Stage(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1
    ratio: float = 1.0


class Outer(PreTrainedConfig):
    """A config that holds another."""

    stage: Stage = Stage()
    extra_stages: list[Stage] = field(default_factory=list)
    head: Stage | None = None


def test_defaults_are_copied():
    """Changing a list of one config changes neither the next one nor the class."""
    Plain().layers.append(9)

    assert Plain().layers == [3, 4]


def test_annotated_defaults_are_copied():
    """Changing a nested config of one config does not change the next one."""
    Outer().stage.depth = 9

    assert Outer().stage.depth == 1


def test_arguments_are_copied():
    """Changing an argument afterwards does not change the config."""
    layers = [1, 2]
    stage = Stage()
    plain, outer = Plain(layers=layers), Outer(stage=stage)
    layers.append(3)
    stage.depth = 9

    assert (plain.layers, outer.stage.depth) == ([1, 2], 1)


def test_assigned_values_are_copied():
    """Changing a value after its assignment does not change the config."""
    layers = [1, 2]
    config = Plain()
    config.layers = layers
    layers.append(3)

    assert config.layers == [1, 2]


def test_from_dict_leaves_its_argument_alone():
    """`from_dict` neither changes its argument nor shares anything with the config."""
    values = {"model_type": "plain", "layers": [1], "note": {"deep": [1]}, "id2label": {"0": "cat"}}
    before = copy.deepcopy(values)
    config = Plain.from_dict(values)
    config.layers.append(2)
    config.note["deep"].append(2)

    assert values == before


def test_to_dict_gives_fresh_values():
    """Changing what `to_dict` returned does not change the config."""
    config = Plain.from_dict({"note": {"deep": [1]}})
    values = config.to_dict()
    values["layers"].append(9)
    values["note"]["deep"].append(9)

    assert (config.layers, config.note) == ([3, 4], {"deep": [1]})


def test_a_shallow_copy_shares_nothing():
    """`copy.copy` gives a config of its own: assigning to it, or changing its lists, leaves the first alone."""
    config = Plain(note="kept")
    other = copy.copy(config)
    other.note = "changed"
    other.layers.append(9)

    assert (config.note, config.layers) == ("kept", [3, 4])


def pickled(config):
    """Return what a pickle of *config* restores."""
    return pickle.loads(pickle.dumps(config))


@pytest.mark.parametrize("duplicate", [copy.deepcopy, pickled])
def test_duplicates_are_equal(duplicate):
    """Deep copies and pickles are equal to their originals, extras and derived attributes included."""
    for config in (Plain(layers=[1], note={"deep": [1]}), Outer(head=Stage(depth=2)), MyModelConfig()):
        twin = duplicate(config)

        assert twin == config
        assert vars(twin) == vars(config)


def test_a_deep_copy_shares_nothing():
    """Changing a deep copy leaves the original alone."""
    config = Plain(note={"deep": [1]})
    twin = copy.deepcopy(config)
    twin.layers.append(9)
    twin.note["deep"].append(9)

    assert (config.layers, config.note) == ([3, 4], {"deep": [1]})


def test_a_pickled_config_is_still_checked():
    """A config that was pickled checks assignments as before."""
    config = pickled(Block())
    with pytest.raises(ConfigError, match=re.escape("width: expected an int and at least 1, found 0")):
        config.width = 0

    assert config.width == 8
