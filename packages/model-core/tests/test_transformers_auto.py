"""Folders that were saved with their code load in the real Transformers, which knows nothing of their package.

It runs in a process of its own, offline: `foreign/auto_classes.py`.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

CONFIGURATION = """
from nameplate_config import PreTrainedConfig

class SumConfig(PreTrainedConfig):
    model_type = "sum_of_blocks"
    width: int = 3
"""

MODELING = """
from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn
from nameplate_model import PreTrainedModel

from .configuration_sum import (
    SumConfig,
)

if TYPE_CHECKING:
    from .sizes import Size

class SumModel(PreTrainedModel):
    config_class = SumConfig

    def __init__(self, config: SumConfig) -> None:
        super().__init__(config)
        from .sizes import CLASSES
        self.linear = nn.Linear(config.width, CLASSES)

    def forward(self, pixel_values):
        return {"logits": self.linear(pixel_values)}
"""

FILES = {
    "sums/__init__.py": "",
    "sums/deep/__init__.py": "",
    "sums/deep/configuration_sum.py": CONFIGURATION,
    "sums/deep/modeling_sum.py": MODELING,
    "sums/deep/sizes.py": "Size = int\nCLASSES = 2\n",
}

SHAPE = [2, 3]

Ask = Callable[..., Any]


@pytest.fixture(scope="module")
def ask(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    """Return a function that asks a process with Transformers to do something."""
    home = tmp_path_factory.mktemp("home")
    env = {**os.environ, "HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules"), "PYTHONPATH": ""}
    script = Path(__file__).parent / "foreign" / "auto_classes.py"
    with (
        (home / "stderr.txt").open("w") as errors,
        subprocess.Popen(
            [sys.executable, script],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=home,
            env=env,
            text=True,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None

        def answer(verb: str, **arguments: Any) -> Any:
            print(json.dumps({"verb": verb, **arguments}), file=process.stdin, flush=True)
            line = process.stdout.readline() if process.stdout is not None else ""
            assert line, (home / "stderr.txt").read_text()
            return json.loads(line)

        yield answer
        process.stdin.close()


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Any]]:
    """Return a folder that was saved with its code, and the model that it was saved from."""
    folder = tmp_path_factory.mktemp("code")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    sys.path.insert(0, str(folder))
    try:
        from sums.deep.modeling_sum import SumConfig, SumModel  # noqa: PLC0415 - written by now

        for auto_class in ("AutoModel", "AutoModelForImageClassification"):
            SumModel.register_for_auto_class(auto_class)
        model = SumModel(SumConfig()).eval()
        model.save_pretrained(folder / "checkpoint")
        yield folder / "checkpoint", model
    finally:
        sys.path.remove(str(folder))
        for name in [name for name in sys.modules if name.partition(".")[0] == "sums"]:
            del sys.modules[name]


def logits(model: Any) -> str:
    """Return the bytes of what a model says to the numbers that the other process takes."""
    with torch.no_grad():
        return model(torch.linspace(-1, 1, 6).view(SHAPE))["logits"].numpy().tobytes().hex()


def test_the_config_loads(ask: Ask, saved: tuple[Path, Any]):
    """AutoConfig runs the code beside the config, and finds the same values in it."""
    folder, _ = saved
    answer = ask("config", folder=str(folder), trust_remote_code=True)

    assert answer["module"].startswith("transformers_modules.checkpoint.")
    assert answer["values"] == json.loads((folder / "config.json").read_text())
    assert answer["name"] == str(folder)


@pytest.mark.parametrize("auto_class", ["AutoModel", "AutoModelForImageClassification"])
def test_the_model_loads(auto_class: str, ask: Ask, saved: tuple[Path, Any]):
    """Every Auto class that it was registered for loads the model: its outputs are equal to the last bit."""
    folder, model = saved
    answer = ask("load", folder=str(folder), auto_class=auto_class, shape=SHAPE, trust_remote_code=True)

    assert answer["module"].startswith("transformers_modules.checkpoint.")
    assert answer["logits"] == logits(model)
    assert (answer["exact"], answer["own config"], answer["training"]) == (True, True, False)
    assert answer["fresh"] == ["SumModel", json.loads((folder / "config.json").read_text())]


def test_options_reach_the_model(ask: Ask, saved: tuple[Path, Any]):
    """A dtype is that of the weights, and a typo is an error of ours with the nearest option."""
    folder, _ = saved
    options = {"auto_class": "AutoModel", "shape": SHAPE, "trust_remote_code": True}

    assert ask("dtype", folder=str(folder)) == ["torch.float64"]
    assert ask("load", folder=str(folder), strickt=False, **options) == {
        "error": "UnknownOptionError",
        "text": "SumModel.from_pretrained has no option 'strickt'.\n  Did you mean 'strict'?",
    }


def test_it_is_saved_again_with_its_code(ask: Ask, saved: tuple[Path, Any], tmp_path: Path):
    """What Transformers loaded is saved to the same files, under the Auto class that found it."""
    folder, _ = saved
    assert ask("again", folder=str(folder), target=str(tmp_path)) is None

    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in folder.iterdir()}
    assert {path.name: path.read_bytes() for path in tmp_path.glob("*.py")} == {
        path.name: path.read_bytes() for path in folder.glob("*.py")
    }
    assert (tmp_path / "config.json").read_bytes() == (folder / "config.json").read_bytes()


def test_an_adapter_is_not_left_out(ask: Ask, saved: tuple[Path, Any], tmp_path: Path):
    """A folder with an adapter of peft is refused, not loaded without it."""
    folder = Path(shutil.copytree(saved[0], tmp_path / "adapted"))
    (folder / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(folder)}))
    answer = ask("load", folder=str(folder), auto_class="AutoModel", shape=SHAPE, trust_remote_code=True)

    assert answer["error"] == "UnknownOptionError"
    assert answer["text"].startswith(f"SumModel cannot load the adapter in {str(folder)!r}.")
