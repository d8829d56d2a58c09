"""The source of the models is fit to be copied beside a checkpoint: what it needs of its own goes with it."""

import pytest

from nameplate_config.code import source_files
from nameplate_resnet import ResnetBackbone, ResnetConfig, ResnetModel, ResnetModelForImageClassification

CONFIG = {"configuration_resnet.py", "foreign.py"}


@pytest.mark.parametrize("cls", [ResnetModel, ResnetModelForImageClassification, ResnetBackbone])
def test_the_source_of_a_model_is_whole(cls: type):
    """A model needs its config and what that reads, each flat beside the others."""
    sources = source_files(cls)

    assert sources.references == (f"modeling_resnet.{cls.__name__}",)
    assert sources.files.keys() == CONFIG | {"modeling_resnet.py"}


def test_the_source_of_the_config_is_whole():
    """The config alone needs no model."""
    sources = source_files(ResnetConfig)

    assert sources.references == ("configuration_resnet.ResnetConfig",)
    assert sources.files.keys() == CONFIG
