"""What can go wrong with a conformance run itself; what is wrong with an architecture is a `Result`.

NameplateError
└─ ConformanceError       (RuntimeError)    the run was asked for something that does not exist
AssertionError
└─ LawBrokenError                           a law does not hold; becomes the message of a result
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nameplate_config import NameplateError

if TYPE_CHECKING:
    from nameplate_conformance.records.apart import Apart


class ConformanceError(NameplateError, RuntimeError):
    """The run was asked for an architecture, a law or a device that does not exist."""


class LawBrokenError(AssertionError):
    """A law does not hold for the example at hand. Raised by laws, caught by the runner.

    Attributes:
        apart: A few tensors that should be equal and are not, for a report to draw.
    """

    def __init__(self, message: str, apart: "Sequence[Apart]" = ()) -> None:
        super().__init__(message)
        self.apart = tuple(apart)


class NotApplicableError(Exception):
    """A law speaks of something that the architecture does not have. Raised by laws, caught by the runner."""


ConformanceError.__module__ = "nameplate_conformance"
LawBrokenError.__module__ = "nameplate_conformance"
