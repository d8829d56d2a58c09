"""The façade: what a model class says of itself, and what it is built from."""

import subprocess
import sys
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import nameplate_model
from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import LOAD_OPTIONS, PreTrainedModel

if TYPE_CHECKING:
    from nowhere import UnseenConfig


class NetConfig(PreTrainedConfig):
    """The width of a small network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Two layers with one weight, and a frozen one; the config class is in the signature."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
        self.two.weight = self.one.weight
        self.frozen = nn.Parameter(torch.zeros(3), requires_grad=False)


def test_the_config_class_is_read_from_the_signature():
    """A class that annotates the config of its constructor has told its config class, and so have its subclasses."""

    class Wider(Net):
        pass

    assert (Net.config_class, Wider.config_class) == (NetConfig, NetConfig)


def test_a_config_class_that_is_given_wins_over_the_signature():
    """An explicit `config_class` is not overwritten."""

    class Explicit(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)

    assert Explicit.config_class is NetConfig


def test_a_signature_that_only_type_checkers_understand_is_left_alone():
    """A name that is imported for type checkers only cannot be resolved, and is no error."""

    class Unseen(PreTrainedModel):
        def __init__(self, config: "UnseenConfig") -> None:
            super().__init__(config)

    assert Unseen.config_class is None


def test_a_model_is_built_from_a_config():
    """The model and its caller share the config; `from_config` is the constructor by another name."""
    config = NetConfig(width=5)

    assert Net(config).config is Net.from_config(config).config is config


@pytest.mark.parametrize("config", [None, {"width": 4}, PreTrainedConfig()], ids=["None", "dict", "base"])
def test_a_model_is_built_from_nothing_else(config: object):
    """Anything but a config of the class is an error that shows it."""
    with pytest.raises(UnknownOptionError) as caught:
        Net(config)

    assert str(caught.value) == f"Net is built from a NetConfig, found {config!r}."


def test_shared_parameters_count_once():
    """The number of parameters is that of the memory, and frozen ones can be left out."""
    model = Net(NetConfig())

    assert (model.num_parameters(), model.num_parameters(only_trainable=True)) == (19, 16)


def test_post_init_does_nothing():
    """Models written for Transformers may call it at any time."""
    model = Net(NetConfig())
    before = model.one.weight.clone()

    assert model.post_init() is None
    assert torch.equal(model.one.weight, before)


def test_the_options_of_a_load_are_public():
    """Who passes options on can tell those of a load from fields of a config."""
    assert {"strict", "dtype", "device", "config"} < LOAD_OPTIONS


def test_the_version_is_that_of_the_distribution():
    """`__version__` is what the installed metadata says, and no other name is made up."""
    assert nameplate_model.__version__ == version("nameplate-model")
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = nameplate_model.nothing


def test_every_error_is_shown_by_its_public_name():
    """Tracebacks name the module that users import from."""
    names = [name for name in nameplate_model.__all__ if name.endswith("Error")]

    assert {getattr(nameplate_model, name).__module__ for name in names} == {"nameplate_model"}


def test_only_the_libraries_it_needs_are_imported():
    """Importing the package brings neither Transformers, nor the Hub's client, nor the other packages."""
    program = "import sys, nameplate_model; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    unwanted = {"transformers", "huggingface_hub", "accelerate", "timm", "nameplate_auto", "nameplate_resnet"}

    assert not unwanted & set(done.stdout.split())
