"""What a model class has to do with Auto classes: its registration, and what those of Transformers pass to it."""

from collections.abc import Mapping
from typing import Any

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_config.code import auto_class_name, registered_name
from nameplate_config.wording import sentences

_FROM_TRANSFORMERS = frozenset({"adapter_kwargs", "trust_remote_code", "_from_auto"})
"""What `from_pretrained` of Transformers' Auto classes adds to the options of the caller; the first one always."""


def registered_for(cls: type, auto_class: str | type) -> tuple[str, ...]:
    """Return the names of the Auto classes that a model class is registered for, with one more.

    Raises:
        SourceCodeError: If its code cannot be copied.
        UnknownOptionError: If the Auto class is neither a name nor a class, or finds no models.
    """
    if auto_class_name(auto_class) == "AutoConfig":
        message = sentences(
            f"{cls.__name__} is a model class, and AutoConfig finds configs.",
            "Its config class is saved with it. Give the name of an Auto class of models, such as 'AutoModel'.",
        )
        raise UnknownOptionError(message)
    return tuple(dict.fromkeys([*vars(cls).get("_auto_classes", ()), registered_name(cls, auto_class)]))


def own_options(cls: type[Any], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a load without what an Auto class of Transformers has added.

    Raises:
        UnknownOptionError: If it found an adapter that is to be loaded as well.
    """
    if "adapter_kwargs" not in kwargs:
        return dict(kwargs)
    if "_adapter_model_path" in (kwargs["adapter_kwargs"] or {}):
        message = sentences(
            f"{cls.__name__} cannot load the adapter in {kwargs['adapter_kwargs']['_adapter_model_path']!r}.",
            "Load the model without it, and give both to `peft.PeftModel.from_pretrained`.",
        )
        raise UnknownOptionError(message)
    options = {name: value for name, value in kwargs.items() if name not in _FROM_TRANSFORMERS}
    if isinstance(options.get("config"), PreTrainedConfig):
        options["config"] = own_config(cls, options["config"])
    return options


def own_config(cls: type[Any], config: PreTrainedConfig) -> PreTrainedConfig:
    """Return a config of the class that a model is built from.

    Transformers runs the code of a folder once for AutoConfig and once for the model, so that one config class becomes
    two. A config of the other one, which differs in nothing, is built anew; any other is returned as it is.
    """
    expected, found = cls.config_class, type(config)
    if expected is None or isinstance(config, expected):
        return config
    if (found.__name__, found.model_type) != (expected.__name__, expected.model_type):
        return config
    return expected.from_dict(config.to_dict(), name_or_path=config.name_or_path)
