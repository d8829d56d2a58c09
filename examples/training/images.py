"""The images as the network sees them; the scans themselves, and their split, are those of the quickstart."""

import torch
from examples.quickstart.digits import Split, shifted
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Dataset

from nameplate_resnet import ImageProcessorConfig

NAME = "UCI handwritten digits, as in scikit-learn"
"""What the data are called where a result is quoted."""

PIXELS = 64
"""Side of the enlarged scans. With an output stride of 8 each pixel of the last maps is one of the 8x8 scan."""

PROCESSOR = ImageProcessorConfig(size=(PIXELS, PIXELS), crop_pct=1.0, interpolation="bilinear", mean=(0.5,), std=(0.5,))
"""How an image file becomes what the network sees, but for the rounding to bytes in between."""


def enlarged(scans: Tensor) -> Tensor:
    """Return scans as the network sees them: ``(images, 1, 64, 64)``, interpolated, in [-1, 1]."""
    size = (PIXELS, PIXELS)
    return functional.interpolate(scans, size=size, mode="bilinear", align_corners=False) * 2 - 1


class Digits(Dataset[dict[str, Tensor]]):
    """A split, image by image, as `torch.utils.data.DataLoader` wants it.

    Args:
        split: The images.
        moved: Whether each is moved by up to a pixel of the scan, with torch's own random numbers.
    """

    def __init__(self, split: Split, *, moved: bool = False) -> None:
        self._split = split
        self._moved = moved

    def __len__(self) -> int:
        return len(self._split)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        scan = self._split.scans[index : index + 1]
        if self._moved:
            scan = shifted(scan, torch.default_generator)
        return {"pixel_values": enlarged(scan)[0], "labels": self._split.labels[index]}
