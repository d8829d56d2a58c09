"""Gradient checkpointing: finding what can be checkpointed in a model, and switching it on and off.

How a checkpointed part is run, and how its buffers are kept, is the concern of `_recompute`.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from torch import nn

from nameplate_config import UnknownOptionError
from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._recompute import BufferGuard, Checkpoint, CheckpointedForward
from nameplate_model.errors import NotCheckpointableError

_OPTIONS = frozenset({"context_fn", "debug", "determinism_check", "early_stop", "preserve_rng_state", "use_reentrant"})
"""The keyword arguments of `torch.utils.checkpoint.checkpoint`."""

_FLAG = "gradient_checkpointing"
_FUNCTION = "_gradient_checkpointing_func"
"""The attributes by which modules written for Transformers are told."""

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)


@dataclass
class Found:
    """What can be checkpointed in a model, by who does it.

    Attributes:
        delegates: Modules that do it themselves, told by ``set_grad_checkpointing``, as timm's.
        flagged: Modules that do it with the function they are given, told by a flag, as those of Transformers.
        blocks: Modules that know nothing of it.
    """

    delegates: list[nn.Module] = field(default_factory=list)
    flagged: list[nn.Module] = field(default_factory=list)
    blocks: list[nn.Module] = field(default_factory=list)


@dataclass
class Switched:
    """What is switched on in a model.

    Attributes:
        delegates: The modules that were told so.
        flagged: The modules that got a function and a flag.
        forwards: What stands in for the forward of blocks.
        handles: The hooks that guard buffers.
    """

    delegates: list[nn.Module] = field(default_factory=list)
    flagged: list[nn.Module] = field(default_factory=list)
    forwards: list[CheckpointedForward] = field(default_factory=list)
    handles: list[Any] = field(default_factory=list)


class GradientCheckpointing(nn.Module):
    """The part of a model that trades time for memory in training: activations are computed again in backward.

    Attributes:
        checkpointed_modules: Shell patterns of the names of the modules to checkpoint, such as ``"encoder.*"``.
            If there are none, they are found: modules that call checkpointing themselves, and else blocks that
            are repeated in a `torch.nn.ModuleList` or `torch.nn.Sequential`.
    """

    checkpointed_modules: ClassVar[Sequence[str]] = ()

    _switched: Switched | None = None

    @property
    def supports_gradient_checkpointing(self) -> bool:
        """Whether anything in the model can be checkpointed."""
        return _find(self, self.checkpointed_modules) != Found()

    @property
    def is_gradient_checkpointing(self) -> bool:
        """Whether gradient checkpointing is switched on."""
        return self._switched is not None

    @property
    def is_activation_checkpointing(self) -> bool:
        """The newer name of `is_gradient_checkpointing`."""
        return self.is_gradient_checkpointing

    def gradient_checkpointing_enable(
        self, gradient_checkpointing_kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> None:
        """Switch gradient checkpointing on; see `activation_checkpointing_enable`, its newer name."""
        self.activation_checkpointing_enable(gradient_checkpointing_kwargs, **options)

    def gradient_checkpointing_disable(self) -> None:
        """Switch gradient checkpointing off; see `activation_checkpointing_disable`, its newer name."""
        self.activation_checkpointing_disable()

    def activation_checkpointing_enable(
        self,
        activation_checkpointing_kwargs: Mapping[str, Any] | None = None,
        every_n_layers: int = 1,
        offload: bool = False,
    ) -> None:
        """Keep no activations of the repeated blocks, and compute them again in backward.

        The loss, all gradients, all buffers and the random numbers stay what they are without, bit for bit on the
        CPU: running statistics are updated once. Attributes of modules that are no buffers are changed twice.

        A wrapped module that has ``set_grad_checkpointing``, as timm's, is told to do it, unless an argument asks for
        something that it cannot be told. It is no part of the checkpoint: a model that is loaded has it off.

        Args:
            activation_checkpointing_kwargs: Options of `torch.utils.checkpoint.checkpoint`; if none are given,
                ``use_reentrant=False``.
            every_n_layers: Checkpoint only each n-th block.
            offload: Keep the inputs of the blocks in the memory of the host.

        Raises:
            NotCheckpointableError: If there is nothing to checkpoint.
            UnknownOptionError: If torch has no such option, or *every_n_layers* is none.

        Example:
            >>> from nameplate_config import PreTrainedConfig
            >>> from nameplate_model import PreTrainedModel
            >>> class TowerConfig(PreTrainedConfig):
            ...     model_type = "tower"
            ...     floors: int = 3
            >>> class Floor(nn.Module):
            ...     def __init__(self) -> None:
            ...         super().__init__()
            ...         self.linear = nn.Linear(4, 4)
            ...     def forward(self, x):
            ...         return x + self.linear(x).relu()
            >>> class Tower(PreTrainedModel):
            ...     def __init__(self, config: TowerConfig) -> None:
            ...         super().__init__(config)
            ...         self.floors = nn.Sequential(*(Floor() for _ in range(config.floors)))
            ...     def forward(self, x):
            ...         return self.floors(x)
            >>> model = Tower(TowerConfig())
            >>> model.gradient_checkpointing_enable()
            >>> model.is_gradient_checkpointing
            True
        """
        options = _checked(activation_checkpointing_kwargs or {}, every_n_layers)
        told = bool(options) or every_n_layers > 1 or offload
        self.activation_checkpointing_disable()
        found = _find(self, self.checkpointed_modules, told=told)
        if not all(map(_is_willing, found.delegates)):
            found = _find(self, self.checkpointed_modules, told=True)
        if found == Found():
            raise NotCheckpointableError(_refusal(self, self.checkpointed_modules))
        self._switched = _switch_on(found, {"use_reentrant": False} | options, every_n_layers, offload=offload)

    def activation_checkpointing_disable(self) -> None:
        """Switch gradient checkpointing off, and leave nothing of it behind."""
        for module in self.modules():
            switched = module.__dict__.pop("_switched", None)
            if switched is not None:
                _switch_off(switched)


def _checked(options: Mapping[str, Any], every_n_layers: int) -> dict[str, Any]:
    for name in options:
        if name not in _OPTIONS:
            message = sentences(f"{name!r} is no option of gradient checkpointing.", did_you_mean(name, _OPTIONS))
            raise UnknownOptionError(message)
    if not isinstance(every_n_layers, int) or every_n_layers < 1:
        message = f"every_n_layers must be a number of blocks, 1 or more, found {shown(every_n_layers)}."
        raise UnknownOptionError(message)
    return dict(options)


# ---- what can be checkpointed


def _find(model: nn.Module, patterns: Sequence[str], *, told: bool = False) -> Found:
    """Return what can be checkpointed: what the class names, or what is made for it, or what repeats.

    Args:
        model: Where to look.
        patterns: What the class names.
        told: Whether there are options, which modules that do it themselves do not take.
    """
    if patterns:
        return Found(blocks=list(_named(model, patterns)))
    delegates = [] if told else list(_outermost(model, set(filter(_does_it_itself, model.modules()))))
    theirs = {each for delegate in delegates for each in delegate.modules()}
    flagged = [each for each in model.modules() if each not in theirs and hasattr(each, _FLAG)]
    if delegates or flagged:
        return Found(delegates, flagged)
    return Found(blocks=list(_repeated(model)))


def repeated_blocks(model: nn.Module) -> list[nn.Module]:
    """Return the blocks of which a model mainly consists: what its class names, else what repeats."""
    patterns = getattr(model, "checkpointed_modules", ())
    return list(_named(model, patterns) if patterns else _repeated(model))


def _does_it_itself(module: nn.Module) -> bool:
    return callable(getattr(module, "set_grad_checkpointing", None))


def _is_willing(delegate: nn.Module) -> bool:
    """Whether a module that has the method does not use it to say that it cannot, as some of timm's do."""
    try:
        delegate.set_grad_checkpointing(True)  # type: ignore[operator]
    except (AssertionError, NotImplementedError):
        return False
    delegate.set_grad_checkpointing(False)  # type: ignore[operator]
    return True


