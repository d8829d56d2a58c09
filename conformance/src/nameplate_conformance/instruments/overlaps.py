"""Which tensors of a module overlap in memory: tied weights, shared modules, views of one another."""

from collections.abc import Iterable, Mapping

from torch import Tensor, nn

from nameplate_conformance.instruments.bits import every_tensor


def overlapping(model: nn.Module) -> set[frozenset[str]]:
    """Return the names of parameters and buffers that overlap in memory, one set for each piece of memory.

    A tensor that overlaps nothing, has no elements or has no memory is in none of them.
    """
    groups: list[set[str]] = []
    reach = 0
    for start, end, name in _extents(every_tensor(model)):
        if groups and start < reach:
            groups[-1].add(name)
        else:
            groups.append({name})
        reach = max(reach, end)
    return {frozenset(names) for names in groups if len(names) > 1}


def same_objects(model: nn.Module) -> set[frozenset[str]]:
    """Return the names under which one and the same tensor is registered, one set for each such tensor."""
    groups: dict[int, set[str]] = {}
    for name, tensor in every_tensor(model).items():
        groups.setdefault(id(tensor), set()).add(name)
    return {frozenset(names) for names in groups.values() if len(names) > 1}


def in_common(one: nn.Module, other: nn.Module) -> list[str]:
    """Return the names of the tensors of one module that overlap a tensor of another."""
    theirs = _extents(every_tensor(other))
    return [
        name
        for start, end, name in _extents(every_tensor(one))
        if any(start < their_end and their_start < end for their_start, their_end, _ in theirs)
    ]


def by_memory(tensors: Mapping[str, Tensor], groups: Iterable[frozenset[str]]) -> list[list[str]]:
    """Return all names, those that overlap together, in a fixed order."""
    together = [sorted(group & tensors.keys()) for group in groups]
    alone = tensors.keys() - {name for names in together for name in names}
    return sorted([*filter(None, together), *([name] for name in alone)])


def _extents(tensors: Mapping[str, Tensor]) -> list[tuple[int, int, str]]:
    return sorted((*_extent(tensor), name) for name, tensor in tensors.items() if tensor.numel() and not tensor.is_meta)


def _extent(tensor: Tensor) -> tuple[int, int]:
    """Return the addresses of a tensor's first byte and of the one after its last; gaps of a view count as its own."""
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    start = tensor.data_ptr()
    return start, start + (last + 1) * tensor.element_size()
