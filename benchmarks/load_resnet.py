"""How long it takes to load ResNets with random weights from a local folder that is in the page cache.

Each sample is a fresh process that loads each model once to warm up and then reports the median of nine loads, in
milliseconds. All sides check that they got every weight, and do not run the model.
"""

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from benchmarks.measure import Figures, compare
from benchmarks.report import Section, at_least, duration, noise

_TIMED = """
import json
import time
from pathlib import Path
from statistics import median
import torch
torch.set_num_threads(1)
def milliseconds(folder):
    started = time.perf_counter()
    load(folder)
    return 1000 * (time.perf_counter() - started)
answers = {{}}
for folder in sorted(Path({folder!r}).iterdir()):
    load(str(folder))
    answers[folder.name] = median(milliseconds(str(folder)) for _ in range(9))
print(json.dumps(answers))
"""

_OURS = """
from nameplate_auto import AutoModelForImageClassification
def load(folder):
    model, report = AutoModelForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert report.exact
"""

_THEIRS = """
from transformers import ResNetForImageClassification
from transformers.utils.logging import disable_progress_bar
disable_progress_bar()
def load(folder):
    model, info = ResNetForImageClassification.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
"""

_TIMM = """
import timm
def load(folder):
    timm.create_model("local-dir:" + folder, pretrained=True).eval()  # strict unless told otherwise
"""

_FASTER = 5.0

_NOTES = (
    "Ours loads through the Auto class, with its report; timm through create_model of a local-dir, which initialises",
    "the model first and copies. Transformers draws no progress bar.",
)


class Depth(NamedTuple):
    """What the libraries call a ResNet: timm's name, its blocks, and the layers and widths of its stages."""

    name: str
    block: Literal["basic", "bottleneck"]
    layers: tuple[int, int, int, int]
    widths: tuple[int, int, int, int]


DEPTHS = (
    Depth("resnet18", "basic", (2, 2, 2, 2), (64, 128, 256, 512)),
    Depth("resnet50", "bottleneck", (3, 4, 6, 3), (256, 512, 1024, 2048)),
)


def measure(rounds: int) -> dict[str, Figures]:
    """Save every ResNet once with each library, then return the figures of loading them."""
    with tempfile.TemporaryDirectory() as folder:
        sides = {"ours": _OURS, "transformers": _THEIRS, "timm": _TIMM}
        for depth in DEPTHS:
            _save(depth, *(Path(folder) / side / depth.name for side in sides))
        programs = {name: side + _TIMED.format(folder=str(Path(folder) / name)) for name, side in sides.items()}
        return compare(programs, rounds=rounds)


def sections(figures: Mapping[str, Figures]) -> Iterator[Section]:
    """Yield the tables."""
    columns = ("with", "median", "ours is faster", "goal", "noise")
    for depth in DEPTHS:
        title = f"Loading a {depth.name} from a warm local folder"
        yield Section(title, columns, list(_rows(figures, depth.name)), _NOTES)


def _rows(figures: Mapping[str, Figures], name: str) -> Iterator[tuple[str, ...]]:
    ours = figures["ours"].median(name)
    for side, each in figures.items():
        value, spread = each.median(name), noise(each.spread(name))
        against = ("", "") if side == "ours" else (f"{value / ours:.1f}x", at_least(value / ours, _FASTER))
        yield side, duration(value), *against, spread


def _save(depth: Depth, ours: Path, theirs: Path, timms: Path) -> None:
    import timm  # noqa: PLC0415
    from timm.models import save_for_hf  # noqa: PLC0415
    from transformers import ResNetConfig, ResNetForImageClassification  # noqa: PLC0415

    from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification  # noqa: PLC0415 - slow to import

    mine = ResnetConfig(block_type=depth.block, layers=depth.layers)
    ResnetModelForImageClassification(mine).save_pretrained(ours)
    save_for_hf(timm.create_model(depth.name), str(timms), safe_serialization=True)
    labels: dict[str, Any] = {"num_labels": 1000}  # which their constructor takes, but does not declare
    config = ResNetConfig(
        embedding_size=64,
        hidden_sizes=list(depth.widths),
        depths=list(depth.layers),
        layer_type=depth.block,
        **labels,
    )
    ResNetForImageClassification(config).save_pretrained(theirs)
