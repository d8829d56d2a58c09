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
from torch.nn.parameter import is_lazy

from nameplate_config.wording import sentences
from nameplate_model._construct import Skeleton, build_skeleton, undeferred
from nameplate_model._own_way import offer
from nameplate_model._report import LoadReport, Mismatch, Verdict
from nameplate_model._state import Slot, adopt, difference, discord, loads_plainly, refill, slots, twins_of
from nameplate_model._weights import ALIGNMENT, Weights
from nameplate_model.errors import MismatchError


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """Which differences between the keys of a file and those of a model are allowed.

    Attributes:
        strict: Whether any difference is an error that the other fields do not allow.
        allow_missing: Patterns, as in a shell, of keys that the file may lack; a text is one pattern.
        allow_unexpected: Patterns of keys that the file may have on top.
        ignore_mismatched_sizes: Whether a tensor of another shape counts as missing.
        head_prefixes: Beginnings of keys that a body ↔ head transfer may add or drop; empty if this is none.
    """

    strict: bool = True
    allow_missing: Sequence[str] | str = ()
    allow_unexpected: Sequence[str] | str = ()
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

    def _allowed(self, key: str, patterns: Sequence[str] | str) -> bool:
        each = [patterns] if isinstance(patterns, str) else patterns
        return self.transfers(key) or any(fnmatchcase(key, pattern) for pattern in each)


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


@undeferred()
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
        CheckpointError: If a tensor cannot be read, or the model refuses it in its own way.
    """
    skeleton = build_skeleton(build)
    road = _PlainRoad(weights, placement) if loads_plainly(skeleton.model) else _OwnRoad(weights, placement)
    with torch.no_grad():
        verdict = road.judge(skeleton)
    report = _report(skeleton, verdict, policy, source)
    if policy.refuses(report):
        raise _refusal(report, weights.where)
    if (report.missing or report.mismatched) and skeleton.built_for_real is None:
        skeleton = Skeleton(build())  # what the file lacks gets the values of a plain construction
    with torch.no_grad():
        road.fill(skeleton, verdict)
        _place_rest(skeleton.model, placement)
    return skeleton.model, report


def _report(skeleton: Skeleton, verdict: Verdict, policy: Policy, source: str) -> LoadReport:
    one_sided = sorted([*verdict.missing, *verdict.unexpected])
    return LoadReport(
        model=type(skeleton.model).__name__,
        source=source,
        loaded=tuple(sorted(verdict.loaded)),
        missing=tuple(sorted(verdict.missing)),
        unexpected=tuple(sorted(verdict.unexpected)),
        mismatched=tuple(sorted(verdict.mismatched, key=lambda each: each.name)),
        transferred=tuple(key for key in one_sided if policy.transfers(key)),
        built_for_real=skeleton.built_for_real,
    )


@dataclass(frozen=True, slots=True)
class _PlainRoad:
    """For models whose modules take their tensors as they are: nothing is copied."""

    weights: Weights
    placement: Placement

    def judge(self, skeleton: Skeleton) -> Verdict:
        """Compare the model's keys with the file's, before any tensor is read."""
        loaded: list[str] = []
        missing: list[str] = []
        mismatched: list[Mismatch] = []
        places = list(slots(skeleton.model))
        twins = twins_of(places)
        for slot in places:
            name = _name_in(self.weights, slot, twins)
            if name is None:
                missing.append(slot.key)
                continue
            problem = difference(slot.tensor, self.weights.tensor(name)) or self._discord(slot.key, name)
            if problem is None:
                loaded.append(slot.key)
            else:
                mismatched.append(Mismatch(slot.key, *problem))
        unexpected = set(self.weights.files) - {slot.key for slot in places}
        return Verdict(loaded, missing, list(unexpected), mismatched)

    def _discord(self, key: str, name: str) -> tuple[str, str] | None:
        if key == name or key not in self.weights:
            return None
        return discord(name, self.weights.tensor(name), self.weights.tensor(key))

    def fill(self, skeleton: Skeleton, verdict: Verdict) -> None:
        """Put the file's tensors into their places; tied places get the same object."""
        loaded = set(verdict.loaded)
        places = list(slots(skeleton.model))
        twins = twins_of(places)
        settle = adopt if skeleton.built_for_real is None else refill
        placed: dict[str, torch.Tensor] = {}
        settled: dict[tuple[str, bool, bool], torch.Tensor] = {}
        for slot in places:
            if loaded.isdisjoint(twins.get(id(slot.tensor), [slot.key])):
                continue
            name = _name_in(self.weights, slot, twins)
            assert name is not None
            if name not in placed:
                placed[name] = self.placement.place(self.weights.tensor(name))
            nature = name, isinstance(slot.tensor, nn.Parameter), slot.tensor.requires_grad
            if nature not in settled:
                settled[nature] = settle(slot, placed[name])
            slot.put(settled[nature])


@dataclass(frozen=True, slots=True)
class _OwnRoad:
    """For models in which a module has its own way of loading."""

    weights: Weights
    placement: Placement

    def judge(self, skeleton: Skeleton) -> Verdict:
        """Offer everything to the model: what it thinks of its tensors shows only when it gets them."""
        return self._offer(skeleton, frozenset())

    def fill(self, skeleton: Skeleton, verdict: Verdict) -> None:
        """Offer it again where the model was built anew since."""
        if verdict.missing or verdict.mismatched:
            self._offer(skeleton, {each.name for each in verdict.mismatched})

    def _offer(self, skeleton: Skeleton, refused: Collection[str]) -> Verdict:
        names = [name for name in self.weights.files if name not in refused]
        tensors = {name: self.placement.place(self.weights.tensor(name)) for name in names}
        return offer(skeleton.model, tensors, self.weights, in_place=skeleton.built_for_real is not None)


def _name_in(weights: Weights, slot: Slot, twins: dict[int, list[str]]) -> str | None:
    """Return the name under which the file holds a slot's tensor, the same for all places that share it."""
    keys = twins.get(id(slot.tensor), [slot.key])
    stored = next((key for key in keys if key in weights), None)
    return stored or next((weights.tied[key] for key in keys if key in weights.tied), None)


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
    return [Slot(name, module, name, each) for name, each in tensors.items() if each is not None and not is_lazy(each)]


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
