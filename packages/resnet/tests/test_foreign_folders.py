"""Folders of timm, of Transformers and of the tutorial open by themselves, and none of their code runs.

Each is made by the library itself; what comes out of our model must be what comes out of theirs, to the last bit.
"""

import json
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from nameplate_auto import CONFIG_MAPPING, AutoConfig, AutoModel, AutoModelForImageClassification
from nameplate_config import ConfigError, PreTrainedConfig
from nameplate_resnet import ResnetBackbone, ResnetConfig, ResnetModel, ResnetModelForImageClassification
from nameplate_resnet.foreign import FOREIGN_FORMATS
from nameplate_resnet.variants import TIMM_NETWORKS

IMAGES = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
HEAD = ("model.fc.bias", "model.fc.weight")
SCRIPT = Path(__file__).with_name("seed_example.py")


def filled(module: nn.Module) -> nn.Module:
    """Return a module with values that no construction gives, ready to answer."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in module.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) / 4 + 0.1)
    return module.eval()


def logits(folder: Path) -> Tensor:
    """Return what a classifier makes of the images that is found by its folder alone."""
    model = AutoModelForImageClassification.from_pretrained(folder)

    assert type(model) is ResnetModelForImageClassification
    assert model.load_report.exact
    return model(IMAGES)["logits"]


def problems(values: dict[str, Any]) -> list[str]:
    """Return what is wrong with the config of another library."""
    with pytest.raises(ConfigError) as caught:
        ResnetConfig.from_dict(values)
    return [str(each) for each in caught.value.problems]


# ---- timm


def timm_folder(folder: Path, name: str, **arguments: Any) -> nn.Module:
    """Let timm save a small network into a folder; return it."""
    labels = arguments.pop("labels", None)
    network = filled(timm.create_model(name, **{"channels": (4, 8, 8, 16), **arguments}))
    save_for_hf(network, folder, safe_serialization=True, model_config={"label_names": labels} if labels else None)
    return network


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("resnet18", {"num_classes": 5}),
        ("resnet26d", {"num_classes": 3}),
        ("resnet14t", {"num_classes": 3, "stem_width": 8}),
        ("resnext50_32x4d", {"num_classes": 3, "layers": (1, 1, 1, 1), "channels": (16, 16, 16, 32)}),
        ("seresnet18", {"num_classes": 3, "act_layer": "prelu", "output_stride": 8}),
        ("resnetrs50", {"num_classes": 3, "layers": (1, 1, 1, 1)}),
        ("resnetblur50d", {"num_classes": 3, "layers": (1, 1, 1, 1)}),
        ("resnet50_gn", {"num_classes": 3, "layers": (1, 1, 1, 1), "channels": (32, 32, 32, 32)}),
        ("resnet18", {"num_classes": 3, "block_args": {"attn_layer": "eca"}, "global_pool": "catavgmax"}),
        ("resnet18", {"num_classes": 3, "replace_stem_pool": True, "aa_layer": "blurpc", "drop_rate": 0.5}),
        ("test_resnet", {"num_classes": 3}),
    ],
)
def test_a_folder_of_timm_opens_by_itself(name: str, arguments: dict[str, Any], tmp_path: Path):
    """What `save_for_hf` writes is read with the arguments that timm was given, and answers as timm's network."""
    network = timm_folder(tmp_path, name, **arguments)

    assert torch.equal(logits(tmp_path), network(IMAGES))


def test_a_folder_of_timm_says_what_was_renamed(tmp_path: Path):
    """The report of the load names each tensor that timm calls otherwise, which are all."""
    network = timm_folder(tmp_path, "resnet18", num_classes=2)
    _, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)

    assert report.renamed == tuple(sorted((f"model.{name}", name) for name in network.state_dict()))


def test_labels_of_timm_come_over(tmp_path: Path):
    """A list of names, or a dict of some, becomes the labels; those that a dict leaves out are numbered."""
    timm_folder(tmp_path, "resnet18", num_classes=3, labels=["cat", "dog", "eel"])
    some = {"architecture": "resnet18", "num_classes": 3, "label_names": {"2": "eel"}}

    assert AutoConfig.from_pretrained(tmp_path).id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert ResnetConfig.from_dict(some).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "eel"}


