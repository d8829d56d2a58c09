"""What is left of a checkpoint when a save is killed, torn or refused: ours against Transformers', from one harness.

`nameplate_conformance.faults` lets each fault befall each file-changing system call of each transition in turn, and
loads what is left; and it loads what a power failure may leave. These are counts, not times: one run each.
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks.measure import Figures, run
from benchmarks.report import Section
from nameplate_conformance.faults import FAULTS, OUTCOMES, POWER_LOSS
from nameplate_conformance.faults.sweep import Run
from nameplate_conformance.faults.transitions import TRANSITIONS, Saver, State, sweep_transition

_OURS = "from benchmarks.faults_ours import {do}; {do}({folder!r})"
_THEIRS = "import os; os.environ['HF_HUB_OFFLINE'] = '1'; from benchmarks.faults_theirs import {do}; {do}({folder!r})"
_SIDES = {"ours": _OURS, "Transformers": _THEIRS}

_POINTS, _MISLED, _IGNORED = "points", "misled", "ignored"
_COUNTED = (_POINTS, *OUTCOMES, _MISLED)

_IN_MEMORY = "/dev/shm"  # noqa: S108
"""Where the checkpoints lie, if it is there: only the order of calls counts, and no disk need be waited for."""

_STATES = 60
"""How many of the states that a power failure may leave are loaded, for each transition."""

_NOTES = (
    "A point is one fault at one file-changing system call; or one state that a power failure may leave.",
    f"Of these states {_STATES} are taken of each transition, at equal distances, or all where there are fewer.",
    "old, new: exactly that checkpoint is loaded; mix: another one, without an error; unloadable: none.",
    "misled: of old and new, those where a save failed silently, its error hides what is there, or it left a draft.",
    "Of a power failure: those where a save had returned, and is undone.",
    "A foreign checkpoint is one that the other library has written.",
)


def measure(rounds: int) -> dict[str, Figures]:
    """Sweep both, once: counts have no median. Return the counts."""
    del rounds
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor() as pool:
        bases = {side: str(Path(folder) / side) for side in _SIDES}
        for side, program in _SIDES.items():
            run(program.format(do="save_for_the_other", folder=bases[side]))
        others = dict(zip(_SIDES, reversed(bases.values()), strict=True))
        programs = [program.format(do="main", folder=others[side]) for side, program in _SIDES.items()]
        return {side: Figures([sample]) for side, sample in zip(_SIDES, pool.map(run, programs), strict=True)}


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables: by transition, and by fault."""
    ignored = [each.name for each in TRANSITIONS if _answer(figures["Transformers"], each.name, _IGNORED)]
    notes = [*_NOTES]
    if ignored:
        notes.append(f"After a whole save by Transformers, the old weights are still loaded: {', '.join(ignored)}.")
    columns = [f"{side}: {each}" if each == _POINTS else each for side in figures for each in _COUNTED]
    transitions, faults = [each.name for each in TRANSITIONS], [each.name for each in FAULTS]
    title = "A save that something befalls, by transition"
    yield Section(title, ["old → new", *columns], list(_rows(figures, transitions)), notes)
    yield Section("The same, by what befalls it", ["fault", *columns], list(_rows(figures, faults)))


def save_states(saver: Saver, folder: Path) -> None:
    """Save the state that foreign transitions start from, in one file and in six."""
    for name in ("single", "sharded"):
        saver.save(folder / name, State(1, largest_shard=4096 if name == "sharded" else None))


def sweep_all(saver: Saver, foreign: Path) -> None:
    """Let every fault befall every call of every transition, and print the counts."""
    if os.access(_IN_MEMORY, os.W_OK):
        tempfile.tempdir = _IN_MEMORY
    counts: Counter[str] = Counter()
    for transition in TRANSITIONS:
        start = foreign / ("sharded" if transition.old and transition.old.largest_shard else "single")
        at_calls = [fault for fault in FAULTS if fault is not POWER_LOSS]
        found = sweep_transition(saver, transition, foreign=start, faults=at_calls)
        lost = sweep_transition(saver, transition, foreign=start, faults=[POWER_LOSS], points=_STATES)
        counts[f"{transition.name} {_IGNORED}"] += bool(found.unsaved)
        for each in (*found.runs, *lost.runs):
            for row in (transition.name, each.fault):
                counts.update(f"{row} {what}" for what in _counted(each))
    print(json.dumps(counts))


def _counted(each: Run) -> list[str]:
    """Return the columns in which a run counts."""
    whole = each.outcome in {"old", "new"}
    return [_POINTS, each.outcome, *([_MISLED] if whole and each.problems else [])]


def _rows(figures: Mapping[str, Figures], names: Sequence[str]) -> Iterator[tuple[str, ...]]:
    totals = [0] * (len(figures) * len(_COUNTED))
    for name in names:
        row = [_answer(each, name, what) for each in figures.values() for what in _COUNTED]
        totals = [total + count for total, count in zip(totals, row, strict=True)]
        yield name, *(f"{count:,}" for count in row)
    yield "sum", *(f"{count:,}" for count in totals)


def _answer(figures: Figures, row: str, what: str) -> int:
    return int(figures.samples[0].answers.get(f"{row} {what}", 0))
