"""How long it takes to load float32 tensors as bfloat16, or into memory of their own, and how far memory rises.

Each sample is a fresh process that loads once, from a folder that is in the page cache: after that, memory would not
be fresh. Both sides load the same folder. The bare way reads the file's bytes into fresh memory and makes no tensors.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_least, at_most, duration, noise
from benchmarks.stack import Shape

MIB = 1 << 20
SHAPE = Shape(64, 512 * MIB)
_SMALL = Shape(2, 2 * MIB)

_LOAD = """
import torch
from functools import partial
from benchmarks.{side} import load
from benchmarks.casting import main
main(partial(load, {option}), {small!r}, {folder!r}, torch.{dtype}, {expected!r})
"""

_BARE = """
from benchmarks.casting import bare
bare({file!r})
"""

_WRITE = """
from benchmarks.casting import write
from benchmarks.stack import Shape
from benchmarks.stack_ours import build
write(build({shape!r}), {folder!r})
"""

_TIME, _PEAK, _RATE = 1.0, 1.10, 0.9

_CAST_NOTES = ("Peak is how far resident memory rose, mapped pages included, per byte of the model.",)
_COPY_NOTES = ("The bare way is the faster of one thread and as many as there are cores.",)


def measure(rounds: int) -> dict[str, Figures]:
    """Write a checkpoint, then return the figures of loading it."""
    with tempfile.TemporaryDirectory() as parent:
        small, folder = (str(Path(parent) / name) for name in ("small", "large"))
        run(_WRITE.format(folder=small, shape=_SMALL))
        sums = run(_WRITE.format(folder=folder, shape=SHAPE)).answers

        def program(side: str, dtype: str, option: str) -> str:
            expected = sums[dtype]
            return _LOAD.format(side=side, option=option, small=small, folder=folder, dtype=dtype, expected=expected)

        programs = {
            "ours": program("stack_ours", "bfloat16", "dtype=torch.bfloat16"),
            "transformers": program("stack_theirs", "bfloat16", "dtype=torch.bfloat16"),
            "copy": program("stack_ours", "float32", ""),
            "bare": _BARE.format(file=str(Path(folder) / "model.safetensors")),
        }
        return compare(programs, rounds=rounds)


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    size = f"{SHAPE.size // MIB:,} MiB of float32"
    columns = ("with", "median", "of Transformers", "goal", "peak", "goal", "noise")
    yield Section(f"Loading {size} as bfloat16", columns, list(_cast_rows(figures)), _CAST_NOTES)
    columns = ("with", "median", "GB/s", "of the bare rate", "goal", "peak", "noise")
    yield Section(f"Loading {size} into memory of its own", columns, list(_copy_rows(figures)), _COPY_NOTES)


def _cast_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    theirs = figures["transformers"].median("load")
    for side in ("ours", "transformers"):
        each = figures[side]
        value, peak = each.median("load"), each.median("peak")
        goals = (at_most(value / theirs, _TIME), at_most(peak, _PEAK)) if side == "ours" else ("", "")
        spread = noise(each.spread("load"))
        yield side, duration(value), f"{value / theirs:.2f}x", goals[0], f"{peak:.2f}x", goals[1], spread


def _copy_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    ours, bare = figures["copy"], figures["bare"]
    mine, other = ours.median("load"), bare.median("load")
    goal, peak = at_least(other / mine, _RATE), f"{ours.median('peak'):.2f}x"
    spread = noise(ours.spread("load"))
    yield 'memory="copy"', duration(mine), _rate(mine), f"{other / mine:.2f}x", goal, peak, spread
    yield "bare read", duration(other), _rate(other), "", "", "", noise(bare.spread("load"))


def _rate(milliseconds: float) -> str:
    return f"{SHAPE.size / milliseconds / 1e6:.2f}"
