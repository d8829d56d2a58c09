"""Level 6: training goes where it should, can be interrupted, and costs no truth when it saves memory."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from nameplate_config import NameplateError
from nameplate_conformance.instruments.bits import Bits, bits, output_bits, require_same, state_bits
from nameplate_conformance.instruments.training import Step, descend, train_step, trainable, training_loss
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Strength, broken, inapplicable, law, require
from nameplate_model import PreTrainedModel

_RATES = tuple(2.0**-exponent for exponent in (2, 5, 8, 11, 14))
"""Rates of a descent, of which one is small enough for a model of any curvature."""

_STEPS = 2


@law("T01", "every parameter is trained", level=6, needs=["M10"])
def every_parameter_is_trained(case: Case, evidence: Evidence) -> None:
    """In training mode every parameter that is not frozen gets a finite gradient from the answers of the model. One
    that gets none was forgotten or cut off; if that is meant, the tag `unused_parameters` names it."""
    model = case.model()
    names = trainable(model)
    step = train_step(case, model)
    unused = case.architecture.tags.unused_parameters
    cut_off = [n for n in names if n not in step.gradients and not any(fnmatchcase(n, each) for each in unused)]
    require(not cut_off, f"no gradient reaches {', '.join(cut_off[:4])} of {len(names)}")
    wild = [name for name in step.gradients if not bool(names[name].grad.isfinite().all())]  # type: ignore[union-attr]
    require(not wild, f"the gradient is not finite: {', '.join(wild[:4])} of {len(names)}")
    evidence.count("gradients", len(step.gradients))


@law("T02", "checkpointing computes the same", level=6, needs=["M04", "M07", "T05"])
def checkpointing_computes_the_same(case: Case, evidence: Evidence) -> None:
    """With gradient checkpointing, reentrant or not, one step of training gives the same bits as without: the loss,
    every gradient, every buffer and the random state afterwards. The second run of a forward pass must not update
    a statistic twice nor drop other values."""
    _require_checkpointing(case)
    plain = train_step(case, case.model(), differentiable_inputs=True)
    for reentrant in (False, True):
        model: Any = case.model()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": reentrant})
        saving = train_step(case, model, differentiable_inputs=True)
        _require_same_step(plain, saving, evidence, when=f"checkpointed with use_reentrant={reentrant}")


def _require_same_step(one: Step, other: Step, evidence: Evidence, *, when: str) -> None:
    require_same({"loss": bits(one.loss)}, {"loss": bits(other.loss)}, evidence, what="losses", when=when)
    require_same(one.gradients, other.gradients, evidence, what="gradients", when=when)
    require_same(one.buffers, other.buffers, evidence, what="buffers", when=when)
    require(torch.equal(one.random, other.random), f"{when}: the random state afterwards differs")


@law("T03", "checkpointing is a switch", level=6, needs=["T02"])
def checkpointing_is_a_switch(case: Case, evidence: Evidence) -> None:
    """Switched on, gradient checkpointing really computes again in the backward pass; switched off, it does not, and
    `is_gradient_checkpointing` says which. A model that cannot be checkpointed refuses to be switched on, with one
    of our errors: who asks for it counts on the memory. The tag `gradient_checkpointing` must agree."""
    model: Any = case.model()
    supported, declared = bool(model.supports_gradient_checkpointing), case.architecture.tags.gradient_checkpointing
    require(declared in {None, supported}, f"the tag says {declared}, supports_gradient_checkpointing {supported}")
    if not supported:
        _require_refusal(model)
        evidence.count("refusals")
        return
    before = _backward_operations(case, model)
    require(not model.is_gradient_checkpointing, "it says that it is switched on, before it was")
    model.gradient_checkpointing_enable()
    require(model.is_gradient_checkpointing, "switched on, it says that it is not")
    on = _backward_operations(case, model)
    require(on > before, f"switched on, nothing is computed again: {on} operations in the backward pass, as without")
    model.gradient_checkpointing_disable()
    require(not model.is_gradient_checkpointing, "switched off, it says that it is not")
    off = _backward_operations(case, model)
    require(off == before, f"switched off, the backward pass has {off} operations, not {before} as before")
    evidence.count("operations computed again", on - before)


def _require_refusal(model: Any) -> None:
    try:
        model.gradient_checkpointing_enable()
    except NameplateError:
        return
    broken("it supports no checkpointing, and enabling it raises nothing")


def _require_checkpointing(case: Case) -> None:
    model = case.model()
    if not model.supports_gradient_checkpointing:
        inapplicable("the model cannot be checkpointed")
    trainable(model)


class _Counter(TorchDispatchMode):
    """Counts the operations that compute something."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += "detach" not in str(func)  # checkpointing detaches its inputs, even if it computes nothing
        return func(*args, **(kwargs or {}))


