"""What the words of a plan mean for one module: torch's style for it, and how that cuts its parameters."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Placement, Replicate, Shard, distribute_module, parallel
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    ParallelStyle,
    PrepareModuleInput,
    PrepareModuleOutput,
    RowwiseParallel,
    SequenceParallel,
)

from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._boxes import Cut
from nameplate_model.errors import ShardingPlanError

Style = str | ParallelStyle | tuple[Placement, ...]
"""What a pattern of a plan is given: a word, a style of torch's, or a placement for each dimension of the mesh."""


class Replicated(ParallelStyle):
    """Every rank has the whole module and computes with it; what goes in and comes out is whole, too."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        def spread(_module: nn.Module, args: Any, kwargs: Any) -> Any:
            return _each_tensor(args, onto_mesh), _each_tensor(kwargs, onto_mesh)

        def gather(_module: nn.Module, _args: Any, outputs: Any) -> Any:
            return _each_tensor(outputs, _whole)

        def onto_mesh(tensor: torch.Tensor) -> torch.Tensor:
            if isinstance(tensor, DTensor):
                return tensor.redistribute(device_mesh, [Replicate()])
            return DTensor.from_local(tensor, device_mesh, [Replicate()], run_check=False)

        distribute_module(module, device_mesh)
        module.register_forward_pre_hook(spread, with_kwargs=True)
        module.register_forward_hook(gather)
        return module


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    if not isinstance(tensor, DTensor):
        return tensor
    return tensor.redistribute(placements=[Replicate()]).to_local()


def _each_tensor(value: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return arguments or outputs of a module with every tensor changed."""
    if isinstance(value, torch.Tensor):
        return change(value)
    if isinstance(value, dict):
        changed = {name: _each_tensor(item, change) for name, item in value.items()}
        return changed if type(value) is dict else type(value)(**changed)
    if isinstance(value, (list, tuple)):
        items = [_each_tensor(item, change) for item in value]
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    return value


def _rowwise(module: nn.Module) -> ParallelStyle:
    return RowwiseParallel(input_layouts=Replicate()) if isinstance(module, nn.Embedding) else RowwiseParallel()


_WORDS: Mapping[str, Callable[[nn.Module], ParallelStyle]] = {
    "colwise": lambda _: ColwiseParallel(),
    "colwise_rep": lambda _: ColwiseParallel(output_layouts=Replicate()),
    "rowwise": _rowwise,
    "rowwise_rep": lambda _: RowwiseParallel(input_layouts=Replicate()),
    "sequence": lambda _: SequenceParallel(),
    "replicate": lambda _: Replicated(),
}
_OF_TRANSFORMERS = {
    "colwise_gather_output": "colwise_rep",
    "embedding_rowwise": "rowwise",
    "rowwise_split_input": "rowwise_rep",
    "sequence_parallel": "sequence",
}
"""Words of newer versions of Transformers that mean the same."""

_CUT_NOTHING = (
    PrepareModuleInput,
    PrepareModuleOutput,
    getattr(parallel, "PrepareModuleInputOutput", PrepareModuleInput),
)


def to_style(value: object, pattern: str) -> Style:
    """Return what a plan gives for a pattern, checked.

    Raises:
        ShardingPlanError: If it is no word, style or placement; or a placement of which a rank holds no values.
    """
    if isinstance(value, str):
        return _to_word(value, pattern)
    if isinstance(value, ParallelStyle):
        return value
    given = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    placements = tuple(each for each in given if isinstance(each, Placement))
    if given and len(placements) == len(given):
        wrong = next((each for each in placements if type(each) not in {Shard, Replicate}), None)
        if wrong is None:
            return placements
        message = sentences(
            f"The plan gives {pattern!r} the placement {shown(wrong)}, of which no rank holds a range of the values.",
            "Parameters can be placed by Shard(dim) and Replicate().",
        )
        raise ShardingPlanError(message)
    message = sentences(
        f"The plan gives {pattern!r} the style {shown(value)}.",
        f"A style is one of {', '.join(map(repr, _WORDS))}, a ParallelStyle, or a Placement for each mesh dimension.",
    )
    raise ShardingPlanError(message)


def _to_word(word: str, pattern: str) -> str:
    word = _OF_TRANSFORMERS.get(word, word)
    if word in _WORDS:
        return word
    way = did_you_mean(word, _WORDS) or f"Its styles are: {', '.join(_WORDS)}; or give a ParallelStyle of torch's."
    if word == "fsdp":
        way = "'fsdp' is a plan for a dimension of the mesh, as in {'dp': 'fsdp', 'tp': {…}}."
    message = f"The plan gives {pattern!r} the style {word!r}, which is unknown."
    raise ShardingPlanError(sentences(message, way))


def of_torch(style: str | ParallelStyle, module: nn.Module) -> ParallelStyle:
    """Return torch's style for a module."""
    return _WORDS[style](module) if isinstance(style, str) else style


def parameter_cuts(
    style: str | ParallelStyle, module: nn.Module, path: str, pattern: str
) -> Mapping[str, Cut | None] | None:
    """Return how a style cuts each parameter of a module by its name in there, or None where only torch can tell.

    Raises:
        ShardingPlanError: If the style is for modules of other classes.
    """
    found = of_torch(style, module)
    names = [name for name, _ in module.named_parameters()]
    if isinstance(found, (SequenceParallel, Replicated)):
        return dict.fromkeys(names)
    if isinstance(found, _CUT_NOTHING):
        return {}
    if not isinstance(found, (ColwiseParallel, RowwiseParallel)):
        return None
    colwise = isinstance(found, ColwiseParallel)
    if isinstance(module, nn.Linear):
        cuts = {name: Cut(0) if colwise else {"weight": Cut(1)}.get(name) for name in names}
    elif isinstance(module, nn.Embedding):
        cuts = dict.fromkeys(names, Cut(1 if colwise else 0))
    else:
        word = shown(style) if isinstance(style, str) else type(style).__name__
        message = sentences(
            f"The plan gives {pattern!r} the style {word}, but {path or 'the model itself'} is a "
            f"{type(module).__name__}, and torch has it for Linear and Embedding.",
            "Name the layers inside it, or give a Placement.",
        )
        raise ShardingPlanError(message)
    return cuts
