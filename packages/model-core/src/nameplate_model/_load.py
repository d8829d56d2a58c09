"""Loading: plan → read → assign → report.

`load` compares the keys of a checkpoint with those of a model that has no weights yet, decides by the caller's
policy whether the difference is allowed, and only then puts tensors into their places. Either a whole model comes
back, or one error that names every key.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

import torch
from torch import nn

from nameplate_model._construct import Skeleton, build_skeleton, undeferred
from nameplate_model._device_map import spread
from nameplate_model._dispatch import dispatch
from nameplate_model._files import Held, Stored
from nameplate_model._names import Naming, renamed, with_body
from nameplate_model._own_way import offer
from nameplate_model._placement import Placement
from nameplate_model._policy import Policy, refusal
from nameplate_model._reading import Want, fetch
from nameplate_model._report import LoadReport, Mismatch, Verdict
from nameplate_model._state import (
    Slot,
    adopt,
    difference,
    discord,
    every_slot,
    loads_plainly,
    refill,
    slots,
    twins_of,
)
from nameplate_model._views import ViewGroup, overlap_again, overlapping
from nameplate_model._weights import Weights


@dataclass(frozen=True, slots=True)
class Loading:
    """How a checkpoint is loaded.

    Attributes:
        source: How the caller called the checkpoint.
        policy: Which differences are allowed.
        placement: Where the tensors go.
        naming: How the names of the file become those of the model.
        verify: Whether every byte is compared with its checksum first.
        spread: Whether the model is to be spread over the devices that there are.
    """

    source: str
    policy: Policy
    placement: Placement
    naming: Naming
    verify: bool = False
    spread: bool = False


@undeferred()
def load(build: Callable[[], nn.Module], weights: Weights, loading: Loading) -> tuple[nn.Module, LoadReport]:
    """Build a model and fill it with the tensors of a checkpoint.

    Args:
        build: Constructs the model; may run twice.
        weights: The opened checkpoint; closed afterwards.
        loading: How.

    Returns:
        The model, in the mode that the constructor left it in, and the verdict on every key.

    Raises:
        MismatchError: If keys or shapes differ in a way that the policy does not allow.
        CheckpointError: If a tensor cannot be read, or the model refuses it in its own way.
    """
    try:
        if loading.verify:
            weights.verify()
        skeleton = build_skeleton(build)
        weights = fitting(weights, skeleton.model, loading, plan=False)
        placement = placed_on(skeleton.model, loading)
        with torch.no_grad():
            return _fill(build, skeleton, weights, replace(loading, placement=placement))
    finally:
        weights.close()


def fitting(weights: Weights, model: nn.Module, loading: Loading, *, plan: bool) -> Weights:
    """Return the weights under the names of a model."""
    weights = renamed(weights, loading.naming, None if plan else loading.placement.memory)
    if loading.naming.body:
        weights = with_body(weights, [slot.key for slot in slots(model)], loading.naming.body)
    return weights


def placed_on(model: nn.Module, loading: Loading) -> Placement:
    """Return where the tensors of a model go, now that there is one to be spread over devices."""
    return spread(model, loading.placement) if loading.spread else loading.placement


def _fill(
    build: Callable[[], nn.Module], skeleton: Skeleton, weights: Weights, loading: Loading
) -> tuple[nn.Module, LoadReport]:
    placement = loading.placement
    road = (PlainRoad if loads_plainly(skeleton.model) else _OwnRoad)(weights, placement)
    groups = overlapping(every_slot(skeleton.model))
    verdict = road.judge(skeleton)
    names = weights.renamed.items()
    report = loading.policy.report(type(skeleton.model).__name__, loading.source, verdict, list(names))
    report = replace(report, built_for_real=skeleton.built_for_real)
    if loading.policy.refuses(report):
        raise refusal(report, weights.where)
    if (verdict.missing or verdict.mismatched) and skeleton.built_for_real is None:
        skeleton = Skeleton(build())  # what the file lacks gets the values of a plain construction
    road.fill(skeleton, verdict)
    if not placement.changes_nothing or torch.get_default_device().type != "cpu":
        _place_rest(skeleton.model, placement)
    known = [group.windows.keys() for group in groups]  # a subset of what the class weaves would be torn out of it
    recorded = (group for group in weights.views if not any(group.windows.keys() <= keys for keys in known))
    _overlap(skeleton, [*groups, *recorded], set(verdict.loaded))
    if placement.device_map:
        dispatch(skeleton.model, {"": placement.device, **placement.device_map})
    return skeleton.model, report


def _overlap(skeleton: Skeleton, groups: list[ViewGroup], loaded: set[str]) -> None:
    if groups:
        places = {(slot.key, slot.name): slot for slot in (*every_slot(skeleton.model), *slots(skeleton.model))}
        overlap_again(list(places.values()), groups, loaded.__contains__, keep=skeleton.built_for_real is not None)


@dataclass(frozen=True, slots=True)
class PlainRoad:
    """For models whose modules take their tensors as they are: nothing is copied."""

    weights: Weights
    placement: Placement

    def judge(self, skeleton: Skeleton, *, values: bool = True) -> Verdict:
        """Compare the model's keys with the file's, before any tensor is read.

        Args:
            skeleton: The model.
            values: Whether tied names of which the file has several are compared by their bytes.
        """
        loaded: list[str] = []
        missing: list[str] = []
        mismatched: list[Mismatch] = []
        places = list(slots(skeleton.model))
        twins, tensors = twins_of(places), self.weights.tensors
        for slot in places:
            name = slot.key if slot.key in tensors else None
            if name is None or id(slot.tensor) in twins:
                name = _name_in(self.weights, slot, twins)
            if name is None:
                missing.append(slot.key)
                continue
            problem = difference(slot.tensor, tensors[name])
            if problem is None and values and slot.key != name and slot.key in tensors:
                problem = discord(name, *self._values(name, slot.key))
            if problem is None:
                loaded.append(slot.key)
            else:
                mismatched.append(Mismatch(slot.key, *problem))
        unexpected = tensors.keys() - {slot.key for slot in places}
        return Verdict(loaded, missing, list(unexpected), mismatched)

    def fill(self, skeleton: Skeleton, verdict: Verdict) -> None:
        """Put the file's tensors into their places; tied places get the same object."""
        places = list(slots(skeleton.model))
        wanted = self._wanted(places, set(verdict.loaded))
        tensors = dict(zip(wanted, fetch([want for want, _ in wanted.values()], self.placement.memory), strict=True))
        settle = adopt if skeleton.built_for_real is None else refill
        settled: dict[tuple[object, ...], torch.Tensor] = {}
        for pick, (_, places_of) in wanted.items():
            for slot in places_of:
                nature = pick, isinstance(slot.tensor, nn.Parameter), slot.tensor.requires_grad
                new = settled.get(nature)
                if new is None:
                    new = settled[nature] = settle(slot, tensors[pick])
                slot.put(new)

    def _wanted(self, places: list[Slot], loaded: Collection[str]) -> dict[tuple[object, ...], tuple[Want, list[Slot]]]:
        """Return what is wanted of the file, each once, with the places that get it."""
        twins, tensors, placement = twins_of(places), self.weights.tensors, self.placement
        wanted: dict[tuple[object, ...], tuple[Want, list[Slot]]] = {}
        for slot in places:
            shared = twins.get(id(slot.tensor))
            if slot.key not in loaded and (shared is None or not any(key in loaded for key in shared)):
                continue
            name = slot.key if shared is None and slot.key in tensors else _name_in(self.weights, slot, twins)
            assert name is not None
            stored = tensors[name]
            want = Want(stored, placement.device_of(slot.key), placement.dtype_of(slot.key, stored.dtype))
            wanted.setdefault((name, *want[1:]), (want, []))[1].append(slot)
        return wanted

    def _values(self, *names: str) -> list[torch.Tensor]:
        stored = (self.weights.tensors[name] for name in names)
        return fetch([Want(each, torch.device("cpu"), each.dtype) for each in stored], self.placement.memory)


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
        names = [name for name in self.weights.tensors if name not in refused]
        wants = [self._want(name, self.weights.tensors[name]) for name in names]
        tensors = dict(zip(names, fetch(wants, self.placement.memory), strict=True))
        return offer(skeleton.model, tensors, self.weights, in_place=skeleton.built_for_real is not None)

    def _want(self, name: str, stored: Stored | Held) -> Want:
        return Want(stored, self.placement.device_of(name), self.placement.dtype_of(name, stored.dtype))


def _name_in(weights: Weights, slot: Slot, twins: dict[int, list[str]]) -> str | None:
    """Return the name under which the file holds a slot's tensor, the same for all places that share it."""
    keys = twins.get(id(slot.tensor), [slot.key])
    stored = next((key for key in keys if key in weights), None)
    return stored or next((weights.tied[key] for key in keys if key in weights.tied), None)


def _place_rest(model: nn.Module, placement: Placement) -> None:
    """Move what no file holds: buffers that the constructor computed, and values of missing keys."""
    placed: dict[int, torch.Tensor] = {}
    for slot in every_slot(model):
        new = placed.get(id(slot.tensor))
        if new is None:
            moved = placement.place(slot.key, slot.tensor)
            new = slot.tensor if moved is slot.tensor else adopt(slot, moved)
            placed[id(slot.tensor)] = new
        if new is not slot.tensor:
            slot.put(new)
