"""The commands that speak about laws and judge nothing: `list` and `explain`."""

import click
from rich.console import Console

from nameplate_conformance.law import LEVELS, all_laws
from nameplate_conformance.zoo import MUTANTS


@click.command("list")
def list_laws() -> None:
    """List every law with its level and title."""
    console = Console()
    for law in sorted(all_laws().values(), key=lambda each: (each.level, each.id)):
        console.print(f"{law.id}  L{law.level} {LEVELS[law.level]:<12} {law.strength.value}  {law.title}")


@click.command()
@click.argument("law_id")
def explain(law_id: str) -> None:
    """Say what the law LAW_ID asks for and why, and which mutants show that it can fail."""
    law = all_laws().get(law_id)
    if law is None:
        message = f"there is no law {law_id!r}; `nameplate-conformance list` shows them"
        raise click.UsageError(message)
    console = Console()
    console.print(f"[bold]{law.id}  {law.title}[/bold]  ({law.strength.value}, level {law.level}, since {law.since})")
    console.print(law.text)
    if law.needs:
        console.print(f"needs: {', '.join(law.needs)}")
    for mutant in MUTANTS:
        if mutant.breaks == law.id:
            console.print(f"rejects: {mutant.name} ({mutant.why})")
