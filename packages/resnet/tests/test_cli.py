"""The command line does what it says, and tells in one line what it cannot do."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import transformers
from click.testing import CliRunner, Result
from PIL import Image

from nameplate_resnet import ImageProcessorConfig, ResnetConfig, ResnetModelForImageClassification
from nameplate_resnet.cli import main
from nameplate_resnet.variants import TIMM_NETWORKS

SMALL: dict[str, Any] = {"block_type": "basic", "layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8)}
LABELS = {0: "blue", 1: "green", 2: "red"}
PROCESSOR = ImageProcessorConfig(size=(32, 32), crop_pct=1.0)
TOKEN = "hf_loopback"  # noqa: S105 - opens nothing but the loopback Hub


def call(*arguments: str | Path) -> Result:
    """Return what a command says, in this process."""
    return CliRunner().invoke(main, [str(each) for each in arguments], prog_name="nameplate-resnet")


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """A small classifier of colours that has learnt nothing."""
    torch.manual_seed(0)
    folder = tmp_path / "checkpoint"
    ResnetModelForImageClassification(ResnetConfig(**SMALL, num_labels=3, id2label=LABELS)).save_pretrained(folder)
    PROCESSOR.save_pretrained(folder)
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two pictures of each colour, in sub-folders called like it."""
    for name, other in (("blue", "#0000a0"), ("green", "#00a000"), ("red", "#a00000")):
        folder = tmp_path / "colours" / name
        folder.mkdir(parents=True)
        Image.new("RGB", (40, 40), name).save(folder / "one.png")
        Image.new("RGB", (32, 48), other).save(folder / "other.jpg")
    return tmp_path / "colours"


# ---- list


def test_names_are_listed_with_their_parameters():
    """A pattern chooses among timm's names; the numbers are those of timm's own networks."""
    done = call("list", "resnet?8*")
    network: Any = timm.create_model("resnet18d", device="meta")
    millions = sum(each.numel() for each in network.parameters()) / 1e6

    assert done.exit_code == 0, done.output
    assert [line.split() for line in done.output.splitlines()] == [
        ["resnet18", "11.7", "M"],
        ["resnet18d", f"{millions:.1f}", "M"],
    ]


def test_a_name_that_timm_does_not_have_is_a_wrong_command():
    """The exit code is 2, and the nearest name is given."""
    done = call("list", "resnet51")

    assert done.exit_code == 2
    assert "no network of timm is called like 'resnet51'. Did you mean 'resnet5" in done.output
    assert "resnet51" not in TIMM_NETWORKS


# ---- convert


def test_a_checkpoint_is_converted_for_others(checkpoint: Path, tmp_path: Path):
    """The folders open in the libraries that they are for, with the same bits and the same images."""
    pixels = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
    for layout in ("timm", "transformers"):
        done = call("convert", checkpoint, tmp_path / layout, "--layout", layout)
        assert (done.exit_code, done.output) == (0, f"wrote {tmp_path / layout}\n")
    done = call("convert", tmp_path / "timm", tmp_path / "ours")
    assert done.exit_code == 0, done.output

    network: Any = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True).eval()
    theirs = transformers.AutoModelForImageClassification.from_pretrained(tmp_path / "transformers")
    ours = ResnetModelForImageClassification.from_pretrained(tmp_path / "ours")
    with torch.no_grad():
        expected = ResnetModelForImageClassification.from_pretrained(checkpoint)(pixels).logits
        assert torch.equal(network(pixels), expected)
        assert torch.equal(theirs(pixels).logits, expected)
        assert torch.equal(ours(pixels).logits, expected)
    for layout in ("timm", "transformers", "ours"):
        assert ImageProcessorConfig.from_pretrained(tmp_path / layout) == PROCESSOR


def test_timm_is_told_how_images_are_prepared(checkpoint: Path, tmp_path: Path):
    """What `preprocessor_config.json` said is in the file that timm reads too."""
    call("convert", checkpoint, tmp_path / "timm", "--layout", "timm")
    network: Any = timm.create_model(f"local-dir:{tmp_path / 'timm'}", pretrained=True)
    data: dict[str, Any] = timm.data.resolve_model_data_config(network)

    assert (data["input_size"], data["crop_pct"]) == ([3, 32, 32], 1.0)


def test_a_layout_that_nobody_has_is_a_wrong_command(checkpoint: Path, tmp_path: Path):
    """The exit code is 2, and the layouts are listed."""
    done = call("convert", checkpoint, tmp_path / "out", "--layout", "tim")

    assert done.exit_code == 2
    assert "'tim' is not one of 'ours', 'timm', 'transformers'" in done.output


# ---- evaluate


def accuracy(checkpoint: Path, images: Path) -> float:
    """Return the share of first guesses that are right, one image at a time."""
    model = ResnetModelForImageClassification.from_pretrained(checkpoint)
    transform = PROCESSOR.transform()
    right = []
    for path in sorted(images.rglob("*.*")):
        with torch.no_grad():
            guess = int(model(transform(Image.open(path).convert("RGB"))[None]).logits.argmax())
        right.append(LABELS[guess] == path.parent.name)
    return sum(right) / len(right)


