"""Judging a model on the held-out digits: what each epoch was like, and what the trained model makes of them."""

from dataclasses import dataclass

import torch
from examples.quickstart.digits import Split
from examples.training.images import enlarged
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """What an epoch was like.

    Attributes:
        rate: The learning rate at its end.
        train_loss: The mean loss of its steps.
        test_loss: The mean loss on the held-out images, at its end.
        test_accuracy: The share of them that is told right.
    """

    rate: float
    train_loss: float
    test_loss: float
    test_accuracy: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a model makes of a split.

    Attributes:
        logits: ``(images, classes)``, on the host.
        labels: ``(images,)``, the truth.
    """

    logits: Tensor
    labels: Tensor

    @property
    def predictions(self) -> Tensor:
        """The class of the largest logit, ``(images,)``."""
        return self.logits.argmax(1)

    @property
    def accuracy(self) -> float:
        """The share of images that is told right."""
        return (self.predictions == self.labels).double().mean().item()

    @property
    def loss(self) -> float:
        """The mean cross-entropy."""
        return functional.cross_entropy(self.logits, self.labels).item()

    @property
    def confusion(self) -> Tensor:
        """How often each class (row) was told to be each class (column), ``(classes, classes)``."""
        classes = self.logits.shape[1]
        return torch.bincount(self.labels * classes + self.predictions, minlength=classes**2).view(classes, classes)


def evaluate(model: torch.nn.Module, images: Split, device: torch.device) -> Evaluation:
    """Return what a model makes of images, in full precision; it is left in the mode that it was in."""
    training = model.training
    with torch.inference_mode():
        logits = model.eval()(enlarged(images.scans).to(device, memory_format=torch.channels_last))["logits"]
    model.train(training)
    return Evaluation(logits.float().cpu(), images.labels)
