"""What can befall a save at one of its calls."""

import errno
from dataclasses import dataclass
from typing import Literal

from nameplate_conformance.faults.signatures import REMOVING


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens at one file-changing call.

    Attributes:
        name: How reports call it.
        kind: ``kill`` (the process ends before the call), ``torn`` (half of what a write writes arrives, then the
            process ends), ``short`` (half arrives, and the call says so), ``error`` (the call fails) or ``power`` (the
            machine stops, and what was not flushed is on the disk or not).
        number: The `errno` of an error.
        lasting: Whether every later call fails as well.
    """

    name: str
    kind: Literal["kill", "torn", "short", "error", "power"]
    number: int = 0
    lasting: bool = False

    @property
    def ends_it(self) -> bool:
        """Whether the process does not survive."""
        return self.kind in {"kill", "torn", "power"}

    @property
    def only_writes(self) -> bool:
        """Whether it befalls calls that write bytes, and no others."""
        return self.kind in {"torn", "short"}

    def befalls_later(self, call: str) -> bool:
        """Whether a call after the struck one fails as well: on a full disk, files can still be removed."""
        return self.lasting and not (self.number == errno.ENOSPC and call in REMOVING)


KILL = Fault("kill -9", "kill")
TORN = Fault("torn write", "torn")
SHORT = Fault("short write", "short")
ENOSPC = Fault("ENOSPC once", "error", errno.ENOSPC)
EIO = Fault("EIO once", "error", errno.EIO)
LASTING_ENOSPC = Fault("ENOSPC from there", "error", errno.ENOSPC, lasting=True)
LASTING_EIO = Fault("EIO from there", "error", errno.EIO, lasting=True)
EACCES = Fault("EACCES from there", "error", errno.EACCES, lasting=True)
POWER_LOSS = Fault("power loss", "power")

FAULTS = (KILL, TORN, SHORT, ENOSPC, EIO, LASTING_ENOSPC, LASTING_EIO, EACCES, POWER_LOSS)
"""All of them."""


@dataclass(frozen=True, slots=True)
class Call:
    """A file-changing call that was seen.

    Attributes:
        name: As in the manual of the system, or of `os` where only Python's own calls are seen.
        paths: What it changes, below the watched folder.
        writes: How many bytes it was asked to write, or 0.
    """

    name: str
    paths: tuple[str, ...]
    writes: int = 0

    def __str__(self) -> str:
        return f"{self.name}({', '.join(self.paths)})"


@dataclass(frozen=True, slots=True)
class Trace:
    """What was seen of one process.

    Attributes:
        calls: Its file-changing calls in order, up to its end.
        failed: The names of those that were made to fail.
        ended_by: The signal that ended it, or 0.
        blind: Why some changes could not be seen, or an empty text.
    """

    calls: tuple[Call, ...]
    failed: tuple[str, ...]
    ended_by: int = 0
    blind: str = ""