def test_a_classifier_is_evaluated_on_images(checkpoint: Path, images: Path, tmp_path: Path):
    """The number printed and recorded is the share of images whose label is the first guess."""
    done = call("evaluate", checkpoint, images, "--split", "test", "--batch-size", "4", "-o", tmp_path / "metrics.json")
    expected = accuracy(checkpoint, images)

    assert done.exit_code == 0, done.output
    assert done.output == f"accuracy {expected:.4f}\n"
    assert json.loads((tmp_path / "metrics.json").read_text()) == {
        "task": "image-classification",
        "dataset": {"name": "colours", "split": "test"},
        "metrics": {"accuracy": expected},
    }


def test_folders_are_found_by_their_labels(checkpoint: Path, images: Path):
    """A class without images counts nothing; the others keep their numbers."""
    for path in (images / "blue").iterdir():
        path.unlink()
    (images / "blue").rmdir()

    assert call("evaluate", checkpoint, images).output == f"accuracy {accuracy(checkpoint, images):.4f}\n"


def test_of_many_classes_the_first_five_guesses_count_too(tmp_path: Path, images: Path):
    """Without labels the sub-folders are the classes in the order of their names."""
    model = ResnetModelForImageClassification(ResnetConfig(**SMALL, num_labels=6))
    with torch.no_grad():
        model.model.fc.weight.zero_()
        model.model.fc.bias.copy_(torch.tensor([9.0, 8.0, 7.0, 6.0, 5.0, 4.0]))  # the last class is never guessed
    model.save_pretrained(tmp_path / "six")
    for name in ("a", "white", "yellow"):
        (images / name).mkdir()
        Image.new("L", (32, 32)).save(images / name / "one.png")

    assert call("evaluate", tmp_path / "six", images).output == "accuracy 0.1111\ntop_5_accuracy 0.8889\n"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "holds no image. Expected a sub-folder of images for each class."),
        (
            {"gren/a.png": b""},
            "Expected labels of the model: 'blue', 'green', 'red', found 1, 'gren' among them. Did you",
        ),
        ({"red/a.png": b"no picture"}, "red/a.png cannot be read as an image: cannot identify image file"),
    ],
)
def test_images_that_cannot_be_measured_on_are_refused(
    files: dict[str, bytes], said: str, checkpoint: Path, tmp_path: Path
):
    """The exit code is 1, and one line says which file or folder is wrong."""
    folder = tmp_path / "wrong"
    folder.mkdir()
    for name, data in files.items():
        (folder / name).parent.mkdir()
        (folder / name).write_bytes(data)
    done = call("evaluate", checkpoint, folder)

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


@pytest.mark.parametrize(
    ("fields", "classes", "said"),
    [
        ({"num_labels": 1}, ["blue"], "with num_classes=1 and problem_type=None there is no guess"),
        ({"num_labels": 3, "problem_type": "regression"}, ["blue"], "problem_type='regression' there is no guess"),
        ({"num_labels": 11}, [str(number) for number in range(11)], "By their letters '10' comes before '2'"),
        ({"id2label": {0: "crane", 1: "dog", 2: "crane"}}, ["crane"], "the label 'crane' stands for 2 classes"),
        ({"num_labels": 1 + 1, "input_channels": 1}, ["0", "1"], "makes images of 3 channels: expected 1, as input_"),
    ],
)
def test_what_would_be_counted_wrongly_is_refused(
    fields: dict[str, Any], classes: list[str], said: str, tmp_path: Path
):
    """No number is printed where none of them means anything, or where it is open which class a folder is."""
    ResnetModelForImageClassification(ResnetConfig(**SMALL, **fields)).save_pretrained(tmp_path / "model")
    PROCESSOR.save_pretrained(tmp_path / "model")
    for name in classes:
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (32, 32)).save(tmp_path / "images" / name / "one.png")
    done = call("evaluate", tmp_path / "model", tmp_path / "images")

    assert (done.exit_code, done.stdout) == (1, "")
    assert said in done.stderr


def test_a_model_that_answers_no_numbers_is_not_measured(checkpoint: Path, images: Path):
    """NaN is the first guess of every comparison, and none of the model."""
    model = ResnetModelForImageClassification.from_pretrained(checkpoint)
    with torch.no_grad():
        model.model.fc.bias.fill_(torch.nan)
    model.save_pretrained(checkpoint)
    done = call("evaluate", checkpoint, images)

    assert (done.exit_code, done.stderr.count("\n")) == (1, 1)
    assert "the model answers NaN, so nothing can be measured of it." in done.stderr


