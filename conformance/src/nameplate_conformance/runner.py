"""Judging: from architectures, laws and devices to results.

A law is judged once all that it needs has passed, and blocked otherwise, so that of a chain of failures only the
root cause stands. Works without pytest; the command line and the pytest plugin are views on `Runner`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from typing import Any

import hypothesis
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.errors import Flaky, HypothesisException, Unsatisfiable

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.case import Case, simplest_kwargs
from nameplate_conformance.errors import ConformanceError, LawBrokenError, NotApplicableError
from nameplate_conformance.isolation import isolated
from nameplate_conformance.law import LEVELS, SPEC, Evidence, Law, Scope, all_laws
from nameplate_conformance.result import Report, Result, Status
from nameplate_conformance.strategies import Kwargs, config_kwargs

HOST = "cpu"
NO_HEAD = ""
CONFIG_LEVEL = LEVELS.index("config")

PROFILES = {"smoke": 4, "dev": 15, "ci": 30, "nightly": 300}
"""How many examples each law is judged on, by the name of the profile."""

_PACKAGES = ("nameplate-config", "nameplate-model", "nameplate-auto", "nameplate-conformance", "torch", "hypothesis")


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to judge: a law for an architecture on a device."""

    architecture: Architecture
    law: Law
    device: str

    def __str__(self) -> str:
        return f"{self.architecture.label}-{self.law.id}-{self.device}"


