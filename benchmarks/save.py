"""How long it takes to save float32 tensors so that they are on the disk, against writing the same bytes.

Each sample is a fresh process that saves once into a folder that is not there, then twice more what has not changed:
the model itself, and the model that a load of the folder gives. The raw way writes the parameters one after the other
into one file. Every way flushes what it has written (fsync); Transformers does not by itself, so it is done for it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks.measure import Figures, compare
from benchmarks.report import Section, at_least, at_most, duration, noise
from benchmarks.stack import Shape

MIB = 1 << 20
SHAPE = Shape(64, 512 * MIB)
_SMALL = Shape(2, 2 * MIB)
_SHARDS = 8

_OURS = """
from benchmarks import saving
from benchmarks.stack import Shape
from benchmarks.stack_ours import build, load
{before}
saving.ours(build({small!r}), build({shape!r}), load, {folder!r}{options})
"""

_ONE_AFTER_THE_OTHER = """
from nameplate_model import _shards
assert _shards._MOST_WRITERS > 1
_shards._MOST_WRITERS = 1
"""

_THEIRS = """
from benchmarks import saving
from benchmarks.stack import Shape
from benchmarks.stack_theirs import build
saving.theirs(build({small!r}), build({shape!r}), {folder!r}{options})
"""

_RAW = """
from benchmarks import saving
from benchmarks.stack import Shape
from benchmarks.stack_ours import build
saving.raw(build({small!r}), build({shape!r}), {folder!r})
"""

_OF_RAW, _AT_ONCE, _AGAIN = 1.05, 1.3, 20.0

_NOTES = ("Transformers alone is what its users wait for: what it has written is then not yet on the disk.",)
_SHARD_NOTES = ("One after the other is the same code with one thread.",)
_AGAIN_NOTES = ("Loaded is a model whose parameters are still mapped from the files that it is saved into.",)


def measure(rounds: int) -> dict[str, Figures]:
    """Return the figures of every way to save."""
    with tempfile.TemporaryDirectory() as parent:
        sizes = {"small": _SMALL, "shape": SHAPE, "folder": str(Path(parent) / "checkpoint")}
        sharded = f", max_shard_size={SHAPE.size // _SHARDS}"
        programs = {
            "raw": _RAW.format(**sizes),
            "ours": _OURS.format(before="", options="", **sizes),
            "transformers": _THEIRS.format(options="", **sizes),
            "shards": _OURS.format(before="", options=sharded, **sizes),
            "one by one": _OURS.format(before=_ONE_AFTER_THE_OTHER, options=sharded, **sizes),
            "transformers, shards": _THEIRS.format(options=sharded, **sizes),
        }
        return compare(programs, rounds=rounds)


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    size = f"{SHAPE.size // MIB:,} MiB of float32"
    columns = ("with", "median", "of a raw write", "goal", "noise")
    yield Section(f"Saving {size} in one file", columns, list(_single_rows(figures)), _NOTES)
    columns = ("with", "median", "at once is faster", "goal", "noise")
    yield Section(f"Saving {size} in {_SHARDS} shards", columns, list(_shard_rows(figures)), _SHARD_NOTES)
    columns = ("what", "first", "again", "faster", "goal", "noise")
    yield Section(f"Saving {size} again, unchanged", columns, list(_again_rows(figures)), _AGAIN_NOTES)


def _single_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    raw = figures["raw"].median("save")
    ways = {
        "raw write": ("raw", "save"),
        "ours": ("ours", "save"),
        "transformers, then flushed": ("transformers", "save"),
        "transformers alone": ("transformers", "not flushed"),
    }
    for what, (side, name) in ways.items():
        value, spread = figures[side].median(name), noise(figures[side].spread(name))
        goal = at_most(value / raw, _OF_RAW) if side == "ours" else ""
        yield what, duration(value), f"{value / raw:.2f}x", goal, spread


def _shard_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    at_once = figures["shards"].median("save")
    ways = {
        "ours, at once": "shards",
        "ours, one after the other": "one by one",
        "transformers, then flushed": "transformers, shards",
    }
    for what, side in ways.items():
        value, spread = figures[side].median("save"), noise(figures[side].spread("save"))
        goal = at_least(value / at_once, _AT_ONCE) if side == "one by one" else ""
        yield what, duration(value), f"{value / at_once:.2f}x", goal, spread


def _again_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for side, what in {"ours": "one file", "shards": f"{_SHARDS} shards"}.items():
        for name, which in {"again": "the model", "loaded, again": "loaded"}.items():
            each = figures[side]
            first, again = each.median("save"), each.median(name)
            faster, spread = first / again, noise(each.spread(name))
            row = duration(first), duration(again), f"{faster:.1f}x", at_least(faster, _AGAIN), spread
            yield f"{what}, {which}", *row
