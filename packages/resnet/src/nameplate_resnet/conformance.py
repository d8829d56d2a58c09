"""How this package is judged: what `nameplate-conformance` is told beyond the classes and their fields.

Read through the entry point ``nameplate.conformance``. Nothing here imports it, so the suite need not be installed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from timm.models.resnet import ResNet
from torch import Tensor

from nameplate_conformance import Architecture, Foreign, Tags

from .architecture import ARCHITECTURE as ANNOUNCED
from .configuration_resnet import ResnetConfig

Promise = Mapping[str, tuple[Sequence[int], torch.dtype]]

_PLAIN_STEM = 64
_EXPANSION = {"basic": 1, "bottleneck": 4}
_NETWORKS = {"basic": "resnet18", "bottleneck": "resnet50"}
_ARGUMENTS = ("layers", "channels", "cardinality", "base_width", "stem_width", "stem_type", "avg_down")


# ---- what the models promise


def _stages(config: ResnetConfig, pixels: Tensor) -> list[tuple[int, ...]]:
    """Return the shape of what the stem and each stage answer: each halves the sides, but that stage 1 has pooled."""
    batch, _, height, width = pixels.shape
    stem = 2 * config.stem_width if config.stem_type else _PLAIN_STEM
    channels = (stem, *(each * _EXPANSION[config.block_type] for each in config.channels))
    halvings = range(1, len(channels) + 1)
    return [(batch, each, -(-height // 2**n), -(-width // 2**n)) for each, n in zip(channels, halvings, strict=True)]


def _features(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    last = _stages(config, pixels)[-1]
    return {"last_hidden_state": (last, pixels.dtype), "pooler_output": (last[:2], pixels.dtype)}


def _classification(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    loss: Promise = {"loss": ((), pixels.dtype)} if "labels" in inputs else {}
    return {"logits": ((len(pixels), config.num_classes), pixels.dtype), **loss}


def _feature_maps(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    stages = _stages(config, pixels)
    maps = [stages[index] for index in config.out_indices or ()]
    return {f"feature_maps[{place}]": (shape, pixels.dtype) for place, shape in enumerate(maps)}


# ---- timm


def _arguments(config: ResnetConfig) -> dict[str, Any]:
    """Return the arguments by which timm makes the network of a config."""
    return {"in_chans": config.input_channels, **{name: getattr(config, name) for name in _ARGUMENTS}}


def _make(config: ResnetConfig) -> ResNet:
    pixels = dict.fromkeys(("mean", "std"), (0.5,) * config.input_channels)  # else timm warns of its own
    made: Any = timm.create_model(
        _NETWORKS[config.block_type],
        pretrained_cfg_overlay=pixels,
        num_classes=config.num_classes,
        **_arguments(config),
    )
    return made


def _save(network: ResNet, config: ResnetConfig, folder: Path) -> None:
    save_for_hf(network, str(folder), model_args=_arguments(config), safe_serialization=True)


TIMM = Foreign(
    library="timm",
    head="AutoModelForImageClassification",
    make=_make,
    save=_save,
    answer=lambda network, inputs: {"logits": network(inputs["pixel_values"])},
)
"""timm's own network, as `timm.models.push_to_hf_hub` saves it."""

ARCHITECTURE = Architecture(
    config=ANNOUNCED["AutoConfig"],
    models={name: place for name, place in ANNOUNCED.items() if name != "AutoConfig"},
    outputs={
        "AutoModel": _features,
        "AutoModelForImageClassification": _classification,
        "AutoBackbone": _feature_maps,
    },
    tags=Tags(gradient_checkpointing=True),
    golden="nameplate_resnet:golden",
    foreign=[TIMM],
)
"""The residual network, with every promise that it makes."""
