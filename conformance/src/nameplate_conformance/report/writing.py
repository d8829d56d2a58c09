"""Which kind of report a file is to hold, told by its name; whichever it is, it is replaced in one step."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from nameplate_config.files import replace_file
from nameplate_config.wording import sentences
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.records.circumstances import Circumstances, circumstances_of
from nameplate_conformance.records.journal import journal_lines
from nameplate_conformance.report.badge import badge, badge_picture
from nameplate_conformance.report.certificate import certificate
from nameplate_conformance.report.junit import junit
from nameplate_conformance.report.markdown import markdown
from nameplate_conformance.report.page import render_page
from nameplate_conformance.report.summary import summary
from nameplate_conformance.result import Report

_BADGE = "badge.json"
_CERTIFICATE = "conformance-"

_Render = Callable[[Report, Circumstances], str]

_KINDS: Mapping[str, _Render] = {
    ".html": lambda report, _: render_page(report),
    ".json": lambda report, circumstances: _json(summary(report, circumstances)),
    ".md": markdown,
    ".ndjson": lambda report, circumstances: b"".join(journal_lines(report, circumstances)).decode(),
    ".svg": lambda report, _: badge_picture(report),
    ".xml": lambda report, _: junit(report),
}


def write_report(report: Report, path: Path, circumstances: Circumstances | None = None) -> None:
    """Write a report of a run that came to its end; the name of the file says which kind.

    `.html` is a page, `.json` a summary, `.ndjson` a journal, `.xml` JUnit, `.md` a document, `.svg` a badge,
    `badge.json` a badge for shields.io, and `conformance-….json` a certificate.

    Args:
        report: What was found.
        path: The file, replaced in one step if it is there.
        circumstances: Under which; those of this environment if not given.

    Raises:
        ConformanceError: If the name is of no kind, the folder is not there or cannot be written to, or a
            certificate is refused.
    """
    render = _kind_of(path)
    text = render(report, circumstances or circumstances_of(report))
    try:
        replace_file(path, [text.encode()])
    except OSError as error:
        message = f"{path} cannot be written: {error.strerror or error}."
        raise ConformanceError(message) from error


def check_report_name(path: Path) -> None:
    """Make sure, before a long run begins, that a file says which kind of report it is to hold, and has a folder.

    Raises:
        ConformanceError: If its name does not, with the names that do; or if there is no such folder.
    """
    _kind_of(path)
    if not path.parent.is_dir():
        message = f"{path} cannot be written: there is no folder {path.parent}. Make it first."
        raise ConformanceError(message)


def _kind_of(path: Path) -> _Render:
    if path.name == _BADGE:
        return lambda report, _: _json(badge(report))
    if path.name.startswith(_CERTIFICATE) and path.suffix == ".json":
        return lambda report, circumstances: _json(
            certificate(report, circumstances, architecture=_meant(path, report))
        )
    if path.suffix in _KINDS:
        return _KINDS[path.suffix]
    message = sentences(
        f"{path.name!r} does not say which kind of report it is to be.",
        f"Its name must end in {', '.join(_KINDS)}, or be {_BADGE} or {_CERTIFICATE}….json for a certificate.",
    )
    raise ConformanceError(message)


def _meant(path: Path, report: Report) -> str | None:
    """Return the architecture that the name of a certificate begins with, the longest if there are several."""
    rest = path.stem.removeprefix(_CERTIFICATE)
    meant = [label for label in report.architectures() if f"{rest}-".startswith(f"{label}-")]
    return max(meant, key=len, default=None)


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
