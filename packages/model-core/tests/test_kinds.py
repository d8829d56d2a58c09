"""Tensors of every kind, and parameters of every nature, come back as they were saved."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"

    width: int = 4
    classes: int = 3


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


# ---- any module


def mixed() -> nn.Module:
    """Parameters of several dtypes, complex and narrow ones included."""
    dtypes = [torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2]
    return nn.ParameterList([torch.ones(3).to(dtype) for dtype in dtypes])


def channels_last() -> nn.Module:
    """A convolution in another memory format."""
    return nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)


def turned() -> nn.Module:
    """A parameter and a buffer that are not contiguous."""
    module = nn.Module()
    module.weight = nn.Parameter(torch.rand(3, 5).t())
    module.register_buffer("every_second", torch.rand(10)[::2])
    return module


def spread_out() -> nn.Module:
    """A buffer of one element that is seen many times."""
    module = nn.Module()
    module.register_buffer("same", torch.rand(1).expand(4))
    return module


def hidden() -> nn.Module:
    """Buffers that no file holds, one of them sparse, and one that is None."""
    module = nn.Module()
    module.register_buffer("steps", torch.arange(4.0), persistent=False)
    module.register_buffer("sparse", torch.eye(3).to_sparse(), persistent=False)
    module.register_buffer("nothing", None)
    module.register_parameter("none", None)
    return module


def frozen_counts() -> nn.Module:
    """Parameters of integers and bools, which have no gradient."""
    module = nn.Module()
    module.counts = nn.Parameter(torch.arange(3), requires_grad=False)
    module.mask = nn.Parameter(torch.tensor([True, False]), requires_grad=False)
    module.one = nn.Parameter(torch.tensor(2.5))
    module.none = nn.Parameter(torch.empty(0, 2))
    return module


def nested() -> nn.Module:
    """Containers in containers, with names that need care."""
    return nn.ModuleDict({"a": nn.Sequential(nn.Linear(2, 2), nn.ModuleDict({"_b": nn.Linear(2, 3)})), "ä": nn.PReLU()})


def parametrized() -> nn.Module:
    """A weight that is computed."""
    return parametrizations.weight_norm(nn.Linear(4, 4))


def attention() -> nn.Module:
    """A whole encoder."""
    return nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2)


ANY = [mixed, channels_last, turned, spread_out, hidden, frozen_counts, nested, parametrized, attention, nn.Identity]


def bits(tensor: torch.Tensor) -> tuple[object, ...]:
    """Return what a tensor is: class, dtype, shape, nature and every bit."""
    values = tensor.detach().to_dense() if tensor.is_sparse else tensor.detach()
    kind = type(tensor), tensor.dtype, tensor.shape, tensor.layout, tensor.requires_grad
    return *kind, values.contiguous().flatten().view(torch.uint8).tolist()


@pytest.mark.parametrize("part", ANY)
@pytest.mark.parametrize("limit", ["50GB", 1])
@pytest.mark.parametrize("memory", ["mmap", "copy"])
def test_any_module_comes_back(part: Callable[[], nn.Module], limit: str | int, memory: str, tmp_path: Path):
    """Every parameter and buffer of a module has its class, dtype, shape, nature and bits after a load."""

    class Wrapper(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.part = part()

    model = Wrapper(NetConfig()).eval()
    model.save_pretrained(tmp_path, max_shard_size=limit)
    loaded = Wrapper.from_pretrained(tmp_path, memory=memory)

    for kind in ("named_parameters", "named_buffers"):
        ours = {name: bits(tensor) for name, tensor in getattr(loaded, kind)()}
        assert ours == {name: bits(tensor) for name, tensor in getattr(model, kind)()}
    assert loaded.load_report.exact
    assert str(loaded) == str(model)


def test_what_comes_back_computes_the_same(tmp_path: Path):
    """A convolution in another memory format gives, bit for bit, what it gave before the save."""

    class Convolution(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.part = channels_last()

    model = Convolution(NetConfig())
    model.save_pretrained(tmp_path)
    pixels = torch.rand(2, 3, 16, 16)

    assert torch.equal(Convolution.from_pretrained(tmp_path).part(pixels), model.part(pixels))
