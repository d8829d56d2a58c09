"""The tensors of a module tree by their keys: where each one sits, and how another takes its place.

A *slot* is a place that holds a parameter or a persistent buffer. Shared parameters and shared modules give several
slots for one tensor, as in `torch.nn.Module.state_dict`. Nothing here knows of files.
"""

from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import is_lazy

from nameplate_model._boxes import is_sharded


class Slot(NamedTuple):
    """A place in a module tree that holds a parameter or a persistent buffer.

    Attributes:
        key: Its key in the state dict.
        module: The module that owns the place.
        name: The name inside that module.
        tensor: What the place holds.
    """

    key: str
    module: nn.Module
    name: str
    tensor: torch.Tensor

    def put(self, tensor: torch.Tensor) -> None:
        """Put *tensor* (a `Parameter` in the place of a parameter) where the old one was; nothing is copied."""
        owned = self.module._parameters  # noqa: SLF001 - assigning the attribute would check what is known
        place = owned if self.name in owned else self.module._buffers  # noqa: SLF001
        place[self.name] = tensor  # type: ignore[assignment]


class Sized(Protocol):
    """What is known of a tensor without its values."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The size along each axis."""
        ...

    @property
    def dtype(self) -> torch.dtype:
        """The type of the elements."""
        ...


def modules_of(model: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return each module of a tree once, with the prefix of its keys: empty, or ending in a dot.

    As `torch.nn.Module.named_modules`, which takes a time that grows with the depth for each.
    """
    found: list[tuple[str, nn.Module]] = []
    seen: set[nn.Module] = set()
    waiting = [("", model)]
    while waiting:
        prefix, module = waiting.pop()
        if module in seen:
            continue
        seen.add(module)
        found.append((prefix, module))
        children = [(f"{prefix}{name}.", child) for name, child in module._modules.items() if child is not None]  # noqa: SLF001
        waiting += reversed(children)
    return found


class Tree:
    """A model with what a load asks of it again and again, found once; right as long as nothing is put anywhere.

    Attributes:
        model: The model.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @cached_property
    def modules(self) -> list[tuple[str, nn.Module]]:
        """Each module once, see `modules_of`."""
        return modules_of(self.model)

    @cached_property
    def places(self) -> list[Slot]:
        """Every slot, see `slots`."""
        return list(slots(self.model))

    @cached_property
    def twins(self) -> dict[int, list[str]]:
        """The keys of each tensor that has several, see `twins_of`."""
        return twins_of(self.places)


def slots(module: nn.Module, prefix: str = "") -> Iterator[Slot]:
    """Yield every slot of a module tree, in the order of its state dict."""
    waiting = [(prefix, module)]
    while waiting:
        start, owner = waiting.pop()
        for name, parameter in owner._parameters.items():  # noqa: SLF001
            if parameter is not None:
                yield Slot(start + name, owner, name, parameter)
        if owner._buffers:  # noqa: SLF001
            transient = owner._non_persistent_buffers_set  # noqa: SLF001 - torch has no public way to ask
            for name, buffer in owner._buffers.items():  # noqa: SLF001
                if buffer is not None and name not in transient:
                    yield Slot(start + name, owner, name, buffer)
        children = [(f"{start}{name}.", child) for name, child in owner._modules.items() if child is not None]  # noqa: SLF001
        waiting += reversed(children)


def every_slot(modules: Iterable[tuple[str, nn.Module]]) -> Iterator[Slot]:
    """Yield the place of every parameter and buffer of each module once, buffers that are not persistent included.

    Args:
        modules: What `modules_of` returns for a model.
    """
    for prefix, module in modules:
        for place in (module._parameters, module._buffers):  # noqa: SLF001
            for name, tensor in place.items():
                if tensor is not None and not is_lazy(tensor):
                    yield Slot(prefix + name, module, name, tensor)


def class_of(module: nn.Module) -> type[nn.Module]:
    """Return the class that the user gave a module: FSDP2 puts one of its own in front."""
    return next(kind for kind in type(module).__mro__ if not any(map(_of_torch, (kind, *kind.__bases__))))


def _of_torch(thing: Any) -> bool:
    """Whether a class or hook is part of torch's own way to distribute a model."""
    thing = getattr(thing, "hook", thing)
    return str(getattr(thing, "__module__", "")).startswith("torch.distributed.")


def adopt(slot: Slot, tensor: torch.Tensor) -> torch.Tensor:
    """Return *tensor* as what the slot's place needs: a buffer as it is, a parameter with the old one's nature.

    Where the constructor chose another layout in memory, such as channels last, the tensor is copied into that: the
    values are the same in any, but kernels could give another last bit. In the place of a DTensor it is the part of
    this rank, and becomes a DTensor that is cut as the old one.
    """
    old = slot.tensor
    if is_sharded(old):
        tensor = _part_as(old, tensor)
    elif not is_lazy(old) and old.dim() > 1 and tensor.stride() != old.stride():
        tensor = _laid_out_as(old, tensor)
    if not isinstance(old, nn.Parameter):
        return tensor
    parameter = nn.Parameter(tensor, requires_grad=old.requires_grad)
    if old.__dict__:
        parameter.__dict__.update(old.__dict__)
    return parameter


def local_of(tensor: torch.Tensor) -> torch.Tensor:
    """Return what this process holds of a tensor: of a DTensor its part, as a plain tensor in the same memory."""
    if not is_sharded(tensor):
        return tensor
    return cast("torch.Tensor", cast("Any", tensor)._local_tensor)  # noqa: SLF001 - `to_local` notes it for gradients


def _part_as(old: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    from nameplate_model._distributed.spec import wrap  # noqa: PLC0415 - slow to import, and seldom needed

    local = local_of(old)
    if local.dim() > 1 and local.numel() and tensor.stride() != local.stride():
        tensor = _laid_out_as(local, tensor)
    return wrap(tensor, old)


def _laid_out_as(old: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
    if old.is_contiguous() and tensor.is_contiguous():  # both lie the same, but axes of size 1 tell kernels otherwise
        return tensor.as_strided(old.shape, old.stride())
    if not _is_dense(old):
        return tensor
    return torch.empty_strided(old.shape, old.stride(), dtype=tensor.dtype, device=tensor.device).copy_(tensor)


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether a tensor uses each element of its memory once, in whatever order of axes."""
    order = sorted(range(tensor.dim()), key=tensor.stride, reverse=True)
    return tensor.permute(order).is_contiguous()


def refill(slot: Slot, tensor: torch.Tensor) -> torch.Tensor:
    """Return what `adopt` does, but keep the parameter that is there: somebody else may hold it, or a view of it."""
    old = slot.tensor
    if not isinstance(old, nn.Parameter):
        return tensor
    if (old.dtype, old.device) == (tensor.dtype, tensor.device) and old.is_contiguous():
        old.copy_(tensor)
    else:
        old.data = tensor
    return old


def twins_of(places: Iterable[Slot]) -> dict[int, list[str]]:
    """Return, for the `id` of each tensor that sits in several places, the keys of all of them."""
    keys: dict[int, list[str]] = {}
    for slot in places:
        keys.setdefault(id(slot.tensor), []).append(slot.key)
    return {identity: names for identity, names in keys.items() if len(names) > 1}


def difference(expected: torch.Tensor, found: Sized) -> tuple[str, str] | None:
    """Return both sides in words if they differ in shape or in kind of dtype; the width of a float may differ."""
    if is_lazy(expected):  # gets its shape from the file
        return None
    if expected.dtype == found.dtype and expected.shape == found.shape:
        return None
    same_kind = expected.dtype == found.dtype or (expected.is_floating_point() and found.dtype.is_floating_point)
    if expected.shape == found.shape and same_kind:
        return None
    sides = [f"{tuple(t.shape)}" if same_kind else f"{tuple(t.shape)} {t.dtype}" for t in (expected, found)]
    return sides[0], sides[1]


def discord(name: str, tied: torch.Tensor, other: torch.Tensor) -> tuple[str, str] | None:
    """Return both sides in words if *other* is not, byte for byte, the tensor *name* that it is tied to."""
    if (tied.dtype, tied.shape) == (other.dtype, other.shape) and torch.equal(
        tied.flatten().view(torch.uint8), other.flatten().view(torch.uint8)
    ):
        return None
    return f"the values of {name!r}, its tied tensor", "others"


_PLAIN_LOADERS = {nn.Module._load_from_state_dict, _NormBase._load_from_state_dict}  # noqa: SLF001
"""Ways of loading that only put tensors in their places. The norm's own only reads files older than 2018."""


def loads_plainly(tree: Tree) -> bool:
    """Whether every module takes its tensors as they are: no load hook, no override, no extra state.

    The hooks that FSDP2 adds to a module only put its parts back into their places, and do not count.
    """
    plain_load = type(tree.model).load_state_dict is nn.Module.load_state_dict
    return plain_load and all(_takes_plainly(module) for _, module in tree.modules)


def _takes_plainly(module: nn.Module) -> bool:
    kind, before, after = type(module), module._load_state_dict_pre_hooks, module._load_state_dict_post_hooks  # noqa: SLF001
    return (
        kind._load_from_state_dict in _PLAIN_LOADERS  # noqa: SLF001
        and kind.set_extra_state is nn.Module.set_extra_state
        and all(_of_torch(hook) for hook in (*before.values(), *after.values()))
    )
