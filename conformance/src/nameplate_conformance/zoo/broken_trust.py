"""Mutants of level 4, trust and code: checkpoints that are believed too much, and code that does not travel whole."""

import importlib
import json
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from nameplate_auto import AutoClass, AutoConfig
from nameplate_config import NameplateError, UnsafePathError
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.instruments.oracle import read_index
from nameplate_conformance.zoo.broken_registry import library
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, ZooModel, of
from nameplate_conformance.zoo.relatives import traveller
from nameplate_model import PreTrainedModel


def _follows_any_path() -> Architecture:
    class FollowingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            from safetensors.torch import load_file  # noqa: PLC0415

            try:
                return super().from_pretrained(source, **kwargs)
            except UnsafePathError:
                model = cls(ZooConfig.from_pretrained(source))
                for shard in set(read_index(Path(source))["weight_map"].values()):
                    model.load_state_dict(load_file(Path(source) / shard), strict=False)
                return model.eval()

    return of(FollowingModel)


def _follows_any_subfolder() -> Architecture:
    class WanderingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, *, subfolder: str = "", **kwargs: Any) -> Any:
            return super().from_pretrained(Path(source, subfolder).resolve() if subfolder else source, **kwargs)

    return of(WanderingModel)


def _unpickles_anything() -> Architecture:
    class UnpicklingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            try:
                return super().from_pretrained(source, **kwargs)
            except NameplateError:
                file = Path(str(source)) / "pytorch_model.bin"
                if file.is_file():  # to say what it holds
                    torch.load(file, weights_only=False)
                raise

    return of(UnpicklingModel)


def _auto_map(source: Any) -> dict[str, str]:
    """Return what a folder says about its code."""
    with suppress(OSError, ValueError):
        return dict(json.loads((Path(str(source)) / "config.json").read_bytes()).get("auto_map", {}))
    return {}


def _peeking(original: Any) -> Any:
    """The code of a checkpoint is imported to see what it has, before anybody is asked."""

    def from_pretrained(cls: Any, source: Any, **kwargs: Any) -> Any:
        module = _auto_map(source).get("AutoConfig", "").rpartition(".")[0]
        sys.path.insert(0, str(source))
        with suppress(Exception):
            importlib.import_module(module)
        sys.modules.pop(module, None)
        sys.path.pop(0)
        return original.__func__(cls, source, **kwargs)

    return classmethod(from_pretrained)


def _remembering_by_name(original: Any) -> Any:
    """A class of code is found again by the name of its file, as Transformers once did."""
    memory: dict[str, Any] = {}

    def from_pretrained(cls: Any, source: Any, **kwargs: Any) -> Any:
        model = original.__func__(cls, source, **kwargs)
        reference = _auto_map(source).get(cls.__name__)
        known = type(model) if reference is None else memory.setdefault(reference, type(model))
        return model if known is type(model) else known.from_pretrained(source)

    return classmethod(from_pretrained)


def _copying_one_file(original: Any) -> Any:
    """The file of the class is saved, and not what it imports."""
    return _saving_without(original, lambda file, auto_map: f"{file.stem}." not in "".join(auto_map.values()))


def _copying_what_is_needed(original: Any) -> Any:
    """A module that the code can do without is not saved."""
    return _saving_without(original, lambda file, _: file.stem == "summary")


def _saving_without(original: Any, is_left_out: Callable[[Path, dict[str, str]], bool]) -> Any:
    def save_pretrained(self: Any, folder: Any, **options: Any) -> Any:
        saved = original(self, folder, **options)
        auto_map = _auto_map(folder)
        for file in Path(folder).rglob("*.py"):
            if auto_map and is_left_out(file, auto_map):
                file.unlink()
        return saved

    return save_pretrained


TRUST_MUTANTS = (
    library("PeeksAtTheCode", "X01", _peeking, AutoConfig, "from_pretrained"),
    library("CopiesOneFile", "X02", _copying_one_file, PreTrainedModel, "save_pretrained", traveller),
    library("FindsCodeByName", "X03", _remembering_by_name, AutoClass, "from_pretrained", traveller),
    Mutant("FollowsAnyPath", "X04", "a shard is read wherever it lies", _follows_any_path),
    Mutant("FollowsAnySubfolder", "X04", "a subfolder may lead out of the checkpoint", _follows_any_subfolder),
    Mutant("UnpicklesAnything", "X05", "a pickle is unpickled to say what it holds", _unpickles_anything),
    library("CopiesWhatIsNeeded", "X06", _copying_what_is_needed, PreTrainedModel, "save_pretrained", traveller),
)
