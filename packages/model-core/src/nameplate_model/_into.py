"""Filling a module that is there already with the weights of a checkpoint: all of it or nothing."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nameplate_config import UnknownOptionError, open_source, split_options
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, sentences
from nameplate_model._boxes import is_sharded
from nameplate_model._load import PlainRoad
from nameplate_model._names import Naming, renamed
from nameplate_model._own_way import of_this_version, offer
from nameplate_model._placement import Placement, to_device, to_memory, to_patterns, to_timeout
from nameplate_model._policy import Policy, refusal
from nameplate_model._reading import CPU, Want, fetch
from nameplate_model._report import LoadReport, Verdict
from nameplate_model._state import Slot, Tree, adopt, class_of, loads_plainly, local_of, slots
from nameplate_model._weights import WeightChoice, Weights, open_weights, to_verify
from nameplate_model.errors import CheckpointError

if TYPE_CHECKING:
    from nameplate_model._distributed.loading import Ranks

_OPTIONS = frozenset(
    {"allow_missing", "allow_unexpected", "ignore_mismatched_sizes", "key_mapping", "memory", "strict", "timeout"}
    | {"use_safetensors", "variant", "verify"}
)

_TIMEOUT = 600.0
"""Seconds that a rank waits for the others."""


def load_weights(module: nn.Module, source: StrPath, **kwargs: Any) -> LoadReport:
    """Fill a module with the weights of a checkpoint, in place: each tensor keeps its dtype, device and identity.

    Any `torch.nn.Module` will do, and any folder with safetensors; no config is read. Nothing is written before every
    tensor has been read and found to fit, so a failure leaves the module as it was.

    A module with DTensors, as `fully_shard` and `parallelize_module` leave it, is filled by all ranks of their mesh
    together: each calls this, reads just its parts, and returns or raises the same. Parameters on the meta device get
    memory on the device of the mesh.

    Args:
        module: The module. Its mode is not changed.
        source: A folder, or the id of a repository.
        **kwargs: *strict*, *allow_missing*, *allow_unexpected*, *ignore_mismatched_sizes*, *key_mapping*, *variant*,
            *use_safetensors*, *memory*, *verify* and *timeout* as for `PreTrainedModel.from_pretrained`, and the
            options of `HubOptions`. What the file lacks, or has in another shape, is left as it is.

    Returns:
        The verdict on every key.

    Raises:
        MismatchError: If keys or shapes do not fit; the module is as it was.
        CheckpointError: If the weights cannot be read; the module is as it was.
        SourceNotFoundError: If there is no such folder or repository, or it has no weights.
        UnknownOptionError: If an argument is no option.
        RanksDisagreeError: If ranks see different checkpoints, or want different things.
        MissingRankError: If a rank does not come in time. What one rank raises, all do.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> line = nn.Linear(2, 1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"weight": torch.ones(1, 2), "bias": torch.zeros(1)}, f"{folder}/model.safetensors")
        ...     print(load_weights(line, folder))
        all 2 tensors of Linear were loaded from ...
        >>> line.weight.tolist()
        [[1.0, 1.0]]
    """
    hub, options = split_options(kwargs)
    for name in options:
        if name not in _OPTIONS:
            message = sentences(f"load_weights has no option {name!r}.", did_you_mean(name, _OPTIONS))
            raise UnknownOptionError(message)
    with _ranks_of(module, options.get("timeout", _TIMEOUT)) as ranks:
        opened = open_source(source, **hub)
        weights = open_weights(opened, WeightChoice(options.get("variant"), options.get("use_safetensors")))
        try:
            return _loaded(module, weights, options, opened.name, ranks)
        finally:
            weights.close()


@contextmanager
def _ranks_of(module: nn.Module, timeout: object) -> Iterator["Ranks | None"]:
    """Provide the ranks that hold a module together, or None if this process holds all of it."""
    cut = any(is_sharded(slot.tensor) for slot in slots(module))
    if not cut and "torch.distributed.fsdp" not in sys.modules:  # which may have gathered what it has cut
        to_timeout(timeout)
        yield None
        return
    from nameplate_model._distributed.loading import meet, mesh_of  # noqa: PLC0415 - slow to import, and seldom needed

    mesh = mesh_of(module)
    if mesh is None:
        to_timeout(timeout)
        yield None
        return
    with meet(mesh, None, timeout) as ranks:
        yield ranks


def _loaded(
    module: nn.Module, weights: Weights, options: Mapping[str, Any], source: str, ranks: "Ranks | None"
) -> LoadReport:
    policy = Policy(
        strict=bool(options.get("strict", True)),
        allow_missing=to_patterns("allow_missing", options.get("allow_missing", ())),
        allow_unexpected=to_patterns("allow_unexpected", options.get("allow_unexpected", ())),
        ignore_mismatched_sizes=bool(options.get("ignore_mismatched_sizes", False)),
    )
    verify = to_verify(options.get("verify", "structure"))
    placement = Placement(CPU, memory=to_memory(options.get("memory", "auto")))
    if ranks is not None:
        agreed = {name: value for name, value in options.items() if name != "timeout"}
        ranks.agree(weights, model=class_of(module), options=agreed)
    if verify:
        weights.verify() if ranks is None else ranks.verify(weights)
    weights = renamed(weights, _naming(module, options.get("key_mapping", {})), placement.memory)
    with torch.no_grad():
        return _pour(module, PlainRoad(weights, placement, ranks), policy, source)


def _naming(module: nn.Module, key_mapping: Mapping[str, str]) -> Naming:
    """Return how the names of a file become those of a module: one of our classes may have had others before."""
    cls = type(module)
    return Naming(key_mapping, getattr(cls, "_state_migrations", {}), getattr(cls, "state_dict_version", 1))


def _pour(module: nn.Module, road: PlainRoad, policy: Policy, source: str) -> LoadReport:
    tree, weights = Tree(module), road.weights
    if loads_plainly(tree):
        device = to_device(None) if road.ranks is None else road.ranks.device
        verdict = road.judge(tree)
        report = _allowed(module, road, policy, source, verdict)
        wanted = road.wanted(tree, set(verdict.loaded))
        for tensor, (_, places) in zip(road.read(wanted), wanted, strict=True):
            _write(places, tensor, device)
        return report
    if road.ranks is not None:
        message = sentences(
            f"{class_of(module).__name__} has its own way of loading, which cannot take parts of tensors.",
            "Load it with from_pretrained(device_mesh=…, plan=…), which cuts it afterwards, or fill it before.",
        )
        raise CheckpointError(message)
    tensors = _everything(weights, road.placement)
    verdict = _rehearsed(module, weights, tensors)
    report = _allowed(module, road, policy, source, verdict)
    refused = {each.name for each in verdict.mismatched}
    fitting = {name: each for name, each in tensors.items() if name not in refused}
    module.load_state_dict(of_this_version(module, fitting), strict=False)
    return report


def _allowed(module: nn.Module, road: PlainRoad, policy: Policy, source: str, verdict: Verdict) -> LoadReport:
    """Return the report of a verdict, the same on all ranks.

    Raises:
        MismatchError: If the policy does not allow it.
    """
    report = policy.report(class_of(module).__name__, source, verdict, list(road.weights.renamed.items()))
    if road.ranks is not None:
        road.ranks.agree_on(report)
    if policy.refuses(report):
        raise refusal(report, road.weights.where)
    return report


def _write(places: Sequence[Slot], tensor: torch.Tensor, device: torch.device) -> None:
    """Write one tensor into places; those without memory get some on a device, and tied ones stay one object."""
    new: dict[int, torch.Tensor] = {}
    for slot in places:
        old = slot.tensor
        if not old.is_meta:
            local_of(old).copy_(tensor)
            continue
        if id(old) not in new:
            new[id(old)] = adopt(slot, tensor.to(device, old.dtype))
        slot.put(new[id(old)])


def _everything(weights: Weights, placement: Placement) -> dict[str, torch.Tensor]:
    """Read every tensor before any is written."""
    wants = [Want(stored, CPU, stored.dtype) for stored in weights.tensors.values()]
    tensors = dict(zip(weights.tensors, fetch(wants, placement.memory), strict=True))
    return tensors | {alias: tensors[kept] for alias, kept in weights.tied.items()}


def _rehearsed(module: nn.Module, weights: Weights, tensors: dict[str, torch.Tensor]) -> Verdict:
    """Return what a copy of the module makes of the tensors: its own way of loading stops nowhere."""
    copies = {name: tensor for name, tensor in tensors.items() if name in weights}
    return offer(deepcopy(module), copies, weights, in_place=True)
