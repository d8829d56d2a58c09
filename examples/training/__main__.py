"""Train a small ResNet on real handwritten digits, and leave the model, its figures and its pictures.

The same command goes on where an interrupted one stopped.
"""

import argparse
import importlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from time import perf_counter

import torch
from examples.training.judging import Epoch
from examples.training.recipe import PRECISIONS, Machine, Recipe
from examples.training.results import write_results

from nameplate_resnet import ResnetModelForImageClassification

PROGRAMS = {"loop": "own_loop", "trainer": "with_trainer", "lightning": "with_lightning"}
"""The modules by the name that is typed; only one is imported, since two of them bring a library that takes seconds."""

Program = Callable[[Recipe, Machine, Path], tuple[ResnetModelForImageClassification, list[Epoch]]]

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code."""
    asked = _parser().parse_args(arguments)
    folder: Path = asked.output or Path("training-output", asked.program)
    folder.mkdir(parents=True, exist_ok=True)
    recipe = Recipe(epochs=asked.epochs, batch=asked.batch, seed=asked.seed)
    machine = Machine.choose(asked.device, asked.precision, gradient_checkpointing=asked.gradient_checkpointing)
    train: Program = importlib.import_module(f"examples.training.{PROGRAMS[asked.program]}").train
    started = perf_counter()
    try:
        model, history = train(recipe, machine, folder)
    except KeyboardInterrupt:
        print(f"stopped; the same command goes on from the last checkpoint in {folder}", file=sys.stderr)
        return _INTERRUPTED
    print(f"{len(history)} epochs; {perf_counter() - started:.0f} s here, on {machine.device} in {machine.precision}")
    print(f"accuracy on held-out digits: {write_results(model, history, recipe.seed, folder):.2%}")
    for name in ("model", "history.json", "curves.png", "confusion.png", "features.png", "cam.png"):
        print(f"wrote {folder / name}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hatch run train", description=__doc__)
    parser.add_argument("program", nargs="?", choices=PROGRAMS, default="loop", help="who trains (loop)")
    parser.add_argument("--output", type=Path, help="the folder to write into (training-output/PROGRAM)")
    usual = Recipe()
    parser.add_argument("--epochs", type=_count, default=usual.epochs, help=f"({usual.epochs})")
    parser.add_argument("--batch", type=_count, default=usual.batch, help=f"images per step ({usual.batch})")
    parser.add_argument("--seed", type=int, default=usual.seed, help=f"where the random numbers start ({usual.seed})")
    parser.add_argument("--device", type=_device, default="auto", help="auto, cpu or cuda (auto)")
    parser.add_argument("--precision", choices=("auto", *PRECISIONS), default="auto", help="of convolutions (auto)")
    parser.add_argument("--gradient-checkpointing", action="store_true", help="compute twice, to save memory")
    return parser


def _device(text: str) -> str:
    """Return the name of a device that is there, or raise what argparse reports."""
    there = ("auto", "cpu", "cuda") if torch.cuda.is_available() else ("auto", "cpu")
    if text not in there:
        message = f"expected one of {', '.join(there)}, which are there, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return text


def _count(text: str) -> int:
    """Return a number of at least one, or raise what argparse reports."""
    if not text.isdecimal() or int(text) < 1:
        message = f"expected a number of at least 1, found {text!r}"
        raise argparse.ArgumentTypeError(message)
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
