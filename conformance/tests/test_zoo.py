"""The proof that the suite can fail: each mutant is rejected by its law alone, and the reference by none."""

import pytest

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.judging.runner import check
from nameplate_conformance.law import Scope, all_laws
from nameplate_conformance.result import Status
from nameplate_conformance.selftest import judge_mutant, judge_reference, laws_without_a_mutant
from nameplate_conformance.zoo import MUTANTS, Mutant, relatives


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_mutant_is_rejected_by_its_law_alone(mutant: Mutant):
    """The laws that reject a mutant at the root are exactly the one that it was bred to break."""
    verdict = judge_mutant(mutant)

    assert verdict.roots == {mutant.breaks}, verdict.messages


def test_reference_breaks_no_law():
    """The healthy architecture that the mutants are bred from conforms."""
    verdict = judge_reference()

    assert verdict.roots == frozenset(), verdict.messages


@pytest.mark.parametrize("healthy", relatives(), ids=lambda healthy: healthy.label)
def test_healthy_relatives_break_no_law(healthy: Architecture):
    """A classifier, a backbone, a tower and a traveller conform too, so their mutants fail for their mistake."""
    report = check(healthy, profile="smoke")

    assert report.passed, [f"{each.law}: {each.message}" for each in report.results if each.status.is_bad]


@pytest.mark.parametrize(
    ("law", "label"),
    [
        *(("M15", "classifier"), ("M18", "classifier"), ("M16", "backbone"), ("T02", "tower")),
        *(("X02", "traveller"), ("X03", "traveller"), ("X06", "traveller")),
    ],
)
def test_laws_that_the_reference_lacks_are_judged_on_a_relative(law: str, label: str):
    """What does not apply to the reference passes with evidence on the relative that has it."""
    (healthy,) = (each for each in relatives() if each.label == f"zoo-{label}")
    (result,) = check(healthy, laws=[law], profile="smoke").results

    assert result.status is Status.PASS, result.message
    assert result.evidence


def test_every_law_has_a_mutant():
    """No law is without an architecture that shows it can fail."""
    assert laws_without_a_mutant() == []


def test_a_law_without_a_mutant_is_noticed():
    """Taking the mutants of one law away leaves that law uncovered."""
    others = [mutant for mutant in MUTANTS if mutant.breaks != "S02"]

    assert laws_without_a_mutant(others) == ["S02"]


def test_laws_come_after_what_they_need():
    """The graph of needs is closed and has no cycle: in the order of the laws, needs come first."""
    order = list(all_laws())

    assert all(order.index(need) < order.index(law.id) for law in all_laws().values() for need in law.needs)


def test_every_law_says_what_and_why():
    """Each law has a text of more than one clause, which reports quote."""
    assert all(len(law.text) > 80 and law.text.endswith(".") for law in all_laws().values())


def test_laws_for_devices_are_drawn():
    """Laws that run on each device are judged on drawn examples, never once."""
    assert all(law.scope is Scope.EXAMPLES for law in all_laws().values() if law.per_device)