def _backward_operations(case: Case, model: PreTrainedModel) -> int:
    trainable(model.train())
    model.zero_grad()
    loss = training_loss(case, model)
    with _Counter() as counter:
        loss.backward()
    return counter.count


@law("T04", "training goes on after a load", level=6, needs=["S02", "T01", "T05"])
def training_goes_on_after_a_load(case: Case, evidence: Evidence) -> None:
    """A step, a save, a load and another step give the same bits as two steps in a row. Whatever a model counts,
    freezes or adapts while it trains is in its state dict, or it is lost when training is resumed."""
    model = case.model()
    trainable(model)
    descend(case, model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        resumed = case.model_class.from_pretrained(folder)
        for each in (model, resumed):
            descend(case, each)
        require_same(state_bits(model), state_bits(resumed), evidence, what="tensors", when="saved between two steps")


@law("T05", "training is decided by the seed", level=6, needs=["M03"])
def training_is_decided_by_the_seed(case: Case, evidence: Evidence) -> None:
    """In training mode, two models of the same config answer under the same seed with the same bits, and have the
    same buffers afterwards: dropout and the like draw from torch's random state and from nothing else."""
    models = [case.model().train() for _ in range(2)]
    answers: list[dict[str, Bits]] = []
    for model in models:
        torch.manual_seed(case.seed)
        answers.append(output_bits(case.answer(model)))
    require_same(answers[0], answers[1], evidence, what="outputs", when="trained again under the same seed")
    before, after = (state_bits(model) for model in models)
    require_same(before, after, evidence, what="tensors", when="trained again under the same seed")


@law("T06", "training on one batch lowers the loss", level=6, needs=["M04", "T01", "T05"], strength=Strength.SHOULD)
def training_on_one_batch_lowers_the_loss(case: Case, evidence: Evidence) -> None:
    """Steps of gradient descent on one and the same batch, at a rate that is small enough, lower the loss. A
    gradient that points the wrong way, and weights that every forward pass puts back, are finite numbers too: such a
    model trains for days and learns nothing."""
    start = _loss_after(case, 0.0)  # as many passes, so that a model may count them
    reached = []
    for rate in _RATES:
        reached.append(_loss_after(case, rate))
        if reached[-1] < start:
            evidence.count("losses", len(reached) + 1)
            return
    _require_slope(case)
    broken(f"the loss is {start:.6g}; after {_STEPS} steps on that batch, at rates of {_RATES}, it is {reached}")


def _require_slope(case: Case) -> None:
    """Say that the law does not apply to a model on level ground, where no step leads down."""
    model = case.model()
    parameters = trainable(model.train())
    training_loss(case, model).backward()
    if not any(each.grad is not None and bool(each.grad.any()) for each in parameters.values()):
        inapplicable("every gradient is zero: there is nowhere to go")


def _loss_after(case: Case, rate: float) -> float:
    model = case.model()
    for _ in range(_STEPS):
        descend(case, model, rate=rate)
    return training_loss(case, model).item()
