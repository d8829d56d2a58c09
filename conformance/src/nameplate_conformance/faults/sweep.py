"""A save is repeated from the same start, with a fault at each of its changes in turn, and judged each time.

`sweep` needs three functions: one that puts a checkpoint into a folder, one that saves another over it, and one that
says which of them a folder holds. Nothing else about the saver is known, so any saver can be swept.
"""

import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.faults import ptrace
from nameplate_conformance.faults.fault import FAULTS, POWER_LOSS, Call, Fault, Trace
from nameplate_conformance.faults.film import Film, Recorder, lay_out
from nameplate_conformance.faults.forks import Assistant, Ending, require_one_thread
from nameplate_conformance.faults.power_loss import Loss, losses
from nameplate_conformance.faults.signatures import REMOVING

T = TypeVar("T")

Outcome = Literal["old", "new", "mix", "unloadable"]
_CONFIRMING = frozenset({"fsync", "fdatasync"})

OUTCOMES: tuple[Outcome, ...] = ("old", "new", "mix", "unloadable")

Step = Callable[[Path], object]
Judge = Callable[[Path], str]
Engine = Callable[..., tuple[Trace, Ending]]


@dataclass(frozen=True, slots=True)
class Run:
    """A save that a fault befell, and what it left.

    Attributes:
        fault: The name of the fault.
        at: At which change, counted from 0; of a power loss, how many changes had been made.
        call: The change.
        outcome: ``old`` or ``new`` if the folder holds exactly that state (``old`` if both are the same), ``mix`` if
            it holds another and nobody says so, ``unloadable`` if it cannot be read.
        seen: What the judge said of the folder.
        raised: What the save raised, or an empty text.
        problems: What must not be, a sentence each.
    """

    fault: str
    at: int
    call: str
    outcome: Outcome
    seen: str
    raised: str
    problems: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What a save left, whatever befell it.

    Attributes:
        calls: The changes of a save that nothing befell, in order.
        runs: One for each fault and change.
        files: The files in the folder after such a save.
        holds: What the judge said after such a save.
        unsaved: The same, if the caller knows that it is not the state that was saved; or an empty text.
        blind: Which changes the engine could not see, or an empty text.
    """

    calls: tuple[Call, ...]
    runs: tuple[Run, ...]
    files: tuple[str, ...]
    holds: str
    unsaved: str = ""
    blind: str = ""

    @property
    def problems(self) -> list[str]:
        """All problems, each with the fault, the place and the call."""
        ignored = [f"nothing befell the save, and the folder holds {self.unsaved}"] if self.unsaved else []
        return ignored + [f"{run.fault} at {run.at}, {run.call}: {each}" for run in self.runs for each in run.problems]

    def counts(self, fault: str | None = None) -> Counter[str]:
        """Return how many runs had each outcome; of one fault, or of all."""
        return Counter(run.outcome for run in self.runs if fault in {None, run.fault})


@dataclass(frozen=True, slots=True)
class _Stage:
    """What all runs of a sweep share."""

    save: Callable[[], str | None]
    assistant: Assistant
    start: Path
    folder: Path
    engine: Engine
    committed: Callable[[BaseException], bool]
    again: bool

    def reset(self) -> None:
        """Let the folder hold the old state and nothing else."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.copytree(self.start, self.folder, symlinks=True)

    def listing(self) -> frozenset[str]:
        """Return every file in the folder."""
        found = (each for each in self.folder.rglob("*") if each.is_symlink() or not each.is_dir())
        return frozenset(each.relative_to(self.folder).as_posix() for each in found)


@dataclass(frozen=True, slots=True)
class _State:
    """A folder as a judge and a listing see it. Two errors of one class are the same state: nothing can be loaded."""

    ending: Ending
    files: frozenset[str]

    def same(self, other: "_State") -> bool:
        """Whether a judge sees no difference."""
        mine, theirs = self.ending, other.ending
        if mine.answer is None or theirs.answer is None:
            return mine.answer == theirs.answer and mine.raised.split(":")[0] == theirs.raised.split(":")[0] != ""
        return mine.answer == theirs.answer


