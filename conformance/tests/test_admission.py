"""A failure is admitted with a reason, a link and an end, and counts only while it should."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from nameplate_conformance import Known
from nameplate_conformance.judging.admission import in_force, shortcomings
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.runner import Runner
from nameplate_conformance.law import all_laws
from nameplate_conformance.result import Result, Status
from nameplate_conformance.zoo import MUTANTS

TODAY = date(2026, 12, 1)
SOUND = Known("anchors are constant", "https://example.org/1", expires="2026-12-01", when="torch>=2")


@pytest.mark.parametrize(
    ("changes", "counts"),
    [
        ({}, True),
        ({"expires": ""}, True),
        ({"expires": "2026-11-30"}, False),
        ({"expires": "next year"}, False),
        ({"when": ""}, True),
        ({"when": "torch<2"}, False),
        ({"when": "no-such-package>1"}, False),
        ({"when": "torch is old"}, False),
        ({"when": "torch>=2; python_version>='3'"}, True),
        ({"when": "torch>=2; python_version<'3'"}, False),
        ({"expires": TODAY}, True),
        ({"expires": date(2026, 11, 30)}, False),
    ],
)
def test_an_admission_counts_until_its_day_and_under_its_condition(changes: dict[str, Any], counts: bool):
    """The last day counts, as text or date, the next does not; who is absent has no version; the unreadable is void."""
    known = replace(SOUND, **changes)

    assert in_force({"M06": known}, "M06", today=TODAY) == (known if counts else None)


def test_an_admission_of_another_law_or_of_dishonesty_does_not_count():
    """Only the law that is named is admitted, and those about honesty never are."""
    assert in_force({"M06": SOUND}, "M07", today=TODAY) is None
    assert in_force({"H02": SOUND}, "H02", today=TODAY) is None


@pytest.mark.parametrize(
    ("law", "changes", "problem"),
    [
        ("M99", {}, "M99: there is no such law"),
        ("H01", {}, "H01: a law about honesty cannot be admitted to fail"),
        ("M06", {"reason": " "}, "M06: no reason is given"),
        ("M06", {"issue": "#12"}, "M06: the issue is '#12', not a link"),
        ("M06", {"issue": "https://[12"}, "M06: the issue is 'https://[12', not a link"),
        ("M06", {"expires": "2026-11-30"}, "M06: it was admitted until 2026-11-30, see https://example.org/1"),
        ("M06", {"expires": "soon"}, "M06: expires is 'soon', not a date such as '2027-03-01'"),
        ("M06", {"when": "torch is old"}, "M06: when is 'torch is old', not a condition such as 'torch<2.16'"),
    ],
)
def test_each_shortcoming_of_an_admission_is_named(law: str, changes: dict[str, str], problem: str):
    """One that lacks something says what, and nothing else."""
    assert shortcomings({law: replace(SOUND, **changes)}, ["M06", "H01"], today=TODAY) == [problem]


def test_an_admission_in_bare_words_is_none():
    """A reason that stands there without `Known` admits nothing, and is named."""
    bare: Any = {"M06": "anchors are constant"}

    assert in_force(bare, "M06", today=TODAY) is None
    assert shortcomings(bare, ["M06"], today=TODAY) == ["M06: 'anchors are constant' is no Known(reason, issue)"]


def test_a_sound_admission_has_no_shortcoming():
    """A reason, a link, a date to come and a condition that can be read are all that is asked."""
    assert shortcomings({"M06": SOUND}, ["M06"], today=TODAY) == []


def judged(known: Known) -> Result:
    """Return what M06 makes of a model that breaks it, with an admission."""
    mutant = next(each for each in MUTANTS if each.name == "PlainTensor")
    architecture = replace(mutant.breed(), known={"M06": known})
    return Runner(profile="glance").attempt(Cell(architecture, all_laws()["M06"], "cpu"))


def test_an_admission_that_counts_makes_a_failure_known():
    """A failure is `KNOWN` while its admission counts."""
    assert judged(replace(SOUND, expires="9999-12-31")).status is Status.KNOWN


@pytest.mark.parametrize("changes", [{"expires": "2024-01-31"}, {"when": "torch<2"}])
def test_an_admission_that_does_not_count_leaves_a_failure(changes: dict[str, str]):
    """Once it has expired, or with another version, the failure is one."""
    result = judged(replace(SOUND, **{"expires": "", **changes}))

    assert result.status is Status.FAIL
    assert "is a tensor of shape" in result.message
