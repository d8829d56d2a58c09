"""The data: 1,797 real scans of handwritten digits that come with scikit-learn, split once and for all.

UCI ML hand-written digits (E. Alpaydin and C. Kaynak, 1998): 8x8 pixels of 16 grey levels.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import Tensor
from torch.nn import functional

PIXELS = 32
"""Side of the images that the network sees: the smallest that a ResNet halves five times."""

_LEVELS = 16.0
_HELD_OUT = 1 / 3


@dataclass(frozen=True, slots=True)
class Split:
    """Images and their labels.

    Attributes:
        scans: ``(images, 1, 8, 8)``, float32 in [0, 1], as scanned.
        labels: ``(images,)``, int64.
    """

    scans: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def load_splits() -> tuple[Split, Split]:
    """Return the training images and the held-out third, the same ones in every process."""
    digits = cast("Any", load_digits())
    images = torch.from_numpy(digits.images).float().unsqueeze(1) / _LEVELS
    labels = torch.from_numpy(digits.target).long()
    train, held_out = train_test_split(
        torch.arange(len(labels)).numpy(), test_size=_HELD_OUT, random_state=0, stratify=labels.numpy()
    )
    return Split(images[train], labels[train]), Split(images[held_out], labels[held_out])


def pixel_values(scans: Tensor) -> Tensor:
    """Return scans as the network sees them: ``(images, 1, 32, 32)``, interpolated, in [-1, 1]."""
    enlarged = functional.interpolate(scans, size=(PIXELS, PIXELS), mode="bilinear", align_corners=False)
    return enlarged * 2 - 1


def shifted(scans: Tensor, generator: torch.Generator) -> Tensor:
    """Return each scan moved by up to one pixel in each direction, for training."""
    padded = functional.pad(scans, (1, 1, 1, 1))
    down, right = torch.randint(0, 3, (2, len(scans)), generator=generator)
    side = scans.shape[-1]
    rows = down[:, None, None] + torch.arange(side)[None, :, None]
    columns = right[:, None, None] + torch.arange(side)[None, None, :]
    return padded[torch.arange(len(scans))[:, None, None], 0, rows, columns].unsqueeze(1)
