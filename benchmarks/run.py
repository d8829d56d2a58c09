"""Measure everything, print it, and write it to a folder: ``hatch run bench [--rounds N] [--output FOLDER]``."""

import argparse
import json
import os
import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from rich.console import Console

from benchmarks import (
    cast,
    configs,
    conformance,
    faults,
    first_output,
    gpu,
    imports,
    load_resnet,
    load_tensors,
    ranks,
    registry,
    remote_code,
    resnet,
    save,
    scale,
)
from benchmarks.measure import ROUNDS, Figures
from benchmarks.report import Section

_PACKAGES = (
    "nameplate-config",
    "nameplate-model",
    "nameplate-auto",
    "nameplate-resnet",
    "nameplate-conformance",
    "torch",
    "timm",
    "transformers",
)
_LEAST_ROUNDS = 7
_PARTS: "dict[str, Part]" = {  # imports first: later parts make this process larger, which a child starts with
    "imports": imports,
    "registry": registry,
    "first_output": first_output,
    "remote_code": remote_code,
    "configs": configs,
    "load_tensors": load_tensors,
    "load_resnet": load_resnet,
    "resnet": resnet,
    "cast": cast,
    "save": save,
    "scale": scale,
    "gpu": gpu,
    "faults": faults,
    "ranks": ranks,
    "conformance": conformance,
}
_RESULTS = Path("benchmarks/results")
_PICTURE = "config_growth.png"
_WIDTH = 130


class Part(Protocol):
    """What is measured together."""

    def measure(self, rounds: int) -> Mapping[str, Figures]:
        """Return the figures of its programs, by name."""

    def sections(self, figures: Mapping[str, Figures]) -> Iterable[Section]:
        """Return its tables."""


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
    console = Console(width=_WIDTH)
    measured: dict[str, Mapping[str, Figures]] = {}
    sections: list[Section] = []
    for name, part in _PARTS.items():
        if name not in (options.only or _PARTS):
            continue
        measured[name] = part.measure(options.rounds)
        for section in part.sections(measured[name]):
            console.print(section.table())
            sections.append(section)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "latest.json").write_text(json.dumps(_record(measured, options.rounds), indent=1) + "\n")
    (options.output / "latest.md").write_text("\n".join(_markdown(sections, measured, options.rounds)) + "\n")
    if "configs" in measured:
        configs.draw_growth(measured["configs"]["growth"], options.output / _PICTURE)
    console.print(f"wrote {options.output / 'latest.json'}, latest.md and the picture of the configs, if measured")


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
