"""What a person sees: the terminal, the page, the command line."""

from html.parser import HTMLParser

import pytest
from rich.console import Console

from nameplate_conformance import Report, Section, check, print_report, render_page
from nameplate_conformance.report.matrix import claim, matrix, verdict
from nameplate_conformance.zoo import MUTANTS, reference


@pytest.fixture(scope="module")
def good() -> Report:
    """Return a report of an architecture that conforms, with a device that is absent."""
    return check(reference(), laws=["C01", "M01", "S01"], devices=["cpu", "xpu"], profile="smoke")


@pytest.fixture(scope="module")
def bad() -> Report:
    """Return a report of one that does not."""
    mutant = next(each for each in MUTANTS if each.name == "ForgetsAField")
    return check(mutant.breed(), laws=["C01", "C02"], profile="smoke")


def printed(report: Report) -> str:
    """Return what a terminal of 100 columns shows."""
    console = Console(width=100, record=True, force_terminal=False)
    print_report(report, console)
    return console.export_text()


def test_absent_device_is_never_green(good: Report):
    """The column of a device that was not run says so and has no colour of success."""
    crossings = [row[1][1] for row in matrix(good, "zoo-reference")]

    assert {crossing.tone for crossing in crossings} == {"none"}
    assert "not run" in {crossing.text for crossing in crossings}


def test_claim_says_no_more_than_was_shown(good: Report, bad: Report):
    """A good report of a few laws claims no level, and only the device that was judged; a bad one claims nothing."""
    assert claim(good) == "reaches no level on cpu"
    assert claim(bad) == "does not conform"


def test_verdict_counts_what_was_not_run_beside(good: Report):
    """What was not run is neither counted as holding nor as judged."""
    assert verdict(good) == "3 of 3 laws hold; not run: 2 on xpu"


def test_terminal_shows_the_root_cause(bad: Report):
    """The cause, its smallest example and what it blocks are printed; what is blocked is not printed as a cause."""
    text = printed(bad)

    assert "✗ C01 [cpu]  a config survives JSON" in text
    assert "smallest: AutoModel: width=1, depth=1" in text
    assert "blocks: C02" in text
    assert "✗ C02" not in text


class Links(HTMLParser):
    """Collects whatever a page would fetch or run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag would fetch or run."""
        self.found += ["script"] if tag in {"script", "link", "iframe"} else []
        addresses = [value for name, value in attrs if name == "src" and value]
        self.found += [address for address in addresses if not address.startswith("data:")]


def test_page_needs_nothing_else(good: Report):
    """The page fetches nothing and runs nothing."""
    links = Links()
    links.feed(render_page(good))

    assert links.found == []


def test_a_page_with_a_link_is_noticed(good: Report):
    """The probe of the test before sees a request that a section would cause."""
    links = Links()
    links.feed(render_page(good, sections=[Section("More", '<img src="https://example.org/x.png">')]))

    assert links.found == ["https://example.org/x.png"]


def test_page_escapes_what_it_quotes(bad: Report):
    """Text from an architecture cannot become markup."""
    page = render_page(bad, title="<b>bold</b>")

    assert "<b>bold</b>" not in page
    assert "&lt;b&gt;bold&lt;/b&gt;" in page


def test_page_quotes_every_law_and_counterexample(bad: Report):
    """Each law stands with its text; a failed one with the smallest example."""
    page = render_page(bad)

    assert "tuples stay tuples, integer keys stay integers." in page
    assert "dict(width=1, depth=1" in page
