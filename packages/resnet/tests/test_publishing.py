"""What is published of a model: files that four libraries open, and a card that says no more than was measured."""

import base64
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard
from torch import Tensor
from transformers import AutoImageProcessor

from nameplate_auto import AutoBackbone, AutoModel, AutoModelForImageClassification, read_remote_code
from nameplate_config import NameplateError, SourceNotFoundError, open_source
from nameplate_conformance import Report, certificate, verify_certificate
from nameplate_conformance.cli import main as suite
from nameplate_conformance.law import SPEC, all_laws
from nameplate_conformance.records.circumstances import Subject, circumstances_of
from nameplate_conformance.samples.reports import conforming
from nameplate_resnet import (
    ImageProcessorConfig,
    PublishingError,
    ResnetBackbone,
    ResnetConfig,
    ResnetForSemanticSegmentation,
    ResnetModel,
    ResnetModelForImageClassification,
    __version__,
)
from nameplate_resnet.publishing.certificate import read_certificate
from nameplate_resnet.publishing.metrics import Metrics, read_metrics
from nameplate_resnet.publishing.repository import Claims, compose, open_model

SMALL: dict[str, Any] = {"block_type": "basic", "layers": (1, 1, 1, 1), "channels": (4, 4, 8, 8)}
LABELS = {0: "cat", 1: "dog", 2: "eel"}
PROCESSOR = ImageProcessorConfig(size=(64, 64), crop_pct=0.9, mean=(0.5, 0.4, 0.3))
MEASURED = Metrics(dataset="Three Pets", split="test", values={"accuracy": 0.8125, "loss": 0.5})
PIXELS = torch.linspace(-1, 1, 2 * 3 * 64 * 64).view(2, 3, 64, 64)
CODE = {
    "config_core.py",
    "configuration_resnet.py",
    "fcn_head.py",
    "foreign.py",
    "losses.py",
    "model_core.py",
    "modeling_resnet.py",
    "network_resnet.py",
    "standin_config.py",
    "standin_model.py",
    "timm_format.py",
    "transformers_format.py",
    "tutorial_format.py",
    "variants.py",
}


def classifier(**fields: Any) -> ResnetModelForImageClassification:
    """Return a small classifier, every floating tensor of which is random."""
    torch.manual_seed(0)
    model = ResnetModelForImageClassification(ResnetConfig(**{**SMALL, "num_labels": 3, **fields})).eval()
    with torch.no_grad():
        for each in model.state_dict().values():
            if each.is_floating_point():
                each.uniform_(0.1, 0.9)
    return model


