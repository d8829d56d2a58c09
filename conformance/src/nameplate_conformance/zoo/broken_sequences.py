"""Mutants that no single step reveals: folders and models that depend on what was done to them before."""

import copy
import json
from pathlib import Path
from typing import Any

from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of
from nameplate_conformance.zoo.relatives import ZooTower
from nameplate_model import SaveError


def _sweeps_the_shards_of_others() -> Architecture:
    """Break cleaning up as diffusers #14719 reports: shards of another variant go, and their index stays."""

    class SweepingModel(ZooModel):
        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            super().save_pretrained(folder, **options)
            for index in Path(folder).glob("model.safetensors.index.*.json") if not options.get("variant") else ():
                for name in set(json.loads(index.read_bytes())["weight_map"].values()):
                    (Path(folder) / name).unlink(missing_ok=True)

    return of(SweepingModel)


def _is_busy_for_ever() -> Architecture:
    class BusyModel(ZooModel):
        busy = False

        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            if self.busy:  # a signal may call this in the middle of a save
                return
            self.busy = True
            try:
                super().save_pretrained(folder, **options)
            except SaveError:
                self.busy = False
                raise
            self.busy = False

    return of(BusyModel)


def _copied(model: ZooModel, memo: dict[int, Any]) -> Any:
    """Return what deepcopy makes of a model whose class does not say how it is copied."""
    found = type(model).__new__(type(model))
    memo[id(model)] = found
    found.__dict__.update(copy.deepcopy(model.__dict__, memo))
    return found


def _copies_cost_memory() -> Architecture:
    class CopiedTower(ZooTower):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            found = _copied(self, memo)
            if not self.training:
                found.gradient_checkpointing_disable()
            return found

    return of(CopiedTower)


def _copies_fall_asleep() -> Architecture:
    class SleepyModel(ZooModel):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            return _copied(self, memo).eval()

    return of(SleepyModel)


def _casting_thaws() -> Architecture:
    class ThawingModel(ZooModel):
        def to(self, *args: Any, **kwargs: Any) -> Any:
            return super().to(*args, **kwargs).requires_grad_()

    return of(ThawingModel)


SEQUENCE_MUTANTS = (
    Mutant(
        "SweepsTheShardsOfOthers",
        "Z02",
        "a save removes another variant's shards",
        _sweeps_the_shards_of_others,
        museum="https://github.com/huggingface/diffusers/issues/14719",
    ),
    Mutant("IsBusyForEver", "Z02", "after a save that was refused, no other saves anything", _is_busy_for_ever),
    Mutant("CopiesCostMemory", "Z03", "a copy made in evaluation mode is not checkpointed", _copies_cost_memory),
    Mutant("CopiesFallAsleep", "Z03", "a copy of a model in training is not in training", _copies_fall_asleep),
    Mutant("CastingThaws", "Z03", "a cast thaws what was frozen", _casting_thaws),
)
