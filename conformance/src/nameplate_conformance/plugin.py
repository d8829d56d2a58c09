"""The pytest plugin: options, and one test for each law, architecture and device.

Loaded into every pytest run of an environment that has this package, so it imports nothing but the standard library
until a conformance test is collected.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

FIXTURE = "conformance_cell"


def pytest_addoption(parser: "pytest.Parser") -> None:
    """Add the options."""
    group = parser.getgroup("conformance", "nameplate conformance")
    group.addoption(
        "--arch",
        action="append",
        default=[],
        help="judge the architecture registered under this model_type; may be repeated (default: all)",
    )
    group.addoption("--device", action="append", default=[], help="judge on this type of device; may be repeated")
    group.addoption("--conformance-profile", default="dev", help="smoke, dev, ci or nightly (default: dev)")


def pytest_generate_tests(metafunc: "pytest.Metafunc") -> None:
    """Make a test of every cell for functions that ask for `conformance_cell`."""
    if FIXTURE not in metafunc.fixturenames:
        return
    from nameplate_conformance.testing import chosen_cells  # noqa: PLC0415 - heavy

    chosen: list[Any] = chosen_cells(metafunc.config, getattr(metafunc.function, "architectures", ()))
    metafunc.parametrize(FIXTURE, chosen, ids=str)
