"""Timing loads onto a CUDA device inside a process that does nothing else, and what they take of device and host.

A load counts only if every weight arrived, which is looked at outside of what is timed. The first one of each way
warms up: it starts CUDA's own libraries and pins memory.
"""

import gc
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import torch
from safetensors.torch import load_file as load_tensors
from torch import nn

from benchmarks.gpu import BUFFERS, THREADS
from benchmarks.memory import peak, start_peak
from benchmarks.values import checksum
from nameplate_model._engines.ring import Ring
from nameplate_model._engines.source import Range
from nameplate_model._files import WeightFile

Loaded = nn.Module | list[torch.Tensor]
"""What a load gives: a model, or the tensors of one in the order of its layers."""

Load = Callable[[str], Loaded]
"""Loads what is in a folder onto the device."""

_LOADS = 3
_COPIES = 8
_COPIED = 1 << 30
_GB = 1e9
_MIB = 1 << 20
_WEIGHTS = "model.safetensors"
_CUDA = torch.device("cuda", 0)


def limit() -> None:
    """Print how many GB a second get from pinned memory to the device."""
    host = torch.ones(_COPIED, dtype=torch.uint8, pin_memory=True)
    there = torch.empty(_COPIED, dtype=torch.uint8, device=_CUDA)
    there.copy_(host, non_blocking=True)
    seconds = _seconds(lambda: [there.copy_(host, non_blocking=True) for _ in range(_COPIES)])
    print(_COPIES * _COPIED / seconds / _GB)


def main(way: "Load | Mapping[str, Load]", folders: Mapping[str, tuple[str, float]]) -> None:
    """Time a way to load, or several, and print the answers.

    Args:
        way: The way, or several by name, of which only the rates are told.
        folders: By name, the folder of a checkpoint and the checksum of its weights.
    """
    answers: dict[str, float] = {}
    for name, (folder, expected) in folders.items():
        for kind, load in (way if isinstance(way, Mapping) else {"rate": way}).items():
            answers |= {f"{name}: {figure}": value for figure, value in _looked_at(load, folder, expected).items()}
            size = (Path(folder) / _WEIGHTS).stat().st_size
            seconds = median(_seconds(lambda load=load, folder=folder: load(folder)) for _ in range(_LOADS))
            answers[f"{name}: {kind}"] = size / seconds / _GB
    print(json.dumps(answers))


def save(load: Load, folder: str) -> None:
    """Print at what rate a model on the device is saved, and how far the memory of the host rises meanwhile."""
    model: Any = load(folder)
    size = (Path(folder) / _WEIGHTS).stat().st_size
    with tempfile.TemporaryDirectory(dir=Path(folder).parent) as target:
        before = start_peak()
        seconds = _seconds(lambda: model.save_pretrained(target))
        print(json.dumps({"rate": size / seconds / _GB, "host": peak() - before}))


# ---- the ways


def ours(folder: str) -> Loaded:
    """Load as anybody would."""
    return _stack(folder, "auto")


def mapped(folder: str) -> Loaded:
    """Load through the page cache, one tensor at a time."""
    return _stack(folder, "mapped")


def prefetch(folder: str) -> Loaded:
    """Load with the engine of safetensors."""
    return _stack(folder, "prefetch")


def load_file(folder: str) -> Loaded:
    """Load with the plain function of safetensors."""
    tensors = load_tensors(Path(folder) / _WEIGHTS, device=str(_CUDA))
    return [tensors[f"layers.{place}.weight"] for place in range(len(tensors))]


def transformers(folder: str) -> Loaded:
    """Load with Transformers."""
    from benchmarks.stack_theirs import load  # noqa: PLC0415 - only where it is measured

    return load(folder, device_map=str(_CUDA))


def _stack(folder: str, engine: str) -> Loaded:
    from benchmarks.stack_ours import load  # noqa: PLC0415 - only where it is measured

    return load(folder, device=_CUDA, engine=engine)


def _ring(folder: str, threads: int, buffer: int) -> Loaded:
    file = WeightFile(Path(folder) / _WEIGHTS)
    stored = dict(file.tensors)
    ranges = [Range(each, each.dtype) for each in (stored[f"layers.{place}.weight"] for place in range(len(stored)))]
    try:
        return Ring(_CUDA, threads, buffer).bring(ranges)
    finally:
        file.close()


ring: Mapping[str, Load] = {
    f"{threads} x {buffer // _MIB}": lambda folder, threads=threads, buffer=buffer: _ring(folder, threads, buffer)
    for threads in THREADS
    for buffer in BUFFERS
}
"""Loads with every size of the ring."""


# ---- figures


def _seconds(operation: Callable[[], object]) -> float:
    """Return how long it takes until the device is done; what the operation gives is thrown away after that."""
    gc.collect()
    torch.cuda.synchronize()
    started = time.perf_counter()
    result = operation()
    torch.cuda.synchronize()
    taken = time.perf_counter() - started
    del result
    return taken


def _looked_at(load: Load, folder: str, expected: float) -> dict[str, float]:
    """Load, and return the peak of the device as a share of the weights, and the bytes of pinned memory."""
    gc.collect()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    loaded = load(folder)
    torch.cuda.synchronize()
    highest = torch.cuda.max_memory_allocated()
    tensors = list(loaded.parameters()) if isinstance(loaded, nn.Module) else loaded
    assert checksum(tensors) == expected, f"{folder} holds other weights"
    size = sum(each.nbytes for each in tensors)
    pinned = [each for name, each in torch.cuda.host_memory_stats().items() if name.endswith("bytes.current")]
    return {"device": highest / size, "pinned": max(pinned, default=0)}
