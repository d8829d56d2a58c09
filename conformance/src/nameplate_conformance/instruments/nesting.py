"""Where a config holds other configs: in its fields, and in the lists and dicts of its fields."""

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from nameplate_config import PreTrainedConfig, fields


def holds_configs(config_class: type[PreTrainedConfig]) -> bool:
    """Whether a field of a class may hold configs, however deep inside of its annotation, or has one as default."""
    return any(
        _names_config(each.annotation) or isinstance(each.default, PreTrainedConfig) for each in fields(config_class)
    )


def _names_config(annotation: Any) -> bool:
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return issubclass(annotation, PreTrainedConfig)
    return any(map(_names_config, typing.get_args(annotation)))


def configs_of(value: Any, path: str = "") -> Iterator[tuple[str, PreTrainedConfig]]:
    """Yield every config inside of a value, with the path that leads to it, as code would write it."""
    if isinstance(value, PreTrainedConfig):
        inner = {f".{each.name}" if path else each.name: getattr(value, each.name) for each in fields(type(value))}
    elif isinstance(value, Mapping):
        inner = {f"[{key!r}]": each for key, each in value.items()}
    elif isinstance(value, (list, tuple)):
        inner = {f"[{index}]": each for index, each in enumerate(value)}
    else:
        return
    for step, each in inner.items():
        if isinstance(each, PreTrainedConfig):
            yield path + step, each
        yield from configs_of(each, path + step)
