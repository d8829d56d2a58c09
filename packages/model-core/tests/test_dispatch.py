"""A model over several devices runs as on one: each part moves its inputs to where it is, and the answer back."""

import copy
import dataclasses
import pickle
from collections import OrderedDict, namedtuple
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel
from nameplate_model._dispatch import MoveInputs, MoveOutputs, dispatch, moved

CPU, META = torch.device("cpu"), torch.device("meta")
"""Two devices that every machine has. The second one computes shapes, which is enough to see where things are."""

gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


class NetConfig(PreTrainedConfig):
    """The width of a network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Two parts, and a parameter between them."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.stem = nn.Linear(config.width, config.width)
        self.head = nn.Sequential(nn.ReLU(), nn.Linear(config.width, 2))
        self.scale = nn.Parameter(torch.full((config.width,), 2.0))
        self.idle = nn.Identity()

    def forward(self, pixels: torch.Tensor, *, mask: torch.Tensor | None = None) -> dict[str, Any]:
        """Return the answer, the mask and something from the host, in containers."""
        answer = self.head(self.stem(pixels) * self.scale)
        return {"answer": answer, "rest": [mask, (torch.ones(1, device=CPU), "text")]}


def split() -> Net:
    """Return a model whose head is elsewhere."""
    model = Net(NetConfig()).eval()
    model.head.to(META)
    dispatch(model, {"": CPU, "head": META})
    return model


# ---- a model in parts


def test_inputs_are_moved_to_each_part():
    """The head gets its inputs where it is, and would not run otherwise; the answer is where it was asked."""
    model = split()
    places: list[torch.device] = []
    model.head[1].register_forward_hook(lambda _module, args, output: places.extend([args[0].device, output.device]))
    with pytest.raises(NotImplementedError, match="no data"):  # there is no way back from that device
        model(torch.ones(1, 4))

    assert places == [META, META]


def test_inputs_and_answers_go_to_one_place():
    """Inputs from elsewhere are moved, and every tensor of the answer, however deep, to the device of the first one."""
    model = Net(NetConfig()).to(META)
    dispatch(model, {"": META, "stem": META, "idle": CPU})
    answer = model(torch.ones(1, 4, device=META), mask=torch.ones(2, device=CPU))

    assert [answer["answer"].device, answer["rest"][0].device, answer["rest"][1][0].device] == [META] * 3
    assert answer["rest"][1][1] == "text"


def test_a_model_on_one_device_gets_no_hooks():
    """Where the map names one device only, the model is left as it is."""
    model = Net(NetConfig())
    dispatch(model, {"": CPU, "head": CPU})

    assert not any(module._forward_pre_hooks or module._forward_hooks for module in model.modules())


AGAIN = [copy.deepcopy, lambda hook: pickle.loads(pickle.dumps(hook))]


@pytest.mark.parametrize("again", AGAIN, ids=["copy", "pickle"])
def test_hooks_can_be_copied(again: Any):
    """A model in parts can be copied and pickled, because its hooks can."""
    model = split()
    hooks = [hook for module in model.modules() for hook in module._forward_pre_hooks.values()]
    copied = [again(hook) for hook in hooks]

    assert [(type(each), each.device) for each in copied] == [(MoveInputs, hook.device) for hook in hooks]
    assert type(again(*model._forward_hooks.values())) is MoveOutputs


@gpu
def test_a_loaded_model_in_parts_computes_the_same(tmp_path: Path):
    """A model over a GPU and the host gives what it gives on the host."""
    model = Net(NetConfig()).eval()
    model.save_pretrained(tmp_path)
    loaded = Net.from_pretrained(tmp_path, device_map={"": "cpu", "head": "cuda:0"})
    pixels = torch.rand(3, 4)

    assert {loaded.stem.weight.device.type, loaded.head[1].weight.device.type} == {"cpu", "cuda"}
    assert torch.allclose(loaded(pixels)["answer"], model(pixels)["answer"], atol=1e-5)


# ---- what is moved


Pair = namedtuple("Pair", ["one", "two"])  # noqa: PYI024 - what callers have


@dataclasses.dataclass
class Record:
    """An answer of a class of its own."""

    tensor: torch.Tensor


class Named(OrderedDict[str, Any]):
    """A dict of a class of its own, as Transformers' outputs are."""


def test_tensors_are_moved_wherever_they_are():
    """In lists, tuples, named ones and dicts of any class tensors are moved, and the containers keep their class."""
    here = torch.ones(2)
    value = {"a": [here, 1], "b": (here, None), "c": Pair(here, "x"), "d": Named(e=here)}
    there = moved(value, META)

    assert [there["a"][0].device, there["b"][0].device, there["c"].one.device, there["d"]["e"].device] == [META] * 4
    assert [type(there[key]) for key in "abcd"] == [list, tuple, Pair, Named]
    assert (there["a"][1], there["b"][1], there["c"].two) == (1, None, "x")


@pytest.mark.parametrize("value", [3, "text", None, [], (), {}, Record(torch.ones(1)), [torch.ones(1)], {"a": (1,)}])
def test_what_need_not_move_is_the_same_object(value: Any):
    """A value in which no tensor moves is returned as it is, and so is one of an unknown class."""
    assert moved(value, CPU) is value
