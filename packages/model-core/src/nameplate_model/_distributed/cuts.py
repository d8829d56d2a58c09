"""What the steps of a plan cut: for each parameter an axis for each dimension of the mesh, or none."""

from collections.abc import Iterator, Mapping, Sequence
from math import prod
from typing import NamedTuple, cast

from torch.distributed.tensor import Placement, Replicate, Shard
from torch.nn.parameter import is_lazy

from nameplate_config.wording import listed, sentences
from nameplate_model._boxes import Cut
from nameplate_model._distributed.patterns import Names, Place, shared
from nameplate_model._distributed.steps import Assignment, Axes, Step
from nameplate_model._distributed.styles import parameter_cuts
from nameplate_model.errors import ShardingPlanError

Cuts = dict[str, tuple[Cut | None, ...]]
"""How each dimension of a mesh cuts each parameter, by its key."""


class _Said(NamedTuple):
    """Which pattern said under which key how a parameter is cut along the dimensions of one step."""

    cuts: tuple[Cut | None, ...]
    pattern: str
    key: str
    dims: tuple[int, ...]


def cuts_by_steps(names: Names, steps: Sequence[Step], axes: Axes, *, known: bool = False) -> Cuts:
    """Return how each parameter is cut.

    Args:
        names: The parameters.
        steps: What the plan says.
        axes: The dimensions of the mesh.
        known: Whether a style of which only torch knows what it does is an error.

    Raises:
        ShardingPlanError: If patterns contradict each other, or an axis is too short for its dimension of the mesh.
    """
    _refuse_lazy(names)
    said = _said(names, steps, known=known)
    found: Cuts = {}
    for group in shared(names):
        shape = tuple(group[0][1].parameter.shape)
        whole: list[Cut | None] = [None] * len(axes.sizes)
        each = _agreed(group, said)
        if each is not None:
            whole[each.dims[0] : each.dims[-1] + 1] = _checked(each, shape, axes)
        for step in steps:
            if step.assignments is None and shape:
                last = step.dims[-1]
                whole[last] = Cut(0, prod(axes.sizes[dim] for dim, cut in enumerate(whole) if cut and cut.dim == 0))
        found |= dict.fromkeys((key for key, _ in group), tuple(whole))
    return {key: found[key] for key in names.places}


def _refuse_lazy(names: Names) -> None:
    lazy = [key for key, place in names.places.items() if is_lazy(place.parameter)]
    if lazy:
        message = f"No plan can cut parameters that have no shape before the first forward: {listed(lazy)}."
        raise ShardingPlanError(
            sentences(message, "Give their modules sizes, or load the model without a device_mesh.")
        )


def _said(names: Names, steps: Sequence[Step], *, known: bool) -> dict[tuple[int, str], _Said]:
    """Return what the patterns say of each place of a parameter.

    Raises:
        ShardingPlanError: If two say different things.
    """
    said: dict[tuple[int, str], _Said] = {}
    styled: dict[int, Assignment] = {}
    for step in steps:
        for each in step.assignments or ():
            if each.module is not None and not isinstance(each.style, tuple):
                other = styled.setdefault(id(each.module), each)
                if other.style != each.style:
                    raise _contradiction(each.name, other.pattern, each.pattern)
            for key, cuts in cuts_by_key(each, names, known=known):
                place = names.places[key]
                other_said = said.setdefault((id(place.module), place.name), _Said(cuts, each.pattern, key, step.dims))
                if (other_said.cuts, other_said.dims) != (cuts, step.dims):
                    raise _contradiction(key, other_said.pattern, each.pattern)
    return said


def cuts_by_key(each: Assignment, names: Names, *, known: bool) -> Iterator[tuple[str, tuple[Cut | None, ...]]]:
    prefix = f"{each.name}." if each.name else ""
    if isinstance(each.style, tuple):
        keys = [each.name] if each.module is None else [key for key in names.places if key.startswith(prefix)]
        for key in keys:
            shape = tuple(names.places[key].parameter.shape)
            yield key, tuple(_cut_of(placement, shape, key, each.pattern) for placement in each.style)
        return
    assert each.module is not None
    cuts = parameter_cuts(each.style, each.module, each.name, each.pattern)
    if cuts is None and known:
        message = f"What {type(each.style).__name__}, the style of {each.pattern!r}, cuts shows only on ranks."
        raise ShardingPlanError(sentences(message, "Plan with the words for styles, or with placements."))
    yield from ((prefix + name, (cut,)) for name, cut in (cuts or {}).items())


def _cut_of(placement: Placement, shape: tuple[int, ...], key: str, pattern: str) -> Cut | None:
    if isinstance(placement, Replicate):
        return None
    dim = cast("Shard", placement).dim
    if -len(shape) <= dim < len(shape):
        return Cut(dim % len(shape))
    message = f"The plan gives {pattern!r} the placement {placement}, but {key} has the shape {shape}."
    raise ShardingPlanError(sentences(message, "Name an axis that it has."))


def _agreed(group: list[tuple[str, Place]], said: Mapping[tuple[int, str], _Said]) -> _Said | None:
    """Return what is said of a parameter under all of its keys."""
    every = [(key, said.get((id(place.module), place.name))) for key, place in group]
    spoken = [(key, each) for key, each in every if each is not None]
    if not spoken:
        return None
    _, first = spoken[0]
    for key, each in spoken[1:]:
        if (each.cuts, each.dims) != (first.cuts, first.dims):
            one_tensor = f"{first.key} and {key}, one tensor,"
            raise _contradiction(one_tensor, first.pattern, each.pattern)
    silent = next((key for key, each in every if each is None), None)
    if silent is not None:
        message = sentences(
            f"The plan cuts {first.key} by {first.pattern!r}, but not {silent}, which is the same tensor.",
            "Give a style to both modules, such as 'rowwise' to an embedding and 'colwise' to the head tied to it.",
        )
        raise ShardingPlanError(message)
    return first


def _contradiction(name: str, one: str, other: str) -> ShardingPlanError:
    patterns = f"two patterns, {one!r} and {other!r}, cut" if one != other else f"the pattern {one!r} cuts"
    message = f"The plan contradicts itself: {patterns} {name} in different ways."
    return ShardingPlanError(sentences(message, "Let one of them match fewer names, or let both say the same."))


def _checked(each: _Said, shape: tuple[int, ...], axes: Axes) -> tuple[Cut | None, ...]:
    """Return the cuts of a parameter, none of which leaves a rank without a part."""
    for cut in {cut for cut in each.cuts if cut is not None}:
        ranks = prod(axes.sizes[dim] for dim, other in zip(each.dims, each.cuts, strict=True) if other == cut)
        if shape[cut.dim] < ranks:
            message = sentences(
                f"The plan cuts {each.key} along axis {cut.dim} by {each.pattern!r} for {ranks} ranks, "
                f"but its shape is {shape}.",
                "Use fewer ranks along that dimension of the mesh, or replicate it.",
            )
            raise ShardingPlanError(message)
    return each.cuts
