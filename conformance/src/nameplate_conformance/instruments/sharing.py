"""Which names of a model are one tensor."""

from torch import Tensor, nn

from nameplate_conformance.instruments.bits import every_tensor
from nameplate_conformance.instruments.overlaps import overlapping


def ties(model: nn.Module) -> set[frozenset[str]]:
    """Return the groups of names that are the same place in memory, seen in the same way."""
    return {names for names in _groups(every_tensor(model)) if len(names) > 1}


def untied(model: nn.Module) -> list[str]:
    """Return the keys of the state dict whose tensor shares its memory with no other, sorted."""
    shared = frozenset[str]().union(*overlapping(model))
    return sorted(set(nn.Module.state_dict(model)) - shared)


def _groups(tensors: dict[str, Tensor]) -> list[frozenset[str]]:
    groups: dict[tuple[object, ...], set[str]] = {}
    for name, tensor in tensors.items():
        place = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        groups.setdefault(place if tensor.numel() else (id(tensor),), set()).add(name)
    return [frozenset(names) for names in groups.values()]
