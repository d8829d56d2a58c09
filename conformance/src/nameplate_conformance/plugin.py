"""The pytest plugin: its options, which tests are conformance tests, and who listens to their results.

Loaded into every pytest run of an environment that has this package, so it imports nothing but the standard library
until a conformance test is collected: what it does then is in `items`.
"""

from types import FunctionType

TYPE_CHECKING = False  # not that of typing, whose import takes longer than everything here

if TYPE_CHECKING:
    from typing import Any

    import pytest

ARCHITECTURES = "nameplate_architectures"
"""The attribute by which a function says that it stands for conformance tests, and of what."""


def pytest_addoption(parser: "pytest.Parser", pluginmanager: "pytest.PytestPluginManager") -> None:
    """Add the options."""
    from nameplate_conformance.under_pytest.options import ShortNames, add_options  # noqa: PLC0415 - imports pytest, there by now

    add_options(parser)
    pluginmanager.register(ShortNames())


def pytest_configure(config: "pytest.Config") -> None:
    """Take over the options of the run that `--lf` repeats, and listen to results."""
    from nameplate_conformance.under_pytest.options import remember  # noqa: PLC0415 - as above
    from nameplate_conformance.under_pytest.recorder import Recorder, Sharing, check_names  # noqa: PLC0415

    check_names(config)
    remember(config)
    config.pluginmanager.register(Recorder(config))
    if config.pluginmanager.hasplugin("xdist") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(Sharing(config))


def pytest_pycollect_makeitem(collector: "Any", name: str, obj: object) -> "Any":
    """Collect a test of every law, architecture and device for what `conformance_tests` returned."""
    if not isinstance(obj, FunctionType) or ARCHITECTURES not in vars(obj) or not collector.funcnamefilter(name):
        return None
    from nameplate_conformance.under_pytest.items import collected  # noqa: PLC0415 - heavy

    return collected(collector, name, obj)
