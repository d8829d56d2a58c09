"""The commands `certify` and `verify`: make a certificate of what a run has shown, and tell whether one was changed."""

import json
from pathlib import Path
from typing import Any

import click

from nameplate_config import NameplateError
from nameplate_config.files import replace_file

_FILE = click.Path(path_type=Path, dir_okay=False)
_DIGITS = 12


@click.command()
@click.argument("report", type=_FILE)
@click.option("--arch", "architecture", help="The architecture, if the report is about several.")
@click.option("--wheel", type=_FILE, help="The wheel of what was judged. Default: the package that is installed here.")
@click.option("-o", "--output", type=_FILE, help="Default: conformance-NAME-VERSION.json in this folder.")
def certify(*, report: Path, architecture: str | None, wheel: Path | None, output: Path | None) -> None:
    """Write the certificate of a run that came to its end: a journal (.ndjson) or a summary (.json).

    The run must have looked closely (--profile release), and what was judged must still be what is installed here.
    """
    from nameplate_conformance.report import certificate, read_report  # noqa: PLC0415 - torch takes seconds

    try:
        run = read_report(report)
        content = certificate(
            run.report, run.circumstances, architecture=architecture, complete=run.complete, wheel=wheel
        )
    except NameplateError as error:
        raise click.UsageError(str(error)) from error
    path = output or Path(f"conformance-{content['architecture']}-{content['package']['version']}.json")
    try:
        replace_file(path, [f"{json.dumps(content, indent=2, allow_nan=False)}\n".encode()])
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}."
        raise click.UsageError(message) from error
    click.echo(_said(content))
    click.echo(f"wrote {path}")


@click.command()
@click.argument("certificate", type=_FILE)
def verify(certificate: Path) -> None:
    """Say what a CERTIFICATE shows, if nothing in it was changed since it was issued."""
    from nameplate_conformance.report import verify_certificate  # noqa: PLC0415 - torch takes seconds

    try:
        content = verify_certificate(certificate)
    except NameplateError as error:
        click.echo(f"✗ {error}")
        raise SystemExit(1) from error
    click.echo(_said(content))
    click.echo(f"unchanged since it was issued, {content['issued']}")


def _said(content: dict[str, Any]) -> str:
    """Return what a certificate shows, a line for each thing that it is about."""
    package, standing, devices = content["package"], content["standing"], content["devices"]
    skips = "none admitted or left out" if content["no_skip"] else "some were admitted to fail or left out"
    lines = [
        f"{content['architecture']} {content['claim']}, specification {content['spec']}",
        f"{standing['holding']} of {standing['laws']} laws hold, {skips}",
        f"not run on {', '.join(devices['not run'])}" if devices["not run"] else "",
        f"{package['name']} {package['version']}, files sha256:{package['files'][:_DIGITS]}…",
    ]
    return "\n  ".join(line for line in lines if line)
