"""Ways to load a stack onto two ranks; each is a job of its own, which `ranks` starts.

Every way begins with what its users begin with: ours with a folder, torch's reader and the scattering with a model that
is there, cut, in memory of its own. It ends when each rank has its parts. Then every page of them is read.
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_model_state_dict
from torch.distributed.fsdp import fully_shard

from benchmarks.ranks_work import bytes_of, cut_stack, marks, mesh_of_all, milliseconds, pages_of, parts_of, watched
from benchmarks.stack_ours import Stack, StackConfig

Way = Callable[[Any, Path, str], Any]


def mapped(_model: Any, source: Path, cut: str) -> Any:
    """Load with `from_pretrained`, which maps what lies in one piece."""
    return cut_stack(source, cut)


def copied(_model: Any, source: Path, cut: str) -> Any:
    """Load with `from_pretrained` into memory of its own."""
    return cut_stack(source, cut, memory="copy")


def reader(model: Any, source: Path, _cut: str) -> Any:
    """Load with the reader of torch's distributed checkpoints."""
    checkpoint.load(get_model_state_dict(model), storage_reader=checkpoint.HuggingFaceStorageReader(str(source)))
    return model


def scatter(model: Any, source: Path, _cut: str) -> Any:
    """Let the first rank read all and send each rank its part."""
    ranks = distributed.get_world_size()
    names = [name for name, _ in model.named_parameters()]
    with safe_open(source / "model.safetensors", "pt") as file:
        for name, part in zip(names, parts_of(model), strict=True):
            whole = None if distributed.get_rank() else list(file.get_tensor(name).chunk(ranks))
            distributed.scatter(part.detach(), whole)
    return model


WAYS: Mapping[str, Way] = {each.__name__: each for each in (mapped, copied, reader, scatter)}
_FILL = (reader, scatter)


def timed(_rank: int, way: str, cut: str, sources: Mapping[str, str]) -> dict[str, float]:
    """Load in one way, and return how long it took this rank to load and to read what it got, in milliseconds."""
    load = WAYS[way]
    small, large = (Path(sources[size]) for size in ("small", "large"))
    load(_room(load, small), small, cut)
    model = _room(load, large)
    found: list[Any] = []
    answers = {"load": milliseconds(lambda: found.append(load(model, large, cut)))}
    answers["read"] = milliseconds(lambda: marks(found[0]))
    expected = marks(cut_stack(large, cut, memory="copy"))
    assert marks(found[0]) == expected, f"{way} got other weights"
    return answers


def counted(_rank: int, way: str, cut: str, sources: Mapping[str, str]) -> dict[str, float]:
    """Load in one way what is not in the page cache, read it, and return what that took, in bytes."""
    load, large = WAYS[way], Path(sources["large"])
    load(_room(load, Path(sources["small"])), Path(sources["small"]), cut)
    model = _room(load, large)
    found: list[Any] = []

    def load_and_read() -> None:
        found.append(load(model, large, cut))
        marks(found[0])

    _forget(large)
    answers = watched(load_and_read)
    return {**answers, "pages": pages_of(found[0]), "share": bytes_of(found[0])}


def _forget(source: Path) -> None:
    """Let the system forget what it has of a checkpoint in memory; it does so with what is on the disk."""
    for file in () if distributed.get_rank() else source.glob("*.safetensors"):
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _room(load: Way, source: Path) -> Any:
    """Return the model that a way fills, in memory that was not touched yet, or None if it makes its own."""
    if load not in _FILL:
        return None
    with torch.device("meta"):
        model = Stack(StackConfig.from_pretrained(source))
    for layer in model.layers:
        fully_shard(layer, mesh=mesh_of_all())
    fully_shard(model, mesh=mesh_of_all())
    return model.to_empty(device="cpu")
