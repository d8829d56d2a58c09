"""How long a model takes to load with code that its folder brings: ours against Transformers.

The folder holds a config, two modules and the weights of one small layer; each side has its own dialect of the same
classes. Times are taken inside fresh processes that have imported their library already. *Cold* is the first load
on a machine, *known* the first of a process after another process has loaded the same code, *again* the second load
of the same process.
"""

import json
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

from benchmarks.measure import Figures, compare
from benchmarks.report import Section, at_least, duration, noise

_GOAL = 3
_NOTES = (
    "Ours keeps no copy of the code, so that a known folder is as cold as an unknown one.",
    "Transformers copies it into a cache of modules, where Python keeps it compiled as well.",
    "Ours reads and hashes the code at every load, which is how it notices that a byte has changed.",
)

_LOAD = """
def load():
    started = time.perf_counter()
    model = AutoModel.from_pretrained({folder!r}, trust_remote_code=True)
    assert model.layer.weight[0, 0].item() == 0.5
    return 1000 * (time.perf_counter() - started)
print(json.dumps({{"{first}": load(), "{again}": load()}}))
"""

_OURS = """
import json, time, warnings
import torch
from nameplate_auto import AutoConfig, AutoModel
import nameplate_model
"""

_THEIRS = """
import json, os, tempfile, time
os.environ["HF_MODULES_CACHE"] = {modules!r} or tempfile.mkdtemp()
import torch
import transformers
from transformers import AutoConfig, AutoModel, PreTrainedModel
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
"""

_CONFIG = """
from {library} import PreTrainedConfig

class BenchConfig(PreTrainedConfig):
    model_type = "bench"

    def __init__(self, width=8, **kwargs):
        self.width = width
        super().__init__(**kwargs)
"""

_MODEL = """
import torch
from {library} import PreTrainedModel

from .configuration_bench import BenchConfig

class BenchModel(PreTrainedModel):
    config_class = BenchConfig

    def __init__(self, config):
        super().__init__(config)
        self.layer = torch.nn.Linear(config.width, config.width)
        {finish}

    def forward(self, x):
        return self.layer(x)
"""

Measured = Mapping[str, Figures]


def measure(rounds: int) -> dict[str, Figures]:
    """Write a folder for each side, then return the figures of both."""
    with tempfile.TemporaryDirectory() as folder:
        ours, theirs = Path(folder, "ours"), Path(folder, "theirs")
        _write(ours, "nameplate_config", "nameplate_model", "")
        _write(theirs, "transformers", "transformers", "self.post_init()")
        modules = str(Path(folder, "modules"))
        programs = {
            "ours cold": (_OURS + _LOAD).format(folder=str(ours), first="cold", again="again"),
            "ours known": (_OURS + _LOAD).format(folder=str(ours), first="known", again="again"),
            "theirs cold": (_THEIRS + _LOAD).format(folder=str(theirs), modules="", first="cold", again="again"),
            "theirs known": (_THEIRS + _LOAD).format(folder=str(theirs), modules=modules, first="known", again="again"),
        }
        return compare(programs, rounds=rounds)


def sections(figures: Measured) -> Iterator[Section]:
    """Yield the table."""
    columns = ("loading with code of the folder", "ours", "Transformers", "ratio", "goal", "noise")
    yield Section("Code that a checkpoint brings", columns, list(_rows(figures)), _NOTES)


def _rows(figures: Measured) -> Iterator[tuple[str, ...]]:
    for step, program in (("cold", "cold"), ("known", "known"), ("again", "known")):
        ours, theirs = figures[f"ours {program}"], figures[f"theirs {program}"]
        ratio = theirs.median(step) / ours.median(step)
        yield (
            step,
            duration(ours.median(step)),
            duration(theirs.median(step)),
            f"{ratio:.1f}x",
            at_least(ratio, _GOAL),
            noise(max(ours.spread(step), theirs.spread(step))),
        )


def _write(folder: Path, config_library: str, model_library: str, finish: str) -> None:
    folder.mkdir()
    auto_map = {"AutoConfig": "configuration_bench.BenchConfig", "AutoModel": "modeling_bench.BenchModel"}
    config = {"model_type": "bench", "width": 8, "architectures": ["BenchModel"], "auto_map": auto_map}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "configuration_bench.py").write_text(_CONFIG.format(library=config_library))
    (folder / "modeling_bench.py").write_text(_MODEL.format(library=model_library, finish=finish))
    state = {"layer.weight": np.full((8, 8), 0.5, np.float32), "layer.bias": np.zeros(8, np.float32)}
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
