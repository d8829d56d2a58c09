"""Copies of a model by way of pickle, whatever function its class was made in."""

import importlib
import io
import pickle
from types import SimpleNamespace
from typing import Any

import torch

_unnamed: dict[int, type] = {}


def _class_of(identity: int) -> type:
    return _unnamed[identity]


class _Pickler(pickle.Pickler):
    """Writes a class that no module holds under its name as itself.

    Such a class was made inside a function, as in a test; where it is defined is not the model's fault.
    """

    def reducer_override(self, obj: Any) -> Any:
        if not isinstance(obj, type) or _is_importable(obj):
            return NotImplemented
        _unnamed[id(obj)] = obj
        return _class_of, (id(obj),)


def pickled(model: Any) -> Any:
    """Return a model that went through pickle, by way of torch, without which narrow floats do not."""
    stream = io.BytesIO()
    try:
        torch.save(model, stream, pickle_module=SimpleNamespace(Pickler=_Pickler, __name__="pickle"))
        stream.seek(0)
        return torch.load(stream, weights_only=False)
    finally:
        _unnamed.clear()


def _is_importable(cls: type) -> bool:
    found: Any = None
    try:
        found = importlib.import_module(cls.__module__)
        for part in cls.__qualname__.split("."):
            found = getattr(found, part)
    except (AttributeError, ImportError):
        return False
    return found is cls
