"""Loading: plan → read → assign → report.

`load` compares the keys of a checkpoint with those of a model that has no weights yet, decides by the caller's
policy whether the difference is allowed, and only then puts tensors into their places. Either a whole model comes
back, or one error that names every key.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from nameplate_config.wording import sentences
from nameplate_model._construct import Skeleton, build_skeleton
from nameplate_model._report import LoadReport, Mismatch
from nameplate_model._state import Slot, adopt, loads_plainly, slots
from nameplate_model._weights import ALIGNMENT, Weights
from nameplate_model.errors import CheckpointError, MismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which differences between the keys of a file and those of a model are allowed.

    Attributes:
        strict: Whether any difference is an error that the other fields do not allow.
        allow_missing: Patterns, as in a shell, of keys that the file may lack.
        allow_unexpected: Patterns of keys that the file may have on top.
        ignore_mismatched_sizes: Whether a tensor of another shape counts as missing.
        head_prefixes: Beginnings of keys that a body ↔ head transfer may add or drop; empty if this is none.
    """

    strict: bool = True
    allow_missing: Sequence[str] = ()
    allow_unexpected: Sequence[str] = ()
    ignore_mismatched_sizes: bool = False
    head_prefixes: Sequence[str] = ()

    def transfers(self, key: str) -> bool:
        """Whether a declared body ↔ head transfer explains that *key* is on one side only."""
        return any(key.startswith(prefix) for prefix in self.head_prefixes)

    def refuses(self, report: LoadReport) -> bool:
        """Whether the difference that a report describes is an error."""
        if report.mismatched and not self.ignore_mismatched_sizes:
            return True
        if not self.strict:
            return False
        missing = [key for key in report.missing if not self._allowed(key, self.allow_missing)]
        unexpected = [key for key in report.unexpected if not self._allowed(key, self.allow_unexpected)]
        return bool(missing or unexpected)

    def _allowed(self, key: str, patterns: Sequence[str]) -> bool:
        return self.transfers(key) or any(fnmatchcase(key, pattern) for pattern in patterns)


