"""Spreading a model over several devices: what a `device_map` argument means, and the one made for ``"auto"``."""

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from nameplate_config import UnknownOptionError
from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._placement import DeviceMap, Placement, to_device
from nameplate_model._state import every_slot, modules_of, slots, twins_of

AUTO = "auto"

_SHARE = 0.9
"""Of the free memory of a device that is planned with; the rest is for what a model computes."""

_BLOCKS = (nn.ModuleList, nn.Sequential, nn.ModuleDict)
"""Modules that are nothing but their children, so that these may lie on different devices."""


def to_device_map(value: Any) -> DeviceMap | str | None:
    """Return what a `device_map` argument means: devices by module, ``"auto"``, or None.

    One device for everything is a map of the path ``""``.

    Raises:
        UnknownOptionError: If it is none of these.
    """
    if value is None or value == AUTO:
        return value
    if isinstance(value, Mapping):
        if all(isinstance(path, str) for path in value):
            return {path: to_device(device) for path, device in value.items()}
        message = f"device_map must map the paths of modules to devices, found {shown(value)}."
        raise UnknownOptionError(message)
    return {"": to_device(value)}


def check_paths(model: nn.Module, device_map: DeviceMap) -> None:
    """Refuse a map that names what the model does not have.

    Raises:
        UnknownOptionError: If a path is that of no module.
    """
    paths = [path for path, _ in model.named_modules(remove_duplicate=False)]
    for path in device_map:
        if path not in paths:
            message = sentences(
                f"device_map names {path!r}, but {type(model).__name__} has no such module.",
                did_you_mean(path, paths),
            )
            raise UnknownOptionError(message)


def spread(model: nn.Module, placement: Placement) -> Placement:
    """Return a placement that fills the accelerators one after the other, and the host with what is left.

    Blocks are kept whole: the children of containers such as `torch.nn.ModuleList`, and modules with tensors of
    their own. Tensors that are tied stay together.
    """
    room = _free_memory()
    if len(room) == 1:
        return replace(placement, device=next(iter(room)), device_map={})
    whole = sum(_sizes(model, placement).values())
    for device, free in room.items():
        if device.type != "cpu" and whole <= free:
            return replace(placement, device=device, device_map={})
    device_map = dict(pack(_blocks(model, placement), room))
    for keys in twins_of(slots(model)).values():
        tied = [owner for owner in (_owner(key, device_map) for key in keys) if owner]
        if tied:
            device_map |= dict.fromkeys(tied, device_map[tied[0]])
    return replace(placement, device=torch.device("cpu"), device_map=device_map)


def pack(blocks: Mapping[str, int], room: Mapping[torch.device, int]) -> DeviceMap:
    """Return the device of each block: in order, the first one that still has room, never going back.

    Args:
        blocks: The size of each in bytes, in the order in which they run.
        room: The free bytes of each device; the last one takes what fits nowhere.

    Example:
        >>> cpu, meta = torch.device("cpu"), torch.device("meta")
        >>> pack({"stem": 10, "body": 80, "head": 20}, {meta: 95, cpu: 1000})
        {'stem': device(type='meta'), 'body': device(type='meta'), 'head': device(type='cpu')}
    """
    devices = list(room)
    left, at, chosen = dict(room), 0, dict[str, torch.device]()
    for path, size in blocks.items():
        while at < len(devices) - 1 and size > left[devices[at]]:
            at += 1
        left[devices[at]] -= size
        chosen[path] = devices[at]
    return chosen


def _free_memory() -> dict[torch.device, int]:
    """Return the bytes that may be used on each device, accelerators first."""
    room: dict[torch.device, int] = {}
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            room[torch.device("cuda", number)] = int(_SHARE * torch.cuda.mem_get_info(number)[0])
    elif torch.backends.mps.is_available():
        room[torch.device("mps")] = int(_SHARE * torch.mps.recommended_max_memory())
    room[torch.device("cpu")] = (
        os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    )
    return room


def _blocks(model: nn.Module, placement: Placement) -> dict[str, int]:
    """Return the size in bytes of each module that must not be split, by path, in the order of the model."""
    found = dict.fromkeys(_whole(model, ""), 0)
    for key, size in _sizes(model, placement).items():
        owner = _owner(key, found)
        if owner:
            found[owner] += size
    return found


def _owner(key: str, blocks: Collection[str]) -> str:
    """Return the block that a tensor belongs to, or nothing."""
    path = key.rpartition(".")[0]
    while path and path not in blocks:
        path = path.rpartition(".")[0]
    return path


def _whole(module: nn.Module, path: str) -> Iterator[str]:
    for name, child in module._modules.items():  # noqa: SLF001
        below = f"{path}.{name}" if path else name
        if child is None:
            continue
        if isinstance(child, _BLOCKS) or any(isinstance(each, _BLOCKS) for each in child.children()):
            yield from _whole(child, below)
        else:
            yield below


def _sizes(model: nn.Module, placement: Placement) -> dict[str, int]:
    """Return the size of each tensor in bytes after the cast, by key; tied ones count once."""
    found: dict[int, tuple[str, int]] = {}
    for slot in every_slot(modules_of(model)):
        width = placement.dtype_of(slot.key, slot.tensor.dtype).itemsize
        found.setdefault(id(slot.tensor), (slot.key, slot.tensor.numel() * width))
    return dict(found.values())
