"""A report in a terminal: the matrix, then each root cause with its smallest counterexample."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from nameplate_config.wording import listed
from nameplate_conformance.law import Evidence
from nameplate_conformance.records.circumstances import Circumstances
from nameplate_conformance.report.matrix import MARKS, law_of, matrix, verdict
from nameplate_conformance.result import Report, Result

_STYLES = {"good": "green", "bad": "bold red", "none": "dim"}
_PLAIN = str.maketrans({"✓": "+", "✗": "x", "◌": "o", "∅": "0", "·": "-", "—": "-", "…": "..."})
"""What stands for our own signs where a terminal has no Unicode."""


def print_report(report: Report, console: Console, circumstances: Circumstances | None = None) -> None:
    """Print a report.

    Args:
        report: What was found.
        console: Where to.
        circumstances: Under which, to say the versions of the architectures too.
    """
    write = _Writer(console.encoding)
    for architecture in report.architectures():
        console.print(write(_headline(report, architecture, circumstances), "bold"))
        console.print(_table(report, architecture, write))
        for result in report.of(architecture):
            if result.is_root:
                console.print(write(f"{MARKS[result.status]} {_heading(result)}", _STYLES["bad"]))
                console.print(Padding(write("\n".join(_cause(report, result))), (0, 0, 0, 2), expand=False))
        for result in report.of(architecture):
            if result.tentative:
                console.print(write(_tentative(result), "dim"))
    console.print(write(verdict(report), "bold green" if report.passed else "bold red"))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Makes texts that a terminal of some encoding can show."""

    encoding: str

    def __call__(self, text: str, style: str = "") -> Text:
        try:
            text.encode(self.encoding)
        except UnicodeEncodeError:
            text = text.translate(_PLAIN).encode(self.encoding, "backslashreplace").decode(self.encoding)
        return Text(text, style=style)


def _headline(report: Report, architecture: str, circumstances: Circumstances | None) -> str:
    version = circumstances.subject(architecture).version if circumstances else ""
    torch = report.versions.get("torch", "")
    parts = [
        f"{architecture} {version}".rstrip(),
        f"spec {report.spec}",
        f"torch {torch}" if torch else "",
        report.profile,
        "" if report.seed is None else f"seed {report.seed}",
    ]
    return " · ".join(part for part in parts if part)


def _table(report: Report, architecture: str, write: _Writer) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("level", "laws", *report.devices()):
        table.add_column(column, justify="right" if column == "laws" else "left", overflow="fold")
    for name, crossings in matrix(report, architecture):
        laws = {result.law for crossing in crossings for result in crossing.results}
        cells = (write(each.text, _STYLES[each.tone]) for each in crossings)
        table.add_row(name, str(len(laws)), *cells)
    return table


def _heading(result: Result) -> str:
    return f"{result.law} [{result.device}]  {law_of(result.law).title}"


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


def _tentative(result: Result) -> str:
    said = f": {result.message}" if result.message else ""
    return f"tentative {MARKS[result.status]} {_heading(result)}{said}"
