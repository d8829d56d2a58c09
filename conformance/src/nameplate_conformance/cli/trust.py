"""The option ``--trust-remote-code``, the same one for every command that may meet code which a checkpoint brings."""

from collections.abc import Sequence
from typing import Any

import click

from nameplate_conformance.judging.bench import POLICY

_YES = "yes"

trust_option = click.option(
    "--trust-remote-code",
    "trust",
    multiple=True,
    metavar="WHAT",
    help="Code of folders and repositories that may run: its digest sha256:…, may be repeated; 'policy' for what your "
    "trust.toml allows; or 'yes'.",
)
"""Adds the option; the command gets its words as `trust`."""


def granted(words: Sequence[str]) -> Any:
    """Return what the words of the option allow: nothing, anything, the word `POLICY`, or code of these digests."""
    only = words[0] if len(words) == 1 else ""
    return {"": list(words), _YES: True, POLICY: POLICY}.get(only, [only]) or False
