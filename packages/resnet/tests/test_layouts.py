"""What is saved in the layout of timm or of Transformers loads there, and comes back, with the same bits.

Each is read by the library itself. What a layout cannot express is refused before anything is written.
"""

import json
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image
from timm.models import save_for_hf
from torch import Tensor, nn
from transformers import AutoImageProcessor

from nameplate_auto import AutoConfig, AutoModelForImageClassification
from nameplate_config import ConfigError, UnknownOptionError, fields
from nameplate_conformance.drawing.strategies import config_kwargs
from nameplate_model import PreTrainedModel
from nameplate_resnet import (
    ImageProcessorConfig,
    ResnetBackbone,
    ResnetConfig,
    ResnetForSemanticSegmentation,
    ResnetModel,
    ResnetModelForImageClassification,
)
from nameplate_resnet.conformance import ARCHITECTURE
from nameplate_resnet.transformers_format import _IN_TRAINING, _ONLY

SMALL: dict[str, Any] = {
    "block_type": "basic",
    "layers": (1, 2, 1, 1),
    "channels": (4, 8, 8, 16),
    "num_classes": 3,
    "id2label": {0: "cat", 1: "dog", 2: "eel"},
}
OF_TIMM = {"architecture", "model_args", "num_features", "label_names", "image_processor_type"}


def filled(model: PreTrainedModel) -> Any:
    """Return a model with values that no construction gives, ready to answer."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for tensor in model.state_dict().values():
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator) / 4 + 0.1)
    return model.eval()


def classifier(**fields: Any) -> ResnetModelForImageClassification:
    """Return a small classifier that answers."""
    return filled(ResnetModelForImageClassification(ResnetConfig(**{**SMALL, **fields})))


def images(model: PreTrainedModel) -> Tensor:
    """Return images that a model takes."""
    return model.dummy_inputs["pixel_values"]


def in_timm(folder: Path | str) -> Any:
    """Return what timm makes of a folder; a warning of its would be an error."""
    return timm.create_model(f"local-dir:{folder}", pretrained=True).eval()


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two modules have the same names and the same bits."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())


def config_in(folder: Path) -> dict[str, Any]:
    """Return what `config.json` holds."""
    return json.loads((folder / "config.json").read_text("utf-8"))


# ---- timm


def test_transformers_takes_the_file_for_an_image_processor_of_timm(tmp_path: Path):
    """A folder in the layout of timm gives Transformers the transform that it says, with no other file."""
    processor = ImageProcessorConfig(size=(64, 64), crop_pct=0.9, mean=(0.1, 0.2, 0.3))
    model = classifier()
    model.config.pretrained_cfg = processor.pretrained_cfg()
    model.save_pretrained(tmp_path, layout="timm")
    picture = Image.new("RGB", (90, 120), (10, 200, 90))
    theirs = AutoImageProcessor.from_pretrained(tmp_path)(picture, return_tensors="pt")["pixel_values"][0]

    assert torch.equal(theirs, processor.transform()(picture))
    assert ImageProcessorConfig.from_pretrained(tmp_path) == processor


def test_timm_loads_a_classifier(tmp_path: Path):
    """Timm makes the network of its layout, with every tensor of ours and the same answer."""
    model = classifier()
    model.save_pretrained(tmp_path, layout="timm")
    theirs = in_timm(tmp_path)

    assert same(theirs, model.model)
    assert torch.equal(theirs(images(model)), model(images(model))["logits"])
    assert theirs.pretrained_cfg["label_names"] == ["cat", "dog", "eel"]


def test_timm_loads_a_body(tmp_path: Path):
    """A body is a network without classes to timm, and answers the pooled features."""
    model = filled(ResnetModel(ResnetConfig(**SMALL)))
    model.save_pretrained(tmp_path, layout="timm")
    theirs = in_timm(tmp_path)

    assert same(theirs, model.model)
    assert torch.equal(theirs(images(model)), model(images(model))["pooler_output"])
    assert (theirs.num_classes, theirs.pretrained_cfg["num_classes"]) == (0, 0)
    assert ResnetModel.from_pretrained(tmp_path).config.num_classes == 3


@pytest.mark.parametrize("cls", [ResnetModelForImageClassification, ResnetModel])
def test_the_layout_of_timm_is_ours_too(cls: type[PreTrainedModel], tmp_path: Path):
    """The same folder loads here with every field, also those that timm knows nothing of."""
    model = filled(cls(ResnetConfig(**SMALL, label_smoothing=0.1, out_indices=(1, 2))))
    model.save_pretrained(tmp_path, layout="timm")
    loaded = cls.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.load_report.exact
    assert loaded.config.diff(model.config).keys() == {"architectures", "dtype", "pretrained_cfg"}


def test_what_timm_says_of_our_fields_does_not_count_here(tmp_path: Path):
    """A hand that changes timm's keys alone changes nothing for us, and nothing of them is kept."""
    model = classifier()
    model.save_pretrained(tmp_path, layout="timm")
    values = config_in(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**values, "architecture": "resnet50d", "label_names": ["x"]}))
    loaded = AutoModelForImageClassification.from_pretrained(tmp_path)
    loaded.save_pretrained(tmp_path / "ours")

    assert values.keys() >= OF_TIMM
    assert same(loaded, model)
    assert loaded.config.id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert config_in(tmp_path / "ours").keys().isdisjoint(OF_TIMM)


