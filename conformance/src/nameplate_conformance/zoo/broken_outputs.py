"""Mutants of level 2: answers, copies and heads that are not what they are taken for."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_config import BackboneConfigMixin, Problem
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of
from nameplate_conformance.zoo.relatives import ZooBackbone, ZooClassifier


def _breaks_its_promise() -> Architecture:
    class TransposedModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"].unsqueeze(1)}

    healthy = of(TransposedModel)
    return Architecture(
        config=healthy.config,
        models=healthy.models,
        tags=healthy.tags,
        outputs=lambda config, inputs: {"y": ((len(inputs["x"]), config.width), torch.float32)},
        name="TransposedModel",
    )


def _infinite_answer() -> Architecture:
    class DividingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = super().forward(x)["y"]
            return {"y": y, "inverse": 1 / self.get_buffer("ramp").expand_as(y)}

    return of(DividingModel)


def _squeezes_one_row() -> Architecture:
    class SqueezingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            y = super().forward(x)["y"]
            return {"y": y} if len(y) > 1 else {"y": y, "row": y[0]}

    return of(SqueezingModel)


def _looks_at_other_rows() -> Architecture:
    class CentringModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return super().forward(x - x.mean(0, keepdim=True))

    return of(CentringModel)


def _cannot_be_pickled() -> Architecture:
    class LambdaModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.finish: Callable[[Tensor], Tensor] = lambda y: y + 1

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": self.finish(super().forward(x)["y"])}

    return of(LambdaModel)


def _copies_share_memory() -> Architecture:
    class ShallowModel(ZooModel):
        def __deepcopy__(self, memo: dict[int, Any]) -> Any:
            other = type(self)(self.config)
            other.load_state_dict(self.state_dict(), assign=True)
            return other.train(self.training)

    return of(ShallowModel)


def _loss_of_detached_logits() -> Architecture:
    class DetachedModel(ZooClassifier):
        def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return super().loss(logits.detach(), labels)

    return of(DetachedModel)


def _sums_the_loss() -> Architecture:
    class SummingModel(ZooClassifier):
        def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits, labels, reduction="sum")

    return of(SummingModel)


def _labels_change_the_logits() -> Architecture:
    class PeekingModel(ZooClassifier):
        def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
            answer = super().forward(x, labels)
            if labels is None:
                return answer
            return answer | {"logits": answer["logits"].softmax(-1)}

    return of(PeekingModel)


def _claims_other_channels() -> Architecture:
    class WideModel(ZooBackbone):
        @property
        def channels(self) -> list[int]:
            return [self.config.width * 2**number for number, _ in enumerate(self.out_indices, start=1)]

    return of(WideModel)


def _answers_every_stage() -> Architecture:
    class GenerousModel(ZooBackbone):
        def forward(self, x: Tensor) -> dict[str, Any]:  # type: ignore[override]
            return {"feature_maps": [*self.stages(x), x]}

    return of(GenerousModel)


def _takes_a_stage_twice() -> Architecture:
    class StagedConfig(BackboneConfigMixin, ZooConfig):
        stage_names = ("first", "last")

        def validate_out_stages(self) -> Iterator[Problem]:
            numbers = self.out_indices or ()
            if len(set(numbers)) == len(numbers):
                yield from super().validate_out_stages()

    class StagedModel(ZooBackbone):
        config_class = StagedConfig
        stage_names = ["first", "last"]  # noqa: RUF012 - nobody changes it
        out_indices = (1,)

        def stages(self, x: Tensor) -> list[Tensor]:
            return super().stages(x)[:1] + super().stages(x)[-1:]

    return of(StagedModel)


def _stays_as_in_training() -> Architecture:
    class StickyModel(ZooModel):
        temperature = 1.0

        def train(self, mode: bool = True) -> Any:
            if mode:
                self.temperature = 2.0
            return super().train(mode)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] / self.temperature}

    return of(StickyModel)


def _mode_stops_halfway() -> Architecture:
    class DeafReLU(nn.ReLU):
        def train(self, mode: bool = True) -> Any:  # noqa: ARG002 - as torch declares it
            return self

    class HalfwayModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.last = DeafReLU()

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": self.last(super().forward(x)["y"])}

    return of(HalfwayModel)


def _another_head_costs_the_body() -> Architecture:
    class RebuildingModel(ZooClassifier):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if "num_classes" not in kwargs:
                return model
            fresh = cls(model.config).eval()
            fresh.load_report = model.load_report
            return fresh

    return of(RebuildingModel)


def _reset_touches_the_norm() -> Architecture:
    class ResettingModel(ZooClassifier):
        def reset_classifier(self, num_classes: int) -> None:
            self.head = nn.Linear(self.config.width, num_classes)
            self.norm.reset_parameters()

    return of(ResettingModel)


OUTPUT_MUTANTS = (
    Mutant("BreaksItsPromise", "M10", "the answer has another shape than is promised", _breaks_its_promise),
    Mutant("InfiniteAnswer", "M10", "an output divides by zero", _infinite_answer),
    Mutant("SqueezesOneRow", "M10", "a batch of one row is answered with another output", _squeezes_one_row),
    Mutant("LooksAtOtherRows", "M13", "inputs are centred over the batch", _looks_at_other_rows),
    Mutant("CannotBePickled", "M14", "the constructor keeps a lambda", _cannot_be_pickled),
    Mutant("CopiesShareMemory", "M14", "a copy has the tensors of the original", _copies_share_memory),
    Mutant("LossOfDetachedLogits", "M15", "the loss cannot be trained on", _loss_of_detached_logits),
    Mutant("SumsTheLoss", "M15", "the loss is a sum, not a mean", _sums_the_loss),
    Mutant("LabelsChangeTheLogits", "M15", "given labels, logits are probabilities", _labels_change_the_logits),
    Mutant("ClaimsOtherChannels", "M16", "channels are computed, and wrong", _claims_other_channels),
    Mutant("AnswersEveryStage", "M16", "more feature maps than stages asked for", _answers_every_stage),
    Mutant("TakesAStageTwice", "M16", "the config takes a stage twice", _takes_a_stage_twice),
    Mutant("StaysAsInTraining", "M17", "train() sets a number that eval() leaves", _stays_as_in_training),
    Mutant("ModeStopsHalfway", "M17", "a module ignores the mode", _mode_stops_halfway),
    Mutant("AnotherHeadCostsTheBody", "M18", "the body is built anew with the head", _another_head_costs_the_body),
    Mutant("ResetTouchesTheNorm", "M18", "reset_classifier resets a norm too", _reset_touches_the_norm),
)
