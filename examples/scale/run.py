"""A run on many ranks: everything that training changes, and its checkpoints, which any number of ranks goes on from.

A checkpoint is a folder that appears in one step, and holds one epoch of everything::

    checkpoints/epoch-0007/model/          one standard folder, as `save_pretrained` writes it on any number of ranks
                           optimizer/      what the optimizer remembers, as torch's distributed checkpoints have it
                           training.json   step, recipe and history

The number of an epoch is in the folder's name and nowhere else, so a model never meets the optimizer of another epoch.
"""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from examples.scale.recipe import PER_IMAGE
from examples.training.judging import Epoch
from examples.training.recipe import Recipe, new_optimizer, new_schedule
from examples.training.run import checkpoints, refusal, remove
from timm.scheduler import CosineLRScheduler
from torch import distributed
from torch.distributed import checkpoint
from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict, set_optimizer_state_dict
from torch.distributed.device_mesh import DeviceMesh

from nameplate_config.files import flush_folder, replace_file
from nameplate_resnet import ResnetModelForImageClassification


@dataclass(kw_only=True)
class ShardedRun:
    """Everything that training changes, of which this rank holds its parts.

    Attributes:
        recipe: The numbers that it was begun with.
        mesh: The ranks.
        model: The model in training, cut by FSDP2.
        optimizer: With what it remembers of each part.
        schedule: Of the learning rate.
        history: One entry for each epoch that is done.
        step: How many steps are done.
    """

    recipe: Recipe
    mesh: DeviceMesh
    model: ResnetModelForImageClassification
    optimizer: torch.optim.Optimizer
    schedule: CosineLRScheduler
    history: list[Epoch] = field(default_factory=list)
    step: int = 0

    @classmethod
    def begin(cls, recipe: Recipe, mesh: DeviceMesh, steps: int, folder: Path) -> "ShardedRun":
        """Go on from the last checkpoint in *folder*, or from a new model, which is the checkpoint of epoch 0.

        Args:
            recipe: The numbers.
            mesh: The ranks, all of which call this.
            steps: How many an epoch has.
            folder: That of the checkpoints, which all ranks see.
        """
        if not distributed.get_rank() and not checkpoints(folder):
            _write_first(recipe, folder)
        distributed.barrier()
        last = checkpoints(folder)[-1]
        state = json.loads((last / "training.json").read_bytes())
        if state["recipe"] != recipe.as_dict():
            raise SystemExit("\n".join(refusal(folder, recipe.as_dict(), state["recipe"])))
        model = ResnetModelForImageClassification.from_pretrained(last / "model", device_mesh=mesh, plan="fsdp").train()
        optimizer = new_optimizer(model, recipe)
        run = cls(
            recipe=recipe,
            mesh=mesh,
            model=model,
            optimizer=optimizer,
            schedule=new_schedule(optimizer, recipe, steps),
            history=[Epoch(**each) for each in state["history"]],
            step=state["step"],
        )
        run.schedule.step_update(run.step)
        if run.step:
            run.load_optimizer(last / "optimizer")
        return run

    @property
    def epoch(self) -> int:
        """How many epochs are done."""
        return len(self.history)

    def load_optimizer(self, folder: Path) -> None:
        """Read what the optimizer remembers of the parts of this rank, whoever had them when it was saved."""
        state: dict[str, Any] = get_optimizer_state_dict(self.model, self.optimizer)
        checkpoint.load({"optimizer": state}, checkpoint_id=folder)
        set_optimizer_state_dict(self.model, self.optimizer, state)

    def save(self, folder: Path) -> None:
        """Write a checkpoint of this epoch into *folder*, whole or not at all, and remove those before it.

        All ranks write into a folder that nobody reads. What makes it count is that the first of them gives it its
        name, once everything in it is on the disk: until then the last checkpoint counts, from then on this one.
        """
        leads = not distributed.get_rank()
        draft = folder / ".draft"
        if leads:
            remove(draft)  # which a run that was killed may have left
        distributed.barrier()
        self.model.save_pretrained(draft / "model")
        checkpoint.save(
            {"optimizer": get_optimizer_state_dict(self.model, self.optimizer)}, checkpoint_id=draft / "optimizer"
        )
        if leads:
            flush_folder(draft / "optimizer")
            _publish(draft, folder, _state(self.recipe, self.step, self.history))
        distributed.barrier()


def _write_first(recipe: Recipe, folder: Path) -> None:
    """Write the checkpoint of epoch 0, in one process: a new model, the same one for the same seed."""
    torch.manual_seed(recipe.seed)
    draft = folder / ".draft"
    remove(draft)
    ResnetModelForImageClassification(PER_IMAGE).save_pretrained(draft / "model")
    _publish(draft, folder, _state(recipe, 0, []))


def _state(recipe: Recipe, step: int, history: list[Epoch]) -> dict[str, Any]:
    return {"recipe": recipe.as_dict(), "step": step, "history": [asdict(each) for each in history]}


def _publish(draft: Path, folder: Path, state: dict[str, Any]) -> None:
    """Complete a draft, let it count, and remove the checkpoints before it."""
    replace_file(draft / "training.json", [json.dumps(state, indent=2).encode() + b"\n"])
    draft.rename(folder / f"epoch-{len(state['history']):04}")
    flush_folder(folder)
    for older in checkpoints(folder)[:-1]:
        remove(older.rename(draft))  # under another name, since the removal could be interrupted
