"""Saving on ranks in circumstances that are seldom, but allowed, such as modes of torch; and what is no state dict."""

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

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


def save_gathered(_rank: int, base: str) -> int:
    """Save what torch gathers on the first rank, from all of them; return how many tensors this one got."""
    pair = cut_pair()
    options = StateDictOptions(full_state_dict=True, cpu_offload=True)
    state = get_model_state_dict(pair, options=options)
    pair.save_pretrained(base, state_dict=state)
    return len(state)


def save_between_forward_and_backward(_rank: int, base: str) -> None:
    """Save a copy of all values while FSDP holds the parameters in the dtype of the computations."""
    policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16)
    mesh = init_device_mesh("cpu", (distributed.get_world_size(),))
    pair = fully_shard(Pair(PairConfig()), mesh=mesh, mp_policy=policy, reshard_after_forward=False)
    state = {name: each.full_tensor() for name, each in pair.state_dict().items()}
    pair.unshard()
    assert {each.dtype for each in pair.parameters()} == {torch.bfloat16}
    pair.save_pretrained(base, state_dict=state)


def test_a_state_dict_that_torch_gathered_is_saved_by_the_rank_that_has_it(tmp_path: Path):
    """The ranks to which `get_model_state_dict` gives nothing write nothing over it, without being told to."""
    assert values(run_ranks(save_gathered, 2, str(tmp_path))) == [4, 0]
    loaded = Pair.from_pretrained(tmp_path, verify="full").state_dict()

    assert all(torch.equal(loaded[name], each) for name, each in Pair(PairConfig()).state_dict().items())


def test_the_config_has_the_dtype_of_what_is_saved(tmp_path: Path):
    """It is that of the values, also where FSDP has cast the parameters for a while."""
    values(run_ranks(save_between_forward_and_backward, 2, str(tmp_path)))
    (tmp_path / "config.json").unlink()  # the record in the weights is what counts

    assert {each.dtype for each in Pair.from_pretrained(tmp_path, dtype="auto").parameters()} == {torch.float32}
    assert PairConfig.from_pretrained(tmp_path).dtype == "float32"


def test_an_empty_state_dict_is_refused(tmp_path: Path):
    """A process that is alone does not write a checkpoint without any of the model's parameters."""
    Pair(PairConfig()).save_pretrained(tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    with pytest.raises(UnknownOptionError) as caught:
        Pair(PairConfig()).save_pretrained(tmp_path, state_dict={})

    assert str(caught.value).splitlines() == [
        "state_dict is empty, but Pair has parameters, of which the checkpoint would have none.",
        "  Leave it out to save the model's own, or save just the config with model.config.save_pretrained.",
    ]
    assert (tmp_path / "model.safetensors").read_bytes() == before


@pytest.mark.parametrize(("state", "odd"), [([1], "[1]"), ({5: torch.ones(1)}, "5")])
def test_a_state_dict_that_is_none_is_refused(state: Any, odd: str, tmp_path: Path):
    """What has no tensors under names is an unknown value of the option, and nothing is written."""
    with pytest.raises(UnknownOptionError) as caught:
        Pair(PairConfig()).save_pretrained(tmp_path / "new", state_dict=state)

    assert str(caught.value) == f"state_dict must be a mapping of tensors by their names, found {odd}."
    assert not (tmp_path / "new").exists()
