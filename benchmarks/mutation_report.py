"""What became of the changes: by module, by law, and those that nobody noticed."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from benchmarks.mutation_sites import Mutation
from benchmarks.report import Section

_GOAL = 0.9
_NOTES = (
    "Noticed: a law is broken, or cannot judge, or does not end.",
    "Set aside by hand, each with its reason: what nobody could see, or changes only the words of an error.",
    "Not run: no law runs the changed statement: a feature that no law speaks of, or an error that none provokes.",
    "Each law has four examples, most laws one architecture: a lower bound of what a close look notices.",
)


class Outcome(Enum):
    """What became of a change."""

    KILLED = "a law is broken"
    UNIMPORTABLE = "cannot be imported"
    CRASHED = "the suite itself fails"
    OVERRAN = "did not end"
    SURVIVED = "not noticed"
    UNREACHED = "not run"

    @property
    def is_noticed(self) -> bool:
        """Whether the suite has noticed the change."""
        return self not in {Outcome.SURVIVED, Outcome.UNREACHED}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one change.

    Attributes:
        mutation: The change.
        outcome: What became of it.
        law: The law that noticed it, or ``"import"``.
        message: What it said.
        seconds: How long it took.
        why: The reason for which it is set aside; empty if it counts.
    """

    mutation: Mutation
    outcome: Outcome
    law: str = ""
    message: str = ""
    seconds: float = 0.0
    why: str = ""

    @property
    def counts(self) -> bool:
        """Whether it is one that should be noticed."""
        return self.outcome.is_noticed or not self.why

    def record(self) -> dict[str, Any]:
        """Return it for a file of JSON, without the whole module."""
        mutation = self.mutation
        return {
            "module": mutation.module,
            "lines": mutation.lines,
            "operator": mutation.operator,
            "removed": mutation.removed,
            "added": mutation.added,
            "outcome": self.outcome.value,
            "law": self.law,
            "message": self.message,
            "seconds": round(self.seconds, 2),
            "why": self.why,
        }

    def __str__(self) -> str:
        mutation = self.mutation
        change = f"{mutation.module}:{mutation.lines[0]} {mutation.removed!r} -> {mutation.added!r}"
        return f"{self.seconds:.1f} s {self.outcome.value} {self.law} {change} {self.message[:80]}"


def sections(verdicts: Sequence[Verdict]) -> Iterator[Section]:
    """Yield the tables of figures."""
    packages = dict.fromkeys(_package(each) for each in verdicts)
    modules = dict.fromkeys(each.mutation.module for each in verdicts)
    columns = ("", "changes", "set aside", "noticed", "not noticed", "not run", "rate", "rate where run")
    rows = [_row(name, [each for each in verdicts if _package(each) == name]) for name in packages]
    yield Section("By package", columns, [*rows, _row("all", verdicts)], (*_NOTES, f"The goal is {_GOAL:.0%}."))
    rows = [_row(name, [each for each in verdicts if each.mutation.module == name]) for name in modules]
    yield Section("By module", columns, rows)
    outcomes = Counter(each.outcome.value for each in verdicts)
    yield Section("How they ended", ("", "changes"), [(name, str(count)) for name, count in outcomes.most_common()])
    laws = Counter(each.law for each in verdicts if each.outcome.is_noticed)
    yield Section("First noticed by", ("law", "changes"), [(name, str(count)) for name, count in laws.most_common()])


def markdown(verdicts: Sequence[Verdict], record: Mapping[str, Any]) -> Iterator[str]:
    """Yield the lines of the page."""
    yield "# The conformance suite against changes at random"
    yield ""
    yield f"Up to {record['sample']} changes of each module of at least forty lines of code, drawn with seed"
    yield f"{record['seed']}, judged by nothing but the laws, in {record['minutes']:.0f} minutes of a busy machine."
    yield f"Versions: {', '.join(f'{name} {number}' for name, number in record['versions'].items())}."
    for section in sections(verdicts):
        yield ""
        yield from section.markdown()
    for title, aside in (("Neither noticed nor set aside", False), ("Set aside", True)):
        yield ""
        yield f"## {title}"
        for each in verdicts:
            if not each.outcome.is_noticed and bool(each.why) is aside:
                yield from _shown(each)


def _shown(verdict: Verdict) -> Iterator[str]:
    mutation = verdict.mutation
    yield ""
    ending = f": {verdict.why}" if verdict.why else ""
    yield f"`{mutation.module}`, line {mutation.lines[0]}, {verdict.outcome.value}{ending}"
    yield ""
    yield "```diff"
    yield from (f"- {line}" for line in mutation.removed.splitlines())
    yield from (f"+ {line}" for line in mutation.added.splitlines())
    yield "```"


def _package(verdict: Verdict) -> str:
    return verdict.mutation.module.partition(".")[0]


def _row(name: str, verdicts: Sequence[Verdict]) -> tuple[str, ...]:
    counting = [each for each in verdicts if each.counts]
    noticed = sum(each.outcome.is_noticed for each in counting)
    unnoticed = sum(each.outcome is Outcome.SURVIVED for each in counting)
    unreached = sum(each.outcome is Outcome.UNREACHED for each in counting)
    rates = [f"{noticed / number:.0%}" if number else "-" for number in (len(counting), noticed + unnoticed)]
    aside = len(verdicts) - len(counting)
    return (f"`{name}`", *map(str, (len(verdicts), aside, noticed, unnoticed, unreached)), *rates)
