"""How long it takes to load a ResNet-18 with random weights from a local folder that is in the page cache.

Each sample is a fresh process that loads once to warm up and then reports the median of nine loads, in milliseconds.
Both sides check that they got every weight, and do not run the model.
"""

import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import Figures, compare

_TIMED = """
import time
from statistics import median
def milliseconds():
    started = time.perf_counter()
    load()
    return 1000 * (time.perf_counter() - started)
load()
print(median(milliseconds() for _ in range(9)))
"""

_OURS = """
import torch
torch.set_num_threads(1)
from nameplate_auto import AutoModelForImageClassification
def load():
    model, report = AutoModelForImageClassification.from_pretrained({folder!r}, output_loading_info=True)
    assert report.exact
"""

_THEIRS = """
import torch
torch.set_num_threads(1)
from transformers import ResNetForImageClassification
def load():
    model, info = ResNetForImageClassification.from_pretrained({folder!r}, output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"]
"""

_TIMM = """
import torch
torch.set_num_threads(1)
import timm
def load():
    timm.create_model("resnet18", pretrained=False, checkpoint_path={file!r}).eval()
"""


def measure(rounds: int) -> dict[str, Figures]:
    """Save a ResNet-18 once with each library, then return the figures of loading it."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs, timms = (Path(folder) / name for name in ("ours", "theirs", "timm.safetensors"))
        _save(ours, theirs, timms)
        programs = {
            "ours": _OURS.format(folder=str(ours)) + _TIMED,
            "transformers": _THEIRS.format(folder=str(theirs)) + _TIMED,
            "timm": _TIMM.format(file=str(timms)) + _TIMED,
        }
        return compare(programs, rounds=rounds)


def _save(ours: Path, theirs: Path, timms: Path) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415
    from transformers import ResNetConfig, ResNetForImageClassification  # noqa: PLC0415

    from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification  # noqa: PLC0415 - slow to import

    model = ResnetModelForImageClassification(ResnetConfig(block_type="basic", layers=(2, 2, 2, 2)))
    model.save_pretrained(ours)
    save_file(dict(model.model.state_dict()), timms)
    labels: dict[str, Any] = {"num_labels": 1000}  # which their constructor takes, but does not declare
    config = ResNetConfig(
        embedding_size=64, hidden_sizes=[64, 128, 256, 512], depths=[2, 2, 2, 2], layer_type="basic", **labels
    )
    ResNetForImageClassification(config).save_pretrained(theirs)
