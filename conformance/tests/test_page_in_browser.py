"""The page in a real browser: it asks for nothing, fits, and can be read by keyboard, in the dark and on paper."""

import math
import shutil
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, sync_playwright

from nameplate_conformance.guidance import guidance
from nameplate_conformance.instruments.grid import few
from nameplate_conformance.law import all_laws
from nameplate_conformance.records.apart import Apart
from nameplate_conformance.report.page import Section, render_page
from nameplate_conformance.result import Report, Result, Status

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
NO_BROWSER = f"none of {', '.join(BROWSERS)} is installed; `apt install chromium` brings one"

KWARGS = {"width": 1, "depth": 2, "act": "<b>tanh</b>"}
LAWS = ("A01", "C01", "C12", "C18", "M01", "M04", "S01", "S02", "S04", "K02")
OTHERWISE = {
    "C12": (Status.NOT_APPLICABLE, {"message": "no field says what it may be"}),
    "C18": (Status.KNOWN, {"message": "the repr is short (https://example.org/1)"}),
    "S02": (Status.BLOCKED, {"message": "blocked by S01", "blocked_by": ("S01",)}),
    "S04": (Status.BLOCKED, {"message": "blocked by S01", "blocked_by": ("S01",)}),
}


OF_TOMORROW = {"law": "Q99", "architecture": "resnet", "device": "cpu", "status": Status.FAIL, "message": "no"}


def result(architecture: str, law_id: str, status: Status = Status.PASS, **details: Any) -> Result:
    """Return the verdict on a law on the host."""
    details = {"evidence": {"tensors": 12}, "examples": 3, "seconds": 0.1 * all_laws()[law_id].level, **details}
    return Result(law=law_id, architecture=architecture, device="cpu", status=status, **details)


def absent(architecture: str) -> Result:
    """Return the verdict on a law on a device that is not there."""
    message = "there is no cuda device on this machine"
    return Result(law="S01", architecture=architecture, device="cuda", status=Status.NOT_RUN, message=message)


def report(results: list[Result]) -> Report:
    """Return a report as a run would."""
    versions, started = {"nameplate-conformance": "0.1.0", "torch": "2.15.0"}, "2026-11-22T13:14:15+00:00"
    return Report(spec="2026.12", profile="dev", versions=versions, results=results, seed=7, started=started)


def apart() -> tuple[Apart, ...]:
    """Return a large tensor with a few other values, not all of them numbers, and a small one."""
    before = torch.arange(4096.0).reshape(64, 64)
    after = before.clone()
    after[3, 5], after[40, 2], after[42, 2], after[44, 2] = 1e6, math.nan, math.inf, -math.inf
    return few([("layers.0.weight", before, after), ("bias", torch.zeros(3), torch.tensor([0.0, -0.0, 1.5]))])


def passing() -> Report:
    """Return a report of an architecture that conforms on the host."""
    return report([*(result("resnet", law_id) for law_id in LAWS), absent("resnet")])


def failing() -> Report:
    """Return a report of two architectures, one of which loses weights."""
    name = "lossy <net>"
    message = "saved and loaded: tensors differ: layers.0.weight of 7"
    broken = result(name, "S01", Status.FAIL, message=message, kwargs=KWARGS, head="AutoModel", apart=apart())
    results = []
    for law_id in LAWS:
        status, details = OTHERWISE.get(law_id, (Status.PASS, {}))
        whole = result(name, law_id, status, tentative=law_id == "K02", **details)
        results.append(broken if law_id == "S01" else whole)
    return report([*results, absent(name), *(result("resnet", law_id) for law_id in LAWS)])


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Start the browser of the machine."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(NO_BROWSER)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the pages of a report that fails and of one that passes."""
    folder = tmp_path_factory.mktemp("pages")
    (folder / "failing.html").write_text(render_page(failing()), encoding="utf-8")
    (folder / "passing.html").write_text(render_page(passing()), encoding="utf-8")
    return folder


@pytest.fixture
def page(browser: Browser, folder: Path) -> Iterator[Page]:
    """Open the page of the report that fails."""
    page = browser.new_page(reduced_motion="reduce")  # what a link leads to is there at once
    page.goto((folder / "failing.html").as_uri())
    yield page
    page.close()