def test_the_images_of_timm_count(tmp_path: Path):
    """The number of channels is that of the images timm was made for, also where only `pretrained_cfg` says it."""
    values = {"architecture": "resnet18", "pretrained_cfg": {"input_size": [1, 64, 64], "num_classes": 4}}
    config = ResnetConfig.from_dict(values)
    config.save_pretrained(tmp_path)

    assert (config.input_channels, config.num_classes) == (1, 4)
    assert ResnetConfig.from_pretrained(tmp_path) == config  # what is kept of timm's is not converted again


def test_older_files_of_timm_say_everything_at_their_top_level():
    """Before timm had `pretrained_cfg` in its files, its keys stood where that stands; they count as well."""
    values = {"architecture": "resnet18", "input_size": [1, 64, 64], "num_classes": 2, "labels": ["cat", "dog"]}
    config = ResnetConfig.from_dict(values)

    assert (config.input_channels, config.num_classes, config.id2label) == (1, 2, {0: "cat", 1: "dog"})


def test_the_body_leaves_the_head_of_timm(tmp_path: Path):
    """A body and a backbone take their part of timm's folder, and say what they left."""
    network = timm_folder(tmp_path, "resnet18", num_classes=3)
    body = AutoModel.from_pretrained(tmp_path)
    backbone = ResnetBackbone.from_pretrained(tmp_path, out_indices=(1, 4))

    assert body.load_report.transferred == backbone.load_report.transferred == HEAD
    assert torch.equal(body(IMAGES)["last_hidden_state"], network.forward_features(IMAGES))
    assert torch.equal(backbone(IMAGES).feature_maps[1], network.forward_features(IMAGES))


def test_a_body_of_timm_is_a_body(tmp_path: Path):
    """A network that timm saved without classes loads as a body, and a classifier gets a head of its own."""
    network = timm_folder(tmp_path, "resnet18", num_classes=0)
    classifier = ResnetModelForImageClassification.from_pretrained(tmp_path, num_labels=7)

    assert torch.equal(ResnetModel.from_pretrained(tmp_path)(IMAGES)["pooler_output"], network(IMAGES))
    assert classifier.load_report.transferred == HEAD
    assert classifier(IMAGES)["logits"].shape == (2, 7)


def test_every_residual_network_of_timm_is_read():
    """A file that says no more than the name and the classes of one of them has the fields of that network."""
    names = timm.list_models(module="resnet")
    found = {name: ResnetConfig.from_dict({"architecture": name, "num_classes": 2}) for name in names}

    assert found == {
        name: ResnetConfig.from_timm(name, num_classes=2, architectures=["ResnetModelForImageClassification"])
        for name in TIMM_NETWORKS
    }


def test_arguments_beyond_our_fields_are_named():
    """What we have no field for is a problem of its key in the file, with a suggestion where one is near."""
    arguments = {"in_chan": 1, "x": 1, "device": "cuda", "block_args": {"attn_layer": "se", "depth": 2}}
    found = problems({"architecture": "resnet18", "num_classes": 2, "model_args": arguments})

    assert [each.partition(":")[0] for each in found] == [
        "model_args.in_chan",
        "model_args.x",
        "model_args.block_args.depth",
    ]
    assert found[0].endswith("found 1. Did you mean 'in_chans'?")


