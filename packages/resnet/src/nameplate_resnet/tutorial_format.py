"""The config file of the tutorial "sharing custom models", which `ResnetConfig` reads.

Imports neither torch nor timm.
"""

from collections.abc import Mapping
from typing import Any

from .config_core import ForeignFormat

Values = dict[str, Any]

_OF_THE_TUTORIAL = {"block_type", "layers", "input_channels", "cardinality", "stem_type", "avg_down"}


def _is_of_tutorial(values: Mapping[str, Any]) -> bool:
    # Where nothing says `resnet`, a field that the tutorial lacks tells a file of ours that lost its `model_type`.
    named = values["model_type"] == "resnet" if "model_type" in values else "channels" not in values
    return named and values.keys() >= _OF_THE_TUTORIAL


def _from_tutorial(values: Values) -> Values:
    """Read the config of "sharing custom models", whose body is saved with a head too."""
    for name in ("model_type", "auto_map"):
        values.pop(name, None)
    stem = str(values["stem_type"])
    tiered = "deep_tiered" if "tiered" in stem else "deep"
    values["stem_type"] = tiered if "deep" in stem else ""
    if not values["stem_type"]:
        values.pop("stem_width", None)  # which the network ignores
    if "architectures" in values:
        values["architectures"] = ["ResnetModelForImageClassification"]
    return values


TUTORIAL = ForeignFormat("tutorial", _is_of_tutorial, _from_tutorial)
"""Seed-style folders; they are read and not written."""