def asked_for(browser: Browser, file: Path) -> tuple[list[str], list[str]]:
    """Return what a page asks for beside itself, and what the console says against it."""
    page = browser.new_page()
    requests: list[str] = []
    complaints: list[str] = []
    page.on("request", lambda request: requests.append(request.url))
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.goto(file.as_uri())
    page.close()
    return [each for each in requests if each != file.as_uri() and not each.startswith("data:")], complaints


@pytest.mark.parametrize("name", ["failing", "passing"])
def test_page_asks_for_nothing(browser: Browser, folder: Path, name: str):
    """It loads from a file without one request, and the console has nothing to say."""
    assert asked_for(browser, folder / f"{name}.html") == ([], [])


def test_a_page_that_asks_is_noticed(browser: Browser, tmp_path: Path):
    """The probe of the test before sees the request that a section causes, and the complaint that it fails."""
    file = tmp_path / "asking.html"
    file.write_text(render_page(passing(), sections=[Section("More", '<img src="missing.png">')]), encoding="utf-8")

    requests, complaints = asked_for(browser, file)

    assert requests == [(tmp_path / "missing.png").as_uri()]
    assert len(complaints) == 1


OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
OPEN_ALL = "document.querySelectorAll('details').forEach(each => each.open = true)"


@pytest.mark.parametrize("width", [320, 375, 1280])
def test_page_fits(page: Page, width: int):
    """Nothing sticks out to the side, on a small phone or a desk, with every law open."""
    page.set_viewport_size({"width": width, "height": 800})
    page.evaluate(OPEN_ALL)

    assert page.evaluate(OVERFLOW) == 0


STOP = """() => {
  const here = document.activeElement, style = getComputedStyle(here);
  here.tabbed = (here.tabbed || 0) + 1;
  const ring = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2;
  return {tag: here.tagName, again: here.tabbed > 1, ring: ring,
          text: here.textContent.trim(), open: here.parentElement?.open ?? null};
}"""


def stops(page: Page) -> Iterator[dict]:
    """Yield what the Tab key reaches, once each."""
    while True:
        page.keyboard.press("Tab")
        stop = page.evaluate(STOP)
        if stop["tag"] == "BODY" or stop["again"]:
            return
        yield stop


def test_every_law_opens_by_keyboard(page: Page):
    """Tab reaches every law, Enter opens or closes it, and it can be seen where one is all the way."""
    turned, hidden = 0, []
    for stop in stops(page):
        hidden += [] if stop["ring"] else [stop["text"]]
        if stop["tag"] == "SUMMARY":
            page.keyboard.press("Enter")
            turned += page.evaluate("document.activeElement.parentElement.open") is not stop["open"]

    assert hidden == []
    assert turned == page.locator("summary").count() > 10


def test_first_stop_skips_to_the_content(page: Page):
    """Tab and Enter at once lead past the navigation."""
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    assert page.evaluate("document.activeElement.id") == "main"


def test_headings_are_in_order(page: Page):
    """There is one title, and no heading is more than one step below the one before."""
    tags = page.evaluate("[...document.querySelectorAll('h1, h2, h3, h4, h5, h6')].map(e => e.tagName)")
    ranks = [int(tag[1]) for tag in tags]

    assert ranks.count(1) == 1
    assert all(below <= above + 1 for above, below in pairwise(ranks))


def test_every_address_leads_somewhere(page: Page):
    """Each link inside of the page has a place that it leads to, each label an element, and no two share an id."""
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    links = page.evaluate("[...document.querySelectorAll('a')].map(e => e.getAttribute('href'))")
    inside = {each.removeprefix("#") for each in links if not each.startswith("https://")}
    labelled = "[...document.querySelectorAll('[aria-labelledby]')]"
    labels = page.evaluate(f"{labelled}.map(e => e.getAttribute('aria-labelledby'))")

    assert len(ids) == len(set(ids))
    assert inside | set(labels) <= set(ids)


