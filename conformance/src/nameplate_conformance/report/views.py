"""What the page shows, put in order: root causes, laws by level, times. Templates only lay it out."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from keyword import iskeyword

from nameplate_config.wording import as_code
from nameplate_conformance.law import LEVELS, Law, all_laws
from nameplate_conformance.records.apart import Apart
from nameplate_conformance.records.encoded import Unread
from nameplate_conformance.report.graph import Graph, graph
from nameplate_conformance.report.heatmap import Picture, Place, figures, legend, pictures, places, worth_drawing
from nameplate_conformance.report.matrix import MARKS, law_of
from nameplate_conformance.result import Report, Result, Status

SLOWEST = 10
"""How many laws the page names that took longest."""

_LONGEST = 4000  # of a message or a counterexample; a page is no log
_SAID = {
    Status.PASS: "pass",
    Status.FAIL: "fail",
    Status.VACUOUS: "show nothing",
    Status.NOT_APPLICABLE: "do not apply",
}
_TONES = {Status.PASS: "good", Status.BLOCKED: "held", Status.KNOWN: "known"}


@dataclass(frozen=True, slots=True)
class Judgement:
    """One result as the page shows it.

    Attributes:
        result: The result.
        law: Its law.
    """

    result: Result
    law: Law

    @property
    def tone(self) -> str:
        """What colour it deserves."""
        return tone(self.result.status)

    @property
    def mark(self) -> str:
        """One sign for the verdict."""
        mark = MARKS[self.result.status]
        return mark if len(mark) == 1 else "·"

    @property
    def call(self) -> str:
        """The smallest arguments that break the law, as Python writes them."""
        kwargs = self.result.kwargs
        if kwargs is None:
            return ""
        given = {name: value.text if isinstance(value, Unread) else as_code(value) for name, value in kwargs.items()}
        if all(name.isidentifier() and not iskeyword(name) for name in given):
            return clipped(f"dict({', '.join(f'{name}={code}' for name, code in given.items())})")
        return clipped(f"{{{', '.join(f'{name!r}: {code}' for name, code in given.items())}}}")

    @property
    def message(self) -> str:
        """Why it is not a pass."""
        return clipped(self.result.message)

    @property
    def evidence(self) -> str:
        """What was compared, and for how many examples."""
        counted = ", ".join(f"{number:,} {what}" for what, number in self.result.evidence.items())
        many = f"{self.result.examples:,} example{'s' if self.result.examples != 1 else ''}"
        return f"{counted} compared in {many}" if counted else (f"{many} judged" if self.result.examples else "")


@dataclass(frozen=True, slots=True)
class Drawing:
    """Two tensors that differ, drawn and in figures."""

    apart: Apart

    @property
    def is_picture(self) -> bool:
        """Whether there is something to look at."""
        return worth_drawing(self.apart)

    @property
    def width(self) -> int:
        """How many pixels wide each picture is shown where there is room."""
        return self.apart.columns * min(28, max(7, 260 // self.apart.columns))

    @property
    def pictures(self) -> list[Picture]:
        """Before, after and the difference."""
        return pictures(self.apart)

    @property
    def figures(self) -> Mapping[str, str]:
        """What can be said in figures."""
        return figures(self.apart)

    @property
    def places(self) -> list[Place]:
        """Where they differ most."""
        return places(self.apart)

    @property
    def legend(self) -> Mapping[str, str]:
        """What the patterns mean, each with a picture of itself."""
        return legend(self.apart)


@dataclass(frozen=True, slots=True)
class Root:
    """A law that fails by itself: what it blocks, and what can be drawn of it."""

    verdict: Judgement
    graph: Graph | None
    blocks: Sequence[str]
    drawings: Sequence[Drawing]


@dataclass(frozen=True, slots=True)
class Entry:
    """One law and what was found of it on each device."""

    law: Law
    verdicts: Sequence[Judgement]

    @property
    def tone(self) -> str:
        """The colour of the worst verdict."""
        return min((each.tone for each in self.verdicts), key=("bad", "held", "known", "good", "none").index)

    @property
    def mark(self) -> str:
        """The sign of the worst verdict."""
        return next(each.mark for each in self.verdicts if each.tone == self.tone)

    @property
    def just_holds(self) -> bool:
        """Whether there is nothing to say but that it holds."""
        return [each.result.status for each in self.verdicts] == [Status.PASS]

    @property
    def seconds(self) -> float:
        """How long it took on all devices."""
        return sum(each.result.seconds for each in self.verdicts)


@dataclass(frozen=True, slots=True)
class Crossing:
    """What was found on one level and device."""

    device: str
    verdicts: Sequence[Judgement]

    @property
    def tone(self) -> str:
        """The colour of the worst verdict; what was not run is never good."""
        tones = {each.tone for each in self.verdicts}
        return next((each for each in ("bad", "held", "known", "good") if each in tones), "none")

    @property
    def counts(self) -> str:
        """How many verdicts there are of each kind, in words."""
        found = Counter(each.result.status for each in self.verdicts)
        return ", ".join(f"{found[each]} {_SAID.get(each, each.value)}" for each in Status if found[each])


@dataclass(frozen=True, slots=True)
class Level:
    """One level of an architecture: a row of the matrix, and a part of the list of laws."""

    number: int
    crossings: Sequence[Crossing]
    entries: Sequence[Entry]

    @property
    def name(self) -> str:
        """What the level is about."""
        return LEVELS[self.number]

    @property
    def seconds(self) -> float:
        """How long its laws took."""
        return sum(each.seconds for each in self.entries)


@dataclass(frozen=True, slots=True)
class View:
    """Everything about one architecture.

    Attributes:
        name: Its label.
        key: The same, as part of an address in the page.
        roots: The laws that fail by themselves.
        levels: The binding laws by level, those that were judged.
        tentative: The laws that are only reported.
        reached: The level that it conforms to; -1 if there is none.
    """

    name: str
    key: str
    roots: Sequence[Root]
    levels: Sequence[Level]
    tentative: Sequence[Entry]
    reached: int

    @property
    def seconds(self) -> float:
        """How long all its laws took."""
        return sum(each.seconds for each in self.entries)

    @property
    def longest(self) -> float:
        """How long the level took that took longest."""
        return max((each.seconds for each in self.levels), default=0.0)

    @property
    def slowest(self) -> list[Entry]:
        """The laws that took longest, the slowest first."""
        return [each for each in sorted(self.entries, key=lambda each: -each.seconds)[:SLOWEST] if each.seconds]

    @property
    def entries(self) -> list[Entry]:
        """Every law, those that are only reported last."""
        return [*(entry for level in self.levels for entry in level.entries), *self.tentative]

    @property
    def ids(self) -> frozenset[str]:
        """The ids of the laws that the page has."""
        return frozenset(each.law.id for each in self.entries)


def views(report: Report) -> list[View]:
    """Return what the page shows of each architecture, in the order of the run."""
    return [_view(report, name, number) for number, name in enumerate(report.architectures())]


def tone(status: Status) -> str:
    """Return what colour a verdict deserves: good, bad, held up by another, known, or none."""
    return _TONES.get(status, "bad" if status.is_bad else "none")


def clipped(text: str) -> str:
    """Return a text, cut if it is endless."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def lasted(seconds: float) -> str:
    """Return a duration as people say it.

    Example:
        >>> lasted(0.0042), lasted(3.21), lasted(192)
        ('4 ms', '3.2 s', '3 min 12 s')
    """
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 60:  # noqa: PLR2004 - seconds of a minute
        return f"{seconds:.1f} s"
    return f"{seconds // 60:.0f} min {seconds % 60:.0f} s"


