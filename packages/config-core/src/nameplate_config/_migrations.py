"""Reading the files of older versions of a config class: `config_version`, and the steps from one to the next."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

from nameplate_config._fields import problems_error
from nameplate_config.errors import ConfigError, ConfigFileError, Problem
from nameplate_config.wording import brief, sentences, shown

Values = dict[str, Any]
Step = Callable[[Values], Values]

VERSION = "config_version"


class Migration:
    """One step: reads what a file of one version holds, and returns what a later version would hold."""

    def __init__(self, old: int, new: int, step: Step) -> None:
        self.old = old
        self.new = new
        self.step = step
        self.__doc__ = step.__doc__

    def __call__(self, values: Values) -> Values:
        return self.step(values)


def migrates(old: int, new: int) -> Callable[[Step], Migration]:
    """Declare, in the body of a config class, how a file of version *old* becomes one of version *new*.

    The decorated function gets the values of the file as JSON has them, a copy that it may change, and returns
    them. A file that says no version is of version 1.

    Raises:
        ConfigError: If *new* does not come after *old*.

    Example:
        >>> from nameplate_config import PreTrainedConfig
        >>> class BlockConfig(PreTrainedConfig):
        ...     model_type = "block"
        ...     config_version = 2
        ...     width: int = 8
        ...
        ...     @migrates(1, 2)
        ...     @staticmethod
        ...     def hidden_size_became_width(values):
        ...         values["width"] = values.pop("hidden_size", 8)
        ...         return values
        >>> BlockConfig.from_dict({"model_type": "block", "hidden_size": 64})
        BlockConfig(width=64)
    """
    if not 1 <= old < new:
        message = f"@migrates({old}, {new}) goes nowhere: versions begin at 1 and grow."
        raise ConfigError(message)

    def declare(step: Step) -> Migration:
        return Migration(old, new, getattr(step, "__func__", step))

    return declare


def steps_of(cls: Any) -> dict[int, Migration]:
    """Return the steps that a class declares or inherits, by the version they start from."""
    declared = [each for base in reversed(cls.__mro__) for each in vars(base).values() if isinstance(each, Migration)]
    return {each.old: each for each in declared}


def check_steps(cls: Any) -> None:
    """Make sure that every older version can be read.

    Raises:
        ConfigError: If the version is none, or no step leads on from an older one.
    """
    if type(cls.config_version) is not int or cls.config_version < 1:
        message = f"{cls.__name__}.config_version must be an int of at least 1, found {shown(cls.config_version)}."
        raise ConfigError(message)
    steps = steps_of(cls)
    for version in range(1, cls.config_version):
        if version not in steps:
            message = f"{cls.__name__} is of version {cls.config_version}, but cannot read version {version}."
            raise ConfigError(sentences(message, f"Add a method with @migrates({version}, {version + 1})."))


def migrated(cls: Any, values: Mapping[str, Any], *, where: str) -> Mapping[str, Any]:
    """Return the values of a file as the class's own version would hold them, without the version.

    Raises:
        ConfigError: If the file is of a newer version, or a step fails; `ConfigFileError` if *where* names a file.
    """
    version = values.get(VERSION, 1)
    if cls.config_version == 1 and type(version) is not int:  # not ours: a key like any other
        return values
    if type(version) is not int or not 1 <= version <= cls.config_version:
        newer = type(version) is int and version > cls.config_version
        hint = "It was written by a newer version of the class: update the package that defines it." if newer else ""
        problem = Problem(VERSION, f"an int from 1 to {cls.config_version}", shown(version), hint)
        raise problems_error(cls.__name__, [problem], where=where, code="wrong-version")
    if version < cls.config_version:
        values = _replayed(cls, version, copy.deepcopy({**values}), where)
    return {name: value for name, value in values.items() if name != VERSION} if VERSION in values else values


def _replayed(cls: Any, version: int, values: Values, where: str) -> Values:
    steps = steps_of(cls)
    while version < cls.config_version:
        step = steps[version]
        try:
            values = step(values)
        except Exception as error:
            reason = f"{type(error).__name__}: {brief(error)}"
            raise _failure(cls, step, where, f"raised {reason}") from error
        if not isinstance(values, dict) or not all(isinstance(name, str) for name in values):
            raise _failure(cls, step, where, f"returned {shown(values)} instead of the values")
        version = step.new
    return values


def _failure(cls: Any, step: Migration, where: str, what: str) -> ConfigError:
    place = f"{where}: " if where else ""
    message = f"{place}the migration of {cls.__name__} from version {step.old} to {step.new} {what}."
    return ConfigFileError(message, code="failed-migration") if where else ConfigError(message)
