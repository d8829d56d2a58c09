"""How images are prepared: the numbers are timm's and Transformers' own, whichever file says how.

Every comparison is with the real library on a real photograph.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_sample_image
from timm.data import create_transform, resolve_data_config
from timm.models import save_for_hf
from torch import Tensor

from nameplate_config import ConfigError, ConfigFileError, SourceNotFoundError, UnknownOptionError, UnsafePathError
from nameplate_resnet import ImageProcessorConfig, ResnetConfig

PHOTOGRAPH = Image.fromarray(load_sample_image("china.jpg"))
CUT = PHOTOGRAPH.crop((0, 0, 600, 427))
NAME = "preprocessor_config.json"
LEVEL = 1 / 255 / 0.224
"""One level of a byte, after it was divided by the smallest deviation of ImageNet."""


def written(folder: Path, values: dict[str, Any], name: str = NAME) -> Path:
    """Write a JSON file into a folder, and return the folder."""
    (folder / name).write_text(json.dumps(values))
    return folder


def pixels(processor: Any, image: Image.Image = CUT) -> Tensor:
    """Return what an image processor of Transformers makes of an image."""
    return torch.as_tensor(np.asarray(processor(image, return_tensors="pt")["pixel_values"][0]))


# ---- timm


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("resnet50.a1_in1k", {}),
        ("resnet18.tv_in1k", {}),
        ("resnet50.a1_in1k", {"crop_mode": "border", "size": [96, 128]}),
        ("resnet50.a1_in1k", {"crop_mode": "squash", "size": [96, 128]}),
        ("resnet50.a1_in1k", {"size": [96, 128], "interpolation": "lanczos"}),
    ],
)
def test_the_transform_is_timms(name: str, changes: dict[str, Any]):
    """A photograph becomes the tensor that timm's own transform makes of it, to the last bit."""
    ours = ImageProcessorConfig.from_timm(name, **changes)
    cfg = timm.get_pretrained_cfg(name).to_dict()
    theirs = {**cfg, **changes, "input_size": (3, *changes.get("size", cfg["input_size"][1:]))}
    theirs.pop("size", None)
    transform = create_transform(**resolve_data_config({}, pretrained_cfg=theirs), is_training=False)

    assert torch.equal(ours.transform()(PHOTOGRAPH), transform(PHOTOGRAPH))


def test_the_transform_takes_the_size_at_which_timm_evaluates():
    """With `use_test_size` it is the size and the share that timm calls those of tests."""
    ours = ImageProcessorConfig.from_timm("resnet50.a1_in1k")
    cfg = timm.get_pretrained_cfg("resnet50.a1_in1k").to_dict()
    data = resolve_data_config({}, pretrained_cfg=cfg, use_test_size=True)

    assert (ours.test_size, ours.test_crop_pct) == ((288, 288), 1.0)
    assert torch.equal(ours.transform(use_test_size=True)(PHOTOGRAPH), create_transform(**data)(PHOTOGRAPH))


def test_the_transform_of_training_is_timms():
    """Under one seed the augmented photograph is the one that timm makes with the same options."""
    ours = ImageProcessorConfig(size=(64, 64)).transform(training=True, hflip=1.0, re_prob=1.0)
    theirs = create_transform((3, 64, 64), is_training=True, interpolation="bicubic", hflip=1.0, re_prob=1.0)
    found = []
    for transform in (ours, theirs):
        torch.manual_seed(0)
        np.random.seed(0)  # noqa: NPY002 - what timm draws from
        __import__("random").seed(0)
        found.append(transform(PHOTOGRAPH))

    assert torch.equal(*found)


def test_an_option_that_timm_lacks_is_named():
    """A misspelt option of the transform is an error that names the right one; a value that timm refuses, one too."""
    with pytest.raises(
        UnknownOptionError, match=r"'hfilp' is no option of timm's transform\.\n  Did you mean 'hflip'\?"
    ):
        ImageProcessorConfig().transform(training=True, hfilp=0.0)
    with pytest.raises(ConfigError, match=r"timm makes no transform of {'interpolation': 'cubic'}: KeyError: 'cubic'"):
        ImageProcessorConfig().transform(interpolation="cubic")


def test_a_network_that_timm_lacks_is_named():
    """An unknown network is an error with the nearest name; unknown weights of a known one, with timm's reason."""
    with pytest.raises(ConfigError, match=r"timm has no network 'resnet50x'\.\n  Did you mean 'resnet50'\?"):
        ImageProcessorConfig.from_timm("resnet50x")
    with pytest.raises(ConfigError, match=r"timm knows no images for 'resnet50.nope': .*Invalid pretrained tag"):
        ImageProcessorConfig.from_timm("resnet50.nope")