def _view(report: Report, name: str, number: int) -> View:
    results = report.of(name)
    binding = [each for each in results if not each.tentative]
    levels = [
        _level(level, [each for each in binding if law_of(each.law).level == level], report.devices())
        for level in sorted({law_of(each.law).level for each in binding})
    ]
    return View(
        name=name,
        key=f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)}{f'-{number}' if number else ''}",
        roots=[_root(each, results) for each in binding if each.is_root],
        levels=levels,
        tentative=_entries(each for each in results if each.tentative),
        reached=report.level_of(name),
    )


def _level(number: int, results: Sequence[Result], devices: Sequence[str]) -> Level:
    crossings = [
        Crossing(device, [Judgement(each, law_of(each.law)) for each in results if each.device == device])
        for device in devices
    ]
    return Level(number, crossings, _entries(results))


def _entries(results: Iterable[Result]) -> list[Entry]:
    found: dict[str, list[Judgement]] = {}
    for each in results:
        found.setdefault(each.law, []).append(Judgement(each, law_of(each.law)))
    return [Entry(law_of(law_id), verdicts) for law_id, verdicts in found.items()]


def _root(result: Result, results: Sequence[Result]) -> Root:
    laws = all_laws()
    held = {each.law for each in results if result.law in each.blocked_by}
    blocked = [law_id for law_id in laws if law_id in held]
    nearest = sorted(results, key=lambda each: each.device == result.device)  # the same device speaks last
    tones = {each.law: tone(each.status) for each in nearest}
    drawings = [Drawing(each) for each in result.apart]
    return Root(Judgement(result, law_of(result.law)), graph(result.law, laws, blocked, tones), blocked, drawings)
