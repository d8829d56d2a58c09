"""A report in a terminal: the matrix, then each root cause with its smallest counterexample."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from nameplate_config.wording import listed
from nameplate_conformance.law import all_laws
from nameplate_conformance.report.matrix import MARKS, matrix, verdict
from nameplate_conformance.result import Report, Result, Status

_STYLES = {"good": "green", "bad": "bold red", "none": "dim"}


def print_report(report: Report, console: Console) -> None:
    """Print a report."""
    for architecture in report.architectures():
        console.print(_table(report, architecture))
        for result in report.of(architecture):
            if result.status.is_bad and result.status is not Status.BLOCKED:
                console.print(_cause(report, result))
    console.print(Text(verdict(report), style="bold green" if report.passed else "bold red"))


def _table(report: Report, architecture: str) -> Table:
    versions = f"spec {report.spec} · torch {report.versions['torch']} · {report.profile}"
    table = Table(title=f"{architecture} · {versions}", title_justify="left", title_style="bold")
    table.add_column("level")
    for device in report.devices():
        table.add_column(device)
    for name, crossings in matrix(report, architecture):
        table.add_row(name, *(Text(each.text, style=_STYLES[each.tone]) for each in crossings))
    return table


def _cause(report: Report, result: Result) -> Text:
    law = all_laws()[result.law]
    blocks = [other.law for other in report.of(result.architecture) if result.law in other.blocked_by]
    lines = [
        f"{MARKS[result.status]} {law.id} [{result.device}]  {law.title}",
        f"  {result.message}",
        f"  smallest: {result.counterexample}" if result.counterexample else "",
        f"  blocks: {listed(dict.fromkeys(blocks))}" if blocks else "",
        f"  why it matters: nameplate-conformance explain {law.id}",
    ]
    return Text("\n".join(line for line in lines if line), style="red")
