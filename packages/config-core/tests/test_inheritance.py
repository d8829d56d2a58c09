"""Subclasses of configs: inherited fields, other defaults, and annotated and plain classes that extend each other."""

import re
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import ConfigError, PreTrainedConfig, fields


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


def test_subclasses_add_fields():
    """A subclass has the fields of its base, in order, and its own."""

    class Wider(Block):
        depth: int = 1

    assert [each.name for each in fields(Wider)] == ["layers", "width", "activation", "dropout", "depth"]
    assert Wider.from_dict(Wider(width=3, depth=2).to_dict()) == Wider(width=3, depth=2)


def test_subclasses_change_defaults_by_annotation():
    """A subclass that annotates a field again gives it another default."""

    class Wider(Block):
        width: int = 64

    assert (Wider().width, Block().width) == (64, 8)


def test_subclasses_change_defaults_without_annotation():
    """A class attribute without annotation gives an inherited field another default, and keeps its type."""

    class Wider(Block):
        width = 64

    assert Wider().width == 64
    assert Wider.from_dict({"width": 3}).width == 3
    with pytest.raises(ConfigError, match=re.escape("width: expected an int and at least 1, found 0")):
        Wider(width=0)


def test_subclasses_narrow_a_type_and_keep_the_default():
    """A field that is annotated again without a value keeps its default, as in a dataclass."""

    class Narrow(Block):
        width: Annotated[int, Ge(8)]

    assert Narrow().width == 8
    with pytest.raises(ConfigError, match=re.escape("width: expected an int and at least 8, found 7")):
        Narrow(width=7)


def test_a_property_is_no_default():
    """A property that hides an inherited field is left alone."""

    class Fixed(Block):
        @property
        def width(self):
            return 3

    assert Fixed().width == 3


def test_a_plain_class_may_extend_an_annotated_one():
    """A plain `__init__` adds its parameters to the annotated fields of its base."""

    class Mixed(Block):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    config = Mixed(depth=3, width=16)

    assert (config.depth, config.width) == (3, 16)
    assert Mixed.from_dict(config.to_dict()) == config


def test_a_plain_class_without_kwargs_keeps_inherited_fields():
    """Fields that a closed `__init__` does not take can still be given and are restored."""

    class Closed(Block):
        def __init__(self, depth=2):
            super().__init__()
            self.depth = depth

    config = Closed(depth=3, width=16)

    assert (config.depth, config.width) == (3, 16)
    assert Closed.from_dict(config.to_dict()) == config


def test_an_annotated_class_may_extend_a_plain_one():
    """An annotated field adds to, and overrides, the parameters of a plain base."""

    class Typed(Plain):
        width: int = 64
        depth: int = 1

    assert (Typed().width, Typed().depth, Typed(width=3).width) == (64, 1, 3)
    assert Typed.from_dict(Typed(width=3, depth=2).to_dict()) == Typed(width=3, depth=2)


def test_a_class_attribute_changes_the_default_of_a_parameter():
    """A class attribute of a subclass gives a base's parameter another default."""

    class Wider(Plain):
        width = 64

    assert Wider().width == 64


def test_plain_classes_extend_each_other():
    """Values for an inner `__init__` travel through the `**kwargs` of the outer one."""

    class Deeper(SuperFirst):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    config = Deeper(depth=3, layers=(1,), width=16)

    assert (config.depth, config.layers, config.width) == (3, (1,), 16)
    assert Deeper.from_dict(config.to_dict()) == config


def test_a_parameter_that_is_declared_again_keeps_its_kind():
    """A subclass that names a bare parameter again restores it as before."""

    class Again(SuperFirst):
        def __init__(self, layers=(9,), **kwargs):
            super().__init__(layers=layers, **kwargs)

    assert (Again().layers, Again.from_dict({"layers": [1]}).layers) == ((9,), (1,))


def test_a_subclass_may_fix_a_default_of_every_config():
    """A field that every config has is saved if the class gives it a value of its own."""

    class Half(PreTrainedConfig):
        dtype = "bfloat16"

    assert Half().to_dict() == {"dtype": "bfloat16"}
