"""Mutants of level 4: names that find something else, a registry that overwrites, and one that forgets."""

import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

import torch

from nameplate_auto import AutoClass, AutoConfig, Registry, UnknownModelTypeError
from nameplate_config import PreTrainedConfig, Source
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of, reference

Sabotage = Callable[[], AbstractContextManager[None]]


def _builds_another_class() -> Architecture:
    class FactoryModel(ZooModel):
        @classmethod
        def from_config(cls, config: PreTrainedConfig) -> Any:
            return ZooModel(config)  # type: ignore[arg-type]

    return of(FactoryModel)


def _auto_loads_something_else() -> Architecture:
    class ResettingModel(ZooModel):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            model = super().from_pretrained(source, **kwargs)
            if isinstance(source, Source):  # only the Auto class passes one that is open already
                torch.nn.init.zeros_(model.norm.bias)
            return model

    return of(ResettingModel)


def _replaced(owner: Any, name: str, wrap: Callable[[Any], Any]) -> Sabotage:
    """Return what puts another method in the place of one, made from it, for the length of a block."""

    @contextmanager
    def sabotage() -> Iterator[None]:
        original = vars(owner)[name]
        setattr(owner, name, wrap(original))
        try:
            yield
        finally:
            setattr(owner, name, original)

    return sabotage


def library(
    name: str,
    breaks: str,
    wrap: Callable[[Any], Any],
    owner: Any,
    method: str,
    breed: Callable[[], Architecture] = reference,
) -> Mutant:
    """Return the mutant that breaks a method of a library while a healthy architecture is judged.

    Args:
        name: The mutant's name.
        breaks: The law that it breaks.
        wrap: Makes the broken method from the healthy one; its docstring says what is wrong with it.
        owner: The class that has the method.
        method: The name of the method.
        breed: Makes the architecture.
    """
    return Mutant(name, breaks, wrap.__doc__ or "", breed, _replaced(owner, method, wrap))


def _overwriting(original: Any) -> Any:
    """A second class silently takes the name of the first, as in Transformers."""

    def register(self: Any, name: Any, value: Any = None, *, exist_ok: bool = False) -> Any:
        return original(self, name, value, exist_ok=exist_ok or value is not None)

    return register


def _never_forgetting(_original: Any) -> Any:
    """What is unregistered is still found."""

    def unregister(self: Any, name: Any) -> None:
        self.find(name)

    return unregister


def _curious(original: Any) -> Any:
    """Listing the names imports every class, as the keys of Transformers do."""

    def names(self: Any, *pattern: Any) -> Any:
        found = original(self, *pattern)
        for name in found:
            with suppress(Exception):
                self.find(name).load()
        return found

    return names


def _trusting(_original: Any) -> Any:
    """The class that a text stands for is handed out without a check."""

    def getitem(self: Any, name: Any) -> Any:
        return self.find(name).load()

    return getitem


def _terse(original: Any) -> Any:
    """The error for an unknown name says what failed, and nothing else."""

    def from_pretrained(cls: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original.__func__(cls, *args, **kwargs)
        except UnknownModelTypeError:
            message = "unknown model_type"
            raise UnknownModelTypeError(message) from None

    return classmethod(from_pretrained)


def _general(original: Any) -> Any:
    """A config finds the model of its farthest ancestor, as by a search with isinstance."""

    def model_class_of(cls: Any, config_class: Any, *args: Any) -> Any:
        for each in reversed(config_class.__mro__):
            if isinstance(each, type) and issubclass(each, PreTrainedConfig) and each in cls.model_mapping:
                return cls.model_mapping[each]
        return original.__func__(cls, config_class, *args)

    return classmethod(model_class_of)


def _hesitating(original: Any) -> Any:
    """Whether a name is free is asked first, and it is taken a moment later."""

    def register(self: Any, name: Any, *value: Any, exist_ok: bool = False) -> Any:
        if not value:
            return original(self, name, exist_ok=exist_ok)
        free = name not in self.names()
        time.sleep(0.001)
        return original(self, name, *value, exist_ok=exist_ok or free)

    return register


def _bare(_original: Any) -> Any:
    """At the end of an override the name is removed, whatever it stood for before."""

    @contextmanager
    def override(self: Any, name: Any, value: Any) -> Iterator[None]:
        self.register(name, value, exist_ok=True)
        try:
            yield
        finally:
            with suppress(UnknownModelTypeError):
                self.unregister(name)

    return override


def _remembering(original: Any) -> Any:
    """The name of a value is answered from memory, which nobody clears."""
    memory: dict[tuple[int, int], Any] = {}

    def name_of(self: Any, value: Any) -> Any:
        key = (id(self), id(value))
        return memory.get(key) or memory.setdefault(key, original(self, value))

    return name_of


_BLAMES_NOBODY = """
from nameplate_auto import BrokenPluginError, Registry
original = Registry.__getitem__
def getitem(self, name):
    try:
        return original(self, name)
    except BrokenPluginError:
        raise BrokenPluginError(f"{name} cannot be loaded.") from None
Registry.__getitem__ = getitem
"""


@contextmanager
def _blaming_nobody() -> Iterator[None]:
    """Let every process that is started hide which distribution is broken."""
    before = os.environ.get("PYTHONPATH")
    with tempfile.TemporaryDirectory(prefix="conformance-") as folder:
        (Path(folder) / "sitecustomize.py").write_text(_BLAMES_NOBODY, encoding="utf-8")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (folder, before)))
        try:
            yield
        finally:
            os.environ.pop("PYTHONPATH")
            os.environ.update({} if before is None else {"PYTHONPATH": before})


REGISTRY_MUTANTS = (
    Mutant("BuildsAnotherClass", "R01", "from_config builds an instance of another class", _builds_another_class),
    library("SilentOverwrite", "R02", _overwriting, Registry, "register"),
    library("NeverForgets", "R03", _never_forgetting, Registry, "unregister"),
    library("CuriousListing", "R04", _curious, Registry, "names"),
    Mutant("BlamesNobody", "R05", "the error of a broken package does not name it", reference, _blaming_nobody),
    Mutant("AutoLoadsSomethingElse", "R06", "the Auto class loads other weights", _auto_loads_something_else),
    library("TrustsTexts", "R07", _trusting, Registry, "__getitem__"),
    library("TerseError", "R08", _terse, AutoConfig, "from_pretrained"),
    library("PrefersAncestors", "R09", _general, AutoClass, "model_class_of"),
    library("LooksThenTakes", "R10", _hesitating, Registry, "register"),
    library("BareOverride", "Z01", _bare, Registry, "override"),
    library("StaleReverse", "Z01", _remembering, Registry, "name_of"),
)