def _outermost(module: nn.Module, wanted: AbstractSet[nn.Module]) -> Iterator[nn.Module]:
    """Yield the modules that are wanted, without those inside one; a shared one once."""
    seen: set[nn.Module] = set()
    pending = [module]
    while pending:
        each = pending.pop()
        if each in seen:
            continue
        seen.add(each)
        if each in wanted:
            yield each
        else:
            pending += reversed(list(each.children()))


def _named(model: nn.Module, patterns: Sequence[str]) -> Iterator[nn.Module]:
    named = {module for name, module in model.named_modules() if any(fnmatchcase(name, each) for each in patterns)}
    return _outermost(model, named)


def _repeated(model: nn.Module) -> Iterator[nn.Module]:
    """Yield the blocks that stand in lists, of classes that do so more than once."""
    listed = {child for each in model.modules() if type(each) in _CONTAINERS for child in each.children()}
    blocks = {child for child in listed if _is_block(child)}
    count = Counter(map(type, blocks))
    return _outermost(model, {block for block in blocks if count[type(block)] > 1})


def _is_block(module: nn.Module) -> bool:
    """Whether checkpointing a module pays: torch's own layers, and what inherits from one, keep little but inputs."""
    if type(module) in _CONTAINERS:
        return False
    layers = (each for each in type(module).__mro__ if each is not nn.Module and issubclass(each, nn.Module))
    return any(True for _ in module.children()) or not any(each.__module__.startswith("torch.") for each in layers)