def sweep(
    prepare: Step,
    save: Step,
    judge: Judge,
    *,
    faults: Sequence[Fault] = FAULTS,
    points: int | None = None,
    committed: Callable[[BaseException], bool] = lambda _: False,
    again: bool = False,
    engine: Engine | None = None,
) -> Sweep:
    """Let each fault befall a save at each of its changes, and judge what it left.

    Every run is a process of its own, forked from this one, and another one judges what they left. This process must
    have one thread and must not have computed with several. For losses of power one save is filmed, and what they
    may leave is laid out and judged.

    Args:
        prepare: Puts the old state into a folder, which is empty.
        save: Puts the new state into the folder.
        judge: Returns a text that names the state in the folder, the same text for the same state; raises if there
            is none.
        faults: What befalls the save.
        points: At how many changes, evenly spread and others for each fault; at all of them if None. Of losses of
            power, how many of all that they may leave.
        committed: Whether an error that *save* raised says that the new state is there all the same.
        again: Whether, after each run, another save in peace must leave the new state and no file too many.
        engine: `run_traced` or `run_patched`; the first that this machine permits if None.

    Raises:
        ConformanceError: If processes cannot be forked here, or the save does not succeed even in peace.

    Example:
        A program that overwrites a file loses it where it is killed between emptying and writing it.

        >>> import subprocess, sys
        >>> program = '''
        ... import os
        ... from nameplate_conformance.faults import KILL, sweep
        ...
        ... def write(folder, text):
        ...     file = os.open(folder / "a", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        ...     os.write(file, text)
        ...
        ... found = sweep(
        ...     prepare=lambda folder: write(folder, b"old"),
        ...     save=lambda folder: write(folder, b"new"),
        ...     judge=lambda folder: (folder / "a").read_text(),
        ...     faults=[KILL],
        ... )
        ... print([run.outcome for run in found.runs])
        ... '''
        >>> print(subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout)
        ['old', 'mix']
        <BLANKLINE>
    """
    require_one_thread()
    with tempfile.TemporaryDirectory() as base:
        start, folder = Path(base) / "start", Path(base) / "checkpoint"
        start.mkdir()
        works = {
            "prepare": lambda: _done(prepare(start)),
            "save": lambda: _done(save(folder)),
            "judge": lambda: judge(folder),
        }
        with Assistant(works) as assistant:
            _in_peace("prepare", assistant.ask("prepare"))
            stage = _Stage(works["save"], assistant, start, folder, engine or best_engine(), committed, again)
            return _swept(stage, faults, points)


def best_engine() -> Engine:
    """Return the engine that sees the most here: the one that traces system calls, if that is permitted."""
    if ptrace.unsupported() is None:
        from nameplate_conformance.faults.tracer import run_traced  # noqa: PLC0415 - Linux only

        return run_traced
    from nameplate_conformance.faults.patcher import run_patched  # noqa: PLC0415 - not on Windows

    return run_patched


def _swept(stage: _Stage, faults: Sequence[Fault], points: int | None) -> Sweep:
    stage.reset()
    old = _look(stage)
    spool = stage.start.with_name("film")
    recorder = Recorder(stage.folder, spool) if POWER_LOSS in faults else None
    trace, ending = stage.engine(stage.save, stage.folder, watch=recorder.note if recorder else _blink)
    _in_peace("save", ending)
    film = recorder.film() if recorder else Film(())
    new = _look(stage)
    _in_peace("judge", new.ending)
    if not trace.calls:
        message = "the save changed nothing that could be seen, so nothing could befall it."
        raise ConformanceError(message)
    runs: list[Run] = []
    for number, fault in enumerate(faults):
        phase = (number + 0.5) / len(faults)  # so that few points of many faults are many points
        if fault.kind == "power":
            runs += [_run_out(stage, fault, film, loss, old, new) for loss in _spread(losses(film), points, phase)]
            continue
        places = [place for place, call in enumerate(trace.calls) if call.writes or not fault.only_writes]
        runs += [_run(stage, fault, at, old, new) for at in _spread(places, points, phase)]
    return Sweep(trace.calls, tuple(runs), tuple(sorted(new.files)), new.ending.sentence, blind=trace.blind)


def _spread(places: list[T], points: int | None, phase: float) -> list[T]:
    """Return so many of the places at equal distances; the first is a share of the distance from the beginning."""
    if points is None or points >= len(places):
        return places
    return [places[int((step + phase) * len(places) / points)] for step in range(points)]


