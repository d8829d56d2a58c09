"""The healthy animal that every mutant is bred from, and the record of a mutant."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import torch
from annotated_types import Ge
from torch import Tensor, nn

from nameplate_config import PreTrainedConfig, Tiny, fields
from nameplate_conformance.architecture import Architecture, Tags
from nameplate_model import PreTrainedModel


@dataclass(frozen=True, slots=True)
class Mutant:
    """An architecture, or a library, with one deliberate mistake.

    Attributes:
        name: What the mistake is, in one word.
        breaks: The id of the one law that must reject it.
        why: The mistake in a sentence.
        breed: Makes the architecture.
        sabotage: Breaks one of the libraries while the architecture is judged.
        museum: Where it was reported, if somebody has really made the mistake: a link.
    """

    name: str
    breaks: str
    why: str
    breed: Callable[[], Architecture]
    sabotage: Callable[[], AbstractContextManager[Any]] = nullcontext
    museum: str = ""


class ZooConfig(PreTrainedConfig):
    """The config of a small perceptron with one field of each common kind."""

    model_type = "zoo"

    width: Annotated[int, Ge(1), Tiny(1, 2, 3)] = 8
    depth: Annotated[int, Ge(1), Tiny(1, 2)] = 2
    act: Literal["relu", "tanh"] = "relu"
    scales: list[float] = [1.0]  # noqa: RUF012 - copied per instance, which is what C10 checks
    names: dict[int, str] = {0: "zero"}  # noqa: RUF012
    bias: bool = True
    dropout: Annotated[float, Ge(0), Tiny(0.0, 0.5)] = 0.0


class ZooModel(PreTrainedModel):
    """A perceptron with a norm, a buffer that is saved, one that is not, and dropout."""

    config_class = ZooConfig

    config: ZooConfig

    def __init__(self, config: ZooConfig) -> None:
        super().__init__(config)
        self.layers = nn.Sequential(*self.blocks(config))
        self.norm = nn.BatchNorm1d(config.width)
        self.dropout = nn.Dropout(config.dropout)
        self.register_buffer("offset", torch.zeros(config.width))
        self.register_buffer("ramp", torch.arange(config.width, dtype=torch.float32), persistent=False)

    def blocks(self, config: ZooConfig) -> list[nn.Module]:
        """Return the layers."""
        activation = nn.ReLU if config.act == "relu" else nn.Tanh
        layers = [nn.Linear(config.width, config.width, bias=config.bias) for _ in range(config.depth)]
        return [module for layer in layers for module in (layer, activation())]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}`` for inputs of that shape."""
        return {"y": self.norm(self.dropout(self.layers(x))) + self.get_buffer("offset") + self.get_buffer("ramp")}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two rows, always the same."""
        return {"x": torch.rand(2, self.config.width, generator=torch.Generator().manual_seed(0))}


_READ = frozenset({"width", "depth", "act", "bias", "dropout", "num_classes"})
"""The fields that models of the zoo read; the others are there for laws about configs."""


def reference() -> Architecture:
    """Return the architecture that breaks no law."""
    return of(ZooModel, name="zoo-reference")


def of(
    model: type[PreTrainedModel] = ZooModel, config: type[PreTrainedConfig] | None = None, *, name: str = ""
) -> Architecture:
    """Return an architecture of a model class and its config class."""
    chosen = config or model.config_class
    assert chosen is not None
    passive = tuple(sorted({each.name for each in fields(chosen)} - _READ))
    tags = Tags(passive_fields=passive)
    return Architecture(config=chosen, models={"AutoModel": model}, tags=tags, name=name or model.__name__)


def with_config(config: type[PreTrainedConfig]) -> Architecture:
    """Return the healthy model on another config class."""
    return of(type("ZooModel", (ZooModel,), {"config_class": config}), config)
