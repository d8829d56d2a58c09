"""The config file of a checkpoint, and the question which class reads it.

`AutoConfig` and the Auto classes ask it alike: the class that is registered, else the one whose foreign format the
file is of, else that of the code which the checkpoint brings.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

from nameplate_auto._config_mapping import CONFIG_MAPPING
from nameplate_auto._foreign_formats import Claims, claims_on
from nameplate_auto._metadata import ALLOWED
from nameplate_auto._plugins import InstalledPackages
from nameplate_auto._refusals import suggestion
from nameplate_auto.errors import UnknownModelTypeError
from nameplate_config import (
    ConfigFileError,
    NameplateError,
    PreTrainedConfig,
    Source,
    UnknownOptionError,
    config_from_values,
    read_config_values,
)
from nameplate_config.wording import listed, sentences, shown

if TYPE_CHECKING:
    from nameplate_auto._remote import Trust


@dataclass(frozen=True, slots=True)
class Reading:
    """What a caller says about the reading of a config.

    Attributes:
        model_type: What it is of, whatever the file says.
        trust: Which code of the checkpoint may run.
        code_revision: The revision of that code, where it lies in another repository.
        variant: The weights whose config it is.

    Raises:
        UnknownOptionError: If *model_type* is no text.
        RemoteCodeError: If *trust* says nothing that could be meant, also where no code is needed.
    """

    model_type: str | None = None
    trust: "Trust" = None
    code_revision: str | None = None
    variant: str | None = None

    def __post_init__(self) -> None:
        """Refuse what can be no name, and no trust."""
        if self.model_type is not None and not isinstance(self.model_type, str):
            message = f"model_type must be a registered name, found {shown(self.model_type)}."
            raise UnknownOptionError(message)
        if self.trust is not None and not isinstance(self.trust, bool):
            from nameplate_auto._remote import check_trust  # noqa: PLC0415 - most callers trust nothing

            check_trust(self.trust)


@dataclass(frozen=True)
class ConfigFile:
    """The config of a checkpoint as a file holds it.

    Attributes:
        source: The checkpoint.
        values: What the file holds.
        where: How messages name it.
        reading: What the caller says about it.
    """

    source: Source
    values: Mapping[str, Any]
    where: str
    reading: Reading

    @classmethod
    def of(cls, source: Source, reading: Reading) -> "ConfigFile":
        """Read the file.

        Raises:
            SourceNotFoundError: If there is none.
            ConfigFileError: If it is not the JSON of a config.
        """
        values, where = read_config_values(source, reading.variant)
        return cls(source, values, where, reading)

    @property
    def model_type(self) -> str:
        """The `model_type` that the file names; empty if it names none."""
        named = self.values.get("model_type")
        return named if isinstance(named, str) else ""

    @property
    def auto_map(self) -> Mapping[str, Any]:
        """Where the checkpoint's own classes are, by the names of Auto classes."""
        found = self.values.get("auto_map")
        return found if isinstance(found, Mapping) else {}

    def is_unchanged(self) -> bool:
        """Whether the file still says the same. A commit of a repository always does."""
        if self.source.folder is None:
            return True
        try:
            return read_config_values(self.source, self.reading.variant)[0] == self.values
        except NameplateError:
            return True  # what has become of it since is not what the caller should hear of

    # ---- which class reads it

    def local_class(self) -> type[PreTrainedConfig] | None:
        """Return the class that is registered for the file, or that reads it as a foreign format; else None.

        Raises:
            UnknownModelTypeError: If the caller names an unknown `model_type`, or several architectures read it.
        """
        asked = self.reading.model_type
        if asked is not None:
            return CONFIG_MAPPING[asked]
        if self.model_type and self.model_type in CONFIG_MAPPING:
            return CONFIG_MAPPING[self.model_type]
        claims = self._claims.formats
        if len(claims) > 1:
            formats = listed(f"{model_type!r} (as {name})" for model_type, name in claims.items())
            what = f"{self.where} could be read by several architectures: {formats}."
            message = sentences(what, "Pass one of them as model_type=.")
            raise UnknownModelTypeError(message)
        return CONFIG_MAPPING[next(iter(claims))] if claims else None

    def remote_class(self, auto_class: str, *, beside: type[Any] | None = None) -> type[Any]:
        """Return the class that the checkpoint brings for an Auto class.

        Args:
            auto_class: The name of the Auto class.
            beside: The config class that it brought, whose code is not read again if the class lies there too.

        Raises:
            RemoteCodeError: If its code is not approved, or broken.
        """
        from nameplate_auto._remote import remote_class  # noqa: PLC0415 - only for a checkpoint that brings code

        reading = self.reading
        return remote_class(
            self.source,
            self.values,
            auto_class,
            trust=reading.trust,
            code_revision=reading.code_revision,
            beside=beside,
        )

    def says_it_all(self, config_class: type[Any]) -> bool:
        """Whether the class reads this very file by itself, and not only because the caller or an alias says so."""
        return self.model_type == config_class.model_type or (
            self.reading.model_type is None and self._is_foreign_to(config_class)
        )

    # ---- reading it

    def read_as(self, config_class: type[Any], overrides: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return a config of a class, and the overrides that name no field of it.

        Raises:
            ConfigError: If the values do not fit.
            ForeignClassError: If it is a class of another library, and refuses them.
        """
        values = self.values
        name = self.model_type if self.reading.model_type is None else self.reading.model_type
        is_meant = name in CONFIG_MAPPING and CONFIG_MAPPING[name] is config_class  # perhaps by an alias
        if is_meant and not self._is_foreign_to(config_class):
            values = {**values, "model_type": config_class.model_type}
        if not is_ours(config_class):
            from nameplate_auto._duck import config_of  # noqa: PLC0415 - only for classes of others

            return config_of(config_class, values, source=self.source, overrides=overrides)
        try:
            return config_from_values(
                config_class, values, where=self.where, overrides=dict(overrides), source=self.source
            )
        except RecursionError:
            message = f"{self.where} nests deeper than the stack of its caller leaves room for."
            raise ConfigFileError(message, code="too-deep") from None

    def _is_foreign_to(self, config_class: type[Any]) -> bool:
        """Whether a class reads the file as one of its foreign formats."""
        if self.model_type == config_class.model_type or not is_ours(config_class):
            return False
        formats = cast("type[PreTrainedConfig]", config_class).foreign_formats
        return any(each.claims(self.values, where=self.where) for each in formats)

    # ---- nobody reads it

    def unknown(self) -> UnknownModelTypeError:
        """Return the error about a file that no class reads, with the ways out."""
        names = CONFIG_MAPPING.names()
        code = f"The checkpoint brings code for {listed(self.auto_map)}, not for this." if self.auto_map else ""
        if not self.model_type:
            message = sentences(
                f"{self.where} names no model_type, so nothing says which architecture it is of.",
                f"Registered: {listed(names)}. "
                "Pass one of them as model_type=, load it with the class itself, or add the key.",
                self._failures(),
                code,
            )
            return UnknownModelTypeError(message)
        message = sentences(
            f"model_type {shown(self.model_type)} in {self.where} is not registered.",
            suggestion(self.model_type, names) or f"Registered: {listed(names)}.",
            "Install the package that defines it, register its config class with AutoConfig.register, "
            "or pass a registered name as model_type=.",
            _announced(),
            self._failures(),
            code,
        )
        return UnknownModelTypeError(message)

    def _failures(self) -> str:
        failures = self._claims.failures
        return f"Its format could not be asked for: {listed(failures)}." if failures else ""

    @cached_property
    def _claims(self) -> Claims:
        return claims_on(self.values)


def is_ours(config_class: type[Any]) -> bool:
    """Whether a config class is one of this family, and not merely like one."""
    return issubclass(config_class, PreTrainedConfig)


def _announced() -> str:
    """Return a sentence about what installed packages announce: the one that is missing may have been shut out."""
    names = sorted(InstalledPackages().names())
    allowed = os.environ.get(ALLOWED)
    limit = "" if allowed is None else f"; {ALLOWED} lets none but {shown(allowed)} do so"
    return f"Installed packages announce: {listed(names)}{limit}."
