"""Building a model without its weights: parameters become metadata only, no initialiser runs, buffers are real.

Loading replaces every parameter anyway, so filling them with random numbers first is wasted time (most of the time
of a construction) and moves the random state. Buffers are another matter: those that no file holds exist only
because the constructor computed them.

No state of the process is patched. The hook that torch offers for parameter registration is installed once, when
this module is imported, and does nothing in a thread that is not building; the function mode belongs to its thread
by nature. So any number of threads may build and load at once.
"""

import gc
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, cast

import torch
from torch import nn
from torch.nn.modules.module import register_module_parameter_registration_hook
from torch.overrides import TorchFunctionMode

from nameplate_model._state import modules_of

_WRITERS = frozenset(
    {"add_", "bernoulli_", "cauchy_", "clamp_", "clamp_max_", "clamp_min_", "copy_", "div_", "erfinv_"}
    | {"exponential_", "fill_", "geometric_", "log_normal_", "mul_", "normal_", "random_", "sub_"}
    | {"uniform_", "zero_"}
)
"""In-place methods that only write values. On metadata they have no effect, but some take 100 µs to say so."""

_DRAWERS = frozenset(
    {"bernoulli", "binomial", "cauchy", "exponential", "geometric", "log_normal", "multinomial", "normal", "poisson"}
    | {"rand", "rand_like", "randint", "randint_like", "randn", "randn_like", "randperm", "random", "uniform"}
)
"""Functions that draw from the random state, without the underscore of those that write in place."""

_KEPT = "a parameter is kept outside its module"

_OF_EVERY_MODULE = frozenset(vars(nn.Module()))
"""What torch itself keeps in each module: registered tensors, which loading replaces, and hooks."""

_CANNOT_HOLD = frozenset({bool, bytes, complex, float, int, str, type, type(None)})
"""Types of attributes that hold no tensor; those of most attributes."""


class RandomState:
    """What torch's generators of random numbers were about to draw at one moment."""

    def __init__(self) -> None:
        self._cpu = torch.get_rng_state()
        self._cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None

    def put_back(self) -> None:
        """Let them draw the same again."""
        torch.set_rng_state(self._cpu)
        if self._cuda is not None:
            torch.cuda.set_rng_state_all(self._cuda)


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A model ready to receive weights.

    Attributes:
        model: The model; its parameters are on the meta device unless it had to be built for real.
        built_for_real: Why it had to be, or None.
        before: The random state before it was, to be put back if none of the values that it drew are kept.
    """

    model: nn.Module
    built_for_real: str | None = None
    before: RandomState | None = None


def build_skeleton(build: Callable[[], nn.Module]) -> Skeleton:
    """Build a model whose parameters are metadata only; leave the random state as it was.

    A constructor that reads its own parameters (``.item()``), computes a buffer from them, or keeps a second
    reference to one, cannot work on metadata: it runs again for real, and the skeleton says why.

    Args:
        build: Constructs the model. May run twice.
    """
    try:
        with _deferred_parameters() as deferred:
            model = build()
    except Exception as error:  # noqa: BLE001 - if the constructor is at fault, the real build raises it again
        reason = f"its constructor needs real parameters: {type(error).__name__}: {error}"
    else:
        stray = deferred.stray() or next(_stray_metadata(model), None) or deferred.held_outside(model)
        if stray is None:
            return Skeleton(model)
        reason = stray
    return build_for_real(build, reason)


def build_for_real(build: Callable[[], nn.Module], reason: str) -> Skeleton:
    """Build a model with initialised parameters, because of what *reason* says."""
    before = RandomState()
    return Skeleton(build(), reason.splitlines()[0][:200].rstrip(". "), before)


def is_deferred() -> bool:
    """Whether this thread is building a skeleton right now."""
    return getattr(_active, "build", None) is not None


@contextmanager
def undeferred() -> Iterator[None]:
    """Build for real in this thread: a model that a constructor loads has its own weights from the start."""
    outer = getattr(_active, "build", None)
    _active.build = None
    try:
        yield
    finally:
        _active.build = outer


class _Build:
    """One deferred construction: remembers which parameter became which metadata, so that ties survive."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[weakref.ref[nn.Parameter], nn.Parameter]] = {}
        self._registered: dict[int, weakref.ref[nn.Parameter]] = {}
        self.drew = False

    def stray(self) -> str | None:
        """Say so if a real parameter outlived the constructor: somebody holds it, and would not see its value."""
        alive = any(original() is not None for original, _ in self._known.values())
        return _KEPT if alive else None

    def held_outside(self, model: nn.Module) -> str | None:
        """Say so if a closure, an optimizer or a module outside the tree holds metadata, which would stay what it is.

        Called last: afterwards the construction is forgotten.
        """
        self._known.clear()
        if not self._is_held(model):
            return None
        gc.collect()  # a module that the constructor has thrown away may have waited for it
        return _KEPT if self._is_held(model) else None

    def _is_held(self, model: nn.Module) -> bool:
        """Whether a registered parameter has more holders than the places in the tree that it is in."""
        known = Counter(id(parameter) for _, module in modules_of(model) for parameter in _held_by(module))
        alive = [parameter for parameter in (each() for each in self._registered.values()) if parameter is not None]
        (by_counting,) = _references([object()])
        holders = zip(alive, _references(alive), strict=True)
        return any(count - by_counting > known[id(parameter)] for parameter, count in holders)

    def metadata_of(self, parameter: nn.Parameter) -> nn.Parameter:
        """Return the metadata-only twin of a parameter, the same one each time."""
        with torch._C.DisableTorchFunction():  # noqa: SLF001 - as below
            if parameter.is_meta:
                self._registered[id(parameter)] = weakref.ref(parameter)
                return parameter
        if type(parameter) is not nn.Parameter:
            message = f"a {type(parameter).__name__} cannot be built as metadata"
            raise TypeError(message)
        known = self._known.get(id(parameter))
        if known is not None and known[0]() is parameter:
            return known[1]
        with torch._C.DisableTorchFunction():  # noqa: SLF001 - what is asked here concerns no function mode
            if parameter.untyped_storage().nbytes() != parameter.numel() * parameter.element_size():
                message = "a parameter is a view of other memory"
                raise TypeError(message)
            empty = torch.empty_like(parameter, device="meta")
            twin = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        if parameter.__dict__:
            twin.__dict__.update(parameter.__dict__)
        self._known[id(parameter)] = (weakref.ref(parameter), twin)
        self._registered[id(twin)] = weakref.ref(twin)
        return twin


