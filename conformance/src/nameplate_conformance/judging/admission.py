"""Failures that are admitted: what an admission must say, for how long it counts, and with which versions.

Reads neither torch nor hypothesis: a report that quotes admissions loads without either.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from importlib.metadata import PackageNotFoundError, version
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement

from nameplate_config.wording import shown

HONESTY = "H"
"""The letter of the laws that nobody may admit to break: those about admissions themselves."""


@dataclass(frozen=True, slots=True)
class Known:
    """A failure that is admitted: the law fails for this architecture, and here is why.

    Attributes:
        reason: Why it fails, a sentence.
        issue: Where it is being worked on, a link.
        expires: The last day on which the admission counts, such as ``"2027-03-01"``; empty if it has none.
        when: The versions for which it counts, such as ``"torch<2.16"``; empty means all.

    Example:
        >>> Known("a graph break in the stem", "https://example.org/12", when="torch<2.16").expires
        ''
    """

    reason: str
    issue: str
    expires: str = ""
    when: str = ""


def in_force(known: Mapping[str, Known], law_id: str, *, today: date | None = None) -> Known | None:
    """Return the admission of a law's failure, if there is one that counts.

    Args:
        known: The admissions by the law's id.
        law_id: The law.
        today: The day on which it should count; this one if not given.

    Returns:
        None if there is none, it has expired, its condition does not hold or cannot be read, or it admits a law about
        honesty: the law is then judged as any other.

    Example:
        >>> in_force({"K02": Known("…", "https://example.org/12", expires="2026-12-31")}, "K02", today=date(2027, 1, 1))
    """
    found = known.get(law_id)
    if not isinstance(found, Known) or law_id.startswith(HONESTY):
        return None
    try:
        counts = not _has_expired(found, today or _today()) and _holds(found.when)
    except ValueError:
        return None
    return found if counts else None


def shortcomings(known: Mapping[str, Known], law_ids: Iterable[str], *, today: date | None = None) -> list[str]:
    """Return what is wrong with admissions, a clause for each problem that begins with the law's id.

    Args:
        known: The admissions by the law's id.
        law_ids: The laws that there are.
        today: The day that dates are compared with; this one if not given.

    Example:
        >>> shortcomings({"M99": Known("it is odd", "https://example.org/12")}, ["M01"])
        ['M99: there is no such law']
    """
    every = set(law_ids)
    return [f"{law_id}: {text}" for law_id, each in known.items() for text in _problems(law_id, each, every, today)]


def _problems(law_id: str, known: Known, every: set[str], today: date | None) -> Iterator[str]:
    if law_id not in every:
        yield "there is no such law"
    if law_id.startswith(HONESTY):
        yield "a law about honesty cannot be admitted to fail"
    if not isinstance(known, Known):
        yield f"{shown(known)} is no Known(reason, issue)"
        return
    if not known.reason.strip():
        yield "no reason is given"
    if not _is_link(known.issue):
        yield f"the issue is {known.issue!r}, not a link"
    try:
        if _has_expired(known, today or _today()):
            yield f"it was admitted until {known.expires}, see {known.issue}"
    except ValueError:
        yield f"expires is {known.expires!r}, not a date such as '2027-03-01'"
    try:
        _holds(known.when)
    except InvalidRequirement:
        yield f"when is {known.when!r}, not a condition such as 'torch<2.16'"


def _is_link(text: str) -> bool:
    try:
        link = urlsplit(text)
    except ValueError:
        return False
    return link.scheme in {"http", "https"} and bool(link.netloc)


def _today() -> date:
    return datetime.now(UTC).date()


def _has_expired(known: Known, today: date) -> bool:
    return bool(known.expires) and date.fromisoformat(str(known.expires)) < today


def _holds(condition: str) -> bool:
    """Whether a package that a condition names is installed in one of its versions, and its marker holds."""
    if not condition:
        return True
    wanted = Requirement(condition)
    if wanted.marker is not None and not wanted.marker.evaluate():
        return False
    try:
        return wanted.specifier.contains(version(wanted.name), prereleases=True)
    except PackageNotFoundError:
        return False
