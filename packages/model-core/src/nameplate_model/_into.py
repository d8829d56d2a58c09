"""Filling a module that is there already with the weights of a checkpoint: all of it or nothing."""

from collections.abc import Mapping
from copy import deepcopy
from typing import Any

import torch
from torch import nn

from nameplate_config import UnknownOptionError, open_source, split_options
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, sentences
from nameplate_model._load import PlainRoad
from nameplate_model._names import Naming, renamed
from nameplate_model._own_way import of_this_version, offer
from nameplate_model._placement import Placement, to_memory, to_patterns
from nameplate_model._policy import Policy, refusal
from nameplate_model._reading import CPU, Want, fetch
from nameplate_model._report import LoadReport, Verdict
from nameplate_model._state import Tree, loads_plainly, slots
from nameplate_model._weights import WeightChoice, Weights, open_weights, to_verify

_OPTIONS = frozenset(
    {"allow_missing", "allow_unexpected", "ignore_mismatched_sizes", "key_mapping", "memory", "strict"}
    | {"use_safetensors", "variant", "verify"}
)


def load_weights(module: nn.Module, source: StrPath, **kwargs: Any) -> LoadReport:
    """Fill a module with the weights of a checkpoint, in place: each tensor keeps its dtype, device and identity.

    Any `torch.nn.Module` will do, and any folder with safetensors; no config is read. Nothing is written before every
    tensor has been read and found to fit, so a failure leaves the module as it was.

    Args:
        module: The module. Its mode is not changed.
        source: A folder, or the id of a repository.
        **kwargs: *strict*, *allow_missing*, *allow_unexpected*, *ignore_mismatched_sizes*, *key_mapping*, *variant*,
            *use_safetensors*, *memory* and *verify* as for `PreTrainedModel.from_pretrained`, and the options of
            `HubOptions`. What the file lacks, or has in another shape, is left as it is.

    Returns:
        The verdict on every key.

    Raises:
        MismatchError: If keys or shapes do not fit; the module is as it was.
        CheckpointError: If the weights cannot be read; the module is as it was.
        SourceNotFoundError: If there is no such folder or repository, or it has no weights.
        UnknownOptionError: If an argument is no option.

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
    policy = Policy(
        strict=bool(options.get("strict", True)),
        allow_missing=to_patterns("allow_missing", options.get("allow_missing", ())),
        allow_unexpected=to_patterns("allow_unexpected", options.get("allow_unexpected", ())),
        ignore_mismatched_sizes=bool(options.get("ignore_mismatched_sizes", False)),
    )
    verify = to_verify(options.get("verify", "structure"))
    placement = Placement(CPU, memory=to_memory(options.get("memory", "auto")))
    opened = open_source(source, **hub)
    weights = open_weights(opened, WeightChoice(options.get("variant"), options.get("use_safetensors")))
    try:
        if verify:
            weights.verify()
        weights = renamed(weights, _naming(module, options.get("key_mapping", {})), placement.memory)
        with torch.no_grad():
            return _pour(module, weights, policy, placement, opened.name)
    finally:
        weights.close()


def _naming(module: nn.Module, key_mapping: Mapping[str, str]) -> Naming:
    """Return how the names of a file become those of a module: one of our classes may have had others before."""
    cls = type(module)
    return Naming(key_mapping, getattr(cls, "_state_migrations", {}), getattr(cls, "state_dict_version", 1))


def _pour(module: nn.Module, weights: Weights, policy: Policy, placement: Placement, source: str) -> LoadReport:
    tree = Tree(module)
    plain = loads_plainly(tree)
    tensors = _everything(weights, placement)
    verdict = PlainRoad(weights, placement).judge(tree) if plain else _rehearsed(module, weights, tensors)
    report = policy.report(type(module).__name__, source, verdict, list(weights.renamed.items()))
    if policy.refuses(report):
        raise refusal(report, weights.where)
    if not plain:
        refused = {each.name for each in verdict.mismatched}
        fitting = {name: each for name, each in tensors.items() if name not in refused}
        module.load_state_dict(of_this_version(module, fitting), strict=False)
        return report
    loaded = set(verdict.loaded)
    for slot in slots(module):
        name = slot.key if slot.key in weights else weights.tied.get(slot.key)
        if slot.key in loaded and name is not None:
            slot.tensor.copy_(tensors[name])
    return report


def _everything(weights: Weights, placement: Placement) -> dict[str, torch.Tensor]:
    """Read every tensor before any is written."""
    wants = [Want(stored, CPU, stored.dtype) for stored in weights.tensors.values()]
    tensors = dict(zip(weights.tensors, fetch(wants, placement.memory), strict=True))
    return tensors | {alias: tensors[kept] for alias, kept in weights.tied.items()}


def _rehearsed(module: nn.Module, weights: Weights, tensors: dict[str, torch.Tensor]) -> Verdict:
    """Return what a copy of the module makes of the tensors: its own way of loading stops nowhere."""
    copies = {name: tensor for name, tensor in tensors.items() if name in weights}
    return offer(deepcopy(module), copies, weights, in_place=True)
