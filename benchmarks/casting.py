"""One load into memory of its own, timed and watched; a program of its own, which `cast` starts.

Only the first load of a process takes memory that nobody has used before, so each process times one. A small
checkpoint, loaded in the same way, warms up.
"""

import json
import mmap
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.memory import peak, start_peak
from benchmarks.values import checksum

_PIECE = 16 << 20


def main(load: Callable[[str], nn.Module], small: str, folder: str, dtype: torch.dtype, expected: float) -> None:
    """Load and print the milliseconds, and how far the memory of the process rose per byte of the model."""
    load(small)
    before = start_peak()
    started = time.perf_counter()
    model = load(folder)
    taken = time.perf_counter() - started
    risen = peak() - before
    weights = list(model.parameters())
    assert all(weight.dtype == dtype for weight in weights)
    assert checksum(weights) == expected, f"{folder} holds other weights"
    size = sum(weight.numel() * weight.element_size() for weight in weights)
    print(json.dumps({"load": 1000 * taken, "peak": risen / size}))


def write(model: Any, folder: str) -> None:
    """Save a model and print the checksums that its weights have as they are and as bfloat16."""
    model.save_pretrained(folder)
    halves = (weight.to(torch.bfloat16) for weight in model.parameters())
    print(json.dumps({"float32": checksum(model.parameters()), "bfloat16": checksum(halves)}))


def bare(file: str) -> None:
    """Read a file into fresh memory, by one thread and by one for each core, and print the faster time."""
    taken = [1000 * _read(file, threads) for threads in (1, os.cpu_count() or 1)]
    print(json.dumps({"load": min(taken)}))


def _read(file: str, threads: int) -> float:
    with Path(file).open("rb") as opened, ThreadPoolExecutor(threads) as pool:
        size = os.fstat(opened.fileno()).st_size
        memory = memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))

        def read(start: int) -> int:
            return os.preadv(opened.fileno(), [memory[start : start + _PIECE]], start)

        started = time.perf_counter()
        assert sum(pool.map(read, range(0, size, _PIECE))) == size
        return time.perf_counter() - started