@dataclass
class Runner:
    """Judges cells, each at most once, and what a cell needs before it.

    Attributes:
        profile: The name of the profile, which decides how many examples are drawn.
        seed: Decides which examples are drawn; None draws the same ones every time.
        closer: Other profiles for some laws, by id: which to look at more closely, or less.
    """

    profile: str = "dev"
    seed: int | None = None
    closer: Mapping[str, str] = field(default_factory=dict)
    _results: dict[tuple[int, str, str], Result] = field(default_factory=dict, repr=False)

    def judge(self, cell: Cell) -> Result:
        """Return the result of a cell, judging it and what it needs if that has not been done."""
        key = (id(cell.architecture), cell.law.id, cell.device)
        if key not in self._results:
            self._results[key] = self._judge(cell)
        return self._results[key]

    def _judge(self, cell: Cell) -> Result:
        if cell.device not in present_devices():
            return _result(cell, Status.NOT_RUN, message=f"there is no {cell.device} device on this machine")
        culprits = self._culprits(cell)
        if culprits:
            return _result(cell, Status.BLOCKED, message=f"blocked by {', '.join(culprits)}", blocked_by=culprits)
        started = time.perf_counter()
        result = _admitted(cell, self._try(cell))
        return _timed(result, time.perf_counter() - started)

    def _culprits(self, cell: Cell) -> tuple[str, ...]:
        """Return the laws at the root of why this one cannot be judged."""
        found: dict[str, None] = {}
        for need in cell.law.needs:
            needed = all_laws()[need]
            device = cell.device if needed.per_device else HOST
            result = self.judge(Cell(cell.architecture, needed, device))
            if result.status not in {Status.PASS, Status.KNOWN, Status.NOT_APPLICABLE}:
                found.update(dict.fromkeys(result.blocked_by or (need,)))
        return tuple(found)

    def _try(self, cell: Cell) -> Result:
        trial = _Trial(cell)
        try:
            self._run(trial)
        except LawBrokenError as error:
            return trial.failed(str(error))
        except (ConformanceError, Flaky, Unsatisfiable, HypothesisException) as error:
            return trial.failed(f"{type(error).__name__}: {error}", Status.ERROR)
        except Exception as error:  # noqa: BLE001 - whatever an architecture raises is its verdict, not our crash
            return trial.failed(f"raised {type(error).__name__}: {error}")
        if trial.inapplicable and not trial.evidence.counts:
            return _result(cell, Status.NOT_APPLICABLE, examples=trial.examples, message=trial.inapplicable)
        status = Status.PASS if trial.evidence.counts else Status.VACUOUS
        message = "" if trial.evidence.counts else "nothing was compared, so nothing was shown"
        return _result(cell, status, evidence=dict(trial.evidence.counts), examples=trial.examples, message=message)

    def _run(self, trial: "_Trial") -> None:
        architecture, law = trial.cell.architecture, trial.cell.law
        heads = list(architecture.models) or [NO_HEAD]
        if law.scope is Scope.ONCE:
            for head in heads:
                trial.example(head, simplest_kwargs(architecture), 0)
            return
        examples = PROFILES[self.closer.get(law.id, self.profile)]
        drawn = config_kwargs(architecture, exotic=law.level == CONFIG_LEVEL)
        self._search(trial.example, st.tuples(st.sampled_from(heads), drawn, st.integers(0, 3)), examples)

    def _search(
        self, example: Callable[[str, Kwargs, int], None], drawn: st.SearchStrategy[tuple[str, Kwargs, int]], most: int
    ) -> None:
        @settings(
            max_examples=most,
            database=None,
            deadline=None,
            derandomize=self.seed is None,
            phases=[Phase.generate, Phase.shrink],
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(drawn)
        def search(case: tuple[str, Kwargs, int]) -> None:
            example(*case)

        (search if self.seed is None else hypothesis.seed(self.seed)(search))()


@dataclass
class _Trial:
    """One law being tried on examples: collects the evidence and remembers the last example."""

    cell: Cell
    evidence: Evidence = field(default_factory=Evidence)
    examples: int = 0
    last: tuple[str, Kwargs] | None = None
    inapplicable: str = ""

    def example(self, head: str, kwargs: Kwargs, seed: int) -> None:
        """Judge one example in a process that is put back as it was.

        A law that does not apply to one config may apply to the next, and is inapplicable if it applied to none.
        """
        self.examples += 1
        self.last = (head, kwargs)
        case = Case(self.cell.architecture, head, kwargs, torch.device(self.cell.device), seed)
        with isolated():
            try:
                self.cell.law.check(case, self.evidence)
            except NotApplicableError as error:
                self.inapplicable = str(error)

    def failed(self, message: str, status: Status = Status.FAIL) -> Result:
        """Return the result for the last example, which hypothesis has made the smallest."""
        head, kwargs = self.last or ("", None)
        counts = dict(self.evidence.counts)
        return _result(
            self.cell, status, evidence=counts, examples=self.examples, message=message, kwargs=kwargs, head=head
        )


def _result(cell: Cell, status: Status, **details: Any) -> Result:
    return Result(law=cell.law.id, architecture=cell.architecture.label, device=cell.device, status=status, **details)


def _timed(result: Result, seconds: float) -> Result:
    return replace(result, seconds=seconds)


def _admitted(cell: Cell, result: Result) -> Result:
    """Turn an admitted failure into `KNOWN`, and an admission that no longer holds into `STALE`."""
    known = cell.architecture.known.get(cell.law.id)
    if known is None:
        return result
    if result.status is Status.FAIL:
        return _result(cell, Status.KNOWN, evidence=result.evidence, message=f"{known.reason} ({known.issue})")
    return _result(cell, Status.STALE, message=f"it is admitted to fail ({known.issue}) but does not: remove that")


def cells(architectures: Iterable[Architecture], devices: Sequence[str], laws: Iterable[str] = ()) -> list[Cell]:
    """Return everything to judge: laws about devices on each of them, the others on the host.

    Args:
        architectures: What is judged.
        devices: Types of devices, such as ``"cpu"`` and ``"cuda"``; absent ones give results that say so.
        laws: Ids; every law if there are none.

    Raises:
        ConformanceError: If a law does not exist.
    """
    every = all_laws()
    wanted = list(laws) or list(every)
    for law_id in wanted:
        if law_id not in every:
            message = f"there is no law {law_id!r}; `nameplate-conformance list` shows them."
            raise ConformanceError(message)
    return [
        Cell(architecture, every[law_id], device)
        for architecture in architectures
        for law_id in wanted
        for device in ([HOST, *(d for d in devices if d != HOST)] if every[law_id].per_device else [HOST])
    ]


def check(
    *architectures: Architecture,
    devices: Sequence[str] = (HOST,),
    profile: str = "dev",
    seed: int | None = None,
    laws: Iterable[str] = (),
    closer: Mapping[str, str] | None = None,
    progress: Callable[[Cell], None] = lambda _: None,
) -> Report:
    """Judge architectures and return everything that was found.

    Args:
        architectures: What is judged.
        devices: Types of devices.
        profile: A key of `PROFILES`.
        seed: Decides which examples are drawn; None draws the same ones every time.
        laws: Ids; every law if there are none.
        closer: Other profiles for some laws, by id.
        progress: Called with each cell before it is judged.

    Raises:
        ConformanceError: If a law does not exist.
    """
    runner = Runner(profile=profile, seed=seed, closer=closer or {})
    results: list[Result] = []
    for cell in cells(architectures, devices, laws):
        progress(cell)
        results.append(runner.judge(cell))
    return Report(spec=SPEC, profile=profile, versions={name: version(name) for name in _PACKAGES}, results=results)


def present_devices() -> list[str]:
    """Return the types of devices that this machine has, the host first."""
    found = [HOST]
    if torch.cuda.is_available():
        found.append("cuda")
    if torch.backends.mps.is_available():
        found.append("mps")
    return found


def known_devices() -> list[str]:
    """Return the types of devices that a report should mention: those present, and cuda in any case."""
    return list(dict.fromkeys([*present_devices(), "cuda"]))