def test_what_timm_said_of_the_images_goes_back(tmp_path: Path):
    """How images are prepared for timm's weights is kept here and told again, where these weights come from is not."""
    network = timm.create_model("resnet18d.ra2_in1k", num_classes=3, channels=(4, 8, 8, 16), stem_width=4)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own
        save_for_hf(network, tmp_path / "theirs", safe_serialization=True)
    before = config_in(tmp_path / "theirs")["pretrained_cfg"]
    ours = ResnetModelForImageClassification.from_pretrained(tmp_path / "theirs")
    ours.save_pretrained(tmp_path / "ours")
    again = ResnetModelForImageClassification.from_pretrained(tmp_path / "ours")
    again.save_pretrained(tmp_path / "again", layout="timm")
    after = config_in(tmp_path / "again")["pretrained_cfg"]

    assert ours.config.pretrained_cfg == again.config.pretrained_cfg == before
    assert {"input_size", "mean", "std", "interpolation", "crop_pct", "first_conv", "classifier"} <= after.keys()
    assert {key: before[key] for key in after} == after
    assert before.keys() - after.keys() <= {"custom_load"}


def test_what_is_true_of_the_weights_replaces_what_was(tmp_path: Path):
    """Classes, channels and first convolution are told of this network, whatever was kept of another one."""
    cfg = {"num_classes": 1000, "input_size": [3, 64, 64], "mean": [0.1, 0.2, 0.6], "first_conv": "x", "url": "y"}
    model = classifier(input_channels=1, stem_type="deep", stem_width=4)
    model.config.pretrained_cfg = cfg
    model.save_pretrained(tmp_path, layout="timm")

    assert config_in(tmp_path)["pretrained_cfg"] == {
        "classifier": "fc",
        "first_conv": "conv1.0",
        "input_size": [1, 64, 64],
        "mean": [0.3],
        "num_classes": 3,
        "std": [0.226],
    }
    assert same(in_timm(tmp_path), model.model)


@settings(max_examples=8, deadline=None)
@given(kwargs=config_kwargs(ARCHITECTURE))
@example(kwargs={**SMALL, "block_type": ("basic", "basic", "bottleneck", "basic"), "act_layer": "silu"})
@example(kwargs={**SMALL, "block_type": "bottleneck", "block_args": {"attn_layer": "se", "rd_ratio": 0.25}})
@example(kwargs={**SMALL, "aa_layer": "blur", "global_pool": "catavgmax", "output_stride": 16, "input_channels": 1})
def test_a_trip_through_timm_keeps_every_bit(kwargs: dict[str, Any]):
    """Any small network goes to timm in its layout and comes back in timm's own file: the same bits, the same answer.

    What neither JSON nor a network of timm brings together is refused with the way out.
    """
    model = filled(ResnetModelForImageClassification(ResnetConfig(**kwargs)))
    with TemporaryDirectory() as there, TemporaryDirectory() as back, warnings.catch_warnings():
        try:
            model.save_pretrained(there, layout="timm")
        except ConfigError as error:
            assert "timm has no network with" in str(error)  # noqa: PT017 - one of two outcomes
            return
        theirs = in_timm(there)
        warnings.simplefilter("ignore")  # its own
        save_for_hf(theirs, back, safe_serialization=True)
        # copied, because the products of matrices may round otherwise where these are mapped at another alignment
        again = ResnetModelForImageClassification.from_pretrained(back, memory="copy")

        assert same(theirs, model.model)
        assert same(again, model)
        assert torch.equal(theirs(images(model)), model(images(model))["logits"])
        assert torch.equal(again(images(model))["logits"], model(images(model))["logits"])
        untold = {"dtype", "pretrained_cfg", "architectures", "out_features", "out_indices"} | _IN_TRAINING
        assert again.config.diff(model.config).keys() <= untold - {"zero_init_last"}


