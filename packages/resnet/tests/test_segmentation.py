"""`ResnetForSemanticSegmentation`: torchvision's head on any body of the family, and its checkpoints."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from torchvision.models.segmentation.fcn import FCNHead

from nameplate_auto import AutoModelForImageClassification, AutoModelForSemanticSegmentation
from nameplate_resnet import (
    ResnetBackbone,
    ResnetConfig,
    ResnetForSemanticSegmentation,
    ResnetModel,
    ResnetModelForImageClassification,
    SemanticSegmentation,
)

SMALL = {"block_type": "basic", "layers": (1, 1, 1, 1), "channels": (4, 4, 8, 32), "num_classes": 3}
IMAGES = torch.rand(2, 3, 48, 40, generator=torch.Generator().manual_seed(0))
LABELS = torch.randint(0, 3, (2, 48, 40), generator=torch.Generator().manual_seed(1))


def segmenter(**values: Any) -> ResnetForSemanticSegmentation:
    """Return a model, always the same, in evaluation mode."""
    torch.manual_seed(0)
    return ResnetForSemanticSegmentation(ResnetConfig(**SMALL | {"output_stride": 8} | values)).eval()


def test_the_head_is_that_of_torchvision():
    """Its parts have the same names, and with the same weights it answers the same bits."""
    model = segmenter()
    theirs = FCNHead(32, 3).eval()
    theirs.load_state_dict(model.head.state_dict())
    features = model.model.forward_features(IMAGES)

    assert torch.equal(model.head(features), theirs(features))


@pytest.mark.parametrize(("stride", "size"), [(8, (6, 5)), (16, (3, 3)), (32, (2, 2))])
def test_logits_have_the_size_of_the_image(stride: int, size: tuple[int, int]):
    """They are those of the feature map, of which `output_stride` tells the size, enlarged bilinearly."""
    model = segmenter(output_stride=stride)
    coarse = model.head(model.model.forward_features(IMAGES))
    answer = model(IMAGES)

    assert (type(answer), answer.loss, coarse.shape[2:]) == (SemanticSegmentation, None, size)
    assert torch.equal(answer.logits, functional.interpolate(coarse, size=(48, 40), mode="bilinear"))


def test_the_loss_leaves_out_class_255():
    """The loss is the cross entropy of the logits; smoothing is that of the config."""
    labels = LABELS.clone()
    labels[:, :9] = 255
    answer = segmenter(label_smoothing=0.1)(IMAGES, labels)
    expected = functional.cross_entropy(answer.logits, labels, ignore_index=255, label_smoothing=0.1)

    assert torch.equal(answer.loss, expected)


def test_more_is_answered_on_demand():
    """All maps come with `output_hidden_states`, and a tuple without `return_dict`."""
    model = segmenter()
    answer = model(IMAGES, LABELS, output_hidden_states=True)
    loss, logits = model(IMAGES, LABELS, return_dict=False)

    assert list(answer) == ["loss", "logits", "hidden_states"]
    assert torch.equal(answer.hidden_states[-1], model.model.forward_features(IMAGES))
    assert (answer.loss, len(answer.hidden_states)) == (loss, 5)
    assert torch.equal(answer.logits, logits)


@pytest.mark.parametrize("norm", ["simplenorm2d", "layernorm2d"])
def test_the_narrowest_head_tells_pixels_apart(norm: str):
    """A fourth of four channels would be one, which normalisation across channels leaves without a value."""
    answer = segmenter(channels=(4, 4, 4, 4), norm_layer=norm)(IMAGES)

    assert answer.logits.isfinite().all()
    assert (answer.logits.amax((2, 3)) - answer.logits.amin((2, 3)) > 1e-3).all()


@pytest.mark.parametrize("norm", ["groupnorm", "layernorm2d"])
def test_the_layers_of_the_head_are_those_of_the_config(norm: str):
    """Normalisation and activation are the network's; groups are fewer where the channels are."""
    wide = {"channels": (32, 32, 32, 64), "norm_layer": norm, "act_layer": "silu"}
    model = segmenter(**wide)

    assert [type(each) for each in model.head[1:3]] == [type(model.model.bn1), type(model.model.act1)]
    assert model(IMAGES).logits.isfinite().all()


# ---- checkpoints


@pytest.mark.parametrize("source", [ResnetModelForImageClassification, ResnetModel, ResnetBackbone])
def test_every_checkpoint_of_the_family_gives_the_body(source: Any, tmp_path: Path):
    """The body is loaded bit by bit; the report names the head as new, and another one as left over."""
    theirs = source(ResnetConfig(**SMALL))
    theirs.save_pretrained(tmp_path)
    model, report = AutoModelForSemanticSegmentation.from_pretrained(
        tmp_path, num_labels=7, output_stride=8, output_loading_info=True
    )
    fc = [name for name in ("model.fc.bias", "model.fc.weight") if name in theirs.state_dict()]

    assert type(model) is ResnetForSemanticSegmentation
    assert set(report.missing) == {name for name in model.state_dict() if name.startswith("head.")}
    assert list(report.unexpected) == fc
    assert set(report.transferred) == {*report.missing, *fc}
    body = theirs.model.state_dict()
    assert all(torch.equal(each, body[name]) for name, each in model.model.state_dict().items())
    assert model(IMAGES).logits.shape == (2, 7, 48, 40)


def test_a_classifier_is_started_from_it(tmp_path: Path):
    """The other way round the new head is the classifier's."""
    segmenter().save_pretrained(tmp_path)
    model, report = AutoModelForImageClassification.from_pretrained(tmp_path, output_loading_info=True)

    assert type(model) is ResnetModelForImageClassification
    assert report.missing == ("model.fc.bias", "model.fc.weight")
    assert set(report.unexpected) == {name for name in segmenter().state_dict() if name.startswith("head.")}


def test_it_comes_back(tmp_path: Path):
    """A saved one is found by the Auto class and answers the same bits."""
    model = segmenter()
    model.save_pretrained(tmp_path)
    again = AutoModelForSemanticSegmentation.from_pretrained(tmp_path)

    assert again.load_report.exact
    assert again(IMAGES) == model(IMAGES)


# ---- training and compilers


def test_training_lowers_the_loss():
    """A few steps on one batch teach it something, also with autocast and channels last."""
    model = segmenter().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    losses: list[Tensor] = []
    for _ in range(6):
        with torch.autocast("cpu", dtype=torch.bfloat16):
            answer = model(IMAGES.contiguous(memory_format=torch.channels_last), LABELS)
        losses.append(answer.loss.detach())
        optimizer.zero_grad()
        answer.loss.backward()
        optimizer.step()

    assert answer.loss.dtype == torch.float32
    assert losses[-1] < losses[0]


def test_checkpointing_is_the_plain_step():
    """Blocks that run twice give the loss and the gradients of the plain step, dropout included."""
    found = []
    for checked in (False, True):
        model = segmenter().train()
        if checked:
            model.gradient_checkpointing_enable()
        torch.manual_seed(1)
        loss = model(IMAGES, LABELS).loss
        loss.backward()
        found.append([loss, *(each.grad for each in model.parameters())])

    assert all(map(torch.equal, *found))


def test_it_is_compiled_whole_and_exported():
    """The compiler and the exporter see one graph that answers the same bits."""
    torch.compiler.reset()
    model = segmenter()
    program = torch.export.export(model, (IMAGES,))

    assert torch.compile(model, backend="eager", fullgraph=True)(IMAGES, LABELS) == model(IMAGES, LABELS)
    assert program.module()(IMAGES) == model(IMAGES)
