"""The names of `nameplate_config` that the code of a checkpoint uses, or what stands in for them.

A checkpoint of this package brings its code. Where the core is installed, that code runs on it; where only
Transformers is, on `standin_config`. Transformers refuses code with imports that are not installed unless they stand
in a `try`, so the modules that are copied beside a checkpoint import the core through this one.
"""

from importlib.util import find_spec
from typing import TYPE_CHECKING

try:
    if __name__.startswith("transformers_modules.") and find_spec("nameplate_model") is None:
        raise ModuleNotFoundError(name="nameplate_model")  # noqa: TRY301 - its stand-in takes no config of a core

    from annotated_types import Ge, Gt, Le

    from nameplate_config import (
        BackboneConfigMixin,
        ConfigError,
        ForeignFormat,
        NameplateError,
        OnlyWhen,
        PreTrainedConfig,
        Problem,
        Tiny,
        fields,
    )
    from nameplate_config.wording import did_you_mean, listed, sentences, shown
except ModuleNotFoundError as error:
    if TYPE_CHECKING or error.name not in {"annotated_types", "nameplate_config", "nameplate_model"}:
        raise
    from .standin_config import (
        BackboneConfigMixin,
        ConfigError,
        ForeignFormat,
        Ge,
        Gt,
        Le,
        NameplateError,
        OnlyWhen,
        PreTrainedConfig,
        Problem,
        Tiny,
        did_you_mean,
        fields,
        listed,
        sentences,
        shown,
    )

__all__ = [
    "BackboneConfigMixin",
    "ConfigError",
    "ForeignFormat",
    "Ge",
    "Gt",
    "Le",
    "NameplateError",
    "OnlyWhen",
    "PreTrainedConfig",
    "Problem",
    "Tiny",
    "did_you_mean",
    "fields",
    "listed",
    "sentences",
    "shown",
]
