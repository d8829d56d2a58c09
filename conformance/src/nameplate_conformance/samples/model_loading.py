"""Sample models by how they are built and loaded: with hooks, lazily, from one another, or from what they read."""

from functools import cache
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from nameplate_conformance.samples.model_tensors import FrozenPartsModel, SmallModel, TablesModel
from nameplate_conformance.samples.small_configs import (
    ExtraStateConfig,
    FrozenPartsConfig,
    HookedConfig,
    LazyConfig,
    NestedModelConfig,
    OverridingConfig,
    ParametrizedConfig,
    ReadingConfig,
    SmallConfig,
    TablesConfig,
    TaughtConfig,
)


class ParametrizedModel(SmallModel):
    """Computes three weights from other tensors."""

    config_class = ParametrizedConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.scaled = weight_norm(nn.Linear(config.width, config.width, bias=config.bias))
        self.bounded = spectral_norm(nn.Linear(config.width, config.width, bias=config.bias))
        square = nn.Linear(config.width, config.width, bias=config.bias)
        self.turned = orthogonal(square, use_trivialization=False)  # with it, torch reads values out of the weight

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.linear(self.turned(self.bounded(self.scaled(x))))}


class Odometer(nn.Module):
    """Counts the steps of training in a Python number, which goes into the state dict as extra state."""

    def __init__(self) -> None:
        super().__init__()
        self.steps = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return the inputs, damped more with every step of training."""
        self.steps += self.training
        return x / (1 + self.steps)

    def get_extra_state(self) -> Tensor:
        """Return the number of steps as a tensor."""
        return torch.tensor(self.steps, device="cpu")

    def set_extra_state(self, state: Any) -> None:
        """Take the number of steps."""
        self.steps = int(state)


class ExtraStateModel(SmallModel):
    """Has extra state that is a tensor."""

    config_class = ExtraStateConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.odometer = Odometer()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.odometer(self.linear(x))}


class RenamedLinear(nn.Linear):
    """A linear layer whose weight was called `kernel` in older files."""

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any, **kwargs: Any) -> None:
        if f"{prefix}kernel" in state_dict:
            state_dict[f"{prefix}weight"] = state_dict.pop(f"{prefix}kernel")
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class OverridingModel(SmallModel):
    """Has a module that overrides `_load_from_state_dict`."""

    config_class = OverridingConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.renamed = RenamedLinear(config.width, config.width, bias=config.bias)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.renamed(self.linear(x))}


class HookedModel(SmallModel):
    """Renames a key before a load, and forgives one that older files have after it."""

    config_class = HookedConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.register_buffer("total", torch.zeros(config.width))
        self.register_load_state_dict_pre_hook(self.rename)
        self.register_load_state_dict_post_hook(self.forgive)

    @staticmethod
    def rename(_: nn.Module, state_dict: dict[str, Any], prefix: str, *__: Any) -> None:
        """Find the buffer under its older name too."""
        if f"{prefix}sum" in state_dict:
            state_dict[f"{prefix}total"] = state_dict.pop(f"{prefix}sum")

    @staticmethod
    def forgive(_: nn.Module, incompatible: Any) -> None:
        """Let files hold the positions that they once held."""
        incompatible.unexpected_keys[:] = [key for key in incompatible.unexpected_keys if key != "position_ids"]

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.linear(x) + self.get_buffer("total")}


class LazyModel(SmallModel):
    """Has a layer that gets its shape from its first inputs."""

    config_class = LazyConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.lazy = nn.LazyLinear(config.width + 1, bias=config.bias)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width + 1)}``."""
        return {"y": self.lazy(self.linear(x))}


class ReadingModel(SmallModel):
    """Reads rates out of a tensor, as networks with stochastic depth do, and checks its own weights."""

    config_class = ReadingConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.5, config.width)]
        if not self.linear.weight.isfinite().all().item():
            message = "the weights are not finite"
            raise ValueError(message)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.linear(x) * sum(self.rates)}


class NestedModel(SmallModel):
    """Has a model with a config of its own inside, which has buffers that are not saved."""

    config_class = NestedModelConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.inner = TablesModel(TablesConfig(width=config.width, bias=config.bias))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}``."""
        return {"y": self.linear(self.inner(x)["y"])}


class TaughtModel(SmallModel):
    """Loads a frozen teacher in its constructor, and saves it with the rest."""

    config_class = TaughtConfig

    def __init__(self, config: SmallConfig) -> None:
        super().__init__(config)
        self.teacher = FrozenPartsModel.from_pretrained(_teacher(config.width, config.bias).name)
        self.teacher.requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return what is learnt, and how far it is from the teacher's answer."""
        y, aim = self.linear(x), self.teacher(x)["y"]
        return {"y": y, "distance": (y - aim).square().mean(1)}


@cache
def _teacher(width: int, bias: bool) -> TemporaryDirectory[str]:
    """Return a folder with a teacher, made when it is first asked for and removed with the process."""
    folder = TemporaryDirectory(prefix="conformance-teacher-")
    with torch.device("cpu"), torch.random.fork_rng():
        torch.manual_seed(0)
        FrozenPartsModel(FrozenPartsConfig(width=width, bias=bias)).save_pretrained(folder.name)
    return folder
