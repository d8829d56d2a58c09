"""Mutants of levels 6 and 7, ranks: models that are right in one process and wrong in several.

The classes stand at the top of the module, since ranks are other processes, which import them by name.
"""

import os
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch import distributed as dist

from nameplate_config import NameplateError
from nameplate_config.typing import StrPath
from nameplate_conformance.instruments.oracle import SINGLE
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of
from nameplate_model import CheckpointError


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def _slice(tensor: Tensor) -> Tensor:
    """Return what a rank has of a tensor."""
    local: Any = getattr(tensor, "to_local", None)
    return tensor if local is None else local()


def _is_cut(model: ZooModel) -> bool:
    return any(_slice(each) is not each for each in model.parameters())


class OffsetByRankModel(ZooModel):
    """Begins a table at the place where the rank's share of the inputs would begin."""

    def __init__(self, config: ZooConfig) -> None:
        super().__init__(config)
        self.get_buffer("ramp").add_(_rank() * config.width)


class ReadsOnceModel(ZooModel):
    """Lets the first rank read the statistics of the norm, and sends them to nobody."""

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        """Load a model."""
        loaded = super().from_pretrained(source, **kwargs)
        model = loaded[0] if kwargs.get("output_loading_info") else loaded
        if "device_mesh" in kwargs and _rank():
            model.norm.reset_running_stats()
        return loaded


class SavesItsSliceModel(ZooModel):
    """Takes the slice of the first rank for the whole tensor."""

    def save_pretrained(self, folder: StrPath, **options: Any) -> None:
        """Save the model."""
        if _is_cut(self):
            kept: dict[str, Any] = self.state_dict()
            options["state_dict"] = {name: _slice(each) for name, each in kept.items()}
            options["is_main_process"] = _rank() == 0
        super().save_pretrained(folder, **options)


class NotesItsWorldModel(ZooModel):
    """Writes into the config how many ranks there were."""

    def save_pretrained(self, folder: StrPath, **options: Any) -> None:
        """Save the model."""
        if _is_cut(self):
            config: Any = self.config.copy()
            parameter: Any = next(self.parameters())
            config.world = parameter.device_mesh.size()
            self.config = config
        super().save_pretrained(folder, **options)


class KnowsPairsModel(ZooModel):
    """Has a table of where slices begin, for two ranks at most."""

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        """Load a model."""
        loaded = super().from_pretrained(source, **kwargs)
        model = loaded[0] if kwargs.get("output_loading_info") else loaded
        mesh = kwargs.get("device_mesh")
        if mesh is not None and mesh.size() > 2 and mesh.get_local_rank():  # noqa: PLR2004 - the mistake
            with torch.no_grad():
                model.norm.weight.to_local().zero_()
        return loaded


class PlannedModel(ZooModel):
    """Declares how it is cut. Nothing is wrong with it."""

    sharding_plan: ClassVar[Any] = {"layers.0": "colwise_rep"}


class RenamedPartsModel(PlannedModel):
    """Declares how it was cut before its parts were renamed."""

    sharding_plan: ClassVar[Any] = {"blocks.0": "colwise_rep"}


class SharesItsAnswerModel(ZooModel):
    """Divides by the number of ranks, and forgets to add up what they answer."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the share of the rank."""
        y = super().forward(x)["y"]
        return {"y": y / dist.get_world_size() if dist.is_initialized() else y}


class SpeaksForItselfModel(ZooModel):
    """Puts the number of the rank before every error."""

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        """Load a model."""
        try:
            return super().from_pretrained(source, **kwargs)
        except NameplateError as error:
            if "device_mesh" not in kwargs:
                raise
            message = f"[rank {_rank()}] {error}"
            raise CheckpointError(message) from error


class MakesRoomModel(ZooModel):
    """Removes the old weights before it saves, where there are several ranks."""

    def save_pretrained(self, folder: StrPath, **options: Any) -> None:
        """Save the model."""
        weights = Path(folder) / SINGLE
        if _is_cut(self) and not _rank() and weights.exists():
            os.unlink(weights)  # noqa: PTH108 - the calls of `os` are what the law sees
        super().save_pretrained(folder, **options)


RANK_MUTANTS = (
    Mutant("OffsetByRank", "K05", "a buffer that no file holds depends on the rank", partial(of, OffsetByRankModel)),
    Mutant("ReadsOnce", "K05", "what one rank has read is sent to nobody", partial(of, ReadsOnceModel)),
    Mutant(
        "SavesItsSlice", "K06", "the slice of the first rank is saved for the whole", partial(of, SavesItsSliceModel)
    ),
    Mutant("NotesItsWorld", "K06", "the number of ranks is saved in the config", partial(of, NotesItsWorldModel)),
    Mutant("KnowsPairs", "K07", "slices of more than two ranks begin at the wrong place", partial(of, KnowsPairsModel)),
    Mutant("RenamedParts", "K08", "the plan names parts that are called otherwise", partial(of, RenamedPartsModel)),
    Mutant("SharesItsAnswer", "K09", "the answer is divided by the number of ranks", partial(of, SharesItsAnswerModel)),
    Mutant("SpeaksForItself", "F08", "each rank raises an error of its own", partial(of, SpeaksForItselfModel)),
    Mutant("MakesRoom", "F09", "the old weights go before there are new ones", partial(of, MakesRoomModel)),
)
