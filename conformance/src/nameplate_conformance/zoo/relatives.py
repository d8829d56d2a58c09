"""Healthy relatives of the reference: for laws about labels, stages, checkpointing and code, which it has not."""

from typing import Annotated, Any

from annotated_types import Ge
from torch import Tensor, nn

from nameplate_config import Tiny
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel, of, reference
from nameplate_conformance.zoo.traveller.modeling import TravellerModel


class ZooClassifierConfig(ZooConfig):
    """The config of a classifier."""

    model_type = "zoo_classifier"

    num_classes: Annotated[int, Ge(1), Tiny(2, 3)] = 3


class ZooClassifier(ZooModel):
    """The perceptron with a linear head on top."""

    config_class = ZooClassifierConfig

    def __init__(self, config: ZooClassifierConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.width, config.num_classes)

    def logits(self, x: Tensor) -> Tensor:
        """Return the logits, ``(batch, num_classes)``."""
        return self.head(super().forward(x)["y"])

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return ``{"logits": (batch, num_classes)}`` and, given labels, their ``"loss"``."""
        logits = self.logits(x)
        return {"logits": logits} if labels is None else {"logits": logits, "loss": self.loss(logits, labels)}

    def loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the mean cross entropy."""
        return nn.functional.cross_entropy(logits, labels)


class ZooBackbone(ZooModel):
    """The perceptron as a backbone: its stages are its layers, of which it answers the last two."""

    @property
    def stage_names(self) -> list[str]:
        """The names of all stages."""
        return [f"stage{number}" for number in range(1, self.config.depth + 1)]

    @property
    def out_indices(self) -> tuple[int, ...]:
        """Which stages are answered."""
        return tuple(range(-min(2, self.config.depth), 0))

    @property
    def out_features(self) -> list[str]:
        """The names of the stages that are answered."""
        return [self.stage_names[index] for index in self.out_indices]

    @property
    def channels(self) -> list[int]:
        """The second axis of each feature map."""
        return [self.config.width for _ in self.out_indices]

    def stages(self, x: Tensor) -> list[Tensor]:
        """Return what each stage makes of the inputs."""
        found = []
        modules = list(self.layers)
        for linear, activation in zip(modules[::2], modules[1::2], strict=True):
            x = activation(linear(x))
            found.append(self.norm(self.dropout(x)))
        return found

    def forward(self, x: Tensor) -> dict[str, Any]:  # type: ignore[override]
        """Return ``{"feature_maps": [(batch, width), …]}``."""
        maps = self.stages(x)
        return {"feature_maps": [maps[index] for index in self.out_indices]}


class Floor(nn.Module):
    """A block with a statistic and with dropout: what goes wrong when a forward pass is run twice."""

    def __init__(self, config: ZooConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(config.width, config.width, bias=config.bias)
        self.act = nn.ReLU() if config.act == "relu" else nn.Tanh()
        self.norm = nn.BatchNorm1d(config.width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Return what goes up to the next floor."""
        return x + self.dropout(self.norm(self.act(self.linear(x))))


class ZooTower(ZooModel):
    """The perceptron of repeated blocks, which can be checkpointed: two at least, for one alone is not repeated."""

    def blocks(self, config: ZooConfig) -> list[nn.Module]:
        """Return the blocks."""
        return [Floor(config) for _ in range(config.depth + 1)]


def traveller() -> Architecture:
    """Return the architecture whose code can travel beside its checkpoint."""
    return of(TravellerModel, name="zoo-traveller")


def relatives() -> tuple[Architecture, ...]:
    """Return every architecture of the zoo that breaks no law, the reference first."""
    return (
        reference(),
        of(ZooClassifier, name="zoo-classifier"),
        of(ZooBackbone, name="zoo-backbone"),
        of(ZooTower, name="zoo-tower"),
        traveller(),
    )
