"""Where the tensors of a model go and what they become: devices, dtypes, and the memory that holds them."""

import math
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, TypeGuard

import torch

from nameplate_config import UnknownOptionError
from nameplate_config.wording import shown
from nameplate_model._reading import Engine, Memory

DeviceMap = Mapping[str, torch.device]
"""The device of each module by its path; the longest path that fits counts, and ``""`` means the whole model."""

Device = torch.device | str | int


@dataclass(frozen=True, slots=True)
class Placement:
    """Where tensors go and what they are cast to.

    Attributes:
        device: The device of what the map does not name.
        dtype: What floating tensors are cast to; None keeps what the file and the constructor say.
        memory: How they get into memory.
        device_map: The devices of parts of the model.
        keep_in_fp32: Patterns of keys that a cast makes float32 instead.
        engine: Who brings them to their devices.
    """

    device: torch.device
    dtype: torch.dtype | None = None
    memory: Memory = "auto"
    device_map: DeviceMap = field(default_factory=dict)
    keep_in_fp32: Sequence[str] = ()
    engine: Engine = "auto"

    @property
    def changes_nothing(self) -> bool:
        """Whether a tensor on the host stays as it is."""
        return self.dtype is None and self.device.type == "cpu" and not self.device_map

    def device_of(self, key: str) -> torch.device:
        """Return the device of a tensor by its key."""
        if not self.device_map:
            return self.device
        path = key
        while path:
            path = path.rpartition(".")[0]
            if path in self.device_map:
                return self.device_map[path]
        return self.device

    def dtype_of(self, key: str, dtype: torch.dtype) -> torch.dtype:
        """Return what a tensor of a dtype is cast to."""
        if self.dtype is None or not dtype.is_floating_point:
            return dtype
        return torch.float32 if any(_names(pattern, key) for pattern in self.keep_in_fp32) else self.dtype

    def dtype_of_any(self, keys: Sequence[str], dtype: torch.dtype) -> torch.dtype:
        """Return what a tensor with several names is cast to: float32 if one of them is to stay so."""
        found = {self.dtype_of(key, dtype) for key in keys}
        return torch.float32 if len(found) > 1 else found.pop()

    def place(self, keys: Sequence[str], tensor: torch.Tensor) -> torch.Tensor:
        """Return a tensor of the model, with all of its keys, where it belongs; the same object if nothing changes."""
        return tensor.to(self.device_of(keys[0]), self.dtype_of_any(keys, tensor.dtype))


def _names(pattern: str, key: str) -> bool:
    """Whether a pattern means a key: as a shell pattern of the whole, or as the name of a module or tensor in it."""
    return fnmatchcase(key, pattern) or f".{pattern}." in f".{key}."


def to_device(device: Device | None) -> torch.device:
    """Return the device that an argument means; the default one for None.

    Raises:
        UnknownOptionError: If it is none, or the meta device, which holds no values.
    """
    try:
        found = torch.get_default_device() if device is None else torch.device(device)
    except (RuntimeError, TypeError) as error:
        message = f"device must be one such as 'cpu' or 'cuda:0', found {shown(device)}."
        raise UnknownOptionError(message) from error
    if found.type == "meta":
        message = (
            "the device is 'meta', which holds no values, so nothing could be loaded. "
            "Give another one as device=, or call plan_load() to learn what a load would take."
        )
        raise UnknownOptionError(message)
    return found


def to_memory(memory: Any) -> Memory:
    """Return the way into memory that an argument means.

    Raises:
        UnknownOptionError: If it is none.
    """
    if memory in ("auto", "mmap", "copy"):
        return memory
    message = f"memory must be 'auto', 'mmap' or 'copy', found {shown(memory)}."
    raise UnknownOptionError(message)


def to_dtype(dtype: torch.dtype | str | None) -> torch.dtype | str | None:
    """Return the dtype that an argument means: None for what is stored, and ``"auto"`` as it is.

    Raises:
        UnknownOptionError: If it is none, or not a floating one.
    """
    if dtype is None or dtype == "checkpoint":
        return None
    if dtype == "auto":
        return "auto"
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    message = f"dtype must be 'checkpoint', 'auto' or a floating dtype such as torch.bfloat16, found {shown(dtype)}."
    raise UnknownOptionError(message)


def to_timeout(value: object) -> float:
    """Return an argument that is a time in seconds.

    Raises:
        UnknownOptionError: If it is none.
    """
    if is_time(value):
        return float(value)
    message = f"timeout must be a number of seconds above 0, found {shown(value)}."
    raise UnknownOptionError(message)


def is_time(value: object) -> TypeGuard[float]:
    """Whether an argument is a number of seconds that one can wait, maybe for ever."""
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return False
    return 0 < value <= sys.float_info.max or value == math.inf


def to_patterns(name: str, value: Any) -> tuple[str, ...]:
    """Return an argument that is one pattern or several.

    Raises:
        UnknownOptionError: If it is neither.
    """
    patterns = (value,) if isinstance(value, str) else value
    if isinstance(patterns, (list, tuple, set, frozenset)) and all(isinstance(each, str) for each in patterns):
        return tuple(patterns)
    message = f"{name} must be a pattern or a list of patterns of keys, found {shown(value)}."
    raise UnknownOptionError(message)


def any_matches(regexes: Sequence[str], key: str) -> bool:
    """Whether one of several regular expressions, as Transformers' classes declare them, is found in a key."""
    return any(re.search(regex, key) is not None for regex in regexes)
