"""Level 4, trust: what a checkpoint may not do to whoever loads it, whatever is written in it."""

import io
import itertools
import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from nameplate_auto import AutoConfig, RemoteCodeError
from nameplate_config import NameplateError, UnsafePathError
from nameplate_config.record import CONFIG_NAME
from nameplate_conformance.architecture import auto_classes
from nameplate_conformance.instruments.bits import require_same, state_bits, weights
from nameplate_conformance.instruments.naming import free_name, require_refused
from nameplate_conformance.instruments.oracle import INDEX, SINGLE, keep_only, read_checkpoint, write_safetensors
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, Scope, law, require

_PICKLED = "pytorch_model.bin"

_CANARY_MODULE = "canary_code"
_CANARY_FILE = f"{_CANARY_MODULE}.py"
_CANARY_MAP = {"AutoConfig": f"{_CANARY_MODULE}.CanaryConfig"}
_CANARY = """
import pathlib
pathlib.Path({canary!r}).touch()

from nameplate_config import PreTrainedConfig

class CanaryConfig(PreTrainedConfig):
    model_type = {name!r}

class CanaryModel:
    config_class = CanaryConfig
"""
"""Code that leaves a file where it was told to as soon as it is imported."""


@law("X01", "no code runs unasked", level=4, needs=["R01", "S01"], scope=Scope.ONCE)
def no_code_runs_unasked(case: Case, evidence: Evidence) -> None:
    """Code beside a checkpoint is not run unless the caller allows it, and the refusal names its file; where the
    classes are registered, they load the checkpoint, and its code stays unused even if it is allowed. Otherwise whoever
    uploads a checkpoint runs programs on the machine of whoever loads it."""
    with case.folder() as around:
        home, canary = around / "checkpoint", around / "canary"
        (case.poisoned() if case.head else case.config()).save_pretrained(home)
        stranger = free_name(case, "stranger")
        _add_canary(home, _CANARY.format(canary=str(canary), name=stranger))
        with case.registration() if case.head else case.config_registration():
            for what, load in _loads(case, home):
                load()
                require(not canary.exists(), f"{what} of a registered architecture runs the code beside its checkpoint")
                evidence.count("loads")
        _write_config(home, {"model_type": stranger, "auto_map": _CANARY_MAP})
        for what, load in _loads_by_name(case, home, (None, False)):
            said = require_refused(load, RemoteCodeError, what)
            require(not canary.exists(), f"{what} runs the code that it refuses")
            require(_CANARY_FILE in said, f"the refusal of {what} does not name the file of the code: {said}")
            evidence.count("refusals")
        AutoConfig.from_pretrained(home, trust_remote_code=True)
        require(canary.exists(), "the code is not run though it is allowed, so nothing was shown")


def _add_canary(home: Path, code: str) -> None:
    """Put code beside a checkpoint that leaves a trace when it runs, under names that are imported by accident too."""
    (home / _CANARY_FILE).write_text(code, encoding="utf-8")
    for name in ("__init__.py", "sitecustomize.py", "conftest.py", "nameplate_config.py"):
        (home / name).write_text(code, encoding="utf-8")
    values = json.loads((home / CONFIG_NAME).read_bytes())
    auto_map = {**_CANARY_MAP, **dict.fromkeys(auto_classes(), f"{_CANARY_MODULE}.CanaryModel")}
    _write_config(home, {**values, "auto_map": auto_map})


def _write_config(home: Path, values: Mapping[str, object]) -> None:
    """Write the config file of a checkpoint, and nothing else that saving writes."""
    (home / CONFIG_NAME).write_text(json.dumps(values), encoding="utf-8")


def _loads(case: Case, home: Path) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield every way to load a checkpoint whose classes are registered."""
    yield from _loads_by_name(case, home, (None, False, True))
    yield case.config_class.__name__, partial(case.config_class.from_pretrained, home)
    if case.head:
        yield case.model_class.__name__, partial(case.model_class.from_pretrained, home)


def _loads_by_name(case: Case, home: Path, trusts: Iterable[bool | None]) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Yield every way to load a checkpoint by the name that it bears."""
    loaders: list[Any] = [AutoConfig, *([auto_classes()[case.head]] if case.head else [])]
    for loader, trust in itertools.product(loaders, trusts):
        what = f"{loader.__name__} with trust_remote_code={trust}"
        yield what, partial(loader.from_pretrained, home, trust_remote_code=trust)


