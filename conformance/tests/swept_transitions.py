"""A program that sweeps the transitions of nameplate-model and prints what it found; `test_faults.py` reads it.

Run as `swept_transitions.py FOREIGN ENGINE POINTS NAME…`; FOREIGN holds what another saver has written.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from nameplate_conformance.faults import FAULTS
from nameplate_conformance.faults.ours import OurSaver
from nameplate_conformance.faults.patcher import run_patched
from nameplate_conformance.faults.tracer import run_traced
from nameplate_conformance.faults.transitions import TRANSITIONS, Transition, sweep_transition

ENGINES = {"traced": run_traced, "patched": run_patched}


def record(transition: Transition, foreign: Path, engine: Callable[..., Any], points: int) -> dict[str, Any]:
    """Return what a sweep of one transition found."""
    start = foreign / ("sharded" if transition.old and transition.old.largest_shard else "single")
    found = sweep_transition(
        OurSaver(), transition, foreign=start, faults=FAULTS, points=points, again=True, engine=engine
    )
    return {
        "runs": len(found.runs),
        "outcomes": {fault.name: found.counts(fault.name) for fault in FAULTS},
        "problems": found.problems,
        "files": [each for each in found.files if each.endswith(".safetensors")],
        "calls": [str(each) for each in found.calls],
        "blind": found.blind,
    }


def main(foreign: str, engine: str, points: str, *names: str) -> None:
    """Sweep the transitions of these names."""
    torch.set_num_threads(1)
    chosen = [each for each in TRANSITIONS if each.name in names]
    records = {each.name: record(each, Path(foreign), ENGINES[engine], int(points)) for each in chosen}
    print(json.dumps(records))  # noqa: T201 - the caller reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