CONTRAST = """() => {
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const linear = c => c / 255 <= .04045 ? c / 255 / 12.92 : ((c / 255 + .055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => [r, g, b].map(linear)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const paper = element => {
    for (let at = element; at; at = at.parentElement) {
      const fill = at.tagName === 'text' && getComputedStyle(at.previousElementSibling).fill;
      const colour = numbers(fill && fill !== 'none' ? fill : getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const found = [], walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), ink = numbers(element.tagName === 'text' ? style.fill : style.color);
    const [high, low] = [light(ink), light(paper(element))].sort((a, b) => b - a);
    found.push([(high + .05) / (low + .05), walker.currentNode.data.trim()]);
  }
  return found;
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page: Page, scheme: str):
    """By day and by night every text has a contrast of at least 4.5 to what is behind it, at both ends of a shade."""
    page.emulate_media(color_scheme=scheme)
    page.evaluate(OPEN_ALL)
    found = page.evaluate(CONTRAST)
    page.evaluate("document.querySelector('.plate').style.background = 'var(--plate-low)'")
    found += page.evaluate(CONTRAST)

    assert len(found) > 200
    assert [each for each in found if each[0] < 4.5] == []


def test_a_square_leads_to_its_law(page: Page):
    """A click on the square of a law opens it and brings it into view, closed and far away as it was."""
    law = page.locator("#resnet-1-S04")
    assert not law.is_visible()

    page.locator('.mosaic a[href="#resnet-1-S04"]').click()

    law.wait_for(state="visible")
    top = page.evaluate("document.querySelector('#resnet-1-S04').parentElement.getBoundingClientRect().top")
    assert 0 <= top < page.viewport_size["height"]


def test_a_cell_leads_to_its_level_by_keyboard(page: Page):
    """Enter on a crossing of the matrix jumps to the laws of its level."""
    page.locator('.matrix a[href="#resnet-1-level-3"]').focus()
    page.keyboard.press("Enter")

    assert page.evaluate("location.hash") == "#resnet-1-level-3"


def test_only_what_does_not_hold_can_be_shown(page: Page):
    """A check mark hides the laws that hold, and the levels that have no others."""
    page.get_by_label("Show only laws that do not hold").check()

    assert [each.split()[1] for each in page.locator("summary:visible").all_inner_texts()] == [
        "C18",
        "S01",
        "S02",
        "S04",
    ]


def test_paper_shows_every_law(page: Page):
    """In print the text of every law is there, closed or not, and the navigation is not."""
    page.emulate_media(media="print")
    heights = page.evaluate(
        "[...document.querySelectorAll('details > .body')].map(e => e.getBoundingClientRect().height)"
    )

    assert min(heights) > 20
    assert not page.locator("nav").is_visible()


def test_pictures_are_pictures(page: Page):
    """Every picture can be decoded and has the pixels that its grid asks for, and words for those who do not see it."""
    facts = "[e.complete, e.naturalWidth, e.naturalHeight, e.alt]"
    maps = page.evaluate(f"[...document.querySelectorAll('.map img')].map(e => {facts})")

    assert [each[:3] for each in maps] == [[True, 256, 256]] * 3
    assert maps[2][3] == "the difference: 4 of 4,096 values differ, by at most 9.998e+05"
    legends = [" ".join(each.split()) for each in page.locator(".legend").all_inner_texts()]
    assert legends == ["not a number · infinite · minus infinity"]


def test_cause_says_why_and_how(page: Page):
    """Who reads of a failure reads why it matters and what to write, with code as code, and where it has happened."""
    cause = page.locator(".cause")

    assert cause.get_by_text("Why it matters.").count() == cause.get_by_text("How to fix it.").count() == 1
    assert cause.locator("p code").count() > 0
    assert cause.locator("a[href^='https://']").count() == len(guidance("S01").bugs) > 0


def test_report_of_another_version_is_shown():
    """A law that this suite does not know has a place on the page all the same."""
    page = render_page(report([result("resnet", "C01"), Result(**OF_TOMORROW)]))

    assert "<code>Q99</code>unknown to this version of the suite" in page


def test_page_quotes_a_call_that_can_be_pasted(page: Page):
    """The smallest example is Python, quotes and brackets as they are; the command to see it again follows."""
    quoted = page.locator(".cause pre").all_inner_texts()

    assert quoted[1] == "dict(width=1, depth=2, act='<b>tanh</b>')"
    assert quoted[2].startswith("nameplate-conformance replay ")