def test_every_network_of_timm_says_how_its_images_are_prepared():
    """All weights of residual networks are read, and what is written for timm gives it the same data config."""
    names = timm.list_models(pretrained=True, module="resnet")
    for name in names:
        cfg = timm.get_pretrained_cfg(name).to_dict()
        ours = ImageProcessorConfig.from_timm(name)
        for test in (False, True):
            theirs = resolve_data_config({}, pretrained_cfg=cfg, use_test_size=test)
            found = resolve_data_config({}, pretrained_cfg=ours.pretrained_cfg(), use_test_size=test)
            assert {key: tuple(each) if isinstance(each, list) else each for key, each in found.items()} == theirs
    assert len(names) > 100


# ---- inverses

SIDES = st.tuples(st.integers(1, 600), st.integers(1, 600))
SHARES = st.floats(0.01, 1) | st.sampled_from([0.875, 0.95, 0.965, 1.0])


@st.composite
def processors(draw: st.DrawFn, *, rescaled: bool = False) -> ImageProcessorConfig:
    """Draw how images may be prepared."""
    channels = draw(st.integers(1, 4))
    numbers = {"min_size": channels, "max_size": channels}
    size = draw(SIDES | st.integers(1, 600).map(lambda side: (side, side)))
    mode = draw(st.sampled_from(["center", "squash"] if rescaled else ["center", "squash", "border"]))
    return ImageProcessorConfig(
        size=size[:1] * 2 if rescaled else size,
        crop_mode=mode,
        crop_pct=draw(SHARES),
        interpolation=draw(st.sampled_from(["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos"])),
        mean=draw(st.lists(st.floats(-300, 300), **numbers)),
        std=draw(st.lists(st.floats(0.01, 300), **numbers)),
        test_size=draw(st.none() | SIDES),
        test_crop_pct=draw(st.none() | SHARES),
        **({"rescale_factor": draw(st.floats(1e-5, 1))} if rescaled else {}),
    )


@given(processors())
def test_timms_keys_say_it_all(processor: ImageProcessorConfig):
    """What is written for timm gives, read again through JSON, the config that it was written from."""
    assert ImageProcessorConfig.from_dict(json.loads(json.dumps(processor.pretrained_cfg()))) == processor


@given(processors() | processors(rescaled=True))
def test_the_file_says_it_all(processor: ImageProcessorConfig):
    """What is written for Transformers gives, read again through JSON, the config that it was written from."""
    assert ImageProcessorConfig.from_dict(json.loads(json.dumps(processor.preprocessor_config()))) == processor


@given(st.integers(8, 700), st.integers(8, 700))
def test_a_crop_of_transformers_is_a_share_of_timm(crop: int, edge: int):
    """Whatever Transformers resizes to and crops, there is a share by which timm does the same."""
    values = {"image_processor_type": "BitImageProcessor", "size": {"shortest_edge": edge}, "crop_size": crop}
    processor = ImageProcessorConfig.from_dict(values)

    assert (processor.size, processor.resized) == ((crop, crop), (edge, edge))


# ---- Transformers


@pytest.mark.parametrize(
    ("kind", "arguments"),
    [
        ("ConvNextImageProcessor", {"size": {"shortest_edge": 160}, "crop_pct": 0.8}),
        ("ConvNextImageProcessor", {}),
        ("BitImageProcessor", {"size": {"shortest_edge": 232}}),
        ("CLIPImageProcessor", {"do_normalize": False}),
        ("CLIPImageProcessor", {"do_rescale": False, "do_normalize": False, "resample": 2}),
        ("DeiTImageProcessor", {}),
        ("ViTImageProcessor", {"size": {"height": 96, "width": 128}}),
    ],
)
def test_the_files_of_transformers_are_read(kind: str, arguments: dict[str, Any], tmp_path: Path):
    """An image processor of Transformers and our transform make the same of a photograph, but for rounding."""
    theirs = getattr(transformers, f"{kind}Pil")(**arguments)
    theirs.save_pretrained(tmp_path)
    ours = ImageProcessorConfig.from_pretrained(tmp_path).transform()(CUT)

    assert torch.allclose(ours, pixels(theirs).to(ours.dtype), atol=1e-4, rtol=1e-6)


