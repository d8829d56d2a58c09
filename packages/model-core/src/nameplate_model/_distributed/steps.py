"""Reading a plan: which patterns it has for which dimensions of a mesh, and what they match.

Here is found all that is wrong with a plan by itself, and with its dimensions and names; what its patterns do to the
shapes of parameters is the concern of `cuts`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, cast

from torch import nn
from torch.distributed.device_mesh import DeviceMesh

from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._distributed.patterns import Names
from nameplate_model._distributed.styles import Style, to_style
from nameplate_model.errors import ShardingPlanError

FSDP = "fsdp"
"""The plan that is FSDP2's own layout."""

_TENSOR_PARALLEL = "tp"
"""The dimension of a mesh for which the plans of Transformers' classes are written."""


class Axes(NamedTuple):
    """The dimensions of a mesh, which need not exist.

    Attributes:
        names: What they are called; empty if they have no names.
        sizes: The number of ranks along each.
    """

    names: tuple[str, ...]
    sizes: tuple[int, ...]

    @classmethod
    def of(cls, mesh: DeviceMesh) -> "Axes":
        """Return those of a mesh of torch's."""
        return cls(tuple(mesh.mesh_dim_names or ()), tuple(mesh.mesh.shape))

    def __str__(self) -> str:
        named = (f"{name!r}: {size}" for name, size in zip(self.names, self.sizes, strict=False))
        return f"{{{', '.join(named)}}}" if self.names else str(self.sizes)


class Assignment(NamedTuple):
    """What one pattern says of one module or parameter.

    Attributes:
        pattern: The pattern.
        name: The path of the module, or the key of the parameter.
        style: What it is given.
        module: The module, or None for a parameter.
    """

    pattern: str
    name: str
    style: Style
    module: nn.Module | None


class Step(NamedTuple):
    """What a plan says of some dimensions of a mesh.

    Attributes:
        dims: Their places among the dimensions of the mesh.
        assignments: What is said of modules and parameters, or None for FSDP2's own layout.
    """

    dims: tuple[int, ...]
    assignments: tuple[Assignment, ...] | None


def declared_plan(model: nn.Module, axes: Axes) -> object:
    """Return the plan that the class of a model declares, as its own or as Transformers' classes do.

    Raises:
        ShardingPlanError: If it declares none.
    """
    declared = getattr(type(model), "sharding_plan", None)  # not of the object: a method takes the model, too
    if declared is not None:
        return declared
    words = {
        f"{path}.{pattern}" if path else pattern: word
        for path, module in model.named_modules()
        for pattern, word in (getattr(module, "_tp_plan", None) or {}).items()
    }
    if words:
        return {_TENSOR_PARALLEL: words} if _TENSOR_PARALLEL in axes.names else words
    message = sentences(
        f"{type(model).__name__} declares no sharding_plan, so a device_mesh alone does not say how to cut it.",
        "Pass plan='fsdp', or styles by the paths of modules.",
    )
    raise ShardingPlanError(message)


def read_plan(model: nn.Module, plan: object, axes: Axes, names: Names) -> list[Step]:
    """Return the steps of a plan in the order in which they are taken.

    Raises:
        ShardingPlanError: If it is no plan, or does not fit the dimensions of the mesh.
    """
    every = tuple(range(len(axes.sizes)))
    if plan == FSDP:
        return [_fsdp_step(every, axes)]
    if not isinstance(plan, Mapping) or not plan:
        message = sentences(
            f"A plan cannot be {shown(plan)}.",
            did_you_mean(plan, [FSDP]) if isinstance(plan, str) else "",
            "It is 'fsdp', a mapping of styles by the paths of modules, a function of model and mesh, "
            "or a mapping of such plans by the dimensions of the mesh.",
        )
        raise ShardingPlanError(message)
    by_dimension = [each == FSDP or isinstance(each, Mapping) for each in plan.values()]
    if not any(by_dimension):
        return [Step(every, tuple(_assignments(plan, names, len(every))))]
    if not all(by_dimension):
        message = f"The plan of {type(model).__name__} has both plans of mesh dimensions and styles: {shown(plan)}."
        raise ShardingPlanError(sentences(message, "Put the styles into the plan of a dimension."))
    return _steps(plan, axes, names)


