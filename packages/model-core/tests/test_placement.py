"""Dtypes, devices, and the memory that tensors come to lie in."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel


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


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


KINDS = {
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "of_bool": torch.tensor([True, False, True]),
    "of_uint8": torch.tensor([0, 255], dtype=torch.uint8),
    "of_int16": torch.tensor([-5], dtype=torch.int16),
    "of_uint64": torch.tensor([2**64 - 1], dtype=torch.uint64),
    "of_int64": torch.tensor(2**62),
    "of_complex64": torch.tensor([1 - 2j]),
    "of_float16": torch.tensor([1.5], dtype=torch.float16),
    "of_bfloat16": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "of_float64": torch.tensor([1 / 3], dtype=torch.float64),
    "of_float8_e4m3fn": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
    "of_float8_e5m2": torch.tensor([1.5, -2.0]).to(torch.float8_e5m2),
    "not_a_number": torch.tensor([float("nan"), float("inf"), -0.0]),
}


class Kinds(PreTrainedModel):
    """A buffer of every kind."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        for name, tensor in KINDS.items():
            self.register_buffer(name, torch.zeros_like(tensor))


@pytest.mark.parametrize("name", KINDS)
def test_a_tensor_of_any_kind_comes_back(name: str, tmp_path: Path):
    """Shape, dtype and every bit of a tensor come back: no dimension, no element, and all dtypes."""
    model = Kinds(NetConfig())
    model.get_buffer(name).copy_(KINDS[name])
    model.save_pretrained(tmp_path)
    loaded = Kinds.from_pretrained(tmp_path).get_buffer(name)

    assert (loaded.dtype, loaded.shape) == (KINDS[name].dtype, KINDS[name].shape)
    assert torch.equal(loaded.flatten().view(torch.uint8), KINDS[name].flatten().view(torch.uint8))


# ---- dtype and device


def test_a_dtype_is_given_to_floating_tensors_only(tmp_path: Path):
    """Parameters and floating buffers are cast, persistent or not; integers, bools and complex ones are not."""
    model = Kinds(NetConfig())
    model.save_pretrained(tmp_path)
    loaded = Kinds.from_pretrained(tmp_path, dtype=torch.float16)

    assert {name: tensor.dtype for name, tensor in loaded.named_buffers()} == {
        name: torch.float16 if tensor.is_floating_point() else tensor.dtype for name, tensor in model.named_buffers()
    }


def test_a_dtype_is_given_to_what_no_file_holds(tmp_path: Path):
    """Buffers that the constructor computed, and parameters that the file lacks, get the dtype as well."""

    class Hiding(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.register_buffer("steps", torch.arange(3.0), persistent=False)
            self.register_buffer("indices", torch.arange(3), persistent=False)

    saved(Hiding, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    loaded = Hiding.from_pretrained(tmp_path, dtype=torch.float16, allow_missing="linear.bias")

    assert (loaded.steps.dtype, loaded.indices.dtype) == (torch.float16, torch.int64)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float16}


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_may_be_a_text(dtype: Any, tmp_path: Path):
    """A dtype is torch's, or its name."""
    saved(Body, tmp_path)

    assert Body.from_pretrained(tmp_path, dtype=dtype).linear.weight.dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [None, "checkpoint"])
def test_without_a_dtype_each_tensor_keeps_the_files(dtype: Any, tmp_path: Path):
    """Tensors of different widths come back as they were stored, whatever the constructor uses."""
    model = saved(Body, tmp_path)
    model.linear.double()
    model.norm.half()
    model.save_pretrained(tmp_path)

    assert same(Body.from_pretrained(tmp_path, dtype=dtype), model)


@pytest.mark.parametrize("dtype", ["float33", "int32", torch.int8, 16])
def test_a_dtype_must_be_a_floating_one(dtype: Any, tmp_path: Path):
    """Anything but a floating dtype is an error that names what was found."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, dtype=dtype)

    assert str(caught.value) == (
        f"dtype must be 'checkpoint', 'auto' or a floating dtype such as torch.bfloat16, found {dtype!r}."
    )


@pytest.mark.parametrize("device", ["abacus", 1.5, object])
def test_a_device_must_be_one(device: Any, tmp_path: Path):
    """Anything but a device is an error that names what was found."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, device=device)

    assert str(caught.value) == f"device must be one such as 'cpu' or 'cuda:0', found {device!r}."


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_the_default_device_is_honoured(device: str, tmp_path: Path):
    """Without a device, every tensor is on the default device."""
    model = saved(Kinds, tmp_path)
    with torch.device(device):
        loaded = Kinds.from_pretrained(tmp_path)

    assert {tensor.device.type for tensor in loaded.buffers()} == {device}
    assert same(loaded.cpu(), model)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_wins_over_the_default_one(device: str, tmp_path: Path):
    """With a device, every tensor is there, whatever the default is."""
    saved(Body, tmp_path)
    with torch.device("meta"):
        loaded = Body.from_pretrained(tmp_path, device=device)

    assert {tensor.device.type for tensor in [*loaded.parameters(), *loaded.buffers()]} == {device}
