"""What to tell whoever fails a law: why it matters to them, which line to write, and where it has really happened.

The texts are in ``laws/guidance.toml``, beside the laws that they are about; reading them loads no law.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

from nameplate_config.wording import did_you_mean, sentences
from nameplate_conformance.errors import ConformanceError

_HOME, _FILE = "nameplate_conformance.laws", "guidance.toml"


@dataclass(frozen=True, slots=True)
class Bug:
    """A real bug that a law would have found.

    Attributes:
        title: What went wrong, and where.
        url: Where it was reported.
    """

    title: str
    url: str


@dataclass(frozen=True, slots=True)
class Guidance:
    """What to know once a law has failed.

    Attributes:
        why: What goes wrong for users.
        fix: What to write, in the architecture or its package.
        bugs: Where it has really happened.
    """

    why: str
    fix: str
    bugs: tuple[Bug, ...] = ()


def guidance(law_id: str) -> Guidance:
    """Return the guidance for a law.

    Args:
        law_id: The law's id.

    Raises:
        ConformanceError: If there is no such law.

    Example:
        >>> guidance("M06").fix.partition(".")[0]
        'Register it: `self'
    """
    every = _read()
    if law_id not in every:
        message = sentences(f"there is no guidance for a law {law_id!r}.", did_you_mean(law_id, every))
        raise ConformanceError(message)
    return every[law_id]


@cache
def _read() -> Mapping[str, Guidance]:
    """Return all guidance by the law's id; lines in the file are broken where it reads well there."""
    entries = tomllib.loads((files(_HOME) / _FILE).read_text(encoding="utf-8"))
    return MappingProxyType(
        {
            law_id: Guidance(_line(entry["why"]), _line(entry["fix"]), tuple(Bug(**bug) for bug in entry["bugs"]))
            for law_id, entry in entries.items()
        }
    )


def _line(text: str) -> str:
    return " ".join(text.split())
