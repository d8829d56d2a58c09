"""The command `selftest`: shows that each law can fail."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from nameplate_conformance.selftest import Verdict


@click.command("selftest")
@click.option(
    "-j", "--processes", type=click.IntRange(1), default=1, show_default=True, help="Judge in so many at once."
)
@click.option("--compare", is_flag=True, help="Show beside it what tests in the manner of Transformers reject.")
def run_selftest(*, processes: int, compare: bool) -> None:
    """Show that each law rejects the mutants bred to break it and no other, and that none rejects the reference."""
    from nameplate_conformance.selftest import laws_without_a_mutant, selftest  # noqa: PLC0415 - torch takes seconds

    console = Console(highlight=False)

    def show(verdict: "Verdict") -> None:
        console.print(line_of(verdict), style="" if verdict.right else "red", soft_wrap=True, markup=False)

    verdicts = selftest(processes=processes, compare=compare, progress=show)
    wrong = [verdict for verdict in verdicts if not verdict.right]
    uncovered = laws_without_a_mutant()
    console.print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} verdicts are right")
    if uncovered:
        console.print(f"no mutant shows that these laws can fail: {', '.join(uncovered)}", style="red")
    if compare:
        console.print(_comparison(verdicts))
        print_unfair(console, verdicts)
    raise SystemExit(1 if wrong or uncovered else 0)


def line_of(verdict: "Verdict") -> str:
    """Return a verdict in a line, with where the mistake was reported if somebody has really made it."""
    mutant = verdict.mutant
    name = "the reference" if mutant is None else f"{mutant.name} (breaks {mutant.breaks})"
    found = ", ".join(sorted(verdict.roots)) or "no law"
    line = f"{'✓' if verdict.right else '✗'} {name}: rejected by {found}"
    return f"{line} · {mutant.museum}" if mutant is not None and mutant.museum else line


def print_unfair(console: Console, verdicts: "Sequence[Verdict]") -> None:
    """Say which of the other tests reject the healthy reference, and so would reject everything."""
    for verdict in verdicts:
        if verdict.mutant is None and verdict.others:
            console.print(f"the reference itself is rejected by {', '.join(verdict.others)}", style="red")


def _comparison(verdicts: "Sequence[Verdict]") -> Table:
    """Return the table of how many mutants of each level are rejected here, and by the tests of others."""
    from nameplate_conformance.law import LEVELS, all_laws  # noqa: PLC0415 - torch takes seconds

    table = Table(title="mutants rejected", title_justify="left")
    for heading in ("level", "mutants", "by their law alone", "by tests in the manner of Transformers"):
        table.add_column(heading, justify="left" if heading == "level" else "right")
    bred = [verdict for verdict in verdicts if verdict.mutant is not None]
    groups = {f"L{level} {name}": level for level, name in enumerate(LEVELS)}
    for heading, level in {**groups, "all": None}.items():
        group = [v for v in bred if v.mutant and level in {None, all_laws()[v.mutant.breaks].level}]
        if group:
            found = (len(group), sum(v.right for v in group), sum(bool(v.others) for v in group))
            table.add_row(heading, *map(str, found))
    return table
