"""The command `replay`: judges a failure that a run kept once more, and says how to see it without the suite."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nameplate_conformance.cli.trust import granted, trust_option

if TYPE_CHECKING:
    from nameplate_conformance.records.example import Example
    from nameplate_conformance.records.store import Failure
    from nameplate_conformance.result import Result


@click.command()
@click.argument("failure_id", metavar="ID")
@click.option("--arch", "reference", default="", help="Where the architecture is, if it is not where it was.")
@click.option("--script", "only_script", is_flag=True, help="Judge nothing; print the script alone.")
@click.option("--store", "folder", type=click.Path(path_type=Path), default=".conformance", show_default=True)
@trust_option
def replay(*, failure_id: str, reference: str, only_script: bool, folder: Path, trust: tuple[str, ...]) -> None:
    """Judge the failure ID once more: exactly the example that a run kept, without drawing others.

    Prints FAILED, FIXED or ERROR, and a script that shows the failure. What is fixed is forgotten.
    """
    from nameplate_config import NameplateError  # noqa: PLC0415 - `--help` needs none of this
    from nameplate_conformance.judging.bench import look_here_too, trusted  # noqa: PLC0415
    from nameplate_conformance.records.example import example_of, is_fixed  # noqa: PLC0415
    from nameplate_conformance.records.store import Store  # noqa: PLC0415

    store = Store(folder)
    try:
        failure = store.failure(failure_id)
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    look_here_too()
    try:
        example = example_of(failure, architecture=reference, trust_remote_code=trusted(granted(trust)))
        script = example.script(_comment(failure))
        result = None if only_script else example.judge()
    except NameplateError as error:
        click.echo(f"ERROR {failure.title}\n  {error}")
        raise SystemExit(1) from error
    if result is None:
        click.echo(script, nl=False)
        return
    click.echo(_said(failure, example, result))
    if is_fixed(result):
        store.forget(failure_id)
        return
    click.echo(f"\n{script}", nl=False)
    raise SystemExit(1)


def _said(failure: "Failure", example: "Example", result: "Result") -> str:
    """Return the verdict in words."""
    from nameplate_conformance.judging.versions import versions  # noqa: PLC0415
    from nameplate_conformance.law import all_laws  # noqa: PLC0415
    from nameplate_conformance.records.example import is_fixed  # noqa: PLC0415 - torch takes seconds
    from nameplate_conformance.result import Status  # noqa: PLC0415

    fixed = is_fixed(result)
    word = "FIXED" if fixed else "FAILED" if result.status in {Status.FAIL, Status.VACUOUS} else "ERROR"
    now = versions()
    changed = [f"{name} {old}, now {now[name]}" for name, old in failure.versions.items() if now.get(name, old) != old]
    lines = [
        f"{word} {failure.title} [{example.device}] {all_laws()[example.law].title}",
        result.message,
        f"it was kept with {'; '.join(changed)}" if changed else "",
        f"{failure.id} is forgotten" if fixed else "",
    ]
    return "\n  ".join(line for line in lines if line)


def _comment(failure: "Failure") -> str:
    known = ", ".join(f"{name} {version}" for name, version in failure.versions.items() if name == "torch")
    return f"Failure {failure.title}, kept with spec {failure.spec}, {known}."
