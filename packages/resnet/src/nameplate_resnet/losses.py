"""The losses of the heads: which one some labels ask for, and what is wrong with labels that ask for none.

The legend of shapes: ``batch`` images, ``classes`` as the config counts them, ``height`` and ``width`` in pixels.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from .config_core import NameplateError, sentences

ProblemType = Literal["regression", "single_label_classification", "multi_label_classification"]

IGNORED_CLASS = 255
"""The label of pixels that do not count in a segmentation, as in the data sets that are made for it."""


class LabelsError(NameplateError, ValueError):
    """Labels do not fit what the model answers, or the loss that the config asks for."""


def classification_loss(
    logits: Tensor, labels: Tensor, *, problem_type: ProblemType | None = None, label_smoothing: float = 0.0
) -> Tensor:
    """Return the mean loss of a classifier.

    ====================================  =====================================================  ==================
    problem type                          labels                                                 loss
    ====================================  =====================================================  ==================
    ``"single_label_classification"``     integers ``(batch,)`` in [0, classes), -100 to leave   cross entropy
                                          out; or probabilities ``(batch, classes)``, as
                                          mixup makes them
    ``"multi_label_classification"``      0 or 1, or in between, ``(batch, classes)``            binary cross
                                                                                                 entropy
    ``"regression"``                      ``(batch, classes)``, or ``(batch,)`` for one class    mean squared error
    ====================================  =====================================================  ==================

    Without a problem type it is regression for a single class; for more, integers are single labels and anything else
    is multi-label, as in Transformers.

    Args:
        logits: ``(batch, classes)``.
        labels: As the table says.
        problem_type: What the labels are.
        label_smoothing: How much of each single label is spread over all classes, of 1.

    Returns:
        A scalar.

    Raises:
        LabelsError: If the labels do not fit. Classes out of range are found on the CPU alone.

    Example:
        >>> import torch
        >>> logits = torch.zeros(2, 4)
        >>> round(classification_loss(logits, torch.tensor([0, 3])).item(), 4)
        1.3863
        >>> round(classification_loss(logits, torch.ones(2, 4)).item(), 4)
        0.6931
    """
    _require_numbers(labels)
    problem = problem_type or _problem_of(logits, labels)
    if problem == "single_label_classification":
        return _single_label_loss(logits, labels, label_smoothing)
    if label_smoothing:
        message = sentences(
            f"label_smoothing is {label_smoothing}, but the loss of these labels is for {problem!r}.",
            "Set problem_type='single_label_classification', or label_smoothing=0.",
        )
        raise LabelsError(message)
    if problem == "regression" and labels.dim() == 1 and logits.shape[-1] == 1:
        logits = logits.squeeze(-1)
    if labels.shape != logits.shape:
        hint = f"The problem type is {problem!r}: one number for each class of each image."
        raise LabelsError(_unfit(f"shape {tuple(logits.shape)}", labels, hint))
    wanted = labels.to(torch.promote_types(labels.dtype, logits.dtype))  # else half labels would halve the loss
    if problem == "regression":
        return functional.mse_loss(logits, wanted)
    return functional.binary_cross_entropy_with_logits(logits, wanted)


def segmentation_loss(logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0) -> Tensor:
    """Return the mean cross entropy of a map of classes, leaving out the pixels of class 255.

    A single class is one that a pixel has or has not: its labels are 0 and 1, its loss the binary cross entropy.

    Args:
        logits: ``(batch, classes, height, width)``.
        labels: Integers ``(batch, height, width)`` in [0, classes), or 255 for pixels that do not count.
        label_smoothing: How much of each label is spread over all classes, of 1.

    Returns:
        A scalar; NaN if no pixel counts.

    Raises:
        LabelsError: If the labels do not fit, or 255 would be one of the classes. Classes out of range are found on the
            CPU alone.

    Example:
        >>> import torch
        >>> labels = torch.tensor([[[0, 255], [255, 255]]])
        >>> round(segmentation_loss(torch.zeros(1, 4, 2, 2), labels).item(), 4)
        1.3863
    """
    _require_numbers(labels)
    batch, classes, height, width = logits.shape
    if classes > IGNORED_CLASS:
        message = sentences(
            f"A segmentation is learnt from at most {IGNORED_CLASS} classes, found num_labels={classes}.",
            f"The label {IGNORED_CLASS} means pixels that do not count.",
        )
        raise LabelsError(message)
    if labels.shape != (batch, height, width) or not _is_integer(labels):
        hint = "One class for each pixel of the images."
        raise LabelsError(_unfit(f"integers of shape {(batch, height, width)}", labels, hint))
    if classes == 1:
        return _one_class_loss(logits[:, 0], labels.long())
    return _cross_entropy(logits, labels.long(), label_smoothing=label_smoothing, ignore_index=IGNORED_CLASS)


def _problem_of(logits: Tensor, labels: Tensor) -> ProblemType:
    if logits.shape[-1] == 1:
        return "regression"
    return "single_label_classification" if _is_integer(labels) else "multi_label_classification"


def _single_label_loss(logits: Tensor, labels: Tensor, label_smoothing: float) -> Tensor:
    if labels.is_floating_point() and labels.shape == logits.shape:
        return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing)
    if not _is_integer(labels) or labels.shape != logits.shape[:1]:
        expected = f"integers of shape {tuple(logits.shape[:1])}, or probabilities of shape {tuple(logits.shape)}"
        hint = "For several labels of one image set problem_type='multi_label_classification'."
        raise LabelsError(_unfit(expected, labels, hint))
    return _cross_entropy(logits, labels.long(), label_smoothing=label_smoothing)


def _one_class_loss(logits: Tensor, labels: Tensor) -> Tensor:
    counted = labels != IGNORED_CLASS
    had = torch.where(counted, labels, 0)
    if had.device.type == "cpu" and not torch.compiler.is_compiling() and bool(((had < 0) | (had > 1)).any()):
        raise LabelsError(_out_of_range(had, 1, IGNORED_CLASS))
    each = functional.binary_cross_entropy_with_logits(logits, had.to(logits.dtype), reduction="none")
    return torch.where(counted, each, 0.0).sum() / counted.sum()  # an index would wait for the device


def _cross_entropy(logits: Tensor, labels: Tensor, *, label_smoothing: float, ignore_index: int = -100) -> Tensor:
    try:
        return functional.cross_entropy(logits, labels, label_smoothing=label_smoothing, ignore_index=ignore_index)
    except IndexError as error:  # looking first would cost a pass over the labels
        counted = labels[labels != ignore_index]
        raise LabelsError(_out_of_range(counted, logits.shape[1] - 1, ignore_index)) from error


def _out_of_range(labels: Tensor, last: int, ignore_index: int) -> str:
    found = f"classes from {int(labels.min())} to {int(labels.max())}"
    return f"labels: expected classes from 0 to {last}, or {ignore_index}, found {found}."


def _is_integer(labels: Tensor) -> bool:
    return not (labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool)


def _require_numbers(labels: Tensor) -> None:
    if not isinstance(labels, Tensor):
        message = f"labels: expected a tensor, found {type(labels).__name__}. Make one with torch.tensor()."
        raise LabelsError(message)
    if labels.is_complex() or (labels.is_floating_point() and labels.itemsize == 1):  # which no loss is made for
        raise LabelsError(_unfit("real numbers of two bytes at least, or integers", labels, ""))


def _unfit(expected: str, labels: Tensor, hint: str) -> str:
    return sentences(f"labels: expected {expected}, found {labels.dtype} of shape {tuple(labels.shape)}.", hint)
