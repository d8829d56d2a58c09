"""What a run found: one `Result` for each law, architecture and variant, and the `Report` that holds them.

Only the records and what follows from them; drawing them is the business of the package `report`.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any

from nameplate_config.wording import as_code

if TYPE_CHECKING:
    from nameplate_conformance.records.apart import Apart


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
        seed: Decides the weights of the model that breaks the law.
        blocked_by: The laws that failed before this one could mean anything.
        tentative: Whether the law is only reported, so that its verdict fails no run.
        apart: A few tensors that should be equal and are not.
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
    seed: int = 0
    blocked_by: tuple[str, ...] = ()
    tentative: bool = False
    apart: "tuple[Apart, ...]" = ()

    @property
    def id(self) -> str:
        """Six hexadecimal digits that stand for the counterexample, the same ones on every machine."""
        parts = (self.law, self.architecture, self.device, self.counterexample, str(self.seed))
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:6]

    @property
    def is_root(self) -> bool:
        """Whether the verdict makes the run fail by itself, not because of another law."""
        return self.status.is_bad and self.status is not Status.BLOCKED and not self.tentative

    @property
    def counterexample(self) -> str:
        """The smallest breaking example as text that reads like a call; empty if there is none."""
        if self.kwargs is None:
            return ""
        return f"{self.head}: " + ", ".join(f"{name}={as_code(value)}" for name, value in self.kwargs.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Everything that a run found, and under which circumstances.

    Attributes:
        spec: The version of the laws.
        profile: The name of the profile.
        versions: The versions of the packages that took part.
        results: One for each law, architecture and device.
        seed: What decided which examples were drawn; None stands for the usual ones.
        started: When the run began, as an ISO 8601 time.
    """

    spec: str
    profile: str
    versions: Mapping[str, str]
    results: Sequence[Result]
    seed: int | None = None
    started: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing is bad. What was not run neither passes nor fails; it is printed beside."""
        return bool(self.results) and not any(each.status.is_bad for each in self.results if not each.tentative)

    @property
    def level(self) -> int:
        """The highest level up to which every binding law was judged and holds; -1 if there is none.

        An admitted failure is none the less a failure here, and a device that is absent says nothing.
        """
        return min((self.level_of(architecture) for architecture in self.architectures()), default=-1)

    def level_of(self, architecture: str) -> int:
        """Return the level that one architecture reaches."""
        from nameplate_conformance.law import LEVELS, SPEC, Strength, all_laws  # noqa: PLC0415 - it imports results

        found: dict[str, set[Status]] = {}
        for result in self.of(architecture):
            found.setdefault(result.law, set()).add(result.status)
        binding = [law for law in all_laws().values() if law.strength is Strength.MUST and not law.tentative]
        holds = {law.id: _holds(found.get(law.id, set())) for law in binding if law.since <= (self.spec or SPEC)}
        open_levels = {law.level for law in binding if not holds.get(law.id, True)}
        return min(open_levels, default=len(LEVELS)) - 1

    def roots(self, architecture: str | None = None) -> frozenset[str]:
        """Return the ids of the laws that failed by themselves, not because of another."""
        return frozenset(
            result.law for result in self.results if result.is_root and architecture in {None, result.architecture}
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


def _holds(verdicts: set[Status]) -> bool:
    """Whether verdicts on one law, one for each device, say that it holds: absence alone does not."""
    said = verdicts - {Status.NOT_RUN}
    return bool(said) and said <= {Status.PASS, Status.NOT_APPLICABLE}
