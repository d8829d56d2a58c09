"""A run as one JSON document that keeps to the published schema, for programs that do not read a journal."""

from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from nameplate_config.strict_json import Budget, parse_object
from nameplate_conformance.law import LEVELS
from nameplate_conformance.records.circumstances import Circumstances, circumstances_of
from nameplate_conformance.records.journal import (
    FORMAT,
    Journal,
    RecordError,
    circumstances_from_json,
    circumstances_to_json,
    read_journal,
    read_records,
    report_under,
    require_schema,
    result_from_json,
    result_to_json,
)
from nameplate_conformance.report.matrix import claim, judged_devices, matrix
from nameplate_conformance.result import Report, Result

_BUDGET = Budget(keys=1_000_000, values=50_000_000, objects=5_000_000)


def summary(report: Report, circumstances: Circumstances | None = None, *, complete: bool = True) -> dict[str, Any]:
    """Return the summary of a run.

    Args:
        report: What was found.
        circumstances: Under which; those of this environment if not given.
        complete: Whether the run came to its end.
    """
    return {
        "kind": "summary",
        "format": FORMAT,
        "complete": complete,
        "passed": report.passed and complete,
        "claim": claim(report) if complete else "the run was cut short",
        "circumstances": circumstances_to_json(circumstances or circumstances_of(report)),
        "architectures": [_architecture(report, label) for label in report.architectures()],
        "results": [result_to_json(result) for result in report.results],
    }


def _architecture(report: Report, label: str) -> dict[str, Any]:
    own = report_of(report, label)
    rows = [
        {
            "level": LEVELS.index(name.partition(" ")[2]),
            "name": name,
            "devices": {
                device: _counts(crossing.results)
                for device, crossing in zip(report.devices(), crossings, strict=True)
                if crossing.results
            },
        }
        for name, crossings in matrix(report, label)
    ]
    return {
        "label": label,
        "level": report.level_of(label),
        "passed": own.passed,
        "roots": sorted(report.roots(label)),
        "devices": judged_devices(own),
        "counts": _counts(own.results),
        "levels": rows,
    }


def report_of(report: Report, label: str) -> Report:
    """Return the report of one architecture alone."""
    return Report(
        spec=report.spec,
        profile=report.profile,
        versions=report.versions,
        results=report.of(label),
        seed=report.seed,
        started=report.started,
    )


def _counts(results: Iterable[Result]) -> dict[str, int]:
    return dict(Counter(result.status.value for result in results))


def read_summary(value: Mapping[str, Any], *, where: str) -> Journal:
    """Return what a summary was made of.

    Raises:
        RecordError: If it does not keep to the schema.
    """
    try:
        require_schema(value, "summary")
        circumstances = circumstances_from_json(value["circumstances"])
        results = [result_from_json(each) for each in value["results"]]
    except RecordError as error:
        message = f"{where} {error}"
        raise RecordError(message) from error
    return Journal(circumstances, report_under(circumstances, results), value["complete"])


def read_report(path: Path) -> Journal:
    """Read a report that was written as a journal (``.ndjson``) or as a summary (``.json``).

    Raises:
        RecordError: If it is neither.
    """
    if path.suffix == ".ndjson":
        return read_journal(path)
    value = parse_object(read_records(path), where=path.name, error=RecordError, budget=_BUDGET)
    return read_summary(value, where=path.name)
