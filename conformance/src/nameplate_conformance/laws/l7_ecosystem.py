"""Level 7: what we write is read by others, and what others write is read by us."""

import contextlib
import importlib
import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from nameplate_conformance.instruments.answers import named
from nameplate_conformance.instruments.bits import bits, require_same, state_bits, weights
from nameplate_conformance.instruments.hub import TOKEN, LoopbackHub, loopback_hub
from nameplate_conformance.instruments.oracle import INDEX, SINGLE, read_checkpoint
from nameplate_conformance.instruments.poison import poison
from nameplate_conformance.instruments.sharing import ties
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, broken, inapplicable, law, require
from nameplate_model import PreTrainedModel

_ONE_FILE, _SHARDS = "1GB", 1
"""Limits for the size of a shard, in a form that every library takes: all in one file, and in several."""

_REPOSITORY = "conformance/pushed"


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
    _installed("numpy")  # safetensors writes tensors of torch through it
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


@law("I04", "another library's checkpoint is ours", level=7, needs=["S02", "S19"])
def checkpoint_of_another_library_is_ours(case: Case, evidence: Evidence) -> None:
    """What another library saves of the same architecture loads here from its folder alone: the names of both sides
    stand for each other one to one, every tensor has the library's bits, and the model answers bit for bit what the
    library's own module answers. Weights that almost fit are how silently worse models come about."""
    if not case.architecture.foreign:
        inapplicable("the architecture names no other library that has it")
    for foreign in case.architecture.foreign:
        _installed(foreign.library)
        ours = replace(case, head=foreign.head)
        config = ours.config()
        theirs = foreign.make(config).eval()
        poison(theirs, case.seed)
        when = f"saved by {foreign.library}"
        with case.folder() as around:
            foreign.save(theirs, config, around / "theirs")
            # Copied, as the library has them: where a foreign file is mapped, kernels may round the odd ends otherwise.
            loaded = ours.model_class.from_pretrained(around / "theirs", memory="copy")
        _require_one_to_one(theirs, loaded, when, evidence)
        inputs = ours.inputs(loaded)
        with torch.no_grad():
            promised = {name: bits(each) for name, each in foreign.answer(theirs, inputs).items()}
            answered = {name: bits(each) for name, each in named(loaded(**inputs)).items() if name in promised}
        require_same(promised, answered, evidence, what="answers", when=f"{when} and loaded")


def _require_one_to_one(theirs: nn.Module, loaded: PreTrainedModel, when: str, evidence: Evidence) -> None:
    """Require the names of two modules to stand for each other, and the tensors under them to be the same."""
    assert loaded.load_report is not None
    renamed = dict(loaded.load_report.renamed)
    state = {name: bits(tensor) for name, tensor in theirs.state_dict().items()}
    names = {ours: renamed.get(ours, ours) for ours in state_bits(loaded)}
    shared = sorted(name for name, number in Counter(names.values()).items() if number > 1)
    require(not shared, f"{when}: {', '.join(shared[:4])} of theirs stands for several tensors of ours")
    missing = sorted(set(names.values()) ^ set(state))
    require(not missing, f"{when}: {', '.join(missing[:4])} stands for nothing on the other side")
    evidence.count("names", len(names))
    expected = {ours: state[name] for ours, name in names.items()}
    require_same(expected, state_bits(loaded), evidence, what="tensors", when=f"{when} and loaded")


@law(
    "I05", "a push is what a save is", level=7, needs=["S03", "S04", "S06"], scope=Scope.ONCE, strength=Strength.SHOULD
)
def push_is_what_a_save_is(case: Case, evidence: Evidence) -> None:
    """Pushed to a Hub, which here is one on the loopback interface that the real client asks, a repository holds the
    files that a save writes, their very bytes, and a card, and nothing else; it loads by its id, and a commit that was
    named still loads after the next push. Whatever else goes along is public from then on."""
    client = _installed("huggingface_hub.constants")
    model = case.poisoned()
    first = weights(model)
    with case.folder() as around, loopback_hub(client) as hub, contextlib.redirect_stderr(io.StringIO()):
        load = partial(case.model_class.from_pretrained, _REPOSITORY, cache_dir=around / "cache", token=False)
        _require_pushed(model, hub, around / "first", evidence)
        commit = hub.repositories[_REPOSITORY].head
        require_same(first, state_bits(load()), evidence, what="tensors", when="pushed, and loaded by the id")
        poison(model, case.seed + 1)
        _require_pushed(model, hub, around / "second", evidence)
        when = "pushed again, and loaded by the id"
        require_same(weights(model), state_bits(load()), evidence, what="tensors", when=when)
        when = "pushed again, and loaded by the id and the first commit"
        require_same(first, state_bits(load(revision=commit)), evidence, what="tensors", when=when)


def _require_pushed(model: PreTrainedModel, hub: LoopbackHub, saved: Path, evidence: Evidence) -> None:
    model.push_to_hub(_REPOSITORY, token=TOKEN)
    model.save_pretrained(saved)
    repository = hub.repositories[_REPOSITORY]
    pushed = repository.commits[repository.head]
    files = {file.relative_to(saved).as_posix(): file.read_bytes() for file in saved.rglob("*") if file.is_file()}
    more = sorted(pushed.keys() - files.keys() - {".gitattributes", "README.md"})
    require(not more, f"the repository also holds {', '.join(more)}, which no save writes")
    differing = sorted(name for name, content in files.items() if pushed.get(name) != content)
    require(not differing, f"the repository does not hold what a save writes as {', '.join(differing)}")
    evidence.count("files", len(files))


def _installed(name: str) -> Any:
    """Return a module that this package does not require."""
    try:
        return importlib.import_module(name)
    except ImportError:
        inapplicable(f"{name.partition('.')[0]} is not installed")
