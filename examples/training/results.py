"""What a training leaves behind, whoever trained: the model, its figures and its pictures."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from examples.quickstart.digits import load_splits
from examples.training import pictures
from examples.training.images import NAME, PROCESSOR
from examples.training.judging import Epoch, evaluate

from nameplate_config.files import replace_file
from nameplate_resnet import ResnetModelForImageClassification


def write_results(model: ResnetModelForImageClassification, history: Sequence[Epoch], seed: int, folder: Path) -> float:
    """Save a trained model into ``folder/model``, judge it, and leave numbers and pictures; return the accuracy.

    Beside the model lie ``preprocessor_config.json``, by which an image becomes what the network reads, and
    ``metrics.json``, which its card quotes: `nameplate-resnet publish` takes the folder as it is. ``history.json`` has
    a row for each epoch.

    Args:
        model: The model that was trained.
        history: What each epoch was like.
        seed: Where the random numbers of the training started.
        folder: Where everything goes.
    """
    model.eval().save_pretrained(folder / "model")
    PROCESSOR.save_pretrained(folder / "model")
    images, held_out = load_splits()
    found = evaluate(model, held_out, model.device)
    metrics = {
        "task": "image-classification",
        "dataset": {"name": NAME, "split": "test", "train_images": len(images), "test_images": len(held_out)},
        "metrics": {"accuracy": found.accuracy, "loss": found.loss},
        "training": {"epochs": len(history), "seed": seed, "parameters": model.num_parameters()},
    }
    drawn = {
        "curves.png": pictures.curves(history),
        "confusion.png": pictures.confusion(found),
        "features.png": pictures.features(folder / "model", held_out),
        "cam.png": pictures.activation_maps(folder / "model", held_out, found),
    }
    for name, data in drawn.items():
        replace_file(folder / name, [data])
    for name, content in (("history.json", [asdict(each) for each in history]), ("model/metrics.json", metrics)):
        replace_file(folder / name, [json.dumps(content, indent=2).encode() + b"\n"])
    return found.accuracy