def test_a_file_of_an_old_transformers_is_read(tmp_path: Path):
    """The file of `microsoft/resnet-50`, with `size: 224` and a feature extractor's name, means ConvNext's crop."""
    written(
        tmp_path,
        {
            "crop_pct": 0.875,
            "do_normalize": True,
            "do_resize": True,
            "feature_extractor_type": "ConvNextFeatureExtractor",
            "image_mean": [0.485, 0.456, 0.406],
            "image_std": [0.229, 0.224, 0.225],
            "resample": 3,
            "size": 224,
        },
    )

    assert ImageProcessorConfig.from_pretrained(tmp_path) == ImageProcessorConfig()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"size": (384, 384), "crop_pct": 0.9},
        {"size": (96, 128), "crop_pct": 1.0, "crop_mode": "squash"},
        {"interpolation": "bilinear", "mean": (120.0, 110.0, 100.0), "std": (60.0,) * 3, "rescale_factor": 1.0},
    ],
)
def test_transformers_opens_our_file(changes: dict[str, Any], tmp_path: Path):
    """Its pixels are ours where Pillow resizes, and within one level of a byte where torchvision does."""
    processor = ImageProcessorConfig(**changes)
    processor.save_pretrained(tmp_path)
    even = CUT.crop((0, 0, 427, 427))  # so that the same number is cut off at both ends
    ours = processor.transform()(even)
    pillow, torchvision = (
        pixels(transformers.AutoImageProcessor.from_pretrained(tmp_path, backend=backend), even)
        for backend in ("pil", "torchvision")
    )

    assert torch.allclose(pillow, ours, atol=1e-6)
    assert (torchvision - ours).abs().max() < 1.01 * LEVEL


def test_the_crop_of_transformers_may_begin_a_pixel_earlier(tmp_path: Path):
    """Of 11 pixels, timm and torchvision cut 6 off the beginning of a side, and Transformers cuts 5."""
    processor = ImageProcessorConfig(size=(224, 224), crop_pct=224 / 235, crop_mode="squash")
    processor.save_pretrained(tmp_path)
    theirs = pixels(transformers.AutoImageProcessor.from_pretrained(tmp_path, backend="pil"))
    ours = processor.transform()(CUT)

    assert torch.allclose(theirs[:, 1:, 1:], ours[:, :-1, :-1], atol=1e-6)


def test_a_margin_is_left_to_timm(tmp_path: Path):
    """What Transformers' own processors cannot do, its wrapper of timm does by our file."""
    processor = ImageProcessorConfig(size=(96, 128), crop_mode="border")
    processor.save_pretrained(tmp_path)
    wrapper = transformers.TimmWrapperImageProcessor.from_pretrained(tmp_path, image_processor_filename=NAME)

    assert torch.equal(pixels(wrapper), processor.transform()(CUT))
    assert ImageProcessorConfig.from_pretrained(tmp_path) == processor


# ---- sources


def test_the_file_of_images_counts_before_the_config(tmp_path: Path):
    """`preprocessor_config.json` says how; without it, the `pretrained_cfg` of `config.json`; without that, timm."""
    ResnetConfig().save_pretrained(tmp_path)
    default = ImageProcessorConfig.from_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    cfg = ImageProcessorConfig(size=(96, 96)).pretrained_cfg()
    of_config = ImageProcessorConfig.from_pretrained(
        written(tmp_path, {**values, "pretrained_cfg": cfg}, "config.json")
    )
    ImageProcessorConfig(size=(64, 64)).save_pretrained(tmp_path)

    assert default == ImageProcessorConfig()
    assert of_config.size == (96, 96)
    assert ImageProcessorConfig.from_pretrained(tmp_path).size == (64, 64)
    assert ImageProcessorConfig.from_pretrained(tmp_path, size=(32, 32)).size == (32, 32)


def test_a_folder_of_timm_says_how(tmp_path: Path):
    """What `save_for_hf` writes gives the transform that Transformers makes of the same folder."""
    network = timm.create_model("resnet18", num_classes=2, channels=(4, 4, 4, 4))
    save_for_hf(network, tmp_path, safe_serialization=True)
    theirs = transformers.AutoImageProcessor.from_pretrained(tmp_path)

    assert torch.equal(ImageProcessorConfig.from_pretrained(tmp_path).transform()(CUT), pixels(theirs))


def test_images_of_one_channel_get_averages(tmp_path: Path):
    """A network whose images have one channel, and that says no more, gets the averages of ImageNet, as timm does."""
    ResnetConfig(input_channels=1).save_pretrained(tmp_path)
    processor = ImageProcessorConfig.from_pretrained(tmp_path)

    assert (processor.mean, processor.std) == ((0.449,), (0.226,))
    assert processor.transform()(CUT.convert("L")).shape == (1, 224, 224)


def test_a_key_that_nobody_knows_is_kept(tmp_path: Path):
    """What else a file of Transformers says is written again."""
    written(tmp_path, {"image_processor_type": "ConvNextImageProcessor", "size": 224, "made_by": "us"})
    ImageProcessorConfig.from_pretrained(tmp_path).save_pretrained(tmp_path)

    assert json.loads((tmp_path / NAME).read_text())["made_by"] == "us"