def _references(values: list[Any]) -> list[int]:
    """Return how many references there are to each value, that of the list and those of the counting included."""
    return [sys.getrefcount(value) for value in values]


def _held_by(module: nn.Module) -> list[Any]:
    """Return what a module of the tree holds by right."""
    flat = module._flat_weights if isinstance(module, nn.RNNBase) else ()  # noqa: SLF001
    return [*module._parameters.values(), *flat]  # noqa: SLF001


_active = threading.local()


def _on_registration(_module: nn.Module, _name: str, parameter: nn.Parameter) -> nn.Parameter | None:
    build: _Build | None = getattr(_active, "build", None)
    return None if build is None else build.metadata_of(parameter)


# At import and for good: adding it later could race with a thread that constructs a module at that moment.
register_module_parameter_registration_hook(cast("Any", _on_registration))  # torch annotates it too narrowly


class _SkipWriters(TorchFunctionMode):
    """Returns from initialisers at once when their target is metadata, and notes when random numbers are drawn."""

    def __init__(self, build: _Build) -> None:
        super().__init__()
        self._build = build

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        writes, draws = _nature(func)
        ours = getattr(_active, "build", None) is self._build  # and not a model that the constructor loads
        if ours and writes:
            target = args[0] if args else (kwargs or {}).get("tensor")  # as torch.nn.init passes it
            if isinstance(target, torch.Tensor) and target.is_meta:
                return target
        elif ours and func is torch.empty and kwargs and kwargs.get("device", 0) is None and _asked_by_torch():
            return func(*args, **{**kwargs, "device": "meta"})
        self._build.drew |= draws
        return func(*args, **(kwargs or {}))


def _asked_by_torch() -> bool:
    """Whether a module of torch itself wants uninitialised memory: always for a parameter, so it need not be real."""
    caller = sys._getframe(2).f_globals.get("__name__", "")  # noqa: SLF001 - of `__torch_function__`
    return isinstance(caller, str) and caller.startswith("torch.nn.modules.")


@lru_cache(maxsize=512)
def _nature(func: Callable[..., Any]) -> tuple[bool, bool]:
    """Return whether a function only writes into its first argument, and whether it may draw random numbers."""
    name = getattr(func, "__name__", "")
    initialises = getattr(func, "__module__", "") == "torch.nn.init"
    writes = name in _WRITERS or (name.endswith("_") and initialises)
    return writes, initialises or name.rstrip("_") in _DRAWERS


@contextmanager
def _deferred_parameters() -> Iterator[_Build]:
    outer = getattr(_active, "build", None)  # a constructor may itself load a model
    build = _Build()
    with _random_state_kept(build):
        _active.build = build
        try:
            with _SkipWriters(build):
                yield build
        finally:
            _active.build = outer


@contextmanager
def _random_state_kept(build: _Build) -> Iterator[None]:
    """Put torch's random state back if *build* drew from it: a load must not be seen in it.

    The state belongs to the whole process, so nothing is put back without need: a thread that initialises a model
    meanwhile would draw the same numbers twice.
    """
    before = RandomState()
    try:
        yield
    finally:
        if build.drew:
            before.put_back()


def _stray_metadata(model: nn.Module) -> Iterator[str]:
    """Yield what holds metadata that loading would not replace."""
    for prefix, module in modules_of(model):
        for name in module._non_persistent_buffers_set:  # noqa: SLF001 - torch has no public way to ask
            buffer = module._buffers.get(name)  # noqa: SLF001
            if buffer is not None and buffer.is_meta:
                yield f"the non-persistent buffer {prefix}{name} is computed from parameters"
        if isinstance(module, nn.RNNBase):  # notices by itself that its parameters were replaced
            continue
        attributes = vars(module)
        for name in attributes.keys() - _OF_EVERY_MODULE:
            value = attributes[name]
            if type(value) not in _CANNOT_HOLD and any(tensor.is_meta for tensor in _tensors_in(value)):
                yield f"the attribute {prefix}{name} is computed from parameters, or holds one"


def _tensors_in(value: object) -> Iterator[torch.Tensor]:
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple, set)) else [value]
    return (item for item in items if isinstance(item, torch.Tensor))
