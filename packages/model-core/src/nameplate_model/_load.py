"""Loading: plan → read → assign → report.

`load` compares the keys of a checkpoint with those of a model that has no weights yet, decides by the caller's
policy whether the difference is allowed, and only then puts tensors into their places. Either a whole model comes
back, or one error that names every key.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import nn

from nameplate_model._boxes import Box, is_sharded
from nameplate_model._construct import Skeleton, build_for_real, build_skeleton, undeferred
from nameplate_model._device_map import check_paths, spread
from nameplate_model._dispatch import dispatch
from nameplate_model._files import Held, Stored
from nameplate_model._names import Naming, renamed, with_body
from nameplate_model._own_way import UnfilledError, offer
from nameplate_model._pieced import Pieced
from nameplate_model._placement import Placement
from nameplate_model._policy import Policy, refusal
from nameplate_model._reading import CPU, Want, fetch
from nameplate_model._report import LoadReport, Mismatch, Verdict
from nameplate_model._state import (
    Slot,
    Tree,
    adopt,
    difference,
    discord,
    every_slot,
    loads_plainly,
    modules_of,
    refill,
    slots,
)
from nameplate_model._views import ViewGroup, overlap_again, overlapping
from nameplate_model._weights import Weights

if TYPE_CHECKING:
    from nameplate_model._distributed.loading import Ranks


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
        ranks: Those that load it together, each its parts; None if this process is alone.
    """

    source: str
    policy: Policy
    placement: Placement
    naming: Naming
    verify: bool = False
    spread: bool = False
    ranks: "Ranks | None" = None


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
        ShardingPlanError: If it is loaded by ranks, and their plan does not fit the model.
    """
    try:
        if loading.verify:
            weights.verify() if loading.ranks is None else loading.ranks.verify(weights)
        build = _on_a_real_device(build, loading.placement)
        skeleton = build_skeleton(build)
        weights = fitting(weights, skeleton.model, loading, plan=False)
        placement = placed_on(skeleton.model, loading)
        with torch.no_grad():
            return _fill(build, skeleton, weights, replace(loading, placement=placement))
    finally:
        weights.close()


def _on_a_real_device(build: Callable[[], nn.Module], placement: Placement) -> Callable[[], nn.Module]:
    """Return a constructor whose buffers have values even where the default device is the meta one."""
    if torch.get_default_device().type != "meta":
        return build

    def build_there() -> nn.Module:
        with placement.device:
            return build()

    return build_there


def fitting(weights: Weights, model: nn.Module, loading: Loading, *, plan: bool) -> Weights:
    """Return the weights under the names of a model."""
    naming = loading.naming
    keys = {slot.key for slot in slots(model)} if naming.foreign or naming.body else set()
    weights = renamed(weights, naming, None if plan else loading.placement.memory, keys)
    return with_body(weights, keys, naming.body) if naming.body else weights


def placed_on(model: nn.Module, loading: Loading) -> Placement:
    """Return where the tensors of a model go, now that there is one to be spread over devices.

    Raises:
        UnknownOptionError: If the device map names a module that the model does not have.
    """
    if loading.spread:
        return spread(model, loading.placement)
    check_paths(model, loading.placement.device_map)
    return loading.placement


def _fill(
    build: Callable[[], nn.Module], skeleton: Skeleton, weights: Weights, loading: Loading
) -> tuple[nn.Module, LoadReport]:
    placement, tree, ranks = loading.placement, Tree(skeleton.model), loading.ranks
    groups = overlapping(every_slot(tree.modules))
    road, in_slices = _road(skeleton, tree, weights, loading)
    try:
        verdict = road.judge(tree, in_place=skeleton.built_for_real is not None)
    except UnfilledError as gap:
        skeleton = build_for_real(build, f"its own way of loading does not assign {gap.keys[0]}")
        tree = Tree(skeleton.model)
        verdict = _OwnRoad(weights, road.placement).judge_real(tree, gap)
    report = _reported(skeleton, weights, loading, verdict)
    if (verdict.missing or verdict.mismatched) and skeleton.built_for_real is None:
        skeleton = Skeleton(build())  # what the file lacks gets the values of a plain construction
        tree = Tree(skeleton.model)
    elif skeleton.before is not None and not (verdict.missing or verdict.mismatched):
        skeleton.before.put_back()
    if ranks is not None and in_slices:
        ranks.cut(skeleton.model, placement, set(verdict.loaded))
        tree = Tree(skeleton.model)
    road.fill(tree, verdict, in_place=skeleton.built_for_real is not None)
    if ranks is not None and not in_slices:
        ranks.cut(skeleton.model, placement, ())
    if not placement.changes_nothing or torch.get_default_device().type != "cpu":
        _place_rest(tree.modules, placement)
    known = [group.windows.keys() for group in groups]  # a subset of what the class weaves would be torn out of it
    recorded = (group for group in weights.views if not any(group.windows.keys() <= keys for keys in known))
    _overlap(skeleton, [*groups, *recorded], set(verdict.loaded))
    if placement.device_map:
        dispatch(skeleton.model, {"": placement.device, **placement.device_map})
    return skeleton.model, report


def _road(skeleton: Skeleton, tree: Tree, weights: Weights, loading: Loading) -> "tuple[PlainRoad | _OwnRoad, bool]":
    """Return the way for a model, and whether ranks can read just their parts of it.

    Where a module has a say, or somebody holds a parameter, the model is loaded as a whole first: on the host, mapped.
    """
    plain = loads_plainly(tree)
    in_slices = loading.ranks is not None and plain and skeleton.built_for_real is None
    placement = loading.placement
    if loading.ranks is not None and not in_slices:
        placement = replace(placement, device=CPU)
    return PlainRoad(weights, placement, loading.ranks) if plain else _OwnRoad(weights, placement), in_slices


def _reported(skeleton: Skeleton, weights: Weights, loading: Loading, verdict: Verdict) -> LoadReport:
    """Return the report of a verdict, the same on all ranks.

    Raises:
        MismatchError: If the policy does not allow it.
    """
    names = list(weights.renamed.items())
    report = loading.policy.report(type(skeleton.model).__name__, loading.source, verdict, names)
    report = replace(report, built_for_real=skeleton.built_for_real)
    if loading.ranks is not None:
        loading.ranks.agree_on(report)
    if loading.policy.refuses(report):
        raise refusal(report, weights.where)
    return report


def _overlap(skeleton: Skeleton, groups: list[ViewGroup], loaded: set[str]) -> None:
    if groups:
        model = skeleton.model
        places = {(slot.key, slot.name): slot for slot in (*every_slot(modules_of(model)), *slots(model))}
        cut = {key for (key, _), slot in places.items() if is_sharded(slot.tensor)}  # parts of tensors do not overlap
        groups = [group for group in groups if cut.isdisjoint(group.windows)]
        overlap_again(list(places.values()), groups, loaded.__contains__, keep=skeleton.built_for_real is not None)


@dataclass(frozen=True, slots=True)
class PlainRoad:
    """For models whose modules take their tensors as they are: nothing is copied."""

    weights: Weights
    placement: Placement
    ranks: "Ranks | None" = None

    def judge(self, tree: Tree, *, in_place: bool = False, values: bool = True) -> Verdict:  # noqa: ARG002 - as below
        """Compare the model's keys with the file's, before any tensor is read.

        Args:
            tree: The model.
            in_place: Without effect here.
            values: Whether tied names of which the file has several are compared by their bytes.
        """
        loaded: list[str] = []
        missing: list[str] = []
        mismatched: list[Mismatch] = []
        twins, tensors = tree.twins, self.weights.tensors
        for slot in tree.places:
            name = slot.key if slot.key in tensors else None
            if name is None or id(slot.tensor) in twins:
                name = _name_in(self.weights, slot, twins)
            if name is None:
                missing.append(slot.key)
                continue
            problem = difference(slot.tensor, tensors[name])
            if problem is None and slot.key != name and slot.key in tensors:
                problem = self._discord(name, slot.key, values=values)
            if problem is None:
                loaded.append(slot.key)
            else:
                mismatched.append(Mismatch(slot.key, *problem))
        unexpected = tensors.keys() - {slot.key for slot in tree.places}
        return Verdict(loaded, missing, list(unexpected), mismatched)

    def fill(self, tree: Tree, verdict: Verdict, *, in_place: bool) -> None:
        """Put the file's tensors into their places; tied places get the same object."""
        settle = refill if in_place else adopt
        wanted = self.wanted(tree, set(verdict.loaded))
        for tensor, (_, places) in zip(self.read(wanted), wanted, strict=True):
            if len(places) == 1:
                places[0].put(settle(places[0], tensor))
            else:
                _settle_all(places, tensor, settle)

    def read(self, wanted: list[tuple[Want, list[Slot]]]) -> list[torch.Tensor]:
        """Return what is wanted, in order."""
        if self.ranks is not None:
            return self.ranks.fetch(wanted, self.placement.memory, self.placement.engine)
        return fetch([want for want, _ in wanted], self.placement.memory, self.placement.engine)

    def wanted(self, tree: Tree, loaded: Collection[str]) -> list[tuple[Want, list[Slot]]]:
        """Return what is wanted of the file, each once, with the places that get it; of a DTensor only its part."""
        twins, tensors, placement = tree.twins, self.weights.tensors, self.placement
        plain = placement.changes_nothing
        wanted: dict[tuple[object, ...], tuple[Want, list[Slot]]] = {}
        for slot in tree.places:
            shared = twins.get(id(slot.tensor)) if twins else None
            if slot.key not in loaded and (shared is None or not any(key in loaded for key in shared)):
                continue
            name = slot.key if shared is None and slot.key in tensors else _name_in(self.weights, slot, twins)
            assert name is not None
            stored = tensors[name]
            want = Want(stored, CPU, stored.dtype)
            if not plain:  # one tensor under several names goes where the first of them does, and is kept wide by any
                keys = shared or (slot.key,)
                want = Want(stored, placement.device_of(keys[0]), placement.dtype_of_any(keys, stored.dtype))
            if is_sharded(slot.tensor):
                want = want._replace(box=_box_of(slot))
            wanted.setdefault((name, *want[1:]), (want, []))[1].append(slot)
        return list(wanted.values())

    def _discord(self, name: str, other: str, *, values: bool) -> tuple[str, str] | None:
        """Return both sides in words if the file has two values for one tensor; of equal shapes if it may be read."""
        stored = [self.weights.tensors[each] for each in (name, other)]
        if (stored[0].dtype, stored[0].shape) != (stored[1].dtype, stored[1].shape):
            return discord(name, *(torch.empty(each.shape, dtype=each.dtype, device="meta") for each in stored))
        if not values:
            return None
        return discord(name, *fetch([Want(each, CPU, each.dtype) for each in stored], self.placement.memory))


