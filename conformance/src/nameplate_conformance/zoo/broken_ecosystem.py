"""Mutants of level 7: checkpoints and models that only this library understands."""

import json
from pathlib import Path
from typing import Any

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of


def _insists_on_its_own_loader() -> Architecture:
    class InsistingModel(ZooModel):
        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
            if strict and not assign:
                message = "load this model with from_pretrained"
                raise RuntimeError(message)
            return super().load_state_dict(state_dict, strict=strict, assign=assign)

    return of(InsistingModel)


def _takes_all_or_nothing() -> Architecture:
    class WholeModel(ZooModel):
        def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
            if not assign and len(state_dict) < len(self.state_dict()):
                message = "part of a state is no state"
                raise RuntimeError(message)
            return super().load_state_dict(state_dict, strict=strict, assign=assign)

    return of(WholeModel)


def _doubts_transformers() -> Architecture:
    class DoubtingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            config = Path(str(source)) / "config.json"
            if config.is_file() and "transformers_version" in json.loads(config.read_text(encoding="utf-8")):
                model = model.half().float()  # as Transformers' own large models are saved
            return model

    return of(DoubtingModel)


ECOSYSTEM_MUTANTS = (
    Mutant("InsistsOnItsOwnLoader", "I01", "load_state_dict refuses a strict load", _insists_on_its_own_loader),
    Mutant("DoubtsTransformers", "I02", "what Transformers saved is taken for half precision", _doubts_transformers),
    Mutant("TakesAllOrNothing", "I03", "load_state_dict refuses a shard", _takes_all_or_nothing),
)
