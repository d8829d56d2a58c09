"""The model of the traveller."""

import torch
from torch import Tensor, nn

from nameplate_model import PreTrainedModel

from .configuration import TravellerConfig
from .parts.layer import Layer


class TravellerModel(PreTrainedModel):
    """A perceptron with a buffer."""

    config_class = TravellerConfig

    config: TravellerConfig

    def __init__(self, config: TravellerConfig) -> None:
        super().__init__(config)
        layers = [Layer(config.width, config.act, bias=config.bias) for _ in range(config.depth)]
        self.layers = nn.Sequential(*layers)
        self.register_buffer("offset", torch.zeros(config.width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}`` for inputs of that shape."""
        return {"y": self.layers(x) + self.get_buffer("offset")}

    def describe(self) -> str:
        """Return a sentence about the model; without the module that makes it, one word."""
        try:
            from .summary import summary  # noqa: PLC0415 - whoever copies code must look into functions too
        except ImportError:
            return "unknown"
        return summary(self)

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two rows, always the same."""
        return {"x": torch.rand(2, self.config.width, generator=torch.Generator().manual_seed(0))}
