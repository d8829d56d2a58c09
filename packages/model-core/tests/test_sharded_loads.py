"""Checkpoints in several files."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nameplate_config import PreTrainedConfig, Source
from nameplate_model import CheckpointError, CorruptFileError, MismatchError, PreTrainedModel


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


# ---- more files than are kept open


class Layers(PreTrainedModel):
    """As many layers as the config has classes."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.classes))


@pytest.mark.parametrize("memory", ["mmap", "copy"])
@pytest.mark.parametrize("theirs", [False, True])
def test_more_files_than_are_kept_open_are_read(memory: str, *, theirs: bool, tmp_path: Path):
    """Two hundred shards, ours or another library's, come back whole."""
    model = saved(Layers, tmp_path, classes=100)
    if theirs:
        (tmp_path / "model.safetensors").unlink()
        shard_by_hand(model.state_dict(), tmp_path)
    else:
        model.save_pretrained(tmp_path, max_shard_size=1)
    loaded = Layers.from_pretrained(tmp_path, memory=memory)

    assert len(list(tmp_path.glob("*.safetensors"))) == 200
    assert same(loaded, model)
    assert loaded.load_report.exact


LIMITED = """
import resource, sys
import torch
from torch import nn
from nameplate_config import NameplateError, PreTrainedConfig
from nameplate_model import PreTrainedModel

class LayersConfig(PreTrainedConfig):
    model_type = "net"
    classes: int = 1

class Layers(PreTrainedModel):
    def __init__(self, config: LayersConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(150, 150, bias=False) for _ in range(config.classes))

model = Layers(LayersConfig(classes=150))
model.save_pretrained(sys.argv[1], max_shard_size=1)
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
loads = [Layers.from_pretrained(sys.argv[1]) for _ in range(3)]
state = model.state_dict()
print(all(torch.equal(t, state[name]) for each in loads for name, t in each.state_dict().items()))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="limits are those of POSIX")
def test_a_process_may_have_fewer_descriptors_than_files(tmp_path: Path):
    """Where the system lets a process open 128 files, a checkpoint of 150 is loaded all the same, three times."""
    command = [sys.executable, "-c", LIMITED, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert (done.stdout, done.stderr) == ("True\n", "")


@pytest.mark.parametrize("memory", ["mmap", "copy"])
@pytest.mark.parametrize("number", [0, 70])
def test_a_file_that_is_replaced_meanwhile_is_noticed(memory: str, number: int, tmp_path: Path):
    """A shard that is another file when its tensors are wanted than when its header was read is an error."""
    model = saved(Layers, tmp_path, classes=80)
    (tmp_path / "model.safetensors").unlink()
    shard_by_hand(model.state_dict(), tmp_path)
    path = tmp_path / f"part-{number}.safetensors"

    class Replacing(Layers):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            key = list(model.state_dict())[number]
            save_file({key: model.state_dict()[key] + 1}, tmp_path / "new")
            (tmp_path / "new").replace(path)

    with pytest.raises(CorruptFileError) as caught:
        Replacing.from_pretrained(tmp_path, memory=memory)

    assert str(caught.value) == f"'{path}' was replaced while it was being loaded. Load it again."


def test_a_single_file_that_is_replaced_meanwhile_is_read_to_the_end(tmp_path: Path):
    """A file that is kept open is the one that it was: the load gives the old checkpoint, whole."""
    model = saved(Body, tmp_path)

    class Replacing(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            Body(NetConfig()).save_pretrained(tmp_path)

    assert same(Replacing.from_pretrained(tmp_path), model)


def test_a_shard_of_another_save_is_refused(tmp_path: Path):
    """A shard of ours must be, digest and all, the one that its index was saved with."""
    saved(Body, tmp_path / "one").save_pretrained(tmp_path / "one", max_shard_size=1)
    saved(Body, tmp_path / "two").save_pretrained(tmp_path / "two", max_shard_size=1)
    ours, theirs = (min((tmp_path / name).glob("*.safetensors")) for name in ("one", "two"))
    ours.write_bytes(theirs.read_bytes())
    with pytest.raises(CheckpointError) as caught:
        Body.from_pretrained(tmp_path / "one")

    assert str(ours) in str(caught.value)


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_file_that_goes_once_it_is_found_is_looked_for_again(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A save that takes the index away, once a load has found its path, lets the load look for what is there then."""
    first = saved(Classifier, tmp_path, classes=3)
    first.save_pretrained(tmp_path, max_shard_size=100)
    later = saved(Classifier, tmp_path / "later", classes=3)
    path_of, found = Source.path, []

    def path_while_somebody_saves(self: Source, name: str) -> Path:
        path = path_of(self, name)
        found.extend([path] * name.endswith("index.json"))
        if len(found) == number + 1:
            later.save_pretrained(tmp_path)
        return path

    monkeypatch.setattr(Source, "path", path_while_somebody_saves)
    loaded = Classifier.from_pretrained(tmp_path)

    assert any(torch.equal(loaded.fc.weight, each.fc.weight) for each in (first, later))
