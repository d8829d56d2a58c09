"""Reading once what several ranks need: who reads which tensor, and how it gets to the others.

Worth its while only where the file lies behind a network. Elsewhere each rank has the pages in memory anyway.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import distributed
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor

from nameplate_model._boxes import whole
from nameplate_model._distributed.spec import Spec, arranged, spec_of
from nameplate_model._reading import Want
from nameplate_model._state import Slot

Wanted = Sequence[tuple[Want, Sequence[Slot]]]
"""Tensors of a checkpoint, each with the places that get it."""

Reader = Callable[[Sequence[Want]], list[torch.Tensor]]
"""Returns wanted tensors, in order."""


@dataclass(frozen=True, slots=True)
class _Route:
    """How a tensor gets from the rank that reads it to the others that hold the same part.

    Attributes:
        mesh: The mesh that it lies on.
        own: Where this rank is in it.
        source: Where the one is that reads.
        dims: The dimensions of the mesh along which the part is the same.
    """

    mesh: DeviceMesh
    own: tuple[int, ...]
    source: tuple[int, ...]
    dims: tuple[int, ...]

    @property
    def reads(self) -> bool:
        """Whether this rank is the one that reads."""
        return self.own == self.source

    def send(self, tensor: torch.Tensor) -> None:
        """Send the tensor to the others, or receive it, along one dimension of the mesh after the other."""
        data = tensor.view(-1).view(torch.uint8)  # of every dtype, also those that a backend does not know
        for place, dim in enumerate(self.dims):
            if all(self.own[later] == self.source[later] for later in self.dims[place + 1 :]):
                origin = (*self.own[:dim], self.source[dim], *self.own[dim + 1 :])
                distributed.broadcast(data, int(self.mesh.mesh[origin]), group=self.mesh.get_group(dim))


def fetch_once(wanted: Wanted, read: Reader, mesh: DeviceMesh, agree: Callable[[], None]) -> list[torch.Tensor]:
    """Return the wanted tensors in order, each read by one of the ranks that need it.

    Args:
        wanted: Tensors, each with the places that get it; the same on all ranks.
        read: Brings what this rank reads.
        mesh: The ranks that all need what is no DTensor.
        agree: Returns once all ranks have read their share, and raises if one could not.

    Raises:
        CorruptFileError: If a file has changed or cannot be read any more.
    """
    routes = _routes(wanted, mesh)
    mine = [place for place, route in enumerate(routes) if route is None or route.reads]
    found = dict(zip(mine, read([wanted[place][0] for place in mine]), strict=True))
    agree()  # before anybody sends: who waits for what nobody sends waits long
    tensors: list[torch.Tensor] = []
    for place, ((want, _), route) in enumerate(zip(wanted, routes, strict=True)):
        tensor = found.get(place)
        if tensor is None:
            box = whole(want.stored.shape) if want.box is None else want.box
            tensor = torch.empty(box.sizes, dtype=want.dtype, device=want.device)
        if route is not None:
            route.send(tensor)
        tensors.append(tensor)
    return tensors


def _routes(wanted: Wanted, mesh: DeviceMesh) -> list[_Route | None]:
    """Return the way of each tensor, None for those that one rank needs. Ranks of one group read as many bytes each."""
    read: dict[tuple[int, ...], list[int]] = {}
    routes: list[_Route | None] = []
    for want, places in wanted:
        tensor = places[0].tensor
        where = tensor.device_mesh if isinstance(tensor, DTensor) else mesh
        spec = spec_of(tensor, places[0].key) if isinstance(tensor, DTensor) else _everywhere(want.stored.shape, mesh)
        size = spec.box.numel * want.stored.dtype.itemsize
        if len(spec.replicas) == 1 or not size:
            routes.append(None)
            continue
        loads = read.setdefault(spec.replicas, [0] * len(spec.replicas))
        turn = loads.index(min(loads))
        loads[turn] += size
        dims = tuple(dim for dim, cut in enumerate(spec.cuts) if cut is None)
        routes.append(_Route(where, spec.coordinate, _source(spec, dims, turn), dims))
    return routes


def _everywhere(shape: tuple[int, ...], mesh: DeviceMesh) -> Spec:
    """Return how a plain tensor lies on a mesh: all of it on each rank."""
    sizes, ranks, own = arranged(mesh)
    assert own is not None
    return Spec(shape, (None,) * len(sizes), sizes, own, ranks)


def _source(spec: Spec, dims: Sequence[int], turn: int) -> tuple[int, ...]:
    """Return the coordinate of the replica whose turn it is."""
    source = list(spec.coordinate)
    for place, dim in enumerate(dims):
        after = math.prod(spec.mesh_sizes[later] for later in dims[place + 1 :])
        source[dim] = turn // after % spec.mesh_sizes[dim]
    return tuple(source)
