"""What a law is: an id that never changes, a sentence, what it builds on, and a check that counts its evidence.

The laws themselves are in `laws`, one module a level; running them is `runner`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import TYPE_CHECKING, NoReturn, TypedDict, Unpack

from nameplate_config.wording import listed
from nameplate_conformance.errors import ConformanceError, LawBrokenError, NotApplicableError

if TYPE_CHECKING:
    from nameplate_conformance.judging.case import Case

SPECS = ("2026.12",)
"""The versions of the specification, each a frozen list of laws (`spec`), the newest last.

Year and month, with two digits for the month: they are compared as texts.
"""

SPEC = SPECS[-1]
"""The version that is in force."""

LEVELS = ("harness", "config", "module", "persistence", "registry", "device", "training", "ecosystem")
"""What each level is about; conforming to one means conforming to all below it."""


class Strength(Enum):
    """How binding a law is."""

    MUST = "MUST"
    SHOULD = "SHOULD"


class Scope(Enum):
    """How often a law is checked."""

    ONCE = "once"
    EXAMPLES = "examples"


class Cost(Enum):
    """What one example of a law takes, by which profiles decide how many it gets."""

    CHEAP = "cheap"
    COMPILE = "compile"
    PROCESS = "process"


@dataclass(slots=True)
class Evidence:
    """What a check has really compared. A law without evidence has shown nothing and counts as failed."""

    counts: Counter[str] = field(default_factory=Counter)

    def count(self, what: str, number: int = 1) -> None:
        """Note that *number* more things were compared."""
        if number:
            self.counts[what] += number

    def __str__(self) -> str:
        return ", ".join(f"{number:,} {what}" for what, number in self.counts.items()) or "nothing compared"


Check = Callable[["Case", Evidence], None]


@dataclass(frozen=True, slots=True)
class Law:
    """One property that an architecture must have.

    Attributes:
        id: A letter for the level's subject and a number; never used again for another law.
        level: Index into `LEVELS`.
        title: A few words.
        text: The whole law and why it matters.
        check: Raises `LawBrokenError` if it does not hold for a case.
        needs: Ids of laws without which a failure of this one would mean nothing.
        scope: Whether it is checked for drawn examples, or once.
        per_device: Whether it is checked on each device.
        strength: How binding it is.
        tentative: Whether it is only reported, until the next specification makes it binding.
        cost: What one example takes.
        since: The version of the specification from which on it counts; a later one than `SPEC` as long as it is
            tried out.
    """

    id: str
    level: int
    title: str
    text: str
    check: Check
    needs: tuple[str, ...] = ()
    scope: Scope = Scope.EXAMPLES
    per_device: bool = False
    strength: Strength = Strength.MUST
    tentative: bool = False
    cost: Cost = Cost.CHEAP
    since: str = SPEC


_laws: dict[str, Law] = {}


class _Options(TypedDict, total=False):
    """What may be said of a law beside its id, title, level and needs: attributes of `Law`."""

    scope: Scope
    per_device: bool
    strength: Strength
    tentative: bool
    cost: Cost
    since: str


def law(
    law_id: str, title: str, *, level: int, needs: Sequence[str] = (), **options: Unpack[_Options]
) -> Callable[[Check], Check]:
    """Make a check into a law; its docstring is the law's text."""

    def define(check: Check) -> Check:
        assert law_id not in _laws, f"{law_id} is defined twice"
        text = " ".join((check.__doc__ or "").split())
        make: Callable[..., Law] = Law  # the options are attributes of it, which no type checker sees
        _laws[law_id] = make(law_id, level, title, text, check, tuple(needs), **options)
        return check

    return define


def all_laws() -> dict[str, Law]:
    """Return every law by id, sorted by level and id; each comes after all that it needs."""
    from nameplate_conformance import laws  # noqa: F401, PLC0415 - defines them, and imports this module

    return dict(_placed(tuple(_laws.values())))


def laws_of(spec: str | None = None) -> dict[str, Law]:
    """Return the laws of one version of the specification, in the order of `all_laws`.

    Args:
        spec: The version; not given, the one in force and whatever the next one tries out.

    Raises:
        ConformanceError: If there is no such version.

    Example:
        >>> laws_of("2026.12").keys() <= laws_of().keys()
        True
    """
    if spec is None:
        return all_laws()
    if spec not in SPECS:
        message = f"there is no version {spec!r} of the specification; there are {listed(SPECS)}."
        raise ConformanceError(message)
    return {law.id: law for law in all_laws().values() if law.since <= spec}


def binding(level: int, spec: str = SPEC) -> list[Law]:
    """Return the laws up to a level that count by a version of the specification, in the order of `all_laws`."""
    return [law for law in all_laws().values() if law.level <= level and law.since <= spec and not law.tentative]


@lru_cache(maxsize=8)
def _placed(laws: tuple[Law, ...]) -> dict[str, Law]:
    ordered = sorted(laws, key=lambda each: (each.level, each.id))
    placed: dict[str, Law] = {}
    while ordered:
        ready = next(each for each in ordered if all(need in placed for need in each.needs))
        ordered.remove(ready)
        placed[ready.id] = ready
    return placed


def broken(message: str) -> NoReturn:
    """Say that a law does not hold."""
    raise LawBrokenError(message)


def inapplicable(message: str) -> NoReturn:
    """Say that the architecture has nothing that the law speaks of."""
    raise NotApplicableError(message)


def require(condition: object, message: str) -> None:
    """Say that a law does not hold unless *condition* is true."""
    if not condition:
        raise LawBrokenError(message)
