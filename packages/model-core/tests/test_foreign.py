"""Checkpoints that others wrote load here: every bit, tied weights as one object, and configs by their own names.

`foreign/golden` holds what Transformers, timm, huggingface_hub, accelerate, safetensors and torch saved, and
`tensors.json` what was in the models; `foreign/write_golden.py` writes both. None of them is imported here.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from nameplate_config import PreTrainedConfig, SourceNotFoundError
from nameplate_model import AmbiguousCheckpointError, MismatchError, PreTrainedModel, read_tensors

from .foreign.ours import (
    GPT2LMHeadModel,
    LooseSpeakerModel,
    OddModel,
    ResNet,
    ResNetForImageClassification,
    SpeakerConfig,
    SpeakerModel,
)
from .foreign.sums import sums

HERE = Path(__file__).parent / "foreign" / "golden"
TENSORS: dict[str, dict[str, str]] = json.loads((HERE / "tensors.json").read_text(encoding="utf-8"))

OF_TRANSFORMERS: dict[str, tuple[type[PreTrainedModel], dict[str, Any]]] = {
    "transformers_single": (ResNetForImageClassification, {}),
    "transformers_body": (ResNet, {}),
    "transformers_sharded": (ResNetForImageClassification, {}),
    "transformers_variant": (ResNetForImageClassification, {"variant": "fp16"}),
    "transformers_variant_sharded": (ResNetForImageClassification, {"variant": "fp16"}),
    "transformers_tied": (GPT2LMHeadModel, {}),
    "transformers_tied_bfloat16": (GPT2LMHeadModel, {}),
    "transformers_untied": (GPT2LMHeadModel, {}),
    "transformers_odd": (OddModel, {}),
}

SPEAKERS: dict[str, dict[str, Any]] = {
    "mixin": {},
    "safetensors_file": {},
    "safetensors_model": {},
    "hub_sharded": {},
    "accelerate_sharded": {},
    "accelerate_pickled": {"use_safetensors": False},
    "torch_single": {"use_safetensors": False},
    "torch_variant": {"use_safetensors": False, "variant": "fp16"},
    "torch_legacy": {"use_safetensors": False},
}


def load(name: str) -> PreTrainedModel:
    """Load a folder of Transformers with the class of ours that has its names."""
    cls, options = OF_TRANSFORMERS[name]
    return cls.from_pretrained(HERE / name, **options)


def test_every_golden_folder_is_tried():
    """No folder is forgotten."""
    assert (
        {*OF_TRANSFORMERS, *SPEAKERS, "timm"}
        == {*TENSORS}
        == {entry.name for entry in HERE.iterdir()} - {"tensors.json"}
    )


# ---- Transformers


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_a_folder_of_transformers_loads(name):
    """Every tensor has the dtype, shape and bits that it had there; nothing is missing, nothing is left over."""
    model = load(name)

    assert sums(model.state_dict()) == TENSORS[name]
    assert model.load_report.exact


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_the_config_of_transformers_is_read(name):
    """Fields are found by their names, and what the class does not know is kept."""
    config, written = load(name).config, json.loads((HERE / name / "config.json").read_text(encoding="utf-8"))
    said = {key: value for key, value in written.items() if value is not None and key != "transformers_version"}

    assert {key: config.to_dict()[key] for key in said} == said


def test_labels_of_transformers():
    """The labels are there, and they sized the head."""
    model = load("transformers_single")

    assert model.config.id2label == {0: "cat", 1: "dog", 2: "crane"}
    assert model.classifier[1].weight.shape == (3, 8)


@pytest.mark.parametrize(("name", "tied"), [("tied", True), ("tied_bfloat16", True), ("untied", False)])
def test_tied_weights_of_transformers(name, tied):
    """Its file holds one of two tied tensors; both places hold one object, and only if the config says so."""
    model = load(f"transformers_{name}")

    assert (model.lm_head.weight is model.transformer["wte"].weight) == tied


def test_what_no_file_of_transformers_holds():
    """A buffer that is not persistent has the value that its constructor computes."""
    assert torch.equal(load("transformers_odd").net.grid, torch.linspace(0, 1, 4))


def test_the_scales_of_transformers_keep_their_names():
    """`gamma` and `beta`, which Transformers once renamed on the way in, are themselves."""
    held = read_tensors(HERE / "transformers_odd")

    assert {"net.gamma", "net.beta", "net.inner.gamma_1.weight"} <= held.keys()


def test_a_head_takes_the_body_of_transformers():
    """A body's file lacks the prefix that the head class puts before it, and the head; the report says so."""
    model = ResNetForImageClassification.from_pretrained(HERE / "transformers_body")
    report = model.load_report

    assert sums(model.resnet.state_dict()) == TENSORS["transformers_body"]
    assert report.missing == report.transferred == ("classifier.1.bias", "classifier.1.weight")


def test_a_body_takes_itself_from_a_head_of_transformers():
    """The prefix of the head class is dropped, and its head left over; the report says so."""
    model = ResNet.from_pretrained(HERE / "transformers_single")
    report = model.load_report
    body = {name: each for name, each in TENSORS["transformers_single"].items() if name.startswith("resnet.")}

    assert sums(model.state_dict()) == {name.removeprefix("resnet."): each for name, each in body.items()}
    assert report.unexpected == report.transferred == ("classifier.1.bias", "classifier.1.weight")


