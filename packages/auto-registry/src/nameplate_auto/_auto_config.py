"""`CONFIG_MAPPING` and `AutoConfig`: from the `model_type` in a file to a config class."""

from collections.abc import Mapping
from typing import Any, NoReturn

from nameplate_auto._plugins import announced, announced_class
from nameplate_auto._registry import Registry
from nameplate_auto.errors import (
    InconsistentRegistrationError,
    RegistryError,
    RemoteCodeError,
    UnknownModelTypeError,
)
from nameplate_config import (
    PreTrainedConfig,
    Source,
    config_from_values,
    dispatch_configs,
    open_source,
    read_config_values,
    refuse_unknown_fields,
    split_options,
)
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, listed, sentences, shown


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
    fallback=lambda name: announced_class(name, "AutoConfig"),
    listing=announced,
    check=_check_config,
)
"""The config class of every `model_type`: those registered here and those that installed packages announce."""


class AutoConfig:
    """Finds the config class by the `model_type` that a file names.

    Example:
        >>> class BlockConfig(PreTrainedConfig):
        ...     model_type = "doc_block"
        ...     width: int = 8
        >>> AutoConfig.register("doc_block", BlockConfig)
        >>> AutoConfig.for_model("doc_block", width=4)
        BlockConfig(width=4)
        >>> CONFIG_MAPPING.unregister("doc_block")
    """

    def __new__(cls) -> NoReturn:
        """Refuse: this class only has class methods."""
        message = "AutoConfig is not instantiated; call AutoConfig.from_pretrained(source)."
        raise RegistryError(message)

    @classmethod
    def register(cls, model_type: str, config_class: type[PreTrainedConfig], *, exist_ok: bool = False) -> None:
        """Register a config class under its `model_type`.

        Raises:
            DuplicateRegistrationError: If the name stands for another class and *exist_ok* is false.
            InconsistentRegistrationError: If the class says another `model_type`.
        """
        CONFIG_MAPPING.register(model_type, config_class, exist_ok=exist_ok)

    @classmethod
    def for_model(cls, model_type: str, **kwargs: Any) -> PreTrainedConfig:
        """Return a config of the class that is registered under *model_type*.

        Raises:
            UnknownModelTypeError: If there is none.
        """
        return CONFIG_MAPPING[model_type](**kwargs)

    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source,
        *,
        return_unused_kwargs: bool = False,
        trust_remote_code: bool = False,
        **kwargs: Any,
    ) -> Any:
        """Load the config of a checkpoint, as the class that its `model_type` names.

        Args:
            source: A folder, or the id of a repository.
            return_unused_kwargs: Return ``(config, unused)`` with the arguments that name no field.
            trust_remote_code: Whether code of the repository may run. A registered class never needs it.
            **kwargs: The options of `HubOptions`, and fields that get another value than the file's.

        Raises:
            SourceNotFoundError: If there is no such folder, repository or config file.
            ConfigError: If the file cannot be read as the config that it names.
            UnknownModelTypeError: If its `model_type` is absent or nothing is registered under it.
            RemoteCodeError: If only code from its repository could read it.
            UnknownOptionError: If an argument is neither an option nor a field and unused ones are not returned.
        """
        options, overrides = split_options(kwargs)
        opened = open_source(source, allow_file=True, **options)
        values, where = read_config_values(opened)
        config_class = _config_class(values, where, trust_remote_code=trust_remote_code)
        config, unused = config_from_values(config_class, values, where=where, overrides=overrides, source=opened)
        if return_unused_kwargs:
            return config, unused
        refuse_unknown_fields(config_class, unused)
        return config


dispatch_configs(AutoConfig, CONFIG_MAPPING.__getitem__)


def _config_class(values: Mapping[str, Any], where: str, *, trust_remote_code: bool) -> type[PreTrainedConfig]:
    model_type = values.get("model_type")
    if not isinstance(model_type, str) or not model_type:
        message = sentences(
            f"{where} names no model_type, so nothing says which architecture it is of.",
            f"Registered: {listed(CONFIG_MAPPING.names())}. Load it with the class itself, or add the key.",
        )
        raise UnknownModelTypeError(message)
    if model_type in CONFIG_MAPPING:
        return CONFIG_MAPPING[model_type]
    if values.get("auto_map"):
        allowed = "trusted, but" if trust_remote_code else "not trusted, and"
        message = sentences(
            f"model_type {shown(model_type)} in {where} is not registered; "
            "the checkpoint brings its own code (auto_map).",
            f"That code is {allowed} this version of nameplate-auto runs no code of a checkpoint.",
            "Install the package that defines the architecture, or register its classes.",
        )
        raise RemoteCodeError(message)
    names = CONFIG_MAPPING.names()
    message = sentences(
        f"model_type {shown(model_type)} in {where} is not registered.",
        did_you_mean(model_type, names) or f"Registered: {listed(names)}.",
        "Install the package that defines it, or register its config class with AutoConfig.register.",
    )
    raise UnknownModelTypeError(message)
