"""What a fresh process spends until the first output of a ResNet-18 through `AutoModel`, and on whom.

In seconds of processor time: whether the files of torch are in the page cache is nobody's merit.
"""

import tempfile
from collections.abc import Iterator, Mapping

from benchmarks.measure import Figures, compare, run
from benchmarks.report import Section, at_most, duration, noise

_OF_TORCH = 0.10
_STEPS = {
    "torch": "import torch",
    "timm": "import of timm's ResNet",
    "imports": "import of ours",
    "load": "AutoModel.from_pretrained",
    "output": "the first output",
}
_NOTES = ("Ours is its imports and the load: finding the class, building the module, mapping the weights.",)

_PROGRAM = """
import json, time
times = {{}}
def lap(name, started=[time.process_time()]):
    now = time.process_time()
    times[name], started[0] = 1000 * (now - started[0]), now
import torch
lap("torch")
from timm.models.resnet import ResNet
lap("timm")
from nameplate_auto import AutoModel
import nameplate_model, nameplate_resnet.modeling_resnet
lap("imports")
model = AutoModel.from_pretrained({folder!r})
lap("load")
with torch.no_grad():
    model(torch.zeros(1, 3, 64, 64))
lap("output")
print(json.dumps(times))
"""

_SAVE = """
from nameplate_resnet import ResnetConfig, ResnetModel
config = ResnetConfig(block_type="basic", layers=(2, 2, 2, 2))
ResnetModel(config).save_pretrained({folder!r})
"""

Measured = Mapping[str, Figures]


def measure(rounds: int) -> dict[str, Figures]:
    """Save a ResNet-18, then return the figures."""
    with tempfile.TemporaryDirectory() as folder:
        run(_SAVE.format(folder=folder))
        return compare({"ours": _PROGRAM.format(folder=folder)}, rounds=rounds)


def sections(figures: Measured) -> Iterator[Section]:
    """Yield the table."""
    columns = ("step", "CPU", "of `import torch`", "goal", "noise")
    yield Section("To the first output of a ResNet-18", columns, list(_rows(figures["ours"])), _NOTES)


def _rows(figures: Figures) -> Iterator[tuple[str, ...]]:
    torch = figures.median("torch")
    for step, title in _STEPS.items():
        time = figures.median(step)
        yield title, duration(time), f"{time / torch:.2f}x", "", noise(figures.spread(step))
    ours = figures.median("imports") + figures.median("load")
    spread = max(figures.spread("imports"), figures.spread("load"))
    yield "ours in all", duration(ours), f"{ours / torch:.2f}x", at_most(ours / torch, _OF_TORCH), noise(spread)
