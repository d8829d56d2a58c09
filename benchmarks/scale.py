"""What happens to a load at a thousand ranks, worked out from the headers of a checkpoint of 8 GB.

Bytes, reads and files are those of a plan, so there is no noise in them; times are measured. No rank is started, and
of the checkpoint there is nothing but headers.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

from benchmarks import scale_plan
from benchmarks.measure import Figures, compare
from benchmarks.report import Section, duration, noise

_FILES = {"one file": 1 << 40, "files of 4 GB": 4_000_000_000}
_PLAN = """
from benchmarks.scale_plan import plan
plan({folder!r})
"""
_PHASES = """
from benchmarks.scale_plan import phases
phases()
"""
_NOTES = (
    "Read are the parts of one rank: the median, and the most of any.",
    "Runs are the contiguous ranges in which these lie, each tensor by itself, of the rank with the most.",
    "Copies are bytes that a rank keeps and others, too. All is what the ranks read together, in checkpoints.",
    "Every rank reads the headers of all files.",
)

Measured = Mapping[str, Figures]


def measure(rounds: int) -> dict[str, Figures]:
    """Return the figures of the checkpoint in one file and in several, and of a phase."""
    with tempfile.TemporaryDirectory() as parent:
        programs = {"phases": _PHASES}
        for number, (name, most) in enumerate(_FILES.items()):
            folder = Path(parent) / str(number)
            scale_plan.write(folder, most)
            programs[name] = _PLAN.format(folder=str(folder))
        return compare(programs, rounds=rounds)


def sections(figures: Measured) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("layout", "ranks", "read, MB", "most, MB", "runs", "files", "copies, MB", "all", "headers of all, MB")
    for files in _FILES:
        found = figures[files]
        size = found.median("fsdp 1 stored")
        yield Section(f"A load of {size / 1e9:.2f} GB, {files}", columns, list(_rows(found)), _NOTES)
    yield _times(figures)


def _rows(found: Figures) -> Iterator[tuple[str, ...]]:
    for ranks in scale_plan.RANKS:
        for name, _, _ in scale_plan.layouts(ranks):
            value = {figure: found.median(f"{name} {ranks} {figure}") for figure in _FIGURES}
            yield (
                *(name, f"{ranks:,}", f"{value['median'] / 1e6:,.2f}", f"{value['most'] / 1e6:,.2f}"),
                *(f"{value['reads']:,.0f}", f"{value['files']:.0f}", f"{value['replicated'] / 1e6:,.2f}"),
                *(f"{value['ratio']:.2f}", f"{value['headers'] / 1e6:,.2f}"),
            )


_FIGURES = ("median", "most", "reads", "files", "replicated", "ratio", "headers")


def _times(figures: Measured) -> Section:
    found, phases = figures["one file"], figures["phases"]
    rows = [
        (
            f"{ranks:,}",
            duration(found.median(f"fsdp x tp {ranks} one")),
            duration(found.median(f"fsdp x tp {ranks} each")),
            duration(phases.median(str(ranks))),
            noise(phases.spread(str(ranks))),
        )
        for ranks in scale_plan.RANKS
    ]
    notes = (
        "The plan is of fsdp x tp and one file, until it says what one rank reads; each further rank adds its share.",
        "A phase is what the leader needs when all others have answered, over torch's TCPStore on one machine.",
    )
    return Section("Time that planning and agreeing take", ("ranks", "plan", "a rank", "a phase", "noise"), rows, notes)
