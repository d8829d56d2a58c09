"""What the tensors of a stack hold, and how a program proves that it got all of it.

Values are whole numbers that differ from tensor to tensor and from place to place, so that sums of them are exact and
tell a mistake.
"""

from collections.abc import Iterable

import torch

_VALUES = 1 << 16
_STEP = 977
"""How far apart the values of neighbouring tensors and rows are; odd, so that they repeat late."""

_EVERY = 256
"""Elements between two that are looked at: four on each page, so that every page is read."""


def fill(tensors: Iterable[torch.Tensor]) -> None:
    """Give every tensor its values."""
    for index, tensor in enumerate(tensors):
        rows = torch.arange(tensor.shape[0], dtype=torch.float32) * _STEP
        columns = torch.arange(tensor.shape[1], dtype=torch.float32) + index * _STEP
        torch.add(rows[:, None], columns[None], out=tensor).remainder_(_VALUES)


def checksum(tensors: Iterable[torch.Tensor]) -> float:
    """Return a number that another order, a lost tensor or a page of other values changes; reads every page."""
    looked_at = (tensor.detach().flatten()[::_EVERY].double() for tensor in tensors)
    return sum(float(values.sum()) * place for place, values in enumerate(looked_at, start=1))
