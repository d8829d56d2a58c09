"""The matrix behind every view: one row a level, one column a device, and what stands where they cross."""

from collections import Counter
from dataclasses import dataclass

from nameplate_conformance.law import LEVELS, all_laws
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


@dataclass(frozen=True, slots=True)
class Crossing:
    """The results of one level on one device; empty if no law of the level is about devices."""

    results: tuple[Result, ...]

    @property
    def text(self) -> str:
        """A few characters: ``7✓`` or ``6✓ 1✗`` or ``not run``."""
        counts = Counter(result.status for result in self.results)
        if not counts:
            return "—"
        if set(counts) == {Status.NOT_RUN}:
            return "not run"
        return " ".join(f"{counts[status]}{MARKS[status]}" for status in Status if counts[status])

    @property
    def tone(self) -> str:
        """``good``, ``bad`` or ``none``: what colour it deserves. What was not run is never good."""
        if any(result.status.is_bad for result in self.results):
            return "bad"
        return "good" if any(result.status is Status.PASS for result in self.results) else "none"


def matrix(report: Report, architecture: str) -> list[tuple[str, list[Crossing]]]:
    """Return the rows of an architecture's matrix: the level's name and its crossing with each device."""
    laws = all_laws()
    rows = []
    for level, name in enumerate(LEVELS):
        inside = [result for result in report.of(architecture) if laws[result.law].level == level]
        if inside:
            crossings = [Crossing(tuple(r for r in inside if r.device == device)) for device in report.devices()]
            rows.append((f"L{level} {name}", crossings))
    return rows


def claim(report: Report) -> str:
    """Return what may be said of the architectures, which is no more than was shown: ``conforms on cpu``."""
    judged = [device for device in report.devices() if not _absent(report, device)]
    return f"conforms on {', '.join(judged)}" if report.passed else "does not conform"


def verdict(report: Report) -> str:
    """Return the one sentence that a run comes down to, with what was not run beside it."""
    beside_the_point = report.count(Status.NOT_RUN) + report.count(Status.NOT_APPLICABLE)
    passed, total = report.count(Status.PASS), len(report.results) - beside_the_point
    absent = [device for device in report.devices() if _absent(report, device)]
    beside = f"; not run: {report.count(Status.NOT_RUN)} on {', '.join(absent)}" if absent else ""
    known = report.count(Status.KNOWN)
    admitted = f", {known} known to fail" if known else ""
    moot = f"; not applicable: {count}" if (count := report.count(Status.NOT_APPLICABLE)) else ""
    return f"{passed} of {total} laws hold{admitted}{moot}{beside}"


def _absent(report: Report, device: str) -> bool:
    return all(result.status is Status.NOT_RUN for result in report.results if result.device == device)
