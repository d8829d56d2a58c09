"""From places in files to tensors in memory: each device gets its tensors from the engine that suits it.

What is no place in a file hands itself out. Which tensor goes where is decided elsewhere.
"""

from collections.abc import Sequence

import torch

from nameplate_model._engines.choice import source_for
from nameplate_model._engines.source import CPU, Engine, Memory, Range, Want
from nameplate_model._files import Stored

__all__ = ["CPU", "Engine", "Memory", "Want", "fetch"]


def fetch(wants: Sequence[Want], memory: Memory, engine: Engine = "auto") -> list[torch.Tensor]:
    """Return the wanted tensors, in order.

    Args:
        wants: What is wanted.
        memory: ``"mmap"`` maps whatever is aligned to its elements, ``"copy"`` nothing. ``"auto"`` also reads small
            files and those behind a network.
        engine: Who brings them to their devices.

    Raises:
        CorruptFileError: If a file has changed or cannot be read any more.
    """
    tensors: dict[int, torch.Tensor] = {}
    ranges: dict[torch.device, dict[int, Range]] = {}
    for place, want in enumerate(wants):
        stored = want.stored
        if isinstance(stored, Stored):
            ranges.setdefault(want.device, {})[place] = Range.of(stored, want.dtype, want.box)
        else:
            tensors[place] = stored.take(want.box).to(want.device, want.dtype)
    for device, wanted in ranges.items():
        found = source_for(device, list(wanted.values()), memory, engine).bring(list(wanted.values()))
        tensors.update(zip(wanted, found, strict=True))
    return [tensors[place] for place in range(len(wants))]
