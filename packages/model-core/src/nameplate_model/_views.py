"""Tensors that overlap in memory: how they are found, what a file says of them, and how they overlap again.

Each such tensor is stored by value under its own name, so any reader gets it whole. What a file adds is the geometry:
which tensors were windows of one piece of memory, and where in it each began.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import nn

from nameplate_config.wording import listed, shown
from nameplate_model._header import corrupt
from nameplate_model._state import Slot
from nameplate_model.errors import CorruptFileError


class Window(NamedTuple):
    """How a tensor lies in a piece of memory that it shares.

    Attributes:
        offset: Where its first element is, in elements of its own from the start of the piece.
        stride: The distance between elements along each axis, in elements.
        dtype: The type of the elements.
    """

    offset: int
    stride: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True, slots=True)
class ViewGroup:
    """Tensors that share one piece of memory.

    Attributes:
        windows: How each lies in it, by name.
    """

    windows: Mapping[str, Window]

    def with_names(self, names: Mapping[str, str]) -> "ViewGroup":
        """Return the same group under other names."""
        return ViewGroup({names.get(name, name): window for name, window in self.windows.items()})


def parse_views(text: Any, tensors: Mapping[str, Any], where: str) -> tuple[ViewGroup, ...]:
    """Return the groups that a file records, each window checked against the tensor it belongs to.

    Raises:
        CorruptFileError: If they are no groups of the file's tensors.
    """
    try:
        groups = json.loads(text) if isinstance(text, str) else text
        return tuple(_group(group, tensors) for group in groups)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        problem = f"what it records of overlapping tensors cannot be: {shown(text)}"
        raise corrupt(where, problem) from error


def _group(group: Any, tensors: Mapping[str, Any]) -> ViewGroup:
    windows: dict[str, Window] = {}
    size = sum(tensors[name].nbytes for name in group["members"])
    for name, member in group["members"].items():
        offset, stride = member["offset"], tuple(member["stride"])
        stored = tensors[name]
        if not all(type(number) is int and 0 <= number <= size for number in (offset, *stride)):
            raise ValueError(name)
        window = Window(offset // stored.dtype.itemsize, stride, stored.dtype)
        # Windows overlap, so together they are smaller than one after the other: memory that a file cannot ask for.
        if len(stride) != len(stored.shape) or _end(stored, window) > size or offset % stored.dtype.itemsize:
            raise ValueError(name)
        windows[name] = window
    return ViewGroup(windows)


def _end(tensor: Any, window: Window) -> int:
    """Return where the last element of a tensor ends in its piece of memory, in bytes."""
    if 0 in tensor.shape:
        return window.offset * tensor.dtype.itemsize
    last = sum((size - 1) * step for size, step in zip(tensor.shape, window.stride, strict=True))
    return (window.offset + last + 1) * int(tensor.dtype.itemsize)


def overlapping(places: Iterable[Slot]) -> list[ViewGroup]:
    """Return the groups of distinct tensors in a model that share memory, by the keys of their slots.

    Tensors on the meta device share memory as others do, though it is none.
    """
    dense = [slot for slot in places if slot.tensor.layout is torch.strided]
    pieces = [slot.tensor.untyped_storage()._cdata for slot in dense]  # noqa: SLF001 - the address of the storage itself
    if len(set(pieces)) == len(dense):
        return []
    shared: dict[int, dict[int, Slot]] = {}
    for slot, piece in zip(dense, pieces, strict=True):
        shared.setdefault(piece, {}).setdefault(id(slot.tensor), slot)
    several = (list(group.values()) for group in shared.values() if len(group) > 1)
    return [_windows(group) for group in several if _meet(group)]


def _meet(group: Sequence[Slot]) -> bool:
    """Whether any two windows of one piece of memory share bytes, or may: parts of one that are apart do not."""
    ends = 0
    for slot in sorted(group, key=lambda slot: slot.tensor.storage_offset() * slot.tensor.element_size()):
        tensor = slot.tensor
        window = _window(tensor)
        if window.offset * tensor.element_size() < ends:
            return True
        ends = max(ends, _end(tensor, window))
    return False


def _window(tensor: torch.Tensor) -> Window:
    return Window(int(tensor.storage_offset()), tensor.stride(), tensor.dtype)


def _windows(group: Sequence[Slot]) -> ViewGroup:
    return ViewGroup({slot.key: _window(slot.tensor) for slot in group})


def overlap_again(
    places: Sequence[Slot], groups: Iterable[ViewGroup], loaded: Callable[[str], bool], *, keep: bool
) -> None:
    """Put tensors that overlapped into one piece of memory again.

    Args:
        places: Every slot of the model, as it is now; tied ones under each of their keys.
        groups: What overlapped.
        loaded: Whether the value of a key comes from the file; those win over what the constructor computed.
        keep: Whether parameters must stay the objects that they are.

    Raises:
        CorruptFileError: If values that should be the same memory differ.
    """
    by_key = {slot.key: slot for slot in places}
    for group in groups:
        members = {key: by_key[key] for key in group.windows if key in by_key}
        if len(members) < 2 or not _fit_together(members, group):  # noqa: PLR2004 - one overlaps with nothing
            continue
        joined = _joined(members, group, loaded)
        new = {id(slot.tensor): _settled(slot.tensor, joined[key], keep=keep) for key, slot in members.items()}
        for slot in places:
            if id(slot.tensor) in new:
                slot.put(new[id(slot.tensor)])


def _fit_together(members: Mapping[str, Slot], group: ViewGroup) -> bool:
    """Whether the geometry still holds: a cast changes where elements begin, but for all of one dtype alike."""
    as_recorded = all(slot.tensor.dtype == group.windows[key].dtype for key, slot in members.items())
    kinds = {slot.tensor.dtype for slot in members.values()}
    alike = len(kinds) == 1 and len({group.windows[key].dtype for key in members}) == 1
    return len({slot.tensor.device for slot in members.values()}) == 1 and (alike or as_recorded)


def _joined(members: Mapping[str, Slot], group: ViewGroup, loaded: Callable[[str], bool]) -> dict[str, torch.Tensor]:
    """Return the values of some tensors as windows of one new piece of memory."""
    device = next(iter(members.values())).tensor.device
    size = max(_end(slot.tensor, group.windows[key]) for key, slot in members.items())
    base = torch.zeros(size, dtype=torch.uint8, device=device)
    views = {key: _window_of(base, slot.tensor, group.windows[key]) for key, slot in members.items()}
    for key in sorted(members, key=loaded):
        views[key].copy_(members[key].tensor)
    for key, slot in members.items():
        if loaded(key) and not _same_bytes(views[key], slot.tensor):
            others = listed(other for other in members if other != key)
            message = f"{key!r} is the same memory as {others}, but the checkpoint has other values for it."
            raise CorruptFileError(message)
    return views


def _window_of(base: torch.Tensor, tensor: torch.Tensor, window: Window) -> torch.Tensor:
    begin, end = window.offset * tensor.element_size(), _end(tensor, window)
    return base[begin:end].view(tensor.dtype).as_strided(tensor.shape, window.stride)


def _same_bytes(one: torch.Tensor, other: torch.Tensor) -> bool:
    first, second = (tensor.detach().contiguous().view(-1).view(torch.uint8) for tensor in (one, other))
    return torch.equal(first, second)


def _settled(old: torch.Tensor, view: torch.Tensor, *, keep: bool) -> torch.Tensor:
    if not isinstance(old, nn.Parameter):
        return view
    if keep:
        old.data = view
        return old
    parameter = nn.Parameter(view, requires_grad=old.requires_grad)
    parameter.__dict__.update(old.__dict__)
    return parameter
