"""What can go wrong with a conformance run itself; what is wrong with an architecture is a `Result`.

NameplateError
└─ ConformanceError       (RuntimeError)    the run was asked for something that does not exist
AssertionError
└─ LawBrokenError                           a law does not hold; becomes the message of a result
"""

from nameplate_config import NameplateError


class ConformanceError(NameplateError, RuntimeError):
    """The run was asked for an architecture, a law or a device that does not exist."""


class LawBrokenError(AssertionError):
    """A law does not hold for the example at hand. Raised by laws, caught by the runner."""


class NotApplicableError(Exception):
    """A law speaks of something that the architecture does not have. Raised by laws, caught by the runner."""


ConformanceError.__module__ = "nameplate_conformance"
LawBrokenError.__module__ = "nameplate_conformance"
