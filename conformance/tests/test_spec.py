"""The specification: what a version of it says never changes, and a newer suite still judges by it.

Run ``python conformance/tests/test_spec.py --write`` to freeze the version in force; one that is frozen is left alone.
"""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import nameplate_conformance
from nameplate_conformance import ConformanceError, check
from nameplate_conformance import law as law_module
from nameplate_conformance.judging.runner import HOST, cells
from nameplate_conformance.law import SPEC, SPECS, Law, all_laws, laws_of
from nameplate_conformance.report.matrix import tally
from nameplate_conformance.samples.reports import conforming, made
from nameplate_conformance.zoo import reference

NEXT = "2099.01"


def place(spec: str) -> Path:
    return Path(nameplate_conformance.__file__).with_name("schema") / f"spec-{spec}.json"


def frozen(spec: str) -> dict[str, Any]:
    """Return what a version says of each law."""
    return json.loads(place(spec).read_text(encoding="utf-8"))["laws"]


def said(law: Law) -> dict[str, Any]:
    return {"level": law.level, "strength": law.strength.value, "tentative": law.tentative, "title": law.title}


@contextmanager
def added(**changes: Any) -> Iterator[str]:
    """Add a law to those there are, like C01 but for some attributes, and yield its id."""
    law_module._laws["C99"] = replace(all_laws()["C01"], id="C99", needs=(), **changes)
    try:
        yield "C99"
    finally:
        del law_module._laws["C99"]


@pytest.mark.parametrize("spec", SPECS)
def test_a_version_keeps_its_laws(spec: str):
    """Every law that counts by a version is there, as binding and on the same level, and no other one has joined."""
    binding = {name: each for name, each in frozen(spec).items() if not each["tentative"]}
    now = {law.id: law for law in laws_of(spec).values() if not law.tentative}

    assert {name: (law.level, law.strength.value) for name, law in now.items()} == {
        name: (each["level"], each["strength"]) for name, each in binding.items()
    }


@pytest.mark.parametrize("spec", SPECS)
def test_an_id_is_never_used_again(spec: str):
    """What a version tried out still has its id and its level, whether or not a later one made it binding."""
    for name, each in frozen(spec).items():
        assert all_laws()[name].level == each["level"]


def test_versions_are_compared_as_texts():
    """They are a year and a month of two digits, the newest last."""
    assert all(re.fullmatch(r"20\d\d\.(0[1-9]|1[0-2])", spec) for spec in SPECS)
    assert list(SPECS) == sorted(SPECS)


def test_a_law_of_no_version_is_tentative():
    """What the next version tries out fails no run."""
    assert all(law.tentative for law in all_laws().values() if law.since not in SPECS)


@pytest.mark.parametrize("spec", SPECS)
def test_a_version_is_complete(spec: str):
    """A law builds on none that only a later version has."""
    laws = laws_of(spec)

    assert all(need in laws for law in laws.values() for need in law.needs)


def test_what_the_next_version_tries_out_is_judged_unless_a_version_is_named():
    """Without a version every law is judged; by a version, none that came later."""
    with added(since=NEXT, tentative=True) as law:
        newest = {cell.law.id for cell in cells([reference()], [HOST])}
        named = {cell.law.id for cell in cells([reference()], [HOST], spec=SPEC)}

    assert newest - named == {law}
    assert named == laws_of(SPEC).keys()


def test_an_old_verdict_comes_back():
    """A report by a version claims its level and counts its laws, whatever a later one demands."""
    old = made(*conforming())
    with added(since=NEXT):
        found = tally(old, "mlp"), old.level, made(*conforming(), spec=NEXT).level

    assert found == (tally(old, "mlp"), old.level, old.level)


def test_a_later_law_counts_later():
    """By the version that makes it binding, a report without it reaches no such level."""
    with added(since=NEXT):
        assert made(*(each for each in conforming() if each.law != "C99"), spec=NEXT).level == 0


def test_a_report_says_by_which_version_it_judged():
    """The version that was asked for stands in the report, and the one in force if none was."""
    asked = check(reference(), laws=["A02"], profile="glance", spec=SPECS[0])
    usual = check(reference(), laws=["A02"], profile="glance")

    assert (asked.spec, usual.spec) == (SPECS[0], SPEC)


def test_a_version_that_does_not_exist_is_refused():
    """The error lists those that do."""
    with pytest.raises(
        ConformanceError, match=r"^there is no version '1999\.01' of the specification; there are 2026\."
    ):
        check(reference(), spec="1999.01")


def test_a_law_that_a_version_lacks_is_refused():
    """The error says that it is the version that lacks it."""
    with (
        added(since=NEXT, tentative=True) as law,
        pytest.raises(ConformanceError, match=rf"^there is no law '{law}' in specification {re.escape(SPEC)}; `namep"),
    ):
        cells([reference()], [HOST], [law], spec=SPEC)


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    if place(SPEC).exists():
        sys.exit(f"{SPEC} is frozen. Add the next version to SPECS first, and give its laws `since`.")
    content = {"spec": SPEC, "laws": {law.id: said(law) for law in laws_of(SPEC).values()}}
    place(SPEC).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