@pytest.mark.parametrize("cls", [ResnetBackbone, ResnetForSemanticSegmentation])
def test_timm_has_no_such_model(cls: type[PreTrainedModel], tmp_path: Path):
    """A model that timm could only load as something else is refused in its layout, and no file is written."""
    with pytest.raises(ConfigError) as caught:
        cls(ResnetConfig(**SMALL)).save_pretrained(tmp_path, layout="timm")

    assert str(caught.value) == (
        "ResnetConfig, in the layout 'timm': 1 problem.\n"
        f"  architectures: expected ResnetModelForImageClassification or ResnetModel, found ['{cls.__name__}']. "
        "timm answers classes or pooled features and nothing else. Save the body, which takes its part of this"
    )
    assert not list(tmp_path.iterdir())


def test_what_json_cannot_say_is_refused(tmp_path: Path):
    """A combination of layers that no network of timm has and no argument can say is refused in words."""
    with pytest.raises(ConfigError, match=r"the layout 'timm' of ResnetConfig refuses it: timm has no network with"):
        classifier(block_type="basic", block_args={"attn_layer": "gc", "rd_ratio": 0.5}).save_pretrained(
            tmp_path, layout="timm"
        )


def test_timm_knows_no_shards(tmp_path: Path):
    """Timm reads one file, so that more are refused; the way out is in the message."""
    with pytest.raises(UnknownOptionError, match=r"layout='timm' is read from one file of weights"):
        classifier().save_pretrained(tmp_path, layout="timm", max_shard_size="10KB")


def test_a_kept_cfg_that_is_none_is_refused(tmp_path: Path):
    """What the config keeps under timm's name must be what timm reads, or is a problem of its key."""
    model = classifier()
    model.config.pretrained_cfg = {"input_size": 64}
    with pytest.raises(ConfigError, match=r"pretrained_cfg\.input_size: expected channels, height and width, found 64"):
        model.save_pretrained(tmp_path, layout="timm")


# ---- Transformers


def in_transformers(folder: Path | str, kind: str = "ResNetForImageClassification") -> Any:
    """Return what Transformers makes of a folder; it must find every tensor, and no other."""
    import transformers  # noqa: PLC0415 - takes seconds

    model, found = getattr(transformers, kind).from_pretrained(str(folder), output_loading_info=True)
    assert not any(found.values()), found
    return model


def test_transformers_loads_a_classifier(tmp_path: Path):
    """Its own ResNet answers as ours does, and has the labels."""
    model = classifier()
    model.save_pretrained(tmp_path, layout="transformers")
    theirs = in_transformers(tmp_path)

    assert torch.equal(theirs(images(model)).logits, model(images(model))["logits"])
    assert theirs.config.id2label == {0: "cat", 1: "dog", 2: "eel"}
    assert type(AutoConfig.from_pretrained(tmp_path)) is ResnetConfig


def test_transformers_loads_a_body(tmp_path: Path):
    """Its body answers the same maps and means, and its backbone takes its part of the same folder."""
    model = filled(ResnetModel(ResnetConfig(**SMALL)))
    model.save_pretrained(tmp_path, layout="transformers")
    theirs, ours = in_transformers(tmp_path, "ResNetModel")(images(model)), model(images(model))
    maps = in_transformers(tmp_path, "ResNetBackbone")(images(model)).feature_maps

    assert torch.equal(theirs.last_hidden_state, ours["last_hidden_state"])
    assert torch.equal(theirs.pooler_output.flatten(1), ours["pooler_output"])
    assert torch.equal(maps[-1], ours["last_hidden_state"])


def test_transformers_loads_a_backbone(tmp_path: Path):
    """Its backbone answers the stages that ours answers."""
    model = filled(ResnetBackbone(ResnetConfig(**SMALL, out_indices=(1, 3))))
    model.save_pretrained(tmp_path, layout="transformers")
    theirs = in_transformers(tmp_path, "ResNetBackbone")

    assert list(theirs.out_features) == ["stage1", "stage3"]
    assert all(map(torch.equal, theirs(images(model)).feature_maps, model(images(model)).feature_maps))


PLAIN = st.fixed_dictionaries(
    {
        "block_type": st.sampled_from(["basic", "bottleneck"]),
        "layers": st.tuples(*[st.integers(1, 2)] * 4),
        "channels": st.tuples(*[st.sampled_from([4, 8, 64])] * 4),
        "num_classes": st.integers(1, 4),
        "input_channels": st.sampled_from([1, 3]),
        "out_indices": st.sampled_from([None, (1,), (2, 4)]),
        "problem_type": st.sampled_from([None, "multi_label_classification", "regression"]),
        "drop_rate": st.sampled_from([0.0, 0.5]),
        "zero_init_last": st.booleans(),
    }
)


