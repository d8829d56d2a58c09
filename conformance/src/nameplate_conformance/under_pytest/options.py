"""The options of the pytest plugin: their names, long and short, and how `--lf` finds them again.

Imported into every pytest run of the environment, so nothing heavy is.
"""

import argparse
from collections.abc import Generator
from typing import Any

import pytest

_OPTIONS: dict[str, dict[str, Any]] = {
    "arch": {
        "action": "append",
        "metavar": "NAME",
        "help": "judge this one: a model_type, module:NAME, ./folder or hub:user/name (default: all registered)",
    },
    "device": {"action": "append", "metavar": "TYPE", "help": "judge on this type of device (default: all known ones)"},
    "level": {"type": int, "metavar": "N", "help": "judge the laws of levels 0 to N (default: what the profile says)"},
    "law": {"action": "append", "metavar": "ID", "help": "judge this law and no other"},
    "spec": {"metavar": "VERSION", "help": "judge by this version of the specification (default: the newest)"},
    "profile": {
        "metavar": "NAME",
        "help": "how closely to look: glance, smoke, dev, ci, nightly, release (default: dev)",
    },
    "seed": {"type": int, "metavar": "N", "help": "draw other examples than the usual ones"},
    "report": {
        "action": "append",
        "metavar": "FILE",
        "help": "write a report; its name decides what: .html, .json, .ndjson, .xml, .md, .svg",
    },
}
_SHORT = ("arch", "device", "level", "law", "spec")
_REMEMBERED = tuple(name for name in _OPTIONS if name != "report")
_CACHE = "nameplate_conformance/options"
_GROUP = ("conformance", "nameplate conformance")


def add_options(parser: pytest.Parser) -> None:
    """Add the options by their long names, which nobody else has."""
    group = parser.getgroup(*_GROUP)
    for name, settings in _OPTIONS.items():
        group.addoption(f"--conformance-{name}", dest=_place(name), **settings)


class ShortNames:
    """Adds short names for the options that a person types: `--arch`, `--device` and others.

    A project's own conftest.py may well have a `--device` too, and every run of the project's tests loads this
    plugin. So they are added once it has spoken, and those that are taken are left alone.
    """

    @pytest.hookimpl(wrapper=True)
    def pytest_load_initial_conftests(self, parser: pytest.Parser) -> Generator[None, Any, Any]:
        """Add the names that are free."""
        answer = yield
        group = parser.getgroup(*_GROUP)
        for name in _SHORT:
            settings = {**_OPTIONS[name], "help": f"the same as --conformance-{name}"}
            try:
                group.addoption(f"--{name}", dest=_place(name), **settings)
            except (ValueError, argparse.ArgumentError):
                continue
        return answer


def option(config: pytest.Config, name: str) -> Any:
    """Return what was given for an option; None if nothing was."""
    return config.getoption(_place(name))


def names_given(config: pytest.Config, name: str) -> list[str]:
    """Return what was given for an option that may be repeated, or hold several names with commas between them."""
    return [each for value in option(config, name) or () for each in value.split(",") if each]


def remember(config: pytest.Config) -> None:
    """Take the options of the last run if this one repeats what failed in it and gives none itself."""
    repeats = config.getoption("lf", default=False) or config.getoption("failedfirst", default=False)
    cache = getattr(config, "cache", None)
    if not repeats or cache is None or any(option(config, name) is not None for name in _REMEMBERED):
        return
    known = cache.get(_CACHE, {})
    for name in _REMEMBERED:
        setattr(config.option, _place(name), known.get(name))


def memorise(config: pytest.Config) -> None:
    """Keep the options for a run that repeats what failed in this one."""
    cache = getattr(config, "cache", None)
    if cache is not None:
        cache.set(_CACHE, {name: option(config, name) for name in _REMEMBERED})


def _place(name: str) -> str:
    return f"conformance_{name}"
