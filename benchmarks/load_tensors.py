"""How long it takes to load float32 tensors from a local folder that is in the page cache, many small or few large.

The model is a list of equal linear layers, the same in ours and in Transformers, and both load the same folder, which
ours has written. The floor is `stack_floor`: nothing but building, mapping and putting into place.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_least, at_most, duration, noise
from benchmarks.stack import Shape

MIB = 1 << 20
SMALL, LARGE, HUGE = 2 * MIB, 512 * MIB, 2048 * MIB
COUNTS = (2, 64, 256, 1024)

_SHARDED = 256
"""How many tensors the checkpoints have that are written in another way."""

_SHARDS = 8
_SIDES = {"ours": "stack_ours", "floor": "stack_floor", "transformers": "stack_theirs"}

_PROGRAM = """
from benchmarks.{side} import load
from benchmarks.loading import main
main(load, {checkpoints!r})
"""

_WRITE = """
from benchmarks.{side} import write
from benchmarks.stack import Shape
print(write({folder!r}, {shape!r}, **{options!r}))
"""

_FASTER, _OF_FLOOR, _OF_SMALL, _GROWN = 5.0, 1.5, 1.2, 0.01

_NOTES = (
    "Ours returns a full report of every key; the floor builds without running an initialiser, maps each file once",
    "and assigns. Each figure is a median of five loads after one that warms up, in each of the processes.",
    "One thread; Transformers draws no progress bar.",
)
_SIZE_NOTES = ("Growth is of the largest size against the smallest.",)
_MEMORY_NOTES = (
    "Private memory is what a load leaves that is not in the page cache.",
    "Reading looks at every page of the weights once, after the load: nobody gets a fast load for nothing.",
)


@dataclass(frozen=True, slots=True)
class Case:
    """A checkpoint.

    Attributes:
        shape: Its size.
        how: How it was written, if not as one file of ours.
        side: Who writes it.
        options: What `save_pretrained` is told.
    """

    shape: Shape
    how: str = ""
    side: str = "stack_ours"
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Return how the tables call it."""
        size = f"{self.shape.size // MIB:,} MiB in {self.shape.tensors:,}"
        return f"{size}, {self.how}" if self.how else size


def cases() -> list[Case]:
    """Return every checkpoint; only this one knows them all."""
    single = [Case(Shape(count, size)) for size in (SMALL, LARGE, HUGE) for count in COUNTS]
    other = Shape(_SHARDED, LARGE)
    sharded = Case(other, f"{_SHARDS} shards", options={"max_shard_size": LARGE // _SHARDS})
    return [*single, sharded, Case(other, "theirs", side="stack_theirs")]


def measure(rounds: int) -> dict[str, Figures]:
    """Write the checkpoints that the machine has room for, then return the figures of loading them."""
    with tempfile.TemporaryDirectory() as folder:
        checkpoints = [_written(case, Path(folder) / str(place)) for place, case in enumerate(_fitting(folder))]
        programs = {name: _PROGRAM.format(side=side, checkpoints=checkpoints) for name, side in _SIDES.items()}
        return compare(programs, rounds=rounds)


def _fitting(folder: str) -> list[Case]:
    """Return the cases without the huge ones, unless disk and page cache can hold all of them twice."""
    everything = cases()
    needed = 2 * sum(case.shape.size for case in everything)
    if min(shutil.disk_usage(folder).free, _available()) >= needed:
        return everything
    return [case for case in everything if case.shape.size < HUGE]


def _available() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) << 10


def _written(case: Case, folder: Path) -> tuple[str, str, float]:
    """Write a checkpoint and return its name, folder and checksum."""
    program = _WRITE.format(side=case.side, folder=str(folder), shape=case.shape, options=dict(case.options))
    return case.name, str(folder), run(program).answer


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    measured = [case for case in cases() if figures["ours"].answered(f"{case.name}: load")]
    columns = ("float32 tensors", "ours", "floor", "Transformers", "of the floor", "goal", "faster", "goal", "noise")
    rows = [_time_row(figures, case) for case in measured]
    yield Section("Loading tensors from a warm local folder", columns, rows, _NOTES)
    columns = ("tensors", *(f"{size // MIB:,} MiB" for size in (SMALL, LARGE, HUGE)), "growth", "goal", "Transformers'")
    yield Section("Loading more bytes in as many tensors", columns, list(_size_rows(figures)), _SIZE_NOTES)
    columns = ("float32 tensors", "ours, private", "share", "goal", "Transformers'", "ours, read", "Transformers'")
    rows = [_memory_row(figures, case) for case in measured if case.shape.size >= LARGE]
    yield Section("Memory that a load leaves", columns, rows, _MEMORY_NOTES)


def _time_row(figures: Mapping[str, Figures], case: Case) -> tuple[str, ...]:
    name = f"{case.name}: load"
    ours, floor, theirs = (figures[side].median(name) for side in _SIDES)
    return (
        case.name,
        *(duration(each) for each in (ours, floor, theirs)),
        f"{ours / floor:.2f}x",
        at_most(ours / floor, _OF_FLOOR),
        f"{theirs / ours:.1f}x",
        at_least(theirs / ours, _FASTER),
        noise(max(each.spread(name) for each in figures.values())),
    )


def _size_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for count in COUNTS:
        names = [f"{Case(Shape(count, size)).name}: load" for size in (SMALL, LARGE, HUGE)]
        ours, theirs = (
            [figures[side].median(name) for name in names if figures[side].answered(name)]
            for side in ("ours", "transformers")
        )
        cells = [duration(each) for each in ours] + ["not tried"] * (len(names) - len(ours))
        growth = ours[-1] / ours[0]
        yield f"{count:,}", *cells, f"{growth:.2f}x", at_most(growth, _OF_SMALL), f"{theirs[-1] / theirs[0]:.2f}x"


def _memory_row(figures: Mapping[str, Figures], case: Case) -> tuple[str, ...]:
    ours, theirs = figures["ours"], figures["transformers"]
    mine, other = (
        max(each.median(f"{case.name}: {kind}") for kind in ("anonymous", "dirty")) for each in (ours, theirs)
    )
    read = [duration(each.median(f"{case.name}: read")) for each in (ours, theirs)]
    share = mine / case.shape.size
    return (
        case.name,
        f"{mine / MIB:.1f} MiB",
        f"{share:.2%}",
        at_most(100 * share, 100 * _GROWN, "%"),
        f"{other / MIB:.1f} MiB",
        *read,
    )
