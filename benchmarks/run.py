"""Measure everything, print it, and write it to a folder: ``hatch run bench [--rounds N] [--output FOLDER]``."""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console

from benchmarks import configs, imports, load_resnet
from benchmarks.measure import ROUNDS, Figures
from benchmarks.report import Section, noise

_MIB = 1 << 20
_PACKAGES = (
    "nameplate-config",
    "nameplate-model",
    "nameplate-auto",
    "nameplate-resnet",
    "torch",
    "timm",
    "transformers",
)
_LEAST_ROUNDS = 7
_PARTS = {"imports": imports.measure, "configs": configs.measure, "load_resnet": load_resnet.measure}
_RESULTS = Path("benchmarks/results")
_PICTURE = "config_growth.png"


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="hatch run bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"samples of each program, at least {_LEAST_ROUNDS}")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="the folder to write into")
    parser.add_argument("--only", choices=_PARTS, action="append", help="measure this part, and not the others")
    options = parser.parse_args()
    if options.rounds < _LEAST_ROUNDS:
        parser.error(f"a median of fewer than {_LEAST_ROUNDS} samples says little")
    if options.only and options.output == _RESULTS:
        parser.error("--only needs an --output of its own, or it would overwrite the figures of the other parts")
    measured = {part: measure(options.rounds) for part, measure in _PARTS.items() if part in (options.only or _PARTS)}
    sections = list(_sections(measured))
    console = Console(width=110)
    for section in sections:
        console.print(section.table())
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "latest.json").write_text(json.dumps(_record(measured, options.rounds), indent=1) + "\n")
    (options.output / "latest.md").write_text("\n".join(_markdown(sections, measured, options.rounds)) + "\n")
    if "configs" in measured:
        configs.draw_growth(measured["configs"]["growth"], options.output / _PICTURE)
    console.print(f"wrote {options.output / 'latest.json'}, latest.md and the picture of the configs, if measured")


def _sections(measured: Mapping[str, Mapping[str, Figures]]) -> Iterator[Section]:
    if "imports" in measured:
        yield _imports_section(measured["imports"])
    if "configs" in measured:
        yield from configs.sections(measured["configs"])
    if "load_resnet" in measured:
        yield _loads_section(measured["load_resnet"])


def _imports_section(figures: Mapping[str, Figures]) -> Section:
    columns = ("what", "ours, CPU", "theirs, CPU", "ratio", "ours, peak", "theirs, peak", "ratio", "noise")
    return Section("Importing, whole processes", columns, list(_import_rows(figures)))


def _import_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for what, (ours, theirs) in imports.PAIRS.items():
        mine, other = figures[ours], figures[theirs]
        cpu, memory = (other.median(name) / mine.median(name) for name in ("cpu", "memory"))
        yield (
            what,
            f"{1000 * mine.median('cpu'):.0f} ms",
            f"{1000 * other.median('cpu'):.0f} ms",
            f"{cpu:.1f}x",
            f"{mine.median('memory') / _MIB:.0f} MiB",
            f"{other.median('memory') / _MIB:.0f} MiB",
            f"{memory:.1f}x",
            noise(max(mine.spread("cpu"), other.spread("cpu"))),
        )


def _loads_section(figures: Mapping[str, Figures]) -> Section:
    columns = ("with", "median", "against ours", "noise")
    return Section("Loading a ResNet-18 from a warm local folder", columns, list(_load_rows(figures)))


def _load_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    ours = figures["ours"].median("answer")
    for name, each in figures.items():
        value = each.median("answer")
        yield name, f"{value:.1f} ms", f"{value / ours:.1f}x", noise(each.spread("answer"))


def _record(measured: Mapping[str, Mapping[str, Figures]], rounds: int) -> dict[str, object]:
    samples = {
        part: {name: [asdict(sample) for sample in each.samples] for name, each in figures.items()}
        for part, figures in measured.items()
    }
    return {"rounds": rounds, "machine": _machine(), "versions": _versions(), "samples": samples}


def _markdown(sections: Sequence[Section], measured: Mapping[str, Mapping[str, Figures]], rounds: int) -> Iterator[str]:
    yield "# Figures of the last run"
    yield ""
    yield f"Medians of {rounds} fresh processes each, taken in turn. Noise is (largest - smallest) / median."
    yield "Ratios compare columns of the same run; times by themselves say little about another machine."
    yield f"Machine: {_machine()}. Versions: {', '.join(f'{n} {v}' for n, v in _versions().items())}."
    for section in sections:
        yield ""
        yield from section.markdown()
    if "configs" in measured:
        yield ""
        yield f"![Time against size, both logarithmic]({_PICTURE})"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


if __name__ == "__main__":
    main()
