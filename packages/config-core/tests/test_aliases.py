"""Second names of fields, which `attribute_map` declares."""

import pytest

from nameplate_config import ConfigError, PreTrainedConfig


class MyModelConfig(PreTrainedConfig):
    """The class of the second seed document, as it stands there."""

    model_type = "my_model"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(self, hidden_size=768, **kwargs):
        super().__init__(**kwargs)
        self.hidden_size = hidden_size


@pytest.mark.parametrize("name", ["hidden_size", "d_model"])
def test_an_alias_never_loses_a_value(name):
    """The second seed's config keeps its value through a file, given under either name."""
    config = MyModelConfig(**{name: 512})
    loaded = MyModelConfig.from_dict(config.to_dict())

    assert (config.hidden_size, config.d_model) == (512, 512)
    assert (loaded.hidden_size, loaded.d_model) == (512, 512)


def test_files_hold_the_fields_own_name():
    """A file names the field, not its alias."""
    assert MyModelConfig(hidden_size=512).to_dict() == {"model_type": "my_model", "d_model": 512}


@pytest.mark.parametrize("name", ["hidden_size", "d_model"])
def test_aliases_can_be_assigned(name):
    """Assigning to either name sets both."""
    config = MyModelConfig()
    setattr(config, name, 640)

    assert (config.hidden_size, config.d_model) == (640, 640)


def test_an_alias_can_override():
    """`from_dict` takes an override under the alias."""
    assert MyModelConfig.from_dict({"d_model": 512}, hidden_size=640).d_model == 640


def test_an_alias_of_a_base_class_survives_another_init():
    """A subclass with its own `__init__` keeps a value given under the alias of its base."""

    class Deeper(MyModelConfig):
        def __init__(self, depth=2, **kwargs):
            super().__init__(**kwargs)
            self.depth = depth

    config = Deeper(hidden_size=512)

    assert (config.d_model, Deeper.from_dict(config.to_dict()).d_model) == (512, 512)


def test_an_annotated_field_may_have_an_alias():
    """`attribute_map` works on annotated fields alike."""

    class Aliased(PreTrainedConfig):
        attribute_map = {"num_labels": "num_classes"}
        num_classes: int = 10

    assert (Aliased(num_labels=3).num_classes, Aliased(num_classes=4).num_labels) == (3, 4)


def test_a_class_may_define_what_its_alias_does():
    """A name in `attribute_map` that the class defines itself is left to the class."""

    class Defined(PreTrainedConfig):
        attribute_map = {"hidden_size": "d_model"}
        d_model: int = 8

        @property
        def hidden_size(self):
            return -self.d_model

    assert Defined(hidden_size=3).hidden_size == -3


def test_a_field_and_its_alias_must_agree():
    """Giving a field and its alias different values is an error that shows both."""
    with pytest.raises(ConfigError) as caught:
        MyModelConfig(hidden_size=1, d_model=2)

    assert str(caught.value) == (
        "MyModelConfig: 1 problem.\n  d_model: expected one value, found 1 and, as 'd_model', 2"
    )


def test_a_field_and_its_alias_may_agree():
    """Giving a field and its alias the same value is no error."""
    assert MyModelConfig(hidden_size=1, d_model=1).d_model == 1