@settings(max_examples=6, deadline=None)
@given(kwargs=PLAIN, shards=st.booleans())
def test_a_trip_through_transformers_keeps_everything(kwargs: dict[str, Any], shards: bool):
    """Any plain network goes to Transformers in its layout and comes back as Transformers saves it: bits and fields."""
    model = filled(ResnetModelForImageClassification(ResnetConfig(**kwargs)))
    with TemporaryDirectory() as there, TemporaryDirectory() as back:
        model.save_pretrained(there, layout="transformers", max_shard_size="100KB" if shards else "50GB")
        here = ResnetModelForImageClassification.from_pretrained(there)
        theirs = in_transformers(there)
        theirs.save_pretrained(back)
        again = ResnetModelForImageClassification.from_pretrained(back)

        assert same(here, model)
        assert same(again, model)
        assert torch.equal(theirs(images(model)).logits, model(images(model))["logits"])
        for loaded in (here, again):
            named = {"dtype", "architectures", "transformers_version", "out_features", "id2label"}
            assert loaded.config.diff(model.config).keys() <= named
            assert loaded.config.out_indices == model.config.out_indices


def test_every_field_beyond_transformers_is_named(tmp_path: Path):
    """One error names all that its ResNet does not have, each with the reason."""
    config = ResnetConfig(
        **{**SMALL, "block_type": "bottleneck"},
        stem_type="deep",
        stem_width=8,
        avg_down=True,
        cardinality=2,
        act_layer="silu",
        aa_layer="avg",
        block_args={"attn_layer": "se"},
        output_stride=8,
        out_indices=(0, 1),
    )
    with pytest.raises(ConfigError) as caught:
        ResnetModelForImageClassification(config).save_pretrained(tmp_path, layout="transformers")

    assert [each.path for each in caught.value.problems] == [
        "stem_type", "stem_width", "cardinality", "avg_down", "output_stride", "act_layer", "aa_layer", "block_args",
        "out_features",
    ]  # fmt: skip
    assert str(caught.value).splitlines() == [
        "ResnetConfig, in the layout 'transformers': 9 problems.",
        "  stem_type: expected '', found 'deep'. Its stem is one 7x7 convolution",
        "  stem_width: expected 64, found 8. Its stem is one 7x7 convolution",
        "  cardinality: expected 1, found 2. Its convolutions have no groups",
        "  avg_down: expected False, found True. Its skip connections shrink by their 1x1 convolution",
        "  output_stride: expected 32, found 8. It has no dilation",
        "  and 4 more",
    ]
    assert not list(tmp_path.iterdir())


def test_transformers_has_no_segmentation(tmp_path: Path):
    """A model that its ResNet does not have is a problem of the architecture."""
    with pytest.raises(
        ConfigError, match=r"architectures: expected one of ResnetModelForImageClassification, .* It has"
    ):
        ResnetForSemanticSegmentation(ResnetConfig(**SMALL)).save_pretrained(tmp_path, layout="transformers")


def test_stages_of_two_kinds_are_beyond_transformers(tmp_path: Path):
    """Its stages are all of one kind of block."""
    model = classifier(block_type=("basic", "basic", "bottleneck", "basic"))
    with pytest.raises(ConfigError, match=r"block_type: expected one for all stages, found \['basic', 'basic'"):
        model.save_pretrained(tmp_path, layout="transformers")


def test_every_field_has_its_word_in_transformers():
    """A field is translated, stands for one value or is kept for training: none is forgotten."""
    translated = {"block_type", "layers", "channels", "num_classes", "input_channels"}
    shared = {"out_features", "out_indices"}

    assert {field.name for field in fields(ResnetConfig)} == translated | shared | _ONLY.keys() | _IN_TRAINING


# ---- one folder


@pytest.mark.parametrize("first", ["timm", "transformers", None])
@pytest.mark.parametrize("then", ["timm", "transformers", None])
def test_one_layout_takes_the_place_of_another(then: str | None, first: str | None, tmp_path: Path):
    """A folder holds the checkpoint that was saved last, in its own words alone, and each loads here."""
    old, new = classifier(), classifier(num_classes=2, id2label=None)
    old.save_pretrained(tmp_path / "one", layout=first)
    new.save_pretrained(tmp_path / "one", layout=then)
    new.save_pretrained(tmp_path / "alone", layout=then)

    assert same(AutoModelForImageClassification.from_pretrained(tmp_path / "one"), new)
    assert config_in(tmp_path / "one") == config_in(tmp_path / "alone")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == ["config.json", "model.safetensors"]
