"""Asking our registry for names: times each operation, and counts the modules that the first call imports."""

import json
import sys
from collections.abc import Callable
from contextlib import suppress

from benchmarks.timing import milliseconds
from nameplate_auto import CONFIG_MAPPING, AutoConfig, Registry
from nameplate_auto.errors import UnknownModelTypeError
from nameplate_config import PreTrainedConfig

_ENTRIES = 1_000
_PLACE = "benchmarks.registry_ours:_Config"


class _Config(PreTrainedConfig):
    pass


def main() -> None:
    """Print the figures."""
    registry: Registry[str, type] = Registry("model_type")
    for number in range(_ENTRIES):
        registry.register(f"type_{number}", _PLACE)
        CONFIG_MAPPING.register(f"bench_{number}", _PLACE)
    registry.register("here", _Config)
    number = iter(range(_ENTRIES, 1 << 60))
    figures = _measured("listing", CONFIG_MAPPING.names)
    figures |= _measured("error", _ask_for_unknown)
    figures |= _measured("register", lambda: registry.register(f"type_{next(number)}", _PLACE))
    figures |= _measured("resolving", lambda: registry["here"])
    print(json.dumps(figures))


def _ask_for_unknown() -> None:
    with suppress(UnknownModelTypeError):
        AutoConfig.for_model("bench_1oo")


def _measured(name: str, operation: Callable[[], object]) -> dict[str, float]:
    """Return time and imported modules, after the metadata of what is installed was read once."""
    if name == "listing":
        CONFIG_MAPPING.names()
    before = len(sys.modules)
    operation()
    return {f"{name} modules": len(sys.modules) - before, name: milliseconds(operation)}
