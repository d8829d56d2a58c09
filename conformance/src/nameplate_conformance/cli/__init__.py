"""The command line: one module a command, and nothing in any of them that takes long to import.

Exit code 0 if everything that was judged conforms, 1 if something does not, 2 if the command makes no sense.
"""

import click

from nameplate_conformance.cli.certify import certify, verify
from nameplate_conformance.cli.diff import diff
from nameplate_conformance.cli.golden import golden
from nameplate_conformance.cli.laws import explain, list_laws
from nameplate_conformance.cli.new import new
from nameplate_conformance.cli.replay import replay
from nameplate_conformance.cli.run import run
from nameplate_conformance.cli.selftest import run_selftest


@click.group()
@click.version_option(package_name="nameplate-conformance")
def main() -> None:
    """Prove that an architecture survives save, register and from_pretrained, or show why not."""


for command in (run, replay, list_laws, explain, diff, certify, verify, golden, new, run_selftest):
    main.add_command(command)
