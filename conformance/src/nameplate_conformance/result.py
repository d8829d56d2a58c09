"""What a run found: one `Result` for each law, architecture and variant, and the `Report` that holds them.

Only the records and what follows from them; drawing them is the business of the package `report`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class Status(Enum):
    """The verdict on one law. There is no other way to be green than `PASS`."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    BLOCKED = "blocked"
    VACUOUS = "vacuous"
    KNOWN = "known"
    STALE = "stale"
    NOT_APPLICABLE = "n/a"
    NOT_RUN = "not run"
    ERROR = "error"

    @property
    def is_bad(self) -> bool:
        """Whether the verdict makes the run fail."""
        return self in {Status.FAIL, Status.BLOCKED, Status.VACUOUS, Status.STALE, Status.ERROR}


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """The verdict on one law for one architecture on one device.

    Attributes:
        law: The law's id.
        architecture: The architecture's label.
        device: The type of the device, such as ``"cpu"``.
        status: The verdict.
        evidence: What was compared, and how often.
        examples: How many drawn examples were judged.
        seconds: How long it took.
        message: Why the verdict is not `PASS`; empty otherwise.
        kwargs: The smallest arguments of a config that break the law.
        head: The Auto class whose model breaks the law.
        blocked_by: The laws that failed before this one could mean anything.
    """

    law: str
    architecture: str
    device: str
    status: Status
    evidence: Mapping[str, int] = field(default_factory=dict)
    examples: int = 0
    seconds: float = 0.0
    message: str = ""
    kwargs: Mapping[str, Any] | None = None
    head: str = ""
    blocked_by: tuple[str, ...] = ()

    @property
    def counterexample(self) -> str:
        """The smallest breaking example as text that reads like a call; empty if there is none."""
        if self.kwargs is None:
            return ""
        return f"{self.head}: " + ", ".join(f"{name}={value!r}" for name, value in self.kwargs.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a run found, and under which circumstances.

    Attributes:
        spec: The version of the laws.
        profile: The name of the profile.
        versions: The versions of the packages that took part.
        results: One for each law, architecture and device.
    """

    spec: str
    profile: str
    versions: Mapping[str, str]
    results: Sequence[Result]

    @property
    def passed(self) -> bool:
        """Whether nothing is bad. What was not run neither passes nor fails; it is printed beside."""
        return bool(self.results) and not any(result.status.is_bad for result in self.results)

    def roots(self, architecture: str | None = None) -> frozenset[str]:
        """Return the ids of the laws that failed by themselves, not because of another."""
        return frozenset(
            result.law
            for result in self.results
            if result.status.is_bad
            and result.status is not Status.BLOCKED
            and architecture in {None, result.architecture}
        )

    def architectures(self) -> list[str]:
        """Return the labels of the architectures, in the order of the run."""
        return list(dict.fromkeys(result.architecture for result in self.results))

    def devices(self) -> list[str]:
        """Return the types of the devices, in the order of the run."""
        return list(dict.fromkeys(result.device for result in self.results))

    def of(self, architecture: str) -> list[Result]:
        """Return the results of one architecture."""
        return [result for result in self.results if result.architecture == architecture]

    def count(self, status: Status, *, device: str | None = None) -> int:
        """Return how many results have a verdict."""
        return sum(result.status is status and device in {None, result.device} for result in self.results)
