"""Copying a model's tensors out of mapped files into memory of their own."""

import torch
from torch import nn

from nameplate_model._layout import ALIGNMENT
from nameplate_model._state import adopt, every_slot
from nameplate_model._views import overlap_again, overlapping


def materialize(model: nn.Module) -> None:
    """Copy every tensor on the host that torch did not allocate itself; parameters stay the objects that they are."""
    with torch.no_grad():
        groups = overlapping(every_slot(model))
        copied: dict[int, torch.Tensor] = {}
        for slot in list(every_slot(model)):
            tensor = slot.tensor
            if tensor.device.type != "cpu" or _is_its_own(tensor):
                continue
            if isinstance(tensor, nn.Parameter):
                tensor.data = tensor.data.clone()
            else:
                slot.put(copied.setdefault(id(tensor), adopt(slot, tensor.clone())))
        if groups:
            overlap_again(list(every_slot(model)), groups, lambda _key: True, keep=True)


def _is_its_own(tensor: torch.Tensor) -> bool:
    """Whether torch allocated a tensor's memory: then it can be resized, and lies on the grid."""
    return tensor.untyped_storage().resizable() and tensor.data_ptr() % ALIGNMENT == 0
