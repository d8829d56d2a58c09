"""The command line: `nameplate-conformance run | list | explain | selftest`.

Exit code 0 if everything that was judged conforms, 1 if something does not, 2 if the command makes no sense.
"""

from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from nameplate_auto import CONFIG_MAPPING
from nameplate_config import NameplateError
from nameplate_conformance.architecture import Architecture, registered
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.law import LEVELS, all_laws
from nameplate_conformance.report import print_report, render_page
from nameplate_conformance.result import Report
from nameplate_conformance.runner import PROFILES, Cell, cells, check, known_devices
from nameplate_conformance.selftest import Verdict, laws_without_a_mutant, selftest
from nameplate_conformance.zoo import MUTANTS


@click.group()
@click.version_option(package_name="nameplate-conformance")
def main() -> None:
    """Prove that an architecture survives save, register and from_pretrained, or show why not."""


@main.command()
@click.argument("names", nargs=-1)
@click.option("--device", "devices", multiple=True, help="A type of device; may be repeated. Default: all known ones.")
@click.option("--law", "laws", multiple=True, help="The id of a law; may be repeated. Default: all of them.")
@click.option("--profile", type=click.Choice(list(PROFILES)), default="dev", show_default=True)
@click.option("--seed", type=int, help="Draw other examples than the usual ones.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write a self-contained page.")
def run(
    *,
    names: tuple[str, ...],
    devices: tuple[str, ...],
    laws: tuple[str, ...],
    profile: str,
    seed: int | None,
    html: Path | None,
) -> None:
    """Judge the architectures registered under NAMES, or every registered one."""
    console = Console()
    try:
        architectures = [registered(name) for name in names or CONFIG_MAPPING.names()]
        report = judge_with_progress(
            architectures, devices=devices or tuple(known_devices()), laws=laws, profile=profile, seed=seed
        )
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    print_report(report, console)
    if html is not None:
        html.write_text(render_page(report), encoding="utf-8")
        console.print(f"wrote {html}", soft_wrap=True)
    raise SystemExit(0 if report.passed else 1)


def judge_with_progress(
    architectures: list[Architecture],
    *,
    devices: tuple[str, ...],
    laws: tuple[str, ...] = (),
    profile: str = "dev",
    seed: int | None = None,
) -> Report:
    """Judge architectures with a progress bar on a terminal, silently elsewhere."""
    if not architectures:
        message = "no architecture is registered. Install a package that announces one, or register it first."
        raise ConformanceError(message)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("judging", total=len(cells(architectures, devices, laws)))

        def advance(cell: Cell) -> None:
            bar.update(task, advance=1, description=f"{cell.architecture.label} {cell.law.id}")

        return check(*architectures, devices=devices, laws=laws, profile=profile, seed=seed, progress=advance)


@main.command("list")
def list_laws() -> None:
    """List every law with its level and title."""
    console = Console()
    for law in sorted(all_laws().values(), key=lambda each: (each.level, each.id)):
        console.print(f"{law.id}  L{law.level} {LEVELS[law.level]:<12} {law.strength.value}  {law.title}")


@main.command()
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


@main.command("selftest")
def run_selftest() -> None:
    """Show that each law rejects the mutants bred to break it and no other, and that none rejects the reference."""
    console = Console()

    def show(verdict: Verdict) -> None:
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
