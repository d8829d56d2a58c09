"""What of a state dict is stored, and under which names: ties once, overlapping views by value, with their geometry.

Two keys whose tensors are the same memory seen in the same way are one tensor with two names. Tensors that are
different windows of one memory, and have elements in common, are written one by one, so that a file is complete for
every reader; how they lay is recorded beside them. Windows that only neighbour each other are tensors of their own.
"""

import json
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from math import gcd
from typing import NamedTuple

import torch
from torch.nn.parameter import is_lazy

from nameplate_config.wording import shown
from nameplate_model._layout import METADATA, MOST_TENSORS, TIED_KEY, VIEWS_KEY
from nameplate_model._writer import CODES, bytes_of
from nameplate_model.errors import CheckpointError

_EXTRA_STATE = "_extra_state"
_GRID = 8  # the widest element has 8 bytes; a group of views begins where each of them may
_RESERVED = ("format", "nameplate")


@dataclass(frozen=True, slots=True)
class Stored:
    """What a checkpoint keeps of a state dict.

    Attributes:
        tensors: What is stored, by name, in the order of the state dict.
        tied: Other names of stored tensors, each with the one that is stored.
        views: What `VIEWS_KEY` records of stored tensors that overlap in memory.
    """

    tensors: Mapping[str, torch.Tensor]
    tied: Mapping[str, str]
    views: tuple[Mapping[str, object], ...]

    def metadata(self) -> dict[str, str]:
        """Return what the metadata says of it."""
        texts: dict[str, str] = {}
        if self.tied:
            texts[TIED_KEY] = json.dumps(self.tied, sort_keys=True)
        if self.views:
            texts[VIEWS_KEY] = json.dumps(self.views)
        return texts

    def aliases(self) -> dict[str, str]:
        """Return the ties once more, as the metadata of files by huggingface_hub and safetensors has them."""
        return {alias: kept for alias, kept in sorted(self.tied.items()) if not alias.startswith(_RESERVED)}


def stored(state: Mapping[str, torch.Tensor], cuts: Mapping[str, Hashable] | None = None) -> Stored:
    """Decide what is stored of a state dict.

    Args:
        state: The tensors by key.
        cuts: How those are cut of which the state dict has only a part. They are one tensor where the same memory is
            cut alike; how they overlap otherwise is not recorded.

    Raises:
        CheckpointError: If a value is no tensor, has no data, or has a dtype that the format lacks.
    """
    for key, tensor in state.items():
        _check(key, tensor)
    tensors: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    cuts = cuts or {}
    for key, tensor in state.items():
        kept = first.setdefault((cuts.get(key), *_identity(tensor)), key) if tensor.numel() else key
        if kept == key:
            tensors[key] = tensor
        else:
            tied[key] = kept
    if len(tensors) > MOST_TENSORS:
        message = f"there are {len(tensors):,} tensors; a checkpoint may have {MOST_TENSORS:,}."
        raise CheckpointError(message)
    whole = {key: tensor for key, tensor in tensors.items() if key not in cuts}
    return Stored(tensors, tied, tuple(_recorded(group) for group in _overlapping(whole) if _is_small(group)))


def _check(key: str, tensor: object) -> None:
    """Refuse what a file cannot hold."""
    if not isinstance(tensor, torch.Tensor):
        raise CheckpointError(_no_tensor(key, tensor))
    if is_lazy(tensor):
        message = f"{key!r} has no shape yet: run the model once before it is saved."
        raise CheckpointError(message)
    if tensor.is_meta:
        message = f"{key!r} is on the meta device: it has no values that could be saved."
        raise CheckpointError(message)
    if tensor.dtype not in CODES or tensor.layout is not torch.strided or tensor.is_nested:
        kind = "nested " if tensor.is_nested else ""
        message = f"{key!r} has dtype {tensor.dtype} and layout {kind}{tensor.layout}, which safetensors cannot hold."
        raise CheckpointError(message)
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        message = f"{key!r} is a {type(tensor).__name__}, which has no memory of its own. Save a plain tensor instead."
        raise CheckpointError(message)
    if key == METADATA or key.encode(errors="ignore").decode() != key:
        message = f"{key!r} cannot be the name of a tensor in a safetensors file."
        raise CheckpointError(message)


def _no_tensor(key: str, found: object) -> str:
    prefix, _, name = key.rpartition(".")
    if name != _EXTRA_STATE:
        return f"the state dict holds {shown(found)} under {key!r}; only tensors can be saved."
    owner = f"the module {prefix!r}" if prefix else "the model"
    return f"the extra state of {owner} is {shown(found)}; get_extra_state() must return a tensor to be saved."