def test_values_that_no_layer_has_are_named():
    """An argument that we have a field for is checked by that field."""
    values = {"architecture": "resnet18", "num_classes": 2, "model_args": {"act_layer": "glu"}, "global_pool": "median"}
    found = problems(values)

    assert [each.partition(":")[0] for each in found] == ["act_layer", "global_pool"]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"pretrained_cfg": [1]}, "pretrained_cfg: expected an object, found [1]"),
        (
            {"pretrained_cfg": {"input_size": 64}},
            "pretrained_cfg.input_size: expected channels, height and width, found 64",
        ),
        (
            {"pretrained_cfg": {"mean": "0.5"}},
            "pretrained_cfg.mean: expected a number for each channel, found '0.5'",
        ),
        ({"model_args": [1], "num_classes": 2}, "model_args: expected an object, found [1]"),
        ({"label_names": 7, "num_classes": 2}, "label_names: expected the names of the classes, found 7"),
        (
            {"label_names": {"cat": 0}, "num_classes": 2},
            "label_names: expected the names of the classes by their numbers, found 'cat'",
        ),
        (
            {"label_names": {"0": "cat"}, "num_classes": 10**12},
            "num_classes: expected at most 1000000 where only some have names, found 1000000000000",
        ),
    ],
)
def test_what_is_no_file_of_timm_is_named(values: dict[str, Any], expected: str):
    """A part of the file that cannot be what timm writes is a problem of its key."""
    assert problems({"architecture": "resnet18", **values}) == [expected]


# ---- Transformers


def transformers_folder(folder: Path, kind: str, **fields: Any) -> Any:
    """Let Transformers save a network of its own into a folder; return it."""
    import transformers  # noqa: PLC0415 - takes seconds

    values = {"depths": [1, 2, 1, 1], "hidden_sizes": [16, 32, 48, 64], "num_labels": 3, **fields}
    model = filled(getattr(transformers, kind)(transformers.ResNetConfig(**values)))
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("block", ["basic", "bottleneck"])
def test_a_folder_of_transformers_opens_by_itself(block: str, tmp_path: Path):
    """Its own ResNet answers as timm's with the same weights: both run the same operations."""
    theirs = transformers_folder(tmp_path, "ResNetForImageClassification", layer_type=block)

    assert torch.equal(logits(tmp_path), theirs(IMAGES).logits)


def test_a_folder_of_transformers_says_what_was_renamed(tmp_path: Path):
    """The report of the load names each tensor and what Transformers calls it."""
    theirs = transformers_folder(tmp_path, "ResNetForImageClassification")
    report = ResnetModelForImageClassification.from_pretrained(tmp_path).load_report
    renamed = dict(report.renamed)

    assert report.exact
    assert sorted(renamed.values()) == sorted(theirs.state_dict())
    assert renamed["model.layer2.1.bn3.bias"] == "resnet.encoder.stages.1.layers.1.layer.2.normalization.bias"
    assert (
        renamed["model.layer2.0.downsample.0.weight"] == "resnet.encoder.stages.1.layers.0.shortcut.convolution.weight"
    )
    assert ResnetModelForImageClassification.plan_load(tmp_path).report == report


def test_labels_of_transformers_come_over(tmp_path: Path):
    """Named labels are the labels; without any there are two, which Transformers does not write."""
    named, plain = tmp_path / "named", tmp_path / "plain"
    transformers_folder(named, "ResNetForImageClassification", id2label={0: "cat", 1: "dog", 2: "eel"})
    transformers_folder(plain, "ResNetForImageClassification", num_labels=2)

    assert AutoConfig.from_pretrained(named).id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert AutoConfig.from_pretrained(plain).num_classes == 2
    assert logits(plain).shape == (2, 2)


def test_a_body_of_transformers_is_a_body(tmp_path: Path):
    """Its body, whose names lack a prefix, loads as ours."""
    theirs = transformers_folder(tmp_path, "ResNetModel")
    answer = AutoModel.from_pretrained(tmp_path)(IMAGES)

    assert torch.equal(answer["last_hidden_state"], theirs(IMAGES).last_hidden_state)
    assert torch.equal(answer["pooler_output"], theirs(IMAGES).pooler_output.flatten(1))


