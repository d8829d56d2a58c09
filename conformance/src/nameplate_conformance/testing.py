"""Conformance as pytest tests: the three lines of a third party, and what the plugin runs.

Imported only when a conformance test is collected.
"""

from collections.abc import Callable, Sequence

import pytest

from nameplate_auto import CONFIG_MAPPING
from nameplate_conformance.architecture import Architecture, registered
from nameplate_conformance.result import Result, Status
from nameplate_conformance.runner import Cell, Runner, cells, known_devices

_runners = pytest.StashKey[Runner]()


def conformance_tests(*architectures: Architecture) -> Callable[..., None]:
    """Return a test function that judges architectures, one test for each law and device.

    Example:
        >>> ARCHITECTURE = Architecture(config="my_package:MyConfig", models={"AutoModel": "my_package:MyModel"})
        >>> test_conformance = conformance_tests(ARCHITECTURE)
    """

    def test_conformance(conformance_cell: Cell, request: pytest.FixtureRequest) -> None:
        judge(conformance_cell, request.config)

    test_conformance.architectures = architectures  # type: ignore[attr-defined]  # read by the plugin
    return test_conformance


def chosen_cells(config: pytest.Config, architectures: Sequence[Architecture]) -> list[Cell]:
    """Return what a run asks for: the given architectures, else those named by ``--arch``, else all registered."""
    names = [name for value in config.getoption("--arch") for name in value.split(",")]
    devices = [name for value in config.getoption("--device") for name in value.split(",")]
    chosen = list(architectures) or [registered(name) for name in names or CONFIG_MAPPING.names()]
    return cells(chosen, devices or known_devices())


def judge(cell: Cell, config: pytest.Config) -> None:
    """Judge a cell and turn the result into an outcome of pytest."""
    if _runners not in config.stash:
        config.stash[_runners] = Runner(profile=config.getoption("--conformance-profile"))
    result = config.stash[_runners].judge(cell)
    if result.status in {Status.NOT_RUN, Status.NOT_APPLICABLE}:
        pytest.skip(f"{result.status.value}: {result.message}")
    if result.status.is_bad:
        pytest.fail(_explained(result, cell), pytrace=False)


def _explained(result: Result, cell: Cell) -> str:
    lines = [f"{result.law} {cell.law.title}: {result.status.value}", result.message, cell.law.text]
    if result.counterexample and result.status is not Status.BLOCKED:
        lines.insert(2, f"smallest: {result.counterexample}")
    return "\n".join(lines)
