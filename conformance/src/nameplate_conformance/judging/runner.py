"""Judging: from architectures, laws and devices to results.

A law is judged once all that it needs has passed, and blocked otherwise, so that of a chain of failures only the
root cause stands. Works without pytest; the command line and the pytest plugin are views on `Runner`.
"""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import torch

from nameplate_config.wording import did_you_mean, listed, sentences
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.judging.admission import in_force
from nameplate_conformance.judging.cell import Cell, Key
from nameplate_conformance.judging.profiles import PROFILES, TOP, Profile
from nameplate_conformance.judging.trial import Trial
from nameplate_conformance.judging.versions import versions
from nameplate_conformance.law import SPEC, all_laws, laws_of
from nameplate_conformance.result import Report, Result, Status

if TYPE_CHECKING:
    from nameplate_conformance.records.store import Store

HOST = "cpu"


@dataclass
class Runner:
    """Judges cells, each at most once, and what a cell needs before it.

    Attributes:
        profile: The name of the profile, which decides how closely to look.
        seed: Decides which examples are drawn; None draws the same ones every time.
        closer: Other profiles for some laws, by id: which to look at more closely, or less.
        store: Where failures are kept to be replayed; None keeps none.
        results: What was found so far.
    """

    profile: str = "dev"
    seed: int | None = None
    closer: Mapping[str, str] = field(default_factory=dict)
    store: "Store | None" = None
    results: dict[Key, Result] = field(default_factory=dict, repr=False)
    _named: dict[str, Architecture] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse a profile that does not exist.

        Raises:
            ConformanceError: If one does not.
        """
        for name in (self.profile, *self.closer.values()):
            if name not in PROFILES:
                message = sentences(
                    f"there is no profile {name!r}.", did_you_mean(name, PROFILES) or f"There are {listed(PROFILES)}."
                )
                raise ConformanceError(message)

    @property
    def level(self) -> int:
        """The highest level that is judged if nobody asks for laws or levels."""
        return PROFILES[self.profile].level

    def judge(self, cell: Cell) -> Result:
        """Return the result of a cell, judging it and what it needs if that has not been done.

        Raises:
            ConformanceError: If another architecture has been judged under the same name.
        """
        label = cell.architecture.label
        if self._named.setdefault(label, cell.architecture) != cell.architecture:
            message = f"two architectures are called {label!r}: give one another name, `Architecture(name=…)`."
            raise ConformanceError(message)
        if cell.key not in self.results:
            for need in needs_of(cell):
                self.judge(need)
            self.results[cell.key] = settled(cell, self.results) or self.attempt(cell)
        return self.results[cell.key]

    def attempt(self, cell: Cell) -> Result:
        """Judge one cell, whatever became of what it needs."""
        database = None if self.store is None else self.store.database()
        started = time.perf_counter()
        found = Trial(cell, self._profile_of(cell), self.seed, database).result()
        result = replace(_admitted(cell, found), seconds=time.perf_counter() - started)
        if self.store is not None and result.status.is_bad:
            self.store.keep(result, cell.architecture)
        return result

    def _profile_of(self, cell: Cell) -> Profile:
        return PROFILES[self.closer.get(cell.law.id, self.profile)]


def needs_of(cell: Cell) -> list[Cell]:
    """Return the cells without which a failure of this one would mean nothing."""
    needed = [all_laws()[need] for need in cell.law.needs]
    return [Cell(cell.architecture, law, cell.device if law.per_device else HOST) for law in needed]


def settled(cell: Cell, results: Mapping[Key, Result]) -> Result | None:
    """Return the verdict on a cell that need not be judged; None if it must be.

    Args:
        cell: What would be judged.
        results: Those of everything that the cell needs, at least.
    """
    if cell.device not in present_devices():
        return cell.result(Status.NOT_RUN, message=f"there is no {cell.device} device on this machine")
    culprits: dict[str, None] = {}
    for need in needs_of(cell):
        result = results[need.key]
        if result.status not in {Status.PASS, Status.KNOWN, Status.NOT_APPLICABLE} and not result.tentative:
            culprits.update(dict.fromkeys(result.blocked_by or (need.law.id,)))
    if not culprits:
        return None
    return cell.result(Status.BLOCKED, message=f"blocked by {', '.join(culprits)}", blocked_by=tuple(culprits))


def _admitted(cell: Cell, result: Result) -> Result:
    """Turn an admitted failure into `KNOWN`, and an admission that no longer holds into `STALE`."""
    known = in_force(cell.architecture.known, cell.law.id)
    if known is None:
        return result
    if result.status is Status.FAIL:
        return cell.result(Status.KNOWN, evidence=result.evidence, message=f"{known.reason} ({known.issue})")
    if result.status.is_bad:  # what could not be judged shows neither that it still fails nor that it no longer does
        return result
    return cell.result(Status.STALE, message=f"it is admitted to fail ({known.issue}) but does not: remove that")


def cells(
    architectures: Iterable[Architecture],
    devices: Sequence[str],
    laws: Iterable[str] = (),
    *,
    level: int = TOP,
    spec: str | None = None,
) -> list[Cell]:
    """Return everything to judge: laws about devices on each of them, the others on the host.

    Args:
        architectures: What is judged.
        devices: Types of devices, such as ``"cpu"`` and ``"cuda"``; absent ones give results that say so.
        laws: Ids; every law up to *level* if there are none.
        level: The highest level, if no law is named.
        spec: The version of the specification; not given, the one in force and whatever the next one tries out.

    Raises:
        ConformanceError: If a law, a type of device or the version does not exist, or that version has no such law.
    """
    if not 0 <= level <= TOP:
        message = f"there is no level {level}; there are 0 to {TOP}."
        raise ConformanceError(message)
    every = laws_of(spec)
    wanted = list(laws) or [law.id for law in every.values() if law.level <= level]
    for law_id in wanted:
        if law_id not in every:
            where = f" in specification {spec}" if law_id in all_laws() else ""
            near = f" {did_you_mean(law_id.upper(), every)}" if law_id.upper() in every else ""
            message = f"there is no law {law_id!r}{where}; `nameplate-conformance list` shows them.{near}"
            raise ConformanceError(message)
    for device in devices:
        _refuse_no_device(device)
    return [
        Cell(architecture, every[law_id], device)
        for architecture in architectures
        for law_id in wanted
        for device in ([HOST, *(d for d in devices if d != HOST)] if every[law_id].per_device else [HOST])
    ]


def _refuse_no_device(device: str) -> None:
    """Refuse what is no type of device: it would be absent for ever, and never be missed."""
    known = known_devices()
    try:
        is_type = torch.device(device).type == device
    except RuntimeError:
        is_type = False
    if not is_type:
        way_out = did_you_mean(device, known) or f"There are {listed(known)}, or another one that torch knows."
        message = sentences(f"there is no type of device {device!r}.", way_out)
        raise ConformanceError(message)


def check(
    *architectures: Architecture,
    devices: Sequence[str] = (HOST,),
    profile: str = "dev",
    seed: int | None = None,
    laws: Iterable[str] = (),
    level: int | None = None,
    spec: str | None = None,
    store: "Store | None" = None,
    progress: Callable[[Cell], None] = lambda _: None,
) -> Report:
    """Judge architectures in this process and return everything that was found.

    Args:
        *architectures: What is judged.
        devices: Types of devices.
        profile: A key of `PROFILES`.
        seed: Decides which examples are drawn; None draws the same ones every time.
        laws: Ids; every law up to *level* if there are none.
        level: The highest level that is judged; that of the profile if not given.
        spec: The version of the specification; not given, the one in force and whatever the next one tries out.
        store: Where failures are kept to be replayed; nothing is written without one.
        progress: Called with each cell before it is judged.

    Raises:
        ConformanceError: If a law, a type of device, a profile or the specification does not exist, or two
            architectures have one name.
    """
    runner = Runner(profile=profile, seed=seed, store=store)
    wanted = cells(architectures, devices, laws, level=runner.level if level is None else level, spec=spec)
    return replace(judged(runner, wanted, progress), spec=spec or SPEC)


def judged(runner: Runner, wanted: Iterable[Cell], progress: Callable[[Cell], None] = lambda _: None) -> Report:
    """Judge cells one after another and return everything that was found.

    Args:
        runner: How they are judged.
        wanted: What is judged.
        progress: Called with each cell before it is judged.
    """
    started = datetime.now(UTC).isoformat(timespec="seconds")
    results: list[Result] = []
    for cell in wanted:
        progress(cell)
        results.append(runner.judge(cell))
    return report_of(results, profile=runner.profile, seed=runner.seed, started=started)


def report_of(
    results: Sequence[Result], *, profile: str, seed: int | None, started: str, spec: str | None = None
) -> Report:
    """Return the report of a run of this suite, with the versions that took part.

    Args:
        results: What was found.
        profile: How closely was looked.
        seed: What decided which examples were drawn.
        started: When the run began, as an ISO 8601 time.
        spec: The version of the specification that was asked for; the one in force if none was.
    """
    return Report(spec=spec or SPEC, profile=profile, versions=versions(), results=results, seed=seed, started=started)


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
