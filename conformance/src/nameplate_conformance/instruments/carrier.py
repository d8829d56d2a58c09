"""Giving an architecture something to carry: a subclass of its model that a law makes, with tensors of the law's own.

Many laws speak of what an architecture may happen to lack: a tie, a dtype, a head. The law adds it to the model, so
that the architecture's own constructor, `state_dict` and overrides are judged with it.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from nameplate_conformance.judging.case import Case

Register = Callable[[nn.Module], None]
"""Registers more parameters, buffers or modules on a model that has just been constructed."""


def carrying(case: Case, register: Register, *, name: str = "", **attributes: Any) -> Case:
    """Return the case with a subclass of its model that registers more.

    Args:
        case: Its model class is the parent.
        register: Called at the end of the constructor.
        name: Of the subclass; that of the parent if not given.
        **attributes: Of the subclass.
    """
    parent = case.model_class

    def construct(self: Any, config: Any) -> None:
        parent.__init__(self, config)
        register(self)

    body = {"__init__": construct, "__module__": __name__, "config_class": parent.config_class, **attributes}
    return judging(case, type(parent)(name or parent.__name__, (parent,), body))


def judging(case: Case, model_class: type[Any]) -> Case:
    """Return the case with another model class under its head."""
    return replace(case, architecture=replace(case.architecture, models={case.head: model_class}))
