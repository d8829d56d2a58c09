"""Measure everything, print it, and write it to a folder: ``hatch run bench [--rounds N] [--output FOLDER]``."""

import argparse
import json
import os
import platform
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import imports, load_resnet
from benchmarks.measure import ROUNDS, Figures

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


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(prog="hatch run bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"samples of each program, at least {_LEAST_ROUNDS}")
    parser.add_argument("--output", type=Path, default=Path("benchmarks/results"), help="the folder to write into")
    options = parser.parse_args()
    if options.rounds < _LEAST_ROUNDS:
        parser.error(f"a median of fewer than {_LEAST_ROUNDS} samples says little")
    console = Console(width=110)
    measured = {"imports": imports.measure(options.rounds), "load_resnet": load_resnet.measure(options.rounds)}
    for table in (_imports_table(measured["imports"]), _loads_table(measured["load_resnet"])):
        console.print(table)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "latest.json").write_text(json.dumps(_record(measured, options.rounds), indent=1) + "\n")
    (options.output / "latest.md").write_text("\n".join(_markdown(measured, options.rounds)) + "\n")
    console.print(f"wrote {options.output / 'latest.json'} and latest.md")


def _imports_table(figures: Mapping[str, Figures]) -> Table:
    table = Table(title="Importing, whole processes", title_justify="left")
    for column in ("what", "ours, CPU", "theirs, CPU", "ratio", "ours, peak", "theirs, peak", "ratio", "noise"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for row in _import_rows(figures):
        table.add_row(*row)
    return table


def _import_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    for what, (ours, theirs) in imports.PAIRS.items():
        mine, other = figures[ours], figures[theirs]
        cpu, memory = (other.median(name) / mine.median(name) for name in ("cpu", "memory"))
        noise = max(mine.spread("cpu"), other.spread("cpu"))
        yield (
            what,
            f"{1000 * mine.median('cpu'):.0f} ms",
            f"{1000 * other.median('cpu'):.0f} ms",
            f"{cpu:.1f}x",
            f"{mine.median('memory') / _MIB:.0f} MiB",
            f"{other.median('memory') / _MIB:.0f} MiB",
            f"{memory:.1f}x",
            f"{noise:.0%}",
        )


def _loads_table(figures: Mapping[str, Figures]) -> Table:
    table = Table(title="Loading a ResNet-18 from a warm local folder", title_justify="left")
    for column in ("with", "median", "against ours", "noise"):
        table.add_column(column, justify="left" if column == "with" else "right")
    for row in _load_rows(figures):
        table.add_row(*row)
    return table


def _load_rows(figures: Mapping[str, Figures]) -> Iterator[tuple[str, ...]]:
    ours = figures["ours"].median("answer")
    for name, each in figures.items():
        value = each.median("answer")
        yield name, f"{value:.1f} ms", f"{value / ours:.1f}x", f"{each.spread('answer'):.0%}"


def _record(measured: Mapping[str, Mapping[str, Figures]], rounds: int) -> dict[str, object]:
    samples = {
        part: {name: [asdict(sample) for sample in each.samples] for name, each in figures.items()}
        for part, figures in measured.items()
    }
    return {"rounds": rounds, "machine": _machine(), "versions": _versions(), "samples": samples}


def _markdown(measured: Mapping[str, Mapping[str, Figures]], rounds: int) -> Iterator[str]:
    yield "# Figures of the last run"
    yield ""
    yield f"Medians of {rounds} fresh processes each, taken in turn. Noise is (largest - smallest) / median."
    yield "Ratios compare columns of the same run; times by themselves say little about another machine."
    yield f"Machine: {_machine()}. Versions: {', '.join(f'{n} {v}' for n, v in _versions().items())}."
    yield ""
    yield "| importing | ours, CPU | Transformers, CPU | ratio | ours, peak | Transformers, peak | ratio | noise |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for row in _import_rows(measured["imports"]):
        yield f"| {' | '.join(row)} |"
    yield ""
    yield "| loading a ResNet-18, warm | median | against ours | noise |"
    yield "|---|--:|--:|--:|"
    for row in _load_rows(measured["load_resnet"]):
        yield f"| {' | '.join(row)} |"


def _machine() -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"


def _versions() -> dict[str, str]:
    return {name: version(name) for name in _PACKAGES}


if __name__ == "__main__":
    main()
