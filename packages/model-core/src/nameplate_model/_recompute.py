"""Running a part of a model a second time, inside backward, without a trace.

`torch.utils.checkpoint` repeats a forward with the random numbers of the first run, but with whatever the buffers
hold by then, and lets it write to them once more: a batch norm counts every batch twice. Here the buffers of the
repeated part are exchanged for copies of what they held at the first run, and put back afterwards.

A `Region` does it where we call torch's function ourselves, a `BufferGuard` where other code does. What is
switched on, and where, is the concern of `_checkpointing`.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torch.utils.checkpoint import checkpoint

Buffers = dict[str, Tensor | None]

_SMALL = 1 << 16
"""Up to how many bytes a copy is not worth a comparison, for which a device would have to be waited for."""


class Snapshot:
    """What the buffers of some modules hold at one moment."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        self._originals = {module: dict(module._buffers) for module in modules if module._buffers}  # noqa: SLF001
        self._copies = {id(buffer): buffer.detach().clone() for buffer in self._every()}

    def _every(self) -> Iterator[Tensor]:
        for buffers in self._originals.values():
            yield from (buffer for buffer in buffers.values() if buffer is not None)

    def settle(self) -> None:
        """Forget copies of large tables that nobody wrote to.

        By their values: the kernels of batch norm write without counting it as a version of the tensor.
        """
        for buffer in self._every():
            copy = self._copies.get(id(buffer))
            if copy is not None and copy.nbytes > _SMALL and torch.equal(copy, buffer):
                del self._copies[id(buffer)]

    @contextmanager
    def restored(self) -> Iterator[None]:
        """Let the modules work on copies of what they had; afterwards they have again what they have now."""
        present = {module: dict(module._buffers) for module in self._originals}  # noqa: SLF001
        fresh = {id(each): self._copies.get(id(each), each).detach().clone() for each in self._every()}
        for module, buffers in self._originals.items():
            _put(module, {name: fresh.get(id(buffer)) for name, buffer in buffers.items()})
        try:
            yield
        finally:
            for module, buffers in present.items():
                _put(module, buffers)


def _put(module: nn.Module, buffers: Buffers) -> None:
    place = module._buffers  # noqa: SLF001 - the same objects come back, so nothing is to be registered
    place.clear()
    place.update(buffers)


class Region:
    """One call of a part of a model: the first run is the forward, and every other one repeats it.

    Args:
        function: What is run.
        owner: The module with whose buffers it works.
    """

    def __init__(self, function: Callable[..., Any], owner: nn.Module) -> None:
        self.function = function
        self.owner = owner
        self.before: Snapshot | None = None

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it, with the buffers as they were at the first run."""
        if self.before is not None:
            with self.before.restored():
                return self.function(*args, **kwargs)
        self.before = Snapshot(self.owner.modules())
        try:
            return self.function(*args, **kwargs)
        finally:
            self.before.settle()


class Checkpoint:
    """`torch.utils.checkpoint.checkpoint` with its options, for parts whose buffers are kept.

    Also what modules written for Transformers call as their `_gradient_checkpointing_func`.

    Args:
        owner: The module with whose buffers a function works that does not tell.
        options: Keyword arguments for torch's function.
        offload: Whether to keep what a part is repeated from in the memory of the host.
    """

    def __init__(self, owner: nn.Module, options: Mapping[str, Any], *, offload: bool = False) -> None:
        self.owner = owner
        self.options: dict[str, Any] = dict(options)
        self.offload = offload

    def __call__(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Run a part of the model and keep nothing of it; it is run again when backward needs it."""
        if torch.compiler.is_compiling():  # a compiler traces the part once, and writes to its buffers once
            return checkpoint(function, *args, **(self.options | {"use_reentrant": False}), **kwargs)
        owner = _owner(function) or self.owner
        if isinstance(function, partial):  # torch's older function must see the tensors in it
            function, args, kwargs = function.func, (*function.args, *args), {**function.keywords, **kwargs}
        region = Region(function, owner)
        with self._saving():
            if self.options["use_reentrant"]:
                return _run_reentrant(region, self.options, args, kwargs)
            return checkpoint(region, *args, **self.options, **kwargs)

    def _saving(self) -> AbstractContextManager[Any]:
        if not self.offload:
            return nullcontext()
        return torch.autograd.graph.save_on_cpu(pin_memory=torch.cuda.is_available())


def _owner(function: Callable[..., Any]) -> nn.Module | None:
    """Return the module that a function belongs to, if it says so."""
    if isinstance(function, nn.Module):
        return function
    if isinstance(function, partial):
        first = function.args[0] if function.args else None
        return _owner(function.func) or (first if isinstance(first, nn.Module) else None)
    owner = getattr(function, "__self__", None)
    return owner if isinstance(owner, nn.Module) else None


