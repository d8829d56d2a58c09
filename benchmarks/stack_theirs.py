"""A stack of Transformers: how it is written, built and loaded."""

from typing import Any

import torch
from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel
from transformers.utils.logging import disable_progress_bar

from benchmarks.stack import Shape
from benchmarks.values import checksum, fill

disable_progress_bar()  # ours has none to draw


class StackConfig(PreTrainedConfig):
    """The size of each layer and their number."""

    model_type = "stack"

    tensors: int = 2
    rows: int = 2
    columns: int = 2


class Stack(PreTrainedModel):
    """Linear layers without a bias."""

    config_class = StackConfig

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(config.columns, config.rows, bias=False) for _ in range(config.tensors))
        self.post_init()


def build(shape: Shape) -> Stack:
    """Return a stack in memory of its own, with its values."""
    with torch.device("meta"):
        model = Stack(StackConfig(**shape.fields))
    model.to_empty(device="cpu")
    with torch.no_grad():
        fill(model.parameters())
    return model


def write(folder: str, shape: Shape, **options: Any) -> float:
    """Save a stack and return its checksum."""
    model = build(shape)
    model.save_pretrained(folder, **options)
    return checksum(model.parameters())


def load(folder: str, **options: Any) -> nn.Module:
    """Load a stack, with the record that tells that every key was loaded."""
    loaded: Any = Stack.from_pretrained(folder, output_loading_info=True, **options)
    model, info = loaded
    assert not any(info.values())
    return model
