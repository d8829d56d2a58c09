"""The models: timm's ResNet behind a config, as a body, as a backbone, and with a head on top.

The legend of shapes: ``batch`` images, ``height`` and ``width`` in pixels, ``channels`` as in the config,
``features = channels[3] * expansion`` where the expansion is 1 for basic blocks and 4 for bottlenecks, and
``stride``, the `output_stride` of the config.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from timm.models.resnet import ResNet
from torch import Tensor
from torch.nn import functional

from .configuration_resnet import ResnetConfig
from .fcn_head import build_fcn_head
from .foreign import FOREIGN_KEYS
from .losses import classification_loss, segmentation_loss
from .model_core import BackboneOutput, ModelOutput, PreTrainedModel
from .network_resnet import build_resnet

_EXAMPLE_PIXELS = 32
"""The smallest square that leaves one pixel after the five halvings of the network."""

_ALWAYS_THERE: Any = None
"""The default of what every answer has: after an entry that may be None, a dataclass asks for one."""


@dataclass
class ImageFeatures(ModelOutput):
    """What `ResnetModel` answers.

    Attributes:
        last_hidden_state: ``(batch, features, height / stride, width / stride)``.
        pooler_output: ``(batch, features)``, what the config's `global_pool` makes of it; ``2 * features`` where
            that pools twice.
        hidden_states: The maps behind the stem and behind each stage, if they were asked for.
    """

    last_hidden_state: Tensor
    pooler_output: Tensor = _ALWAYS_THERE
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class ImageClassification(ModelOutput):
    """What `ResnetModelForImageClassification` answers.

    Attributes:
        loss: A scalar, see `losses.classification_loss`; None if no labels were given.
        logits: ``(batch, num_classes)``, before the softmax.
        hidden_states: The maps behind the stem and behind each stage, if they were asked for.
    """

    loss: Tensor | None = None
    logits: Tensor = _ALWAYS_THERE
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class SemanticSegmentation(ModelOutput):
    """What `ResnetForSemanticSegmentation` answers.

    Attributes:
        loss: A scalar, see `losses.segmentation_loss`; None if no labels were given.
        logits: ``(batch, num_classes, height, width)``, before the softmax.
        hidden_states: The maps behind the stem and behind each stage, if they were asked for.
    """

    loss: Tensor | None = None
    logits: Tensor = _ALWAYS_THERE
    hidden_states: tuple[Tensor, ...] | None = None


class ResnetPreTrainedModel(PreTrainedModel):
    """What the ResNet models have in common: the config class, and which keys belong to a head."""

    config_class = ResnetConfig
    head_prefixes = ("model.fc.", "head.")
    foreign_key_mapping = FOREIGN_KEYS
    checkpointed_modules = ("model.layer?.*",)  # the blocks alone, and none of the layers that repeat in a deep stem

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
        >>> features.last_hidden_state.shape, features.pooler_output.shape
        (torch.Size([2, 8, 2, 2]), torch.Size([2, 8]))
    """

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__(config)
        self.model = build_resnet(config, num_classes=0)

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool = False, return_dict: bool = True
    ) -> ImageFeatures | tuple[Any, ...]:
        """Return the features of images.

        Args:
            pixel_values: ``(batch, input_channels, height, width)``.
            output_hidden_states: Whether to answer the maps of the stem and of all stages too.
            return_dict: Whether the answer is an `ImageFeatures`; else it is the tuple of what that holds.
        """
        features, maps = _features(self.model, pixel_values, every=output_hidden_states)
        answer = ImageFeatures(features, self.model.forward_head(features, pre_logits=True), maps)
        return answer if return_dict else answer.to_tuple()


