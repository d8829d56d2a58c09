"""Saving on ranks in circumstances that are seldom, but allowed, such as modes of torch; and what is no state dict."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import PreTrainedModel

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")

TIMEOUT = 30.0


class PairConfig(PreTrainedConfig):
    """Nothing to choose."""

    model_type = "pair"


class Pair(PreTrainedModel):
    """Two layers of known values."""

    def __init__(self, config: PairConfig) -> None:
        super().__init__(config)
        self.first, self.second = nn.Linear(3, 4), nn.Linear(4, 1)
        with torch.no_grad():
            for number, parameter in enumerate(self.parameters()):
                parameter.copy_(torch.arange(parameter.numel()).view(parameter.shape) + number)


def cut_pair() -> Pair:
    """Return a pair that lies on all ranks."""
    return fully_shard(Pair(PairConfig()), mesh=init_device_mesh("cpu", (distributed.get_world_size(),)))


def save_in_inference(_rank: int, base: str) -> None:
    """Save where torch makes no tensors for gradients."""
    pair = cut_pair()
    with torch.inference_mode():
        pair.save_pretrained(base, timeout=TIMEOUT)


def save_apart(rank: int, base: str) -> None:
    """Save for two machines, waiting for ever, where torch makes tensors without values."""
    socket.gethostname = lambda: f"machine-{rank}"
    pair = cut_pair()
    with torch.device("meta"):
        pair.save_pretrained(base, timeout=float("inf"), writers="apart")


@pytest.mark.parametrize("job", [save_in_inference, save_apart])
def test_modes_of_torch_change_nothing(job: Any, tmp_path: Path):
    """Whether torch is told to infer, or to make tensors elsewhere, ranks save the values that they have."""
    values(run_ranks(job, 2, str(tmp_path)))
    loaded = Pair.from_pretrained(tmp_path, verify="full").state_dict()

    assert all(torch.equal(loaded[name], each) for name, each in Pair(PairConfig()).state_dict().items())


@pytest.mark.parametrize(("state", "odd"), [([1], "[1]"), ({5: torch.ones(1)}, "5")])
def test_a_state_dict_that_is_none_is_refused(state: Any, odd: str, tmp_path: Path):
    """What has no tensors under names is an unknown value of the option, and nothing is written."""
    with pytest.raises(UnknownOptionError) as caught:
        Pair(PairConfig()).save_pretrained(tmp_path / "new", state_dict=state)

    assert str(caught.value) == f"state_dict must be a mapping of tensors by their names, found {odd}."
    assert not (tmp_path / "new").exists()
