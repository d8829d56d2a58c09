"""Train a small ResNet on real handwritten digits on several ranks, which torchrun starts.

The same command goes on where a killed one stopped, on as many ranks as it is given then.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

import torch
from examples.scale.recipe import recipe_for
from examples.scale.sharded_loop import train
from torch import distributed
from torch.distributed.device_mesh import init_device_mesh

OUTPUT = Path("training-output/scale")
"""The folder that is written into unless another one is asked for."""

_PROGRAM = "torchrun --standalone --nproc-per-node 2 -m examples.scale"


def main(arguments: Sequence[str] | None = None) -> int:
    """Train as the command line says; return the exit code."""
    parser = _parser()
    asked = parser.parse_args(arguments)
    if "WORLD_SIZE" not in os.environ:
        parser.error(f"nobody started the ranks; that is done by: {_PROGRAM}")
    ranks, number = int(os.environ["WORLD_SIZE"]), int(os.environ["LOCAL_RANK"])
    if asked.batch < ranks:
        parser.error(f"argument --batch: expected an image for each of {ranks} ranks, found {asked.batch}")
    recipe = recipe_for(epochs=asked.epochs, batch=asked.batch, seed=asked.seed)
    device = "cuda" if torch.cuda.device_count() >= int(os.environ["LOCAL_WORLD_SIZE"]) else "cpu"
    if device == "cuda":
        torch.cuda.set_device(number)
    distributed.init_process_group()
    try:
        started = perf_counter()
        history = train(recipe, init_device_mesh(device, (ranks,)), asked.output)
        if not distributed.get_rank():
            print(f"{len(history)} epochs; {perf_counter() - started:.0f} s here, on {ranks} ranks on {device}")
            print(f"accuracy on held-out digits: {history[-1].test_accuracy:.2%}")
    finally:
        distributed.destroy_process_group()
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=_PROGRAM, description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the folder to write into ({OUTPUT})")
    usual = recipe_for()
    parser.add_argument("--epochs", type=int, default=usual.epochs, help=f"({usual.epochs})")
    parser.add_argument("--batch", type=int, default=usual.batch, help=f"images per step ({usual.batch})")
    parser.add_argument("--seed", type=int, default=usual.seed, help=f"where the random numbers start ({usual.seed})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
