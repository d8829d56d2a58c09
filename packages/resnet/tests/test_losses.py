"""The losses are torch's own, chosen by the labels or by name, and labels that fit none are errors that say why."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from nameplate_config import NameplateError
from nameplate_resnet import LabelsError
from nameplate_resnet.losses import classification_loss, segmentation_loss

LOGITS = torch.randn(4, 3, generator=torch.Generator().manual_seed(0))
SINGLE = torch.tensor([0, 2, 1, 1])
MANY = torch.tensor([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0], [0.5, 0.0, 0.25]])
MAP = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
PIXELS = torch.randint(0, 3, (2, 4, 5), generator=torch.Generator().manual_seed(1))

# ---- classification


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8])
@pytest.mark.parametrize("problem", [None, "single_label_classification"])
def test_integers_are_single_labels(problem: Any, dtype: torch.dtype):
    """Integers of any width mean the cross entropy, named or not."""
    found = classification_loss(LOGITS, SINGLE.to(dtype), problem_type=problem)

    assert torch.equal(found, functional.cross_entropy(LOGITS, SINGLE))


@pytest.mark.parametrize("labels", [MANY, MANY > 0], ids=["floats", "bools"])
@pytest.mark.parametrize("problem", [None, "multi_label_classification"])
def test_numbers_for_each_class_are_several_labels(problem: Any, labels: Tensor):
    """Floats and bools for each class mean the binary cross entropy."""
    found = classification_loss(LOGITS, labels, problem_type=problem)

    assert torch.equal(found, functional.binary_cross_entropy_with_logits(LOGITS, labels.float()))


def test_integers_are_several_labels_by_name():
    """Zeros and ones for each class need the problem type, since integers mean single labels."""
    found = classification_loss(LOGITS, MANY.long(), problem_type="multi_label_classification")

    assert torch.equal(found, functional.binary_cross_entropy_with_logits(LOGITS, MANY.long().float()))
    with pytest.raises(LabelsError, match=r"set problem_type='multi_label_classification'\.$"):
        classification_loss(LOGITS, MANY.long())


@pytest.mark.parametrize("shape", [(4,), (4, 1)])
@pytest.mark.parametrize("problem", [None, "regression"])
def test_one_class_is_a_number(problem: Any, shape: tuple[int, ...]):
    """A single class is compared with one number for each image, in either shape, integers too."""
    one, labels = LOGITS[:, :1], SINGLE.reshape(shape)
    expected = functional.mse_loss(one.squeeze(-1), SINGLE.float())

    assert torch.equal(classification_loss(one, labels, problem_type=problem), expected)
    assert torch.equal(classification_loss(one, labels.float(), problem_type=problem), expected)


def test_several_numbers_are_a_regression_by_name():
    """More than one number needs the problem type."""
    found = classification_loss(LOGITS, MANY, problem_type="regression")

    assert torch.equal(found, functional.mse_loss(LOGITS, MANY))


def test_probabilities_are_single_labels_by_name():
    """What mixup makes of single labels is compared by the cross entropy."""
    mixed = MANY.softmax(-1)
    found = classification_loss(LOGITS, mixed, problem_type="single_label_classification")

    assert torch.equal(found, functional.cross_entropy(LOGITS, mixed))


def test_single_labels_are_smoothed():
    """Smoothing is torch's; an image of class -100 is left out."""
    labels = torch.tensor([0, -100, 1, 1])

    assert torch.equal(
        classification_loss(LOGITS, labels, label_smoothing=0.1),
        functional.cross_entropy(LOGITS, labels, label_smoothing=0.1),
    )


@pytest.mark.parametrize(("labels", "problem"), [(MANY, "multi_label_classification"), (MANY, "regression")])
def test_other_labels_are_not_smoothed(labels: Tensor, problem: Any):
    """A number that would be ignored is an error."""
    with pytest.raises(LabelsError) as error:
        classification_loss(LOGITS, labels, problem_type=problem, label_smoothing=0.1)

    assert str(error.value) == (
        f"label_smoothing is 0.1, but the loss of these labels is for {problem!r}.\n"
        "  Set problem_type='single_label_classification', or label_smoothing=0."
    )


