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


class AutoModelForSoaring(AutoClass[KiteModel]):
    """One that says what it returns."""


def registering() -> None:
    """The call forms return nothing, without a value they are decorators."""
    assert_type(AutoConfig.register("kite", KiteConfig), None)
    assert_type(AutoConfig.register("kite", KiteConfig, exist_ok=True), None)
    assert_type(AutoConfig.register("kite", "kites.configuration:KiteConfig"), None)
    assert_type(CONFIG_MAPPING.register("kite", KiteConfig), None)
    assert_type(CONFIG_MAPPING.register("kite", "kites.configuration:KiteConfig"), None)
    assert_type(AutoModel.register(KiteConfig, KiteModel), None)
    assert_type(AutoModelForFlying.register(KiteConfig, "kites.modeling:KiteModel"), None)
    assert_type(AutoModelForFlying.register(KiteConfig, [KiteModel, "kites.modeling:BoxKiteModel"]), None)
    assert_type(AutoModelForSoaring.register(KiteConfig, KiteModel), None)


@CONFIG_MAPPING.register("rokkaku")
class RokkakuConfig(KiteConfig):
    """A config class that a decorator registers keeps its type."""

    model_type = "rokkaku"

    bow: float = 0.1


@AutoConfig.register("sled")
class SledConfig(KiteConfig):
    """Nor does the other decorator change it."""

    model_type = "sled"

    vents: int = 2


@AutoModelForImageClassification.register(RokkakuConfig)
class RokkakuModel(KiteModel):
    """A model class that a decorator registers keeps its type."""

    sails = 2


def decorated() -> None:
    """The names still stand for the classes themselves."""
    assert_type(RokkakuConfig.bow, float)
    assert_type(SledConfig.vents, int)
    assert_type(RokkakuModel.sails, int)
    assert_type(RokkakuModel(), RokkakuModel)


def resolving() -> None:
    """Configs are configs; a model is whatever the registered class is, unless the Auto class says what it returns."""
    assert_type(AutoConfig.for_model("kite", width=3), PreTrainedConfig)
    assert_type(AutoConfig.from_pretrained(Path("kites"), width=3), PreTrainedConfig)
    assert_type(AutoConfig.from_pretrained("kites", return_unused_kwargs=False, model_type="kite"), PreTrainedConfig)
    assert_type(
        AutoConfig.from_pretrained("kites", return_unused_kwargs=True, width=3),
        tuple[PreTrainedConfig, dict[str, Any]],
    )
    assert_type(AutoConfig.find("kite"), Registration)
    assert_type(AutoModel.from_pretrained("kites", dtype="bfloat16"), Any)
    assert_type(AutoModel.from_pretrained("kites", trust_remote_code="sha256:0", code_revision="main"), Any)
    assert_type(AutoModel.from_pretrained(None, config=KiteConfig(), state_dict={}), Any)
    assert_type(AutoModel.from_pretrained("kites", output_loading_info=True), tuple[Any, Any])
    assert_type(AutoModelForFlying.from_config(KiteConfig(), width=3), Any)
    assert_type(AutoModel.model_class(KiteConfig()), type[Any])
    assert_type(AutoModel.model_class_of(KiteConfig, ["KiteModel"]), type[Any])


def narrowing() -> None:
    """The fields of a class are there once it is known that the config is one of it."""
    config = AutoConfig.from_pretrained("kites")
    assert isinstance(config, KiteConfig)
    assert_type(config.width, int)


def a_task_that_says_what_it_returns() -> None:
    """With a type argument a model is of that type, however it is made."""
    assert_type(AutoModelForSoaring.from_pretrained("kites", width=3), KiteModel)
    assert_type(AutoModelForSoaring.from_pretrained("kites", output_loading_info=False), KiteModel)
    assert_type(AutoModelForSoaring.from_pretrained("kites", output_loading_info=True), tuple[KiteModel, Any])
    assert_type(AutoModelForSoaring.from_config(KiteConfig()), KiteModel)
    assert_type(AutoModelForSoaring.model_class(KiteConfig()), type[KiteModel])


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
    AutoModelForSoaring.register(KiteConfig, KiteConfig)  # pyrefly: ignore[bad-argument-type]
    AutoModel.from_pretrained("kites", output_loading_info="yes")  # pyrefly: ignore[no-matching-overload]
    AutoConfig.from_pretrained(3)  # pyrefly: ignore[bad-argument-type]
    CONFIG_MAPPING.register(KiteConfig, "kite")  # pyrefly: ignore[bad-argument-type]


def protocol(model_class: type[Loadable]) -> Any:
    """An Auto class asks for no base class, only for three names."""
    return model_class.from_config(KiteConfig())


def structural() -> None:
    """A class without a base class of ours satisfies the protocol."""
    assert_type(protocol(KiteModel), Any)
