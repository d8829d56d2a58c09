"""Mutants of level 1: configs that lose values, or share them."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from nameplate_config import Field, fields
from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, of, reference, with_config


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
        def save_pretrained(self, folder: StrPath, **_: Any) -> None:
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
        def __init__(self, sizes: list[int] = [1], **kwargs: Any) -> None:  # noqa: B006 - copied by the base
            super().__init__(**kwargs)
            self.sizes = sizes
            self._given = sizes

        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "sizes": list(self._given)}

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
        sizes: list[int] = [1]  # noqa: RUF012

        def to_dict(self) -> dict[str, Any]:
            return {**super().to_dict(), "sizes": vars(self)["sizes"]}

    return with_config(OpenConfig)


def _caches_its_dict() -> Architecture:
    class CachingConfig(ZooConfig):
        _cached: dict[str, Any] | None = None

        def to_dict(self) -> dict[str, Any]:
            if self._cached is None:
                self._cached = super().to_dict()
            return self._cached

    return with_config(CachingConfig)


def _keeps_argument_order() -> Architecture:
    class OrderedConfig(ZooConfig):
        def __init__(self, **kwargs: Any) -> None:
            super().__init__(**kwargs)
            self._given = tuple(kwargs)

        def to_json_string(self) -> str:
            values = self.to_dict()
            order = [*(name for name in self._given if name in values), *sorted(values)]
            return json.dumps({name: values[name] for name in dict.fromkeys(order)}, indent=2) + "\n"

    return with_config(OrderedConfig)


def _equality_overlooks_a_field() -> Architecture:
    class BlindConfig(ZooConfig):
        __hash__ = None  # type: ignore[assignment]

        def __eq__(self, other: object) -> bool:
            if not isinstance(other, BlindConfig):
                return NotImplemented
            mine, theirs = self.to_dict(), other.to_dict()
            return {**mine, "act": ""} == {**theirs, "act": ""}

    return with_config(BlindConfig)


def _shows_defaults() -> Architecture:
    class TalkativeConfig(ZooConfig):
        def to_diff_dict(self) -> dict[str, Any]:
            return {**super().to_diff_dict(), "depth": self.depth}

    return with_config(TalkativeConfig)


def _hides_a_change() -> Architecture:
    class SecretiveConfig(ZooConfig):
        def to_diff_dict(self) -> dict[str, Any]:
            return {name: value for name, value in super().to_diff_dict().items() if name != "bias"}

    return with_config(SecretiveConfig)


def _writes_only_the_difference() -> Architecture:
    class BriefConfig(ZooConfig):
        def to_dict(self) -> dict[str, Any]:
            return self.to_diff_dict()

    return with_config(BriefConfig)


def _drops_unknown_keys() -> Architecture:
    class NarrowConfig(ZooConfig):
        @classmethod
        def from_dict(cls, values: Mapping[str, Any], **kwargs: Any) -> Any:
            known = {each.name for each in fields(cls)} | {
                "model_type",
                "id2label",
                "label2id",
                "architectures",
                "dtype",
            }
            return super().from_dict({name: value for name, value in values.items() if name in known}, **kwargs)

    return with_config(NarrowConfig)


def _override_resets_another() -> Architecture:
    class ResettingConfig(ZooConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            config: Any = super().from_pretrained(source, **kwargs)
            if "width" in kwargs:
                config.scales = [0.25]
            return config

    return with_config(ResettingConfig)


def _alias_loses_its_value() -> Architecture:
    class AliasConfig(ZooConfig):
        attribute_map = {"hidden_size": "width"}  # noqa: RUF012 - a ClassVar of the base class

        @property
        def hidden_size(self) -> int:
            return 8

    return with_config(AliasConfig)


@contextmanager
def _accepts_anything() -> Iterator[None]:
    """Break the library as untyped configs are broken: a value that does not fit is kept as it is."""
    original = Field.convert

    def convert(self: Field, value: Any, *, from_file: bool = False) -> Any:
        try:
            return original(self, value, from_file=from_file)
        except Exception:  # noqa: BLE001 - the mistake
            return value

    Field.convert = convert  # type: ignore[method-assign]
    try:
        yield
    finally:
        Field.convert = original  # type: ignore[method-assign]


def _ignores_the_model_type() -> Architecture:
    class TrustingConfig(ZooConfig):
        @classmethod
        def from_dict(cls, values: Mapping[str, Any], **kwargs: Any) -> Any:
            return super().from_dict({**values, "model_type": cls.model_type}, **kwargs)

    return with_config(TrustingConfig)


def _labels_become_text() -> Architecture:
    class TextualConfig(ZooConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            found: Any = super().from_pretrained(source, **kwargs)
            config = found[0] if isinstance(found, tuple) else found
            if vars(config)["id2label"] is not None:
                vars(config)["id2label"] = {str(index): label for index, label in config.id2label.items()}
            return found

    return with_config(TextualConfig)


def _imports_torch() -> Architecture:
    home = "nameplate_conformance.zoo.reference"
    return replace(of(name="ImportsTorch"), config=f"{home}:ZooConfig", models={"AutoModel": f"{home}:ZooModel"})


def _repr_is_no_call() -> Architecture:
    class MumblingConfig(ZooConfig):
        def __repr__(self) -> str:
            return f"<config of width {self.width}>"

    return with_config(MumblingConfig)


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
    Mutant("KeepsArgumentOrder", "C03", "the file depends on the order of the arguments", _keeps_argument_order),
    Mutant("EqualityOverlooksAField", "C04", "configs with other activations are equal", _equality_overlooks_a_field),
    Mutant("ShowsDefaults", "C05", "the difference shows a default", _shows_defaults),
    Mutant("HidesAChange", "C05", "the difference hides a change", _hides_a_change),
    Mutant("WritesOnlyTheDifference", "C06", "default values are not written", _writes_only_the_difference),
    Mutant("DropsUnknownKeys", "C07", "keys of a newer version are lost", _drops_unknown_keys),
    Mutant("OverrideResetsAnother", "C08", "overriding one field resets another", _override_resets_another),
    Mutant("AliasLosesItsValue", "C11", "the alias always reads the default", _alias_loses_its_value),
    Mutant("AcceptsAnything", "C12", "a value that does not fit is kept", reference, _accepts_anything),
    Mutant("IgnoresTheModelType", "C13", "a file of another architecture is read", _ignores_the_model_type),
    Mutant("LabelsBecomeText", "C14", "indices of labels come back as text", _labels_become_text),
    Mutant("ImportsTorch", "C16", "the module of the config imports torch", _imports_torch),
    Mutant("ReprIsNoCall", "C18", "the repr cannot be evaluated", _repr_is_no_call),
)
