"""Mutants of level 7, history: what was released no longer loads, and what is newer is mistaken for ours.

Then those of other libraries and of the Hub.
"""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from nameplate_config import NameplateError, publish
from nameplate_config.typing import StrPath
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of, with_config
from nameplate_conformance.zoo.veteran import VeteranModel, veteran
from nameplate_model import migrates_state


def _computes_otherwise() -> Architecture:
    class ImprovedModel(VeteranModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            for layer in self.layers:
                x = torch.nn.functional.hardtanh(layer(x))  # faster, and nearly the same
            return {"y": x + self.get_buffer("offset")}

    return replace(veteran(ImprovedModel), foreign=())  # which would notice too


def _forgets_its_first_names() -> Architecture:
    class ForgetfulModel(VeteranModel):
        @staticmethod
        @migrates_state(1, 2)
        def shift_became_offset(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
            return state

    return veteran(ForgetfulModel)


def _saves_under_first_names() -> Architecture:
    class NostalgicModel(VeteranModel):
        is_old = False

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            config = Path(str(source)) / "config.json"
            model.is_old = config.is_file() and "height" in json.loads(config.read_bytes())
            return model

        def save_pretrained(self, folder: StrPath, **options: Any) -> None:
            if self.is_old:  # so that whoever has the first version can read it
                state = self.state_dict()
                options["state_dict"] = {**state, "offset": state["offset"].flip(0)}
            super().save_pretrained(folder, **options)

    return veteran(NostalgicModel)


def _believes_any_version() -> Architecture:
    class HopefulConfig(ZooConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except NameplateError as error:
                if error.code != "wrong-version":
                    raise
                values = json.loads((Path(str(source)) / "config.json").read_bytes())
                del values["config_version"]  # most of it will be the same
                return cls.from_dict(values)

    return with_config(HopefulConfig)


def _reads_its_foreign_names_backwards() -> Architecture:
    class ReversedModel(VeteranModel):
        foreign_key_mapping: ClassVar[Mapping[str, str]] = {
            r"^level0\.": "layers.1.",
            r"^level1\.": "layers.0.",
            **VeteranModel.foreign_key_mapping,
        }

    return veteran(ReversedModel)


def _pushes_what_lies_around() -> Architecture:
    class GenerousModel(ZooModel):
        def push_to_hub(self, repository: str, **options: Any) -> Any:
            place = super().push_to_hub(repository, **options)
            publish(repository, {"trainer_state.json": b"{}"}, "Upload the trainer's state", token=options["token"])
            return place

    return of(GenerousModel)


def _loads_the_newest() -> Architecture:
    class ModernModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, *, revision: str | None = None, **kwargs: Any) -> Any:
            del revision  # the newest is the best
            return super().from_pretrained(source, **kwargs)

    return of(ModernModel)


HISTORY_MUTANTS = (
    Mutant("ComputesOtherwise", "G01", "an activation is replaced by one that is nearly the same", _computes_otherwise),
    Mutant(
        "ForgetsItsFirstNames", "G01", "the names of the first version are no longer known", _forgets_its_first_names
    ),
    Mutant(
        "BelievesAnyVersion", "G02", "the config of a newer version is read as if it were ours", _believes_any_version
    ),
    Mutant("SavesUnderFirstNames", "G03", "what was upgraded is saved as it was", _saves_under_first_names),
    Mutant(
        "ReadsForeignLayersBackwards",
        "I04",
        "layers of another library change places",
        _reads_its_foreign_names_backwards,
    ),
    Mutant("PushesWhatLiesAround", "I05", "a push takes the state of the trainer along", _pushes_what_lies_around),
    Mutant("LoadsTheNewest", "I05", "the revision that is asked for is not the one that loads", _loads_the_newest),
)
