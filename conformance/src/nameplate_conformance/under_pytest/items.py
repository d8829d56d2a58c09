"""What pytest collects and runs: one item for each architecture, law and device, called ``resnet::S01[cpu]``.

Imported when the first conformance test is collected. The names of items hold no path of the machine, so that
``--lf``, ``--deselect`` and reports mean the same everywhere.
"""

import os
import sys
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # CUDA computes alike twice only with it, read at its start

import pytest

from nameplate_config import NameplateError
from nameplate_config.wording import brief
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.references import named, names
from nameplate_conformance.judging.runner import HOST, Runner, cells, known_devices
from nameplate_conformance.judging.verdicts import Verdicts
from nameplate_conformance.plugin import ARCHITECTURES
from nameplate_conformance.records.circumstances import Subject as Where
from nameplate_conformance.records.circumstances import subject_of
from nameplate_conformance.records.journal import result_to_json
from nameplate_conformance.records.store import FOLDER, Store
from nameplate_conformance.result import Result, Status
from nameplate_conformance.under_pytest.options import names_given, option
from nameplate_conformance.under_pytest.recorder import RESULT, SUBJECT, VERDICTS

_REGISTERED = "nameplate_conformance.test_registered"
_LOADS = "A01"


@dataclass
class SharedRunner(Runner):
    """Judges what no other process of the run has judged.

    Attributes:
        verdicts: What the others have judged; None if there are no others.
    """

    verdicts: Verdicts | None = None

    def attempt(self, cell: Cell) -> Result:
        """Judge one cell, whatever became of what it needs, or return what another process found."""
        alone = super().attempt
        return alone(cell) if self.verdicts is None else self.verdicts.judge(cell, alone)


_runner = pytest.StashKey[SharedRunner]()


def collected(parent: pytest.Collector, name: str, function: FunctionType) -> "Conformance":
    """Return what stands for a function that `conformance_tests` has made.

    Raises:
        pytest.Collector.CollectError: If there is no such profile.
    """
    if _runner not in parent.config.stash:
        try:
            parent.config.stash[_runner] = _runner_of(parent.config)
        except ConformanceError as error:
            raise parent.CollectError(str(error)) from error
        parent.config.pluginmanager.register(Carrier())
    return Conformance.from_parent(parent, name=name, function=function)


def _runner_of(config: pytest.Config) -> SharedRunner:
    shared = getattr(config, "workerinput", {}).get(VERDICTS, "")
    return SharedRunner(
        profile=option(config, "profile") or "dev",
        seed=option(config, "seed"),
        store=Store(config.rootpath / FOLDER),
        verdicts=Verdicts(Path(shared)) if shared and Path(shared).is_dir() else None,
    )


