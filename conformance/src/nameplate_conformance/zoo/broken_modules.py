"""Mutants of level 2: modules that are no function of their config and seed."""

from itertools import count
from typing import Any

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


def _shared_between_models() -> Architecture:
    gate = nn.Parameter(torch.ones(1))

    class FamilyModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.gate = gate

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] * self.gate}

    return of(FamilyModel)


def _tied_by_chance() -> Architecture:
    built = count()

    class MoodyModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.inner, self.outer = (nn.Parameter(torch.ones(config.width)) for _ in range(2))
            if next(built) % 2:
                self.outer = self.inner

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x * self.inner)["y"] * self.outer}

    return of(MoodyModel)


def _declares_a_tie_it_lacks() -> Architecture:
    class LooseModel(ZooModel):
        _tied_weights_keys = ("decoder.weight",)

        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.decoder = nn.Linear(config.width, config.width)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": self.decoder(super().forward(x)["y"])}

    return of(LooseModel)


def _uninitialised_buffer() -> Architecture:
    class QueueModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.register_buffer("queue", torch.empty(4, config.width))

    return of(QueueModel)


def _missing_means_zero() -> Architecture:
    class ZeroingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            state = model.state_dict(keep_vars=True)
            with torch.no_grad():
                for name in model.load_report.missing:
                    state[name].zero_()
            return model

    return of(ZeroingModel)


def _table_for_tests_only() -> Architecture:
    class ShortModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.register_buffer("positions", torch.arange(4.0))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return super().forward(x + self.get_buffer("positions")[: self.config.width])

    return of(ShortModel)


def _dead_field() -> Architecture:
    class ForgetfulModel(ZooModel):
        def blocks(self, config: ZooConfig) -> list[nn.Module]:
            layers = [nn.Linear(config.width, config.width) for _ in range(config.depth)]
            return [module for layer in layers for module in (layer, nn.ReLU() if config.act == "relu" else nn.Tanh())]

    return of(ForgetfulModel)


def _passive_field_counts() -> Architecture:
    class ScaledModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] * sum(self.config.scales)}

    return of(ScaledModel)


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
    Mutant("SharedBetweenModels", "M07", "all models share one parameter", _shared_between_models),
    Mutant("TiedByChance", "M07", "every second model has a tie", _tied_by_chance),
    Mutant("DeclaresATieItLacks", "M07", "a declared tie was never tied", _declares_a_tie_it_lacks),
    Mutant("UninitialisedBuffer", "M09", "a buffer is built by torch.empty and never filled", _uninitialised_buffer),
    Mutant("MissingMeansZero", "M09", "what the file lacks is zero after a load", _missing_means_zero),
    Mutant("TableForTestsOnly", "M11", "a table is too short for the default config", _table_for_tests_only),
    Mutant("DeadField", "M12", "a field is not handed on", _dead_field),
    Mutant("PassiveFieldCounts", "M12", "a field that is declared passive changes the answer", _passive_field_counts),
    Mutant("EscapesMeta", "M08", "a buffer is always built on the host", _escapes_meta),
    Mutant("ReadsItsWeights", "M08", "the constructor reads a value out of its own weights", _reads_its_weights),
)
