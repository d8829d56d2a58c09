"""Mutants of level 2: modules that are no function of their config and seed."""

from itertools import count

import torch
from torch import Tensor, nn

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of


def _fails_for_some_configs() -> Architecture:
    class OddModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            if self.config.width % 2 and self.config.act == "tanh":
                x = x.reshape(2, 2, -1)
            return super().forward(x)

    return of(OddModel)


def _changes_its_config() -> Architecture:
    class GreedyModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            config.scales = [*config.scales, float(config.width)]

    return of(GreedyModel)


def _hidden_counter() -> Architecture:
    built = count()

    class CountedModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            with torch.no_grad():
                self.norm.weight.fill_(float(next(built)))

    return of(CountedModel)


def _mutates_its_input() -> Architecture:
    class ScalingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return super().forward(x.mul_(0.5))

    return of(ScalingModel)


def _counts_in_evaluation() -> Architecture:
    class CountingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            self.get_buffer("offset").add_(1)
            return super().forward(x)

    return of(CountingModel)


def _leaves_training_mode() -> Architecture:
    class WakingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            answer = super().forward(x)
            self.dropout.train()
            return answer

    return of(WakingModel)


def _remembers_calls() -> Architecture:
    class RememberingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            self.calls = getattr(self, "calls", 0) + 1
            return {"y": super().forward(x)["y"] * self.calls}

    return of(RememberingModel)


def _noise_in_evaluation() -> Architecture:
    class NoisyModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            noise = torch.Generator().manual_seed(torch.initial_seed())
            return super().forward(x + torch.rand(x.shape, generator=noise).to(x.device))

    return of(NoisyModel)


def _plain_tensor() -> Architecture:
    class PlainModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.anchors = torch.linspace(0, 1, config.width)

    return of(PlainModel)


def _tensors_in_a_list() -> Architecture:
    class ListingModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.experts = [nn.Parameter(torch.ones(config.width)) for _ in range(config.depth)]

    return of(ListingModel)


def _escapes_meta() -> Architecture:
    class HostModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.register_buffer("table", torch.ones(config.width, device="cpu"))

    return of(HostModel)


def _reads_its_weights() -> Architecture:
    class ReadingModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.largest = float(self.norm.weight.max().item())

    return of(ReadingModel)


MODULE_MUTANTS = (
    Mutant("FailsForSomeConfigs", "M01", "odd widths with tanh crash", _fails_for_some_configs),
    Mutant("ChangesItsConfig", "M02", "the constructor writes into the config", _changes_its_config),
    Mutant("HiddenCounter", "M03", "weights depend on how many models were built before", _hidden_counter),
    Mutant("MutatesItsInput", "M04", "the input is scaled in place", _mutates_its_input),
    Mutant("CountsInEvaluation", "M04", "a buffer counts the calls", _counts_in_evaluation),
    Mutant("LeavesTrainingMode", "M04", "running it wakes a dropout up", _leaves_training_mode),
    Mutant("RemembersCalls", "M05", "the answer depends on earlier calls", _remembers_calls),
    Mutant("NoiseInEvaluation", "M05", "the answer depends on the seed", _noise_in_evaluation),
    Mutant("PlainTensor", "M06", "a tensor is a plain attribute", _plain_tensor),
    Mutant("TensorsInAList", "M06", "parameters are kept in a Python list", _tensors_in_a_list),
    Mutant("EscapesMeta", "M08", "a buffer is always built on the host", _escapes_meta),
    Mutant("ReadsItsWeights", "M08", "the constructor reads a value out of its own weights", _reads_its_weights),
)
