"""How a DTensor is cut: which part of the whole lies on which rank, as plain numbers.

Torch says it with a mesh and placements; here it becomes a `Spec`, with which readers and writers go on without torch.
Also the way back: `wrap` makes a part that has been read the DTensor that it is a part of.
"""

import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple, cast

import torch
from torch.distributed import device_mesh
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Replicate, Shard

from nameplate_config.wording import sentences
from nameplate_model._boxes import Box, Cut, box_of
from nameplate_model._state import local_of
from nameplate_model.errors import CheckpointError, ShardingPlanError


@dataclass(frozen=True)
class Spec:
    """How a tensor lies on a mesh, seen from one of its ranks.

    Attributes:
        shape: The size of the whole tensor along each axis.
        cuts: How each dimension of the mesh cuts it; None where it replicates it.
        mesh_sizes: The number of ranks along each dimension of the mesh.
        coordinate: Where this rank is in the mesh.
        ranks: The global ranks of the mesh, the last of its dimensions running fastest.
    """

    shape: tuple[int, ...]
    cuts: tuple[Cut | None, ...]
    mesh_sizes: tuple[int, ...]
    coordinate: tuple[int, ...]
    ranks: tuple[int, ...]

    @cached_property
    def box(self) -> Box:
        """The part that lies on this rank."""
        return self.box_at(self.coordinate)

    @property
    def rank(self) -> int:
        """The global rank that it is seen from."""
        return self.rank_at(self.coordinate)

    def box_at(self, coordinate: Sequence[int]) -> Box:
        """Return the part that lies on the rank at a coordinate."""
        return box_of(self.shape, self.cuts, self.mesh_sizes, coordinate)

    def rank_at(self, coordinate: Sequence[int]) -> int:
        """Return the global rank at a coordinate."""
        place = 0
        for size, index in zip(self.mesh_sizes, coordinate, strict=True):
            place = place * size + index
        return self.ranks[place]

    @cached_property
    def replicas(self) -> tuple[int, ...]:
        """The global ranks that hold the same part as this one, itself included, in the order of the mesh."""
        return self._replicas_of(self.coordinate)

    def parts(self) -> Iterator[tuple[Box, tuple[int, ...]]]:
        """Yield each part of the tensor once, with the global ranks that hold it; together they are the whole.

        In the order of the mesh. A part may be empty.
        """
        cut = [range(size if each is not None else 1) for size, each in zip(self.mesh_sizes, self.cuts, strict=True)]
        for coordinate in product(*cut):
            yield self.box_at(coordinate), self._replicas_of(coordinate)

    def _replicas_of(self, coordinate: Sequence[int]) -> tuple[int, ...]:
        free = [
            range(size) if cut is None else (index,)
            for size, cut, index in zip(self.mesh_sizes, self.cuts, coordinate, strict=True)
        ]
        return tuple(self.rank_at(each) for each in product(*free))


class Arranged(NamedTuple):
    """How ranks are arranged in a mesh, as plain numbers.

    Attributes:
        sizes: The number of ranks along each dimension.
        ranks: The global ranks, the last dimension running fastest.
        coordinate: Where this process is, or None if it is none of them.
    """

    sizes: tuple[int, ...]
    ranks: tuple[int, ...]
    coordinate: tuple[int, ...] | None


_ARRANGED: dict[int, tuple["weakref.ref[DeviceMesh]", Arranged]] = {}
"""What `arranged` has found, by the `id` of the mesh: torch works it out anew for each question, a tenth of what it
takes to cut a tensor. An equal mesh of a later process group is another one."""


def arranged(mesh: DeviceMesh) -> Arranged:
    """Return how the ranks of a mesh are arranged.

    Raises:
        ShardingPlanError: If they do not ascend along each dimension: FSDP2 and torch's collectives number them by
            their group, which sorts them, and placements by the mesh, so that a rank has two different parts.
    """
    known = _ARRANGED.get(id(mesh))
    if known is not None and known[0]() is mesh:
        return known[1]
    own, ranks = mesh.get_coordinate(), mesh.mesh
    if any(bool((ranks.diff(dim=dim) < 0).any()) for dim in range(ranks.ndim)):
        message = sentences(
            f"The mesh has the ranks {ranks.tolist()}, which torch joins in another order than it cuts.",
            "Let them ascend along each dimension, as init_device_mesh does.",
        )
        raise ShardingPlanError(message)
    found = Arranged(tuple(ranks.shape), tuple(ranks.flatten().tolist()), None if own is None else tuple(own))
    key = id(mesh)
    _ARRANGED[key] = weakref.ref(mesh, lambda _: _ARRANGED.pop(key, None)), found
    return found


def spec_of(tensor: torch.Tensor, key: str = "a tensor") -> Spec:
    """Return how a DTensor is cut.

    Args:
        tensor: The DTensor; only its metadata is looked at.
        key: How messages name it.

    Raises:
        ShardingPlanError: If what a rank holds is no range along each axis, or no values at all, as with `Partial`; or
            if this process is no rank of its mesh.
    """
    assert isinstance(tensor, DTensor)
    mesh, shape = tensor.device_mesh, tuple(tensor.shape)
    sizes, ranks, coordinate = arranged(mesh)
    if coordinate is None:
        message = f"{key} lies on the ranks {list(ranks)}, and this process is none of them."
        raise ShardingPlanError(message)
    cuts = tuple(_cut_of(placement, len(shape), key) for placement in tensor.placements)
    spec = Spec(shape, cuts, sizes, coordinate, ranks)
    try:
        found = spec.box
    except CheckpointError as error:
        message = f"{key}: {error}"
        raise ShardingPlanError(message) from error
    if local_of(tensor).numel() != found.numel:
        held = tuple(local_of(tensor).shape)
        message = f"{key}: rank {spec.rank} should hold a part of the shape {found.sizes} of it, but holds {held}."
        raise ShardingPlanError(message)
    return spec


def root_of(mesh: DeviceMesh) -> DeviceMesh:
    """Return the mesh that a mesh was sliced out of, or the mesh itself if it was not."""
    find = getattr(mesh, "_get_root_mesh", None)  # torch has no public name for it, and had another place before 2.9
    root = cast("Any", device_mesh)._mesh_resources.get_root_mesh(mesh) if find is None else find()  # noqa: SLF001
    return cast("DeviceMesh", root)


def device_of(mesh: DeviceMesh) -> torch.device:
    """Return the device of this rank: of several of one kind, the current one."""
    kind = mesh.device_type
    return torch.device(kind) if kind == "cpu" else torch.device(kind, torch.get_device_module(kind).current_device())


def wrap(local: torch.Tensor, like: torch.Tensor) -> DTensor:
    """Return the part of this rank as a DTensor that is cut as another; nothing is sent, and no memory copied.

    Args:
        local: The part, in the shape of `Spec.box`; its dtype becomes that of the whole.
        like: The DTensor whose mesh, placements, global shape and strides it gets.
    """
    assert isinstance(like, DTensor)
    return DTensor.from_local(
        local, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )


def _cut_of(placement: object, dimensions: int, key: str) -> Cut | None:
    if isinstance(placement, Replicate):
        return None
    factor = getattr(placement, "split_factor", None)  # of `_StridedShard`, a class that torch keeps to itself
    if isinstance(placement, Shard) or factor is not None:
        return Cut(cast("Shard", placement).dim % max(dimensions, 1), 1 if factor is None else int(factor))
    message = sentences(
        f"{key} has the placement {placement}, so no rank holds its values.",
        "Redistribute it to Shard or Replicate placements first.",
    )
    raise ShardingPlanError(message)
