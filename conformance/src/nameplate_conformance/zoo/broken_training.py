"""Mutants of level 6: training that forgets, double counts or depends on the weather, and programs that differ."""

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of, reference
from nameplate_conformance.zoo.relatives import ZooTower


def _unused_parameter() -> Architecture:
    class SpareModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.spare = nn.Linear(config.width, config.width)

    return of(SpareModel)


def _cut_off() -> Architecture:
    class DetachingModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            hidden = self.layers(x).detach()
            return {"y": self.norm(self.dropout(hidden)) + self.get_buffer("offset") + self.get_buffer("ramp")}

    return of(DetachingModel)


def _gradient_is_no_number() -> Architecture:
    class RootedModel(ZooModel):
        def __init__(self, config: ZooConfig) -> None:
            super().__init__(config)
            self.gain = nn.Parameter(torch.zeros(config.width))

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            return {"y": super().forward(x)["y"] + (self.gain * self.gain).sqrt()}

    return of(RootedModel)


def _counts_batches_twice() -> Architecture:
    class TwiceModel(ZooTower):
        supports_gradient_checkpointing = True  # type: ignore[assignment]
        is_gradient_checkpointing = False  # type: ignore[assignment]

        def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Any = None, **_: Any) -> None:
            self.is_gradient_checkpointing = True
            self.options: dict[str, Any] = {"use_reentrant": False, **(gradient_checkpointing_kwargs or {})}

        def gradient_checkpointing_disable(self) -> None:
            self.is_gradient_checkpointing = False

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            for block in self.layers:
                x = checkpoint(block, x, **self.options) if self.is_gradient_checkpointing else block(x)
            return {"y": self.norm(self.dropout(x)) + self.get_buffer("offset") + self.get_buffer("ramp")}

    return of(TwiceModel)


def _forgets_the_random_state() -> Architecture:
    class DriftingModel(ZooTower):
        def gradient_checkpointing_enable(self, gradient_checkpointing_kwargs: Any = None, **options: Any) -> None:
            super().gradient_checkpointing_enable(
                {**(gradient_checkpointing_kwargs or {}), "preserve_rng_state": False}, **options
            )

    return of(DriftingModel)


class _Saying(ZooTower):
    """Says whether it is checkpointing by a flag of its own."""

    said = False

    @property
    def is_gradient_checkpointing(self) -> bool:
        """What was said last."""
        return self.said


def _only_says_so() -> Architecture:
    class PretendingModel(_Saying):
        def gradient_checkpointing_enable(self, *_: Any, **__: Any) -> None:
            self.said = True

        def gradient_checkpointing_disable(self) -> None:
            self.said = False

    return of(PretendingModel)


def _cannot_be_switched_off() -> Architecture:
    class StubbornModel(_Saying):
        def gradient_checkpointing_enable(self, *args: Any, **kwargs: Any) -> None:
            super().gradient_checkpointing_enable(*args, **kwargs)
            self.said = True

        def gradient_checkpointing_disable(self) -> None:
            self.said = False

    return of(StubbornModel)


def _enables_what_it_lacks() -> Architecture:
    class YesModel(ZooModel):
        def gradient_checkpointing_enable(self, *_: Any, **__: Any) -> None:
            return

    return of(YesModel)


def _counts_outside_its_state() -> Architecture:
    class WarmingModel(ZooModel):
        steps = 0

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            if not self.training:
                return super().forward(x)
            self.steps += 1
            return {"y": super().forward(x)["y"] * min(1.0, self.steps / 4)}

    return of(WarmingModel)


@contextmanager
def _loading_thaws() -> Iterator[None]:
    """Break the reference so that its first layer is frozen, and loading so that it no longer is."""
    build = ZooModel.__init__

    def init(self: ZooModel, config: ZooConfig) -> None:
        build(self, config)
        self.layers[0].requires_grad_(requires_grad=False)

    def load(cls: type[ZooModel], source: Any, **kwargs: Any) -> Any:
        found = super(ZooModel, cls).from_pretrained(source, **kwargs)
        model = found[0] if isinstance(found, tuple) else found  # with what was loaded, if that was asked for
        model.requires_grad_()
        return found

    ZooModel.__init__ = init  # type: ignore[method-assign]
    ZooModel.from_pretrained = classmethod(load)  # type: ignore[method-assign,assignment]
    try:
        yield
    finally:
        ZooModel.__init__ = build  # type: ignore[method-assign]
        del ZooModel.from_pretrained


def _draws_from_python() -> Architecture:
    class StochasticModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            depth = random.random() if self.training else 1.0  # noqa: S311 - the mistake
            return {"y": super().forward(x)["y"] * depth}

    return of(StochasticModel)


def _shortcut_when_exported() -> Architecture:
    class ShorteningModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            if torch.compiler.is_exporting():
                return {"y": self.layers(x)}
            return super().forward(x)

    return of(ShorteningModel)


def _breaks_the_graph() -> Architecture:
    class SeveredModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            if not torch.compiler.is_exporting():
                torch._dynamo.graph_break()  # noqa: SLF001 - the mistake
            return super().forward(x)

    return of(SeveredModel)


def _shortcut_when_compiled() -> Architecture:
    class HastyModel(ZooModel):
        def forward(self, x: Tensor) -> dict[str, Tensor]:
            if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
                return {"y": self.layers(x)}
            return super().forward(x)

    return of(HastyModel)


TRAINING_MUTANTS = (
    Mutant("UnusedParameter", "T01", "a layer is built and never called", _unused_parameter),
    Mutant("CutOff", "T01", "a detach in the middle stops the gradient", _cut_off),
    Mutant("GradientIsNoNumber", "T01", "the root of a square, at zero", _gradient_is_no_number),
    Mutant("CountsBatchesTwice", "T02", "checkpointing updates statistics twice", _counts_batches_twice),
    Mutant("ForgetsTheRandomState", "T02", "checkpointing drops other values", _forgets_the_random_state),
    Mutant("OnlySaysSo", "T03", "checkpointing is switched on and does nothing", _only_says_so),
    Mutant("CannotBeSwitchedOff", "T03", "checkpointing stays on", _cannot_be_switched_off),
    Mutant(
        "EnablesWhatItLacks", "T03", "asked for a checkpointing that it lacks, it says nothing", _enables_what_it_lacks
    ),
    Mutant("CountsOutsideItsState", "T04", "a warm-up begins anew after a load", _counts_outside_its_state),
    Mutant("LoadingThaws", "T04", "loading thaws what is frozen", reference, _loading_thaws),
    Mutant("DrawsFromPython", "T05", "stochastic depth draws from Python's random", _draws_from_python),
    Mutant("ShortcutWhenExported", "K01", "the exported program leaves the norm out", _shortcut_when_exported),
    Mutant("BreaksTheGraph", "K02", "forward cannot be captured as one graph", _breaks_the_graph),
    Mutant("ShortcutWhenCompiled", "K02", "the compiled program leaves the norm out", _shortcut_when_compiled),
)
