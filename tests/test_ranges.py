"""Siblings are released one at a time, so the ranges between them must fit the versions that stand here.

An environment that already exists never notices a range that has become too tight; only a fresh one does.
Hence a law that costs a millisecond.
"""

from pathlib import Path

import pytest
from packaging.requirements import Requirement
from workspace import Member, members, range_problems


def family(requirement: str, version: str = "0.2.0") -> list[Member]:
    """Return two siblings, the second of which asks for the first."""
    return [
        Member(Path("config"), "nameplate-config", version, ()),
        Member(Path("model"), "nameplate-model", "0.1.0", (Requirement(requirement), Requirement("torch"))),
    ]


def test_the_workspace_has_its_five_members() -> None:
    """Every package of the family is found, so that no law passes by looking at nothing."""
    expected = ["auto", "config", "conformance", "model", "resnet"]

    assert expected == [member.short_name for member in members()]


def test_siblings_admit_each_other() -> None:
    """Every requirement between siblings is bounded on both sides and admits the version that stands here."""
    assert list(range_problems(members())) == []


def test_a_fitting_range_is_no_problem() -> None:
    """A bounded range that holds the sibling's version is accepted, and third parties may be unbounded."""
    assert list(range_problems(family("nameplate-config>=0.2,<0.3"))) == []


def test_a_compatible_release_bounds_both_sides() -> None:
    """`~=` is a lower and an upper bound at once."""
    assert list(range_problems(family("nameplate-config~=0.2.0"))) == []


@pytest.mark.parametrize(
    ("requirement", "problem"),
    [
        ("nameplate-config>=0.1,<0.2", "which shuts out 0.2.0"),
        ("nameplate-config<0.3", "which has no lower bound"),
        ("nameplate-config>=0.2", "which has no upper bound"),
    ],
)
def test_a_bad_range_is_reported(requirement: str, problem: str) -> None:
    """The probe names the package, its requirement and what is wrong with it."""
    (found,) = range_problems(family(requirement))

    assert found == f"nameplate-model asks for {Requirement(requirement)}, {problem}"


def test_a_pin_is_reported() -> None:
    """`==` between siblings is no range: it would force them to be released together."""
    problems = list(range_problems(family("nameplate-config==0.2.0")))

    assert [problem.rpartition("which ")[2] for problem in problems] == [
        "has no lower bound",
        "has no upper bound",
    ]


def test_a_prerelease_is_admitted_by_its_range() -> None:
    """A sibling at a release candidate still fits the range of that release."""
    assert list(range_problems(family("nameplate-config>=0.2rc1,<0.3", version="0.2.0rc1"))) == []
