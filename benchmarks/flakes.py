"""Judge the reference with one seed after another, and count the verdicts that are not always the same.

``hatch run bench:flakes [--seeds N] [--profile NAME] [--output FOLDER]``. Other seeds draw other configs, so a
law that fails now and then has either found something or is wrong; both must be known before anybody else runs it.
The record is written after each seed, so that a run that is cut short counts for what it has done.
"""

import argparse
import json
import time
from collections import Counter
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console

_RESULTS = Path("benchmarks/results/flakes")
_PACKAGES = ("nameplate-conformance", "nameplate-resnet", "torch", "timm", "hypothesis")


def main() -> None:
    """Judge and report."""
    from nameplate_conformance.judging.profiles import PROFILES  # noqa: PLC0415 - `--help` needs no torch

    parser = argparse.ArgumentParser(prog="hatch run bench:flakes", description=__doc__)
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds, from 0")
    parser.add_argument("--profile", choices=PROFILES, default="dev")
    parser.add_argument("--architecture", default="nameplate_resnet")
    parser.add_argument("--output", type=Path, default=_RESULTS, help="the folder to write into")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    console, runs = Console(), list[dict[str, Any]]()
    for seed in range(options.seeds):
        runs.append(_judged(options.architecture, options.profile, seed))
        console.print(f"seed {seed}: {runs[-1]['seconds']:.0f} s, {runs[-1]['bad'] or 'nothing failed'}")
        (options.output / "latest.json").write_text(json.dumps(runs, indent=1) + "\n")
        (options.output / "latest.md").write_text("\n".join(_markdown(options, runs)) + "\n")


def _judged(architecture: str, profile: str, seed: int) -> dict[str, Any]:
    from nameplate_conformance.judging.references import named  # noqa: PLC0415
    from nameplate_conformance.judging.runner import check  # noqa: PLC0415

    started = time.perf_counter()
    report = check(named(architecture), profile=profile, seed=seed)
    return {
        "seed": seed,
        "seconds": time.perf_counter() - started,
        "examples": sum(each.examples for each in report.results),
        "verdicts": Counter(each.status.value for each in report.results),
        "bad": {each.law: each.message for each in report.results if each.status.is_bad},
    }


def _markdown(options: argparse.Namespace, runs: Sequence[dict[str, Any]]) -> list[str]:
    verdicts = sum((run["verdicts"] for run in runs), Counter[str]())
    examples = sum(run["examples"] for run in runs)
    failed = sorted({law for run in runs for law in run["bad"]})
    return [
        "# One architecture, many seeds",
        "",
        f"`{options.architecture}`, profile `{options.profile}`, seeds 0 to {len(runs) - 1}, on the host.",
        f"Versions: {', '.join(f'{name} {version(name)}' for name in _PACKAGES)}.",
        "",
        f"{len(runs)} runs, {examples:,} examples, {sum(run['seconds'] for run in runs):.0f} s together.",
        f"Verdicts: {', '.join(f'{count:,} {status}' for status, count in verdicts.most_common())}.",
        f"Laws that failed with any seed: {', '.join(failed) or 'none'}.",
    ]


if __name__ == "__main__":
    main()
