"""Mutants of level 5: moving and casting that lose bits, or take along what they should not."""

from typing import Any

import torch

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of


def _casts_integers() -> Architecture:
    class CastingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if isinstance(kwargs.get("dtype"), torch.dtype):
                model.norm.num_batches_tracked = model.norm.num_batches_tracked.to(kwargs["dtype"])
            return model

    return of(CastingModel)


def _auto_is_float32() -> Architecture:
    class DefaultingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            if kwargs.get("dtype") == "auto":
                kwargs["dtype"] = torch.get_default_dtype()
            return super().from_pretrained(source, **kwargs)

    return of(DefaultingModel)


def _casts_what_should_stay_wide() -> Architecture:
    class NarrowingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            kwargs.pop("keep_in_fp32", None)
            return super().from_pretrained(source, **kwargs)

    return of(NarrowingModel)


def _moving_rounds() -> Architecture:
    class ShrinkingModel(ZooModel):
        def poison_survives(self) -> bool:
            return bool(self.norm.weight.detach().max() != 1)

        def to(self, *args: Any, **kwargs: Any) -> Any:
            moved = super().to(*args, **kwargs)
            if self.poison_survives():
                moved.norm.weight.data = moved.norm.weight.data.bfloat16().float()
            return moved

    return of(ShrinkingModel)


def _direct_load_loses_a_buffer() -> Architecture:
    class DirectModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if "device" in kwargs:
                model.dropout.p = 0.9
                model.unused.zero_()
            return model

        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.register_buffer("unused", torch.ones(config.width), persistent=False)

    return of(DirectModel)


def _records_its_device() -> Architecture:
    class RecordingModel(ZooModel):
        placed_on = ""

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            model.placed_on = str(kwargs.get("device", ""))
            return model

        def save_pretrained(self, folder: Any, **options: Any) -> None:
            plain = self.config
            if self.placed_on:
                config: Any = plain.copy()
                config.placed_on = self.placed_on
                self.config = config
            super().save_pretrained(folder, **options)
            self.config = plain

    return of(RecordingModel)


def _another_epsilon() -> Architecture:
    class AdaptingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if isinstance(kwargs.get("dtype"), torch.dtype):
                model.norm.eps = torch.finfo(kwargs["dtype"]).eps
            return model

    return of(AdaptingModel)


def _follows_the_default_dtype() -> Architecture:
    class FollowingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            if torch.get_default_dtype() is not torch.float32:
                kwargs.setdefault("dtype", torch.get_default_dtype())
            return super().from_pretrained(source, **kwargs)

    return of(FollowingModel)


def _map_forgets_the_root() -> Architecture:
    class ForgetfulModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if isinstance(kwargs.get("device_map"), dict) and len(kwargs["device_map"]) > 1:
                model.offset.zero_()
            return model

    return of(ForgetfulModel)


DEVICE_MUTANTS = (
    Mutant("CastsIntegers", "D01", "a dtype also casts the counter of a norm", _casts_integers),
    Mutant("AutoIsFloat32", "D01", 'dtype="auto" is the default dtype, not the one that was saved', _auto_is_float32),
    Mutant("CastsWhatShouldStayWide", "D01", "keep_in_fp32 is forgotten", _casts_what_should_stay_wide),
    Mutant("MovingRounds", "D02", "moving rounds a tensor", _moving_rounds),
    Mutant("RecordsItsDevice", "D03", "the device that it was loaded to is saved in the config", _records_its_device),
    Mutant("DirectLoadLosesABuffer", "D04", "loading to a device resets a buffer", _direct_load_loses_a_buffer),
    Mutant("AnotherEpsilon", "D05", "loading in a dtype changes a constant of the arithmetic", _another_epsilon),
    Mutant("FollowsTheDefaultDtype", "D06", "the default dtype casts what was saved", _follows_the_default_dtype),
    Mutant("MapForgetsTheRoot", "D07", "a map of devices leaves what is in no part unloaded", _map_forgets_the_root),
)
