"""Part of a checkpoint is read by the names of its tensors, without the class that saved it."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, SourceNotFoundError, UnknownOptionError
from nameplate_model import CheckpointError, PreTrainedModel, ShardError, read_tensors


class NetConfig(PreTrainedConfig):
    """The width of a network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """A body of two layers with one weight, and a head."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.body = nn.Sequential(nn.Linear(config.width, config.width), nn.Linear(config.width, config.width))
        self.body[1].weight = self.body[0].weight
        self.head = nn.Linear(config.width, 2)
        self.register_buffer("steps", torch.arange(3))


def saved(folder: Path, **options: Any) -> dict[str, torch.Tensor]:
    """Save a model and return its state dict."""
    model = Net(NetConfig())
    model.save_pretrained(folder, **options)
    return model.state_dict()


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two dicts have equal tensors under the same names."""
    return one.keys() == other.keys() and all(
        one[name].dtype == other[name].dtype and torch.equal(one[name], other[name]) for name in one
    )


BODY = ["body.0.weight", "body.0.bias", "body.1.weight", "body.1.bias"]
HEAD = ["head.weight", "head.bias"]
PARTS = {
    (): [*BODY, *HEAD, "steps"],
    ("*",): [*BODY, *HEAD, "steps"],
    ("head.*",): HEAD,
    ("*.bias",): ["body.0.bias", "body.1.bias", "head.bias"],
    ("steps", "head.weight"): ["head.weight", "steps"],
    ("body.[01].weight",): ["body.0.weight", "body.1.weight"],
    ("body.1.weight",): ["body.1.weight"],
}


@pytest.mark.parametrize("limit", ["50GB", 1])
@pytest.mark.parametrize("patterns", PARTS)
def test_patterns_choose_tensors(patterns: tuple[str, ...], limit: str | int, tmp_path: Path):
    """Of a checkpoint in one file or in many those tensors are read whose names match one of the patterns."""
    state = saved(tmp_path, max_shard_size=limit)

    assert same(read_tensors(tmp_path, *patterns), {name: state[name] for name in PARTS[patterns]})


@pytest.mark.parametrize("limit", ["50GB", 1])
def test_a_prefix_is_cut_off(limit: str | int, tmp_path: Path):
    """What lies below a prefix fits the module that the prefix names; patterns still mean whole names."""
    state = saved(tmp_path, max_shard_size=limit)
    head = nn.Linear(4, 2)
    head.load_state_dict(read_tensors(tmp_path, prefix="head."))

    assert torch.equal(head.weight, state["head.weight"])
    assert same(
        read_tensors(tmp_path, "*.bias", prefix="body."), {f"{n}.bias": state[f"body.{n}.bias"] for n in (0, 1)}
    )


@pytest.mark.parametrize("limit", ["50GB", 1])
def test_tied_tensors_are_one_object(limit: str | int, tmp_path: Path):
    """Every name of a tied tensor gives the same object."""
    saved(tmp_path, max_shard_size=limit)
    tensors = read_tensors(tmp_path, prefix="body.")

    assert tensors["0.weight"] is tensors["1.weight"]


@pytest.mark.parametrize("name", ["head.bias", "body.1.weight"])
def test_only_the_files_that_are_needed_are_opened(name: str, tmp_path: Path):
    """The other shards may be absent, also where the tensor is stored under another name."""
    state = saved(tmp_path, max_shard_size=1)
    weight_map = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    kept = weight_map["body.0.weight" if name == "body.1.weight" else name]
    for path in tmp_path.glob("*.safetensors"):
        if path.name != kept:
            path.unlink()

    assert same(read_tensors(tmp_path, name), {name: state[name]})


def test_a_needed_file_that_is_absent_is_an_error(tmp_path: Path):
    """A shard that holds what is asked for and is not there is named."""
    saved(tmp_path, max_shard_size=1)
    weight_map = json.loads((tmp_path / "model.safetensors.index.json").read_text())["weight_map"]
    (tmp_path / weight_map["steps"]).unlink()
    with pytest.raises(ShardError) as caught:
        read_tensors(tmp_path, "steps")

    assert f"names the file '{weight_map['steps']}', which is not there." in str(caught.value)


def test_neither_a_config_nor_a_class_is_needed(tmp_path: Path):
    """A folder with nothing but weights of another library is enough."""
    state = {"a": torch.rand(3), "b": torch.tensor([True])}
    save_file(state, tmp_path / "model.safetensors")

    assert same(read_tensors(tmp_path), state)


def test_a_variant_is_read(tmp_path: Path):
    """With *variant* the tensors are those of that variant."""
    saved(tmp_path)
    other = saved(tmp_path, variant="fp16")

    assert same(read_tensors(tmp_path, "head.*", variant="fp16"), {name: other[name] for name in HEAD})


def test_a_pickle_is_read_if_asked_for(tmp_path: Path):
    """With `use_safetensors=False` the tensors are those of the pickle."""
    torch.save({"a": torch.ones(2), "b": torch.zeros(2)}, tmp_path / "pytorch_model.bin")

    assert read_tensors(tmp_path, "a", use_safetensors=False)["a"].tolist() == [1, 1]


def test_tensors_are_private(tmp_path: Path):
    """Writing to what was read changes neither the file nor what is read later."""
    state = saved(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    for memory in ("mmap", "copy"):
        read_tensors(tmp_path, "head.weight", memory=memory)["head.weight"].fill_(7)

        assert same(read_tensors(tmp_path, "head.*", memory=memory), {name: state[name] for name in HEAD})

    assert (tmp_path / "model.safetensors").read_bytes() == before


def test_a_checkpoint_without_tensors_has_no_parts(tmp_path: Path):
    """Everything of nothing is nothing."""
    save_file({}, tmp_path / "model.safetensors")

    assert read_tensors(tmp_path) == {}


@pytest.mark.parametrize(
    ("patterns", "prefix", "text"),
    [
        (["haed.*"], "", "has no tensor that matches 'haed.*'."),
        (["a", "b"], "", "has no tensor that matches 'a' or 'b'."),
        ([], "haed.", "has no tensor that matches anything below 'haed.'."),
        (["*.wait"], "head.", "has no tensor that matches '*.wait' below 'head.'."),
    ],
)
def test_what_matches_nothing_is_an_error(patterns: list[str], prefix: str, text: str, tmp_path: Path):
    """A pattern or prefix that no name has is an error that repeats it and names the file."""
    saved(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        read_tensors(tmp_path, *patterns, prefix=prefix)

    assert str(caught.value).startswith(f"{tmp_path / 'model.safetensors'} {text}")


def test_an_unknown_option_is_an_error_with_a_suggestion(tmp_path: Path):
    """An option that reading does not have is refused."""
    saved(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        read_tensors(tmp_path, memroy="copy")

    assert str(caught.value) == "read_tensors has no option 'memroy'.\n  Did you mean 'memory'?"


def test_a_folder_without_weights_is_an_error(tmp_path: Path):
    """What has no weights has no parts."""
    with pytest.raises(SourceNotFoundError, match="holds no weights"):
        read_tensors(tmp_path)


def test_the_bits_are_those_that_another_library_reads(tmp_path: Path):
    """Every tensor is what safetensors itself reads from the same file."""
    saved(tmp_path)
    theirs = load_file(tmp_path / "model.safetensors")
    ours = read_tensors(tmp_path)

    assert same({name: ours[name] for name in theirs}, theirs)
