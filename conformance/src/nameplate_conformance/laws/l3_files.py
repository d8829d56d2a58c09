"""Level 3, the files: what lies in a folder, under which names, and what else may happen to it."""

import contextlib
import os
import random
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from nameplate_conformance.instruments.bits import Bits, require_same, state_bits, weights
from nameplate_conformance.instruments.oracle import (
    INDEX,
    SINGLE,
    StoredFile,
    StoredTensor,
    keep_only,
    read_checkpoint,
    read_file,
    read_index,
    write_shards,
)
from nameplate_conformance.instruments.overlaps import overlapping
from nameplate_conformance.instruments.poison import poison
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, Strength, law, require
from nameplate_model import PreTrainedModel

_SHARD = re.compile(r"model-(?:[0-9a-f]{16}-)?(\d{5})-of-(\d{5})\.safetensors")


@law("S03", "equal models are equal bytes", level=3, needs=["S01"])
def equal_models_are_equal_bytes(case: Case, evidence: Evidence) -> None:
    """Saving a model twice, saving what was loaded from the first save, and saving the same tensors registered in
    another order all write the same files, byte for byte. Otherwise no hash says whether two checkpoints are the
    same, and every save uploads everything again."""
    model = case.poisoned()
    with case.folder() as around:
        model.save_pretrained(around / "first")
        first = _contents(around / "first")
        model.save_pretrained(around / "second")
        case.model_class.from_pretrained(around / "first").save_pretrained(around / "loaded")
        others = {"second": "saved twice", "loaded": "saved, loaded and saved"}
        if _has_no_first(model):
            _turn_around(model)
            model.save_pretrained(around / "turned")
            others["turned"] = "saved with its tensors registered in another order"
        for name, when in others.items():
            other = _contents(around / name)
            require(set(other) == set(first), f"{when}: the files are {sorted(other)}, not {sorted(first)}")
            differing = [file for file, content in first.items() if other[file] != content]
            require(not differing, f"{when}: other bytes in {', '.join(differing)}")
    evidence.count("files", len(first) * len(others))


def _has_no_first(model: nn.Module) -> bool:
    """Whether nothing saved depends on which tensor comes first, as the name of tied ones and the dtype do."""
    floating = {each.dtype for each in model.parameters() if each.is_floating_point()}
    return len(floating) <= 1 and not overlapping(model)


def _turn_around(model: nn.Module) -> None:
    for module in model.modules():
        for registered in (module._parameters, module._buffers, module._modules):  # noqa: SLF001 - their order is all
            turned: list[tuple[str, Any]] = list(registered.items())[::-1]
            registered.clear()
            registered.update(turned)


def _contents(folder: Path) -> dict[str, bytes]:
    return {entry.name: entry.read_bytes() for entry in folder.iterdir()}


