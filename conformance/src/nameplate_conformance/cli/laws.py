"""The commands that speak about laws and judge nothing: `list` and `explain`."""

from typing import TYPE_CHECKING

import click
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from nameplate_config.wording import did_you_mean, sentences
from nameplate_conformance.law import LEVELS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from nameplate_conformance.law import Law

_NAMED = 12


@click.command("list")
@click.option("--level", "levels", type=click.IntRange(0, len(LEVELS) - 1), multiple=True, help="May be repeated.")
@click.option("--strength", type=click.Choice(["MUST", "SHOULD"]), help="Only laws that are as binding.")
@click.option("--tentative", is_flag=True, help="Only laws that are reported and fail no run.")
def list_laws(*, levels: tuple[int, ...], strength: str | None, tentative: bool) -> None:
    """List the laws with level and title: every one, or those that the options leave."""
    from nameplate_conformance.law import all_laws  # noqa: PLC0415 - torch takes seconds

    for law in sorted(all_laws().values(), key=lambda each: (each.level, each.id)):
        chosen = (not levels or law.level in levels) and strength in {None, law.strength.value}
        if chosen and (law.tentative or not tentative):
            strong = "tentative" if law.tentative else law.strength.value
            click.echo(f"{law.id}  L{law.level} {LEVELS[law.level]:<12} {strong}  {law.title}")


@click.command()
@click.argument("law_id", metavar="LAW")
def explain(law_id: str) -> None:
    """Say what a LAW asks for and why, how to fix what breaks it, and which mutants show that it can fail."""
    from nameplate_conformance.law import all_laws  # noqa: PLC0415 - torch takes seconds

    every = all_laws()
    wanted = f"{law_id[:1].upper()}{law_id[1:].zfill(2)}"  # m1 is M01
    law = every.get(wanted)
    if law is None:
        way_out = did_you_mean(wanted, every) or "`nameplate-conformance list` shows them."
        raise click.UsageError(sentences(f"there is no law {law_id!r}.", way_out))
    console = Console(highlight=False)
    strong = "tentative" if law.tentative else law.strength.value
    console.print(f"{law.id}  {law.title}", style="bold", markup=False)
    console.print(f"{strong} · level {law.level}, {LEVELS[law.level]} · since {law.since}", style="dim")
    _print_part(console, "", law.text)
    _print_guidance(console, law.id)
    _print_part(console, "Needs", _laws_named(every[need] for need in law.needs))
    _print_part(console, "Blocks, where it fails", _laws_named(_resting_on(law, every)))
    _print_mutants(console, law.id)


def _print_part(console: Console, title: str, text: str) -> None:
    """Print a paragraph below its title; nothing if there is nothing to say."""
    if not text:
        return
    console.print()
    if title:
        console.print(title, style="bold")
    console.print(Padding(Text(text), (0, 0, 0, 2 if title else 0)))


def _laws_named(laws: "Iterable[Law]") -> str:
    """Return the ids of laws with their titles, or of many laws the ids alone."""
    named = list(laws)
    if len(named) > _NAMED:
        return ", ".join(each.id for each in named)
    return "\n".join(f"{each.id}  {each.title}" for each in named)


def _print_guidance(console: Console, law_id: str) -> None:
    from nameplate_conformance.guidance import guidance  # noqa: PLC0415 - only whoever asks reads it

    found = guidance(law_id)
    _print_part(console, "Why it matters", found.why)
    _print_part(console, "How to fix it", found.fix)
    _print_part(console, "Seen in the wild", "\n".join(f"{bug.title}\n{bug.url}" for bug in found.bugs))


def _print_mutants(console: Console, law_id: str) -> None:
    from nameplate_conformance.zoo import MUTANTS  # noqa: PLC0415 - as torch

    rejected = [mutant for mutant in MUTANTS if mutant.breaks == law_id]
    lines = [f"{mutant.name}: {mutant.why} {getattr(mutant, 'museum', '')}".rstrip() for mutant in rejected]
    _print_part(console, "Rejects", "\n".join(lines))


def _resting_on(law: "Law", every: dict[str, "Law"]) -> "list[Law]":
    """Return the laws that are blocked where one fails; each stands after all that it needs."""
    blocked = {law.id}
    for other in every.values():
        if not blocked.isdisjoint(other.needs):
            blocked.add(other.id)
    return [every[law_id] for law_id in every if law_id in blocked - {law.id}]