def test_a_backbone_of_transformers_is_a_backbone(tmp_path: Path):
    """Its backbone answers the stages that its config names, each map with the same bits."""
    theirs = transformers_folder(tmp_path, "ResNetBackbone", out_features=["stage1", "stage3"])
    ours = ResnetBackbone.from_pretrained(tmp_path)

    assert ours.load_report.exact
    assert list(ours.channels) == theirs.channels
    assert all(map(torch.equal, ours(IMAGES).feature_maps, theirs(IMAGES).feature_maps))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"downsample_in_bottleneck": True}, "downsample_in_bottleneck: expected False, found True. The network"),
        ({"downsample_in_first_stage": True}, "downsample_in_first_stage: expected False, found True. The network"),
        ({"embedding_size": 32}, "embedding_size: expected 64, found 32. The network"),
        ({"hidden_act": "gelu"}, "hidden_act: expected 'relu', found 'gelu'. The network"),
        ({"depths": [1, 1]}, "depths: expected 4 numbers, found [1, 1]"),
        ({"hidden_sizes": "wide"}, "hidden_sizes: expected 4 numbers, found 'wide'"),
        ({"hidden_sizes": [6, 8, 8, 8]}, "hidden_sizes: expected multiples of 4, the expansion of a bottleneck, found"),
        ({"layer_type": "wide"}, "layer_type: expected 'basic' or 'bottleneck', found 'wide'"),
        ({"layer_type": ["basic"]}, "layer_type: expected 'basic' or 'bottleneck', found ['basic']"),
        ({"architectures": 7}, "architectures: expected"),
        ({"architectures": [["ResNetModel"]]}, "architectures[0]: expected"),
        ({"out_features": ["stem"]}, "out_features: expected no stem, found ['stem']. The stem of Transformers ends"),
        ({"out_indices": [0, 2]}, "out_features: expected no stem, found [0, 2]. The stem of Transformers ends"),
    ],
)
def test_what_only_transformers_has_is_refused(values: dict[str, Any], expected: str):
    """A network that timm's layers do not make is an error that names the key of Transformers' file."""
    native = {"model_type": "resnet", "depths": [1, 1, 1, 1], "hidden_sizes": [4, 4, 4, 4], "layer_type": "bottleneck"}
    (found,) = problems({**native, **values})

    assert found.startswith(expected)


# ---- the tutorial


def tutorial() -> Any:
    """Return the module of the tutorial, its classes made by Transformers."""
    text = SCRIPT.read_text("utf-8").partition("AutoConfig.register(")[0]
    lines = [line for line in text.splitlines() if not line.startswith("from nameplate")]
    module = types.ModuleType("tutorial")
    module.__file__ = str(SCRIPT)
    exec("\n".join(["from transformers import PreTrainedConfig, PreTrainedModel", *lines]), vars(module))  # noqa: S102 - ours
    return module


def tutorial_folder(folder: Path, kind: str, **fields: Any) -> Any:
    """Save a model of the tutorial with Transformers, beside code that must not run; return it."""
    module = tutorial()
    sys.modules["tutorial"] = module
    try:
        model = filled(getattr(module, kind)(module.ResnetConfig(**fields)))
        model.save_pretrained(folder)
    finally:
        del sys.modules["tutorial"]
    values = json.loads((folder / "config.json").read_text("utf-8"))
    values["auto_map"] = {"AutoConfig": "custom.ResnetConfig", "AutoModelForImageClassification": f"custom.{kind}"}
    (folder / "config.json").write_text(json.dumps(values), "utf-8")
    (folder / "custom.py").write_text("raise SystemExit('code of the folder ran')\n", "utf-8")
    return model


SMALL = {"block_type": "basic", "layers": [1, 1, 1, 1], "num_classes": 3}


def test_a_folder_of_the_tutorial_opens_by_itself(tmp_path: Path):
    """A model of the tutorial that Transformers saved answers the same here, and its code does not run."""
    theirs = tutorial_folder(tmp_path, "ResnetModelForImageClassification", **SMALL)
    saved = json.loads((tmp_path / "config.json").read_text("utf-8"))

    assert (saved["model_type"], saved["architectures"]) == ("resnet", ["ResnetModelForImageClassification"])
    assert torch.equal(logits(tmp_path), theirs(IMAGES)["logits"])
    assert not AutoConfig.from_pretrained(tmp_path).auto_map


