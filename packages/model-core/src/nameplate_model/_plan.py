"""What a load would do, learned from headers alone: nothing is read, and from the Hub nothing but headers comes."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from torch import nn

from nameplate_config import UnknownOptionError
from nameplate_config.wording import sentences, shown
from nameplate_model._construct import Skeleton, build_skeleton, undeferred
from nameplate_model._load import Loading, PlainRoad, fitting, placed_on
from nameplate_model._report import LoadReport
from nameplate_model._state import Tree, loads_plainly
from nameplate_model._weights import Weights

if TYPE_CHECKING:
    from nameplate_model._distributed.simulate import MeshReads


_MOST_RANKS = 1_000_000
"""Of a mesh that need not exist: what they read is worked out one by one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """What a load would do.

    Attributes:
        report: The verdict on every key that the load would give.
        allowed: Whether the load would succeed as far as its keys go, and not raise `MismatchError`.
        where: How messages name the weights.
        files: The size in bytes of each file of the checkpoint's weights, by name.
        bytes: The bytes of the tensors that would be loaded, as they are stored.
        memory: The bytes that they take in the model on each device, by the device's name.
        dtypes: The bytes of them by the name of the stored dtype.
        ranks: What each rank of the mesh would read and keep, worked out when it is asked for; None without a mesh.
    """

    report: LoadReport
    allowed: bool
    where: str
    files: Mapping[str, int]
    bytes: int
    memory: Mapping[str, int]
    dtypes: Mapping[str, int]
    ranks: "MeshReads | None" = None

    @property
    def missing(self) -> tuple[str, ...]:
        """Keys that the file lacks."""
        return self.report.missing

    @property
    def unexpected(self) -> tuple[str, ...]:
        """Keys of the file that the model has no place for."""
        return self.report.unexpected

    def __str__(self) -> str:
        kinds = ", ".join(f"{size:,} of {name}" for name, size in self.dtypes.items())
        head = f"{self.where}: {self.bytes:,} bytes in {len(self.files)} files would be loaded ({kinds or 'none'})."
        differences = list(self.report.lines())
        shared = [] if self.ranks is None else [str(self.ranks)]
        return "\n  ".join([head, *shared, *differences])


class Sharing(NamedTuple):
    """How ranks would share the model.

    Attributes:
        mesh: The ranks: a mesh of torch's, or the sizes of its dimensions by name.
        plan: How the model is cut, or None for what its class declares.
    """

    mesh: Any
    plan: object

    @classmethod
    def of(cls, mesh: object, plan: object) -> "Self | None":
        """Return what two arguments of a load say.

        Raises:
            UnknownOptionError: If the mesh is none.
        """
        if mesh is None:
            return None
        sizes = isinstance(mesh, Mapping) and bool(mesh)
        if sizes and all(isinstance(name, str) and type(size) is int and size > 0 for name, size in mesh.items()):
            if math.prod(mesh.values()) > _MOST_RANKS:
                message = f"device_mesh has the sizes {shown(mesh)}, and a plan is for {_MOST_RANKS:,} ranks at most."
                raise UnknownOptionError(message)
            return cls(mesh, plan)
        if hasattr(mesh, "mesh_dim_names"):
            return cls(mesh, plan)
        message = sentences(
            f"device_mesh must be a torch DeviceMesh, or for a plan the sizes of its dimensions, found {shown(mesh)}.",
            "Give sizes of at least 1 by name, as in {'dp': 4, 'tp': 2}.",
        )
        raise UnknownOptionError(message)


@undeferred()
def planned(
    build: Callable[[], nn.Module], weights: Weights, loading: Loading, sharing: Sharing | None = None
) -> LoadPlan:
    """Return what `load` would do with the same arguments.

    A module with a way of loading of its own is judged by the names of its tensors, as if it had none: what it
    would say is known only when it gets them.

    Raises:
        ShardingPlanError: If the plan of the ranks does not fit the model.
    """
    files = {file.path.name: file.size for file in weights.files}
    skeleton = build_skeleton(build)
    weights = fitting(weights, skeleton.model, loading, plan=True)
    tree = Tree(skeleton.model)
    verdict = PlainRoad(weights, loading.placement).judge(tree, values=False)
    report = loading.policy.report(
        type(skeleton.model).__name__, loading.source, verdict, list(weights.renamed.items())
    )
    report = replace(report, built_for_real=skeleton.built_for_real)
    if skeleton.before is not None:
        skeleton.before.put_back()
    return LoadPlan(
        report=report,
        allowed=not loading.policy.refuses(report),
        where=weights.where,
        files=files,
        **_amounts(tree, weights, loading, verdict.loaded),
        ranks=None if sharing is None else _ranks(skeleton, weights, loading, verdict.loaded, sharing),
    )


def _amounts(tree: Tree, weights: Weights, loading: Loading, loaded: Collection[str]) -> dict[str, Any]:
    """Return how many bytes are stored in all and by dtype, and how many they become on each device."""
    memory: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for (stored, device, dtype, _), _ in PlainRoad(weights, placed_on(tree.model, loading)).wanted(tree, set(loaded)):
        memory[str(device)] += stored.nbytes // stored.dtype.itemsize * dtype.itemsize
        dtypes[str(stored.dtype).removeprefix("torch.")] += stored.nbytes
    return {"bytes": sum(dtypes.values()), "memory": dict(memory), "dtypes": dict(dtypes)}


def _ranks(
    skeleton: Skeleton, weights: Weights, loading: Loading, loaded: Collection[str], sharing: Sharing
) -> "MeshReads":
    """Return what each rank would read and keep."""
    from nameplate_model._distributed.plan import cuts_on  # noqa: PLC0415 - DTensors take a second to import
    from nameplate_model._distributed.simulate import MeshReads, kinds_of  # noqa: PLC0415 - as above

    tree = Tree(skeleton.model)
    wanted = PlainRoad(weights, placed_on(tree.model, loading)).wanted(tree, set(loaded))
    in_slices = loads_plainly(tree) and skeleton.built_for_real is None
    sizes, numbers, cuts = cuts_on(tree.model, sharing.mesh, sharing.plan)
    whole = (None,) * len(sizes)
    kinds = kinds_of((want.stored, want.dtype, cuts.get(places[0].key, whole)) for want, places in wanted)
    headers = tuple(
        min((each.begin for each in file.header.entries.values()), default=file.size) for file in weights.files
    )
    return MeshReads(sizes, kinds, headers, not in_slices, numbers)
