"""A run from the texts that name architectures to the report: load, schedule, judge, here or in workers.

Who watches it is told of everything as it happens; what a person sees or keeps of that is the business of `cli`.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from nameplate_config.wording import sentences
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.judging.bench import Bench, Loaded, Terms
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.references import refuse_unknown
from nameplate_conformance.judging.workers import Crew
from nameplate_conformance.records.circumstances import Circumstances, Subject, circumstances_of
from nameplate_conformance.result import Report, Result

if TYPE_CHECKING:
    from nameplate_conformance.judging.cell import Cell
    from nameplate_conformance.judging.schedule import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run is asked for.

    Attributes:
        texts: What names the architectures, see `references.named`.
        devices: Types of devices; every known one if there are none.
        laws: Ids; every law up to *level* if there are none.
        level: The highest level that is judged; that of the profile if not given.
        spec: The version of the specification; not given, the one in force and whatever the next one tries out.
        workers: How many processes judge; 0 to judge in this one.
        limit: Seconds that a worker may take for one cell; not given, a multiple of the profile's patience.
        terms: How everything is judged.
    """

    texts: tuple[str, ...]
    devices: tuple[str, ...] = ()
    laws: tuple[str, ...] = ()
    level: int | None = None
    spec: str | None = None
    workers: int = 1
    limit: float = 0.0
    terms: Terms = field(default_factory=Terms)


class Audience:
    """Who watches a run. This one does not care."""

    def begins(self) -> None:
        """Hear that a run begins, and refuse it if what it is for cannot come true."""

    def ready(self, circumstances: Circumstances, wanted: "list[Cell]") -> Iterable[Result]:
        """Hear what will be judged; return what is known of it from an earlier run."""
        del circumstances, wanted
        return ()

    def noted(self, note: str) -> None:
        """Hear of something beside the results."""

    def begun(self, cell: "Cell") -> None:
        """Hear that a cell is being judged now."""

    def found(self, result: Result) -> None:
        """Hear of a result."""


class _Judges(Protocol):
    """Whoever loads and judges: a `Crew`, or this very process."""

    @property
    def trouble(self) -> str: ...

    def load(self, texts: Iterable[str]) -> dict[str, Loaded]: ...

    def judge(self, schedule: "Schedule", texts: Mapping[str, str], *, begun: "Callable[[Cell], None]") -> None: ...


class _Alone:
    """Judges in this process, which ends with what it judges, but can be watched by a debugger."""

    def __init__(self, terms: Terms) -> None:
        self._bench = Bench(terms)

    def __enter__(self) -> Self:
        self._bench.prepare()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing: there is nobody else."""

    @property
    def trouble(self) -> str:
        return self._bench.trouble

    def load(self, texts: Iterable[str]) -> dict[str, Loaded]:
        return {text: self._bench.load(text) for text in texts}

    def judge(self, schedule: "Schedule", texts: Mapping[str, str], *, begun: "Callable[[Cell], None]") -> None:
        while (cell := schedule.take()) is not None:
            begun(cell)
            label, law_id, device = cell.key
            schedule.finish(cell, self._bench.judge(texts[label], law_id, device))


def conduct(plan: Plan, audience: Audience | None = None) -> tuple[Report, Circumstances]:
    """Judge what a plan asks for; return what was found, and under which circumstances.

    Args:
        plan: What is judged, and how.
        audience: Who is told of everything as it happens.

    Raises:
        ConformanceError: If a name, a law, a device, a profile or the specification does not exist, or two have one
            name.
        SourceNotFoundError: If there is no such folder.
    """
    texts = tuple(dict.fromkeys(plan.texts))
    for text in texts:
        refuse_unknown(text)
    if not texts:
        message = "no architecture is registered. Install a package that announces one, or say where one is."
        raise ConformanceError(message)
    judges = Crew(plan.terms, size=plan.workers, limit=plan.limit) if plan.workers else _Alone(plan.terms)
    with judges:
        return _judged(plan, texts, judges, audience or Audience())


def _judged(plan: Plan, texts: tuple[str, ...], judges: _Judges, audience: Audience) -> tuple[Report, Circumstances]:
    """Judge by those who are there, the first of whom may still be importing torch: meanwhile we do."""
    from nameplate_conformance.judging.runner import present_devices, report_of  # noqa: PLC0415
    from nameplate_conformance.judging.schedule import Schedule, broken  # noqa: PLC0415

    audience.begins()
    _wanted(plan, {})  # a law that does not exist need not wait for anybody
    started = datetime.now(UTC).isoformat(timespec="seconds")
    loaded = judges.load(texts)
    for text, each in loaded.items():
        for note in each.notes:
            audience.noted(f"{text}: {note}")
    subjects = {text: each.subject or Subject(label=text, reference=text) for text, each in loaded.items()}
    places = _places(subjects)
    wanted = _wanted(plan, places)
    terms = plan.terms
    known: list[Result] = []
    report = report_of(known, profile=terms.profile, seed=terms.seed, started=started, spec=plan.spec)
    devices = list(dict.fromkeys(cell.device for cell in wanted))
    circumstances = circumstances_of(
        report, devices=plan.devices or devices, present=present_devices(), subjects=subjects.values()
    )
    kept = {(each.architecture, each.law, each.device): each for each in audience.ready(circumstances, wanted)}
    lost = broken(wanted, {subjects[text].label: each.failure for text, each in loaded.items() if each.failure})
    schedule = Schedule(wanted, audience.found, {**lost, **kept})
    for key, result in lost.items():
        if key not in kept:
            audience.found(result)
    judges.judge(schedule, places, begun=audience.begun)
    if judges.trouble:
        audience.noted(judges.trouble)
    known += schedule.report()
    return report, circumstances


def _places(subjects: Mapping[str, Subject]) -> dict[str, str]:
    """Return by which text each architecture is found again, by its label."""
    found: dict[str, str] = {}
    for text, subject in subjects.items():
        if subject.label in found:
            message = sentences(
                f"{found[subject.label]!r} and {text!r} are both called {subject.label!r}.",
                "Judge one after the other, or give one another name: `Architecture(name=…)`.",
            )
            raise ConformanceError(message)
        found[subject.label] = subject.reference or text
    return found


def _wanted(plan: Plan, places: Mapping[str, str]) -> "list[Cell]":
    """Return the cells of a plan. What stands for an architecture here has a name and nothing else."""
    from nameplate_conformance.architecture import Architecture  # noqa: PLC0415
    from nameplate_conformance.judging.runner import cells, known_devices  # noqa: PLC0415

    architectures = [Architecture(config="", name=label, reference=text) for label, text in places.items()]
    level = PROFILES[plan.terms.profile].level if plan.level is None else plan.level
    return cells(architectures, plan.devices or known_devices(), plan.laws, level=level, spec=plan.spec)