def test_a_body_of_the_tutorial_has_a_head(tmp_path: Path):
    """The tutorial's body carries a head that it never uses: ours leaves it, a classifier takes it."""
    theirs = tutorial_folder(tmp_path, "ResnetModel", **SMALL)
    body = AutoModel.from_pretrained(tmp_path)

    assert body.load_report.transferred == HEAD
    assert torch.equal(body(IMAGES)["last_hidden_state"], theirs(IMAGES))
    assert torch.equal(logits(tmp_path), theirs.model(IMAGES))


@pytest.mark.parametrize(
    ("stem_type", "expected"), [("", ("", 64)), ("deep", ("deep", 32)), ("deep-tiered", ("deep_tiered", 32))]
)
def test_the_stems_of_the_tutorial(stem_type: str, expected: tuple[str, int]):
    """The tutorial writes a tiered stem with a hyphen, and a width that a plain stem ignores."""
    values = {**ResnetConfig(**SMALL).to_dict(), "model_type": "resnet", "stem_type": stem_type, "stem_width": 32}
    config = ResnetConfig.from_dict(values)

    assert (config.stem_type, config.stem_width) == expected


def test_registered_classes_come_first(tmp_path: Path):
    """Where somebody registered `resnet`, folders that say so go to those classes, whatever their fields."""

    class OwnConfig(PreTrainedConfig):
        model_type = "resnet"

    tutorial_folder(tmp_path, "ResnetModelForImageClassification", **SMALL)
    with CONFIG_MAPPING.override("resnet", OwnConfig):
        config = AutoConfig.from_pretrained(tmp_path)

    assert type(config) is OwnConfig
    assert config.block_type == "basic"


# ---- the predicates


OTHERS = {
    "a vision transformer of timm": {"architecture": "vit_base_patch16_224", "pretrained_cfg": {}, "num_classes": 3},
    "a ResNetV2 of timm": {"architecture": "resnetv2_50", "pretrained_cfg": {}, "num_classes": 3},
    "an architecture that is no text": {"architecture": ["resnet18"], "pretrained_cfg": {}},
    "timm's inside Transformers": {"model_type": "timm_wrapper", "architecture": "resnet18", "pretrained_cfg": {}},
    "a RegNet": {"model_type": "regnet", "depths": [1], "hidden_sizes": [8], "layer_type": "y", "embedding_size": 32},
    "the ResNet of RT-DETR": {
        "model_type": "rt_detr_resnet",
        "depths": [1],
        "hidden_sizes": [8],
        "layer_type": "basic",
    },
    "something with layers": {"model_type": "mine", "block_type": "basic", "layers": [1, 1, 1, 1]},
    "nothing": {},
}


@pytest.mark.parametrize("what", OTHERS)
def test_what_others_are_is_not_taken(what: str):
    """No format takes the config of another architecture for a residual network."""
    assert [each.name for each in FOREIGN_FORMATS if each.claims(OTHERS[what])] == []


def test_the_formats_exclude_each_other():
    """One format takes each kind of folder, and says its name."""
    tutorial_values = {**ResnetConfig().to_dict(), "model_type": "resnet"}
    native = {"model_type": "resnet", "depths": [1], "hidden_sizes": [8], "layer_type": "basic"}
    of_timm = {"architecture": "resnet18", "num_classes": 3}
    found = [[each.name for each in FOREIGN_FORMATS if each.claims(v)] for v in (tutorial_values, of_timm, native)]

    assert found == [["tutorial"], ["timm"], ["transformers"]]


def test_a_config_of_ours_without_a_model_type_is_not_the_tutorials() -> None:
    """A file that lost its `model_type` is read by the class itself, as it is, or by nobody."""
    values = ResnetConfig(architectures=["ResnetBackbone"]).to_dict()
    del values["model_type"]

    assert not any(each.claims(values) for each in ResnetConfig.foreign_formats)
    assert ResnetConfig.from_dict(values).architectures == ["ResnetBackbone"]
