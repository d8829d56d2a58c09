"""Steps of training as laws see them: one number to minimise, its gradients, and what the step left behind."""

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.instruments.answers import named
from nameplate_conformance.instruments.bits import Bits, bits, every_tensor
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import inapplicable, require
from nameplate_model import PreTrainedModel

_RATE = 0.125  # a power of two: the multiplication is exact
_SEED = 7


@dataclass(frozen=True, slots=True)
class Step:
    """One forward and backward pass.

    Attributes:
        loss: The number to minimise.
        gradients: The bits of the gradient of each trainable parameter; those that got none are absent.
        buffers: The bits of every buffer afterwards.
        random: The random state afterwards.
    """

    loss: Tensor
    gradients: Mapping[str, Bits]
    buffers: Mapping[str, Bits]
    random: Tensor


def trainable(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the parameters that are trained; a law that asks does not apply where there are none."""
    found = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    if not found:
        inapplicable("the model has nothing to train")
    return found


def training_loss(case: Case, model: PreTrainedModel, *, differentiable_inputs: bool = False) -> Tensor:
    """Run a model in training mode under a fixed seed and return one number that depends on every output.

    Args:
        case: Gives the inputs.
        model: The model, in the mode that it is in.
        differentiable_inputs: Whether gradients flow into floating inputs too, as reentrant checkpointing needs.
    """
    inputs = case.inputs(model)
    if differentiable_inputs:
        inputs = {name: value.requires_grad_(value.is_floating_point()) for name, value in inputs.items()}
    torch.manual_seed(_SEED)
    return objective(model(**inputs))


def objective(answer: Any) -> Tensor:
    """Return a weighted sum of everything that an answer holds and that can be differentiated.

    The weights are arbitrary but fixed: behind a normalisation, the gradient of a plain sum is zero.
    """
    terms = []
    for name, tensor in named(answer).items():
        if not tensor.requires_grad:
            continue
        real = torch.view_as_real(tensor) if tensor.is_complex() else tensor
        generator = torch.Generator().manual_seed(zlib.crc32(name.encode()))
        weights = torch.rand(real.shape, generator=generator).to(real.device)
        terms.append((real.float() * weights).sum())
    require(terms, "no output can be differentiated, though there are parameters to train")
    return torch.stack(terms).sum()


def train_step(case: Case, model: PreTrainedModel, *, differentiable_inputs: bool = False) -> Step:
    """Run a model in training mode forwards and backwards and return what came of it."""
    parameters = trainable(model.train())
    model.zero_grad()
    loss = training_loss(case, model, differentiable_inputs=differentiable_inputs)
    loss.backward()
    gradients = {name: bits(each.grad) for name, each in parameters.items() if each.grad is not None}
    buffers = {name: bits(tensor) for name, tensor in every_tensor(model).items() if name not in parameters}
    return Step(loss.detach(), gradients, buffers, torch.get_rng_state())


def descend(case: Case, model: PreTrainedModel, *, rate: float = _RATE) -> None:
    """Make one step of plain gradient descent."""
    parameters = trainable(model.train())
    model.zero_grad()
    training_loss(case, model).backward()
    with torch.no_grad():
        for parameter in parameters.values():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad, alpha=rate)
