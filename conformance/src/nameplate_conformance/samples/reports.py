"""Reports that no run has made, to look at how they are shown."""

from dataclasses import replace
from typing import Any

from nameplate_conformance.law import LEVELS, SPEC, all_laws
from nameplate_conformance.records.circumstances import Circumstances, Subject, circumstances_of
from nameplate_conformance.result import Report, Result, Status

VERSIONS = {"nameplate-conformance": "0.1.0", "torch": "2.15.0"}
TOP = len(LEVELS) - 1


def made(*results: Result, **options: Any) -> Report:
    """Return a report of results."""
    usual = Report(spec=SPEC, profile="release", versions=VERSIONS, results=list(results))
    return replace(usual, **options)


def result(law: str, status: Status = Status.PASS, **details: Any) -> Result:
    """Return a result for an architecture called mlp."""
    evidence = {"tensors": 4} if status is Status.PASS else {}
    usual = Result(law=law, architecture="mlp", device="cpu", status=status, evidence=evidence)
    return replace(usual, **details)


def conforming(level: int = TOP, *, architecture: str = "mlp") -> list[Result]:
    """Return a passing result for each law up to a level."""
    return [
        result(law.id, architecture=architecture, tentative=law.tentative)
        for law in all_laws().values()
        if law.level <= level
    ]


def but(results: list[Result], law: str, status: Status, **details: Any) -> list[Result]:
    """Return results of which that of one law has another verdict."""
    return [replace(each, status=status, **details) if each.law == law else each for each in results]


def failing() -> Report:
    """Return a report with a root cause, what it blocks, something that does not apply and a device that is absent."""
    cause = result(
        "C01",
        Status.FAIL,
        message="layers came back as a list",
        head="AutoModel",
        kwargs={"layers": (1,)},
        evidence={"fields": 3},
        examples=2,
    )
    return made(
        result("A02", seconds=0.25),
        cause,
        result("C02", Status.BLOCKED, message="blocked by C01", blocked_by=("C01",)),
        result("C11", Status.NOT_APPLICABLE, message="no field has another name"),
        result("D01"),
        result("D01", Status.NOT_RUN, device="cuda", message="there is no cuda device on this machine"),
        started="2026-12-01T12:00:00+00:00",
    )


def circumstances(report: Report, **details: Any) -> Circumstances:
    """Return circumstances in which the package of the mlp is known."""
    subject = Subject(label="mlp", reference="mlp_net:ARCH", distribution="mlp-net", version="1.2.0")
    return replace(circumstances_of(report, subjects=[subject]), **details)
