"""Which configs are equal, and the `repr` that tells them apart."""

from dataclasses import field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import PreTrainedConfig


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


def test_equal_values_make_equal_configs():
    """Two configs of one class with the same values are equal, however they were built."""
    assert Block(layers=[1], width=3) == Block(width=3, layers=(1,))


@pytest.mark.parametrize(
    "change", [{"layers": (2,)}, {"width": 9}, {"activation": "gelu"}, {"dropout": 0.5}, {"dtype": "float16"}]
)
def test_any_change_makes_configs_differ(change):
    """Changing any one field makes a config unequal."""
    assert Block() != Block(**change)


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0), (0.0, -0.0), ([1], [True])])
def test_equality_tells_types_apart(one, other):
    """Values that Python calls equal, but a file would not, make configs differ."""
    assert Plain(width=one) != Plain(width=other)


def test_classes_make_configs_differ():
    """Configs of different classes are not equal, nor is a config equal to its dict."""
    assert Plain() != SuperFirst()
    assert Block() != Block().to_dict()


def test_extras_make_configs_differ():
    """A config with an extra is not equal to one without."""
    assert Block.from_dict({"note": 1}) != Block()


def test_a_config_that_can_change_has_no_hash():
    """A config that is not frozen cannot be the key of a dict; the message says how it could."""
    with pytest.raises(TypeError, match=r"Block can be hashed only when it is frozen: config.freeze\(\)."):
        hash(Block())


def test_repr_shows_what_differs_from_the_defaults():
    """`repr` is the call that builds the config."""
    assert repr(Block(width=16, layers=(1,))) == "Block(layers=(1,), width=16)"


@pytest.mark.parametrize(
    "config",
    [
        Block(),
        Block(width=16, dropout=float("inf"), architectures=["Net"]),
        Plain(layers=[1, [2, {"a": None}]]),
        MyModelConfig(hidden_size=512),
        Outer(stage=Stage(depth=3), extra_stages=[Stage(depth=4)], head=Stage()),
        Block.from_dict({"note": {"a": [1]}, "not an identifier": float("-inf"), "width": 9}),
        Plain.from_dict({"note": 1, "layers": [5]}),
        Block(id2label={0: "cat", 1: "dog"}),
    ],
    ids=repr,
)
def test_repr_evaluates_back(config):
    """Evaluating the `repr` of a config gives an equal config."""
    assert eval(repr(config)) == config  # noqa: S307 - that is the promise


def test_a_changed_type_is_shown():
    """A value that equals the default but is of another type is part of `repr` and of the diff."""
    config = Plain(width=True)

    assert (repr(Plain(width=8.0)), config.to_diff_dict()["width"]) == ("Plain(width=8.0)", True)
