"""How results get from the tests that found them to the process that reports them, and what it makes of them.

Imported into every pytest run of the environment, so nothing heavy is until there is a result.
"""

import io
import re
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from nameplate_conformance.under_pytest.options import memorise, names_given, option

if TYPE_CHECKING:
    from nameplate_conformance.judging.cell import Key
    from nameplate_conformance.records.circumstances import Circumstances
    from nameplate_conformance.result import Report, Result

RESULT = "nameplate_result"
"""The attribute of a test's report that carries the result, as JSON."""

SUBJECT = "nameplate_subject"
"""The attribute of a test's report that carries where the architecture comes from, as JSON."""

VERDICTS = "nameplate_verdicts"
"""The key under which a worker of pytest-xdist is told the folder of verdicts that all of them share."""

_ITEM = re.compile(r"(?:^|::)([^:]+)::([A-Z]\d+)\[(\w+)\](?:@\S*)?$")
_PHASES = {"setup", "call", "teardown"}


class Sharing:
    """Gives the workers of pytest-xdist a folder, so that what one has judged no other judges again."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._folder = ""

    def pytest_configure_node(self, node: Any) -> None:
        """Tell a worker the folder."""
        if not self._folder:
            self._folder = tempfile.mkdtemp(prefix="conformance-verdicts-")
            self._config.add_cleanup(lambda: shutil.rmtree(self._folder, ignore_errors=True))
        node.workerinput[VERDICTS] = self._folder


class Recorder:
    """Keeps the results of a run, from whichever process they come, and reports them in the end."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._found: dict[Key, Mapping[str, Any] | str] = {}
        self._subjects: dict[str, Mapping[str, Any]] = {}
        self._said: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Note the result that a test's report carries; a test whose process died has none, and gets one."""
        record = getattr(report, RESULT, None)
        if record is not None:
            self._found[record["architecture"], record["law"], record["device"]] = record
            self._subjects[record["architecture"]] = getattr(report, SUBJECT)
        elif report.when not in _PHASES and (item := _ITEM.search(report.nodeid)):
            label, law, device = item.groups()
            self._found[label, law, device] = str(report.longrepr)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the reports that were asked for, and make up the summary."""
        if not self._found or hasattr(self._config, "workerinput"):
            return
        memorise(self._config)
        report = self._report()
        circumstances = self._circumstances(report)
        self._said = _summary(report, circumstances, self._config)
        for path in names_given(self._config, "report"):
            trouble = _write(report, circumstances, Path(path))
            self._said.append(trouble or f"wrote {path}")
            if trouble and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show what the run comes down to."""
        if self._said:
            terminalreporter.section("conformance")
            for line in self._said:
                terminalreporter.line(line)

    def _report(self) -> "Report":
        from nameplate_conformance.judging.runner import report_of  # noqa: PLC0415
        from nameplate_conformance.law import all_laws  # noqa: PLC0415 - torch takes seconds

        laws = all_laws()
        order, labels = list(laws), list(dict.fromkeys(label for label, _law, _device in self._found))
        keys = sorted(self._found, key=lambda key: (labels.index(key[0]), order.index(key[1]), key[2]))
        results: dict[Key, Result] = {}
        for key in keys:  # each law after all that it needs
            results[key] = _result(key, self._found[key], laws[key[1]].needs, results)
        return report_of(
            list(results.values()),
            profile=option(self._config, "profile") or "dev",
            seed=option(self._config, "seed"),
            started=self._started,
            spec=option(self._config, "spec"),
        )

    def _circumstances(self, report: "Report") -> "Circumstances":
        from nameplate_conformance.judging.runner import present_devices  # noqa: PLC0415 - torch takes seconds
        from nameplate_conformance.records.circumstances import Subject, circumstances_of  # noqa: PLC0415 - reads metadata

        subjects = [Subject(**each) for each in self._subjects.values()]
        return circumstances_of(report, present=present_devices(), subjects=subjects)


def _result(
    key: "Key", record: Mapping[str, Any] | str, needs: tuple[str, ...], known: "Mapping[Key, Result]"
) -> "Result":
    """Return the result of a test: what its report carried, or that its process died.

    A process that judges a law judges what that one needs before. If something there is bad, it died of that.
    """
    from nameplate_conformance.records.journal import result_from_json  # noqa: PLC0415 - reads schemas
    from nameplate_conformance.result import Result, Status  # noqa: PLC0415

    if not isinstance(record, str):
        return result_from_json(record)
    label, law, device = key
    culprits: dict[str, None] = {}
    for (other, need, _device), result in known.items():
        if other == label and need in needs and result.status.is_bad and not result.tentative:
            culprits.update(dict.fromkeys(result.blocked_by or (need,)))
    if not culprits:
        return Result(law=law, architecture=label, device=device, status=Status.ERROR, message=record)
    blocked_by, message = tuple(culprits), f"blocked by {', '.join(culprits)}"
    return Result(
        law=law,
        architecture=label,
        device=device,
        status=Status.BLOCKED,
        message=message,
        blocked_by=blocked_by,
    )


def _summary(report: "Report", circumstances: "Circumstances", config: pytest.Config) -> list[str]:
    """Return the lines that say what a run comes down to: the matrix, or one sentence if it should be quiet."""
    from rich.console import Console  # noqa: PLC0415 - heavy

    from nameplate_conformance.report import print_report  # noqa: PLC0415
    from nameplate_conformance.report.matrix import verdict  # noqa: PLC0415

    if config.get_verbosity() < 0:
        return [verdict(report)]
    writer = config.get_terminal_writer()
    page = io.StringIO()
    colours = writer.hasmarkup
    console = Console(file=page, width=writer.fullwidth, force_terminal=colours, no_color=not colours)
    print_report(report, console, circumstances)
    return page.getvalue().splitlines()


def check_names(config: pytest.Config) -> None:
    """Refuse, before a long run, a report whose name does not say what it is to be, or whose folder is absent.

    Raises:
        pytest.UsageError: If there is one.
    """
    paths = names_given(config, "report")
    if paths:
        from nameplate_config import NameplateError  # noqa: PLC0415 - heavy
        from nameplate_conformance.report import check_report_name  # noqa: PLC0415

        try:
            for path in paths:
                check_report_name(Path(path))
        except NameplateError as error:
            raise pytest.UsageError(str(error)) from error


def _write(report: "Report", circumstances: "Circumstances", path: Path) -> str:
    """Write a report; return why that was not possible, or nothing. The run is over, so it must not fail for that."""
    from nameplate_config import NameplateError  # noqa: PLC0415 - heavy
    from nameplate_conformance.report import write_report  # noqa: PLC0415

    try:
        write_report(report, path, circumstances)
    except NameplateError as error:
        return str(error)
    return ""
