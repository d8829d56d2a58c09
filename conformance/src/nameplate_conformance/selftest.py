"""Judging the judge: every mutant of the zoo must be rejected by its law and by no other, the reference by none."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from nameplate_conformance.law import all_laws
from nameplate_conformance.runner import HOST, Runner, cells, check, judged
from nameplate_conformance.zoo import MUTANTS, Mutant, reference


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the suite made of one mutant.

    Attributes:
        mutant: The mutant; None stands for the healthy reference.
        roots: The laws that rejected it by themselves.
        messages: What they said.
    """

    mutant: Mutant | None
    roots: frozenset[str]
    messages: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Whether exactly the expected laws rejected it."""
        return self.roots == (frozenset() if self.mutant is None else {self.mutant.breaks})


def judge_reference(profile: str = "dev") -> Verdict:
    """Judge the architecture that breaks no law."""
    report = check(reference(), profile=profile)
    return Verdict(None, report.roots(), tuple(result.message for result in report.results if result.message))


def judge_mutant(mutant: Mutant, profile: str = "dev", others: str = "glance") -> Verdict:
    """Judge one mutant by every law.

    Args:
        mutant: The mutant.
        profile: How closely its own law looks.
        others: How closely the others look, which should find nothing; most of the time goes there.
    """
    with mutant.sabotage():
        runner = Runner(profile=others, closer={mutant.breaks: profile})
        report = judged(runner, cells([mutant.breed()], [HOST]))
    roots = report.roots()
    return Verdict(mutant, roots, tuple(f"{r.law}: {r.message}" for r in report.results if r.law in roots))


def selftest(
    mutants: Iterable[Mutant] = MUTANTS, *, progress: Callable[[Verdict], None] = lambda _: None
) -> list[Verdict]:
    """Judge the reference and every mutant."""
    verdicts = []
    for verdict in (judge_reference(), *map(judge_mutant, mutants)):
        progress(verdict)
        verdicts.append(verdict)
    return verdicts


def laws_without_a_mutant(mutants: Iterable[Mutant] = MUTANTS) -> list[str]:
    """Return the laws that no mutant breaks: nobody has shown that they can fail."""
    return sorted(set(all_laws()) - {mutant.breaks for mutant in mutants})
