"""`new`: write a package skeleton whose conformance suite passes at once."""

from pathlib import Path

import click

from nameplate_config import NameplateError


@click.command()
@click.argument("name")
@click.argument("folder", required=False, type=click.Path(path_type=Path, file_okay=False))
def new(*, name: str, folder: Path | None) -> None:
    """Write the skeleton of a package NAME, such as my-arch, into FOLDER, which is called the same if not given.

    It has a config, a model, entry points, a conformance test and a README, and its suite passes at once.
    """
    from nameplate_conformance.scaffold import Names, write_skeleton  # noqa: PLC0415 - imports jinja2

    try:
        target = folder or Path(name)
        written = write_skeleton(name, target)
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    for path in written:
        click.echo(f"wrote {path}")
    click.echo(f'next: pip install -e "{target}[auto,conformance]" && nameplate-conformance run {Names(name).module}')
