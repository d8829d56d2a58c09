"""Planning the load of a language model of 8 GB, of which there is nothing but headers, on meshes that need not exist.

Also what a phase costs in which a leader reads the answers of a thousand ranks: the store is torch's own, and the
answers of the others lie in it before.
"""

import json
import struct
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import distributed, nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel

RANKS = (1, 8, 64, 1000)
_HEIGHT = 8
"""Ranks that are tensor parallel, where that is combined with FSDP: as many as one machine has devices."""

_WEIGHTS, _INDEX = "model.safetensors", "model.safetensors.index.json"
_STYLES = {
    "model.embed": "rowwise",
    "head": "colwise_rep",
    **{f"model.layers.*.{name}": "colwise" for name in ("q", "k", "v", "gate", "up")},
    **{f"model.layers.*.{name}": "rowwise" for name in ("o", "down")},
}


class GiantConfig(PreTrainedConfig):
    """Sizes of a language model of 8 GB in bfloat16."""

    model_type = "giant"
    width: int = 4096
    wide: int = 11008
    layers: int = 18
    words: int = 64000


class Layer(nn.Module):
    """The weights of one layer."""

    def __init__(self, config: GiantConfig) -> None:
        super().__init__()
        width, wide = config.width, config.wide
        self.q, self.k, self.v, self.o = (nn.Linear(width, width, bias=False) for _ in range(4))
        self.gate, self.up = nn.Linear(width, wide, bias=False), nn.Linear(width, wide, bias=False)
        self.down = nn.Linear(wide, width, bias=False)
        self.before, self.after = nn.RMSNorm(width), nn.RMSNorm(width)


class Giant(PreTrainedModel):
    """The weights of a language model."""

    config_class = GiantConfig
    sharding_plan: ClassVar = _STYLES

    def __init__(self, config: GiantConfig) -> None:
        super().__init__(config)
        self.model = nn.Module()
        self.model.embed = nn.Embedding(config.words, config.width)
        self.model.layers = nn.ModuleList(Layer(config) for _ in range(config.layers))
        self.model.norm = nn.RMSNorm(config.width)
        self.head = nn.Linear(config.width, config.words, bias=False)


def write(folder: Path, most: int) -> None:
    """Write headers of a giant into *folder*, and files with as many bytes as they claim that take no room.

    Args:
        folder: Where to; made if needed.
        most: The most bytes of one file.
    """
    folder.mkdir(exist_ok=True)
    with torch.device("meta"):
        state = Giant(GiantConfig()).state_dict()
    files: list[dict[str, torch.Tensor]] = [{}]
    for name, tensor in state.items():
        if sum(2 * each.numel() for each in files[-1].values()) + 2 * tensor.numel() > most:
            files.append({})
        files[-1][name] = tensor
    names = (
        [_WEIGHTS]
        if len(files) == 1
        else [f"model-{n + 1:05}-of-{len(files):05}.safetensors" for n in range(len(files))]
    )
    for name, tensors in zip(names, files, strict=True):
        _write_file(folder / name, tensors)
    if len(files) > 1:
        places = {key: name for name, tensors in zip(names, files, strict=True) for key in tensors}
        (folder / _INDEX).write_text(json.dumps({"metadata": {}, "weight_map": places}))
    (folder / "config.json").write_text(json.dumps({"model_type": "giant"}))


def _write_file(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)


def layouts(ranks: int) -> Iterator[tuple[str, Mapping[str, int], object]]:
    """Yield each way to cut the giant for a number of ranks: its name, a mesh and a plan."""
    height = min(_HEIGHT, ranks)
    yield "fsdp", {"dp": ranks}, "fsdp"
    yield "tp", {"tp": ranks}, _STYLES
    yield "fsdp x tp", {"dp": ranks // height, "tp": height}, {"dp": "fsdp", "tp": _STYLES}


def plan(folder: str) -> None:
    """Print what ranks would read of a folder in each layout, and how long it takes to plan that."""
    found: dict[str, float] = {}
    Giant.plan_load(folder, device_mesh={"dp": 1}, plan="fsdp")  # imports what it needs
    for ranks in RANKS:
        for name, mesh, how in layouts(ranks):
            started = time.perf_counter()
            reads = Giant.plan_load(folder, device_mesh=mesh, plan=how).ranks
            assert reads is not None
            first = reads[0]
            planned = time.perf_counter()
            spread = reads.spread("bytes")
            ended = time.perf_counter()
            figures = {
                "median": spread.median,
                "most": spread.most,
                "reads": reads.spread("reads").most,
                "files": reads.spread("files").most,
                "replicated": first.replicated,
                "ratio": reads.ratio,
                "headers": reads.header_bytes,
                "header": sum(reads.headers),
                "stored": reads.stored,
                "one": 1000 * (planned - started),
                "each": 1000 * (ended - planned) / ranks,
            }
            found |= {f"{name} {ranks} {figure}": value for figure, value in figures.items()}
    print(json.dumps(found))


def phases() -> None:
    """Print how long the leader takes for the answers of others that are all there, for each number of ranks."""
    from nameplate_model._distributed.assembly import Assembly  # noqa: PLC0415 - not for what only plans
    from nameplate_model._distributed.board import Board  # noqa: PLC0415 - as above

    store = distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    answer: Any = {"what": "load", "step": "agree", "facts": {f"fact {number}": "x" * 64 for number in range(8)}}
    found: dict[str, float] = {}
    for ranks in RANKS:
        board = Board(store, f"{ranks}/")
        leader = Assembly(board, range(ranks), 0, 60.0)
        leader.begin()
        for rank in range(1, ranks):
            board.write(f"1/0/{rank}", json.dumps(answer))
        started = time.perf_counter()
        verdict = leader.hold(answer, last=False)
        found[str(ranks)] = 1000 * (time.perf_counter() - started)
        assert "error" not in verdict, verdict
    print(json.dumps(found))
