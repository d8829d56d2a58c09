"""The config files of other libraries, read and written: formats that a config class declares, told by their keys.

A format is a predicate and converters of plain JSON values, one for each way. Which class reads a file that names none
is decided by `nameplate_auto`, what becomes of the weights beside it by `nameplate_model`; the files of older versions
of a class itself belong to `_migrations`.
"""

import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nameplate_config._fields import problems_error
from nameplate_config._migrations import VERSION
from nameplate_config.errors import ConfigError, ConfigFileError
from nameplate_config.wording import brief, listed, sentences, shown

Values = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ForeignFormat:
    """A kind of config file that a config class reads besides its own, and may write.

    Attributes:
        name: What messages call it, such as ``"timm"``; also the `layout` that a model is saved in, if it can be.
        matches: Whether the values of a file are of this format. Cheap and pure: it is asked about files of
            every kind, and must not be content with little.
        convert: Returns the values of the class's own fields, as its own file would hold them. It gets a copy
            that it may change. What cannot be expressed it refuses with a `ConfigError`, best with `Problem`
            records that name the keys of the file.
        export: Returns the values of a file of the format for what a whole file of the class would hold, which it
            may change; `convert` must lead back. What the format cannot express it refuses as `convert` does, best
            with records that name our fields, all of them. None if the format is only read.
        export_keys: Regular expressions and what replaces them, in order, in our names of tensors.
        one_file: Whether the other library reads weights of one file only, so that they must not be sharded.
        mirrored: Keys that `export` writes beside the fields of the class, if the file is to be one of the class as
            well. There they do not count: they follow from the fields, and are neither read nor kept.

    Example:
        >>> from nameplate_config import PreTrainedConfig
        >>> def old_names(values):
        ...     return {"width": values["hidden_size"]}
        >>> class BlockConfig(PreTrainedConfig):
        ...     model_type = "block"
        ...     foreign_formats = (ForeignFormat("old", lambda values: "hidden_size" in values, old_names),)
        ...     width: int = 8
        >>> BlockConfig.from_dict({"hidden_size": 64})
        BlockConfig(width=64)
    """

    name: str
    matches: Callable[[Values], bool]
    convert: Callable[[dict[str, Any]], dict[str, Any]]
    export: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    export_keys: Mapping[str, str] = field(default_factory=dict)
    one_file: bool = False
    mirrored: frozenset[str] = frozenset()

    def claims(self, values: Values, *, where: str = "") -> bool:
        """Return whether the values of a file are of this format.

        Args:
            values: What the file holds.
            where: How messages name the file.

        Raises:
            ConfigError: If the predicate fails; `ConfigFileError` if *where* names a file.
        """
        try:
            return bool(self.matches(values))
        except Exception as error:
            what = f"the predicate of the foreign format {self.name!r} failed: {type(error).__name__}: {brief(error)}"
            raise _failure(where, what) from error

    def converted(self, owner: str, values: Values, *, where: str = "") -> dict[str, Any]:
        """Return the values of a file of this format as a file of a config class would hold them.

        Args:
            owner: The name of the config class.
            values: What the file holds; not changed.
            where: How messages name the file.

        Raises:
            ConfigError: If the converter fails or refuses; `ConfigFileError` if *where* names a file.
        """
        format_ = f"the foreign format {self.name!r}"
        return _applied(self.convert, values, f"{format_} of {owner}", f"{owner}, by {format_}", where)

    def exported(self, owner: str, values: Values) -> dict[str, Any]:
        """Return the values of a file of this format for what a file of a config class holds.

        Args:
            owner: The name of the config class.
            values: What its file holds, complete; not changed.

        Raises:
            ConfigError: If the format cannot express them, is only read, or its exporter fails.

        Example:
            >>> old = ForeignFormat("old", lambda values: "size" in values, dict, lambda own: {"size": own["width"]})
            >>> old.exported("BlockConfig", {"model_type": "block", "width": 64})
            {'size': 64}
        """
        if self.export is None:
            message = f"the layout {self.name!r} of {owner} is read and not written. Save without a layout."
            raise ConfigError(message)
        layout = f"the layout {self.name!r}"
        return _applied(self.export, values, f"{layout} of {owner}", f"{owner}, in {layout}")


def _applied(
    function: Callable[[dict[str, Any]], dict[str, Any]], values: Values, what: str, whose: str, where: str = ""
) -> dict[str, Any]:
    """Return what a converter makes of a copy of some values; whatever it raises becomes an error of ours."""
    try:
        result = function(copy.deepcopy({**values}))
    except ConfigError as error:
        if error.problems:
            raise problems_error(whose, list(error.problems), where=where, code="failed-conversion") from error
        raise _failure(where, f"{what} refuses it: {brief(error)}") from error
    except Exception as error:
        raise _failure(where, f"{what} failed: {type(error).__name__}: {brief(error)}") from error
    if not isinstance(result, dict) or not all(isinstance(name, str) for name in result):
        raise _failure(where, f"{what} returned {shown(result)} instead of the values")
    return result


def own_values(cls: Any, values: Values, where: str) -> Values:
    """Return what a file says as the class's own file would: converted, if it is of a foreign format of the class.

    Raises:
        ConfigError: If several formats match, or one fails; `ConfigFileError` if *where* names a file.
    """
    formats: tuple[ForeignFormat, ...] = cls.foreign_formats
    if not formats or not isinstance(values, Mapping):
        return values
    if cls.model_type and values.get("model_type") == cls.model_type:
        return values
    found = [each for each in formats if each.claims(values, where=where)]
    if not found:
        return values
    if len(found) > 1:
        names = listed(repr(each.name) for each in found)
        way = f"Put the model_type of {cls.__name__} and its own fields into the file, or mend the predicates."
        raise _failure(where, f"{len(found)} foreign formats of {cls.__name__} match: {names}", way)
    result = found[0].converted(cls.__name__, values, where=where)
    return result if cls.config_version == 1 else {VERSION: cls.config_version, **result}


def _failure(where: str, what: str, way: str = "") -> ConfigError:
    message = sentences(f"{where}: {what}." if where else f"{what}.", way)
    return ConfigFileError(message, code="failed-conversion") if where else ConfigError(message)