def test_a_variant_of_transformers_has_to_be_named():
    """A folder that only holds a variant holds no weights without it."""
    with pytest.raises(SourceNotFoundError, match=r"The folder holds: config\.json, model\.fp16\.safetensors\."):
        ResNetForImageClassification.from_pretrained(HERE / "transformers_variant")


# ---- others


@pytest.mark.parametrize("name", SPEAKERS)
@pytest.mark.parametrize("cls", [SpeakerModel, LooseSpeakerModel])
def test_a_folder_of_others_loads(name, cls):
    """Every bit comes back, and one tensor under two names is one object, even if only the file says that it is.

    The files of `accelerate` and `save_file` do not say it, and lack one of the two names.
    """
    options = {"config": SpeakerConfig(), **SPEAKERS[name]}
    if cls is LooseSpeakerModel and name in {"accelerate_sharded", "safetensors_file"}:
        with pytest.raises(MismatchError, match=r"missing from the file: out\.weight"):
            cls.from_pretrained(HERE / name, **options)
        return
    model = cls.from_pretrained(HERE / name, **options)

    assert sums(model.state_dict()) == TENSORS[name]
    assert model.out.weight is model.words.weight
    assert model.load_report.exact


def test_the_config_of_a_mixin():
    """What a constructor was given is a config without a type, and fills one of ours."""
    model = SpeakerModel.from_pretrained(HERE / "mixin")

    assert sums(model.state_dict()) == TENSORS["mixin"]


class TimmConfig(PreTrainedConfig):
    """What timm says of a model."""

    model_type = "timm"

    architecture: str
    num_classes: int = 1000
    model_args: dict[str, Any] | None = None


def test_a_folder_of_timm():
    """Its config is read by a class with its fields, and its weights without any class; neither needs timm."""
    config = TimmConfig.from_pretrained(HERE / "timm")

    assert (config.architecture, config.num_classes, config.model_args["channels"]) == ("resnet18", 3, [4, 4, 4, 8])
    assert sums(read_tensors(HERE / "timm")) == TENSORS["timm"]


def test_part_of_a_folder():
    """Some tensors are read by pattern, from whichever shards hold them."""
    held = read_tensors(HERE / "transformers_sharded", "classifier.*")

    assert sums(held) == {name: each for name, each in TENSORS["transformers_sharded"].items() if "classifier" in name}


# ---- which of two


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of Transformers that holds one file."""
    return Path(shutil.copytree(HERE / "transformers_single", tmp_path / "mixed"))


def test_one_file_and_shards_of_others(folder: Path):
    """Two checkpoints of others in one folder are ambiguous: no order of theirs says which was saved last."""
    shutil.copytree(HERE / "transformers_sharded", folder, dirs_exist_ok=True)

    with pytest.raises(AmbiguousCheckpointError) as caught:
        ResNetForImageClassification.from_pretrained(folder)
    assert str(caught.value) == (
        f"'{folder}' holds both model.safetensors and model.safetensors.index.json, "
        "and no record says which one counts.\n  Remove the one that is left over from an earlier save."
    )


def test_variants_do_not_mix(folder: Path):
    """Each variant beside the plain weights is a checkpoint of its own."""
    shutil.copytree(HERE / "transformers_variant_sharded", folder, dirs_exist_ok=True)
    plain = ResNetForImageClassification.from_pretrained(folder)
    half = ResNetForImageClassification.from_pretrained(folder, variant="fp16")

    assert sums(plain.state_dict()) == TENSORS["transformers_single"]
    assert sums(half.state_dict()) == TENSORS["transformers_variant_sharded"]


@pytest.mark.parametrize("name", OF_TRANSFORMERS)
def test_a_save_over_a_folder_of_transformers(name, tmp_path: Path):
    """What is saved over others' files is what loads afterwards, and nothing is left of the old weights."""
    folder = Path(shutil.copytree(HERE / name, tmp_path / name))
    variant = OF_TRANSFORMERS[name][1].get("variant")
    model = load(name)
    with torch.no_grad():
        next(model.parameters()).zero_()
    model.save_pretrained(folder, variant=variant)
    again = type(model).from_pretrained(folder, variant=variant)

    assert sums(again.state_dict()) == sums(model.state_dict()) != TENSORS[name]
    assert len([entry for entry in folder.iterdir() if entry.name.startswith("model")]) == 1


@pytest.mark.parametrize("size", [None, 100])
@pytest.mark.parametrize("name", SPEAKERS)
def test_a_save_over_a_folder_of_others(name, size, tmp_path: Path):
    """The safetensors of others give way to what is saved; pickles are not ours to remove, and count no more."""
    folder = Path(shutil.copytree(HERE / name, tmp_path / name))
    pickles = sorted(folder.glob("*.bin"))
    model = SpeakerModel(SpeakerConfig())
    model.save_pretrained(folder, max_shard_size=size or "50GB")
    again = SpeakerModel.from_pretrained(folder)

    assert sums(again.state_dict()) == sums(model.state_dict()) != TENSORS[name]
    assert sorted(folder.glob("*.bin")) == pickles
    assert len([*folder.glob("model*.safetensors")]) == (3 if size else 1)
