"""Timing a ResNet-18 of ours against timm's bare network, step by step in turn, in a process that does nothing else.

All have the same weights and get the same images. What is timed is processor time of one thread. A ratio is that of two
steps of the same turn, so that a machine that drifts changes both; who goes first changes with each turn. A second
network of timm shows what a ratio is where there is no difference.
"""

import copy
import json
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import timm
import torch
from torch import Tensor, nn

from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification

Loss = Callable[[Tensor, Tensor], Tensor]
"""Makes one number of images and labels."""

_NAME = "resnet18"
_IMAGES = (2, 3, 64, 64)
_CLASSES = 1000
_WARM = 5
_TURNS = {"forward": 150, "training": 80}


def main(*, compiled: bool) -> None:
    """Time the forward pass and the training step of each side, and print the answers.

    Args:
        compiled: Whether `torch.compile` has the networks.
    """
    torch.set_num_threads(1)
    model = ResnetModelForImageClassification(ResnetConfig.from_timm(_NAME))
    network: nn.Module = timm.create_model(_NAME)
    network.load_state_dict(model.model.state_dict())
    sides = {"ours": model, "timm": network, "again": copy.deepcopy(network)}
    run = {side: _as_run(each, compiled=compiled) for side, each in sides.items()}
    images, labels = torch.rand(_IMAGES), torch.randint(_CLASSES, _IMAGES[:1])
    answers = _compared("forward", {side: _forward(each.eval(), images) for side, each in run.items()})
    losses = {side: _loss_of_ours(each) if side == "ours" else _loss_of_timm(each) for side, each in run.items()}
    steps = {side: _training(each.train(), losses[side], images, labels) for side, each in run.items()}
    print(json.dumps(answers | _compared("training", steps)))


def _as_run(network: nn.Module, *, compiled: bool) -> nn.Module:
    made: Any = torch.compile(network) if compiled else network
    return made


def _forward(network: nn.Module, images: Tensor) -> Callable[[], None]:
    def step() -> None:
        with torch.no_grad():
            network(images)

    return step


def _loss_of_ours(model: nn.Module) -> Loss:
    return lambda images, labels: model(images, labels)["loss"]


def _loss_of_timm(network: nn.Module) -> Loss:
    return lambda images, labels: nn.functional.cross_entropy(network(images), labels)


def _training(network: nn.Module, loss: Loss, images: Tensor, labels: Tensor) -> Callable[[], None]:
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-4)

    def step() -> None:
        optimizer.zero_grad()
        loss(images, labels).backward()
        optimizer.step()

    return step


def _compared(name: str, steps: Mapping[str, Callable[[], None]]) -> dict[str, float]:
    """Return the median of each side in milliseconds, and the medians of the ratios of the same turn."""
    order = list(steps)
    turns: list[dict[str, float]] = []
    for turn in range(_WARM + _TURNS[name]):
        place = turn % len(order)
        turns.append({side: _milliseconds(steps[side]) for side in order[place:] + order[:place]})
    timed = turns[_WARM:]
    return {
        **{f"{name}: {side}": median(turn[side] for turn in timed) for side in order},
        f"{name}: ratio": median(turn["ours"] / turn["timm"] for turn in timed),
        f"{name}: control": median(turn["again"] / turn["timm"] for turn in timed),
    }


def _milliseconds(step: Callable[[], None]) -> float:
    started = time.process_time()
    step()
    return 1000 * (time.process_time() - started)
