"""Under which circumstances a run took place: machine, versions, and whose architectures were judged.

What a report needs so that somebody else can believe it or repeat it. Knows no verdicts, and imports no torch.
"""

import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution, entry_points, packages_distributions, version
from typing import TYPE_CHECKING

from nameplate_conformance.result import Report, Status

if TYPE_CHECKING:
    from nameplate_conformance.architecture import Architecture

SUITE = "nameplate-conformance"
_GROUPS = ("nameplate.conformance", "nameplate.architectures")


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One architecture that is judged, and where it comes from.

    Attributes:
        label: What the results call it.
        reference: How another process finds it; empty if it cannot.
        distribution: The name of the installed package that it belongs to; empty if it belongs to none.
        version: The version of that package.
    """

    label: str
    reference: str = ""
    distribution: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What is known of a run before it begins.

    Attributes:
        spec: The version of the laws.
        suite: The version of this package.
        versions: The versions of the packages that take part.
        python: The version of Python.
        platform: Operating system and processor.
        devices: The types of devices that were asked for.
        present: The types of devices that the machine has.
        profile: The name of the profile.
        seed: What decides which examples are drawn; None stands for the usual ones.
        subjects: The architectures.
        started: When the run began, as an ISO 8601 time.
    """

    spec: str
    suite: str
    versions: dict[str, str]
    python: str
    platform: str
    devices: tuple[str, ...]
    present: tuple[str, ...]
    profile: str
    seed: int | None
    subjects: tuple[Subject, ...]
    started: str

    def subject(self, label: str) -> Subject:
        """Return where an architecture comes from, by its label; nothing is known of one that was not announced."""
        return next((each for each in self.subjects if each.label == label), Subject(label=label))


def circumstances_of(
    report: Report, *, devices: Sequence[str] = (), present: Sequence[str] = (), subjects: Iterable[Subject] = ()
) -> Circumstances:
    """Return the circumstances of a run that takes, or took, place in this very environment.

    Args:
        report: What was found; its results need not be there yet.
        devices: The types of devices that were asked for; those of the results if not given.
        present: The types of devices that the machine has; those with a verdict if not given.
        subjects: The architectures; nothing is known of those that are not given.
    """
    judged = dict.fromkeys(each.device for each in report.results if each.status is not Status.NOT_RUN)
    return Circumstances(
        spec=report.spec,
        suite=version(SUITE),
        versions=dict(report.versions),
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        devices=tuple(devices or report.devices()),
        present=tuple(present or judged),
        profile=report.profile,
        seed=report.seed,
        subjects=tuple(subjects),
        started=report.started,
    )


def subject_of(architecture: "Architecture") -> Subject:
    """Return where an architecture comes from, as far as can be told."""
    config = architecture.config
    module = config.partition(":")[0] if isinstance(config, str) else config.__module__
    name = distribution_of(module)
    found = version(name) if name else ""
    return Subject(label=architecture.label, reference=architecture.reference, distribution=name, version=found)


def distribution_of(module: str) -> str:
    """Return the name of the installed package that a module belongs to; empty if it belongs to none.

    What a package announces is believed first: of an editable installation nothing else is known.

    Example:
        >>> distribution_of("nameplate_conformance.zoo")
        'nameplate-conformance'
        >>> distribution_of("json")
        ''
    """
    top = module.partition(".")[0]
    for group in _GROUPS:
        for point in entry_points(group=group):
            if point.module.partition(".")[0] == top and point.dist is not None:
                return point.dist.name
    try:
        return distribution(top.replace("_", "-")).name
    except (PackageNotFoundError, ValueError):
        return next(iter(packages_distributions().get(top, ())), "")
