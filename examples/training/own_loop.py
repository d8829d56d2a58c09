"""A training loop of one's own: mixed precision, channels last, moving average, warm-up, and resumption to the bit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from examples.quickstart.digits import Split, load_splits, shifted
from examples.training.images import enlarged
from examples.training.judging import Epoch, evaluate
from examples.training.pictures import curves
from examples.training.recipe import Machine, Recipe, repeatable
from examples.training.run import Run
from torch import Tensor
from tqdm import tqdm

from nameplate_resnet import ResnetModelForImageClassification

_LONGEST_GRADIENT = 1.0
_EPOCHS_PER_PICTURE = 5


def train(recipe: Recipe, machine: Machine, folder: Path) -> tuple[ResnetModelForImageClassification, list[Epoch]]:
    """Train, or go on with the run in *folder*; return the averaged model and what each epoch was like."""
    images, held_out = load_splits()
    steps = len(images) // recipe.batch
    run = Run.begin(recipe, machine, steps)
    run.resume(folder / "checkpoints")
    total, done = recipe.epochs * steps, run.epoch * steps
    with (
        repeatable(machine.device),
        tqdm(total=total, initial=done, desc=f"training on {machine.device.type}", unit="batch", disable=None) as bar,
    ):
        while run.epoch < recipe.epochs:
            loss = _one_epoch(run, images, bar)
            found = evaluate(run.average.module, held_out, machine.device)
            rate = run.optimizer.param_groups[0]["lr"]
            run.history.append(Epoch(rate=rate, train_loss=loss, test_loss=found.loss, test_accuracy=found.accuracy))
            bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{found.accuracy:.2%}")
            run.save(folder / "checkpoints")
            if run.epoch % _EPOCHS_PER_PICTURE == 0:
                (folder / "curves.png").write_bytes(curves(run.history))
    return run.average.module, run.history


def _one_epoch(run: Run, images: Split, bar: "tqdm[Any]") -> float:
    """Train on every image once, and return the mean loss."""
    total = torch.zeros((), device=run.machine.device)  # stays there: to look at it would wait for the device
    steps = 0
    for pixel_values, labels in _batches(run, images):
        total += _one_step(run, pixel_values, labels)
        steps += 1
        bar.update()
    return total.item() / steps


def _one_step(run: Run, pixel_values: Tensor, labels: Tensor) -> Tensor:
    """Train on one batch, and return its loss."""
    with run.machine.autocast():
        loss: Tensor = run.model(pixel_values, labels)["loss"]
    run.optimizer.zero_grad(set_to_none=True)
    run.scaler.scale(loss).backward()
    run.scaler.unscale_(run.optimizer)
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), _LONGEST_GRADIENT)
    run.scaler.step(run.optimizer)
    run.scaler.update()
    run.step += 1
    run.schedule.step_update(run.step)
    run.average.update(run.model, step=run.step)
    return loss.detach()


def _batches(run: Run, images: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield every image once, in a new order and each moved a little; what does not fill a batch is left out."""
    size, device = run.recipe.batch, run.machine.device
    order = torch.randperm(len(images), generator=run.order)
    for batch in order.split(size)[: len(images) // size]:
        scans = shifted(images.scans[batch], run.order)
        pixel_values = enlarged(scans).to(device, memory_format=torch.channels_last, non_blocking=True)
        yield pixel_values, images.labels[batch].to(device, non_blocking=True)
