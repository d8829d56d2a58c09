"""What other packages ask of config classes and configs: their fields, their names, a config of given values."""

from collections.abc import Iterable, Mapping
from typing import Any

from nameplate_config._config import PreTrainedConfig
from nameplate_config._fields import Field, schema_for
from nameplate_config._instance import state_of
from nameplate_config._source import Source


def fields(config_class: type[PreTrainedConfig]) -> tuple[Field, ...]:
    """Return the declared fields of a config class, without those that every config has.

    Example:
        >>> class BlockConfig(PreTrainedConfig):
        ...     width: int = 8
        >>> [(field.name, field.default) for field in fields(BlockConfig)]
        [('width', 8)]
    """
    return tuple(field for field in schema_for(config_class).fields.values() if not field.inherited)


def argument_names(config_class: type[PreTrainedConfig]) -> list[str]:
    """Return every name that a config class takes as a keyword: its fields, their aliases, and the common ones.

    Example:
        >>> class BlockConfig(PreTrainedConfig):
        ...     width: int = 8
        >>> [name for name in ("width", "num_labels", "depth") if name in argument_names(BlockConfig)]
        ['width', 'num_labels']
    """
    return schema_for(config_class).known_names()


def given_fields(config: PreTrainedConfig) -> frozenset[str]:
    """Return the names of the fields that somebody set: a caller, a file, or an assignment.

    Example:
        >>> class BlockConfig(PreTrainedConfig):
        ...     width: int = 8
        ...     depth: int = 2
        >>> given_fields(BlockConfig(width=8))
        frozenset({'width'})
    """
    return state_of(config).given


def config_from_values(
    config_class: type[PreTrainedConfig],
    values: Mapping[str, Any],
    *,
    where: str,
    overrides: dict[str, Any],
    source: Source | None = None,
) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """Build a config from the contents of a file that `read_config_values` has read.

    Args:
        config_class: The class of the config.
        values: What the file holds.
        where: How messages name the file.
        overrides: Fields that get another value than the file's.
        source: What the config will say it was loaded from.

    Returns:
        The config, and the overrides that name no field.

    Raises:
        ConfigError: If the values do not fit the fields.
    """
    config, unused = config_class._read(values, overrides, where=where)  # noqa: SLF001 - the same room
    if source is not None:
        state_of(config).origin = (source.name, source.commit)
    return config, unused


def refuse_unknown_fields(config_class: type[PreTrainedConfig], names: Iterable[str]) -> None:
    """Raise `UnknownOptionError`, with the nearest name that exists, for the first name that is no field."""
    schema_for(config_class).refuse_unknown(list(names))
