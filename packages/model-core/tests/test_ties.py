"""Tensors that are one object, or one memory, are so again after a load."""

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


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


class Tied(PreTrainedModel):
    """Two layers with one weight."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight


def test_a_tie_stored_twice_stays_a_tie(tmp_path: Path):
    """Where another library wrote both names of a tied tensor with equal values, it is one object again."""
    saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "two.weight": tensors["one.weight"].clone()})
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert loaded.load_report.exact


@pytest.mark.parametrize("kept", ["one.weight", "two.weight"])
def test_either_name_of_a_tie_is_enough(kept: str, tmp_path: Path):
    """A tied tensor is loaded from whichever name the file has."""
    model = saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**without("one.weight")(tensors), kept: tensors["one.weight"]})
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert same(loaded, model)


def test_two_values_for_a_tie_are_an_error(tmp_path: Path):
    """A file that has different values for what is one tensor in the model does not fit it."""
    saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "two.weight": tensors["one.weight"] + 1})

    assert "\n  different: two.weight (expected the values of 'one.weight', its tied tensor, found others)\n" in str(
        refusal(tmp_path, Tied)
    )


def test_two_values_for_a_tie_can_be_ignored(tmp_path: Path):
    """If that is meant, the model stays tied, with the values of the first name."""
    model = saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "two.weight": tensors["one.weight"] + 1})
    loaded = Tied.from_pretrained(tmp_path, ignore_mismatched_sizes=True)

    assert loaded.one.weight is loaded.two.weight
    assert torch.equal(loaded.one.weight, model.one.weight)