@pytest.mark.parametrize(
    ("labels", "problem", "text"),
    [
        (torch.zeros(4), None, "expected shape (4, 3), found torch.float32 of shape (4,)."),
        (torch.zeros(3, 4), "regression", "expected shape (4, 3), found torch.float32 of shape (3, 4)."),
        (
            SINGLE[:2],
            None,
            "expected integers of shape (4,), or probabilities of shape (4, 3), found torch.int64 of shape (2,).",
        ),
        (SINGLE == 1, "single_label_classification", "found torch.bool of shape (4,)."),
        ([0, 2, 1, 1], None, "expected a tensor, found list. Make one with torch.tensor()."),
        (SINGLE + 1, None, "expected classes from 0 to 2, or -100, found classes from 1 to 3."),
        (SINGLE - 1, None, "expected classes from 0 to 2, or -100, found classes from -1 to 1."),
        (MANY.to(torch.complex64), "regression", "expected real numbers of two bytes at least, or integers, found"),
        (MANY.to(torch.float8_e4m3fn), None, "found torch.float8_e4m3fn of shape (4, 3)."),
    ],
)
def test_labels_that_do_not_fit_are_errors(labels: Any, problem: Any, text: str):
    """The error says what was expected and what was found."""
    with pytest.raises(LabelsError) as error:
        classification_loss(LOGITS, labels, problem_type=problem)

    assert text in str(error.value)
    assert isinstance(error.value, NameplateError)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize(
    ("labels", "problem"), [(SINGLE, None), (MANY, None), (MANY, "regression"), (MANY, "single_label_classification")]
)
def test_half_precision_is_trained_on(labels: Tensor, problem: Any):
    """Logits in bfloat16 go with the labels that those in float32 go with, and get a gradient."""
    logits = LOGITS.bfloat16().requires_grad_()
    classification_loss(logits, labels, problem_type=problem).backward()

    assert logits.grad.isfinite().all()
    assert logits.grad.any()


# ---- segmentation


def test_pixels_of_class_255_do_not_count():
    """The loss is the cross entropy of the other pixels, also where classes are bytes."""
    labels = PIXELS.clone()
    labels[0, :2] = 255
    counted = (labels != 255).flatten()
    rows = MAP.movedim(1, -1).flatten(0, 2)
    expected = functional.cross_entropy(rows[counted], labels.flatten()[counted])

    assert torch.allclose(segmentation_loss(MAP, labels), expected)
    assert torch.equal(segmentation_loss(MAP, labels), segmentation_loss(MAP, labels.to(torch.uint8)))


@pytest.mark.parametrize("problem", ["multi_label_classification", "regression"])
def test_half_labels_leave_the_loss_as_exact_as_the_logits(problem: Any):
    """Numbers of two dtypes are compared in the more exact one."""
    loss = classification_loss(LOGITS, MANY.half(), problem_type=problem)

    assert torch.equal(loss, classification_loss(LOGITS, MANY.half().float(), problem_type=problem))


def test_pixels_are_smoothed():
    """Smoothing is torch's."""
    expected = functional.cross_entropy(MAP, PIXELS, label_smoothing=0.1)

    assert torch.equal(segmentation_loss(MAP, PIXELS, label_smoothing=0.1), expected)


def test_a_single_class_of_pixels_is_there_or_not():
    """The labels 0 and 1 mean the binary cross entropy of the pixels that count."""
    labels = (PIXELS > 0).long()
    labels[0, 0] = 255
    counted = labels != 255
    expected = functional.binary_cross_entropy_with_logits(MAP[:, 0][counted], labels[counted].float())

    assert torch.allclose(segmentation_loss(MAP[:, :1], labels), expected)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16])
def test_a_single_class_of_pixels_is_told_by_any_integer(dtype: torch.dtype):
    """What reads masks from files makes small integers of them."""
    labels = (PIXELS > 0).long()

    assert torch.equal(segmentation_loss(MAP[:, :1], labels.to(dtype)), segmentation_loss(MAP[:, :1], labels))


@pytest.mark.parametrize(
    ("logits", "labels", "text"),
    [
        (MAP, PIXELS[:, :2], "expected integers of shape (2, 4, 5), found torch.int64 of shape (2, 2, 5)."),
        (MAP, PIXELS.float(), "expected integers of shape (2, 4, 5), found torch.float32 of shape (2, 4, 5)."),
        (MAP, PIXELS + 1, "expected classes from 0 to 2, or 255, found classes from 1 to 3."),
        (MAP, None, "expected a tensor, found NoneType."),
        (MAP[:, :1], PIXELS, "labels: expected classes from 0 to 1, or 255, found classes from 0 to 2."),
        (MAP[:, :1], (PIXELS - 1).to(torch.int8), "classes from 0 to 1, or 255, found classes from -1 to 1."),
        (MAP[:, :1].expand(2, 256, 4, 5), PIXELS, "learnt from at most 255 classes, found num_labels=256."),
    ],
)
def test_pixels_that_do_not_fit_are_errors(logits: Tensor, labels: Any, text: str):
    """The error says what was expected and what was found."""
    with pytest.raises(LabelsError) as error:
        segmentation_loss(logits, labels)

    assert text in str(error.value)
