"""Judging the judge: every mutant of the zoo must be rejected by its law and by no other, the reference by none."""

import multiprocessing
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from nameplate_conformance.judging.runner import HOST, Runner, cells, check, judged
from nameplate_conformance.law import Strength, all_laws
from nameplate_conformance.result import Report, Status
from nameplate_conformance.zoo import MUTANTS, Mutant, reference


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite made of one mutant.

    Attributes:
        mutant: The mutant; None stands for the healthy reference.
        roots: The laws that rejected it by themselves.
        messages: What they said.
        others: The tests in the manner of Transformers that rejected it; None if they were not asked.
    """

    mutant: Mutant | None
    roots: frozenset[str]
    messages: tuple[str, ...]
    others: tuple[str, ...] | None = None

    @property
    def right(self) -> bool:
        """Whether exactly the expected laws rejected it."""
        return self.roots == (frozenset() if self.mutant is None else {self.mutant.breaks})


def judge_reference(profile: str = "dev", *, compare: bool = False) -> Verdict:
    """Judge the architecture that breaks no law.

    Args:
        profile: How closely.
        compare: Whether to ask the tests of others, too.
    """
    report = check(reference(), profile=profile)
    messages = tuple(result.message for result in report.results if result.message)
    return Verdict(None, report.roots(), messages, _others(None) if compare else None)


def judge_mutant(mutant: Mutant, profile: str = "dev", others: str = "glance", *, compare: bool = False) -> Verdict:
    """Judge one mutant by every law.

    Args:
        mutant: The mutant.
        profile: How closely its own law looks.
        others: How closely the others look, which should find nothing; most of the time goes there.
        compare: Whether to ask the tests of others, too.
    """
    runner = Runner(profile=others, closer={mutant.breaks: profile})
    with mutant.sabotage():
        report = judged(runner, cells([mutant.breed()], [HOST]))
    roots = report.roots() | _tentatively(report, mutant)
    messages = tuple(f"{r.law}: {r.message}" for r in report.results if r.law in roots)
    return Verdict(mutant, roots, messages, _others(mutant) if compare else None)


def _tentatively(report: Report, mutant: Mutant) -> frozenset[str]:
    """Return the mutant's own law if it is a tentative one that rejects it, which makes no run fail."""
    own = [each for each in report.results if each.law == mutant.breaks and each.tentative]
    return frozenset(each.law for each in own if each.status is Status.FAIL)


def selftest(
    mutants: Iterable[Mutant] = MUTANTS,
    *,
    processes: int = 1,
    compare: bool = False,
    progress: Callable[[Verdict], None] = lambda _: None,
) -> list[Verdict]:
    """Judge the reference and every mutant.

    Args:
        mutants: Mutants of the zoo.
        processes: How many processes judge at once; with one, it is this one.
        compare: Whether to ask the tests in the manner of Transformers, too.
        progress: Called with each verdict.
    """
    verdicts = []
    for verdict in _verdicts([None, *mutants], processes, compare=compare):
        progress(verdict)
        verdicts.append(verdict)
    return verdicts


def laws_without_a_mutant(mutants: Iterable[Mutant] = MUTANTS) -> list[str]:
    """Return the laws that no mutant breaks: nobody has shown that they can fail."""
    return sorted(set(all_laws()) - {mutant.breaks for mutant in mutants})


def binding_laws() -> set[str]:
    """Return the ids of the laws that every architecture must keep."""
    return {law.id for law in all_laws().values() if law.strength is Strength.MUST and not law.tentative}


def _verdicts(mutants: list[Mutant | None], processes: int, *, compare: bool) -> Iterator[Verdict]:
    if processes == 1:
        yield from (_verdict(mutant, compare=compare) for mutant in mutants)
        return
    by_name = {mutant.name: mutant for mutant in mutants if mutant is not None}
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        # Mutants are told by their names, since many are classes inside of functions.
        tasks = [("" if mutant is None else mutant.name, compare) for mutant in mutants]
        for name, roots, messages, others in pool.imap(_judge_by_name, tasks):
            yield Verdict(by_name.get(name), roots, messages, others)


def _judge_by_name(task: tuple[str, bool]) -> tuple[str, frozenset[str], tuple[str, ...], tuple[str, ...] | None]:
    name, compare = task
    verdict = _verdict(next((each for each in MUTANTS if each.name == name), None), compare=compare)
    return name, verdict.roots, verdict.messages, verdict.others


def _verdict(mutant: Mutant | None, *, compare: bool) -> Verdict:
    return judge_reference(compare=compare) if mutant is None else judge_mutant(mutant, compare=compare)


def _others(mutant: Mutant | None) -> tuple[str, ...]:
    from nameplate_conformance.comparison import rejected  # noqa: PLC0415 - only a comparison needs it

    if mutant is None:
        return tuple(rejected(reference()))
    with mutant.sabotage():
        return tuple(rejected(mutant.breed()))
