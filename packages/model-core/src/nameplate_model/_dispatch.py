"""Running a model whose parts lie on several devices: each part moves its inputs to where it is.

The hooks are objects of this module and not closures, so that a model can still be copied and pickled.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class MoveInputs:
    """A hook that moves the inputs of a module to a device before it runs."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Return the inputs on the device."""
        return moved(args, self.device), moved(kwargs, self.device)


class MoveOutputs:
    """A hook that moves what a model answers to the device on which it was asked."""

    def __call__(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """Return the output on the device of the first tensor among the inputs."""
        device = _device_of([*args, *kwargs.values()])
        return output if device is None else moved(output, device)


def dispatch(model: nn.Module, device_map: Mapping[str, torch.device]) -> None:
    """Let each module that a map names move its inputs to its device, and the model its outputs back."""
    if len(set(device_map.values())) == 1:
        return
    for path, device in device_map.items():
        if path:
            model.get_submodule(path).register_forward_pre_hook(MoveInputs(device), with_kwargs=True)
    for path, module in model.named_modules():
        # what runs between the parts, with tensors of its own, takes them to where it is
        if path not in device_map and next(module.parameters(recurse=False), None) is not None:
            device = next(module.parameters(recurse=False)).device
            module.register_forward_pre_hook(MoveInputs(device), with_kwargs=True)
    model.register_forward_hook(MoveOutputs(), with_kwargs=True)


def moved(value: Any, device: torch.device) -> Any:
    """Return a value in which every tensor is on a device; containers are built anew only if something moves."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        items = {key: moved(each, device) for key, each in value.items()}
        return value if all(items[key] is value[key] for key in value) else _like(value, items)
    if isinstance(value, (list, tuple)):
        each = [moved(item, device) for item in value]
        if all(one is other for one, other in zip(each, value, strict=True)):
            return value
        return type(value)(*each) if hasattr(value, "_fields") else type(value)(each)
    return value


def _like(value: dict[Any, Any], items: dict[Any, Any]) -> Any:
    return items if type(value) is dict else type(value)(**items)


def _device_of(values: list[Any]) -> torch.device | None:
    for value in values:
        inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else None
        found = value.device if isinstance(value, torch.Tensor) else _device_of(list(inner)) if inner else None
        if found is not None:
            return found
    return None
