"""Laws about ranks: whom they judge, what they say of those they cannot judge, and what becomes of a dead rank."""

import os
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor
from torch import distributed as dist

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.instruments.bits import bits
from nameplate_conformance.instruments.in_ranks import packed, unpacked
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.trial import Trial
from nameplate_conformance.law import all_laws
from nameplate_conformance.result import Result, Status
from nameplate_conformance.zoo.broken_ranks import PlannedModel
from nameplate_conformance.zoo.reference import ZooModel, of

LAWS_OF_RANKS = ("K05", "K06", "K07", "K08", "K09", "F08", "F09")


def judged(law: str, architecture: Architecture, profile: str = "glance") -> Result:
    """Return what one law finds, whatever it needs."""
    return Trial(Cell(architecture, all_laws()[law], "cpu"), PROFILES[profile]).result()


@pytest.fixture
def _found_by_ranks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let other processes import this module, whichever way these tests were started."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[2]))


class DyingModel(ZooModel):
    """Ends its process when it is run on a rank other than the first."""

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Answer, or not."""
        if dist.is_initialized() and dist.get_rank():
            os._exit(3)
        return super().forward(x)


class WideModel(ZooModel):
    """Has a layer that two ranks can share, whatever the config says."""

    sharding_plan: ClassVar[Any] = {"added": "colwise_rep"}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.added = torch.nn.Linear(config.width, 3)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": super().forward(x)["y"] + self.added(x).sum()}


@pytest.mark.usefixtures("_found_by_ranks")
def test_a_declared_plan_is_judged():
    """The plan of a class is tried, with evidence; its uneven slices are put together again."""
    result = judged("K08", of(WideModel))

    assert result.status is Status.PASS, result.message
    assert result.evidence["tensors"] > 0


def test_a_plan_does_not_apply_to_a_model_that_is_too_small():
    """A plan that one rank can follow and two cannot, for a layer of one row, breaks no law."""
    result = judged("K08", of(PlannedModel))

    assert (result.status, result.message[:58]) == (
        Status.NOT_APPLICABLE,
        "the model of this config is too small for its plan: The pl",
    )


@pytest.mark.parametrize("law", LAWS_OF_RANKS)
def test_a_class_that_nobody_can_import_is_not_judged(law: str):
    """Ranks are other processes: a class inside of a function is none of theirs, and the verdict says so."""

    class LocalModel(PlannedModel):
        pass

    result = judged(law, of(LocalModel))

    assert (result.status, result.message) == (
        Status.NOT_APPLICABLE,
        "its model class is in no module from which another process could import it",
    )


@pytest.mark.usefixtures("_found_by_ranks")
def test_a_rank_that_dies_is_blamed_on_what_it_was_doing():
    """Where one errand of a world kills a rank, its law fails and says so, and the laws about the others still hold."""
    loaded, ran = judged("K05", of(DyingModel)), judged("K09", of(DyingModel))

    assert loaded.status is Status.PASS, loaded.message
    assert (ran.status, ran.message) == (Status.FAIL, "run in slices: rank 1 ends with code 3")


@pytest.mark.parametrize(
    "tensor",
    [
        torch.tensor(1.5, dtype=torch.bfloat16),
        torch.empty(0, 3, dtype=torch.float64),
        torch.tensor([[True], [False]]),
        torch.tensor([1 + 2j, float("nan")]),
        torch.arange(6).reshape(2, 3).t(),
    ],
    ids=["no axis", "no element", "bool", "complex", "transposed"],
)
def test_tensors_travel_bit_by_bit(tensor: Tensor):
    """What a rank packs is unpacked with its dtype, its shape and its bytes."""
    assert bits(unpacked(packed(tensor))) == bits(tensor)
