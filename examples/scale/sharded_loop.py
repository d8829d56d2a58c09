"""The training loop on many ranks: every rank has its share of each batch, and parts of every parameter.

Which images a step sees, and how they are moved, depends on the number of the step alone. So does what comes out, but
for the order in which the gradients of the ranks are added up.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from examples.quickstart.digits import Split, load_splits, shifted
from examples.scale.run import ShardedRun
from examples.training.images import enlarged
from examples.training.judging import Epoch, evaluate
from examples.training.recipe import Recipe, repeatable
from torch import Tensor, distributed
from torch.distributed.device_mesh import DeviceMesh
from tqdm import tqdm

_LONGEST_GRADIENT = 1.0
_SEEDS_BETWEEN = 1_000_000


def train(recipe: Recipe, mesh: DeviceMesh, folder: Path) -> list[Epoch]:
    """Train, or go on with the run in *folder*; return what each epoch was like. All ranks of the mesh call this."""
    images, held_out = load_splits()
    steps = len(images) // recipe.batch
    with repeatable(torch.device(mesh.device_type)):
        run = ShardedRun.begin(recipe, mesh, steps, folder / "checkpoints")
        quiet = True if distributed.get_rank() else None  # None: wherever there is no terminal
        total, done = recipe.epochs * steps, run.step
        with tqdm(total=total, initial=done, desc=f"training on {mesh.size()} ranks", disable=quiet) as bar:
            while run.epoch < recipe.epochs:
                loss = torch.zeros((), device=run.model.device)
                for pixel_values, labels in _batches(run, images):
                    loss += _one_step(run, pixel_values, labels)
                    bar.update()
                run.history.append(_judged(run, _sum(loss).item() / mesh.size() / steps, held_out))
                run.save(folder / "checkpoints")
    return run.history


def _one_step(run: ShardedRun, pixel_values: Tensor, labels: Tensor) -> Tensor:
    """Train on the share of this rank in one batch, and return its loss.

    FSDP2 takes the mean of what the ranks have, so a rank with more images counts more.
    """
    loss: Tensor = run.model(pixel_values, labels)["loss"] * (len(labels) * run.mesh.size() / run.recipe.batch)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(run.model.parameters(), _LONGEST_GRADIENT)
    run.optimizer.step()
    run.step += 1
    run.schedule.step_update(run.step)
    return loss.detach()


def _batches(run: ShardedRun, images: Split) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the share of this rank in each batch of the next epoch; what does not fill a batch is left out.

    Every rank draws the numbers for all images, so that they do not depend on how many ranks there are.
    """
    size, device = run.recipe.batch, run.model.device
    numbers = torch.Generator().manual_seed(run.recipe.seed * _SEEDS_BETWEEN + run.epoch)
    order = torch.randperm(len(images), generator=numbers)
    for batch in order.split(size)[: len(images) // size]:
        scans = shifted(images.scans[batch], numbers)
        mine = _share(run.mesh)
        pixel_values = enlarged(scans[mine]).to(device, memory_format=torch.channels_last)
        yield pixel_values, images.labels[batch][mine].to(device)


def _judged(run: ShardedRun, loss: float, held_out: Split) -> Epoch:
    """Return what an epoch was like; each rank judges its share of the held-out images."""
    mine = _share(run.mesh)
    share = Split(held_out.scans[mine], held_out.labels[mine])
    found = evaluate(run.model, share, run.model.device)
    sums = _sum(torch.tensor([found.loss, found.accuracy], dtype=torch.float64, device=run.model.device) * len(share))
    test_loss, test_accuracy = (sums / len(held_out)).tolist()
    rate = run.optimizer.param_groups[0]["lr"]
    return Epoch(rate=rate, train_loss=loss, test_loss=test_loss, test_accuracy=test_accuracy)


def _share(mesh: DeviceMesh) -> slice:
    """Return which images of several are those of this rank."""
    return slice(mesh.get_local_rank(), None, mesh.size())


def _sum(values: Tensor) -> Tensor:
    """Return the sum over all ranks, the same on each."""
    distributed.all_reduce(values)
    return values