class ResnetModelForImageClassification(ResnetPreTrainedModel):
    """The body with a linear classifier on the pooled features.

    Example:
        >>> config = ResnetConfig(block_type="basic", layers=(1, 1, 1, 1), channels=(4, 4, 8, 8), num_classes=10)
        >>> answer = ResnetModelForImageClassification(config)(torch.zeros(2, 3, 64, 64), torch.tensor([3, 7]))
        >>> answer.logits.shape, answer.loss.shape
        (torch.Size([2, 10]), torch.Size([]))
    """

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__(config)
        self.model = build_resnet(config, num_classes=config.num_classes)

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> ImageClassification | tuple[Any, ...]:
        """Return the logits of images, and their loss if there are labels.

        Args:
            pixel_values: ``(batch, input_channels, height, width)``.
            labels: ``(batch,)`` or ``(batch, num_classes)``: `losses.classification_loss` says what of which. The
                config's `problem_type` tells the loss; None leaves it to the labels, each time anew.
            output_hidden_states: Whether to answer the maps of the stem and of all stages too.
            return_dict: Whether the answer is an `ImageClassification`; else it is the tuple of what that holds.

        Raises:
            LabelsError: If the labels do not fit.
        """
        maps = None
        if output_hidden_states:
            features, maps = _features(self.model, pixel_values, every=True)
            logits = self.model.forward_head(features)
        else:
            logits = self.model(pixel_values)
        loss = None
        if labels is not None:
            config = self.config
            kind = {"problem_type": config.problem_type, "label_smoothing": config.label_smoothing}
            loss = classification_loss(logits, labels, **kind)
        answer = ImageClassification(loss, logits, maps)
        return answer if return_dict else answer.to_tuple()

    def reset_classifier(self, num_labels: int, id2label: Mapping[int, str] | None = None) -> None:
        """Replace the classifier by a new one, initialised as timm does it; every tensor of the body stays.

        The model gets a config of its own; the one that it was built from is not changed. Optimizers go on training the
        old classifier, so make them afterwards.

        Args:
            num_labels: How many classes the new classifier tells apart, at least 1: a body without a classifier is a
                `ResnetModel`.
            id2label: Their names. Without any they are numbered: the names of old classes are not those of new ones.

        Raises:
            ConfigError: If the number or the names do not fit. The model is as it was.

        Example:
            >>> config = ResnetConfig(block_type="basic", layers=(1, 1, 1, 1), channels=(4, 4, 8, 8))
            >>> model = ResnetModelForImageClassification(config)
            >>> model.reset_classifier(2, {0: "cat", 1: "dog"})
            >>> model.model.fc, model.config.num_labels, config.num_labels
            (Linear(in_features=8, out_features=2, bias=True), 2, 1000)
        """
        config = self.config.copy(num_classes=num_labels, id2label=id2label)
        old = self.model.fc.weight
        self.model.reset_classifier(config.num_classes)
        new: Any = self.model.fc
        new.to(device=old.device, dtype=old.dtype)  # which need not be those of the stem
        self.config = config


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

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool = False, return_dict: bool = True
    ) -> BackboneOutput | tuple[Any, ...]:
        """Return the feature maps of images.

        Stages behind the last one that is asked for are not run.

        Args:
            pixel_values: ``(batch, input_channels, height, width)``.
            output_hidden_states: Whether to answer the maps of all stages too, as ``hidden_states``.
            return_dict: Whether the answer is a `BackboneOutput`; else it is the tuple of what that holds.
        """
        places = self._places
        wanted = list(range(len(self.config.stage_names))) if output_hidden_states else places
        found = self.model.forward_intermediates(pixel_values, indices=wanted, stop_early=True, intermediates_only=True)
        maps = dict(zip(wanted, cast("list[Tensor]", found), strict=True))
        features = tuple(maps[index] for index in places)
        answer = BackboneOutput(features, tuple(maps.values()) if output_hidden_states else None)
        return answer if return_dict else answer.to_tuple()


class ResnetForSemanticSegmentation(ResnetPreTrainedModel):
    """The body with a head that tells the class of each pixel: the fully convolutional network of torchvision.

    The last feature map goes through the head of `fcn_head`; its logits are enlarged to the size of the images,
    bilinearly. An `output_stride` of 8 or 16 keeps the map fine enough for that. The checkpoint of a classifier, a body
    or a backbone gives the body, and the load report names the head as new.

    Example:
        >>> config = ResnetConfig(
        ...     block_type="basic", layers=(1, 1, 1, 1), channels=(4, 4, 8, 8), output_stride=8, num_labels=5
        ... )
        >>> model = ResnetForSemanticSegmentation(config)
        >>> answer = model(torch.zeros(2, 3, 64, 48), labels=torch.full((2, 64, 48), 3))
        >>> answer.logits.shape, answer.loss.shape
        (torch.Size([2, 5, 64, 48]), torch.Size([]))
    """

    def __init__(self, config: ResnetConfig) -> None:
        super().__init__(config)
        self.model = build_resnet(config, num_classes=0)
        self.head = build_fcn_head(config, features=self.model.num_features)

    def forward(
        self,
        pixel_values: Tensor,
        labels: Tensor | None = None,
        *,
        output_hidden_states: bool = False,
        return_dict: bool = True,
    ) -> SemanticSegmentation | tuple[Any, ...]:
        """Return the logits of each pixel of images, and their loss if there are labels.

        Args:
            pixel_values: ``(batch, input_channels, height, width)``.
            labels: The class of each pixel, integers ``(batch, height, width)``; 255 for those that do not count. The
                loss is the cross entropy, whatever the config's `problem_type`.
            output_hidden_states: Whether to answer the maps of the stem and of all stages too.
            return_dict: Whether the answer is a `SemanticSegmentation`; else it is the tuple of what that holds.

        Raises:
            LabelsError: If the labels do not fit.
        """
        features, maps = _features(self.model, pixel_values, every=output_hidden_states)
        logits = functional.interpolate(self.head(features), size=pixel_values.shape[-2:], mode="bilinear")
        loss = None
        if labels is not None:
            loss = segmentation_loss(logits, labels, label_smoothing=self.config.label_smoothing)
        answer = SemanticSegmentation(loss, logits, maps)
        return answer if return_dict else answer.to_tuple()


def _features(network: ResNet, pixel_values: Tensor, *, every: bool) -> tuple[Tensor, tuple[Tensor, ...] | None]:
    """Return the last feature map of a network, and if *every* is wanted also those of the stem and of each stage."""
    if not every:
        return network.forward_features(pixel_values), None
    features, maps = network.forward_intermediates(pixel_values)
    return cast("Tensor", features), tuple(maps)
