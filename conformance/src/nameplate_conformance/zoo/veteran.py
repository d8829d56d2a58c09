"""The veteran: an architecture with a past, whose first version had other names, and which another library has too.

Its golden folder is what that first version saved. `as_released` is that version, kept to show that it is.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar

import torch
from annotated_types import Ge
from torch import Tensor, nn

from nameplate_config import ForeignFormat, PreTrainedConfig, Tiny, migrates
from nameplate_conformance.architecture import Architecture, Foreign
from nameplate_model import PreTrainedModel, migrates_state

GOLDEN = f"{__package__}:golden"
"""Where the first version has left what it saved."""

FIRST_ARGUMENTS: Mapping[str, Any] = MappingProxyType({"width": 2, "height": 2})
"""With which config it did so."""


def _of_stack(values: dict[str, Any]) -> dict[str, Any]:
    return {"width": values["stack"]["size"], "depth": values["stack"]["levels"]}


class VeteranConfig(PreTrainedConfig):
    """The config of a stack of linear layers; version 1 called its depth its height."""

    model_type = "zoo_veteran"
    config_version = 2
    foreign_formats = (ForeignFormat("stack", lambda values: "stack" in values, _of_stack),)

    width: Annotated[int, Ge(1), Tiny(1, 2, 3)] = 8
    depth: Annotated[int, Ge(1), Tiny(1, 2)] = 2

    @migrates(1, 2)
    @staticmethod
    def height_became_depth(values: dict[str, Any]) -> dict[str, Any]:
        """Read the field under its first name."""
        values["depth"] = values.pop("height", 2)
        return values


class VeteranModel(PreTrainedModel):
    """A stack of linear layers and a buffer; version 1 called the buffer its shift."""

    config_class = VeteranConfig
    state_dict_version = 2
    foreign_key_mapping: ClassVar[Mapping[str, str]] = {r"^level(\d+)\.": r"layers.\1.", "^bias_at_the_end$": "offset"}

    config: VeteranConfig

    def __init__(self, config: VeteranConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.depth))
        self.register_buffer("offset", torch.zeros(config.width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return ``{"y": (batch, width)}`` for inputs of that shape."""
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return {"y": x + self.get_buffer("offset")}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two rows, always the same."""
        return {"x": torch.rand(2, self.config.width, generator=torch.Generator().manual_seed(0))}

    @staticmethod
    @migrates_state(1, 2)
    def shift_became_offset(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Read the buffer under its first name."""
        return {"offset" if name == "shift" else name: tensor for name, tensor in state.items()}


def veteran(model: type[PreTrainedModel] = VeteranModel) -> Architecture:
    """Return the architecture as it is today, or with another model."""
    config = model.config_class
    assert config is not None
    return Architecture(config=config, models={"AutoModel": model}, golden=GOLDEN, foreign=[STACK], name="zoo-veteran")


# ---- the first version


class _FirstConfig(PreTrainedConfig):
    model_type = VeteranConfig.model_type

    width: int = 8
    height: int = 2


class _FirstModel(PreTrainedModel):
    config_class = _FirstConfig

    config: _FirstConfig

    def __init__(self, config: _FirstConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(config.width, config.width) for _ in range(config.height))
        self.register_buffer("shift", torch.zeros(config.width))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        for layer in self.layers:
            x = torch.tanh(layer(x))
        return {"y": x + self.get_buffer("shift")}

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        return {"x": torch.rand(2, self.config.width, generator=torch.Generator().manual_seed(0))}


_FirstModel.__name__ = VeteranModel.__name__  # under which it was saved


def as_released() -> Architecture:
    """Return the first version."""
    return Architecture(config=_FirstConfig, models={"AutoModel": _FirstModel}, name="zoo-veteran")


# ---- the other library


class Stack(nn.Module):
    """The same computation as somebody else would write it, with names of their own."""

    def __init__(self, size: int, levels: int) -> None:
        super().__init__()
        for number in range(levels):
            self.add_module(f"level{number}", nn.Linear(size, size))
        self.register_buffer("bias_at_the_end", torch.zeros(size))

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(batch, size)`` for inputs of that shape."""
        for level in self.children():
            x = level(x).tanh()
        return x + self.get_buffer("bias_at_the_end")


def _save(stack: Stack, config: VeteranConfig, folder: Path) -> None:
    from safetensors.torch import save_file  # noqa: PLC0415 - the other library

    folder.mkdir()
    save_file(stack.state_dict(), folder / "model.safetensors")
    values = {"stack": {"size": config.width, "levels": config.depth}}
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")


STACK = Foreign(
    library="safetensors",
    head="AutoModel",
    make=lambda config: Stack(config.width, config.depth),
    save=_save,
    answer=lambda stack, inputs: {"y": stack(**inputs)},
)
"""The other library, which saves with safetensors alone."""
