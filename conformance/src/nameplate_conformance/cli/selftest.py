"""The command `selftest`: shows that each law can fail."""

from typing import TYPE_CHECKING

import click
from rich.console import Console

if TYPE_CHECKING:
    from nameplate_conformance.selftest import Verdict


@click.command("selftest")
def run_selftest() -> None:
    """Show that each law rejects the mutants bred to break it and no other, and that none rejects the reference."""
    from nameplate_conformance.selftest import laws_without_a_mutant, selftest  # noqa: PLC0415 - torch takes seconds

    console = Console()

    def show(verdict: "Verdict") -> None:
        name = "the reference" if verdict.mutant is None else f"{verdict.mutant.name} (breaks {verdict.mutant.breaks})"
        found = ", ".join(sorted(verdict.roots)) or "no law"
        console.print(
            f"{'✓' if verdict.right else '✗'} {name}: rejected by {found}", style="" if verdict.right else "red"
        )

    verdicts = selftest(progress=show)
    wrong = [verdict for verdict in verdicts if not verdict.right]
    uncovered = laws_without_a_mutant()
    console.print(f"{len(verdicts) - len(wrong)} of {len(verdicts)} verdicts are right")
    if uncovered:
        console.print(f"no mutant shows that these laws can fail: {', '.join(uncovered)}", style="red")
    raise SystemExit(1 if wrong or uncovered else 0)
