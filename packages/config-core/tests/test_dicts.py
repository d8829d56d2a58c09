"""Configs as dicts: `to_dict`, `to_diff_dict`, `from_dict` with its overrides, and `model_type`."""

import json
import re
from dataclasses import field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import (
    ConfigError,
    PreTrainedConfig,
    UnknownOptionError,
    config_from_values,
    refuse_unknown_fields,
)


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


def test_to_dict_is_complete():
    """A file holds every field of the class, defaults included, so that a new default does not change it."""
    assert Block().to_dict() == {
        "model_type": "block",
        "layers": [2, 2],
        "width": 8,
        "activation": "relu",
        "dropout": 0.0,
    }


def test_fields_that_every_config_has_are_saved_if_set():
    """`architectures` and its like are in the file only if they have a value."""
    assert Stage(architectures=["Net"]).to_dict() == {"architectures": ["Net"], "depth": 1, "ratio": 1.0}


def test_a_file_survives_a_change_of_defaults():
    """A file written by one version is read the same by a version in which every default has changed."""

    class Later(Block):
        layers = (9, 9)
        width = 99
        activation = "gelu"
        dropout = 0.9

    loaded = Later.from_dict(Block().to_dict())

    assert loaded.to_dict() == Block().to_dict()


def test_to_diff_dict_is_minimal_and_sufficient():
    """The diff has what differs from the defaults and the identity, and restores the config."""
    config = Block(width=16)

    assert config.to_diff_dict() == {"model_type": "block", "width": 16}
    assert Block.from_dict(config.to_diff_dict()) == config
    assert Block().to_diff_dict() == {"model_type": "block"}


def test_the_order_of_a_dict_is_kept():
    """The entries of a dict keep their order in a file, also if only the order differs from the default."""

    class Ordered(PreTrainedConfig):
        stages: dict[str, int] = field(default_factory=lambda: {"b": 1, "a": 2})

    config = Ordered(stages={"a": 2, "b": 1})

    assert list(Ordered.from_dict(json.loads(config.to_json_string())).stages) == ["a", "b"]
    assert (config == Ordered(), config.to_diff_dict()) == (True, {})


def test_overrides_replace_values():
    """Overrides of `from_dict` win over the values of the file, and only they change."""
    config = Block.from_dict({"width": 16, "dropout": 0.5}, width=32)

    assert config == Block(width=32, dropout=0.5)


def test_overrides_replace_extras():
    """An override may name a key of the file that is no field."""
    assert Block.from_dict({"note": "old"}, note="new").note == "new"


def test_overrides_are_checked():
    """An override that does not fit is refused like any value."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({}, width=0)

    assert str(caught.value) == "Block: 1 problem.\n  width: expected an int and at least 1, found 0"


def test_an_unknown_override_is_refused():
    """An override that names neither a field nor a key of the file is an error with a suggestion."""
    with pytest.raises(UnknownOptionError) as caught:
        Block.from_dict({}, widht=16)

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


def test_unused_overrides_are_returned():
    """With `return_unused_kwargs`, exactly the overrides that name no field come back."""
    config, unused = Block.from_dict({}, return_unused_kwargs=True, width=16, not_a_field=1)

    assert (config.width, unused) == (16, {"not_a_field": 1})


def test_another_model_type_is_refused():
    """A file of another architecture is an error that names both."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"model_type": "plain"})

    assert str(caught.value) == (
        "Block: 1 problem.\n  model_type: expected 'block', found 'plain'. Load it with AutoConfig instead."
    )


def test_model_type_may_be_missing():
    """A file without `model_type` is read by whatever class is asked."""
    assert Block.from_dict({"width": 16}).width == 16


def test_model_type_may_be_repeated_in_code():
    """The contents of a config's dict are arguments of its class, `model_type` included."""
    config = Block(width=16)

    assert Block(**config.to_dict()) == config


def test_another_model_type_is_refused_in_code():
    """A plain class does not take the `model_type` of another for an extra."""
    with pytest.raises(ConfigError, match=re.escape("model_type: expected 'plain', found 'block'")):
        Plain(model_type="block")


def test_model_type_belongs_to_the_class():
    """An instance cannot change its `model_type`."""
    config = Block()
    with pytest.raises(UnknownOptionError) as caught:
        config.model_type = "plain"

    assert str(caught.value) == "Block.model_type is part of the class and cannot be assigned."


def test_a_class_without_model_type_keeps_that_of_the_file():
    """Reading any file as a bare `PreTrainedConfig` and saving it again keeps its `model_type`."""
    values = {"model_type": "plain", "width": 16}

    assert PreTrainedConfig.from_dict(values).to_dict() == values


def test_values_of_a_file_make_a_config():
    """`config_from_values` builds what `read_config_values` has read, and names the file in errors."""
    config, unused = config_from_values(Block, {"width": 1}, where="there", overrides={"dropout": 0.5, "other": 1})
    with pytest.raises(ConfigError) as caught:
        config_from_values(Block, {"width": "1"}, where="there", overrides={})

    assert (config, unused) == (Block(width=1, dropout=0.5), {"other": 1})
    assert str(caught.value) == "Block in there: 1 problem.\n  width: expected an int, found '1'"


def test_unknown_fields_can_be_refused():
    """`refuse_unknown_fields` raises for the first name that is no field or alias."""
    refuse_unknown_fields(MyModelConfig, ["hidden_size", "d_model", "dtype"])
    with pytest.raises(UnknownOptionError) as caught:
        refuse_unknown_fields(MyModelConfig, ["d_model", "d_modle"])

    assert str(caught.value) == "MyModelConfig has no field 'd_modle'.\n  Did you mean 'd_model'?"