def logits(model: torch.nn.Module) -> Tensor:
    with torch.no_grad():
        found: Any = model(PIXELS)
    return found if isinstance(found, Tensor) else found.logits


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of a classifier that was measured, ready to be published."""
    folder = tmp_path_factory.mktemp("composed")
    model = classifier(id2label=LABELS, aa_layer="blur", block_args={"attn_layer": "se"})
    compose(model, PROCESSOR, folder, repository="user/pets", claims=Claims(metrics=MEASURED, license="mit"))
    return folder


@pytest.fixture(scope="module")
def answer() -> Tensor:
    """The logits of that classifier."""
    return logits(classifier(id2label=LABELS, aa_layer="blur", block_args={"attn_layer": "se"}))


# ---- the files


def test_a_repository_holds_all_that_its_readers_need(composed: Path):
    """Weights, config, code, how images are prepared, what was measured and a card: nothing else."""
    beside = {"README.md", "config.json", "metrics.json", "model.safetensors", "preprocessor_config.json"}

    assert {path.name for path in composed.iterdir()} == CODE | beside


def test_whoever_has_the_package_has_the_model(composed: Path, answer: Tensor):
    """The classifier comes back with its labels, its images and every bit; its body does too."""
    model = ResnetModelForImageClassification.from_pretrained(composed)
    body = ResnetModel.from_pretrained(composed)

    assert torch.equal(logits(model), answer)
    assert model.config.id2label == LABELS
    assert ImageProcessorConfig.from_pretrained(composed) == PROCESSOR
    assert torch.equal(body.model.conv1.weight, model.model.conv1.weight)


def test_whoever_has_timm_has_the_model(composed: Path, answer: Tensor):
    """The network is built from the folder alone, and prepares images as the processor does."""
    network: Any = timm.create_model(f"local-dir:{composed}", pretrained=True).eval()
    data: dict[str, Any] = timm.data.resolve_model_data_config(network)

    assert torch.equal(logits(network), answer)
    assert (data["input_size"], data["crop_pct"], data["mean"]) == ([3, 64, 64], 0.9, [0.5, 0.4, 0.3])


def test_the_card_pins_the_code_that_is_there(composed: Path):
    """The digest on the card is that of the files which the registry would run, and of no others."""
    code = read_remote_code(composed)

    assert code.digest in (composed / "README.md").read_text()
    assert code.files.keys() == CODE
    references = json.loads((composed / "config.json").read_text())["auto_map"]
    assert references == {
        "AutoBackbone": "modeling_resnet.ResnetBackbone",
        "AutoConfig": "configuration_resnet.ResnetConfig",
        "AutoModel": "modeling_resnet.ResnetModel",
        "AutoModelForImageClassification": "modeling_resnet.ResnetModelForImageClassification",
    }


def test_every_auto_class_finds_its_part(composed: Path):
    """The registry of whoever has the package gives body, backbone and classifier."""
    assert isinstance(AutoModel.from_pretrained(composed), ResnetModel)
    assert isinstance(AutoBackbone.from_pretrained(composed), ResnetBackbone)
    assert isinstance(AutoModelForImageClassification.from_pretrained(composed), ResnetModelForImageClassification)


@pytest.mark.parametrize("layout", [None, "timm", "transformers"])
def test_any_folder_that_is_read_can_be_published(layout: str | None, tmp_path: Path):
    """A checkpoint of ours, of timm or of Transformers gives the same weights and labels."""
    model = classifier(id2label=LABELS)
    model.save_pretrained(tmp_path / "from", layout=layout)
    source = open_source(tmp_path / "from")
    compose(open_model(source), ImageProcessorConfig.from_pretrained(source), tmp_path / "to", repository="user/pets")

    again = ResnetModelForImageClassification.from_pretrained(tmp_path / "to")
    assert torch.equal(logits(again), logits(model))
    assert again.config.id2label == LABELS


def test_a_backbone_is_published_as_the_body_that_it_is(tmp_path: Path):
    """Its folder loads as a body by every way, and its card speaks of no classes."""
    ResnetBackbone(ResnetConfig(**SMALL)).save_pretrained(tmp_path / "from")
    compose(open_model(open_source(tmp_path / "from")), PROCESSOR, tmp_path / "to", repository="user/body")
    card = ModelCard.load(tmp_path / "to" / "README.md")

    assert timm.create_model(f"local-dir:{tmp_path / 'to'}", pretrained=True).num_classes == 0
    assert card.data.pipeline_tag == "image-feature-extraction"
    assert "classes" not in card.text
    assert "AutoModel.from_pretrained" in card.text


def test_a_segmentation_is_published_without_timm(tmp_path: Path):
    """What timm has no words for keeps our own layout, and its card does not send anybody to timm."""
    model = ResnetForSemanticSegmentation(ResnetConfig(**SMALL, num_labels=3)).eval()
    compose(model, PROCESSOR, tmp_path, repository="user/streets")
    card = ModelCard.load(tmp_path / "README.md")

    assert torch.equal(logits(ResnetForSemanticSegmentation.from_pretrained(tmp_path)), logits(model))
    assert card.data.pipeline_tag == "image-segmentation"
    assert "import timm" not in card.text
    assert "timm" not in card.data.tags


def test_a_network_that_timm_cannot_be_told_of_keeps_our_layout(tmp_path: Path):
    """It is published for the other three, and its card does not send anybody to timm."""
    model = classifier(block_args={"attn_layer": "cbam", "rd_ratio": 0.5})

    assert compose(model, PROCESSOR, tmp_path, repository="user/pets") is None
    assert torch.equal(logits(ResnetModelForImageClassification.from_pretrained(tmp_path)), logits(model))
    assert "import timm" not in (tmp_path / "README.md").read_text()


def test_what_others_could_not_load_is_refused(tmp_path: Path):
    """A backbone in memory has no head to be found by; its body has."""
    with pytest.raises(PublishingError, match=r"^ResnetBackbone is not published by itself: expected ResnetModel, "):
        compose(ResnetBackbone(ResnetConfig(**SMALL)), PROCESSOR, tmp_path, repository="user/pets")


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path):
    """Nothing is written over."""
    (tmp_path / "notes.txt").write_text("mine")

    with pytest.raises(PublishingError, match=r" is not empty\. Give a folder that is, or that is not there yet\.$"):
        compose(classifier(), PROCESSOR, tmp_path, repository="user/pets")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("repository", ["", "user/a\nb", 'user/"; import os', "user/a/b"])
def test_what_is_no_id_is_refused(repository: str, tmp_path: Path):
    """It would stand in the code of the card; nothing is written."""
    with pytest.raises(SourceNotFoundError, match=r"^no repository can be called .* Give an id such as 'user/name'\.$"):
        compose(classifier(), PROCESSOR, tmp_path / "to", repository=repository)
    assert not (tmp_path / "to").exists()


def test_a_checkpoint_without_its_head_is_not_published_as_if_it_had_one(tmp_path: Path):
    """A body under a name that nobody knows is no classifier whose last layer is random."""
    ResnetModel(ResnetConfig(**SMALL)).save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "architectures": ["TheirBody"]}))

    with pytest.raises(PublishingError, match=r"has no model\.fc\.bias, model\.fc\.weight, so ResnetModelForImageC"):
        open_model(open_source(tmp_path))


def test_transformers_finds_the_processor_also_where_timm_has_no_such_model(tmp_path: Path):
    """In a folder that is not timm's, nothing makes Transformers look for timm's words."""
    model = classifier(block_args={"attn_layer": "cbam", "rd_ratio": 0.5})
    model.config.pretrained_cfg = {"crop_pct": 0.5}
    compose(model, PROCESSOR, tmp_path, repository="user/pets")

    assert AutoImageProcessor.from_pretrained(tmp_path).crop_size == {"height": 64, "width": 64}


# ---- what is said of it


def test_the_card_says_what_was_measured(composed: Path):
    """The Hub reads the numbers from its head, people from a table."""
    card = ModelCard.load(composed / "README.md")
    (first, second) = card.data.eval_results

    assert (card.data.license, card.data.library_name) == ("mit", "nameplate")
    assert (card.data.pipeline_tag, card.data.model_name) == ("image-classification", "pets")
    assert (first.dataset_name, first.dataset_split, first.metric_type) == ("Three Pets", "test", "accuracy")
    assert (first.metric_value, second.metric_value) == (0.8125, 0.5)
    assert "## Measured on Three Pets, test\n\n| metric | value |\n|---|---|\n| accuracy | 81.25% |" in card.text


def test_the_card_says_nothing_that_nobody_measured_or_proved(tmp_path: Path):
    """Without metrics, certificate and licence there is no word of them."""
    compose(classifier(), PROCESSOR, tmp_path, repository="user/pets")
    card = ModelCard.load(tmp_path / "README.md")

    assert (card.data.eval_results, card.data.license) == (None, None)
    assert [line for line in card.text.splitlines() if line.startswith("## ")] == ["## Use it"]


def test_names_of_others_are_no_markdown(tmp_path: Path):
    """A table, a picture or a link in the name of a metric or of the data is shown as it is written."""
    said = Metrics(dataset="![conforms](a.svg)", values={"x | 99%": 0.5, "<b>": 0.5})
    compose(classifier(), PROCESSOR, tmp_path, repository="user/pets", claims=Claims(metrics=said))
    text = ModelCard.load(tmp_path / "README.md").text

    assert r"## Measured on \!\[conforms\](a.svg)" in text
    assert r"| x \| 99% | 0.5 |" in text
    assert r"| \<b\> | 0.5 |" in text


def test_the_card_of_a_branch_names_it(tmp_path: Path):
    """Each way to load what is on a branch says on which."""
    compose(classifier(), PROCESSOR, tmp_path, repository="user/pets", revision="dev")
    text = ModelCard.load(tmp_path / "README.md").text

    assert text.count('"user/pets", revision="dev"') == 5
    assert 'timm.create_model("hf-hub:user/pets@dev", pretrained=True)' in text


def test_metrics_come_from_the_file_beside_the_checkpoint(composed: Path):
    """What is published beside a model is read again as it was."""
    assert read_metrics(open_source(composed)) == MEASURED


def test_metrics_may_say_more_of_the_data(tmp_path: Path):
    """Of the data only name and split are read."""
    text = '{"dataset": {"name": "a", "images": 3}, "metrics": {"loss": 1}, "seed": 0}'
    (tmp_path / "metrics.json").write_text(text)

    assert read_metrics(open_source(tmp_path)) == Metrics(dataset="a", values={"loss": 1.0})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[]", r"metrics\.json must hold a JSON object, found \[\]"),
        ("{}", "dataset: expected the name of the data, and its split, found None"),
        ('{"dataset": {"name": "a"}, "metrics": {}}', r"metrics: expected at least one number by its name, found {}"),
        ('{"dataset": {"name": "a"}, "metrics": {"loss": true}}', r"metrics\.loss: expected a number, found True"),
        ('{"dataset": {"name": 3}, "metrics": {"loss": 1}}', "dataset: expected the name of the data, and its split"),
        ('{"dataset": {"name": "a\\n# b"}, "metrics": {"loss": 1}}', "dataset: expected the name of the data, and its"),
        ('{"dataset": {"name": "\\ud800"}, "metrics": {"loss": 1}}', "dataset: expected the name of the data, and its"),
        ('{"dataset": {"name": "a"}, "metrics": {"a\\nb": 1}}', "metrics: expected names of one line, found 'a.nb'"),
        ('{"task": 1, "dataset": {"name": "a"}, "metrics": {"loss": 1}}', "task: expected a text, found 1"),
    ],
)
def test_a_file_that_measures_nothing_is_refused(text: str, said: str, tmp_path: Path):
    """The error names the key and shows what such a file looks like."""
    (tmp_path / "metrics.json").write_text(text)

    with pytest.raises(PublishingError, match=said):
        read_metrics(open_source(tmp_path))


# ---- the certificate


def recorded(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).decode().rstrip("=")


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the package is installed from a wheel, as far as its metadata say."""
    folder = tmp_path / "site"
    info = f"nameplate_resnet-{__version__}.dist-info"
    files = {
        "nameplate_resnet/network_resnet.py": "WIDTH = 64\n",
        f"{info}/METADATA": f"Metadata-Version: 2.4\nName: nameplate-resnet\nVersion: {__version__}\n",
    }
    lines = [f"{name},sha256={recorded(text)},{len(text)}" for name, text in files.items()]
    for name, text in {**files, f"{info}/RECORD": "\n".join([*lines, f"{info}/RECORD,,"])}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    return folder


