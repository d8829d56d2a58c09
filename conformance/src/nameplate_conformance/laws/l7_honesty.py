"""Level 7, honesty: what an architecture says of itself is true, and what the suite says of it can be said again."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from nameplate_conformance.architecture import Architecture, Tags
from nameplate_conformance.drawing.coverage import rows
from nameplate_conformance.drawing.strategies import Kwargs
from nameplate_conformance.errors import ConformanceError, NotApplicableError
from nameplate_conformance.instruments.account import account_elsewhere, account_of, difference
from nameplate_conformance.instruments.naming import is_first_head
from nameplate_conformance.judging.admission import shortcomings
from nameplate_conformance.judging.case import Case
from nameplate_conformance.judging.isolation import isolated
from nameplate_conformance.law import Cost, Evidence, Scope, all_laws, inapplicable, law, require

_READERS = {
    "batch_independent": ("M13", "M10"),
    "builds_on_meta": ("M08", "M11"),
    "compilable": ("K02", "K03"),
    "exportable": ("M11", "K01"),
    "half_precision": ("D09",),
}
"""The laws that a tag switches off when it is False."""

_UNUSED = ("T01",)
_ROWS = 6
_REPEATED = ("C01", "M10")


@law("H01", "what it says it cannot, it cannot", level=7, needs=["M05", "M10"], scope=Scope.ONCE, cost=Cost.COMPILE)
def what_it_says_it_cannot_it_cannot(case: Case, evidence: Evidence) -> None:
    """Each tag that denies something is true: taken away, one of the laws that it switches off fails for some config;
    and each pattern of `unused_parameters` covers one that is. A tag that was true once and is not any more hides
    whatever breaks next. Fields that are called passive, and checkpointing, are compared by M12 and T03."""
    if not is_first_head(case):
        return  # tags belong to the architecture: one of its heads is enough to witness them
    claims = list(_claims(case.architecture.tags))
    if not claims:
        inapplicable("the architecture says of nothing that it cannot do it")
    for text, bolder, readers in claims:
        bold = replace(case.architecture, tags=bolder)
        witness = any(_fails(each, law_id) for law_id in readers for each in _examples(case, bold, law_id))
        require(witness, f"the tag {text} is stale: without it nothing fails in {' or '.join(readers)}; remove it")
        evidence.count("tags")


def _claims(tags: Tags) -> Iterator[tuple[str, Tags, tuple[str, ...]]]:
    """Yield each denial as text, the tags without it, and the laws that read it."""
    for name, readers in _READERS.items():
        if not getattr(tags, name):
            affirmed: dict[str, Any] = {name: True}
            yield f"{name}=False", replace(tags, **affirmed), readers
    for pattern in tags.unused_parameters:
        others = tuple(each for each in tags.unused_parameters if each != pattern)
        yield f"unused_parameters={pattern!r}", replace(tags, unused_parameters=others), _UNUSED


def _examples(case: Case, architecture: Architecture, law_id: str) -> Iterator[Case]:
    """Yield the examples on which a law could fail, the simplest first."""
    every: list[Kwargs] = [case.kwargs]
    if all_laws()[law_id].scope is Scope.EXAMPLES:
        every += rows(case.architecture)[:_ROWS]
    for kwargs in every:
        for head in architecture.models:
            yield replace(case, architecture=architecture, head=head, kwargs=kwargs)


def _fails(case: Case, law_id: str) -> bool:
    with isolated():
        try:
            all_laws()[law_id].check(case, Evidence())
        except (ConformanceError, NotApplicableError):
            return False
        except Exception:  # noqa: BLE001 - as in a run, whatever an architecture raises is its verdict
            return True
    return False


@law("H02", "what is admitted has a reason and an end", level=7, scope=Scope.ONCE)
def what_is_admitted_has_a_reason_and_an_end(case: Case, evidence: Evidence) -> None:
    """Each admitted failure names a law that there is, says why in words, links to where it is being worked on, can be
    read, and has not expired; laws about honesty are never admitted to fail. An admission that nobody has to look
    at again is a law switched off for good. That it really fails, its own verdict says: otherwise that is `stale`."""
    known = case.architecture.known
    if not known:
        inapplicable("no failure is admitted")
    wrong = shortcomings(known, all_laws())
    require(not wrong, f"of {len(known)} admitted failures: {'; '.join(wrong)}")
    evidence.count("admissions", len(known))


@law("H03", "judged again, the same is found", level=7, needs=_REPEATED, scope=Scope.ONCE, cost=Cost.PROCESS)
def judged_again_the_same_is_found(case: Case, evidence: Evidence) -> None:
    """Under one seed the suite judges the same examples and finds the same twice in a process, and in another one in
    which texts have other hashes, where that process can import the architecture. Fields or strategies that follow
    a clock, a counter or the order of a set would make a counterexample that nobody sees a second time."""
    if not is_first_head(case):
        return  # an account takes in every head
    first = account_of(case.architecture, _REPEATED)
    again = {"again": account_of(case.architecture, _REPEATED)}
    elsewhere = account_elsewhere(case.architecture, _REPEATED)
    if elsewhere is not None:
        again["in a fresh process"] = elsewhere
    for where, found in again.items():
        apart = difference(first, found)
        require(not apart, f"judged {where} under the same seed, {apart}")
        evidence.count("examples", sum(len(entry["examples"]) for entry in found))