@law("X04", "a checkpoint stays in its folder", level=4, needs=["X01", "S04"], scope=Scope.ONCE)
def checkpoint_stays_in_its_folder(case: Case, evidence: Evidence) -> None:
    """A shard outside of the folder, named in the index by a relative or absolute path, a drive or a backslash, is
    refused even though the file is there, and so are a subfolder, a variant and a module of auto_map that lead out,
    even if code is allowed. Otherwise a checkpoint could pass off a file of yours as its own."""
    with case.folder() as around:
        home, outside = around / "checkpoint", around / "outside"
        (case.poisoned() if case.head else case.config()).save_pretrained(home)
        outside.mkdir()
        stored = read_checkpoint(home) if case.head else {}
        if stored:
            write_safetensors(outside / SINGLE, stored, {"format": "pt"})
            shutil.copy(home / CONFIG_NAME, outside)  # so that whoever goes there finds a whole checkpoint
            keep_only(home, CONFIG_NAME)
            _require_shards_stay(case, home, stored, evidence)
            _require_options_stay(case, home, evidence)
        _require_code_stays(case, home, evidence)


def _require_shards_stay(case: Case, home: Path, names: Iterable[str], evidence: Evidence) -> None:
    for name in _ways_out(home.parent / "outside" / SINGLE):
        index = {"weight_map": dict.fromkeys(names, name)}
        (home / INDEX).write_text(json.dumps(index), encoding="utf-8")
        attempt = partial(case.model_class.from_pretrained, home)
        said = require_refused(attempt, UnsafePathError, f"a shard {name!r}")
        require(INDEX in said, f"the refusal of a shard {name!r} does not name {INDEX}: {said}")
        evidence.count("paths")


def _require_code_stays(case: Case, home: Path, evidence: Evidence) -> None:
    outside, stranger = home.parent / "outside", free_name(case, "stranger")
    canary = home.parent / "canary"
    (outside / _CANARY_FILE).write_text(_CANARY.format(canary=str(canary), name=stranger), encoding="utf-8")
    (home / "linked").symlink_to(outside, target_is_directory=True)
    ways = ("../outside/", "..outside.", f"{outside}/", "..\\outside\\", "linked.")
    for way in [f"{each}{_CANARY_MODULE}" for each in ways]:
        _write_config(home, {"model_type": stranger, "auto_map": {"AutoConfig": f"{way}.CanaryConfig"}})
        attempt = partial(AutoConfig.from_pretrained, home, trust_remote_code=True)
        require_refused(attempt, NameplateError, f"code at {way!r}")
        require(not canary.exists(), f"code at {way!r} is run")
        evidence.count("paths")


def _ways_out(file: Path) -> Iterator[str]:
    """Yield names by which an index could mean a file beside its folder."""
    yield from (f"../outside/{file.name}", f"./../outside/{file.name}", str(file), f"..\\outside\\{file.name}")
    yield from (f"C:{file.name}", f"{file.name}\0", f"~/{file.name}", "..", "")


def _require_options_stay(case: Case, home: Path, evidence: Evidence) -> None:
    outside = home.parent / "outside"
    ways = (("subfolder", "../outside"), ("subfolder", str(outside)), ("variant", "../outside/x"), ("variant", "x\0"))
    for option, value in ways:
        attempt: Callable[[], Any] = partial(case.model_class.from_pretrained, home, **{option: value})
        require_refused(attempt, UnsafePathError, f"{option}={value!r}")
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
            for asked_for in (None, False):
                attempt: Callable[[], Any] = partial(load, folder, use_safetensors=asked_for)
                require_refused(attempt, NameplateError, f"{kind} that calls a function")
                require(not canary.exists(), f"loading {kind} with use_safetensors={asked_for} has run its function")
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
