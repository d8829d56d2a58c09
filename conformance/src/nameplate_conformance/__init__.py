"""Proves that an architecture survives save, register and from_pretrained, or shows the smallest config that does not.

Public names are imported when they are asked for: the pytest plugin of this package is loaded into every pytest run
and must not import torch.
"""

from importlib import import_module

TYPE_CHECKING = False  # not that of typing, whose import takes longer than all that the plugin imports

if TYPE_CHECKING:
    from typing import Any

    from nameplate_conformance.architecture import Architecture as Architecture
    from nameplate_conformance.architecture import Foreign as Foreign
    from nameplate_conformance.architecture import Tags as Tags
    from nameplate_conformance.architecture import registered as registered
    from nameplate_conformance.errors import ConformanceError as ConformanceError
    from nameplate_conformance.errors import LawBrokenError as LawBrokenError
    from nameplate_conformance.judging.admission import Known as Known
    from nameplate_conformance.judging.runner import check as check
    from nameplate_conformance.judging.runner import known_devices as known_devices
    from nameplate_conformance.judging.runner import present_devices as present_devices
    from nameplate_conformance.records.example import Example as Example
    from nameplate_conformance.records.example import replay as replay
    from nameplate_conformance.records.journal import RecordError as RecordError
    from nameplate_conformance.records.store import Store as Store
    from nameplate_conformance.report import CertificateError as CertificateError
    from nameplate_conformance.report import Section as Section
    from nameplate_conformance.report import certificate as certificate
    from nameplate_conformance.report import print_report as print_report
    from nameplate_conformance.report import read_report as read_report
    from nameplate_conformance.report import render_page as render_page
    from nameplate_conformance.report import verify_certificate as verify_certificate
    from nameplate_conformance.report import write_report as write_report
    from nameplate_conformance.result import Report as Report
    from nameplate_conformance.result import Result as Result
    from nameplate_conformance.result import Status as Status
    from nameplate_conformance.testing import conformance_tests as conformance_tests

_HOMES = {
    "Architecture": "architecture",
    "CertificateError": "report",
    "ConformanceError": "errors",
    "Example": "records.example",
    "Foreign": "architecture",
    "Known": "judging.admission",
    "LawBrokenError": "errors",
    "RecordError": "records.journal",
    "Report": "result",
    "Result": "result",
    "Section": "report",
    "Status": "result",
    "Store": "records.store",
    "Tags": "architecture",
    "certificate": "report",
    "check": "judging.runner",
    "conformance_tests": "testing",
    "known_devices": "judging.runner",
    "present_devices": "judging.runner",
    "print_report": "report",
    "read_report": "report",
    "registered": "architecture",
    "render_page": "report",
    "replay": "records.example",
    "verify_certificate": "report",
    "write_report": "report",
}

__all__ = [
    "Architecture",
    "CertificateError",
    "ConformanceError",
    "Example",
    "Foreign",
    "Known",
    "LawBrokenError",
    "RecordError",
    "Report",
    "Result",
    "Section",
    "Status",
    "Store",
    "Tags",
    "certificate",
    "check",
    "conformance_tests",
    "known_devices",
    "present_devices",
    "print_report",
    "read_report",
    "registered",
    "render_page",
    "replay",
    "verify_certificate",
    "write_report",
]


def __getattr__(name: str) -> "Any":
    """Import a public name from its module, or answer `__version__` from the installed metadata."""
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("nameplate-conformance")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
