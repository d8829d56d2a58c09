"""Elasticity: what any number of ranks has saved in any layout, any other number loads in any other, bit for bit.

Ten worlds in all: one of each size saves, in every layout, and one of each size loads what all of them have saved.
"""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from nameplate_config import PreTrainedConfig
from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import PreTrainedModel

WORLDS = (1, 2, 3, 4, 8)
TENSOR_PARALLEL = {"blocks.*.up": "colwise", "blocks.*.down": "rowwise", "emb": Shard(1), "head": Shard(1)}
HYBRID = {1: (1, 1), 2: (2, 1), 3: (1, 3), 4: (2, 2), 8: (2, 4)}
BOTH = {1: (1, 1), 2: (1, 2), 3: (3, 1), 4: (2, 2), 8: (4, 2)}


class NetConfig(PreTrainedConfig):
    """Sizes of a small network, which most numbers of ranks do not divide."""

    model_type = "net_elastic"

    width: int = 9
    inner: int = 12
    classes: int = 11


class Block(nn.Module):
    """Two layers that a tensor parallel plan cuts in turn."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.inner)
        self.down = nn.Linear(config.inner, config.width, dtype=torch.bfloat16)


class Net(PreTrainedModel):
    """An embedding tied to the head, blocks of two dtypes, a frozen layer, and buffers of both kinds."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.emb = nn.Embedding(config.classes, config.width)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(2)))
        self.frozen = nn.Linear(config.width, 2, dtype=torch.float16).requires_grad_(requires_grad=False)
        self.norm = nn.BatchNorm1d(config.width)
        self.conv = nn.Conv1d(config.width, 5, 3)
        self.head = nn.Linear(config.width, config.classes, bias=False)
        self.head.weight = self.emb.weight
        self.register_buffer("steps", torch.arange(7.0) / 3, persistent=False)


def layouts(world: int) -> dict[str, dict[str, Any]]:
    """Return every way to cut the network for a number of ranks, as arguments of a load."""
    flat = init_device_mesh("cpu", (world,), mesh_dim_names=("tp",))
    hybrid = init_device_mesh("cpu", HYBRID[world], mesh_dim_names=("replicate", "shard"))
    both = init_device_mesh("cpu", BOTH[world], mesh_dim_names=("dp", "tp"))
    return {
        "fsdp": {"device_mesh": flat, "plan": "fsdp"},
        "tp": {"device_mesh": flat, "plan": TENSOR_PARALLEL},
        "hsdp": {"device_mesh": hybrid, "plan": "fsdp"},
        "both": {"device_mesh": both, "plan": {"dp": "fsdp", "tp": TENSOR_PARALLEL}},
    }


def told(model: nn.Module) -> dict[str, str]:
    """Return what tells a model from any other: all of every tensor, what is trained, and what is tied."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers()]
    first: dict[int, str] = {}
    found: dict[str, str] = {}
    for name, tensor in named:
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        data = bytes(whole.detach().contiguous().view(-1).view(torch.uint8).tolist())
        kind = f"{whole.dtype} {tuple(whole.shape)} {tensor.requires_grad} {first.setdefault(id(tensor), name)}"
        found[name] = f"{kind} {sha256(data).hexdigest()}"
    return found


def save_all(_rank: int, world: int, origin: str, folder: str) -> None:
    """Load one checkpoint in every layout, and save each."""
    for name, layout in layouts(world).items():
        Net.from_pretrained(origin, **layout).save_pretrained(f"{folder}/{world}-{name}")


def load_all(_rank: int, world: int, folder: str) -> dict[str, dict[str, str]]:
    """Load what each number of ranks has saved, in every layout."""
    found: dict[str, dict[str, str]] = {}
    ways = layouts(world)
    for shift, saved in enumerate(WORLDS):
        for place, name in enumerate(ways):
            other = list(ways)[(place + shift) % len(ways)]
            found[f"{saved}-{other} as {name}"] = told(Net.from_pretrained(f"{folder}/{saved}-{other}", **ways[name]))
    return found


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, Path]:
    """Return a model in one process whose tensors differ from what any construction gives, and where it is saved."""
    torch.manual_seed(8)
    model, folder = Net(NetConfig()), tmp_path_factory.mktemp("origin")
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.state_dict().values()):
            tensor.copy_(torch.randn(tensor.shape) * 100)
    model.save_pretrained(folder)
    return model, folder


@pytest.fixture(scope="module")
def saved(origin: tuple[Net, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what every number of ranks has saved in every layout."""
    folder = tmp_path_factory.mktemp("saved")
    for world in WORLDS:
        values(run_ranks(save_all, world, world, str(origin[1]), str(folder)))
    return folder


def test_every_number_of_ranks_saves_the_same_bytes_in_every_layout(saved: Path):
    """How many ranks there were, and in which layout, cannot be told from a checkpoint."""
    contents = {path.name: (path / "model.safetensors").read_bytes() for path in saved.iterdir()}
    assert len(contents) == 4 * len(WORLDS)
    assert [name for name, content in contents.items() if content != contents["1-fsdp"]] == []


@pytest.mark.parametrize("world", WORLDS)
def test_every_number_of_ranks_loads_what_any_other_has_saved(world: int, saved: Path, origin: tuple[Net, Path]):
    """In every layout, each tensor of all ranks together is that of one process; ties and frozen ones come back."""
    expected = told(origin[0])
    for found in values(run_ranks(load_all, world, world, str(saved))):
        wrong = {way: [key for key in expected if each.get(key) != expected[key]] for way, each in found.items()}
        assert {way: keys for way, keys in wrong.items() if keys} == {}
        assert len(found) == 4 * len(WORLDS)


def test_one_process_loads_what_ranks_have_saved(saved: Path, origin: tuple[Net, Path]):
    """Without a mesh, each folder gives the whole model."""
    expected = told(origin[0])
    assert [path.name for path in saved.iterdir() if told(Net.from_pretrained(path)) != expected] == []