def test_a_model_of_half_precision_is_measured_in_it(checkpoint: Path, images: Path):
    """The images become numbers of the kind that its weights are."""
    ResnetModelForImageClassification.from_pretrained(checkpoint).to(torch.bfloat16).save_pretrained(checkpoint)
    done = call("evaluate", checkpoint, images)

    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("accuracy ")


def test_hidden_files_are_no_images(checkpoint: Path, images: Path):
    """What a file manager leaves beside the images is not read."""
    expected = call("evaluate", checkpoint, images).stdout
    (images / "red" / "._one.png").write_bytes(b"no picture")

    assert call("evaluate", checkpoint, images).stdout == expected


def test_a_device_that_is_not_there_is_a_wrong_command(checkpoint: Path, images: Path):
    """The exit code is 2, also for what is no device at all."""
    done = call("evaluate", checkpoint, images, "--device", "gpu")

    assert done.exit_code == 2
    assert "there is no device 'gpu' here" in done.output
    assert "there is no device 'meta' here" in call("evaluate", checkpoint, images, "--device", "meta").output


# ---- publish


def test_a_dry_run_writes_what_would_be_published(checkpoint: Path, images: Path, tmp_path: Path):
    """Nothing is asked of the Hub; what was measured now is in the card."""
    target = tmp_path / "dry"
    done = call("publish", checkpoint, "user/colours", "--dry-run", target, "--evaluate", images, "--license", "mit")
    text = (target / "README.md").read_text()

    assert (done.exit_code, done.stdout) == (0, f"wrote {target}, and published nothing\n")
    assert "license: mit" in text
    assert (
        f"## Measured on colours\n\n| metric | value |\n|---|---|\n| accuracy | {accuracy(checkpoint, images):.2%} |"
        in text
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere/", "user/a"], "nowhere"),
        ([".", "user/a"], "config.json"),
    ],
)
def test_a_checkpoint_that_is_none_is_refused(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The exit code is 1, and one line says what is missing."""
    monkeypatch.chdir(tmp_path)
    done = call("publish", *arguments, "--dry-run", "out")

    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("nameplate-resnet: ")
    assert done.stderr.count("\n") == 1
    assert said in done.stderr


def test_an_edited_certificate_is_refused(checkpoint: Path, tmp_path: Path):
    """The exit code is 1, nothing is written, and the suite's words tell why."""
    (tmp_path / "c.json").write_text('{"kind": "certificate", "sha256": "0"}')
    done = call("publish", checkpoint, "user/a", "--certificate", tmp_path / "c.json", "--dry-run", tmp_path / "out")

    assert done.exit_code == 1
    assert "c.json was changed after it was issued." in done.stderr
    assert not (tmp_path / "out").exists()


def published(hub: Any, home: Path, *arguments: str | Path, token: str = TOKEN) -> subprocess.CompletedProcess[str]:
    """Publish in a process of its own, whose Hub is the one on loopback."""
    env = {**os.environ, "HF_ENDPOINT": hub.endpoint, "HF_HOME": str(home / "hf"), "HF_TOKEN": token}
    env |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1", "NO_PROXY": "127.0.0.1,localhost"}
    code = "from nameplate_resnet.cli import main; main(prog_name='nameplate-resnet')"
    command = [sys.executable, "-c", code, "publish", *map(str, arguments)]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


def test_a_model_is_published_in_one_commit(hub: Any, home: Path, checkpoint: Path):
    """Weights and certificates of earlier commits leave with it, other files stay, and a card that was edited too."""
    measured = {"dataset": {"name": "colours"}, "metrics": {"accuracy": 0.5}}
    (checkpoint / "metrics.json").write_text(json.dumps(measured))
    stale = {"pytorch_model.bin": b"old", "model-00001-of-00002.safetensors": b"old", "conformance.json": b"old"}
    hub.commit("user/colours", {**stale, "notes.txt": b"mine", "README.md": b"edited"})
    done = published(hub, home, checkpoint, "user/colours", "--keep-card", "--message", "Better colours")

    assert done.returncode == 0, done.stderr
    repository = hub.repositories["user/colours"]
    commit = repository.references["main"]
    files = repository.commits[commit]
    assert done.stdout.startswith("published ")
    assert [*repository.messages.values()][1:] == ["Better colours"]
    assert files["notes.txt"] == b"mine"
    assert files["README.md"] == b"edited"
    assert not stale.keys() & files.keys()
    assert {"config.json", "model.safetensors", "modeling_resnet.py", "preprocessor_config.json"} < files.keys()
    assert json.loads(files["metrics.json"])["metrics"] == {"accuracy": 0.5}


def test_a_token_that_may_not_write_is_refused(hub: Any, home: Path, checkpoint: Path):
    """The exit code is 1, one line says so, and the repository is as it was."""
    hub.commit("user/colours", {"notes.txt": b"mine"})
    done = published(hub, home, checkpoint, "user/colours", token="hf_reader")  # noqa: S106 - opens nothing

    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.startswith("nameplate-resnet: ")
    assert len(hub.repositories["user/colours"].commits) == 1
