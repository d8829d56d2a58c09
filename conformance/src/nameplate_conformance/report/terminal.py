"""A report in a terminal: the matrix, then each root cause with its smallest counterexample."""

from collections import Counter
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nameplate_config.wording import listed
from nameplate_conformance.circumstances import Circumstances
from nameplate_conformance.law import Evidence
from nameplate_conformance.report.matrix import MARKS, law_of, matrix, verdict
from nameplate_conformance.result import Report, Result

_STYLES = {"good": "green", "bad": "bold red", "none": "dim"}


def print_report(report: Report, console: Console, circumstances: Circumstances | None = None) -> None:
    """Print a report.

    Args:
        report: What was found.
        console: Where to.
        circumstances: Under which, to say the versions of the architectures too.
    """
    for architecture in report.architectures():
        console.print(_headline(report, architecture, circumstances))
        console.print(_table(report, architecture))
        for result in report.of(architecture):
            if result.is_root:
                console.print(_title(result))
                console.print(Padding(Text("\n".join(_cause(report, result))), (0, 0, 0, 2)))
        for result in report.of(architecture):
            if result.tentative:
                console.print(_tentative(result))
    console.print(Text(verdict(report), style="bold green" if report.passed else "bold red"))


def _headline(report: Report, architecture: str, circumstances: Circumstances | None) -> Text:
    version = circumstances.subject(architecture).version if circumstances else ""
    torch = report.versions.get("torch", "")
    parts = [
        f"{architecture} {version}".rstrip(),
        f"spec {report.spec}",
        f"torch {torch}" if torch else "",
        report.profile,
        "" if report.seed is None else f"seed {report.seed}",
    ]
    return Text(" · ".join(part for part in parts if part), style="bold")


def _table(report: Report, architecture: str) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("level", "laws", *report.devices()):
        table.add_column(column, justify="right" if column == "laws" else "left", overflow="fold")
    for name, crossings in matrix(report, architecture):
        laws = {result.law for crossing in crossings for result in crossing.results}
        cells = (Text(each.text, style=_STYLES[each.tone]) for each in crossings)
        table.add_row(name, str(len(laws)), *cells)
    return table


def _title(result: Result) -> Text:
    title = f"{MARKS[result.status]} {result.law} [{result.device}]  {law_of(result.law).title}"
    return Text(title, style=_STYLES["bad"])


def _cause(report: Report, result: Result) -> Iterator[str]:
    blocks = dict.fromkeys(other.law for other in report.of(result.architecture) if result.law in other.blocked_by)
    yield result.message
    if result.evidence:
        yield f"evidence: {Evidence(Counter(result.evidence))}, in {result.examples} examples"
    if result.counterexample:
        yield f"smallest: {result.counterexample}"
    yield f"root cause, blocks: {listed(blocks)}" if blocks else "root cause, blocks nothing"
    if result.kwargs is not None:
        yield f"reproduce: nameplate-conformance replay {result.id}"
    yield f"why it matters, how to fix: nameplate-conformance explain {result.law}"


def _tentative(result: Result) -> Text:
    law = law_of(result.law)
    said = f": {result.message}" if result.message else ""
    return Text(f"tentative {MARKS[result.status]} {law.id} [{result.device}]  {law.title}{said}", style="dim")
