"""Copying a model's tensors out of mapped files into memory of their own."""

import torch
from torch import nn

from nameplate_model._state import every_slot, modules_of
from nameplate_model._views import overlap_again, overlapping


def materialize(model: nn.Module) -> None:
    """Copy every tensor on the host that torch did not allocate itself; parameters stay the objects that they are."""
    with torch.no_grad():
        foreign = [slot for slot in every_slot(modules_of(model)) if not _is_its_own(slot.tensor)]
        groups = overlapping(foreign)
        copied: dict[int, torch.Tensor] = {}
        for slot in foreign:
            tensor = slot.tensor
            if not isinstance(tensor, nn.Parameter):
                slot.put(copied[id(tensor)] if id(tensor) in copied else copied.setdefault(id(tensor), tensor.clone()))
            elif not _is_its_own(tensor):  # not yet, that is, by another of its names
                tensor.data = tensor.data.clone()
        overlap_again(list(every_slot(modules_of(model))), groups, lambda _key: True, keep=True)


def _is_its_own(tensor: torch.Tensor) -> bool:
    """Whether torch allocated a tensor's memory: then it can be resized."""
    on_host = tensor.device.type == "cpu" and tensor.layout is torch.strided
    return not on_host or tensor.untyped_storage().resizable()