def _identity(tensor: torch.Tensor) -> tuple[object, ...]:
    seen = (tensor.dtype, tensor.shape, tensor.stride(), tensor.is_conj(), tensor.is_neg())
    return tensor.device, tensor.data_ptr(), *seen


# ---- views


class _Window(NamedTuple):
    """The bytes of memory between a tensor's first element and its last."""

    begin: int
    end: int
    name: str
    tensor: torch.Tensor


def _overlapping(tensors: Mapping[str, torch.Tensor]) -> list[list[_Window]]:
    """Return the groups of tensors that have memory in common."""
    devices: dict[torch.device, list[_Window]] = {}
    for name, tensor in tensors.items():
        if tensor.numel() and not tensor.is_conj() and not tensor.is_neg():  # whose values are not what lies there
            devices.setdefault(tensor.device, []).append(_window(name, tensor))
    groups: list[list[_Window]] = []
    for windows in devices.values():
        windows.sort(key=lambda window: window[:3])
        for cluster in _clusters(windows):
            groups += _sharing(cluster)
    order = {name: place for place, name in enumerate(tensors)}
    for group in groups:
        group.sort(key=lambda window: order[window.name])
    return sorted(groups, key=lambda group: order[group[0].name])


def _window(name: str, tensor: torch.Tensor) -> _Window:
    reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
    begin = tensor.data_ptr()
    return _Window(begin, begin + (reach + 1) * tensor.element_size(), name, tensor)


def _clusters(windows: list[_Window]) -> list[list[_Window]]:
    """Return the runs of sorted windows of which each begins before all those ahead of it have ended."""
    found: list[list[_Window]] = []
    end = 0
    for window in windows:
        if window.begin < end:
            found[-1].append(window)
        else:
            found.append([window])
        end = max(end, window.end)
    return [cluster for cluster in found if len(cluster) > 1]


def _sharing(cluster: list[_Window]) -> list[list[_Window]]:
    """Split windows that lie across each other into those that have elements in common."""
    if all(_is_dense(window.tensor) for window in cluster):
        return [cluster]
    start = cluster[0].begin
    unit = gcd(*(window.tensor.element_size() for window in cluster), *(window.begin - start for window in cluster))
    units = (max(window.end for window in cluster) - start) // unit
    owners = torch.full((units,), -1, dtype=torch.int32, device="cpu")  # of each unit: the last window that has it
    group_of = list(range(len(cluster)))
    for number, window in enumerate(cluster):
        places = _places(window, start, unit, units)
        for owner in owners[places].unique().tolist():
            if owner >= 0:
                old, new = group_of[owner], group_of[number]
                group_of = [new if group == old else group for group in group_of]
        owners[places] = number
    groups = [
        [window for window, group in zip(cluster, group_of, strict=True) if group == each]
        for each in sorted(set(group_of))
    ]
    return [group for group in groups if len(group) > 1]


def _places(window: _Window, start: int, unit: int, units: int) -> torch.Tensor:
    """Return the numbers of the units of memory that a window's elements lie on."""
    width = window.tensor.element_size() // unit
    steps = [step * width for step in window.tensor.stride()]
    every = torch.arange(units, device="cpu")
    return every.as_strided([*window.tensor.shape, width], [*steps, 1], (window.begin - start) // unit).reshape(-1)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements of a tensor fill its window, in whatever order."""
    filled = 1
    for step, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size != 1:
            if step != filled:
                return False
            filled *= size
    return True


def _recorded(group: list[_Window]) -> dict[str, object]:
    start = _start(group)
    members: dict[str, object] = {}
    for window in group:
        shape, stride = window.tensor.shape, window.tensor.stride()
        steps = [1 if size == 1 else step for size, step in zip(shape, stride, strict=True)]
        members[window.name] = {"offset": window.begin - start, "stride": steps}
    return {"bytes": _reach(group), "members": members}


def _start(group: list[_Window]) -> int:
    """Return the address from which the offsets of a group are counted."""
    first = min(window.begin for window in group)
    return first - first % _GRID


def _reach(group: list[_Window]) -> int:
    """Return the bytes of memory that a group takes."""
    return max(window.end for window in group) - _start(group)


def _is_small(group: list[_Window]) -> bool:
    """Whether a group takes no more memory than its tensors one by one: for more, no reader takes a file's word."""
    return _reach(group) <= sum(bytes_of(window.tensor) for window in group)
