"""Timing loads inside a process that does nothing else, and looking at what they leave in memory.

A program hands in its way to load and the checkpoints. The first load of each warms up and is the one whose memory
is looked at and whose weights are read; the others are timed, without the end of the model before.
"""

import gc
import json
import time
from collections.abc import Callable, Sequence
from statistics import median

import torch
from torch import nn

from benchmarks.memory import private
from benchmarks.values import checksum

Load = Callable[[str], nn.Module]
"""Loads the model in a folder."""

_LOADS = 5


def main(load: Load, checkpoints: Sequence[tuple[str, str, float]]) -> None:
    """Time a way to load and print the answers.

    Args:
        load: The way.
        checkpoints: The name of each, its folder, and the checksum of its weights.
    """
    torch.set_num_threads(1)
    answers: dict[str, float] = {}
    for name, folder, expected in checkpoints:
        answers |= {f"{name}: {figure}": value for figure, value in _looked_at(load, folder, expected).items()}
        answers[f"{name}: load"] = median(milliseconds(load, folder) for _ in range(_LOADS))
    print(json.dumps(answers))


def milliseconds(load: Load, folder: str) -> float:
    """Return how long one load takes; the model is thrown away after that.

    The collector of garbage is left alone: it runs when it would run elsewhere.
    """
    started = time.perf_counter()
    model = load(folder)
    taken = time.perf_counter() - started
    del model
    return 1000 * taken


def _looked_at(load: Load, folder: str, expected: float) -> dict[str, float]:
    """Load, and return how private memory grew and how long it takes to read every page of the weights."""
    gc.collect()
    before = private()
    model = load(folder)
    grown = {figure: after - before[figure] for figure, after in private().items()}
    started = time.perf_counter()
    assert checksum(model.parameters()) == expected, f"{folder} holds other weights"
    return {"read": 1000 * (time.perf_counter() - started), **grown}
