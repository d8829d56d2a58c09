"""Names that no config declares: keywords, attributes and keys of a file that are refused, or kept as extras."""

import json
from pathlib import Path
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import ConfigError, ConfigFileError, PreTrainedConfig, UnknownOptionError


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


def test_an_unknown_keyword_is_refused():
    """A keyword that is no field is an error with the nearest name."""
    with pytest.raises(UnknownOptionError) as caught:
        Block(widht=16)

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


def test_an_unknown_keyword_far_from_all_lists_the_fields():
    """A keyword that resembles no field is an error that lists the fields."""
    with pytest.raises(UnknownOptionError) as caught:
        Block(zzz=16)

    assert str(caught.value) == ("Block has no field 'zzz'.\n  Its fields are: layers, width, activation, dropout.")


def test_a_plain_init_without_kwargs_refuses_unknown_keywords():
    """A plain `__init__` that takes no `**kwargs` is as strict as annotated fields."""

    class Closed(PreTrainedConfig):
        def __init__(self, width=8):
            self.width = width

    with pytest.raises(UnknownOptionError) as caught:
        Closed(widht=16)

    assert str(caught.value) == "Closed has no field 'widht'.\n  Did you mean 'width'?"


def test_an_unknown_attribute_is_kept_with_a_warning_on_a_near_match():
    """Assigning to a name that looks misspelt keeps the value and warns at the caller's line."""
    config = Block()
    with pytest.warns(UserWarning, match="widht") as record:
        config.widht = 16

    assert str(record[0].message) == ("Block has no field 'widht'; it is kept as an extra. Did you mean 'width'?")
    assert record[0].filename == __file__
    assert config.to_dict()["widht"] == 16


def test_an_unknown_attribute_is_saved():
    """A new attribute is kept, may be changed, and comes back."""
    config = Block()
    config.note = "first"
    config.note = "second"

    assert Block.from_dict(config.to_dict()).note == "second"


def test_an_attribute_that_no_file_can_carry_is_refused():
    """Assigning to a new name a value that JSON cannot carry is an error."""
    config = Block()
    with pytest.raises(ConfigError) as caught:
        config.note = object

    assert str(caught.value) == (
        "Block: 1 problem.\n  note: expected a value that JSON can carry (None, bool, int, float, str, list, "
        "dict with str keys), found <class 'object'>. "
        "Annotate the field with its type so that it can be restored."
    )


def test_a_keyword_that_no_file_can_carry_is_refused():
    """What `**kwargs` takes must be something that JSON can carry."""
    with pytest.raises(ConfigError) as caught:
        Plain(note={1, 2})

    assert caught.value.problems[0].path == "note"
    assert caught.value.problems[0].found == "{1, 2}"


def test_methods_cannot_be_assigned():
    """Assigning to the name of a method is refused."""
    config = Block()
    with pytest.raises(UnknownOptionError) as caught:
        config.to_dict = 1

    assert str(caught.value) == "Block.to_dict is part of the class and cannot be assigned."


def test_an_absent_attribute_suggests_a_field():
    """Reading a misspelt name is an `AttributeError` with the nearest name."""
    with pytest.raises(AttributeError) as caught:
        _ = Block().widht

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


EXTRAS = {
    "note": "é",
    "nothing": None,
    "numbers": [0, -1, 1.5, True, [[]], {}],
    "deep": {"a": {"b": [{"c": None}]}},
    "not an identifier": 1,
    "self": 2,
    "class": 3,
    "_private": 4,
    "__float__": "Infinity",
    "tagged": {"__float__": "Infinity"},
    "only looks tagged": {"__float__": "Infinity", "more": 1},
    "not a float": {"__float__": "abc"},
}


@pytest.mark.parametrize("style", [Block, Plain, SuperFirst, SuperForgotten])
def test_unknown_keys_of_a_file_survive(style, tmp_path):
    """Keys that no field takes are saved again verbatim, whatever they hold, in either style."""
    (tmp_path / "config.json").write_text(json.dumps(EXTRAS))
    style.from_pretrained(tmp_path).save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "config.json").read_text())

    assert {name: saved[name] for name in EXTRAS} == EXTRAS


def test_unknown_keys_of_a_file_can_be_read():
    """A key that no field takes is an attribute."""
    assert Block.from_dict({"note": "kept"}).note == "kept"


@pytest.mark.parametrize(
    "name", ["to_dict", "from_dict", "__class__", "__init__", "_nameplate", "save_pretrained", "attribute_map"]
)
def test_a_key_that_would_hide_a_method_is_refused(name: str, tmp_path: Path):
    """A file may not hold a key called like a method or a special attribute: it could not be read as an attribute."""
    (tmp_path / "config.json").write_text(json.dumps({name: 1}))
    with pytest.raises(ConfigFileError) as caught:
        Plain.from_pretrained(tmp_path)

    assert caught.value.code == "reserved-key"
    assert str(caught.value) == (
        f"Plain in {tmp_path / 'config.json'}: 1 problem.\n  {name}: expected no such key, found 1. "
        "It is the name of something that every config has, such as a method. Rename the key."
    )


def test_a_method_of_the_base_cannot_be_assigned():
    """Not even an `__init__` of the class's own can replace what the base class works with."""

    class Breaking(PreTrainedConfig):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self._encoded = {}

    with pytest.raises(UnknownOptionError, match=r"Breaking\._encoded is a method of every config"):
        Breaking()
