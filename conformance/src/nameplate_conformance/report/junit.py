"""A run as JUnit XML, which every CI system reads: one suite for each architecture and device, one case a law.

A law that is blocked counts as skipped if what blocks it has failed in the same file, so that only root causes are red.
"""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

from nameplate_conformance.report.matrix import law_of
from nameplate_conformance.result import Report, Result, Status

_ILLEGAL = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""What XML 1.0 cannot hold, not even escaped."""


def junit(report: Report) -> str:
    """Return a report as JUnit XML.

    Example:
        >>> print(junit(Report(spec="2026.12", profile="smoke", versions={}, results=[])))
        <?xml version='1.0' encoding='utf-8'?>
        <testsuites name="nameplate-conformance 2026.12" tests="0" failures="0" errors="0" time="0.000" />
        <BLANKLINE>
    """
    suites = [_suite(report, name, device) for name in report.architectures() for device in report.devices()]
    filled = [suite for suite in suites if len(suite)]
    root = ET.Element("testsuites", name=f"nameplate-conformance {report.spec}")
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in filled)))
    root.set("time", _seconds(sum(result.seconds for result in report.results)))
    root.extend(filled)
    ET.indent(root)
    return ET.tostring(root, encoding="unicode", xml_declaration=False).join(
        ("<?xml version='1.0' encoding='utf-8'?>\n", "\n")
    )


def _suite(report: Report, architecture: str, device: str) -> ET.Element:
    results = [result for result in report.of(architecture) if result.device == device]
    suite = ET.Element("testsuite", name=_clean(f"{architecture}[{device}]"))
    suite.extend(_case(report, result) for result in results)
    suite.set("tests", str(len(results)))
    for tag, count in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    suite.set("time", _seconds(sum(result.seconds for result in results)))
    if report.started:
        suite.set("timestamp", report.started)
    return suite


def _case(report: Report, result: Result) -> ET.Element:
    law = law_of(result.law)
    case = ET.Element(
        "testcase",
        classname=_clean(f"{result.architecture}.L{law.level}"),
        name=_clean(f"{law.id}[{result.device}] {law.title}"),
        time=_seconds(result.seconds),
    )
    properties = ET.SubElement(case, "properties")
    for name, value in _properties(result):
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    tag = _tag(report, result)
    if tag:
        first, _, _ = result.message.partition("\n")
        outcome = ET.SubElement(case, tag, type=result.status.value, message=_clean(first))
        outcome.text = _clean("\n".join(_explanation(result)))
    return case


def _properties(result: Result) -> Iterator[tuple[str, str]]:
    law = law_of(result.law)
    yield "law", law.id
    yield "level", str(law.level)
    yield "strength", law.strength.value
    yield "status", result.status.value
    yield "device", result.device
    if result.is_root:
        yield "root", "true"
        yield "id", result.id
    if result.blocked_by:
        yield "blocked_by", ",".join(result.blocked_by)
    if result.tentative:
        yield "tentative", "true"
    yield from ((f"evidence.{what}", str(number)) for what, number in result.evidence.items())


def _tag(report: Report, result: Result) -> str:
    if result.status is Status.PASS:
        return ""
    if not result.status.is_bad or result.tentative:
        return "skipped"
    if result.status is Status.BLOCKED and report.roots(result.architecture).intersection(result.blocked_by):
        return "skipped"
    return "error" if result.status is Status.ERROR else "failure"


def _explanation(result: Result) -> Iterator[str]:
    yield result.message
    yield law_of(result.law).text
    if result.is_root and result.counterexample:
        yield f"smallest: {result.counterexample}"
        yield f"reproduce: nameplate-conformance replay {result.id}"


def _clean(text: str) -> str:
    return _ILLEGAL.sub("\ufffd", text)


def _seconds(seconds: float) -> str:
    return f"{seconds:.3f}"
