"""Mutants of levels 5 and 6: models that stay in memory, overflow when narrow, unlearn, or puzzle the tools."""

from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of

_MASKED = -1e9
"""What people fill masks with: a float16 has no such number."""


def _keeps_every_model() -> Architecture:
    class HoardingModel(ZooModel):
        built: list[nn.Module] = []  # noqa: RUF012 - the mistake

        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.built.append(self)

    return of(HoardingModel)


def _caches_what_it_read() -> Architecture:
    class CachingModel(ZooModel):
        read: list[dict[str, Tensor]] = []  # noqa: RUF012 - the mistake

        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            cls.read.append({name: tensor.detach() for name, tensor in model.state_dict().items()})
            return model

    return of(CachingModel)


def _masks_with_a_huge_number() -> Architecture:
    class MaskingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = super().forward(x)["y"]
            ranks = torch.tensor(_MASKED).to(x.dtype) * (x < 0)  # there is nothing to mask, and infinity times 0 is NaN
            return {"y": y + ranks}

    return of(MaskingModel)


def _makes_its_own_float32() -> Architecture:
    class FixedModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] @ torch.eye(self.config.width, device=x.device)}

    return of(FixedModel)


class _Reversed(torch.autograd.Function):
    """The identity, whose gradient points the other way, as domains are adapted with."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor) -> Tensor:  # type: ignore[override]
        """Return the inputs."""
        return x.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        """Keep nothing."""

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # type: ignore[override]
        """Return the opposite of the gradient."""
        del ctx
        return -gradient


def _climbs() -> Architecture:
    class ClimbingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = super().forward(x)["y"]
            return {"y": _Reversed.apply(y) if self.training else y}

    return of(ClimbingModel)


def _doubles_gradients_when_compiled() -> Architecture:
    class DoublingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = super().forward(x)["y"]
            if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
                y = 2 * y - y.detach()  # the same numbers, twice the gradient
            return {"y": y}

    return of(DoublingModel)


def _asks_for_its_rows() -> Architecture:
    class AskingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = super().forward(x)["y"]
            return {"y": y if len(x) else -y}

    return of(AskingModel)


RUNNING_MUTANTS = (
    Mutant("KeepsEveryModel", "D08", "a list at the class holds every model that was built", _keeps_every_model),
    Mutant("CachesWhatItRead", "D08", "a cache at the class holds every state that was loaded", _caches_what_it_read),
    Mutant("MasksWithAHugeNumber", "D09", "a mask of -1e9 is infinite in float16", _masks_with_a_huge_number),
    Mutant("MakesItsOwnFloat32", "D09", "forward makes a tensor of the default dtype", _makes_its_own_float32),
    Mutant("Climbs", "T06", "the gradient points the other way", _climbs),
    Mutant("DoublesGradients", "K03", "compiled, the gradient is twice as large", _doubles_gradients_when_compiled),
    Mutant("AsksForItsRows", "K04", "forward asks for a number that is not known yet", _asks_for_its_rows),
)
