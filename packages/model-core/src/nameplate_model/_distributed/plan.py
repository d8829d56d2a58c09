"""What ``plan=`` means: which axis of which parameter is cut by which dimension of a mesh.

`apply_plan` lets torch's own engine do what a plan says, and `cuts_of` only says it. Both read it in the same way, and
before anything is done: in `steps` and `cuts`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeGuard, cast

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Placement, distribute_tensor
from torch.distributed.tensor.parallel import parallelize_module

from nameplate_config import NameplateError
from nameplate_config.wording import reason, sentences
from nameplate_model._boxes import Cut
from nameplate_model._checkpointing import repeated_blocks
from nameplate_model._distributed.cuts import Cuts, cuts_by_key, cuts_by_steps
from nameplate_model._distributed.patterns import Names, Place, shared
from nameplate_model._distributed.scalars import SharedGradients, left_out
from nameplate_model._distributed.spec import spec_of
from nameplate_model._distributed.steps import Axes, Step, declared_plan, read_plan
from nameplate_model._distributed.styles import of_torch
from nameplate_model.errors import ShardingPlanError


def apply_plan(model: nn.Module, mesh: DeviceMesh, plan: object = None) -> None:
    """Make the parameters of a model DTensors, by torch's own engine.

    Args:
        model: Parameters may be metadata; those that the plan does not speak of stay what they are.
        mesh: The ranks that share them.
        plan: What `PreTrainedModel.from_pretrained` takes as *plan*; None means what the class declares.

    Raises:
        ShardingPlanError: If the plan does not fit the model or the mesh, or torch refuses it.
    """
    plan = declared_plan(model, Axes.of(mesh)) if plan is None else plan
    names, kind = Names(model), type(model).__name__
    before = [(group, group[0][1].parameter) for group in shared(names)]
    if _is_call(plan):
        with _by_torch(f"The plan {_name_of(plan)} fails on {kind}"):
            made = plan(model, mesh)
            if isinstance(made, nn.Module) and made is not model:
                message = sentences(
                    f"The plan {_name_of(plan)} returns another module than the {kind} that it was given.",
                    "Change the model in place, as fully_shard and parallelize_module do.",
                )
                raise ShardingPlanError(message)
    else:
        steps = read_plan(model, plan, Axes.of(mesh), names)
        cuts_by_steps(names, steps, Axes.of(mesh))
        for step in steps:
            with _by_torch(f"Torch refuses the plan for {kind}"):
                _take(step, model, _part(mesh, step.dims), names)
    for group, parameter in before:
        _restore(group, parameter)


def cuts_of(model: nn.Module, plan: object, sizes: Mapping[str, int]) -> Cuts:
    """Return how a plan cuts each parameter of a model on a mesh that need not exist.

    Args:
        model: Only names and shapes are looked at.
        plan: As for `apply_plan`, but no callable: what that does shows only on ranks.
        sizes: The number of ranks along each dimension of the mesh, by its name.

    Returns:
        For each key a cut for each dimension of the mesh, None where every rank along it has the same.

    Raises:
        ShardingPlanError: If the plan does not fit the model or the mesh, or only torch can tell what it does.
    """
    return _cuts(model, plan, Axes(tuple(sizes), tuple(sizes.values())))


def cuts_on(
    model: nn.Module, mesh: DeviceMesh | Mapping[str, int], plan: object
) -> tuple[dict[str, int], tuple[int, ...], Cuts]:
    """Return the sizes of a mesh by name, the numbers of its ranks, and how a plan cuts a model on it.

    Args:
        model: Where the plan is a function, it is called with the model, whose parameters become DTensors.
        mesh: A mesh, or sizes by name, whose ranks count from 0 and get no numbers here.
        plan: As for `apply_plan`.

    Raises:
        ShardingPlanError: As `cuts_of`.
    """
    if isinstance(mesh, Mapping):
        return dict(mesh), (), cuts_of(model, plan, mesh)
    axes = Axes.of(mesh)
    names = axes.names or tuple(f"dimension {number}" for number in range(len(axes.sizes)))
    sizes, numbers = dict(zip(names, axes.sizes, strict=True)), tuple(mesh.mesh.flatten().tolist())
    plan = declared_plan(model, axes) if plan is None else plan
    if not _is_call(plan):
        return sizes, numbers, _cuts(model, plan, axes)
    apply_plan(model, mesh, plan)
    return sizes, numbers, {key: _on(axes, place.parameter, key) for key, place in Names(model).places.items()}


def _on(axes: Axes, parameter: nn.Parameter, key: str) -> tuple[Cut | None, ...]:
    """Return how the dimensions of a mesh cut a parameter that may lie on some of them only."""
    whole: list[Cut | None] = [None] * len(axes.sizes)
    if isinstance(parameter, DTensor):
        own = Axes.of(parameter.device_mesh)
        for place, cut in enumerate(spec_of(parameter, key).cuts):
            whole[axes.names.index(own.names[place]) if len(own.sizes) != len(axes.sizes) else place] = cut
    return tuple(whole)


def _cuts(model: nn.Module, plan: object, axes: Axes) -> Cuts:
    plan = declared_plan(model, axes) if plan is None else plan
    names = Names(model)
    if _is_call(plan):
        message = (
            f"The plan {_name_of(plan)} is a function: what it does to {type(model).__name__} shows only on ranks."
        )
        raise ShardingPlanError(sentences(message, "Plan with 'fsdp', patterns, or a plan for each dimension."))
    return cuts_by_steps(names, read_plan(model, plan, axes, names), axes, known=True)


# ---- done by torch


def _take(step: Step, model: nn.Module, mesh: DeviceMesh, names: Names) -> None:
    if step.assignments is None:
        _shard_fully(model, mesh)
        return
    done: set[int] = set()
    for each in step.assignments:
        if each.module is not None and not isinstance(each.style, tuple):
            if id(each.module) not in done:
                parallelize_module(each.module, mesh, of_torch(each.style, each.module))
                done.add(id(each.module))
            continue
        for key, _ in cuts_by_key(each, names, known=False):
            _distribute(names.places[key], mesh, cast("tuple[Placement, ...]", each.style))


def _distribute(place: Place, mesh: DeviceMesh, placements: tuple[Placement, ...]) -> None:
    parameter = place.parameter
    if not isinstance(parameter, DTensor):
        cut = distribute_tensor(parameter.detach(), mesh, placements)
        place.put(nn.Parameter(cut, requires_grad=parameter.requires_grad))


def _shard_fully(model: nn.Module, mesh: DeviceMesh) -> None:
    """Let FSDP2 cut each repeated block by itself and what is left as one, as its users do by hand."""
    scalars = [place for group in shared(Names(model)) for _, place in group if not place.parameter.dim()]
    blocks = [block for block in repeated_blocks(model) if _is_apart(block, model)]
    with left_out(scalars):
        for block in blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(model, mesh=mesh)
    if scalars:
        model.register_forward_pre_hook(SharedGradients(scalars, mesh))


def _is_apart(block: nn.Module, model: nn.Module) -> bool:
    """Whether a block has parameters, none of which anything outside of it shares: torch would untie those."""
    if isinstance(block, (nn.ModuleList, nn.ModuleDict)):  # has no forward to gather its parameters for
        return False
    inside, held = set(block.modules()), {id(parameter) for parameter in block.parameters()}
    others = (each for each in model.modules() if each not in inside)
    return bool(held) and not any(id(each) in held for other in others for each in other.parameters(recurse=False))


def _part(mesh: DeviceMesh, dims: tuple[int, ...]) -> DeviceMesh:
    if len(dims) == mesh.ndim:
        return mesh
    names = cast("tuple[str, ...]", mesh.mesh_dim_names)
    return mesh[tuple(names[dim] for dim in dims)]


def _restore(group: list[tuple[str, Place]], before: nn.Parameter) -> None:
    """Let a tied parameter be one object again, and have the nature that torch did not keep."""
    first_key, first = group[0]
    now = first.parameter
    for key, place in group[1:]:
        other = place.parameter
        if other is now:
            continue
        if not isinstance(now, DTensor) or not isinstance(other, DTensor) or now._spec != other._spec:  # noqa: SLF001
            message = sentences(
                f"The plan cuts {first_key} and {key} in different ways, but they are one tensor.",
                "Cut both alike: FSDP2 needs them in one call of fully_shard.",
            )
            raise ShardingPlanError(message)
        place.put(now)
    if now is not before:
        now.requires_grad_(before.requires_grad)
        now.__dict__.update(before.__dict__)


def _is_call(plan: object) -> TypeGuard[Callable[[nn.Module, DeviceMesh], object]]:
    return callable(plan)


def _name_of(plan: object) -> str:
    return getattr(plan, "__qualname__", None) or type(plan).__qualname__


@contextmanager
def _by_torch(failure: str) -> Iterator[None]:
    """Say what torch, or the caller's function, could not do."""
    try:
        yield
    except NameplateError:
        raise
    except Exception as error:
        message = f"{failure}: {reason(error)}"
        raise ShardingPlanError(message) from error
