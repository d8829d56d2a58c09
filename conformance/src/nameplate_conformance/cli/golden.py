"""The command `golden`: writes what a released version saves, and holds the present one to what earlier ones saved."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from nameplate_config import NameplateError
from nameplate_conformance.judging.bench import look_here_too
from nameplate_conformance.judging.references import named

if TYPE_CHECKING:
    from nameplate_conformance.architecture import Architecture

_LAWS = ("G01", "G03")


@click.group()
def golden() -> None:
    """Keep what released versions saved, and hold later ones to it."""
    look_here_too()


@golden.command()
@click.argument("reference")
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@click.option("--release", default="", help="The version. Default: that of the installed package.")
def create(*, reference: str, folder: Path, release: str) -> None:
    """Write what the present version of the architecture REFERENCE saves into a folder of its own below FOLDER.

    Do so once for each release and commit it: the Architecture's `golden` says where FOLDER is.
    """
    from nameplate_conformance.records.golden import create as write  # noqa: PLC0415 - torch takes seconds

    try:
        written = write(named(reference), folder, release=release)
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    click.echo(f"wrote {written}")


@golden.command()
@click.argument("reference")
def verify(*, reference: str) -> None:
    """Hold the present version of the architecture REFERENCE to what every released one has left."""
    try:
        architecture = named(reference)
        versions = _versions(architecture)
        broken = _broken(architecture) if versions else []
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    if not versions:
        message = f"{architecture.label} names no golden folder. Write one with `golden create`, and name it."
        raise click.UsageError(message)
    for line in broken:
        click.echo(f"✗ {line}")
    said = "does not keep" if broken else "keeps"
    click.echo(f"{architecture.label} {said} what was released: {', '.join(versions)}")
    raise SystemExit(1 if broken else 0)


def _versions(architecture: "Architecture") -> list[str]:
    from nameplate_conformance.records.golden import goldens  # noqa: PLC0415 - torch takes seconds

    return list(dict.fromkeys(each.version for each in goldens(architecture)))


def _broken(architecture: "Architecture") -> list[str]:
    """Return what the laws about history say against an architecture."""
    from nameplate_conformance.judging.cell import Cell  # noqa: PLC0415 - as above
    from nameplate_conformance.judging.runner import HOST, Runner  # noqa: PLC0415 - as above
    from nameplate_conformance.law import all_laws  # noqa: PLC0415 - torch takes seconds

    cells = [Cell(architecture, all_laws()[law], HOST) for law in _LAWS]
    found = [Runner(profile="smoke").attempt(cell) for cell in cells]
    return [f"{each.law}: {each.message}" for each in found if each.status.is_bad]
