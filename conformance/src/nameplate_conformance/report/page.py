"""A report as one HTML page that needs nothing else: no request, no script, readable on a phone and in print.

Only how the page is put together. What it shows is ordered in `views`, drawn by `heatmap` and `graph`, and laid out by
the templates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.guidance import Guidance, guidance
from nameplate_conformance.law import LEVELS
from nameplate_conformance.report.matrix import claim, judged_devices, verdict
from nameplate_conformance.report.views import lasted, views
from nameplate_conformance.result import Report

_environment = Environment(
    loader=PackageLoader("nameplate_conformance", "report/templates"),
    autoescape=True,
    trim_blocks=True,
    lstrip_blocks=True,
    undefined=StrictUndefined,
)
_environment.filters["lasted"] = lasted


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

    Returns:
        The page, which fetches nothing and runs nothing.

    Example:
        >>> from nameplate_conformance.result import Report
        >>> render_page(Report(spec="2026.12", profile="smoke", versions={}, results=[]))[:15]
        '<!doctype html>'
    """
    judged = views(report)
    return _environment.get_template("page.html").render(
        title=title,
        sections=sections,
        report=report,
        claim=claim(report),
        verdict=verdict(report),
        views=judged,
        plate=_plate(report, sum(view.seconds for view in judged)),
        levels=LEVELS,
        advice=_advice,
    )


def _plate(report: Report, seconds: float) -> dict[str, str]:
    """Return what stands on the plate at the top of the page: what was judged, by which rules, how and when."""
    judged = judged_devices(report)
    fields = {
        "Architecture": ", ".join(report.architectures()),
        "Level": f"L{report.level} {LEVELS[report.level]}" if report.level >= 0 else "none reached",
        "Spec": report.spec,
        "Devices": ", ".join(judged),
        "Not run": ", ".join(each for each in report.devices() if each not in judged),
        "Profile": report.profile,
        "Seed": "fixed" if report.seed is None else str(report.seed),
        "Judged in": lasted(seconds),
        "Begun": report.started[:16].replace("T", " "),
    }
    return {name: value for name, value in fields.items() if value}


def _advice(law_id: str) -> Guidance | None:
    """Return the guidance for a law; None for one that this suite does not know, as in a report of another version."""
    try:
        return guidance(law_id)
    except ConformanceError:
        return None