def _run(stage: _Stage, fault: Fault, at: int, old: _State, new: _State) -> Run:
    stage.reset()
    trace, ending = stage.engine(stage.save, stage.folder, fault, at, stage.committed)
    left = _look(stage)
    outcome = _outcome(left, old, new)
    call = str(trace.calls[at]) if at < len(trace.calls) else "an end before it"
    problems = [*_problems(fault, trace, ending, outcome, _States(left, old, new))]
    if stage.again:
        problems += _problems_again(stage, new)
    return Run(fault.name, at, call, outcome, left.ending.sentence, ending.raised, tuple(problems))


def _run_out(stage: _Stage, fault: Fault, film: Film, loss: Loss, old: _State, new: _State) -> Run:
    """Lay out what a loss of power left, and judge it."""
    stage.reset()
    lay_out(stage.folder, loss.held)
    left = _look(stage)
    outcome = _outcome(left, old, new)
    problems = [*_problems_of_state(outcome, left)]
    if loss.finished and outcome == "old" and not old.same(new):
        problems.append("the save had returned, and yet nothing of it is on the disk")
    if stage.again:
        problems += _problems_again(stage, new)
    call = "its end" if loss.finished else str(film.calls[loss.at])
    return Run(fault.name, loss.at, call, outcome, left.ending.sentence, "", tuple(problems))


@dataclass(frozen=True, slots=True)
class _States:
    left: _State
    old: _State
    new: _State

    @property
    def litter(self) -> list[str]:
        """The files that belong to neither state, or to the new one where the old one stands."""
        known = self.old.files if self.left.same(self.old) else self.old.files | self.new.files
        return sorted(self.left.files - known)


def _problems(fault: Fault, trace: Trace, ending: Ending, outcome: Outcome, states: _States) -> Iterator[str]:
    yield from _problems_of_state(outcome, states.left)
    if fault.ends_it:
        return
    if ending.ended_by:
        yield f"the save was ended by {ending.ended_by}"
    elif ending.raised:
        yield from _problems_of_error(trace, ending, outcome, states)
    else:
        yield from _problems_of_silence(trace, outcome, states)


def _problems_of_state(outcome: Outcome, left: _State) -> Iterator[str]:
    if outcome == "mix":
        yield f"the folder holds neither the old state nor the new one: {left.ending.sentence}"
    if outcome == "unloadable":
        yield f"nothing can be loaded: {left.ending.sentence}"


def _problems_of_error(trace: Trace, ending: Ending, outcome: Outcome, states: _States) -> Iterator[str]:
    """Yield what an error must not be: untrue about what is there, or the last word of a save that leaves litter."""
    if not states.old.same(states.new):
        if outcome == "new" and not ending.committed:
            yield f"the new state is there, and the error does not say so: {ending.raised}"
        if outcome != "new" and ending.committed:
            yield f"the new state is not there, and the error says it is: {ending.raised}"
    if states.litter and REMOVING.isdisjoint(trace.failed):
        yield f"the save left {', '.join(states.litter)}"


def _problems_of_silence(trace: Trace, outcome: Outcome, states: _States) -> Iterator[str]:
    """Yield why a save should have raised."""
    if outcome == "old" and not states.old.same(states.new):
        yield "the save returned as if it had saved"
    if any(name in _CONFIRMING for name in trace.failed):
        yield "the disk did not confirm, and the save returned as if it had"


def _problems_again(stage: _Stage, new: _State) -> Iterator[str]:
    ending = stage.assistant.ask("save")
    if ending.raised or ending.ended_by:
        yield f"another save failed: {ending.sentence}"
        return
    left = _look(stage)
    if not left.same(new):
        yield f"another save did not leave the new state: {left.ending.sentence}"
    if left.files != new.files:
        yield f"another save left {sorted(left.files - new.files)} and lacks {sorted(new.files - left.files)}"


def _outcome(left: _State, old: _State, new: _State) -> Outcome:
    if left.same(old):
        return "old"
    if left.same(new):
        return "new"
    return "unloadable" if left.ending.answer is None else "mix"


def _look(stage: _Stage) -> _State:
    files = stage.listing()
    return _State(stage.assistant.ask("judge"), files)


def _blink(_: Call) -> None:
    return


def _done(_: object) -> str:
    return "done"


def _in_peace(what: str, ending: Ending) -> None:
    if ending.answer is None:
        message = f"{what} failed where nothing befell it: {ending.sentence}"
        raise ConformanceError(message)
