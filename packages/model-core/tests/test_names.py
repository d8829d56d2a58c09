"""Names that a file has and a model has not: heads, renames, and older versions of a class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import MismatchError, PreTrainedModel


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"

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


HEAD = ["fc.bias", "fc.weight"]


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


def without(*keys: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return a change that removes keys."""
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key not in keys}


def refusal(folder: Path, model_class: type[PreTrainedModel] = Body, **options: Any) -> MismatchError:
    """Return the error of a load that must fail."""
    with pytest.raises(MismatchError) as caught:
        model_class.from_pretrained(folder, **options)
    return caught.value


# ---- body and head


def test_a_head_is_new_over_a_body(tmp_path: Path):
    """A class with a head loads a checkpoint of the body; the report lists the head's keys as transferred."""
    model = saved(Body, tmp_path)
    loaded, report = Classifier.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.missing, report.transferred) == (tuple(HEAD), tuple(HEAD))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_head_is_left_out_of_a_body(tmp_path: Path):
    """The body loads a checkpoint of a class with a head; the report lists the head's keys as transferred."""
    model = saved(Classifier, tmp_path)
    loaded, report = Body.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.unexpected, report.transferred) == (tuple(HEAD), tuple(HEAD))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_transfer_does_not_depend_on_who_read_the_config(tmp_path: Path):
    """The checkpoint's own config says who saved it, also where another is passed."""
    saved(Body, tmp_path)
    loaded = Classifier.from_pretrained(tmp_path, config=NetConfig(classes=7))

    assert loaded.load_report.transferred == tuple(HEAD)
    assert loaded.fc.weight.shape == (7, 4)


def test_a_transfer_excuses_nothing_else(tmp_path: Path):
    """A key of the body that is missing is an error, transfer or not."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    report = refusal(tmp_path, Classifier).report

    assert report is not None
    assert (report.missing, report.transferred) == (("fc.bias", "fc.weight", "linear.bias"), ("fc.bias", "fc.weight"))


def test_within_a_class_a_missing_head_is_an_error(tmp_path: Path):
    """What a class saved has that class's head, or it is broken."""
    saved(Classifier, tmp_path)
    rewrite(tmp_path, without(*HEAD))
    report = refusal(tmp_path, Classifier).report

    assert report is not None
    assert (report.missing, report.transferred) == (tuple(HEAD), ())
