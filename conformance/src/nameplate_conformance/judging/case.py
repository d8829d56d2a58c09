"""`Case`: one drawn example as a law sees it. Builds configs and models the same way each time it is asked."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from torch import Tensor
from torch.nn.parameter import is_lazy

from nameplate_auto import CONFIG_MAPPING, AutoClass
from nameplate_config import PreTrainedConfig, fields
from nameplate_conformance.architecture import Architecture, auto_classes
from nameplate_conformance.drawing.coverage import rows
from nameplate_conformance.drawing.domains import Kwargs
from nameplate_conformance.drawing.strategies import unchecked_kwargs
from nameplate_conformance.instruments.folders import example_folder
from nameplate_conformance.instruments.poison import poison
from nameplate_conformance.law import inapplicable
from nameplate_model import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Case:
    """One example: an architecture, a head, the arguments of a config, a device.

    Attributes:
        architecture: What is being judged.
        head: The name of the Auto class whose model is built; empty if the architecture has no model.
        kwargs: The arguments of the config.
        device: Where the model lives.
        seed: Decides the weights.
    """

    architecture: Architecture
    head: str
    kwargs: Kwargs
    device: torch.device
    seed: int = 0

    @property
    def config_class(self) -> type[PreTrainedConfig]:
        """The config class."""
        return self.architecture.config_class

    @property
    def model_class(self) -> type[PreTrainedModel]:
        """The model class of the head. A law that asks for it does not apply to a config alone."""
        if not self.head:
            inapplicable("the architecture has a config and no model")
        return self.architecture.model_class(self.head)

    def config(self) -> PreTrainedConfig:
        """Return a new config."""
        return self.config_class(**self.kwargs)

    def default_config(self) -> PreTrainedConfig:
        """Return a new config in which every field that has a default has it."""
        return self.config_class(**self.default_kwargs())

    def default_kwargs(self) -> Kwargs:
        """Return the arguments that a config cannot do without."""
        required = {each.name for each in fields(self.config_class) if each.required}
        return {name: value for name, value in self.kwargs.items() if name in required}

    def model(self, config: PreTrainedConfig | None = None) -> PreTrainedModel:
        """Return a new model on the device, in evaluation mode, its weights decided by the seed.

        A lazy one is run once: it has its weights only then.
        """
        model = self.plain(config).to(self.device).eval()
        if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
            self.answer(model)
        return model

    def plain(self, config: PreTrainedConfig | None = None) -> PreTrainedModel:
        """Return a new model as its constructor leaves it, its weights decided by the seed."""
        torch.manual_seed(self.seed)
        return self.model_class(config or self.config())

    def poisoned(self) -> PreTrainedModel:
        """Return a new model whose every persistent tensor differs from what initialisation gives."""
        model = self.model()
        poison(model, self.seed)
        return model

    def inputs(self, model: PreTrainedModel) -> dict[str, Tensor]:
        """Return the inputs of a model, on its device."""
        return {name: value.to(self.device) for name, value in self.architecture.make_inputs(model).items()}

    def answer(self, model: PreTrainedModel) -> Any:
        """Return what a model answers to its inputs, without gradients."""
        with torch.no_grad():
            return model(**self.inputs(model))

    def folder(self, *, large: bool = False) -> AbstractContextManager[Path]:
        """Return a context that provides an empty folder for one example; in memory, unless it will be *large*."""
        return example_folder(large=large)

    @contextmanager
    def config_registration(self) -> Iterator[None]:
        """Register the config for the length of a block."""
        with CONFIG_MAPPING.override(self.config_class.model_type, self.config_class):
            yield

    @contextmanager
    def registration(self) -> Iterator[type[AutoClass]]:
        """Register config and model for the length of a block; provide the Auto class of the head."""
        model_class, auto_class = self.model_class, auto_classes()[self.head]
        with self.config_registration(), auto_class.model_mapping.override(self.config_class, model_class):
            yield auto_class


def simplest_kwargs(architecture: Architecture) -> Kwargs:
    """Return the simplest arguments that the config class accepts; none if there are no such arguments."""
    return next(iter(rows(architecture)), {})


def drawn_kwargs(architecture: Architecture, number: int) -> list[Kwargs]:
    """Return arguments that the annotations describe, the same ones each time; the config may refuse some."""
    drawn: list[Kwargs] = []

    @settings(
        database=None,
        deadline=None,
        max_examples=number,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(unchecked_kwargs(architecture))
    def collect(kwargs: Kwargs) -> None:
        drawn.append(kwargs)

    with suppress(Unsatisfiable):  # a field that has no value at all
        collect()
    return drawn
