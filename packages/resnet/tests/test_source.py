"""The source of the models is fit to be copied beside a checkpoint: what it needs goes with it, and nothing else."""

import pytest

from nameplate_config.code import source_files
from nameplate_resnet import (
    ResnetBackbone,
    ResnetConfig,
    ResnetForSemanticSegmentation,
    ResnetModel,
    ResnetModelForImageClassification,
)

CONFIG = {
    "config_core.py",
    "configuration_resnet.py",
    "foreign.py",
    "standin_config.py",
    "timm_format.py",
    "transformers_format.py",
    "tutorial_format.py",
    "variants.py",
}
MODEL = {
    "fcn_head.py",
    "losses.py",
    "model_core.py",
    "modeling_resnet.py",
    "network_resnet.py",
    "standin_model.py",
}
MOST_LINES = 2500
"""What somebody who is to approve the code can be asked to read, docstrings and all."""


@pytest.mark.parametrize(
    "cls", [ResnetModel, ResnetModelForImageClassification, ResnetForSemanticSegmentation, ResnetBackbone]
)
def test_the_source_of_a_model_is_whole(cls: type):
    """A model needs its config and what that reads, each flat beside the others; no command, card or image."""
    sources = source_files(cls)

    assert sources.references == (f"modeling_resnet.{cls.__name__}",)
    assert sources.files.keys() == CONFIG | MODEL


def test_the_source_of_the_config_is_whole():
    """The config alone needs no model."""
    sources = source_files(ResnetConfig)

    assert sources.references == ("configuration_resnet.ResnetConfig",)
    assert sources.files.keys() == CONFIG


def test_the_source_can_be_read_before_it_is_trusted():
    """All of it together is short."""
    assert sum(data.count(b"\n") for data in source_files(ResnetModel).files.values()) <= MOST_LINES
