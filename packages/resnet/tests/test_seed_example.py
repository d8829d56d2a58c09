"""A script written for Transformers runs here with nothing changed but its import lines."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("seed_example.py")

RUN = """
import json, runpy, sys

before = {}
from nameplate_auto import AutoConfig, AutoModel, CONFIG_MAPPING
before["names"] = CONFIG_MAPPING.names()
before["knows_resnet"] = "resnet" in CONFIG_MAPPING

script = runpy.run_path(sys.argv[1], run_name="__main__")

import torch

config_class, model, loaded = script["ResnetConfig"], script["model"].eval(), script["local_model"]
pixels = torch.rand(1, 3, 64, 64)
with torch.no_grad():
    expected, logits = model(pixels)["logits"], loaded(pixels)["logits"]
    answer = loaded(pixels, labels=torch.tensor([1]))
    features = AutoModel.from_config(config_class(layers=[1, 1, 1, 1]))(pixels)

changed = config_class()
changed.layers.append(9)

print(json.dumps({
    "names_before": before["names"],
    "knows_resnet_before": before["knows_resnet"],
    "names_after": CONFIG_MAPPING.names(),
    "finds_the_users_config": CONFIG_MAPPING["resnet"] is config_class,
    "finds_the_reference_config": CONFIG_MAPPING["nameplate_resnet"].__module__,
    "loads_the_users_model": type(loaded) is script["ResnetModelForImageClassification"],
    "in_evaluation_mode": not loaded.training,
    "report_is_exact": loaded.load_report.exact,
    "same_logits": torch.equal(expected, logits),
    "loss": abs(answer["loss"] - torch.nn.functional.cross_entropy(logits, torch.tensor([1]))).item(),
    "answers": sorted(answer),
    "shape_of_features": list(features.shape),
    "default_layers": [config_class().layers, config_class.__init__.__defaults__[1]],
    "alias": [script["loaded"].hidden_size, script["loaded"].d_model, script["unused"]],
    "alias_on_disk": AutoConfig.from_pretrained("my_model").hidden_size,
}))
"""

REOPEN = """
import json
from nameplate_auto import AutoConfig, AutoModelForImageClassification, UnknownModelTypeError

model = AutoModelForImageClassification.from_pretrained("custom_resnet")
try:
    AutoConfig.from_pretrained("my_model")
except UnknownModelTypeError as error:
    print(json.dumps([type(model).__module__, model.load_report.exact, str(error)]))
"""


def run(code: str, folder: Path) -> str:
    """Run code in a fresh interpreter that takes every warning for an error, and return what it printed."""
    done = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", code, str(SCRIPT)],
        capture_output=True,
        check=False,
        cwd=folder,
        text=True,
    )

    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder that the script runs in, empty at first."""
    return tmp_path_factory.mktemp("seed")


@pytest.fixture(scope="module")
def facts(folder: Path) -> dict[str, Any]:
    """Run the script once and return what was found afterwards."""
    return json.loads(run(RUN, folder))


def test_the_script_loads_what_it_saved(facts: dict[str, Any]) -> None:
    """The Auto class gives the user's own model class, ready for use, with every weight from the file."""
    assert facts["loads_the_users_model"]
    assert facts["in_evaluation_mode"]
    assert facts["report_is_exact"]


def test_the_loaded_model_answers_the_same(facts: dict[str, Any]) -> None:
    """The logits are those of the saved model, to the last bit, and labels add their cross entropy."""
    assert facts["same_logits"]
    assert (facts["answers"], facts["loss"]) == (["logits", "loss"], 0)


def test_the_body_answers_with_features(facts: dict[str, Any]) -> None:
    """The model registered with `AutoModel` is built from a config and returns a feature map."""
    assert facts["shape_of_features"] == [1, 2048, 2, 2]


def test_the_name_resnet_is_free(facts: dict[str, Any]) -> None:
    """The installed reference announces `nameplate_resnet` and leaves `resnet` to the user."""
    assert "nameplate_resnet" in facts["names_before"]
    assert not facts["knows_resnet_before"]


def test_the_script_and_the_reference_live_side_by_side(facts: dict[str, Any]) -> None:
    """Afterwards each name finds its own class."""
    assert {"my_model", "nameplate_resnet", "resnet"} <= set(facts["names_after"])
    assert facts["finds_the_users_config"]
    assert facts["finds_the_reference_config"] == "nameplate_resnet.configuration_resnet"


def test_the_mutable_default_is_not_shared(facts: dict[str, Any]) -> None:
    """Changing the list of one config changes neither another config nor the default of the class."""
    assert facts["default_layers"] == [[3, 4, 6, 3], [3, 4, 6, 3]]


def test_the_alias_keeps_its_value(facts: dict[str, Any]) -> None:
    """An override reaches field and alias, the rest is handed back, and the file's own value survives."""
    assert facts["alias"] == [640, 640, {"not_a_field": 1}]
    assert facts["alias_on_disk"] == 512


@pytest.mark.usefixtures("facts")
def test_the_script_leaves_checkpoints_and_nothing_else(folder: Path) -> None:
    """In the folder lie the files that were asked for, and no temporary ones."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())

    assert files == ["custom_resnet/config.json", "custom_resnet/model.safetensors", "my_model/config.json"]


@pytest.mark.usefixtures("facts")
def test_the_saved_config_is_complete(folder: Path) -> None:
    """The file holds every parameter of the user's `__init__`, the name and the class that was saved."""
    saved = json.loads((folder / "custom_resnet" / "config.json").read_text(encoding="utf-8"))

    assert saved == {
        "architectures": ["ResnetModelForImageClassification"],
        "avg_down": False,
        "base_width": 64,
        "block_type": "bottleneck",
        "cardinality": 1,
        "dtype": "float32",
        "input_channels": 3,
        "layers": [3, 4, 6, 3],
        "model_type": "resnet",
        "num_classes": 1000,
        "stem_type": "",
        "stem_width": 64,
    }


@pytest.mark.usefixtures("facts")
def test_without_its_registration_the_checkpoint_is_not_mistaken(folder: Path) -> None:
    """A process that never registered `resnet` opens the folder as the same network, and refuses the other one."""
    module, exact, message = json.loads(run(REOPEN, folder))

    assert (module, exact) == ("nameplate_resnet.modeling_resnet", True)
    assert message.startswith("model_type 'my_model' in my_model/config.json is not registered.\n  Registered: ")
