"""A ResNet that was saved with its code loads in the real Transformers, in a process that lacks this package."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification

SCRIPT = Path(__file__).parents[2] / "model-core" / "tests" / "foreign" / "auto_classes.py"

WITHOUT_US = """
import runpy, sys
sys.modules["nameplate_resnet"] = None
runpy.run_path(sys.argv[1], run_name="__main__")
"""

SMALL: dict[str, Any] = {
    "layers": (1, 1, 1, 1),
    "channels": (8, 8, 16, 16),
    "num_classes": 5,
    "stem_type": "deep",
    "stem_width": 8,
}
SHAPE = [2, 3, 64, 64]


def ask(home: Path, *requests: dict[str, Any]) -> list[Any]:
    """Return what a process with Transformers, and without this package, answers."""
    env = {**os.environ, "HF_HOME": str(home), "HF_MODULES_CACHE": str(home / "modules")}
    lines = "".join(f"{json.dumps(request)}\n" for request in requests)
    command = [sys.executable, "-c", WITHOUT_US, str(SCRIPT)]
    done = subprocess.run(command, input=lines, capture_output=True, text=True, cwd=home, env=env, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Register the classifier for two Auto classes, for one test."""
    monkeypatch.setattr(ResnetModelForImageClassification, "_auto_classes", (), raising=False)
    for auto_class in ("AutoModel", "AutoModelForImageClassification"):
        ResnetModelForImageClassification.register_for_auto_class(auto_class)


@pytest.mark.usefixtures("registered")
def test_a_resnet_loads_in_transformers(tmp_path: Path):
    """Config, weights and outputs of a classifier are the same, to the last bit, by every way to load it."""
    torch.manual_seed(0)
    model = ResnetModelForImageClassification(ResnetConfig(**SMALL)).eval()
    folder = tmp_path / "checkpoint"
    model.save_pretrained(folder)
    pixels = torch.linspace(-1, 1, torch.Size(SHAPE).numel()).view(SHAPE)
    with torch.no_grad():
        logits = model(pixels)["logits"].numpy().tobytes().hex()

    options = {"folder": str(folder), "trust_remote_code": True}
    config, *answers = ask(
        tmp_path,
        {"verb": "config", **options},
        {"verb": "load", "auto_class": "AutoModel", "shape": SHAPE, **options},
        {"verb": "load", "auto_class": "AutoModelForImageClassification", "shape": SHAPE, **options},
    )
    written = json.loads((folder / "config.json").read_text())

    assert config["values"] == written
    assert len(answers) == 2
    for answer in answers:
        assert answer["module"].startswith("transformers_modules.checkpoint."), answer
        assert answer["logits"] == logits
        assert (answer["exact"], answer["own config"]) == (True, True)
        assert answer["fresh"] == ["ResnetModelForImageClassification", written]
