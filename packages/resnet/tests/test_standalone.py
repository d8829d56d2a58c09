"""The code of a published model runs on Transformers alone: what stands in for the cores does what a load needs.

All of it happens in one process that can import none of our packages, nor what only they need. That the same holds in
an environment in which none is installed is shown by `tests/test_wheels_alone.py`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from nameplate_resnet import (
    ImageProcessorConfig,
    ResnetConfig,
    ResnetForSemanticSegmentation,
    ResnetModel,
    ResnetModelForImageClassification,
)
from nameplate_resnet.publishing.repository import compose

SMALL: dict[str, Any] = {"block_type": "basic", "layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8), "num_labels": 3}

CONFIGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "blurred": {"aa_layer": "blur", "block_type": "bottleneck", "cardinality": 2, "base_width": 32},
    "attentive": {"block_args": {"attn_layer": "se", "rd_ratio": 0.25}, "replace_stem_pool": True},
    "mixed": {"block_type": ("basic", "basic", "bottleneck", "basic"), "stem_type": "deep_tiered", "stem_width": 8},
    "labelled": {"id2label": {0: "cat", 1: "dog", 2: "eel"}, "problem_type": "multi_label_classification"},
}
"""Each with something that a load could lose: buffers of no file, a config inside a config, texts in tuples, labels."""

READER = """
import json, sys

for name in ("nameplate_config", "nameplate_model", "nameplate_auto", "nameplate_resnet", "annotated_types"):
    sys.modules[name] = None

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers.dynamic_module_utils import get_class_from_dynamic_module

PIXELS = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)


def load(folder, auto="AutoModelForImageClassification", **options):
    cls = getattr(transformers, auto)
    return cls.from_pretrained(folder, trust_remote_code=True, output_loading_info=True, **options)


def tensors(folder, auto, out):
    model, info = load(folder, auto)
    with torch.no_grad():
        answers = {name: each for name, each in model(PIXELS).items() if torch.is_tensor(each)}
    save_file({name: each.contiguous() for name, each in answers.items()}, out)
    return {
        "lost": [sorted(map(str, info[key])) for key in ("missing_keys", "unexpected_keys", "mismatched_keys")],
        "training": model.training,
        "module": type(model).__module__,
    }


def config(folder):
    found = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    return {"values": json.loads(json.dumps(found.to_dict())), "layers": type(found.layers).__name__}


def backbone(folder):
    cls = get_class_from_dynamic_module("modeling_resnet.ResnetBackbone", folder)
    model = cls.from_pretrained(folder, out_features=["stage1", "stage3"])
    return [model.channels, model.strides, [list(each.shape) for each in model(PIXELS).feature_maps]]


def other_labels(folder):
    model, info = load(folder, num_labels=5, ignore_mismatched_sizes=True)
    kept = load(folder)[0].model
    same = all(torch.equal(one, other) for (name, one), other in zip(
        model.model.state_dict().items(), kept.state_dict().values()) if not name.startswith("fc."))
    return [sorted(each[0] for each in info["mismatched_keys"]), same, list(model(PIXELS).logits.shape),
            model.config.id2label[4], bool(torch.isfinite(model.model.fc.weight).all())]


def fresh(folder):
    found = transformers.AutoConfig.from_pretrained(folder, trust_remote_code=True)
    model = transformers.AutoModelForImageClassification.from_config(found, trust_remote_code=True)
    answer = model(PIXELS, labels=torch.tensor([0, 2]))
    answer.loss.backward()
    starts = model.model.layer1[0].bn2.weight.abs().sum().item()
    return [starts, list(answer.keys()), len(model(PIXELS, return_dict=False))]


def changed(folder):
    found = transformers.AutoConfig.from_pretrained(
        folder, trust_remote_code=True, layers=[2, 1, 1, 1], id2label={0: "x", 1: "y"})
    return [type(found.layers).__name__, found.num_labels, found.num_classes, found.label2id]


def saved(folder, target):
    load(folder)[0].save_pretrained(target)


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps(globals()[request.pop("verb")](**request)), flush=True)
"""


def random(model: torch.nn.Module) -> Any:
    """Return a model, every floating tensor of which is random."""
    torch.manual_seed(0)
    with torch.no_grad():
        for each in model.state_dict().values():
            if each.is_floating_point():
                each.uniform_(0.1, 0.3)
    return model.eval()


def answer(model: Any) -> dict[str, torch.Tensor]:
    pixels = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    with torch.no_grad():
        return {name: each for name, each in model(pixels).items() if torch.is_tensor(each)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which each config has a checkpoint with its code."""
    home = tmp_path_factory.mktemp("standalone")
    for name, fields in CONFIGS.items():
        model = random(ResnetModelForImageClassification(ResnetConfig(**{**SMALL, **fields})))
        compose(model, ImageProcessorConfig(), home / name, repository="user/name")
    compose(random(ResnetModel(ResnetConfig(**SMALL))), ImageProcessorConfig(), home / "body", repository="user/name")
    streets = random(ResnetForSemanticSegmentation(ResnetConfig(**SMALL)))
    compose(streets, ImageProcessorConfig(), home / "streets", repository="user/name")
    return home


