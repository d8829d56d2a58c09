"""Mutants of level 0: architectures that the suite cannot judge, or that disturb the process."""

import os
from dataclasses import replace
from typing import Annotated, Any

import torch
from annotated_types import Ge, Le

from nameplate_config import PreTrainedConfig, Tiny
from nameplate_conformance.architecture import Architecture, Tags
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of, reference, with_config
from nameplate_model import PreTrainedModel


def _one_config_only() -> Architecture:
    class FixedConfig(PreTrainedConfig):
        model_type = "zoo"
        width: Any = 3
        depth: Any = 1
        act: Any = "relu"
        bias: bool = True
        dropout: Any = 0.0

    return with_config(FixedConfig)


def _refuses_most() -> Architecture:
    class PickyConfig(ZooConfig):
        def validate_width(self) -> None:
            if self.width < 8 and self.width != 2:  # noqa: PLR2004 - arbitrary on purpose
                message = "only 2 and large widths"
                raise ValueError(message)

    return with_config(PickyConfig)


def _huge() -> Architecture:
    class HugeModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.table = torch.nn.Embedding(300_000, 1)

    return of(HugeModel)


def _no_answer() -> Architecture:
    class SilentModel(ZooModel):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            super().forward(x)
            return {}

    return of(SilentModel)


def _sets_environment() -> Architecture:
    class LoudModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            os.environ["ZOO_WAS_HERE"] = str(int(os.environ.get("ZOO_WAS_HERE", "0")) + 1)

    return of(LoudModel)


def _sets_default_dtype() -> Architecture:
    class DoubleModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> PreTrainedModel:
            model = super().from_pretrained(source, **kwargs)
            torch.set_default_dtype(torch.float64)
            return model

    return of(DoubleModel)


def _one_width() -> Architecture:
    class NarrowConfig(ZooConfig):
        width: Annotated[int, Ge(1), Tiny(2)] = 8

    return with_config(NarrowConfig)


def _branch_taken_away() -> Architecture:
    return replace(reference(), constrain=lambda kwargs: kwargs | {"act": "relu"})


def _bound_refused() -> Architecture:
    class BoundedConfig(ZooConfig):
        rounds: Annotated[int, Ge(0), Le(8)] = 1

        def validate_rounds(self) -> None:
            if self.rounds == 8:  # noqa: PLR2004 - the bound
                message = "one less, please"
                raise ValueError(message)

    return with_config(BoundedConfig)


def _one_shape() -> Architecture:
    class RigidModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(type(config)(width=2, depth=1, act=config.act, dropout=config.dropout))
            self.config = config

        @property
        def dummy_inputs(self) -> dict[str, torch.Tensor]:
            return {"x": torch.rand(2, 2, generator=torch.Generator().manual_seed(0))}

    rigid = of(RigidModel)
    passive = (*rigid.tags.passive_fields, "width", "depth", "bias")
    return replace(rigid, tags=Tags(passive_fields=passive))


HARNESS_MUTANTS = (
    Mutant("OneConfigOnly", "A01", "no field says what else it could be", _one_config_only),
    Mutant("RefusesMost", "A01", "the config refuses most of what its annotations allow", _refuses_most),
    Mutant("Huge", "A02", "even the simplest model has 300,000 rows", _huge),
    Mutant("NoAnswer", "A02", "the model answers with an empty dict", _no_answer),
    Mutant("SetsEnvironment", "A03", "the constructor writes into os.environ", _sets_environment),
    Mutant("SetsDefaultDtype", "A03", "loading leaves torch's default dtype changed", _sets_default_dtype),
    Mutant("OneWidth", "A04", "only one width is marked as small", _one_width),
    Mutant(
        "BranchTakenAway",
        "A04",
        "`constrain` leaves one activation out",
        _branch_taken_away,
    ),
    Mutant("BoundRefused", "A04", "the config refuses the bound that it declares", _bound_refused),
    Mutant("OneShape", "A04", "the model has the same shapes whatever the config says", _one_shape),
)
