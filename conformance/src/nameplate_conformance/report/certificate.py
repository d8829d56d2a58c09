"""A certificate: what a complete run has shown of one package, no more, with a digest that finds any edit.

It says what was judged, by which laws and on which devices. It is no signature: who wrote it must be known otherwise.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nameplate_config.strict_json import parse_object
from nameplate_config.wording import listed, sentences
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.law import all_laws, binding
from nameplate_conformance.records.circumstances import Circumstances, Subject, circumstances_of
from nameplate_conformance.records.journal import RecordError, circumstances_to_json, read_records, require_schema
from nameplate_conformance.records.provenance import installed_digest, wheel_digest
from nameplate_conformance.report.matrix import absent_devices, claim, judged_devices, tally, worst
from nameplate_conformance.report.summary import report_of
from nameplate_conformance.result import Report, Status

PROFILES_THAT_CERTIFY = ("release", "nightly")
"""How closely a run must have looked."""

_DIGEST = "sha256"


class CertificateError(ConformanceError):
    """A certificate that may not be issued, because the run does not show it, or that was changed since."""


CertificateError.__module__ = "nameplate_conformance"


def certificate(
    report: Report,
    circumstances: Circumstances | None = None,
    *,
    architecture: str | None = None,
    complete: bool = True,
    wheel: Path | None = None,
) -> dict[str, Any]:
    """Return the certificate of one architecture, to be written as JSON.

    Args:
        report: What was found.
        circumstances: Under which; those of this environment if not given.
        architecture: Its label; the only one of the report if not given.
        complete: Whether the run came to its end.
        wheel: The wheel that holds what was judged; the installed package itself if not given.

    Raises:
        CertificateError: If the run fails, was cut short, lacks laws of its level, left one out, or did not look
            closely enough.
        ConformanceError: If nothing says which files were judged.
    """
    label = architecture or _only(report)
    own = report_of(report, label)
    circumstances = circumstances or circumstances_of(report)
    _require_shown(own, label, complete=complete)
    counted = tally(own, label)
    content = {
        "kind": "certificate",
        "format": 1,
        "architecture": label,
        "claim": claim(own),
        "spec": own.spec,
        "level": own.level,
        "no_skip": not counted.having(Status.KNOWN) and not _left_out(own),
        "package": _package(circumstances.subject(label), wheel),
        "devices": {"judged": judged_devices(own), "not run": absent_devices(own)},
        "standing": {"laws": counted.total, "holding": counted.holding, "percent": counted.percent},
        "laws": [_law(own, law) for law in counted.verdicts],
        "circumstances": circumstances_to_json(replace(circumstances, subjects=(circumstances.subject(label),))),
        "issued": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return {**content, _DIGEST: _digest(content)}


def verify_certificate(path: Path) -> dict[str, Any]:
    """Return the content of a certificate that was not changed since it was issued.

    Raises:
        CertificateError: If it is no certificate, any value in it was changed, or it says what none of ours does.
    """
    value = parse_object(read_records(path), where=path.name, error=CertificateError)
    written = value.pop(_DIGEST, None)
    if value.get("kind") != "certificate" or not isinstance(written, str):
        message = f"{path.name} is no certificate of a conformance run."
        raise CertificateError(message)
    found = _digest(value)
    if found != written:
        message = sentences(
            f"{path.name} was changed after it was issued.",
            f"Its content has the digest {found[:12]}…, and it says {written[:12]}….",
        )
        raise CertificateError(message)
    try:
        require_schema(value, "certificate")
    except RecordError as error:
        message = sentences(f"{path.name} {error}", "This version of nameplate-conformance did not issue it.")
        raise CertificateError(message) from error
    return value


def _only(report: Report) -> str:
    labels = report.architectures()
    if len(labels) != 1:
        message = f"a certificate is about one architecture, and the report is about {listed(labels)}: say which."
        raise CertificateError(message)
    return labels[0]


def _require_shown(report: Report, label: str, *, complete: bool) -> None:
    """Make sure that a run shows that an architecture conforms."""
    said = ""
    judged = {each.law for each in report.results}
    if not report.results:
        said = "the report says nothing of it."
    elif not complete:
        said = f"the run was cut short. Go on with it: `nameplate-conformance run {label} --resume` and its journal."
    elif not report.passed:
        said = f"it does not conform: {listed(sorted(report.roots()))} failed."
    elif report.level < 0:
        missing = [law.id for law in binding(0, report.spec) if law.id not in judged]
        said = f"it reaches no level, since not every law of the first was judged: {listed(missing)}."
    elif missing := [law.id for law in binding(report.level, report.spec) if law.id not in judged]:
        said = f"laws up to L{report.level} were left out: {listed(missing)}."
    elif report.profile not in PROFILES_THAT_CERTIFY:
        said = f"it was judged by the profile {report.profile!r}. Judge it with `--profile {PROFILES_THAT_CERTIFY[0]}`."
    if said:
        message = f"no certificate for {label!r}: {said}"
        raise CertificateError(message)


def _left_out(report: Report) -> list[str]:
    """Return the laws that were not run on a device on which others were."""
    judged = judged_devices(report)
    return [each.law for each in report.results if each.status is Status.NOT_RUN and each.device in judged]


def _package(subject: Subject, wheel: Path | None) -> dict[str, str | None]:
    if not subject.distribution:
        message = f"nothing says which installed package {subject.label!r} belongs to, so there is nothing to certify."
        raise CertificateError(message)
    name, version = subject.distribution, subject.version
    return {
        "name": name,
        "version": version,
        "files": installed_digest(name, version) if wheel is None else wheel_digest(wheel, name, version),
        "wheel": None if wheel is None else hashlib.sha256(wheel.read_bytes()).hexdigest(),
    }


def _law(report: Report, law_id: str) -> dict[str, Any]:
    law = all_laws()[law_id]
    results = [result for result in report.results if result.law == law_id]
    evidence: Counter[str] = Counter()
    for result in results:
        evidence.update(result.evidence)
    return {
        "id": law_id,
        "level": law.level,
        "strength": law.strength.value,
        "verdict": worst(result.status for result in results).value,
        "devices": {result.device: result.status.value for result in results},
        "examples": sum(result.examples for result in results),
        "evidence": dict(evidence),
    }


def _digest(content: Mapping[str, Any]) -> str:
    """Return the digest of a content, in whatever order its keys stand."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
