"""Checkpoints in several files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
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


def saved(model_class: type[PreTrainedModel], folder: Path, **fields: Any) -> PreTrainedModel:
    """Save a model whose tensors differ from what any construction gives, and return it."""
    model = model_class(model_class.config_class(**fields))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_((torch.rand(tensor.shape) * 100).to(tensor.dtype))
    model.save_pretrained(folder)
    return model


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


# ---- sharded checkpoints of others


def shard_with_hub(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write shards as Transformers' own library does."""
    huggingface_hub.save_torch_state_dict(state, folder, max_shard_size=100)


def shard_by_hand(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write one shard for each tensor and an index without metadata."""
    weight_map = {}
    for number, (key, tensor) in enumerate(state.items()):
        weight_map[key] = f"part-{number}.safetensors"
        save_file({key: tensor.clone()}, folder / weight_map[key])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("shard", [shard_with_hub, shard_by_hand])
def test_shards_are_read(shard: Callable[[dict[str, torch.Tensor], Path], None], tmp_path: Path):
    """A sharded checkpoint of another library comes back whole."""
    model = saved(Classifier, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shard(model.state_dict(), tmp_path)
    loaded = Classifier.from_pretrained(tmp_path)

    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert same(loaded, model)
    assert loaded.load_report.exact


def test_shards_of_a_tied_model_are_read(tmp_path: Path):
    """Another library's shards hold one of two tied tensors; the model has both again, as one."""
    model = saved(Tied, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shard_with_hub(model.state_dict(), tmp_path)
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert same(loaded, model)


def test_errors_about_shards_name_the_index(tmp_path: Path):
    """Where keys do not fit, the index is what does not fit."""
    model = saved(Body, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shard_by_hand(without("linear.bias")(model.state_dict()), tmp_path)

    assert str(refusal(tmp_path)).startswith(f"{tmp_path / 'model.safetensors.index.json'} does not fit Body;")
