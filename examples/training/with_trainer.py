"""The same training by Transformers' `Trainer`: the model goes in as it is."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
from examples.quickstart.digits import load_splits
from examples.training.images import Digits
from examples.training.judging import Epoch
from examples.training.recipe import Machine, Recipe, new_model, new_optimizer, repeatable
from transformers import (
    EvalPrediction,
    PrinterCallback,
    Trainer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_utils import get_last_checkpoint

from nameplate_resnet import ResnetModelForImageClassification


class SavesConfig(TrainerCallback):
    """Puts `config.json` beside the weights of each checkpoint, so that `from_pretrained` loads it.

    Trainer writes the weights of any module, but a config only for models of Transformers.
    """

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Write the config into the checkpoint that was just made."""
        del control
        model: ResnetModelForImageClassification = kwargs["model"]
        model.config.save_pretrained(Path(str(args.output_dir), f"checkpoint-{state.global_step}"))


def train(recipe: Recipe, machine: Machine, folder: Path) -> tuple[ResnetModelForImageClassification, list[Epoch]]:
    """Train, or go on with the run in *folder*; return the model and what each epoch was like."""
    images, held_out = load_splits()
    model = new_model(recipe)
    checkpoints = folder / "checkpoints"
    trainer = Trainer(
        model=model,
        args=_arguments(recipe, machine, checkpoints, steps=len(images) // recipe.batch, judged=len(held_out)),
        train_dataset=Digits(images, moved=True),
        eval_dataset=Digits(held_out),
        compute_metrics=_accuracy,
        callbacks=[SavesConfig()],
        optimizers=(new_optimizer(model, recipe), None),
    )
    trainer.remove_callback(PrinterCallback)  # which prints a dict for each epoch where there is no terminal
    last = get_last_checkpoint(str(checkpoints)) if checkpoints.is_dir() else None
    with repeatable(machine.device):
        trainer.train(resume_from_checkpoint=last)
    trainer.accelerator.unwrap_model(model, keep_fp32_wrapper=False)  # else its forward would stay in lower precision
    return model, _history(trainer.state.log_history)


def _arguments(recipe: Recipe, machine: Machine, checkpoints: Path, *, steps: int, judged: int) -> TrainingArguments:
    """Return the recipe in Trainer's words, for epochs of so many *steps* and so many held-out images."""
    return TrainingArguments(
        output_dir=str(checkpoints),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch,
        per_device_eval_batch_size=judged,
        dataloader_drop_last=True,  # also when judging, hence all of it at once
        dataloader_pin_memory=machine.device.type == "cuda",
        lr_scheduler_type="cosine",
        warmup_steps=min(recipe.warmup_epochs, recipe.epochs - 1) * steps,
        bf16=machine.precision == "bfloat16",
        fp16=machine.precision == "float16",
        activation_checkpointing=True,  # switched on by the model itself, and off in what is saved
        use_cpu=machine.device.type == "cpu",
        seed=recipe.seed,
        eval_strategy="epoch",
        logging_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        disable_tqdm=not sys.stderr.isatty(),
        report_to="none",
    )


def _accuracy(found: EvalPrediction) -> dict[str, float]:
    predictions = np.asarray(found.predictions).argmax(1)
    return {"accuracy": float((predictions == found.label_ids).mean())}


def _history(logged: list[dict[str, float]]) -> list[Epoch]:
    """Return what Trainer has logged: for each epoch an entry of its training and one of its evaluation."""
    trained = [each for each in logged if "loss" in each]
    judged = [each for each in logged if "eval_loss" in each]
    return [
        Epoch(
            rate=train["learning_rate"],
            train_loss=train["loss"],
            test_loss=test["eval_loss"],
            test_accuracy=test["eval_accuracy"],
        )
        for train, test in zip(trained, judged, strict=True)
    ]
