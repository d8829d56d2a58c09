"""`build_fcn_head`: what turns the last feature map of a network into a class for each of its pixels."""

import math
from functools import partial
from typing import Any

from timm.layers import get_act_layer, get_norm_layer
from torch import nn

from .configuration_resnet import ResnetConfig

_DROPOUT = 0.1
_NARROWING = 4
_MOST_GROUPS = 32
_LEAST_CHANNELS = 4  # of a group: one alone would lose what it says about a map of a single pixel
_LEAST_WIDTH = 2  # of the head: normalised across its channels, one alone would be zero everywhere, or no number


def build_fcn_head(config: ResnetConfig, *, features: int) -> nn.Sequential:
    """Return the head of a fully convolutional network, the same as torchvision's `FCNHead`.

    A 3x3 convolution to a fourth of the channels, two at least, normalisation, activation, dropout of 0.1 in training,
    and a 1x1 convolution to the classes. Normalisation and activation are those of the config; group normalisation has
    fewer groups where there are few channels.

    Args:
        config: What names the layers and counts the classes.
        features: The channels of the map.

    Returns:
        The head: ``(batch, features, height, width)`` in, ``(batch, num_classes, height, width)`` out.

    Example:
        >>> import torch
        >>> build_fcn_head(ResnetConfig(num_labels=5), features=64)(torch.zeros(1, 64, 7, 9)).shape
        torch.Size([1, 5, 7, 9])
    """
    inner = max(features // _NARROWING, _LEAST_WIDTH)
    normalization: Any = get_norm_layer(config.norm_layer)
    if config.norm_layer == "groupnorm":
        normalization = partial(normalization, num_groups=math.gcd(inner // _LEAST_CHANNELS, _MOST_GROUPS))
    activation: Any = get_act_layer(config.act_layer)
    return nn.Sequential(
        nn.Conv2d(features, inner, kernel_size=3, padding=1, bias=False),
        normalization(inner),
        activation(inplace=True),
        nn.Dropout(_DROPOUT),
        nn.Conv2d(inner, config.num_classes, kernel_size=1),
    )