def test_a_repository_says_how(tmp_path: Path):
    """The file of a repository is read at the commit that its branch points to."""
    commit = "0123456789" * 4
    folder = tmp_path / "models--user--repo"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text(commit)
    ImageProcessorConfig(size=(64, 64)).save_pretrained(folder / "snapshots" / commit)
    processor = ImageProcessorConfig.from_pretrained("user/repo", cache_dir=tmp_path, local_files_only=True)

    assert (processor.size, processor.name_or_path, processor.commit_hash) == ((64, 64), "user/repo", commit)


def test_a_folder_without_either_file_is_refused(tmp_path: Path):
    """Where there is no config at all, nothing is assumed."""
    (tmp_path / "notes.txt").write_text("")

    with pytest.raises(SourceNotFoundError, match=r"config\.json does not exist\.\n  The folder holds: notes\.txt\."):
        ImageProcessorConfig.from_pretrained(tmp_path)


# ---- what is refused


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"image_processor_type": "DetrImageProcessor"},
            "'ViTImageProcessor', found 'DetrImageProcessor'. Did you mean 'DeiTImageProcessor'?",
        ),
        ({"do_resize": False}, "do_resize: expected true, found False. timm's transform has nothing else"),
        ({"resample": 9}, "resample: expected a number of Pillow from 0 to 5, found 9"),
        (
            {"image_mean": "grey"},
            "image_mean: expected a number for each channel, found 'grey'",
        ),
        (
            {"feature_extractor_type": "CLIPFeatureExtractor", "do_center_crop": False},
            "do_center_crop: expected true, found false. Without it images keep their shapes, and a batch needs one",
        ),
        (
            {"image_processor_type": "CLIPImageProcessor", "crop_size": {"height": 9, "width": 8}},
            "crop_size: expected as high as wide, found {'height': 9, 'width': 8}. timm's transform has nothing else",
        ),
        (
            {"image_processor_type": "DeiTImageProcessor", "crop_size": {"height": 128, "width": 32}},
            "crop_size: expected the shape of (256, 256), found (128, 32). timm's transform crops the same share of",
        ),
        (
            {"image_processor_type": "ConvNextImageProcessor", "size": {"longest_edge": 9}},
            "expected {'height': pixels, 'width': pixels} or {'shortest_edge': pixels}, found {'longest_edge': 9}",
        ),
        (
            {"image_processor_type": "TimmWrapperImageProcessor", "pretrained_cfg": {"input_size": [224]}},
            "pretrained_cfg.input_size: expected [channels, height, width], found [224]",
        ),
        ({"image_mean": [0.5] * 3, "image_std": [0.0] * 3}, "std[0]: expected a float and at least 1e-06"),
        ({"architecture": "resnet18", "model_args": 7}, "model_args: expected an object, found 7"),
        (
            {"architecture": "resnet18", "model_args": {"in_chans": 10**9}},
            "model_args.in_chans: expected a number of channels, at most 65536, found 1000000000",
        ),
    ],
)
def test_what_timms_transform_cannot_do_is_refused(values: dict[str, Any], message: str, tmp_path: Path):
    """The error names the file, the key, and what would have been right."""
    with pytest.raises(ConfigFileError) as caught:
        ImageProcessorConfig.from_pretrained(written(tmp_path, values))

    assert str(tmp_path / NAME) in str(caught.value)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"std": (0.5,)}, "std: expected 3 numbers, as mean has, found 1"),
        ({"size": (2, 4), "crop_pct": 2.5}, "crop_pct: expected at most 2, the shorter side, found 2.5"),
        (
            {"crop_mode": "border", "rescale_factor": 1.0},
            "rescale_factor: expected 1 / 255, found 1.0. timm, which alone can crop so, divides by 255",
        ),
    ],
)
def test_numbers_that_contradict_are_refused(arguments: dict[str, Any], message: str):
    """Numbers that do not go together are an error that says why."""
    with pytest.raises(ConfigError) as caught:
        ImageProcessorConfig(**arguments)

    assert message in str(caught.value)


def test_a_path_that_is_none_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """An empty path is not the present folder, and a tilde is the user's home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    with pytest.raises(UnsafePathError, match="'' is no path"):
        ImageProcessorConfig().save_pretrained("")
    ImageProcessorConfig(size=(64, 64)).save_pretrained("~/new")

    assert ImageProcessorConfig.from_pretrained(tmp_path / "home" / "new").size == (64, 64)
    assert [each.name for each in tmp_path.iterdir()] == ["home"]


def test_no_library_of_images_is_imported():
    """To read, check and write how images are prepared takes neither torch, timm, torchvision nor Pillow."""
    code = (
        "import sys; from nameplate_resnet import ImageProcessorConfig as C; "
        "C.from_dict(C(size=(64, 64)).preprocessor_config()); "
        "print({'torch', 'timm', 'torchvision', 'PIL', 'transformers'} & sys.modules.keys())"
    )

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
