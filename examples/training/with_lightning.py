"""The same training by Lightning: a module around the model, and a callback that saves as `from_pretrained` loads."""

import logging
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from examples.quickstart.digits import load_splits
from examples.training.images import Digits
from examples.training.judging import Epoch
from examples.training.recipe import Machine, Recipe, new_model, new_optimizer, new_schedule, repeatable
from lightning import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities import disable_possible_user_warnings
from timm.scheduler import CosineLRScheduler
from torch import Tensor
from torch.nn import functional
from torch.utils.data import DataLoader

from nameplate_resnet import ResnetModelForImageClassification

_PRECISIONS: dict[str, Any] = {"float32": "32-true", "bfloat16": "bf16-mixed", "float16": "16-mixed"}
_LONGEST_GRADIENT = 1.0
_JUDGED_AT_ONCE = 256


class Classifier(LightningModule):
    """What Lightning trains: the model, what a step is, and what each epoch was like."""

    def __init__(self, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.model = new_model(recipe)
        self.history: list[Epoch] = []
        self._recipe = recipe
        self._steps = steps
        self._losses: list[Tensor] = []
        self._judged: list[tuple[Tensor, Tensor]] = []

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its schedule, of which timm's are told the number of each step."""
        optimizer = new_optimizer(self.model, self._recipe)
        schedule = new_schedule(optimizer, self._recipe, self._steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def lr_scheduler_step(self, scheduler: Any, metric: Any) -> None:
        """Tell the schedule the number of the step."""
        del metric
        schedule: CosineLRScheduler = scheduler
        schedule.step_update(self.global_step)

    def training_step(self, batch: dict[str, Tensor]) -> Tensor:  # pyrefly: ignore[bad-override]  # as Lightning wants
        """Return the loss of a batch."""
        loss: Tensor = self.model(**batch)["loss"]
        self._losses.append(loss.detach())
        return loss

    def validation_step(self, batch: dict[str, Tensor]) -> None:  # pyrefly: ignore[bad-override]  # as above
        """Remember what the model makes of a batch."""
        self._judged.append((self.model(batch["pixel_values"])["logits"].float(), batch["labels"]))

    def on_validation_epoch_end(self) -> None:
        """Write down what the epoch was like."""
        logits, labels = (torch.cat(each) for each in zip(*self._judged, strict=True))
        epoch = Epoch(
            rate=self.trainer.optimizers[0].param_groups[0]["lr"],
            train_loss=torch.stack(self._losses).mean().item(),
            test_loss=functional.cross_entropy(logits, labels).item(),
            test_accuracy=(logits.argmax(1) == labels).double().mean().item(),
        )
        self.history.append(epoch)
        self._losses.clear()
        self._judged.clear()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the history and the random numbers into Lightning's checkpoint, which has no place for them."""
        checkpoint["history"] = [asdict(each) for each in self.history]
        checkpoint["random"] = torch.get_rng_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take them out again."""
        self.history = [Epoch(**each) for each in checkpoint["history"]]
        torch.set_rng_state(checkpoint["random"].cpu())


class SavesPretrained(Callback):
    """Saves the model after each epoch as others load it: without Lightning, and without this program."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save; a reader sees the model of this epoch or of the last, never a mix."""
        if isinstance(pl_module, Classifier) and trainer.is_global_zero:
            pl_module.model.save_pretrained(self._folder)


def train(recipe: Recipe, machine: Machine, folder: Path) -> tuple[ResnetModelForImageClassification, list[Epoch]]:
    """Train, or go on with the run in *folder*; return the model and what each epoch was like."""
    images, held_out = load_splits()
    loader = DataLoader(Digits(images, moved=True), batch_size=recipe.batch, shuffle=True, drop_last=True)
    module = Classifier(recipe, len(loader))
    if machine.gradient_checkpointing:
        module.model.gradient_checkpointing_enable()
    last = folder / "checkpoints" / "last.ckpt"
    with repeatable(machine.device), _quiet():
        trainer = _trainer(recipe, machine, folder)
        judged = DataLoader(Digits(held_out), batch_size=_JUDGED_AT_ONCE)
        trainer.fit(module, loader, judged, ckpt_path=last if last.exists() else None)
    return module.model.cpu(), module.history


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what Lightning says of every training: its devices, no workers, and that it goes on in a folder."""
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        disable_possible_user_warnings()
        warnings.filterwarnings("ignore", "Checkpoint directory .* is not empty", UserWarning)
        warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # Lightning 2.6 with torch 2.15
        yield


def _trainer(recipe: Recipe, machine: Machine, folder: Path) -> Trainer:
    """Return a trainer of Lightning's that says nothing where there is no terminal."""
    return Trainer(
        max_epochs=recipe.epochs,
        accelerator="gpu" if machine.device.type == "cuda" else "cpu",
        devices=1,
        precision=_PRECISIONS[machine.precision],
        gradient_clip_val=_LONGEST_GRADIENT,
        default_root_dir=folder,
        callbacks=[ModelCheckpoint(folder / "checkpoints", save_last=True), SavesPretrained(folder / "model")],
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=sys.stderr.isatty(),
        enable_model_summary=False,
    )
