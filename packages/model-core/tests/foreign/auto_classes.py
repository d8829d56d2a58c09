"""Loads folders with the Auto classes of the real Transformers, where the package of their models is not installed.

Reads requests from standard input, a JSON object a line, and answers each with one.
"""

import json
import os
import sys
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers


def digest(model: Any, shape: list[int]) -> str:
    """Return the bytes of what a model says to fixed numbers."""
    pixels = torch.linspace(-1, 1, torch.Size(shape).numel()).view(shape)
    with torch.no_grad():
        return model.eval()(pixels)["logits"].numpy().tobytes().hex()


def config(folder: str, **options: Any) -> dict[str, Any]:
    """Load a config."""
    found = transformers.AutoConfig.from_pretrained(folder, **options)
    return {"module": type(found).__module__, "values": found.to_dict(), "name": found.name_or_path}


def load(folder: str, auto_class: str, shape: list[int], **options: Any) -> dict[str, Any]:
    """Load a model, and build one from its config alone."""
    auto = getattr(transformers, auto_class)
    model = auto.from_pretrained(folder, **options)
    fresh = auto.from_config(transformers.AutoConfig.from_pretrained(folder, **options), **options)
    return {
        "module": type(model).__module__,
        "logits": digest(model, shape),
        "exact": model.load_report.exact,
        "own config": type(model.config) is type(model).config_class,
        "fresh": [type(fresh).__name__, fresh.config.to_dict()],
        "training": model.training,
    }


def again(folder: str, target: str) -> None:
    """Save what was loaded elsewhere."""
    transformers.AutoModel.from_pretrained(folder, trust_remote_code=True).save_pretrained(target)


def dtype(folder: str) -> list[str]:
    """Return the dtypes of the parameters of a model that was cast."""
    model = transformers.AutoModel.from_pretrained(folder, trust_remote_code=True, dtype=torch.float64)
    return sorted({str(each.dtype) for each in model.parameters()})


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = globals()[request.pop("verb")](**request)
    except Exception as error:  # noqa: BLE001 - what Transformers or the model raises is what is asked
        answer = {"error": type(error).__name__, "text": str(error)}
    sys.stdout.write(f"{json.dumps(answer)}\n")
    sys.stdout.flush()