@pytest.fixture
def issued(installed: Path, tmp_path: Path) -> Path:
    """The certificate of a run that has judged what is installed there."""
    del installed
    results = conforming(architecture="nameplate_resnet")
    report = Report(spec=SPEC, profile="release", versions={"torch": "2.15.0"}, results=results)
    known = {"distribution": "nameplate-resnet", "version": __version__}
    subject = Subject(label="nameplate_resnet", reference="nameplate_resnet", **known)
    path = tmp_path / "issued.json"
    path.write_text(json.dumps(certificate(report, circumstances_of(report, subjects=[subject]))))
    return path


def test_a_certificate_goes_with_the_model(issued: Path, tmp_path: Path):
    """It is published as it was issued, with its badge, and the card says level, laws and devices."""
    folder = tmp_path / "to"
    compose(
        classifier(), PROCESSOR, folder, repository="user/pets", claims=Claims(certificate=read_certificate(issued))
    )
    text = (folder / "README.md").read_text()
    binding = [law for law in all_laws().values() if not law.tentative]

    assert verify_certificate(folder / "conformance.json") == verify_certificate(issued)
    assert "L7 · cpu · release · " + SPEC in (folder / "conformance.svg").read_text()
    assert "![conforms to L7 on cpu](conformance.svg)" in text
    assert f"`nameplate-resnet` {__version__} conforms to L7 on cpu: {len(binding)} of {len(binding)} laws" in text
    assert CliRunner().invoke(suite, ["verify", str(folder / "conformance.json")]).exit_code == 0


