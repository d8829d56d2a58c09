"""`CONFIG_MAPPING`: which config class stands for a `model_type`, and what must agree for it to stand there."""

from typing import Any

from nameplate_auto._plugins import InstalledPackages
from nameplate_auto._registry import Registry
from nameplate_auto.errors import InconsistentRegistrationError
from nameplate_config import PreTrainedConfig
from nameplate_config.wording import sentences, shown


def _check_name(model_type: Any) -> None:
    if not isinstance(model_type, str) or not model_type:
        message = f"a model_type is a text that a file can name, found {shown(model_type)}."
        raise InconsistentRegistrationError(message)


def _check_config(model_type: str, value: Any) -> None:
    if not isinstance(value, type):
        message = f"model_type {model_type!r} must stand for a config class, found {shown(value)}."
        raise InconsistentRegistrationError(message)
    own = getattr(value, "model_type", None)
    if own != model_type:
        message = sentences(
            f"{value.__name__}.model_type is {own!r}, but it is being registered as {model_type!r}.",
            "A checkpoint could not be found again under its own name. Make the two agree.",
        )
        raise InconsistentRegistrationError(message)


CONFIG_MAPPING: Registry[str, type[PreTrainedConfig]] = Registry(
    "model_type",
    providers=[InstalledPackages()],
    check=_check_config,
    check_name=_check_name,
    home="nameplate_auto:CONFIG_MAPPING",
)
"""The config class of every `model_type`: those registered here and those that installed packages announce."""
