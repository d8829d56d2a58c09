"""The models: timm's ResNet behind a config, as a body, as a backbone and with a classification head.

The legend of shapes: ``batch`` images, ``height`` and ``width`` in pixels, ``channels`` as in the config,
``features = channels[3] * expansion`` where the expansion is 1 for basic blocks and 4 for bottlenecks.
"""

from typing import TypedDict

import torch
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from nameplate_model import BackboneOutput, PreTrainedModel

from .configuration_resnet import ResnetConfig
from .foreign import FOREIGN_KEYS

BLOCK_MAPPING = {"basic": BasicBlock, "bottleneck": Bottleneck}
"""The block classes of timm by `ResnetConfig.block_type`."""

_EXAMPLE_PIXELS = 32
"""The smallest square that leaves one pixel after the five halvings of the network."""


class ImageFeatures(TypedDict):
    """What `ResnetModel` answers.

    Attributes:
        last_hidden_state: ``(batch, features, height / 32, width / 32)``.
        pooler_output: ``(batch, features)``, the mean over the pixels.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor


class ImageClassification(TypedDict, total=False):
    """What `ResnetModelForImageClassification` answers.

    Attributes:
        loss: The mean cross-entropy, a scalar; only if labels were given.
        logits: ``(batch, num_classes)``, before the softmax.
    """

    loss: Tensor
    logits: Tensor


class ResnetPreTrainedModel(PreTrainedModel):
    """What the ResNet models have in common: the config class, and which keys belong to the head."""

    config_class = ResnetConfig
    head_prefixes = ("model.fc.",)
    foreign_key_mapping = FOREIGN_KEYS

    config: ResnetConfig

    @property
    def dummy_inputs(self) -> dict[str, Tensor]:
        """Two small images, always the same: ``pixel_values`` of shape ``(2, input_channels, 32, 32)`` in [0, 1]."""
        shape = (2, self.config.input_channels, _EXAMPLE_PIXELS, _EXAMPLE_PIXELS)
        return {"pixel_values": torch.rand(shape, generator=torch.Generator().manual_seed(0))}


class ResnetModel(ResnetPreTrainedModel):
    """The body: images in, features out.

    Example:
        >>> config = ResnetConfig(block_type="basic", layers=(1, 1, 1, 1), channels=(4, 4, 8, 8))
        >>> features = ResnetModel(config)(torch.zeros(2, 3, 64, 64))
        >>> features["last_hidden_state"].shape, features["pooler_output"].shape
        (torch.Size([2, 8, 2, 2]), torch.Size([2, 8]))
    """

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__(config)
        self.model = build_resnet(config, num_classes=0)

    def forward(self, pixel_values: Tensor) -> ImageFeatures:
        """Return the features of images of shape ``(batch, input_channels, height, width)``."""
        features = self.model.forward_features(pixel_values)
        return {"last_hidden_state": features, "pooler_output": self.model.forward_head(features, pre_logits=True)}


class ResnetModelForImageClassification(ResnetPreTrainedModel):
    """The body with a linear classifier on the pooled features.

    Example:
        >>> config = ResnetConfig(block_type="basic", layers=(1, 1, 1, 1), channels=(4, 4, 8, 8), num_classes=10)
        >>> answer = ResnetModelForImageClassification(config)(torch.zeros(2, 3, 64, 64), torch.tensor([3, 7]))
        >>> answer["logits"].shape, answer["loss"].shape
        (torch.Size([2, 10]), torch.Size([]))
    """

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__(config)
        self.model = build_resnet(config, num_classes=config.num_classes)

    def forward(self, pixel_values: Tensor, labels: Tensor | None = None) -> ImageClassification:
        """Return the logits of images, and their loss if labels of shape ``(batch,)`` are given."""
        logits = self.model(pixel_values)
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


class ResnetBackbone(ResnetPreTrainedModel):
    """The body as others build on it: images in, the feature maps of the stages out that the config names.

    Example:
        >>> config = ResnetConfig(block_type="basic", layers=(1, 1, 1, 1), channels=(4, 4, 8, 8), out_indices=(1, 4))
        >>> backbone = ResnetBackbone(config)
        >>> backbone.channels, backbone.strides
        ((4, 8), (4, 32))
        >>> [each.shape for each in backbone(torch.zeros(2, 3, 64, 64)).feature_maps]
        [torch.Size([2, 4, 16, 16]), torch.Size([2, 8, 2, 2])]
    """

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__(config)
        self.model = build_resnet(config, num_classes=0)

    @property
    def out_features(self) -> tuple[str, ...]:
        """The names of the stages that are answered."""
        return tuple(self.config.stage_names[index] for index in self._places)

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels of each feature map."""
        return tuple(self.model.feature_info[index]["num_chs"] for index in self._places)

    @property
    def strides(self) -> tuple[int, ...]:
        """How many pixels of the image one of each feature map stands for, along each side."""
        return tuple(self.model.feature_info[index]["reduction"] for index in self._places)

    @property
    def _places(self) -> list[int]:
        stages = len(self.config.stage_names)
        return [index % stages for index in self.config.out_indices or ()]

    def forward(self, pixel_values: Tensor, *, output_hidden_states: bool = False) -> BackboneOutput:
        """Return the feature maps of images of shape ``(batch, input_channels, height, width)``.

        Stages behind the last one that is asked for are not run.

        Args:
            pixel_values: The images.
            output_hidden_states: Whether to answer the maps of all stages too, as ``hidden_states``.
        """
        places = self._places
        wanted = list(range(len(self.config.stage_names))) if output_hidden_states else places
        found = self.model.forward_intermediates(pixel_values, indices=wanted, stop_early=True, intermediates_only=True)
        maps = dict(zip(wanted, found, strict=True))
        features = tuple(maps[index] for index in places)
        if output_hidden_states:
            return BackboneOutput(feature_maps=features, hidden_states=tuple(found))
        return BackboneOutput(feature_maps=features)


def build_resnet(config: ResnetConfig, *, num_classes: int) -> ResNet:
    """Return timm's network for a config, with a classifier for *num_classes*, or none for 0."""
    return ResNet(
        BLOCK_MAPPING[config.block_type],  # pyrefly: ignore[bad-argument-type]  # timm annotates an instance
        config.layers,
        num_classes=num_classes,
        in_chans=config.input_channels,
        cardinality=config.cardinality,
        base_width=config.base_width,
        stem_width=config.stem_width,
        stem_type=config.stem_type,
        avg_down=config.avg_down,
        channels=config.channels,
    )
