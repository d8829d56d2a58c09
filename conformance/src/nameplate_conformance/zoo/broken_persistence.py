"""Mutants of level 3, the trip: saving and loading that lose bits, or do more than they should."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of, reference


def _drops_a_key() -> Architecture:
    class DroppingModel(ZooModel):
        def state_dict(self, *args: Any, **kwargs: Any) -> Any:
            state = super().state_dict(*args, **kwargs)
            state.pop("offset", None)
            return state

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            return super().from_pretrained(source, allow_missing=["offset"], **kwargs)

    return of(DroppingModel)


def _forgets_to_load_buffers() -> Architecture:
    class ForgettingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            model.norm.running_mean.zero_()
            return model

    return of(ForgettingModel)


def _loads_in_half() -> Architecture:
    class HalvingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            return super().from_pretrained(source, **kwargs).half().float()

    return of(HalvingModel)


def _loads_in_training_mode() -> Architecture:
    class AwakeModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            return super().from_pretrained(source, **kwargs).train()

    return of(AwakeModel)


def _state_outside_the_config() -> Architecture:
    class SecretiveModel(ZooModel):
        factor = 1.0

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] * self.factor}

        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            super().save_pretrained(folder, **options)
            self.factor = 2.0

    return of(SecretiveModel)


def _random_buffer() -> Architecture:
    class RandomModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.register_buffer("noise", torch.rand(config.width), persistent=False)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] + self.get_buffer("noise")}

    return of(RandomModel)


def _saving_rounds() -> Architecture:
    class RoundingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            with torch.no_grad():
                for parameter in self.parameters():
                    parameter.copy_(parameter.bfloat16())
            super().save_pretrained(folder, **options)

    return of(RoundingModel)


def _saving_falls_asleep() -> Architecture:
    class SleepingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            self.eval()
            super().save_pretrained(folder, **options)

    return of(SleepingModel)


def _saving_leaves_litter() -> Architecture:
    class LitteringModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            super().save_pretrained(folder, **options)
            (Path(folder).parent / "save.log").write_text("saved")

    return of(LitteringModel)


def _loading_writes_a_cache() -> Architecture:
    class CachingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            folder = source.folder if hasattr(source, "folder") else Path(source)
            (folder / "cache.bin").write_bytes(b"cached")
            return model

    return of(CachingModel)


def _loading_draws_random_numbers() -> Architecture:
    class DrawingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            torch.rand(1)
            return model

    return of(DrawingModel)


@contextmanager
def _uninitialised_buffers() -> Iterator[None]:
    """Break loading as transformers #48892 reports: buffers that no file holds come back as raw memory."""

    def load(cls: type[ZooModel], source: Any, **kwargs: Any) -> Any:
        model = super(ZooModel, cls).from_pretrained(source, **kwargs)
        model.ramp = torch.empty_like(model.get_buffer("ramp"))
        return model

    ZooModel.from_pretrained = classmethod(load)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        del ZooModel.from_pretrained


PERSISTENCE_MUTANTS = (
    Mutant("DropsAKey", "S01", "state_dict leaves a buffer out", _drops_a_key),
    Mutant("ForgetsToLoadBuffers", "S01", "a statistic is reset by loading", _forgets_to_load_buffers),
    Mutant("LoadsInHalf", "S01", "loading goes through half precision", _loads_in_half),
    Mutant("LoadsInTrainingMode", "S01", "the loaded model is in training mode", _loads_in_training_mode),
    Mutant("StateOutsideTheConfig", "S02", "a number that no file holds changes the answer", _state_outside_the_config),
    Mutant("RandomBuffer", "S02", "a buffer that is not saved is drawn at random", _random_buffer),
    Mutant(
        "UninitialisedBuffers", "M09", "buffers that are not saved hold raw memory", reference, _uninitialised_buffers
    ),
    Mutant("SavingRounds", "S05", "saving rounds the live model", _saving_rounds),
    Mutant("SavingFallsAsleep", "S05", "saving leaves the model in evaluation mode", _saving_falls_asleep),
    Mutant("SavingLeavesLitter", "S05", "saving writes beside the folder", _saving_leaves_litter),
    Mutant("LoadingWritesACache", "S06", "loading writes into the checkpoint", _loading_writes_a_cache),
    Mutant("LoadingDrawsRandomNumbers", "S06", "loading moves the random state", _loading_draws_random_numbers),
)
