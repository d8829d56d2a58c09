"""Config and weights of one and the same save, whoever saves into the folder while an Auto class looks at it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nameplate_auto import CONFIG_MAPPING, AutoModel, RegistryError
from nameplate_config import PreTrainedConfig
from nameplate_model import CheckpointError, PreTrainedModel


class TideConfig(PreTrainedConfig):
    """The config of the tiny architecture."""

    model_type = "test_tide"

    width: int = 3


class SpringTideConfig(TideConfig):
    """A config derived from it, for which no model of its own is registered."""

    model_type = "test_spring_tide"


class Tide(PreTrainedModel):
    """One linear layer, and a list of the saves that are yet to cut in: one for each load that begins."""

    config_class = TideConfig
    to_come: list[PreTrainedModel] = []
    folder = Path()
    loads = 0

    def __init__(self, config: TideConfig) -> None:
        super().__init__(config)
        self.body = torch.nn.Linear(config.width, 1)

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        """Let somebody save between the moment when the class was chosen and that when it loads."""
        Tide.loads += 1
        if cls.to_come:
            cls.to_come.pop().save_pretrained(cls.folder)
        return super().from_pretrained(source, **kwargs)


@pytest.fixture(autouse=True)
def registrations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Register the tiny architecture for the length of a test."""
    monkeypatch.setattr(Tide, "folder", tmp_path)
    monkeypatch.setattr(Tide, "to_come", [])
    monkeypatch.setattr(Tide, "loads", 0)
    with (
        CONFIG_MAPPING.override("test_tide", TideConfig),
        CONFIG_MAPPING.override("test_spring_tide", SpringTideConfig),
        AutoModel.model_mapping.override(TideConfig, Tide),
    ):
        yield


@pytest.mark.parametrize("config_class", [TideConfig, SpringTideConfig])
@pytest.mark.parametrize("saves", [0, 1, 3])
def test_the_newest_save_is_loaded_whole(tmp_path: Path, config_class: type[TideConfig], saves: int) -> None:
    """Whether the model reads the config or is given it, config and weights are those of one save."""
    models = [Tide(config_class(width=width)) for width in range(3, 4 + saves)]
    models[0].save_pretrained(tmp_path)
    Tide.to_come = models[:0:-1]

    loaded = AutoModel.from_pretrained(tmp_path)

    found = next(model for model in models if model.config.width == loaded.config.width)
    assert torch.equal(loaded.body.weight, found.body.weight)
    assert type(loaded.config) is config_class
    assert found is models[-1] or config_class is TideConfig  # the first needs no second try


def test_another_save_of_the_same_config_starts_nothing_anew(tmp_path: Path) -> None:
    """A training that saves its weights again and again disturbs nobody who loads them."""
    models = [Tide(SpringTideConfig()) for _ in range(2)]
    models[0].save_pretrained(tmp_path)
    Tide.to_come = models[1:]

    loaded = AutoModel.from_pretrained(tmp_path)

    assert torch.equal(loaded.body.weight, models[1].body.weight)
    assert Tide.loads == 1


def test_a_save_of_another_architecture_is_loaded_as_that(tmp_path: Path) -> None:
    """Where the save that cuts in is of another config class, the class is chosen again."""
    Tide(TideConfig()).save_pretrained(tmp_path)
    Tide.to_come = [Tide(SpringTideConfig(width=4))]

    loaded = AutoModel.from_pretrained(tmp_path)

    assert (type(loaded.config), loaded.config.width) == (SpringTideConfig, 4)


def test_an_error_of_an_unchanged_checkpoint_is_not_tried_again(tmp_path: Path) -> None:
    """What is wrong with the checkpoint itself is reported after one try."""
    Tide(SpringTideConfig()).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"torn")

    with pytest.raises(CheckpointError):
        AutoModel.from_pretrained(tmp_path)
    assert Tide.loads == 1


def test_a_checkpoint_that_never_settles_is_given_up(tmp_path: Path) -> None:
    """After many saves in a row the load ends with an error that says so."""
    Tide(SpringTideConfig(width=1)).save_pretrained(tmp_path)
    Tide.to_come = [Tide(SpringTideConfig(width=width)) for width in range(2, 40)]

    with pytest.raises(RegistryError) as error:
        AutoModel.from_pretrained(tmp_path)

    assert str(error.value) == f"{str(tmp_path)!r} is being saved again and again. Load it when that is done."