def _refusal(model: nn.Module, patterns: Sequence[str]) -> str:
    name = type(model).__name__
    if patterns:
        return sentences(
            f"{name} names modules to checkpoint that it does not have: {', '.join(map(repr, patterns))}.",
            "Name others in `checkpointed_modules`; `named_modules()` lists what there is.",
        )
    if any(map(_does_it_itself, model.modules())):
        return sentences(
            f"{name} has no repeated blocks, and what has `set_grad_checkpointing` in it takes no options.",
            "Give none, or name the modules to checkpoint in `checkpointed_modules`.",
        )
    return sentences(
        f"{name} has nothing to checkpoint: no block is repeated in a ModuleList or Sequential.",
        "Name the modules to checkpoint in the class, as in `checkpointed_modules = ('encoder.*',)`.",
    )


# ---- on and off


def _switch_on(found: Found, options: Mapping[str, Any], every: int, *, offload: bool) -> Switched:
    switched = Switched(delegates=found.delegates)
    for delegate in found.delegates:
        delegate.set_grad_checkpointing(True)  # type: ignore[operator]
        for module in delegate.modules():
            if module._buffers:  # noqa: SLF001 - also those that are None by now
                switched.handles += BufferGuard().attach(module)
    for module in _every_nth(found.flagged, every):
        setattr(module, _FUNCTION, Checkpoint(module, options, offload=offload))
        setattr(module, _FLAG, True)
        switched.flagged.append(module)
    for block in found.blocks[::every]:
        forward = CheckpointedForward(block, Checkpoint(block, options, offload=offload))
        block.forward = forward  # type: ignore[method-assign]
        switched.forwards.append(forward)
    return switched


def _every_nth(flagged: Sequence[nn.Module], every: int) -> Iterator[nn.Module]:
    """Yield each n-th of the layers, and all the modules that have flagged ones inside."""
    inner = [each for each in flagged if not any(other in flagged for other in each.modules() if other is not each)]
    chosen = set(inner[::every])
    return (each for each in flagged if each not in inner or each in chosen)


def _switch_off(switched: Switched) -> None:
    for handle in switched.handles:
        handle.remove()
    for delegate in switched.delegates:
        delegate.set_grad_checkpointing(False)  # type: ignore[operator]
    for module in switched.flagged:
        setattr(module, _FLAG, False)
        delattr(module, _FUNCTION)
    for forward in switched.forwards:
        forward.remove()
