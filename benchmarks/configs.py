"""How long configs take to load, build, copy and save, ours against Transformers' and a bare `json.load`.

Each sample is a fresh process for each side, which times one operation after the other. All load the same file, a
ResNet's config with 1,000 labels that Transformers has written, from a folder that is in the page cache.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks.configs_growth import SIZES
from benchmarks.measure import Figures, compare
from benchmarks.report import Section, duration, noise
from benchmarks.timing import SLOW

_OURS = "from benchmarks.configs_ours import main; main({folder!r})"

_THEIRS = "from benchmarks.configs_theirs import main; main({folder!r})"

_JSON = """
import json
from benchmarks.timing import milliseconds
def load():
    with open({file!r}, encoding="utf-8") as file:
        return json.load(file)
print(milliseconds(load))
"""

_GROWTH = "from benchmarks.configs_growth import main; main()"

_NOTES = (
    "A default config of Transformers has two labels, ours has none.",
    "save_pretrained of ours waits until the file is on the disk (fsync), Transformers' does not.",
)

_GROWTH_NOTES = (
    "In memory: from_dict of the parsed bytes, and to_json_string.",
    "Growth is against the row before: if time is proportional to size, it is the ratio of the sizes.",
    f"A curve ends with the first size that takes more than {SLOW:g} s.",
)

Measured = Mapping[str, Figures]


_LABELS: dict[str, Any] = {"num_labels": 1000}  # which their constructor takes, but does not declare


def measure(rounds: int) -> dict[str, Figures]:
    """Save a config once with Transformers, then return the figures of everything."""
    from transformers import ResNetConfig  # noqa: PLC0415 - slow to import

    with tempfile.TemporaryDirectory() as folder:
        ResNetConfig(**_LABELS).save_pretrained(folder)
        programs = {
            "ours": _OURS.format(folder=folder),
            "transformers": _THEIRS.format(folder=folder),
            "json.load": _JSON.format(file=str(Path(folder) / "config.json")),
            "growth": _GROWTH,
        }
        return compare(programs, rounds=rounds)


def sections(figures: Measured) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("with", "median", "against ours", "noise")
    yield Section("Loading a config with 1,000 labels", columns, list(_load_rows(figures)))
    columns = ("a config", "ours", "Transformers", "ratio", "noise")
    yield Section("Building, copying and saving configs", columns, list(_operation_rows(figures)), _NOTES)
    for curve in SIZES:
        columns = (curve, "load", "growth", "noise", "save", "growth", "noise")
        yield Section(
            f"Growth of ours with {curve}", columns, list(_growth_rows(figures["growth"], curve)), _GROWTH_NOTES
        )


def curve_of(figures: Figures, curve: str, operation: str) -> dict[int, float]:
    """Return the milliseconds of an operation at every size that was measured."""
    names = {size: f"{curve} {size} {operation}" for size in SIZES[curve]}
    return {size: figures.median(name) for size, name in names.items() if figures.answered(name)}


def _load_rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    ours, bare = figures["ours"], figures["json.load"]
    whole = ours.median("from_pretrained")
    loads = {
        "ours": (ours, "from_pretrained"),
        "ours: read and strict parse": (ours, "read and parse"),
        "ours: validate and build": (ours, "validate and build"),
        "json.load": (bare, "answer"),
        "transformers": (figures["transformers"], "from_pretrained"),
    }
    for what, (each, name) in loads.items():
        value = each.median(name)
        yield what, duration(value), f"{value / whole:.2f}x", noise(each.spread(name))
    least = bare.median("answer") + ours.median("validate and build")
    yield "json.load + our validate and build", duration(least), f"{least / whole:.2f}x", ""


def _operation_rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    ours, theirs = figures["ours"], figures["transformers"]
    for name in ours.samples[0].answers:
        if theirs.answered(name) and name != "from_pretrained":
            mine, other = ours.median(name), theirs.median(name)
            spread = noise(max(ours.spread(name), theirs.spread(name)))
            yield name, duration(mine), duration(other), f"{other / mine:.2f}x", spread


def _growth_rows(figures: Figures, curve: str) -> Iterator[tuple[str, ...]]:
    before: dict[str, float] = {}
    for size in SIZES[curve]:
        row = [f"{size:,}"]
        for operation in ("load", "save"):
            name = f"{curve} {size} {operation}"
            if not figures.answered(name):
                row += ["not tried", "", ""]
                continue
            value = figures.median(name)
            growth = f"{value / before[operation]:.1f}x" if operation in before else ""
            row += [duration(value), growth, noise(figures.spread(name))]
            before[operation] = value
        yield tuple(row)


def draw_growth(figures: Figures, path: Path) -> None:
    """Draw the growth curves into a picture, both axes logarithmic."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - slow to import

    picture = Figure(figsize=(9, 3.6), layout="constrained")
    panels = picture.subplots(1, len(SIZES))
    for panel, curve in zip(panels, SIZES, strict=True):
        for operation in ("load", "save"):
            points = curve_of(figures, curve, operation)
            panel.loglog(list(points), list(points.values()), marker="o", label=operation)
        sizes, times = zip(*curve_of(figures, curve, "load").items(), strict=True)
        proportional = [times[-1] * size / sizes[-1] for size in sizes]
        panel.loglog(sizes, proportional, "--", color="grey", label="proportional to size")
        panel.set(xlabel=f"config size ({curve})", ylabel="time per call (ms)")
        panel.legend()
    picture.savefig(path, dpi=90)