class _WithNotes(torch.autograd.Function):
    """Answers what it is given; what becomes of the gradient is written down beside it."""

    @staticmethod
    def forward(ctx: Any, tensor: Tensor, noted: list[Tensor]) -> Tensor:  # pyrefly: ignore[bad-override]
        ctx.noted = noted
        return tensor.view_as(tensor)


class _Noting(_WithNotes):
    """Notes the gradient of a tensor as it arrives."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, None]:
        ctx.noted.append(gradients[0])
        return gradients[0], None


class _HandingOn(_WithNotes):
    """Hands on the gradient that was noted, in place of its copy."""

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, None]:
        return (ctx.noted.pop() if ctx.noted else gradients[0]), None


def _wants_gradient(leaf: Any) -> bool:
    return isinstance(leaf, Tensor) and leaf.requires_grad


def _run_reentrant(region: Region, options: Mapping[str, Any], args: Any, kwargs: Any) -> Any:
    """Call torch's older function, which sees tensors only as single positional arguments and results.

    It gives no gradients to a part none of whose inputs wants one; a ticket that does lets such a part in. And it
    copies the gradients of inputs into the strides of these, so that what is summed up next rounds otherwise; the
    gradients themselves go around it.
    """
    leaves, shape = tree_flatten((args, kwargs))
    noted: list[list[Tensor] | None] = [[] if _wants_gradient(leaf) else None for leaf in leaves]
    answer_shape: Any = None

    def run(_: Tensor | None, *leaves: Any) -> tuple[Any, ...]:
        nonlocal answer_shape
        args, kwargs = tree_unflatten(_each(_Noting, leaves, noted) if torch.is_grad_enabled() else [*leaves], shape)
        found, answer_shape = tree_flatten(region(*args, **kwargs))
        return tuple(found)

    ticket = None
    if not any(map(_wants_gradient, leaves)):
        if not any(parameter.requires_grad for parameter in region.owner.parameters()):
            return region.function(*args, **kwargs)
        ticket = torch.empty(0, requires_grad=True)
    return tree_unflatten(list(checkpoint(run, ticket, *_each(_HandingOn, leaves, noted), **options)), answer_shape)


def _each(
    function: type[torch.autograd.Function], leaves: Iterable[Any], noted: list[list[Tensor] | None]
) -> list[Any]:
    pairs = zip(leaves, noted, strict=True)
    return [leaf if place is None else function.apply(leaf, place) for leaf, place in pairs]


class CheckpointedForward:
    """What stands in for the `forward` of a block while it is checkpointed.

    The forward and not the call, so that hooks of the block run once.
    """

    def __init__(self, block: nn.Module, run: Checkpoint) -> None:
        self.block = block
        self.run = run
        self.replaced = block.__dict__.get("forward")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the block, checkpointed if there is going to be a backward."""
        forward = self.replaced or partial(type(self.block).forward, self.block)
        return self.run(forward, *args, **kwargs) if torch.is_grad_enabled() else forward(*args, **kwargs)

    def remove(self) -> None:
        """Give the block its own forward back."""
        if self.replaced is None:
            del self.block.forward
        else:
            self.block.forward = self.replaced


class BufferGuard:
    """Hooks that keep the buffers of one module out of a forward that is repeated inside backward.

    For modules that call torch's function themselves. A forward that starts while backward runs is taken for a
    repetition of the last one; a module whose output depends on buffers that its forward changes therefore has
    exact gradients only if no other forward lies between a forward and its backward.
    """

    def __init__(self) -> None:
        self.before: Snapshot | None = None
        self.repeating: dict[int, list[ExitStack]] = {}  # by thread

    def __getstate__(self) -> dict[str, Any]:
        """Leave everything behind: a copy of the module has had no forward yet."""
        return {}

    def __setstate__(self, _: dict[str, Any]) -> None:
        self.__init__()

    def attach(self, module: nn.Module) -> list[Any]:
        """Guard a module, and return the handles that end it."""
        return [
            module.register_forward_pre_hook(self.enter),
            module.register_forward_hook(self.leave, prepend=True, always_call=True),
        ]

    def enter(self, module: nn.Module, _: Any) -> None:
        """Exchange the buffers for those of the last forward if this one repeats it."""
        if torch.compiler.is_compiling():
            return
        stack = ExitStack()
        if _is_repeating() and self.before is not None:
            stack.enter_context(self.before.restored())
        else:
            self.before = Snapshot([module])
            stack.callback(self.before.settle)
        self.repeating.setdefault(threading.get_ident(), []).append(stack)

    def leave(self, *_: Any) -> None:
        """Undo what `enter` did, also when backward has seen enough and cut the forward short."""
        stacks = self.repeating.get(threading.get_ident())
        if stacks and not torch.compiler.is_compiling():
            stacks.pop().close()


def _is_repeating() -> bool:
    """Whether backward runs in this thread. Torch has no public way to ask; its own checkpoint asks like this."""
    return torch._C._current_graph_task_id() != -1  # noqa: SLF001