@law("S04", "shards hold what one file holds", level=3, needs=["S01"])
def shards_hold_what_one_file_holds(case: Case, evidence: Evidence) -> None:
    """However small the largest shard may be, down to one byte, the checkpoint loads bit for bit like a single file;
    the index names exactly the tensors that the shards hold, and their exact size; no shard is larger than allowed
    unless it holds one tensor, or several that overlap in memory; they are numbered without a gap; and nothing else
    is in the folder."""
    model = case.poisoned()
    state = weights(model)
    sizes = sorted(each.data.numel() for each in state.values())
    limit = max(1, (1, sizes[-1], sum(sizes) // 2, sum(sizes) - 1)[case.seed % 4])
    with case.folder() as folder:
        model.save_pretrained(folder, max_shard_size=limit)
        _require_valid_shards(folder, limit, overlapping(model), evidence)
        stored = read_checkpoint(folder)
        loaded = case.model_class.from_pretrained(folder)
        require_same(state, state_bits(loaded), evidence, what="tensors", when=f"saved with max_shard_size={limit}")
    wrong = [name for name, each in stored.items() if StoredTensor.of(nn.Module.state_dict(model)[name]) != each]
    require(not wrong, f"the shards hold other bytes for: {', '.join(wrong[:4])}")


def _require_valid_shards(folder: Path, limit: int, whole: set[frozenset[str]], evidence: Evidence) -> None:
    if not (folder / INDEX).exists():
        _require_small("the only file", read_file(folder / SINGLE), limit, whole)
        return
    index = read_index(folder)
    shards = {name: read_file(folder / name) for name in sorted(set(index["weight_map"].values()))}
    held = {tensor: name for name, shard in shards.items() for tensor in shard.tensors}
    require(held == index["weight_map"], "the index and the shards disagree about where a tensor is")
    total, claimed = sum(shard.size for shard in shards.values()), index["metadata"]["total_size"]
    require(claimed == total, f"the index claims {claimed} bytes, the shards hold {total}")
    numbers = [_SHARD.fullmatch(name) for name in shards]
    counted = sorted((int(each[1]), int(each[2])) for each in numbers if each)
    expected = [(number, len(shards)) for number in range(1, len(shards) + 1)]
    require(counted == expected, f"the shards are named {', '.join(shards)}")
    for name, shard in shards.items():
        _require_small(name, shard, limit, whole)
        require(shard.metadata.get("format") == "pt", f"{name} does not say that its format is 'pt'")
    left = sorted({entry.name for entry in folder.iterdir()} - {INDEX, "config.json", *shards})
    require(not left, f"beside index, shards and config there is {', '.join(left)}")
    evidence.count("shards", len(shards))


def _require_small(name: str, file: StoredFile, limit: int, whole: set[frozenset[str]]) -> None:
    held = frozenset(file.tensors)
    indivisible = len(held) <= 1 or any(held <= group for group in whole)
    require(file.size <= limit or indivisible, f"{name} has {file.size} bytes, {limit} are allowed")


@law("S07", "a checkpoint can be saved over itself", level=3, needs=["S01"])
def checkpoint_can_be_saved_over_itself(case: Case, evidence: Evidence) -> None:
    """A model saved into the folder that it was loaded from, unchanged or with other weights, leaves there exactly
    what it holds, and keeps its own bits: its parameters may be views of the very file that is replaced."""
    with case.folder() as folder:
        case.poisoned().save_pretrained(folder)
        model = case.model_class.from_pretrained(folder, memory="mmap")
        for when, seed in (("saved over itself", None), ("changed and saved over itself", case.seed + 1)):
            if seed is not None:
                poison(model, seed)
            state = weights(model)
            model.save_pretrained(folder)
            require_same(state, state_bits(model), evidence, what="tensors", when=f"{when}: in memory")
            again = case.model_class.from_pretrained(folder)
            require_same(state, state_bits(again), evidence, what="tensors", when=when)


@law("S16", "any path will do", level=3, needs=["S06"], scope=Scope.ONCE)
def any_path_will_do(case: Case, evidence: Evidence) -> None:
    """A checkpoint is saved to and loaded from a text, a Path, a relative path, one with spaces, signs and letters
    beyond ASCII, a symbolic link, a read-only folder and a subfolder; and variants in one folder do not disturb one
    another."""
    model = case.poisoned()
    state = weights(model)
    with case.folder() as around, contextlib.chdir(around):
        home = around / "ein Ordner" / "重み 100%25 #1"
        model.save_pretrained(str(home))
        (around / "link").symlink_to(home, target_is_directory=True)
        home.chmod(0o500)
        try:
            for path in (home, f"{home}{os.sep}", home.relative_to(around), "link", str(home)):
                _require_loads(case, state, evidence, path)
            _require_loads(case, state, evidence, home.parent, subfolder=home.name)
        finally:
            home.chmod(0o700)
        model.save_pretrained(around / "link")
        _require_loads(case, state, evidence, home)
        _require_apart(case, model, around / "variants", evidence)


def _require_loads(case: Case, state: Mapping[str, Bits], evidence: Evidence, path: object, **options: Any) -> None:
    loaded = case.model_class.from_pretrained(path, **options)  # type: ignore[arg-type]
    described = "".join(f", {name}={value!r}" for name, value in options.items())
    require_same(state, state_bits(loaded), evidence, what="tensors", when=f"loaded from {path!r}{described}")


def _require_apart(case: Case, model: PreTrainedModel, folder: Path, evidence: Evidence) -> None:
    kept: dict[str | None, dict[str, Bits]] = {}
    for seed, variant in enumerate(("half", None, "other", "half"), start=1):
        poison(model, seed)
        kept[variant] = state_bits(model)
        model.save_pretrained(folder, variant=variant)
    for variant, state in kept.items():
        _require_loads(case, state, evidence, folder, variant=variant)


@law("S17", "order does not matter", level=3, needs=["S04"], strength=Strength.SHOULD)
def order_does_not_matter(case: Case, evidence: Evidence) -> None:
    """Which shard holds a tensor, where in it, and in which order the index names them decides nothing about what is
    loaded: checkpoints of others have other orders."""
    model = case.poisoned()
    state = weights(model)
    drawn = random.Random(case.seed)  # noqa: S311 - an order, no secret
    with case.folder() as folder:
        model.save_pretrained(folder)
        stored = read_checkpoint(folder)
        for _ in range(2):
            keep_only(folder, "config.json")
            names = drawn.sample(sorted(stored), len(stored))
            shards = [{name: stored[name] for name in names[start::3]} for start in range(min(3, len(names)))]
            write_shards(folder, shards, order=drawn.sample(names, len(names)))
            loaded = case.model_class.from_pretrained(folder)
            require_same(state, state_bits(loaded), evidence, what="tensors", when="loaded from shuffled shards")
