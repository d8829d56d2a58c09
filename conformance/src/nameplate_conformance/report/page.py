"""A report as one HTML page that needs nothing else: no request, no script, readable on a phone and in print."""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader

from nameplate_conformance.law import LEVELS, all_laws
from nameplate_conformance.report.matrix import MARKS, claim, matrix, verdict
from nameplate_conformance.result import Report

_environment = Environment(
    loader=PackageLoader("nameplate_conformance", "report"), autoescape=True, trim_blocks=True, lstrip_blocks=True
)


@dataclass(frozen=True, slots=True)
class Section:
    """A part that a caller puts before the matrix.

    Attributes:
        title: Its heading.
        html: Its body; trusted, so whoever makes it must escape what it quotes.
    """

    title: str
    html: str


def render_page(report: Report, *, title: str = "Conformance", sections: Sequence[Section] = ()) -> str:
    """Return a self-contained HTML page.

    Args:
        report: What was found.
        title: The heading of the page.
        sections: What comes before the matrix.
    """
    return _environment.get_template("page.html").render(
        title=title,
        sections=sections,
        report=report,
        claim=claim(report),
        verdict=verdict(report),
        matrices=[(name, matrix(report, name)) for name in report.architectures()],
        laws=all_laws(),
        levels=LEVELS,
        marks=MARKS,
    )
