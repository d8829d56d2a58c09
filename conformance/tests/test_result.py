"""What follows from results: the level that a report reaches, and what stands for a counterexample."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest

from nameplate_conformance import law as law_module
from nameplate_conformance.judging.case import Case
from nameplate_conformance.judging.runner import check
from nameplate_conformance.law import LEVELS, SPEC, Evidence, Law, Strength, all_laws, broken
from nameplate_conformance.result import Report, Result, Status
from nameplate_conformance.zoo import reference

TOP = len(LEVELS) - 1


def found(law: Law, status: Status = Status.PASS, device: str = "cpu") -> Result:
    return Result(law=law.id, architecture="a", device=device, status=status, tentative=law.tentative)


def report(*changed: Result, without: str = "") -> Report:
    """Return a report in which every law holds, apart from some."""
    results = {(law.id, "cpu"): found(law) for law in all_laws().values() if law.id != without}
    results |= {(each.law, each.device): each for each in changed}
    return Report(spec=SPEC, profile="ci", versions={}, results=list(results.values()))


@contextmanager
def defined(law: Law) -> Iterator[None]:
    law_module._laws[law.id] = law
    try:
        yield
    finally:
        del law_module._laws[law.id]


def test_a_report_in_which_every_law_holds_reaches_the_top():
    """With every law judged and none failing, the highest level is reached."""
    assert report().level == TOP


@pytest.mark.parametrize("status", [Status.FAIL, Status.BLOCKED, Status.VACUOUS, Status.ERROR, Status.KNOWN])
def test_a_binding_law_that_does_not_hold_ends_the_levels(status: Status):
    """A binding law of level 3 that does not hold, admitted or not, leaves level 2."""
    assert report(found(all_laws()["S01"], status)).level == 2


def test_a_law_that_was_not_judged_ends_the_levels():
    """A report without one binding law claims nothing about its level."""
    assert report(without="C01").level == 0


def test_an_absent_device_takes_no_level_and_gives_none():
    """Not run on one device beside a pass on another keeps the level; not run on the only one does not."""
    law = all_laws()["D02"]

    assert report(found(law, Status.NOT_RUN, "cuda")).level == TOP
    assert report(found(law, Status.NOT_RUN)).level == law.level - 1


def test_laws_that_do_not_apply_and_laws_that_only_should_keep_the_level():
    """What an architecture lacks, and a failure of a law that only should hold, cost no level."""
    should = next(law for law in all_laws().values() if law.strength is Strength.SHOULD and not law.tentative)

    assert report(found(all_laws()["C11"], Status.NOT_APPLICABLE), found(should, Status.FAIL)).level == TOP


def test_an_empty_report_reaches_no_level():
    """Nothing judged, nothing claimed."""
    assert Report(spec=SPEC, profile="ci", versions={}, results=[]).level == -1


def test_a_tentative_law_fails_no_run():
    """A law that is only being tried out is reported with its verdict, and the run passes."""

    def never(_case: Case, _evidence: Evidence) -> None:
        broken("never holds")

    with defined(Law("T97", 0, "tried out", "It never holds.", never, tentative=True)):
        trial = check(reference(), laws=["T97", "C09"], profile="glance")

    assert [each.status for each in trial.results] == [Status.FAIL, Status.PASS]
    assert trial.passed
    assert trial.roots() == frozenset()


def test_the_id_stands_for_the_counterexample():
    """The id depends on law, architecture, device, example and seed, and on nothing else."""
    one = replace(found(all_laws()["S01"], Status.FAIL), kwargs={"width": 1}, head="AutoModel")
    others = [replace(one, kwargs={"width": 2}), replace(one, head="AutoBackbone"), replace(one, seed=1)]

    assert one.id == replace(one, message="said otherwise", seconds=3.0, examples=9).id
    assert len({each.id for each in (one, *others)}) == 4
    assert len(one.id) == 6
