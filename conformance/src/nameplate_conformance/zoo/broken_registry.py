"""Mutants of level 4: names that find something else, and a registry that overwrites."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from nameplate_auto import Registry
from nameplate_config import PreTrainedConfig
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooModel, of, reference


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
            if "config" in kwargs and "architectures" in kwargs["config"].to_dict():  # only the Auto class passes it
                torch.nn.init.zeros_(model.norm.bias)
            return model

    return of(ResettingModel)


@contextmanager
def _silent_overwrite() -> Iterator[None]:
    """Break the registry as Transformers' is: a second class silently takes the name of the first."""
    original = Registry.register

    def register(self: Any, name: Any, value: Any = None, *, exist_ok: bool = False) -> Any:
        return original(self, name, value, exist_ok=exist_ok or value is not None)

    Registry.register = register  # type: ignore[method-assign]
    try:
        yield
    finally:
        Registry.register = original  # type: ignore[method-assign]


REGISTRY_MUTANTS = (
    Mutant("BuildsAnotherClass", "R01", "from_config builds an instance of another class", _builds_another_class),
    Mutant("SilentOverwrite", "R02", "a second class takes the name without an error", reference, _silent_overwrite),
    Mutant("AutoLoadsSomethingElse", "R06", "the Auto class loads other weights", _auto_loads_something_else),
)