def reissued(path: Path, **changes: Any) -> Path:
    """Change a certificate as somebody would who makes its digest anew."""
    value = {**json.loads(path.read_text()), **changes}
    del value["sha256"]
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    path.write_text(json.dumps({**value, "sha256": hashlib.sha256(text.encode()).hexdigest()}))
    return path


def test_a_certificate_for_another_version_is_refused(issued: Path):
    """The error names both versions."""
    package = {**json.loads(issued.read_text())["package"], "version": "9.0.0"}

    with pytest.raises(PublishingError, match=r"found nameplate_resnet of nameplate-resnet 9\.0\.0\.$"):
        read_certificate(reissued(issued, package=package))


def test_a_certificate_for_other_code_is_refused(issued: Path):
    """The version may be the same; the files that were judged are those that count."""
    package = {**json.loads(issued.read_text())["package"], "files": "0" * 64}

    with pytest.raises(PublishingError, match=r"is about other files of nameplate-resnet .* than those here"):
        read_certificate(reissued(issued, package=package))


def test_a_certificate_that_was_changed_is_refused(issued: Path):
    """The suite's own words tell."""
    issued.write_text(issued.read_text().replace("conforms to L7", "conforms to L8"))

    with pytest.raises(NameplateError, match=r"^issued\.json was changed after it was issued\."):
        read_certificate(issued)
