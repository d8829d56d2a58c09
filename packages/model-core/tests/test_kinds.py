"""Tensors of every kind, and parameters of every nature, come back as they were saved."""

from pathlib import Path

import pytest
import torch

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
