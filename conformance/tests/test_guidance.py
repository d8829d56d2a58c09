"""Whoever fails a law is told why it matters and what to write, and is sent to no link that leads nowhere."""

import re

import pytest

from nameplate_conformance import ConformanceError
from nameplate_conformance.guidance import guidance
from nameplate_conformance.law import all_laws
from nameplate_conformance.zoo import MUTANTS
from nameplate_conformance.zoo.museum import REPORTED

SHORTEST, LONGEST = 60, 420
LINK = re.compile(r"https://[a-z.]+/[\w./-]+[\w]")


EVERY = {law_id: guidance(law_id) for law_id in all_laws()}


def test_every_law_has_guidance_of_a_readable_length():
    """Why and how are each a sentence or more, and less than a page."""
    texts = [(law_id, text) for law_id, each in EVERY.items() for text in (each.why, each.fix)]
    wrong = [(law_id, text) for law_id, text in texts if not SHORTEST <= len(text) <= LONGEST or text[-1] != "."]

    assert wrong == []


def test_every_bug_has_a_title_and_a_link_of_its_own():
    """A bug is named, and linked once in the guidance for a law."""
    for law_id, each in EVERY.items():
        assert all(bug.title and LINK.fullmatch(bug.url) for bug in each.bugs), law_id
        assert len({bug.url for bug in each.bugs}) == len(each.bugs), law_id


def test_a_law_that_does_not_exist_has_none():
    """Asking for guidance on a law that there is not names the nearest one."""
    with pytest.raises(ConformanceError, match="there is no guidance for a law 'M99'"):
        guidance("M99")


def test_the_museum_shows_mutants_that_there_are():
    """Each exhibit is a mutant of the zoo and has a link."""
    shown = {mutant.name: mutant.museum for mutant in MUTANTS if mutant.museum}

    assert shown.items() >= REPORTED.items()
    assert all(LINK.fullmatch(link) for link in shown.values())
