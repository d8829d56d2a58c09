"""A run as a badge: what a README shows, as the JSON that shields.io asks for or as a picture of its own."""

from typing import Any
from xml.sax.saxutils import escape

from nameplate_conformance.law import LEVELS
from nameplate_conformance.report.matrix import judged_devices
from nameplate_conformance.result import Report

_LABEL = "conforms"
_COLOURS = ("yellow", "yellow", "yellow", "yellowgreen", "yellowgreen", "green", "green", "brightgreen")
_PAINT = {
    "brightgreen": "#2c7a4b",
    "green": "#3f7f3f",
    "yellowgreen": "#66721a",
    "yellow": "#8a6a00",
    "lightgrey": "#6b7280",
    "red": "#b42318",
}
"""Dark enough, each of them, for white letters."""

_HEIGHT = 20
_PADDING = 12
_LETTER = 6.6
"""How wide a letter of 11 pixels is at most, on average; `textLength` makes it so."""


def badge(report: Report) -> dict[str, Any]:
    """Return the JSON of an endpoint badge of shields.io.

    Example:
        >>> badge(Report(spec="2026.12", profile="smoke", versions={}, results=[]))["message"]
        'no'
    """
    message, colour = _said(report)
    return {"schemaVersion": 1, "label": _LABEL, "message": message, "color": colour}


def badge_picture(report: Report) -> str:
    """Return the badge as an SVG picture that needs nothing else."""
    message, colour = _said(report)
    left, right = _width(_LABEL), _width(message)
    label = escape(f"{_LABEL}: {message}", {'"': "&quot;"})
    return f"""\
<svg xmlns="http://www.w3.org/2000/svg" width="{left + right}" height="{_HEIGHT}" role="img" aria-label="{label}">
<title>{label}</title>
<clipPath id="round"><rect width="{left + right}" height="{_HEIGHT}" rx="3"/></clipPath>
<g clip-path="url(#round)">
<rect width="{left}" height="{_HEIGHT}" fill="#40464d"/>
<rect x="{left}" width="{right}" height="{_HEIGHT}" fill="{_PAINT[colour]}"/>
</g>
<g fill="#fff" font-family="Verdana,DejaVu Sans,sans-serif" font-size="11" text-anchor="middle">
<text x="{left / 2:g}" y="14" textLength="{left - _PADDING}">{_LABEL}</text>
<text x="{left + right / 2:g}" y="14" textLength="{right - _PADDING}">{escape(message)}</text>
</g>
</svg>
"""


def _said(report: Report) -> tuple[str, str]:
    if not report.passed:
        return "no", "red"
    shown = f"{'+'.join(judged_devices(report))} · {report.profile} · {report.spec}"
    if report.level < 0:
        return f"no level · {shown}", "lightgrey"
    return f"L{report.level} · {shown}", _COLOURS[min(report.level, len(LEVELS) - 1)]


def _width(text: str) -> int:
    return round(_LETTER * len(text)) + _PADDING