def _steps(plan: Mapping[Any, Any], axes: Axes, names: Names) -> list[Step]:
    """Return a step for each dimension that a plan speaks of, from the last dimension to the first."""
    steps: list[Step] = []
    for key, inner in plan.items():
        dims = _dims(key, axes)
        if any(set(dims) & set(other.dims) for other in steps):
            message = f"The plan speaks twice of dimension {shown(key)} of the mesh."
            raise ShardingPlanError(message)
        if inner == FSDP:
            steps.append(_fsdp_step(dims, axes))
        else:
            steps.append(Step(dims, tuple(_assignments(inner, names, len(dims)))))
    steps.sort(key=lambda step: step.dims, reverse=True)
    fsdp = [place for place, step in enumerate(steps) if step.assignments is None]
    if len(fsdp) > 1 or (fsdp and fsdp[0] != len(steps) - 1):
        message = sentences(
            f"The plan has 'fsdp' for a dimension of the mesh {axes} that is not before all others, or for several.",
            "Torch cuts by tensor parallel dimensions first: let those be the last, as in ('dp', 'tp'). "
            "Two dimensions for FSDP are one key, as in {('replicate', 'shard'): 'fsdp'}.",
        )
        raise ShardingPlanError(message)
    return steps


def _fsdp_step(dims: tuple[int, ...], axes: Axes) -> Step:
    named = len(dims) == 1 or bool(axes.names)
    if len(dims) <= 2 and named:  # noqa: PLR2004 - replicate, shard
        return Step(dims, None)
    message = sentences(
        f"'fsdp' is for one dimension of a mesh, or for two with names of which the first replicates; found {axes}.",
        "Give a plan for each dimension, as in {'dp': 'fsdp', 'tp': {…}}.",
    )
    raise ShardingPlanError(message)


def _dims(key: object, axes: Axes) -> tuple[int, ...]:
    """Return the places of the dimensions that a key of a plan names."""
    wanted = key if isinstance(key, tuple) else (key,)
    unknown = [each for each in wanted if each not in axes.names]
    dims = () if unknown else tuple(axes.names.index(cast("str", each)) for each in wanted)
    if dims and dims == tuple(range(dims[0], dims[0] + len(dims))):
        return dims
    message = sentences(
        f"The plan speaks of the dimension {shown(key)} of the mesh, whose dimensions are {axes}.",
        did_you_mean(unknown[0], axes.names) if unknown and isinstance(unknown[0], str) else "",
        "" if axes.names else "Name them: init_device_mesh(…, mesh_dim_names=('dp', 'tp')).",
    )
    raise ShardingPlanError(message)


def _assignments(plan: Mapping[Any, Any], names: Names, dimensions: int) -> Iterator[Assignment]:
    """Yield what patterns say of modules and parameters.

    Raises:
        ShardingPlanError: If a pattern matches nothing, a style is unknown, or the number of placements is wrong.
    """
    for pattern, value in plan.items():
        if not isinstance(pattern, str):
            message = f"A plan maps patterns of names to styles, and {shown(pattern)} is no text."
            raise ShardingPlanError(message)
        style = to_style(value, pattern)
        paths, keys = names.meant_by(pattern)
        _check_number(style, pattern, dimensions)
        if keys and not isinstance(style, tuple):
            message = sentences(
                f"The plan gives {pattern!r} the style {shown(value)}, which is for modules; {keys[0]} is a parameter.",
                "Name its module, or give a Placement.",
            )
            raise ShardingPlanError(message)
        yield from (Assignment(pattern, path, style, names.modules[path]) for path in paths)
        yield from (Assignment(pattern, key, style, None) for key in keys)


def _check_number(style: Style, pattern: str, dimensions: int) -> None:
    given = len(style) if isinstance(style, tuple) else 1
    if given == dimensions:
        return
    message = sentences(
        f"The plan gives {pattern!r} what is for {given} dimensions of a mesh, and there are {dimensions}.",
        "Give a tuple with a Placement for each, or a plan for each dimension, as in {'dp': 'fsdp', 'tp': {…}}.",
    )
    raise ShardingPlanError(message)
