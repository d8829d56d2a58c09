"""Mutants of level 1: configs that lose values, or share them."""

from collections.abc import Mapping
from typing import Any

from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, with_config


def _lists_for_tuples() -> Architecture:
    class ListingConfig(ZooConfig):
        sizes: tuple[int, ...] = (1, 2)

        @classmethod
        def from_dict(cls, values: Mapping[str, Any], **kwargs: Any) -> Any:
            config = super().from_dict(values, **kwargs)
            vars(config)["sizes"] = list(vars(config)["sizes"])
            return config

    return with_config(ListingConfig)


def _forgets_a_field() -> Architecture:
    class ForgetfulConfig(ZooConfig):
        def to_dict(self) -> dict[str, Any]:
            values = super().to_dict()
            del values["depth"]
            return values

    return with_config(ForgetfulConfig)


def _nan_in_config() -> Architecture:
    class NanConfig(ZooConfig):
        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "epsilon": float("nan")}

    return with_config(NanConfig)


def _saves_defaults() -> Architecture:
    class StaleConfig(ZooConfig):
        def save_pretrained(self, folder: StrPath) -> None:
            default = ZooConfig(act=self.act)
            default.save_pretrained(folder)

    return with_config(StaleConfig)


def _loads_another_value() -> Architecture:
    class DriftingConfig(ZooConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            config: Any = super().from_pretrained(source, **kwargs)
            config.act = "tanh"
            return config

    return with_config(DriftingConfig)


def _keeps_arguments() -> Architecture:
    class KeepingConfig(ZooConfig):
        def __init__(self, scales: list[float] | None = None, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self.scales = [1.0] if scales is None else scales
            self._given = self.scales

        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "scales": list(self._given)}

    return with_config(KeepingConfig)


def _eats_its_argument() -> Architecture:
    class EatingConfig(ZooConfig):
        @classmethod
        def from_dict(cls, values: Any, **kwargs: Any) -> Any:
            copied = dict(values)
            values.pop("model_type", None)
            return super().from_dict(copied, **kwargs)

    return with_config(EatingConfig)


def _hands_out_its_lists() -> Architecture:
    class OpenConfig(ZooConfig):
        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "scales": vars(self)["scales"]}

    return with_config(OpenConfig)


def _caches_its_dict() -> Architecture:
    class CachingConfig(ZooConfig):
        _cached: dict[str, Any] | None = None

        def to_dict(self) -> dict[str, Any]:
            if self._cached is None:
                self._cached = super().to_dict()
            return self._cached

    return with_config(CachingConfig)


CONFIG_MUTANTS = (
    Mutant("ListsForTuples", "C01", "a tuple comes back as a list", _lists_for_tuples),
    Mutant("ForgetsAField", "C01", "a field is not written", _forgets_a_field),
    Mutant("NanInConfig", "C01", "a bare NaN is written, which is no JSON", _nan_in_config),
    Mutant("SavesDefaults", "C02", "the file holds the defaults instead of the values", _saves_defaults),
    Mutant("LoadsAnotherValue", "C02", "loading from a folder changes a value", _loads_another_value),
    Mutant("KeepsArguments", "C09", "the caller's list is kept", _keeps_arguments),
    Mutant("EatsItsArgument", "C09", "from_dict removes a key from the dict it reads", _eats_its_argument),
    Mutant("HandsOutItsLists", "C10", "to_dict returns the config's own list", _hands_out_its_lists),
    Mutant("CachesItsDict", "C10", "to_dict returns the same dict each time", _caches_its_dict),
)
