"""`Cell`: one thing to judge, a law for an architecture on a device, and how its results are told apart."""

from dataclasses import dataclass
from typing import Any

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.law import Law
from nameplate_conformance.result import Result, Status

Key = tuple[str, str, str]
"""An architecture's label, a law's id and a device."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One thing to judge: a law for an architecture on a device."""

    architecture: Architecture
    law: Law
    device: str

    @property
    def key(self) -> Key:
        """What tells the cell from every other one of a run."""
        return self.architecture.label, self.law.id, self.device

    def result(self, status: Status, **details: Any) -> Result:
        """Return a result of this cell."""
        label, law_id, device = self.key
        tentative = self.law.tentative
        return Result(law=law_id, architecture=label, device=device, status=status, tentative=tentative, **details)

    def __str__(self) -> str:
        return "-".join(self.key)
