"""Asking Transformers' registries for names: the counterparts of `registry_ours`."""

import json
import sys
import time
from collections.abc import Callable
from contextlib import suppress

from transformers import CONFIG_MAPPING, MODEL_MAPPING, AutoConfig, AutoModel, PreTrainedConfig


class _Config(PreTrainedConfig):
    pass


def main() -> None:
    """Print the figures. Each is that of the first call: those that import are slow once."""
    figures = _measured("error", _ask_for_unknown)
    figures |= _measured("listing", lambda: list(MODEL_MAPPING.keys()))
    figures |= _measured("register", _register)
    figures |= _measured("resolving", lambda: CONFIG_MAPPING["bert"])
    print(json.dumps(figures))


def _ask_for_unknown() -> None:
    with suppress(ValueError):
        AutoModel.from_config(_Config())


def _register() -> None:
    _Config.model_type = "bench"
    AutoConfig.register("bench", _Config)


def _measured(name: str, operation: Callable[[], object]) -> dict[str, float]:
    before, started = len(sys.modules), time.perf_counter()
    operation()
    passed = 1000 * (time.perf_counter() - started)
    return {f"{name} modules": len(sys.modules) - before, name: passed}