@dataclass(frozen=True, slots=True)
class Placement:
    """The device and dtype that the loaded tensors get; None keeps what the file and the constructor say."""

    device: torch.device
    dtype: torch.dtype | None = None

    def place(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the tensor on the device, cast if it is a floating one; the same tensor if nothing changes."""
        cast = self.dtype if self.dtype is not None and tensor.is_floating_point() else None
        placed = tensor.to(self.device, cast)
        return tensor.clone() if placed is tensor and tensor.data_ptr() % ALIGNMENT else placed


def load(
    build: Callable[[], nn.Module], weights: Weights, policy: Policy, placement: Placement, source: str
) -> tuple[nn.Module, LoadReport]:
    """Build a model and fill it with the tensors of a checkpoint.

    Args:
        build: Constructs the model; may run twice.
        weights: The opened checkpoint.
        policy: Which differences are allowed.
        placement: Where the tensors go.
        source: How the caller called the checkpoint.

    Returns:
        The model, in the mode that the constructor left it in, and the verdict on every key.

    Raises:
        MismatchError: If keys or shapes differ in a way that the policy does not allow.
        CorruptFileError: If a tensor cannot be read.
    """
    skeleton = build_skeleton(build)
    report = _plan(skeleton, weights, policy, source)
    if policy.refuses(report):
        raise _refusal(report, weights.where)
    if (report.missing or report.mismatched) and skeleton.built_for_real is None:
        skeleton = Skeleton(build())  # what the file lacks gets the values of a plain construction
    with torch.no_grad():
        _assign(skeleton.model, weights, set(report.loaded), placement)
        _place_rest(skeleton.model, placement)
    return skeleton.model, report


def _plan(skeleton: Skeleton, weights: Weights, policy: Policy, source: str) -> LoadReport:
    loaded: list[str] = []
    missing: list[str] = []
    mismatched: list[Mismatch] = []
    places = list(slots(skeleton.model))
    twins = _twins(places)
    for slot in places:
        name = _name_in(weights, slot, twins)
        if name is None:
            missing.append(slot.key)
            continue
        problem = _difference(slot.tensor, weights.tensor(name))
        if problem is None:
            loaded.append(slot.key)
        else:
            mismatched.append(Mismatch(slot.key, *problem))
    unexpected = sorted(set(weights.files) - {slot.key for slot in places})
    return LoadReport(
        model=type(skeleton.model).__name__,
        source=source,
        loaded=tuple(sorted(loaded)),
        missing=tuple(sorted(missing)),
        unexpected=tuple(unexpected),
        mismatched=tuple(sorted(mismatched, key=lambda each: each.name)),
        transferred=tuple(key for key in sorted([*missing, *unexpected]) if policy.transfers(key)),
        built_for_real=skeleton.built_for_real,
    )


def _twins(places: Sequence[Slot]) -> dict[int, list[str]]:
    """Return, for each tensor that sits in several places, the keys of all of them."""
    keys: dict[int, list[str]] = {}
    for slot in places:
        keys.setdefault(id(slot.tensor), []).append(slot.key)
    return {identity: names for identity, names in keys.items() if len(names) > 1}


def _name_in(weights: Weights, slot: Slot, twins: dict[int, list[str]]) -> str | None:
    """Return the name under which the file holds a slot's tensor: its own, or that of a tensor it is tied to."""
    if slot.key in weights:
        return slot.key
    if slot.key in weights.tied:
        return weights.tied[slot.key]
    return next((key for key in twins.get(id(slot.tensor), ()) if key in weights), None)


def _difference(expected: torch.Tensor, found: torch.Tensor) -> tuple[str, str] | None:
    """Return both sides in words if they differ in shape or in kind of dtype; the width of a float may differ."""
    if expected.shape == found.shape and (expected.dtype == found.dtype or _both_floats(expected, found)):
        return None
    same_kind = expected.dtype == found.dtype or _both_floats(expected, found)
    sides = [f"{tuple(t.shape)}" if same_kind else f"{tuple(t.shape)} {t.dtype}" for t in (expected, found)]
    return sides[0], sides[1]


def _both_floats(one: torch.Tensor, other: torch.Tensor) -> bool:
    return one.is_floating_point() and other.is_floating_point()


def _assign(model: nn.Module, weights: Weights, keys: Collection[str], placement: Placement) -> None:
    if not loads_plainly(model):
        _assign_through_hooks(model, weights, keys, placement)
        return
    places = list(slots(model))
    twins = _twins(places)
    adopted: dict[str, torch.Tensor] = {}
    for slot in places:
        if slot.key in keys:
            name = _name_in(weights, slot, twins)
            assert name is not None
            if name not in adopted:
                adopted[name] = adopt(slot, placement.place(weights.tensor(name)))
            slot.put(adopted[name])


def _assign_through_hooks(model: nn.Module, weights: Weights, keys: Collection[str], placement: Placement) -> None:
    """Take the slow road, on which a module's own way of loading is honoured."""
    state = {key: placement.place(weights.tensor(key)) for key in weights.files}
    try:
        model.load_state_dict(state, strict=False, assign=True)
    except Exception as error:
        message = f"{type(model).__name__} could not load {weights.where} in its own way: {error}"
        raise CheckpointError(message) from error
    left = [slot.key for slot in slots(model) if slot.tensor.is_meta and slot.key in keys]
    if left:
        message = f"{type(model).__name__}'s own way of loading left {left[0]!r} without a value."
        raise CheckpointError(message)


def _place_rest(model: nn.Module, placement: Placement) -> None:
    """Move what no file holds: buffers that the constructor computed, and values of missing keys."""
    placed: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for slot in _own(module):
            new = placed.get(id(slot.tensor))
            if new is None:
                moved = placement.place(slot.tensor)
                new = slot.tensor if moved is slot.tensor else adopt(slot, moved)
                placed[id(slot.tensor)] = new
            if new is not slot.tensor:
                slot.put(new)


def _own(module: nn.Module) -> list[Slot]:
    tensors: dict[str, Any] = {**module._parameters, **module._buffers}  # noqa: SLF001
    return [Slot(name, module, name, tensor) for name, tensor in tensors.items() if tensor is not None]


def _refusal(report: LoadReport, where: str) -> MismatchError:
    relaxed = {
        "allow_missing=[…]": bool(report.missing),
        "allow_unexpected=[…]": bool(report.unexpected),
        "ignore_mismatched_sizes=True": bool(report.mismatched),
    }
    ways = " and ".join(way for way, needed in relaxed.items() if needed)
    head = f"{where} does not fit {report.model}; no model is returned."
    fitting = f"{len(report.loaded)} tensors fit."
    return MismatchError(sentences(head, *report.lines(), fitting, f"If this is meant, pass {ways}."), report)
