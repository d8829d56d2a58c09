"""`AutoConfig`: from the `model_type` in a file to a config."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NoReturn, TypeVar, overload

from nameplate_auto._config_file import ConfigFile, Reading, is_ours
from nameplate_auto._config_mapping import CONFIG_MAPPING
from nameplate_auto._registration import Registration
from nameplate_auto.errors import RegistryError
from nameplate_config import (
    PreTrainedConfig,
    Source,
    dispatch_configs,
    open_source,
    refuse_unknown_fields,
    split_options,
)
from nameplate_config.typing import StrPath

if TYPE_CHECKING:
    from nameplate_auto._remote import Trust

Decorated = TypeVar("Decorated", bound=type[Any])


class AutoConfig:
    """Finds the config class by the `model_type` that a file names.

    Example:
        >>> @AutoConfig.register("doc_block")
        ... class BlockConfig(PreTrainedConfig):
        ...     model_type = "doc_block"
        ...     width: int = 8
        >>> AutoConfig.for_model("doc_block", width=4)
        BlockConfig(width=4)
        >>> AutoConfig.unregister("doc_block")
    """

    def __new__(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: this class only has class methods."""
        message = "AutoConfig is not instantiated; call AutoConfig.from_pretrained(source)."
        raise RegistryError(message)

    # ---- registering

    @overload
    @classmethod
    def register(cls, model_type: str, *, exist_ok: bool = False) -> Callable[[Decorated], Decorated]: ...

    @overload
    @classmethod
    def register(
        cls, model_type: str, config_class: type[PreTrainedConfig] | str, *, exist_ok: bool = False
    ) -> None: ...

    @classmethod
    def register(
        cls, model_type: str, config_class: type[PreTrainedConfig] | str | None = None, *, exist_ok: bool = False
    ) -> Callable[[Decorated], Decorated] | None:
        """Register a config class, or a lazy ``"package.module:Class"``, under its `model_type`; or decorate one.

        Raises:
            DuplicateRegistrationError: If the name stands for another class and *exist_ok* is false.
            InconsistentRegistrationError: If the class says another `model_type`.
        """
        if config_class is None:
            return CONFIG_MAPPING.register(model_type, exist_ok=exist_ok)
        CONFIG_MAPPING.register(model_type, config_class, exist_ok=exist_ok)
        return None

    @classmethod
    def unregister(cls, model_type: str) -> None:
        """Remove an explicit registration; what an installed package announces stays known.

        Raises:
            UnknownModelTypeError: If there is none.
        """
        CONFIG_MAPPING.unregister(model_type)

    @classmethod
    def find(cls, model_type: str) -> Registration:
        """Return what stands under a `model_type` and where it came from, without importing it.

        Raises:
            UnknownModelTypeError: If nothing does.
        """
        return CONFIG_MAPPING.find(model_type)

    # ---- configs

    @classmethod
    def for_model(cls, model_type: str, **kwargs: Any) -> PreTrainedConfig:
        """Return a config of the class that is registered under *model_type*.

        Raises:
            UnknownModelTypeError: If there is none.
        """
        return CONFIG_MAPPING[model_type](**kwargs)

    @overload
    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source,
        *,
        return_unused_kwargs: Literal[True],
        model_type: str | None = None,
        trust_remote_code: "Trust" = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> tuple[PreTrainedConfig, dict[str, Any]]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source,
        *,
        return_unused_kwargs: Literal[False] = False,
        model_type: str | None = None,
        trust_remote_code: "Trust" = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> PreTrainedConfig: ...

    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source,
        *,
        return_unused_kwargs: bool = False,
        model_type: str | None = None,
        trust_remote_code: "Trust" = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> PreTrainedConfig | tuple[PreTrainedConfig, dict[str, Any]]:
        """Load the config of a checkpoint, as the class that its `model_type` names.

        A registered class always reads it, and never needs trust. A file that names no registered `model_type` is
        read by the class one of whose `foreign_formats` it is of, else by the class that the checkpoint brings.

        Args:
            source: A folder, a JSON file, or the id of a repository.
            return_unused_kwargs: Return ``(config, unused)`` with the arguments that name no field.
            model_type: The registered name of what it is, whatever the file says.
            trust_remote_code: Which code of the checkpoint may run.
            code_revision: The revision of that code, where it lies in another repository.
            **kwargs: The options of `HubOptions`, and fields that get another value than the file's.

        Raises:
            SourceNotFoundError: If there is no such folder, repository or config file.
            ConfigError: If the file cannot be read as the config that it names.
            UnknownModelTypeError: If its `model_type` is absent or nothing is registered under it.
            RemoteCodeError: If only code from its repository could read it, and may not run.
            UnknownOptionError: If an argument is neither an option nor a field and unused ones are not returned.
        """
        options, overrides = split_options(kwargs)
        opened = open_source(source, allow_file=True, **options)
        file = ConfigFile.of(opened, Reading(model_type, trust_remote_code, code_revision))
        config_class = file.local_class()
        if config_class is None:
            if not file.auto_map.get("AutoConfig"):
                raise file.unknown()
            config_class = file.remote_class("AutoConfig")
        config, unused = file.read_as(config_class, overrides)
        if return_unused_kwargs:
            return config, unused
        _refuse_unused(config, unused)
        return config


def _refuse_unused(config: Any, unused: dict[str, Any]) -> None:
    if is_ours(type(config)):
        refuse_unknown_fields(type(config), unused)
    elif unused:
        from nameplate_auto._duck import refuse_unused  # noqa: PLC0415 - only for classes of others

        refuse_unused(config, unused)


dispatch_configs(AutoConfig, CONFIG_MAPPING.__getitem__)
