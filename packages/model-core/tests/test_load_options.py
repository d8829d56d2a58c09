"""The options of a load that are neither about keys nor about places."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import ConfigError, PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"
    attribute_map: ClassVar = {"hidden_size": "width"}

    width: int = 4
    classes: int = 3


class Body(PreTrainedModel):
    """Two layers; what it has of the head's keys belongs to `Classifier`."""

    config_class = NetConfig
    head_prefixes = ("fc.",)

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)


class Classifier(Body):
    """The body and a head."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.fc = nn.Linear(config.width, config.classes)


def saved(model_class: type[PreTrainedModel], folder: Path, **fields: Any) -> PreTrainedModel:
    """Save a model whose tensors differ from what any construction gives, and return it."""
    model = model_class(model_class.config_class(**fields))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_((torch.rand(tensor.shape) * 100).to(tensor.dtype))
    model.save_pretrained(folder)
    return model


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Replace the weights in a folder by what *change* makes of them, as another library would write them."""
    path = folder / "model.safetensors"
    save_file(change({key: tensor.clone() for key, tensor in load_file(path).items()}), path, {"format": "pt"})


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


# ---- options


def test_an_unknown_option_is_an_error_with_a_suggestion(tmp_path: Path):
    """A misspelt option is refused before anything is loaded."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, allow_mising=["x"])

    assert str(caught.value) == ("Body.from_pretrained has no option 'allow_mising'.\n  Did you mean 'allow_missing'?")


def test_an_option_that_resembles_nothing_is_an_error_with_a_list(tmp_path: Path):
    """Where nothing resembles the option, the options are listed."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, quux=1)

    assert str(caught.value) == (
        "Body.from_pretrained has no option 'quux'.\n"
        "  Its options are: allow_missing, allow_unexpected, config, device, device_map, dtype, "
        "ignore_mismatched_sizes, keep_in_fp32, key_mapping, memory, output_loading_info, state_dict, strict, "
        "use_safetensors, variant, verify."
    )


@pytest.mark.parametrize("name", ["classes", "width", "hidden_size"])
def test_a_field_of_the_config_can_be_overridden(name: str, tmp_path: Path):
    """A field, or another name of one, gets the value that is passed, before the model is built."""
    saved(Classifier, tmp_path)
    loaded = Classifier.from_pretrained(tmp_path, **{name: 6}, strict=False, ignore_mismatched_sizes=True)

    assert getattr(loaded.config, name) == 6
    assert 6 in loaded.fc.weight.shape


def test_an_override_is_checked(tmp_path: Path):
    """A value that the field cannot hold is a config error."""
    saved(Body, tmp_path)
    with pytest.raises(ConfigError, match="width: expected an int, found 'wide'"):
        Body.from_pretrained(tmp_path, width="wide")


def test_a_passed_config_is_used_and_not_changed(tmp_path: Path):
    """The model is built from the config that is passed, which keeps its every value."""
    saved(Classifier, tmp_path, classes=5)
    config = NetConfig(classes=5)
    before = config.to_json_string()
    loaded = Classifier.from_pretrained(tmp_path, config=config)
    loaded.save_pretrained(tmp_path / "again")

    assert loaded.config is config
    assert config.to_json_string() == before


def test_a_passed_config_makes_the_file_of_none_unnecessary(tmp_path: Path):
    """Weights alone can be loaded with a config."""
    model = saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: tensors)
    (tmp_path / "config.json").unlink()

    assert same(Body.from_pretrained(tmp_path, config=NetConfig()), model)


@pytest.mark.parametrize("config", ["config.json", {"width": 4}, PreTrainedConfig()], ids=["path", "dict", "base"])
def test_something_else_passed_as_config_is_an_error(config: Any, tmp_path: Path):
    """Only a config of the class can be passed."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError, match=r"^Body is built from a NetConfig, found "):
        Body.from_pretrained(tmp_path, config=config)


def test_a_config_and_a_field_exclude_each_other(tmp_path: Path):
    """With a config there is nothing to override."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError, match=r"^'width' is a field of the config that is given; change it there\."):
        Body.from_pretrained(tmp_path, config=NetConfig(), width=4)
