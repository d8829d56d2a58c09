"""The matrix behind every view: one row a level, one column a device, and what stands where they cross.

Also what may be said of a run in one sentence. What was not run is never counted as holding, here or anywhere.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from nameplate_config.wording import listed
from nameplate_conformance.law import LEVELS, Law, all_laws, binding
from nameplate_conformance.result import Report, Result, Status

MARKS = {
    Status.PASS: "✓",
    Status.FAIL: "✗",
    Status.BLOCKED: "◌",
    Status.VACUOUS: "∅",
    Status.KNOWN: "~",
    Status.STALE: "!",
    Status.NOT_APPLICABLE: "n/a",
    Status.NOT_RUN: "not run",
    Status.ERROR: "E",
}
"""How each verdict is drawn."""

_WORDS = frozenset({Status.NOT_APPLICABLE, Status.NOT_RUN})
_WORST_FIRST = (
    Status.FAIL,
    Status.ERROR,
    Status.VACUOUS,
    Status.STALE,
    Status.BLOCKED,
    Status.KNOWN,
    Status.PASS,
    Status.NOT_APPLICABLE,
    Status.NOT_RUN,
)


@dataclass(frozen=True, slots=True)
class Crossing:
    """The results of one level on one device; empty if no law of the level is about devices."""

    results: tuple[Result, ...]

    @property
    def text(self) -> str:
        """A few characters: ``7✓`` or ``6✓ 1✗T02 n/a 1`` or ``not run``."""
        counts = Counter(result.status for result in self.results)
        if not counts:
            return "—"
        if set(counts) == {Status.NOT_RUN}:
            return "not run"
        return " ".join(self._part(status, counts[status]) for status in Status if counts[status])

    def _part(self, status: Status, count: int) -> str:
        if status in _WORDS:
            return f"{MARKS[status]} {count}"
        roots = [result.law for result in self.results if result.status is status and result.is_root]
        return f"{count}{MARKS[status]}{','.join(roots[:3])}{',…' if len(roots) > 3 else ''}"  # noqa: PLR2004

    @property
    def tone(self) -> str:
        """``good``, ``bad`` or ``none``: what colour it deserves. What was not run is never good."""
        if any(result.status.is_bad for result in self.results):
            return "bad"
        return "good" if any(result.status is Status.PASS for result in self.results) else "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How the laws up to a level stand for one architecture, each counted once, whatever became of it.

    Attributes:
        level: The level.
        verdicts: The verdict on each law by its id, the worst of those on several devices; `NOT_RUN` if there is none.
    """

    level: int
    verdicts: dict[str, Status]

    @property
    def total(self) -> int:
        """How many laws there are."""
        return len(self.verdicts)

    @property
    def holding(self) -> int:
        """How many of them hold."""
        return len(self.having(Status.PASS))

    @property
    def percent(self) -> int:
        """How many of a hundred hold, rounded down; what does not apply or was not run is among those that do not."""
        return 100 * self.holding // self.total if self.total else 0

    def having(self, status: Status) -> list[str]:
        """Return the laws that have a verdict."""
        return [law for law, each in self.verdicts.items() if each is status]


def matrix(report: Report, architecture: str) -> list[tuple[str, list[Crossing]]]:
    """Return the rows of an architecture's matrix: the level's name and its crossing with each device.

    Tentative laws stand in none of them.
    """
    rows = []
    for level, name in enumerate(LEVELS):
        inside = [each for each in report.of(architecture) if law_of(each.law).level == level and not each.tentative]
        if inside:
            crossings = [Crossing(tuple(r for r in inside if r.device == device)) for device in report.devices()]
            rows.append((f"L{level} {name}", crossings))
    return rows


def law_of(law_id: str) -> Law:
    """Return a law; a stand-in at level 0 for one that this suite does not know, as in a report of another version."""
    known = all_laws().get(law_id)
    return known or Law(law_id, 0, "unknown to this version of the suite", "", lambda _case, _evidence: None)


def tally(report: Report, architecture: str) -> Tally:
    """Count the laws up to the level that an architecture reaches; if it reaches none, up to the highest looked at."""
    results = [result for result in report.of(architecture) if not result.tentative]
    looked_at = max((law_of(result.law).level for result in results), default=0)
    level = report.level_of(architecture) if report.passed else looked_at
    level = looked_at if level < 0 else level
    found: dict[str, list[Status]] = {}
    for result in results:
        found.setdefault(result.law, []).append(result.status)
    return Tally(level=level, verdicts={law.id: worst(found.get(law.id, ())) for law in binding(level, report.spec)})


def worst(verdicts: Iterable[Status]) -> Status:
    """Return the verdict that counts if there are several, `NOT_RUN` if there is none.

    Example:
        >>> worst([Status.NOT_RUN, Status.PASS]), worst([Status.FAIL, Status.PASS])
        (<Status.PASS: 'pass'>, <Status.FAIL: 'fail'>)
    """
    return min(verdicts, key=_WORST_FIRST.index, default=Status.NOT_RUN)


def judged_devices(report: Report) -> list[str]:
    """Return the types of devices on which something was judged."""
    return list(dict.fromkeys(each.device for each in report.results if each.status is not Status.NOT_RUN))


def absent_devices(report: Report) -> list[str]:
    """Return the types of devices on which nothing was judged."""
    return [device for device in report.devices() if device not in judged_devices(report)]


def claim(report: Report) -> str:
    """Return what may be said of the architectures, which is no more than was shown: ``conforms to L7 on cpu``."""
    if not report.passed:
        return "does not conform"
    where = ", ".join(judged_devices(report)) or "no device"
    return f"conforms to L{report.level} on {where}" if report.level >= 0 else f"reaches no level on {where}"


def verdict(report: Report) -> str:
    """Return the one sentence that a run comes down to, with what was not run beside it."""
    binding = [result for result in report.results if not result.tentative]
    counts = Counter(result.status for result in binding)
    total = len(binding) - counts[Status.NOT_RUN] - counts[Status.NOT_APPLICABLE]
    admitted = f", {counts[Status.KNOWN]} known to fail" if counts[Status.KNOWN] else ""
    absent = absent_devices(report)
    beside = [
        f"; not applicable: {counts[Status.NOT_APPLICABLE]}" if counts[Status.NOT_APPLICABLE] else "",
        f"; not run: {counts[Status.NOT_RUN]}" if counts[Status.NOT_RUN] else "",
        f" on {listed(absent)}" if counts[Status.NOT_RUN] and absent else "",
        f"; tentative: {len(report.results) - len(binding)}" if len(report.results) > len(binding) else "",
    ]
    return f"{counts[Status.PASS]} of {total} laws hold{admitted}{''.join(beside)}"
