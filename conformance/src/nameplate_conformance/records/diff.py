"""What changed between two runs: which verdicts, which counterexamples, which laws, and what takes longer."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from nameplate_config.wording import listed, sentences
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.records.journal import Journal, call_of
from nameplate_conformance.result import Result, Status

SLOWER = 2.0
"""How many times as long a law must take to be worth a line."""

_NOTICEABLE = 0.5  # seconds: what takes less varies by itself

Key = tuple[str, str, str]
"""Architecture, law and device."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing that is not what it was.

    Attributes:
        kind: ``no longer holds``, ``now holds``, ``other verdict``, ``new``, ``gone``, ``other counterexample``,
            ``slower``, ``quicker`` or ``truncated``.
        where: Which verdict, such as ``mlp::S01[cpu]``; which run for ``truncated``.
        detail: What it was, and is.
    """

    kind: str
    where: str
    detail: str

    @property
    def is_loss(self) -> bool:
        """Whether something that held does not any more, or was not looked at to its end."""
        return self.kind in {"no longer holds", "truncated"}

    def __str__(self) -> str:
        return f"{self.kind}: {self.where}  {self.detail}".rstrip()


def changes(old: Journal, new: Journal) -> list[Change]:
    """Return what changed from one run to another, losses first.

    A law that held and was not judged any more, or has become not applicable, has been lost as well: nothing shows
    that it holds. Tentative laws are compared like others, but are never a loss.

    Raises:
        ConformanceError: If both are about architectures, and none is in both.
    """
    _require_comparable(old, new)
    before, after = _by_key(old), _by_key(new)
    found = [*_truncated(old, new), *_verdicts(before, after), *_counterexamples(before, after), *_times(before, after)]
    return sorted(found, key=lambda change: not change.is_loss)


def _require_comparable(old: Journal, new: Journal) -> None:
    before, after = old.report.architectures(), new.report.architectures()
    if before and after and set(before).isdisjoint(after):
        message = sentences(
            f"there is nothing to compare: the old run is about {listed(before)}, the new one about {listed(after)}.",
            "Give two runs of the same architecture",
        )
        raise ConformanceError(message)


def _by_key(journal: Journal) -> dict[Key, Result]:
    return {(each.architecture, each.law, each.device): each for each in journal.report.results}


def _truncated(old: Journal, new: Journal) -> Iterator[Change]:
    if old.complete and not new.complete:
        yield Change("truncated", "the new run", "was cut short; the old one was not")


def _verdicts(before: Mapping[Key, Result], after: Mapping[Key, Result]) -> Iterator[Change]:
    for key in [*before, *(key for key in after if key not in before)]:
        one, other = before.get(key), after.get(key)
        if other is None:
            assert one is not None, "a key of neither run"
            yield Change(_loss(one, "gone"), _where(key), f"was {one.status.value}, is not there any more")
        elif one is None:
            yield Change("new", _where(key), f"is {other.status.value}")
        elif one.status is not other.status:
            said = other.message.partition("\n")[0]
            detail = f"was {one.status.value}, is {other.status.value}{': ' if said else ''}{said}"
            yield Change(
                "now holds" if other.status is Status.PASS else _loss(one, "other verdict"), _where(key), detail
            )


def _loss(was: Result, otherwise: str) -> str:
    return "no longer holds" if was.status is Status.PASS and not was.tentative else otherwise


def _counterexamples(before: Mapping[Key, Result], after: Mapping[Key, Result]) -> Iterator[Change]:
    for key, one in before.items():
        other = after.get(key)
        if other is not None and one.status is other.status and one.is_root and call_of(one) != call_of(other):
            yield Change("other counterexample", _where(key), f"was {call_of(one)}, is {call_of(other)}")


def _times(before: Mapping[Key, Result], after: Mapping[Key, Result]) -> Iterator[Change]:
    for key, one in before.items():
        other = after.get(key)
        if other is None or max(one.seconds, other.seconds) < _NOTICEABLE:
            continue
        detail = f"was {one.seconds:.1f} s, is {other.seconds:.1f} s"
        if other.seconds > SLOWER * one.seconds:
            yield Change("slower", _where(key), detail)
        elif one.seconds > SLOWER * other.seconds:
            yield Change("quicker", _where(key), detail)


def _where(key: Key) -> str:
    architecture, law, device = key
    return f"{architecture}::{law}[{device}]"
