"""The command `diff`: what changed between two runs."""

from collections import Counter
from pathlib import Path

import click

from nameplate_config import NameplateError

_FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("old", type=_FILE)
@click.argument("new", type=_FILE)
def diff(old: Path, new: Path) -> None:
    """Say what changed from the run of the report OLD to that of NEW.

    Both are journals (.ndjson) or summaries (.json). The exit code is 1 if something that held no longer holds.
    """
    from nameplate_conformance.records.diff import changes  # noqa: PLC0415 - `--help` needs none of it
    from nameplate_conformance.report.summary import read_report  # noqa: PLC0415 - as above

    try:
        found = changes(read_report(old), read_report(new))
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    for change in found:
        click.secho(str(change), fg="red" if change.is_loss else None)
    counts = Counter(change.kind for change in found)
    click.echo(", ".join(f"{number} {kind}" for kind, number in counts.items()) or "nothing changed")
    raise SystemExit(1 if any(change.is_loss for change in found) else 0)