@pytest.fixture(scope="module")
def reader(home: Path) -> Any:
    """A function that gets one answer from the process with Transformers alone."""
    env = {**os.environ, "HF_HOME": str(home / "hf"), "HF_MODULES_CACHE": str(home / "modules"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-c", READER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, cwd=home, env=env) as process:

        def ask(verb: str, **arguments: Any) -> Any:
            assert process.stdin is not None
            assert process.stdout is not None
            print(json.dumps({"verb": verb, **arguments}), file=process.stdin, flush=True)
            return json.loads(process.stdout.readline())

        yield ask
        assert process.stdin is not None
        process.stdin.close()


@pytest.mark.parametrize(
    ("name", "auto", "cls"),
    [
        *((name, "AutoModelForImageClassification", ResnetModelForImageClassification) for name in CONFIGS),
        ("plain", "AutoModel", ResnetModel),
        ("body", "AutoModel", ResnetModel),
        ("streets", "AutoModelForSemanticSegmentation", ResnetForSemanticSegmentation),
        ("streets", "AutoModel", ResnetModel),
    ],
)
def test_a_model_answers_the_same_bits(name: str, auto: str, cls: Any, home: Path, reader: Any):
    """No tensor is lost or made up on the way, buffers that are in no file included."""
    found = reader("tensors", folder=name, auto=auto, out="answer.safetensors")
    theirs, ours = load_file(home / "answer.safetensors"), answer(cls.from_pretrained(home / name))

    assert found["lost"] == [[], [], []]
    assert (found["training"], found["module"].partition(".")[0]) == (False, "transformers_modules")
    assert theirs.keys() == ours.keys()
    assert all(torch.equal(theirs[key], ours[key]) for key in ours)


@pytest.mark.parametrize("name", [*CONFIGS, "body", "streets"])
def test_a_config_has_the_same_fields(name: str, home: Path, reader: Any):
    """Every value of the file is there, tuples are tuples again, and Transformers adds only what is its own."""
    found = reader("config", folder=name)
    written = json.loads((home / name / "config.json").read_text())
    said = {key: value for key, value in written.items() if value is not None and key != "num_labels"}

    assert {key: found["values"].get(key) for key in said} == said
    assert found["layers"] == "tuple"


def test_a_backbone_answers_the_stages_that_are_asked_for(reader: Any):
    """Fields may be given with the load, also those that follow from each other."""
    channels, strides, shapes = reader("backbone", folder="plain")

    assert (channels, strides) == ([4, 8], [4, 16])
    assert shapes == [[2, 4, 16, 16], [2, 8, 4, 4]]


def test_another_number_of_classes_keeps_the_body(reader: Any):
    """The classifier is initialised anew, its labels are numbered, and every other tensor is that of the file."""
    assert reader("other_labels", folder="labelled") == [
        ["model.fc.bias", "model.fc.weight"],
        True,
        [2, 5],
        "LABEL_4",
        True,
    ]


def test_fields_given_with_the_load_are_as_in_the_file(reader: Any):
    """A list becomes a tuple; names of other classes bring their number and their inverse."""
    assert reader("changed", folder="labelled") == ["tuple", 2, 2, {"x": 0, "y": 1}]


def test_a_fresh_model_is_initialised_as_timm_does_it(reader: Any):
    """The last normalisation of each block starts at zero, and the model can be trained."""
    assert reader("fresh", folder="plain") == [0.0, ["loss", "logits"], 1]


def test_what_transformers_saves_again_is_ours(home: Path, reader: Any):
    """Whoever has the package reads the folder, to the last bit."""
    reader("saved", folder="attentive", target="again")
    one, other = (ResnetModelForImageClassification.from_pretrained(home / name) for name in ("attentive", "again"))

    assert one.config.block_args == other.config.block_args
    assert torch.equal(answer(one)["logits"], answer(other)["logits"])


def test_the_weights_can_be_lost(home: Path, reader: Any):
    """The comparison above can fail: without one tensor of the file, the load says which."""
    tensors = load_file(home / "plain" / "model.safetensors")
    broken = home / "broken"
    broken.mkdir()
    for path in (home / "plain").iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    del tensors["layer1.0.conv1.weight"]
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})

    found = reader("tensors", folder="broken", auto="AutoModel", out="answer.safetensors")
    assert found["lost"][0] == ["model.layer1.0.conv1.weight"]


def test_one_core_alone_is_as_good_as_none(home: Path):
    """Transformers loads the model also where only `nameplate-config` is installed, on the stand-ins of both."""
    code = """
import sys
for name in ("nameplate_model", "nameplate_auto", "nameplate_resnet"):
    sys.modules[name] = None
import transformers
model = transformers.AutoModelForImageClassification.from_pretrained("plain", trust_remote_code=True)
print(isinstance(model, transformers.PreTrainedModel), isinstance(model.config, transformers.PreTrainedConfig))
"""
    env = {**os.environ, "HF_HOME": str(home / "hf"), "HF_MODULES_CACHE": str(home / "one"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=home, env=env, capture_output=True, text=True, check=False)

    assert done.stdout == "True True\n", done.stderr
