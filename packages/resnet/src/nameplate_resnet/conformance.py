"""How this package is judged: what `nameplate-conformance` is told beyond the classes and their fields.

Read through the entry point ``nameplate.conformance``. Nothing here imports it, so the suite need not be installed.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import save_for_hf
from timm.models.resnet import ResNet
from torch import Tensor, nn

from nameplate_config import ConfigError
from nameplate_conformance import Architecture, Foreign, Tags

from .architecture import ARCHITECTURE as ANNOUNCED
from .configuration_resnet import ResnetConfig
from .variants import TIMM_NETWORKS, nearest

_IGNORED = 255
"""The label of pixels that do not count."""

Promise = Mapping[str, tuple[Sequence[int], torch.dtype]]

# ---- what the models promise


def _stages(config: ResnetConfig, pixels: Tensor) -> list[tuple[int, ...]]:
    """Return the shape of what the stem and each stage answer: each halves the sides, but that stage 1 has pooled.

    Stages that would go below the config's output stride are dilated instead.
    """
    batch, _, height, width = pixels.shape
    channels = (config.stem_widths[-1], *(each.out for each in config.stage_widths))
    strides = [2, *(min(2**halvings, config.output_stride) for halvings in range(2, len(channels) + 1))]
    return [(batch, each, -(-height // by), -(-width // by)) for each, by in zip(channels, strides, strict=True)]


def _features(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    last = _stages(config, pixels)[-1]
    pooled = (last[0], last[1] * (2 if config.global_pool.endswith("catavgmax") else 1))
    return {"last_hidden_state": (last, pixels.dtype), "pooler_output": (pooled, pixels.dtype)}


def _classification(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    loss: Promise = {"loss": ((), pixels.dtype)} if "labels" in inputs else {}
    return {"logits": ((len(pixels), config.num_classes), pixels.dtype), **loss}


def _segmentation(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    loss: Promise = {"loss": ((), pixels.dtype)} if "labels" in inputs else {}
    return {"logits": ((len(pixels), config.num_classes, *pixels.shape[2:]), pixels.dtype), **loss}


def _feature_maps(config: ResnetConfig, inputs: Mapping[str, Tensor]) -> Promise:
    pixels = inputs["pixel_values"]
    stages = _stages(config, pixels)
    maps = [stages[index] for index in config.out_indices or ()]
    return {f"feature_maps[{place}]": (shape, pixels.dtype) for place, shape in enumerate(maps)}


# ---- the losses, in torch's own words


def _problem(config: ResnetConfig) -> str:
    return config.problem_type or ("regression" if config.num_classes == 1 else "single_label_classification")


def _labels(config: ResnetConfig, logits: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    if _problem(config) == "single_label_classification":
        return torch.randint(config.num_classes, (len(logits),), generator=generator).to(logits.device)
    return torch.rand(logits.shape, generator=generator).to(logits)


def _classification_loss(config: ResnetConfig, logits: Tensor, labels: Tensor) -> Tensor:
    losses = {
        "single_label_classification": nn.CrossEntropyLoss(label_smoothing=config.label_smoothing),
        "multi_label_classification": nn.BCEWithLogitsLoss(),
        "regression": nn.MSELoss(),
    }
    loss: Tensor = losses[_problem(config)](logits, labels)
    return loss


def _pixel_labels(_: ResnetConfig, logits: Tensor) -> Tensor:
    batch, classes, height, width = logits.shape
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(max(classes, 2), (batch, height, width), generator=generator)
    labels[:, 0] = _IGNORED
    return labels.to(logits.device)


def _segmentation_loss(config: ResnetConfig, logits: Tensor, labels: Tensor) -> Tensor:
    if config.num_classes == 1:
        counted = labels != _IGNORED
        return nn.functional.binary_cross_entropy_with_logits(logits[:, 0][counted], labels[counted].to(logits))
    smoothing = config.label_smoothing
    return nn.functional.cross_entropy(logits, labels, ignore_index=_IGNORED, label_smoothing=smoothing)


# ---- what fits together

_OF_PIXELS = frozenset({"layernorm2d", "rmsnorm2d", "simplenorm2d"})
"""The normalisations that look at the channels of each pixel by itself."""


def _fitted(drawn: dict[str, Any]) -> dict[str, Any]:
    """Return drawn arguments with what their blocks, anti-aliasing and normalisation ask of others.

    The last stage, whose maps may be a single pixel, has two channels for each group, as every layer has where all
    channels are one group: one alone has no variance. Where the channels of a pixel are normalised, there are enough of
    them that their variance is not mere rounding, also in the head of a segmentation, which has a fourth.
    """
    fitted = dict(drawn)
    if len(set(drawn["block_type"])) == 1:  # four of a kind
        fitted["block_type"] = drawn["block_type"][0]
    if drawn["aa_layer"] == "blurpc":
        fitted["replace_stem_pool"] = True
    if drawn["norm_layer"].removesuffix("fp32") in _OF_PIXELS:
        fitted["channels"] = (16, 16, 16, 32)
    if drawn["norm_layer"] == "groupnorm":
        stem = {"stem_type": "deep", "stem_width": 32} if drawn["stem_type"] else {}
        fitted |= {**stem, "channels": (32, 32, 32, 64), "base_width": 64, "block_reduce_first": 1}
    if drawn["norm_layer"] == "groupnorm1":
        fitted |= {"base_width": 64, "block_reduce_first": 1}
    return fitted


# ---- timm


def _told(config: ResnetConfig) -> tuple[str, dict[str, Any]]:
    """Return by which call timm makes the network of a config, or the one most like it that JSON can say."""
    known: dict[str, Any] = {}
    if not isinstance(config.block_type, str):
        known["block_type"] = TIMM_NETWORKS["test_resnet"]["block_type"]
    without_ratio: dict[str, Any] = {"block_args": {"rd_ratio": None}}
    for plainer in (known, known | without_ratio):
        with suppress(ConfigError):
            return nearest(config.copy(**plainer))
    return nearest(config.copy(**known, **without_ratio, aa_layer=None))


def _make(config: ResnetConfig) -> ResNet:
    name, arguments = _told(config)
    pixels = dict.fromkeys(("mean", "std"), (0.5,) * config.input_channels)  # else timm warns of its own
    made: Any = timm.create_model(name, pretrained_cfg_overlay=pixels, **arguments)
    return made


def _save(network: ResNet, config: ResnetConfig, folder: Path) -> None:
    save_for_hf(network, str(folder), model_args=_told(config)[1], safe_serialization=True)


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
        "AutoModelForSemanticSegmentation": _segmentation,
        "AutoBackbone": _feature_maps,
    },
    labels={"AutoModelForImageClassification": _labels, "AutoModelForSemanticSegmentation": _pixel_labels},
    loss={
        "AutoModelForImageClassification": _classification_loss,
        "AutoModelForSemanticSegmentation": _segmentation_loss,
    },
    constrain=_fitted,
    tags=Tags(gradient_checkpointing=True, passive_fields=("label_smoothing", "problem_type")),  # of losses alone: M15
    golden="nameplate_resnet:golden",
    foreign=[TIMM],
)
"""The residual network, with every promise that it makes."""