class Conformance(pytest.Collector):
    """A function that `conformance_tests` has made: holds its architectures."""

    def __init__(self, *, function: FunctionType, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._given: Sequence[Architecture] = getattr(function, ARCHITECTURES)
        self._module = function.__globals__["__name__"]
        for mark in getattr(function, "pytestmark", ()):
            self.own_markers.append(mark)
            self.keywords[mark.name] = mark

    def collect(self) -> Iterator[pytest.Item | pytest.Collector]:
        """Yield what holds the tests of each architecture, or the test that says why it cannot be judged."""
        if self._given:
            module = self.getparent(pytest.Module)
            for architecture in self._given:
                yield self._subject(_announced(architecture, module.obj if module is not None else None))
            return
        for text in names_given(self.config, "arch") or names():
            try:
                yield self._subject(named(text), nodeid=text)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module does at import
                yield Unjudged.from_parent(self, name=text, error=error)

    def _subject(self, architecture: Architecture, **options: Any) -> pytest.Item | pytest.Collector:
        try:
            label = architecture.label
        except NameplateError as error:
            return Unjudged.from_parent(self, name=str(architecture.config), error=error)
        return Subject.from_parent(self, name=label, architecture=architecture, **options)


class Subject(pytest.Collector):
    """One architecture: holds a test for each law and device."""

    def __init__(self, *, architecture: Architecture, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._architecture = architecture

    def collect(self) -> Iterator["LawItem"]:
        """Yield the tests that were asked for."""
        try:
            wanted = self._cells()
        except ConformanceError as error:
            raise self.CollectError(str(error)) from error
        where = subject_of(self._architecture)
        for cell in wanted:
            name = f"{cell.law.id}[{cell.device}]"
            # The whole id, for pytest takes it apart at the bracket when it reads it from its cache.
            yield LawItem.from_parent(self, name=name, nodeid=f"{self.nodeid}::{name}", cell=cell, subject=where)

    def _cells(self) -> list[Cell]:
        """Return what was asked for.

        Raises:
            ConformanceError: If it does not exist.
        """
        config, level = self.config, option(self.config, "level")
        devices, laws = names_given(config, "device") or known_devices(), names_given(config, "law")
        highest = config.stash[_runner].level if level is None else level
        return cells([self._architecture], devices, laws, level=highest, spec=option(config, "spec"))


class LawItem(pytest.Item):
    """The test of one law for one architecture on one device."""

    def __init__(self, *, cell: Cell, subject: Where, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.cell = cell
        self.subject = subject
        self.result: Result | None = None
        if cell.device != HOST and self.config.pluginmanager.hasplugin("xdist"):
            self.add_marker(pytest.mark.xdist_group(f"conformance-{cell.device}"))

    def runtest(self) -> None:
        """Judge, and turn the verdict into an outcome of pytest."""
        self.result = self.config.stash[_runner].judge(self.cell)
        law = self.cell.law
        said = {"law": law.id, "level": law.level, "device": self.cell.device, "verdict": self.result.status.value}
        self.user_properties += said.items()
        _conclude(self.result, self.cell)

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what stands before the outcome of the test when pytest lists it."""
        return self.path, None, f"{self.cell.law.id} {self.cell.law.title} [{self.cell.device}]"


class Unjudged(pytest.Item):
    """An architecture that cannot be judged, because it does not exist or cannot be imported."""

    def __init__(self, *, error: BaseException, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        said = str(error) if isinstance(error, NameplateError) else f"{type(error).__name__}: {brief(error)}"
        self._said = f"{self.name} cannot be judged: {said}"
        self.subject = Where(label=self.name)
        self.result = Result(law=_LOADS, architecture=self.name, device=HOST, status=Status.ERROR, message=self._said)

    def setup(self) -> NoReturn:
        """Say why it cannot be judged: an error, for nothing of it has been tested."""
        pytest.fail(self._said, pytrace=False)

    def runtest(self) -> None:
        """Do nothing: it never comes to that."""

    def reportinfo(self) -> tuple[Path, int | None, str]:
        """Return what stands before the outcome of the test when pytest lists it."""
        return self.path, None, self.name


class Carrier:
    """Puts results into the reports of tests, which pytest-xdist sends to the process that shows them."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, Any]:
        """Put the result of a conformance test into its report, once it is known."""
        report = yield
        result = getattr(item, "result", None)
        if isinstance(item, (LawItem, Unjudged)) and result is not None and report.when != "teardown":
            setattr(report, RESULT, result_to_json(result))
            setattr(report, SUBJECT, asdict(item.subject))
        return report


def _conclude(result: Result, cell: Cell) -> None:
    """Raise what pytest understands, unless the law holds."""
    if result.status in {Status.NOT_RUN, Status.NOT_APPLICABLE}:
        pytest.skip(f"{result.status.value}: {result.message}")
    if result.status is Status.KNOWN:
        pytest.xfail(f"known: {result.message}")
    if result.tentative and result.status.is_bad:
        pytest.xfail(f"tentative, {result.status.value}: {result.message}")
    if result.status is Status.BLOCKED:
        pytest.fail(result.message, pytrace=False)
    if result.status.is_bad:
        pytest.fail(_explained(result, cell), pytrace=False)


def _explained(result: Result, cell: Cell) -> str:
    example = result.counterexample
    lines = [
        f"{result.law} {cell.law.title}: {result.status.value}",
        result.message,
        f"smallest: {example}" if example else "",
        f"reproduce: nameplate-conformance replay {result.id}" if example else "",
        cell.law.text,
    ]
    return "\n".join(line for line in lines if line)


def _announced(architecture: Architecture, test_module: Any) -> Architecture:
    """Return an architecture with the place where another process finds it, if it lies in a module.

    Args:
        architecture: What a test file hands over.
        test_module: The test file, which other processes can import least of all places.
    """
    if architecture.reference:
        return architecture
    modules = [module for module in list(sys.modules.values()) if module is not test_module]
    places: Iterable[str] = (
        f"{module.__name__}:{name}"
        for module in (*modules, test_module)
        for name, value in list(getattr(module, "__dict__", {}).items())
        if value is architecture and module.__name__ != "__main__"
    )
    return replace(architecture, reference=next(iter(places), ""))
