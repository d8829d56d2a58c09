"""Cutting a model that is being loaded: its parameters become DTensors by a plan, and keep what they hold.

Torch's engine works on metadata here, so that nothing is sent and no memory taken. What has values already, because
the file lacks it or the model had to be loaded as a whole, is cut afterwards, by each rank for itself.
"""

from collections.abc import Collection, Mapping, Sequence

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.nn.parameter import is_lazy

from nameplate_config.wording import listed, sentences
from nameplate_model._boxes import is_sharded
from nameplate_model._distributed.plan import apply_plan
from nameplate_model._distributed.spec import spec_of
from nameplate_model._placement import Placement
from nameplate_model._state import Slot, adopt, class_of, slots, twins_of
from nameplate_model.errors import ShardingPlanError


def cut(model: nn.Module, mesh: DeviceMesh, plan: object, placement: Placement, to_read: Collection[str]) -> None:
    """Turn the parameters of a model into DTensors, as a plan says.

    Args:
        model: The model. Parameters that have values keep this rank's part of them; those without stay metadata.
        mesh: The ranks.
        plan: How it is to be cut, see `apply_plan`.
        placement: Where the parts go.
        to_read: Keys of parameters that are filled afterwards, and so become metadata, too.

    Raises:
        ShardingPlanError: If the plan does not fit the model.
    """
    places = [slot for slot in slots(model) if isinstance(slot.tensor, nn.Parameter)]
    before, twins = {slot.key: slot.tensor for slot in places}, twins_of(places)
    _to_metadata(places)
    apply_plan(model, mesh, plan)
    places = [slot for slot in slots(model) if isinstance(slot.tensor, nn.Parameter)]
    _refuse_other_names(model, before, places)
    settled: dict[int, torch.Tensor] = {}
    for slot in places:
        old = before[slot.key]
        if not is_sharded(slot.tensor):
            slot.put(old)
            continue
        names = twins.get(id(old), [slot.key])
        if old.is_meta or any(name in to_read for name in names):
            continue
        if id(old) not in settled:
            part = old.detach()[spec_of(slot.tensor, slot.key).box.slices]
            whole = part.clone(memory_format=torch.contiguous_format)  # so that the rest can be freed
            settled[id(old)] = adopt(slot, placement.place(names, whole))
        slot.put(settled[id(old)])


def _to_metadata(places: Sequence[Slot]) -> None:
    """Replace parameters by metadata that lies row by row, as FSDP2 wants it; tied ones by the same."""
    twins: dict[int, nn.Parameter] = {}
    for slot in places:
        old = slot.tensor
        if is_lazy(old) or (old.is_meta and old.is_contiguous()):
            continue
        if id(old) not in twins:
            empty = torch.empty(old.shape, dtype=old.dtype, device="meta")
            twins[id(old)] = nn.Parameter(empty, requires_grad=old.requires_grad)
            twins[id(old)].__dict__.update(old.__dict__)
        slot.put(twins[id(old)])


def _refuse_other_names(model: nn.Module, before: Mapping[str, torch.Tensor], places: Sequence[Slot]) -> None:
    """Refuse a plan that wraps modules: parameters would have other names than those in the file."""
    others = sorted({slot.key for slot in places} ^ before.keys())
    if others:
        message = sentences(
            f"The plan gives parameters of {class_of(model).__name__} other names: {listed(others)}.",
            "Wrap modules after the load.",
        )
        raise ShardingPlanError(message)
