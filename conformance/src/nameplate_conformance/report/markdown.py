"""A run as `CONFORMANCE.md`, for the folder of a package: claim, matrix, what stands beside it, how to repeat it."""

from collections.abc import Iterator

from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.records.circumstances import Circumstances, circumstances_of
from nameplate_conformance.report.matrix import claim, judged_devices, law_of, matrix, tally
from nameplate_conformance.report.summary import report_of
from nameplate_conformance.result import Report, Result, Status

_BESIDE = (
    (Status.KNOWN, "Known to fail"),
    (Status.NOT_APPLICABLE, "Not applicable"),
    (Status.NOT_RUN, "Not run"),
)


def markdown(report: Report, circumstances: Circumstances | None = None) -> str:
    """Return a report as a Markdown document.

    Args:
        report: What was found.
        circumstances: Under which; those of this environment if not given.
    """
    circumstances = circumstances or circumstances_of(report)
    parts = ["# Conformance"]
    for label in report.architectures():
        parts += _architecture(report_of(report, label), label, circumstances)
    return "\n\n".join(parts) + "\n"


def _architecture(report: Report, label: str, circumstances: Circumstances) -> Iterator[str]:
    subject = circumstances.subject(label)
    package = f", of `{subject.distribution}` {subject.version}," if subject.distribution else ""
    yield f"## `{label}`"
    yield f"**`{label}`{package} {claim(report)}** by specification {report.spec}, profile `{report.profile}`."
    yield _standing(report, label)
    yield "\n".join(_table(report, label))
    causes = [result for result in report.results if result.is_root]
    if causes:
        yield "### What fails"
        yield "\n".join(_line(result) for result in causes)
    for status, title in _BESIDE:
        beside = [result for result in report.results if result.status is status and not result.tentative]
        if beside:
            yield f"### {title}"
            yield "\n".join(_line(result) for result in beside)
    tentative = [result for result in report.results if result.tentative]
    if tentative:
        yield "### Tentative laws, which decide nothing yet"
        yield "\n".join(f"{_line(result)} ({result.status.value})" for result in tentative)
    yield "### How to repeat it"
    yield _command(label, report, circumstances)
    yield _environment(circumstances)


def _standing(report: Report, label: str) -> str:
    counted = tally(report, label)
    beside = ", ".join(f"{len(laws)} {title.lower()}" for status, title in _BESIDE if (laws := counted.having(status)))
    said = f"{counted.holding} of the {counted.total} laws up to L{counted.level} hold ({counted.percent} %)"
    return f"{said}; {beside}." if beside else f"{said}."


def _table(report: Report, label: str) -> Iterator[str]:
    devices = report.devices()
    yield f"| level | {' | '.join(devices)} |"
    yield f"|---|{'---|' * len(devices)}"
    for name, crossings in matrix(report, label):
        yield f"| {name} | {' | '.join(each.text for each in crossings)} |"


def _line(result: Result) -> str:
    message = " ".join(result.message.split()).replace("|", "\\|").replace("<", "&lt;")
    return f"- {result.law} on {result.device}, {law_of(result.law).title}: {message}".removesuffix(": ")


def _command(label: str, report: Report, circumstances: Circumstances) -> str:
    subject = circumstances.subject(label)
    needed = [f"nameplate-conformance=={circumstances.suite}"]
    needed += [f"{subject.distribution}=={subject.version}"] if subject.distribution else []
    devices = " ".join(f"--device {device}" for device in judged_devices(report))
    seed = "" if report.seed is None else f" --seed {report.seed}"
    level = _level(report)
    run = f"nameplate-conformance run {subject.reference or label} --profile {report.profile}{level} {devices}".rstrip()
    return f"```console\n$ pip install {' '.join(needed)}\n$ {run}{seed}\n```"


def _level(report: Report) -> str:
    """Return the option for a run that did not look as high as its profile does by itself."""
    highest = max((law_of(result.law).level for result in report.results), default=0)
    usual = PROFILES.get(report.profile)
    return f" --level {highest}" if usual is not None and highest < usual.level else ""


def _environment(circumstances: Circumstances) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in circumstances.versions.items())
    began = f", begun {circumstances.started}" if circumstances.started else ""
    return f"Judged with {versions}, Python {circumstances.python}, on {circumstances.platform}{began}."
