"""Level 7: what we write is read by others, and what others write is read by us."""

import contextlib
import importlib
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.bits import require_same, state_bits, weights
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, broken, inapplicable, law, require
from nameplate_conformance.oracle import INDEX, SINGLE, read_checkpoint
from nameplate_conformance.sharing import ties

_ONE_FILE, _SHARDS = "1GB", 1
"""Limits for the size of a shard, in a form that every library takes: all in one file, and in several."""


@law("I01", "plain safetensors reads it", level=7, needs=["S01"])
def plain_safetensors_reads_it(case: Case, evidence: Evidence) -> None:
    """The file, read with safetensors alone, is a state dict that a newly built model takes strictly, under the keys
    that the model's own state dict has: nobody needs this library to get their weights back. Of tied names the
    file holds one."""
    safetensors = _installed("safetensors.torch")
    model = case.poisoned()
    state = weights(model)
    with case.folder() as folder:
        model.save_pretrained(folder)
        stored: dict[str, Tensor] = safetensors.load_file(folder / SINGLE)
        built = case.model().to("cpu")
        try:
            built.load_state_dict({**_aliases(built, stored), **stored}, strict=True)
        except RuntimeError as error:
            broken(f"a newly built {type(built).__name__} does not take what safetensors reads: {error}")
    require_same(state, state_bits(built), evidence, what="tensors", when="read with safetensors alone")


