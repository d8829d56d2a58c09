"""Load what several ranks have trained in one plain process, judge it, and leave model, figures and pictures.

There is nothing to convert: the ranks have written one standard folder.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from examples.scale.__main__ import OUTPUT
from examples.training.judging import Epoch
from examples.training.results import write_results
from examples.training.run import checkpoints

from nameplate_auto import AutoModelForImageClassification
from nameplate_resnet import ResnetModelForImageClassification


def main(arguments: Sequence[str] | None = None) -> int:
    """Export the run in a folder; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m examples.scale.export", description=__doc__)
    parser.add_argument("--output", type=Path, default=OUTPUT, help=f"the folder of the run ({OUTPUT})")
    folder: Path = parser.parse_args(arguments).output
    found = checkpoints(folder / "checkpoints")
    if not found:
        parser.error(f"there is no checkpoint in {str(folder / 'checkpoints')!r}; train first")
    state = json.loads((found[-1] / "training.json").read_bytes())
    model: ResnetModelForImageClassification = AutoModelForImageClassification.from_pretrained(found[-1] / "model")
    history = [Epoch(**each) for each in state["history"]]
    print(f"accuracy on held-out digits: {write_results(model, history, state['recipe']['seed'], folder):.2%}")
    for name in ("model", "history.json", "curves.png", "confusion.png", "features.png", "cam.png"):
        print(f"wrote {folder / name}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
