"""Level 4, trust: what a checkpoint may not do to whoever loads it, whatever is written in it."""

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nameplate_config import NameplateError, UnsafePathError
from nameplate_conformance.bits import require_same, state_bits, weights
from nameplate_conformance.case import Case
from nameplate_conformance.law import Evidence, Scope, inapplicable, law, require
from nameplate_conformance.naming import require_refused
from nameplate_conformance.oracle import INDEX, SINGLE, keep_only, read_checkpoint, write_safetensors

_PICKLED = "pytorch_model.bin"


@law("X04", "a checkpoint stays in its folder", level=4, needs=["S04"], scope=Scope.ONCE)
def checkpoint_stays_in_its_folder(case: Case, evidence: Evidence) -> None:
    """An index that names a shard outside of the folder, by a relative or absolute path, by a drive or a backslash, is
    refused even though the file is there; so are a subfolder, a variant and a file name that lead out. Otherwise a
    checkpoint could pass off a file of yours as its own."""
    with case.folder() as around:
        home, outside = around / "checkpoint", around / "outside"
        case.poisoned().save_pretrained(home)
        stored = read_checkpoint(home)
        if not stored:
            inapplicable("the model has no tensors, so a checkpoint of it names no files")
        outside.mkdir()
        write_safetensors(outside / SINGLE, stored, {"format": "pt"})
        keep_only(home, "config.json")
        for name in _ways_out(outside / SINGLE):
            weight_map = dict.fromkeys(stored, name)
            (home / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), encoding="utf-8")
            said = require_refused(
                partial(case.model_class.from_pretrained, home), UnsafePathError, f"a shard {name!r}"
            )
            require(INDEX in said, f"the refusal of a shard {name!r} does not name {INDEX}: {said}")
            evidence.count("paths")
        _require_options_stay(case, home, evidence)


def _ways_out(file: Path) -> Iterator[str]:
    """Yield names by which an index could mean a file beside its folder."""
    yield from (f"../outside/{file.name}", f"./../outside/{file.name}", str(file), f"..\\outside\\{file.name}")
    yield from (f"C:{file.name}", f"{file.name}\0", f"~/{file.name}", "..", "")


def _require_options_stay(case: Case, home: Path, evidence: Evidence) -> None:
    outside = home.parent / "outside"
    ways = (("subfolder", "../outside"), ("subfolder", str(outside)), ("variant", "../outside/x"), ("variant", "x\0"))
    for option, value in ways:
        attempt: Callable[[], Any] = partial(case.model_class.from_pretrained, home, **{option: value})
        require_refused(attempt, NameplateError, f"{option}={value!r}")
        evidence.count("paths")


@law("X05", "a pickle runs nothing", level=4, needs=["S01"], scope=Scope.ONCE)
def pickle_runs_nothing(case: Case, evidence: Evidence) -> None:
    """Weights in a pickle are refused unless somebody asks for them; asked for, tensors are read from it, and one that
    calls a function is refused without the call. A pickle is a program that whoever made the checkpoint wrote."""
    with case.folder() as folder:
        model = case.poisoned()
        model.save_pretrained(folder)
        keep_only(folder, "config.json")
        torch.save(torch.nn.Module.state_dict(model), folder / _PICKLED)
        load = case.model_class.from_pretrained
        said = require_refused(partial(load, folder), NameplateError, "a pickle that nobody asked for")
        require(_PICKLED in said, f"the refusal does not name {_PICKLED}: {said}")
        read = load(folder, use_safetensors=False)
        require_same(weights(model), state_bits(read), evidence, what="tensors", when="read from a pickle on demand")
        canary = folder / "canary"
        for kind, data in _malicious(canary):
            (folder / _PICKLED).write_bytes(data)
            for options in ({}, {"use_safetensors": False}):
                attempt: Callable[[], Any] = partial(load, folder, **options)
                require_refused(attempt, NameplateError, f"{kind} that calls a function")
                require(
                    not canary.exists(), f"{kind} has run a function on being loaded with {options or 'no options'}"
                )
                evidence.count("pickles refused")


class _Malicious:
    """Makes a folder as soon as it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self._canary = canary

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self._canary),)


def _malicious(canary: Path) -> Iterator[tuple[str, bytes]]:
    """Yield pickles that make a folder when they are followed, in each form in which weights are pickled."""
    weight = {"weight": _Malicious(canary)}
    for zipped in (True, False):
        stream = io.BytesIO()
        torch.save(weight, stream, _use_new_zipfile_serialization=zipped)
        yield f"a file of torch.save{'' if zipped else ' of old'}", stream.getvalue()
    yield "a plain pickle", pickle.dumps(weight)
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(weight, protocol=2))
        archive.writestr("archive/version", "3\n")
    yield "an archive", stream.getvalue()
