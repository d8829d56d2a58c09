"""The engine of the safetensors library itself, from its version 0.9 on: whole rows of tensors, to CUDA devices.

What it does not do (casts, boxes that are no whole rows, tensors off the grid of their elements) goes through the ring.
"""

from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import safetensors
import torch

from nameplate_config.wording import sentences
from nameplate_model._engines.ring import Ring
from nameplate_model._engines.source import Range
from nameplate_model._files import WeightFile
from nameplate_model.errors import CheckpointError

_THREADS = 8

_Plan = dict[str, tuple[int, slice | None]]
"""Which tensors of a file are wanted, by name: the place of each among all that is wanted, and its rows."""


def prefetch_problem() -> str:
    """Return why the installed safetensors cannot do it, or nothing."""
    if hasattr(safetensors.safe_open, "prefetch"):
        return ""
    return f"needs safetensors 0.9 or newer, found {version('safetensors')}"


class Prefetch:
    """Brings tensors with `safetensors.safe_open.prefetch`.

    Attributes:
        device: The CUDA device that they go to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def bring(self, ranges: Sequence[Range]) -> list[torch.Tensor]:
        """Return what is wanted: see `WeightSource`."""
        plans: dict[Path, tuple[WeightFile, _Plan]] = {}
        others: list[int] = []
        for place, each in enumerate(ranges):
            file = each.stored.file
            _, plan = plans.setdefault(file.path, (file, {}))
            rows = rows_of(each)
            if rows is None or each.stored.name in plan:
                others.append(place)
            else:
                plan[each.stored.name] = place, rows[0]
        found: dict[int, torch.Tensor] = {}
        if others:
            found.update(zip(others, Ring(self.device).bring([ranges[place] for place in others]), strict=True))
        for file, plan in plans.values():
            found.update(self._loaded(file, plan))
        return [found[place] for place in range(len(ranges))]

    def _loaded(self, file: WeightFile, plan: _Plan) -> Iterator[tuple[int, torch.Tensor]]:
        if not plan:
            return
        opening: Any = safetensors.safe_open
        rows = {name: wanted for name, (_, wanted) in plan.items()}
        try:
            torch.cuda.init()  # it uses the runtime that torch has loaded
            device = str(
                torch.device("cuda", torch.cuda.current_device() if self.device.index is None else self.device.index)
            )
            with opening(str(file.path), framework="pt", device=device) as opened:
                file.check_unchanged()
                with opened.prefetch(rows, device=device, threads=_THREADS) as loader:
                    for name, tensor in loader:
                        yield plan[name][0], tensor
        except (OSError, RuntimeError, ValueError, safetensors.SafetensorError) as error:
            if isinstance(error, CheckpointError):
                raise
            message = f"safetensors could not bring {file.where} to {self.device}: {error}."
            raise CheckpointError(sentences(message, "Pass engine='ring' or engine='mapped' instead.")) from error


def rows_of(wanted: Range) -> tuple[slice | None] | None:
    """Return the rows of a tensor that are wanted, None for all of them; nothing if it is not rows that are wanted."""
    stored = wanted.stored
    entry = stored.file.header.entries.get(stored.name)
    if entry is None or wanted.box is not None or wanted.dtype != stored.dtype or not stored.nbytes:
        return None
    if entry.begin % stored.dtype.itemsize:
        return None
    if (entry.begin, entry.end, entry.shape) == (stored.begin, stored.end, stored.shape):
        return (None,)
    if len(entry.shape) != len(stored.shape) or entry.shape[1:] != stored.shape[1:]:
        return None
    row = (entry.end - entry.begin) // entry.shape[0]
    first = (stored.begin - entry.begin) // row
    return (slice(first, first + stored.shape[0]),)
