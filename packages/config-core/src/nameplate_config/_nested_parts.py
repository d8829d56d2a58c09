"""Configs that are part of a larger one: finding one's own part in the file of the whole."""

from typing import Any

from nameplate_config.errors import ConfigFileError
from nameplate_config.wording import listed, plain, sentences


def own_part(cls: Any, values: dict[str, Any], where: str) -> tuple[dict[str, Any], str]:
    """Return what a file says about a config class: all of it, or the part that has the `model_type` of the class.

    Raises:
        ConfigFileError: If several parts have it.
    """
    if not cls.model_type or values.get("model_type", cls.model_type) == cls.model_type:
        return values, where
    parts = {key: part for key, part in values.items() if isinstance(part, dict)}
    found = [key for key, part in parts.items() if part.get("model_type") == cls.model_type]
    if cls.base_config_key and cls.base_config_key in parts:
        found = [cls.base_config_key]
    if not found:
        return values, where  # of another architecture, which the reader will say
    if len(found) > 1:
        message = sentences(
            f"{where} holds {len(found)} configs of model_type {cls.model_type!r}: {listed(map(plain, found))}.",
            f"Set {cls.__name__}.base_config_key to one of them, or load the whole and take its attribute.",
        )
        raise ConfigFileError(message, code="wrong-model-type")
    return parts[found[0]], f"{where} ({plain(found[0])})"
