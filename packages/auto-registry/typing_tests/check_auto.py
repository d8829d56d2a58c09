# ruff: noqa: INP001 - no package: nothing imports this
"""What a type checker makes of the public names: `pyrefly check` must find nothing wrong here."""

from pathlib import Path
from typing import Any, ClassVar, assert_type

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoClass,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    Loadable,
    Registration,
    Registry,
)
from nameplate_config import PreTrainedConfig, Source


class KiteConfig(PreTrainedConfig):
    """A config with one field."""

    model_type = "kite"

    width: int = 8


class KiteModel:
    """A model class without a base class of ours."""

    config_class: ClassVar[type[KiteConfig]] = KiteConfig

    @classmethod
    def from_pretrained(cls, source: Source, /, **_: Any) -> "KiteModel":
        """Load one."""
        assert source.folder is not None
        return cls()

    @classmethod
    def from_config(cls, config: KiteConfig, /) -> "KiteModel":
        """Build one."""
        assert config.width
        return cls()


class AutoModelForFlying(AutoClass):
    """A task of one's own."""


def registering() -> None:
    """The call forms return nothing, without a value they are decorators."""
    assert_type(AutoConfig.register("kite", KiteConfig), None)
    assert_type(AutoConfig.register("kite", KiteConfig, exist_ok=True), None)
    assert_type(CONFIG_MAPPING.register("kite", KiteConfig), None)
    assert_type(CONFIG_MAPPING.register("kite", "kites.configuration:KiteConfig"), None)
    assert_type(AutoModel.register(KiteConfig, KiteModel), None)
    assert_type(AutoModelForFlying.register(KiteConfig, "kites.modeling:KiteModel"), None)


@CONFIG_MAPPING.register("rokkaku")
class RokkakuConfig(KiteConfig):
    """A config class that a decorator registers keeps its type."""

    model_type = "rokkaku"

    bow: float = 0.1


@AutoModelForImageClassification.register(RokkakuConfig)
class RokkakuModel(KiteModel):
    """A model class that a decorator registers keeps its type."""

    sails = 2


def decorated() -> None:
    """The names still stand for the classes themselves."""
    assert_type(RokkakuConfig.bow, float)
    assert_type(RokkakuModel.sails, int)
    assert_type(RokkakuModel(), RokkakuModel)


def resolving() -> None:
    """Configs are configs; a model is whatever the registered class is, so nothing is promised about it."""
    assert_type(AutoConfig.for_model("kite", width=3), PreTrainedConfig)
    assert_type(AutoConfig.from_pretrained(Path("kites"), width=3), Any)
    assert_type(AutoModel.from_pretrained("kites", dtype="bfloat16"), Any)
    assert_type(AutoModelForFlying.from_config(KiteConfig()), Any)
    assert_type(AutoModel.model_class(KiteConfig()), type[Any])


def reading() -> None:
    """A registry is a mapping that knows what it holds."""
    assert_type(CONFIG_MAPPING, Registry[str, type[PreTrainedConfig]])
    assert_type(CONFIG_MAPPING["kite"], type[PreTrainedConfig])
    assert_type(CONFIG_MAPPING.get("kite"), type[PreTrainedConfig] | None)
    assert_type(CONFIG_MAPPING.names(), list[str])
    assert_type(CONFIG_MAPPING.name_of(KiteConfig), str | None)
    assert_type(CONFIG_MAPPING.find("kite"), Registration)
    assert_type(AutoModel.model_mapping.names(), list[type[PreTrainedConfig]])
    for name in CONFIG_MAPPING:
        assert_type(name, str)


def a_registry_of_ones_own() -> None:
    """Keys and values are of any type."""
    shapes: Registry[str, type[int]] = Registry("shape")
    shapes["circle"] = int
    assert_type(shapes["circle"], type[int])


def refused() -> None:
    """What would fail when it runs is an error before."""
    AutoConfig.register("kite", KiteModel)  # pyrefly: ignore[bad-argument-type]
    AutoModel.register("kite", KiteModel)  # pyrefly: ignore[bad-argument-type]
    CONFIG_MAPPING.register(KiteConfig, "kite")  # pyrefly: ignore[bad-argument-type]


def protocol(model_class: type[Loadable]) -> Any:
    """An Auto class asks for no base class, only for three names."""
    return model_class.from_config(KiteConfig())


def structural() -> None:
    """A class without a base class of ours satisfies the protocol."""
    assert_type(protocol(KiteModel), Any)
