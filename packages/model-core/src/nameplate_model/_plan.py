"""What a load would do, learned from headers alone: nothing is read, and from the Hub nothing but headers comes."""

from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from nameplate_model._construct import build_skeleton, undeferred
from nameplate_model._load import Loading, PlainRoad, fitting, placed_on
from nameplate_model._report import LoadReport
from nameplate_model._state import Tree
from nameplate_model._weights import Weights


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
    """

    report: LoadReport
    allowed: bool
    where: str
    files: Mapping[str, int]
    bytes: int
    memory: Mapping[str, int]
    dtypes: Mapping[str, int]

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
        return "\n  ".join([head, *differences]) if differences else head


@undeferred()
def plan(build: Callable[[], nn.Module], weights: Weights, loading: Loading) -> LoadPlan:
    """Return what `load` would do with the same arguments.

    A module with a way of loading of its own is judged by the names of its tensors, as if it had none: what it
    would say is known only when it gets them.
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
    )


def _amounts(tree: Tree, weights: Weights, loading: Loading, loaded: Collection[str]) -> dict[str, Any]:
    """Return how many bytes are stored in all and by dtype, and how many they become on each device."""
    memory: Counter[str] = Counter()
    dtypes: Counter[str] = Counter()
    for (stored, device, dtype), _ in PlainRoad(weights, placed_on(tree.model, loading)).wanted(tree, set(loaded)):
        memory[str(device)] += stored.nbytes // stored.dtype.itemsize * dtype.itemsize
        dtypes[str(stored.dtype).removeprefix("torch.")] += stored.nbytes
    return {"bytes": sum(dtypes.values()), "memory": dict(memory), "dtypes": dict(dtypes)}
