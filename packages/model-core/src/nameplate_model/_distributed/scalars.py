"""Parameters without axes beside FSDP2, which takes none: they stay whole on every rank, with one gradient."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh

from nameplate_model._distributed.patterns import Place


@contextmanager
def left_out(places: Sequence[Place]) -> Iterator[None]:
    """Let places be empty meanwhile."""
    held = [(place, place.parameter) for place in places]
    for place in places:
        place.put(None)
    try:
        yield
    finally:
        for place, parameter in held:
            place.put(parameter)


class SharedGradients:
    """Averages the gradients of parameters over the ranks of a mesh, as FSDP2 does with those that it cuts.

    Called before each forward of the model: a load puts other parameters into the places.
    """

    def __init__(self, places: Sequence[Place], mesh: DeviceMesh) -> None:
        self._places = places
        self._mesh = mesh
        self._watched: dict[int, torch.Tensor] = {}

    def __call__(self, _module: nn.Module, _args: Any) -> None:
        """Watch the parameters that are there now."""
        for place in self._places:
            parameter = place.parameter
            if parameter.requires_grad and self._watched.get(id(parameter)) is not parameter:
                parameter.register_post_accumulate_grad_hook(self._average)
                self._watched[id(parameter)] = parameter

    def _average(self, parameter: torch.Tensor) -> None:
        if parameter.grad is None:
            return
        for dimension in range(self._mesh.ndim):
            distributed.all_reduce(parameter.grad, group=self._mesh.get_group(dimension))
        parameter.grad /= self._mesh.size()