def _aliases(model: nn.Module, stored: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return each tensor that a file holds under one of its tied names, under the others."""
    found: dict[str, Tensor] = {}
    for names in ties(model):
        kept = next((name for name in sorted(names) if name in stored), None)
        found |= {} if kept is None else dict.fromkeys(names & set(nn.Module.state_dict(model)), stored[kept])
    return found


@law("I02", "Transformers and we read each other", level=7, needs=["S17"], scope=Scope.ONCE, strength=Strength.SHOULD)
def transformers_and_we_read_each_other(case: Case, evidence: Evidence) -> None:
    """The same modules as a model of Transformers load what we saved, and what Transformers saved loads here, each
    with the config that the other wrote; both in one file and in shards."""
    transformers = _installed("transformers")
    model = case.poisoned()
    state = weights(model)
    _require_within_its_reach(case, model)
    theirs = _transformers_class(transformers, case)
    for limit in (_ONE_FILE, _SHARDS):
        with case.folder() as around, contextlib.redirect_stderr(io.StringIO()):
            model.save_pretrained(around / "ours", max_shard_size=limit)
            read, info = theirs.from_pretrained(around / "ours", output_loading_info=True)
            differences = {name: found for name, found in info.items() if found}
            require(not differences, f"Transformers loads what we saved with differences: {differences}")
            when = f"saved by us with max_shard_size={limit}, loaded by Transformers"
            require_same(state, state_bits(read), evidence, what="tensors", when=when)
            read.save_pretrained(around / "theirs", max_shard_size=limit)
            _require_form(around / "theirs", limit)
            again = case.model_class.from_pretrained(around / "theirs")
            when = f"saved by Transformers with max_shard_size={limit}, loaded by us"
            require_same(state, state_bits(again), evidence, what="tensors", when=when)


def _require_within_its_reach(case: Case, model: nn.Module) -> None:
    if not case.architecture.tags.builds_on_meta:
        inapplicable("Transformers builds every model on the meta device, where this one cannot be built")
    buffers = {name for name, _ in model.named_buffers(remove_duplicate=False)} & set(nn.Module.state_dict(model))
    if any(names & buffers for names in ties(model)):
        inapplicable("Transformers ties parameters only, and this model ties buffers")
    known = importlib.import_module("transformers.modeling_utils").str_to_torch_dtype.values()
    unknown = {str(tensor.dtype) for tensor in nn.Module.state_dict(model).values()} - {str(each) for each in known}
    if unknown:
        inapplicable(f"Transformers reads no {', '.join(sorted(unknown))}")


def _transformers_class(transformers: Any, case: Case) -> Any:
    """Return a model class of Transformers with the modules, parameters and buffers of the case's model."""
    model_class, ours = case.model_class, case.config
    tied = {name: min(names) for names in ties(case.model()) for name in names if name != min(names)}

    class Config(transformers.PretrainedConfig):  # type: ignore[misc]
        model_type = case.config_class.model_type
        tie_word_embeddings = True

    class Model(transformers.PreTrainedModel):  # type: ignore[misc]
        config_class = Config
        _tied_weights_keys = tied

        def __init__(self, config: Any) -> None:
            super().__init__(config)
            built = model_class(ours())
            _take_over(self, built)
            self.post_init()

        def _init_weights(self, module: nn.Module) -> None:
            """Leave everything as the constructor made it."""

    Model.__name__ = model_class.__name__
    return Model


def _take_over(model: nn.Module, built: nn.Module) -> None:
    """Register on a model everything that another one has at its root."""
    persistent = set(nn.Module.state_dict(built))
    for name, parameter in built.named_parameters(recurse=False, remove_duplicate=False):
        model.register_parameter(name, parameter)
    for name, buffer in built.named_buffers(recurse=False, remove_duplicate=False):
        model.register_buffer(name, buffer, persistent=name in persistent)
    for name, module in built.named_modules(remove_duplicate=False):
        if name and "." not in name:
            model.add_module(name, module)


@law("I03", "the Hub and we read each other", level=7, needs=["S17"], scope=Scope.ONCE, strength=Strength.SHOULD)
def hub_loader_and_we_read_each_other(case: Case, evidence: Evidence) -> None:
    """What huggingface_hub saves, in one file and in shards, loads here, and its loader fills a newly built model with
    what we saved."""
    hub = _installed("huggingface_hub")
    model = case.poisoned()
    state = weights(model)
    for limit in (_ONE_FILE, _SHARDS):
        with case.folder() as around:
            case.config().save_pretrained(around / "theirs")
            hub.save_torch_state_dict(_dense(model), around / "theirs", max_shard_size=limit)
            _require_form(around / "theirs", limit)
            when = f"saved by huggingface_hub with max_shard_size={limit}, loaded by us"
            loaded = case.model_class.from_pretrained(around / "theirs")
            require_same(state, state_bits(loaded), evidence, what="tensors", when=when)
            model.save_pretrained(around / "ours", max_shard_size=limit)
            built = case.model()
            left = hub.load_torch_model(built, around / "ours")
            aliases = {name for names in ties(built) for name in names}
            require(set(left.missing_keys) <= aliases, f"huggingface_hub does not find {left.missing_keys}")
            require(not left.unexpected_keys, f"huggingface_hub finds more than the model: {left.unexpected_keys}")
            when = f"saved by us with max_shard_size={limit}, loaded by huggingface_hub"
            require_same(state, state_bits(built), evidence, what="tensors", when=when)


def _dense(model: nn.Module) -> dict[str, Tensor]:
    """Return a state in which no tensor is part of a larger one, which huggingface_hub refuses, and ties are kept."""
    state = nn.Module.state_dict(model)
    dense = {name: tensor.clone(memory_format=torch.contiguous_format) for name, tensor in state.items()}
    for names in ties(model):
        kept = sorted(names & set(state))
        dense |= dict.fromkeys(kept, dense[kept[0]]) if kept else {}
    return dense


def _require_form(folder: Path, limit: str | int) -> None:
    """Make sure that another library did what it was asked for, so that what is read next is what it should be."""
    sharded = (folder / INDEX).exists()
    wanted = limit == _SHARDS and len(read_checkpoint(folder)) > 1
    assert sharded == wanted, f"max_shard_size={limit} was not obeyed"


def _installed(name: str) -> Any:
    """Return a module that this package does not require."""
    try:
        return importlib.import_module(name)
    except ImportError:
        inapplicable(f"{name.partition('.')[0]} is not installed")