def _box_of(slot: Slot) -> Box:
    from nameplate_model._distributed.spec import spec_of  # noqa: PLC0415 - slow to import, and seldom needed

    return spec_of(slot.tensor, slot.key).box


def _settle_all(places: list[Slot], tensor: torch.Tensor, settle: Callable[[Slot, torch.Tensor], torch.Tensor]) -> None:
    """Put one tensor into several places: the same object, except where one is a parameter or frozen, and one not."""
    settled: dict[tuple[object, ...], torch.Tensor] = {}
    for slot in places:
        nature = isinstance(slot.tensor, nn.Parameter), slot.tensor.requires_grad
        if nature not in settled:
            settled[nature] = settle(slot, tensor)
        slot.put(settled[nature])


@dataclass(frozen=True, slots=True)
class _OwnRoad:
    """For models in which a module has its own way of loading."""

    weights: Weights
    placement: Placement

    def judge(self, tree: Tree, *, in_place: bool) -> Verdict:
        """Offer everything to the model: what it thinks of its tensors shows only when it gets them."""
        return self._offer(tree, frozenset(), in_place=in_place)

    def judge_real(self, tree: Tree, gap: UnfilledError) -> Verdict:
        """Offer everything to a model that was built for real, so that modules may copy into what they have.

        Raises:
            UnfilledError: If one of the keys that had no value before still has the one of its construction.
        """
        before = {slot.key: slot.tensor.clone() for slot in tree.places if slot.key in gap.keys}
        verdict = self._offer(tree, frozenset(), in_place=True)
        for slot in slots(tree.model):
            old, stored = before.get(slot.key), self.weights.tensors.get(slot.key)
            if old is None or stored is None or discord("", old, slot.tensor) is not None:
                continue
            (found,) = fetch([self._want(slot.key, stored)], self.placement.memory)
            if discord("", old, found.to(old.dtype)) is not None:
                raise gap
        return verdict

    def fill(self, tree: Tree, verdict: Verdict, *, in_place: bool) -> None:
        """Offer it again where the model was built anew since."""
        if verdict.missing or verdict.mismatched:
            self._offer(tree, {each.name for each in verdict.mismatched}, in_place=in_place)

    def _offer(self, tree: Tree, refused: Collection[str], *, in_place: bool) -> Verdict:
        names = [name for name in self.weights.tensors if name not in refused]
        wants = [self._want(name, self.weights.tensors[name]) for name in names]
        tensors = dict(zip(names, fetch(wants, self.placement.memory, self.placement.engine), strict=True))
        return offer(tree.model, tensors, self.weights, in_place=in_place)

    def _want(self, name: str, stored: Stored | Held | Pieced) -> Want:
        return Want(stored, self.placement.device_of(name), self.placement.dtype_of(name, stored.dtype))


def _name_in(weights: Weights, slot: Slot, twins: dict[int, list[str]]) -> str | None:
    """Return the name under which the file holds a slot's tensor, the same for all places that share it."""
    keys = twins.get(id(slot.tensor), [slot.key])
    stored = next((key for key in keys if key in weights), None)
    return stored or next((weights.tied[key] for key in keys if key in weights.tied), None)


def _place_rest(modules: list[tuple[str, nn.Module]], placement: Placement) -> None:
    """Move what no file holds: buffers that the constructor computed, and values of missing keys."""
    places: dict[int, list[Slot]] = {}
    for slot in every_slot(modules):
        if not is_sharded(slot.tensor):  # placed when it was cut
            places.setdefault(id(slot.tensor), []).append(slot)
    for same in places.values():
        tensor = same[0].tensor
        moved = placement.place([slot.key for slot in same], tensor)
        if moved is not tensor:
            new = adopt(same[0], moved)
            for slot in same:
                slot.put(new)
