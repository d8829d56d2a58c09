"""A run: everything that training changes, and its checkpoints, from which it goes on as if it had never stopped.

A checkpoint is a folder that appears in one step, and holds one epoch of everything::

    checkpoints/epoch-0007/model/         the model, as `save_pretrained` writes it
                           ema/           the moving average of its weights, likewise
                           training.pt    optimizer, schedule, scaler, random numbers, recipe and history
"""

import io
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from examples.training.judging import Epoch
from examples.training.recipe import Machine, Recipe, new_model, new_optimizer, new_schedule
from timm.scheduler import CosineLRScheduler
from timm.utils import ModelEmaV3

from nameplate_config.files import flush_folder, replace_file
from nameplate_model import load_weights
from nameplate_resnet import ResnetModelForImageClassification

_EPOCH = re.compile(r"epoch-(\d{4,})")


@dataclass(kw_only=True)
class Run:
    """Everything that training changes.

    Attributes:
        recipe: The numbers that it was begun with.
        machine: How the arithmetic is done.
        model: The model in training.
        average: The moving average of its weights, which is judged and kept.
        optimizer: With what it remembers of each parameter.
        schedule: Of the learning rate.
        scaler: Keeps small gradients from vanishing in float16; does nothing otherwise.
        order: The random numbers that shuffle and move the images.
        history: One entry for each epoch that is done.
        step: How many steps are done.
    """

    recipe: Recipe
    machine: Machine
    model: ResnetModelForImageClassification
    average: ModelEmaV3
    optimizer: torch.optim.AdamW
    schedule: CosineLRScheduler
    scaler: torch.amp.GradScaler
    order: torch.Generator
    history: list[Epoch] = field(default_factory=list)
    step: int = 0

    @classmethod
    def begin(cls, recipe: Recipe, machine: Machine, steps: int) -> "Run":
        """Return a run that has done nothing yet, of epochs of so many *steps*."""
        model = new_model(recipe).to(memory_format=torch.channels_last).to(machine.device)
        average = ModelEmaV3(model, decay=recipe.ema_decay, use_warmup=True)
        if machine.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        optimizer = new_optimizer(model, recipe)
        return cls(
            recipe=recipe,
            machine=machine,
            model=model.train(),
            average=average,
            optimizer=optimizer,
            schedule=new_schedule(optimizer, recipe, steps),
            scaler=torch.amp.GradScaler(machine.device.type, enabled=machine.precision == "float16"),
            order=torch.Generator().manual_seed(recipe.seed),
        )

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def save(self, folder: Path) -> None:
        """Write a checkpoint of this epoch into *folder*, whole or not at all, and remove those before it."""
        folder.mkdir(parents=True, exist_ok=True)
        draft, final = folder / ".draft", folder / f"epoch-{self.epoch:04}"
        remove(draft)
        self.model.save_pretrained(draft / "model")
        self.average.module.save_pretrained(draft / "ema")
        state = io.BytesIO()
        torch.save(self._state(), state)
        replace_file(draft / "training.pt", [state.getbuffer()])
        draft.rename(final)
        flush_folder(folder)
        for older in checkpoints(folder)[:-1]:
            remove(older.rename(draft))  # under another name, since the removal could be interrupted

    def resume(self, folder: Path) -> None:
        """Go on from the last checkpoint in *folder*, if there is one."""
        found = checkpoints(folder)
        if not found:
            return
        state = torch.load(found[-1] / "training.pt", map_location="cpu", weights_only=True)
        if state["recipe"] != self.recipe.as_dict():
            raise SystemExit("\n".join(refusal(folder, self.recipe.as_dict(), state["recipe"])))
        load_weights(self.model, found[-1] / "model")
        load_weights(self.average.module, found[-1] / "ema")
        self._set_state(state)

    def _state(self) -> dict[str, Any]:
        """Return everything but the weights, in types that `torch.load` reads without running code."""
        return {
            "recipe": self.recipe.as_dict(),
            "step": self.step,
            "history": [asdict(each) for each in self.history],
            "optimizer": self.optimizer.state_dict(),
            "schedule": self.schedule.state_dict(),
            "scaler": self.scaler.state_dict(),
            "order": self.order.get_state(),
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if self.machine.device.type == "cuda" else [],
        }

    def _set_state(self, state: dict[str, Any]) -> None:
        self.step = state["step"]
        self.history = [Epoch(**each) for each in state["history"]]
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        if state["scaler"] and self.scaler.is_enabled():  # empty if it was begun in another precision
            self.scaler.load_state_dict(state["scaler"])
        self.order.set_state(state["order"])
        torch.set_rng_state(state["random"])
        if self.machine.device.type == "cuda" and len(state["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random_cuda"])


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in a folder, the oldest first."""
    if not folder.is_dir():
        return []
    found = {int(match[1]): path for path in folder.iterdir() if (match := _EPOCH.fullmatch(path.name))}
    return [found[number] for number in sorted(found)]


def remove(folder: Path) -> None:
    """Remove a folder, if it is there."""
    shutil.rmtree(folder, ignore_errors=True)


def refusal(folder: Path, asked: dict[str, float], begun: dict[str, float]) -> Iterator[str]:
    """Yield what is said of a run that was begun with other numbers than are asked for."""
    yield f"The run in {str(folder.parent)!r} was begun with other numbers."
    yield from (f"  {name}: {begun[name]}, not {asked[name]}." for name in asked if begun.get(name) != asked[name])
    yield "Go on with the same, or name another folder with --output."
