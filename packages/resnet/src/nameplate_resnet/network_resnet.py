"""`build_resnet`: timm's network for a config, the one place that calls timm's constructor.

What a config names by text becomes timm's class here; what the network then does is `modeling_resnet`.
"""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import timm
from timm.layers import BlurPool2d, get_act_layer, get_attn, get_norm_layer
from timm.models._prune import adapt_model_from_file
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import nn

from .config_core import ConfigError, Problem
from .configuration_resnet import BlockArgs, ResnetConfig
from .variants import arguments_of

BLOCK_MAPPING: Mapping[str, type[BasicBlock | Bottleneck]] = MappingProxyType(
    {"basic": BasicBlock, "bottleneck": Bottleneck}
)
"""The block classes of timm by `ResnetConfig.block_type`."""

_ANTI_ALIASING: Mapping[str, Callable[..., nn.Module]] = MappingProxyType(
    {"avg": nn.AvgPool2d, "blur": BlurPool2d, "blurpc": partial(BlurPool2d, pad_mode="constant")}
)


def build_resnet(config: ResnetConfig, *, num_classes: int) -> ResNet:
    """Return timm's network for a config.

    Args:
        config: What the network is built from.
        num_classes: What its classifier tells apart; 0 leaves the classifier out.

    Returns:
        The network in training mode, initialised as timm does it.

    Raises:
        ConfigError: If the installed timm is too old for a layer that the config names.

    Example:
        >>> network = build_resnet(ResnetConfig.from_timm("resnet18", channels=(4, 4, 8, 8)), num_classes=10)
        >>> network.fc
        Linear(in_features=8, out_features=10, bias=True)
    """
    blocks = config.block_type
    block = BLOCK_MAPPING[blocks] if isinstance(blocks, str) else [BLOCK_MAPPING[each] for each in blocks]
    named = {
        "act_layer": _layer("act_layer", config.act_layer, get_act_layer),
        "norm_layer": _layer("norm_layer", config.norm_layer, get_norm_layer),
        "aa_layer": None if config.aa_layer is None else _ANTI_ALIASING[config.aa_layer],
        "block_args": _block_arguments(config.block_args),
    }
    arguments: dict[str, Any] = {**arguments_of(config), "num_classes": num_classes, **named}
    network = ResNet(block, **arguments)  # pyrefly: ignore[bad-argument-type]  # timm annotates an instance
    return network if config.pruned is None else _pruned(network, config.pruned)


def _layer(field: str, name: str, find: Callable[[str], Any]) -> Any:
    """Return timm's class of a name that every timm knows, or that only newer ones do."""
    try:
        return find(name)
    except (KeyError, AssertionError) as error:
        problem = Problem(field, f"a layer of timm {timm.__version__}", repr(name), "Install a newer timm")
        message = f"timm: {problem}"
        raise ConfigError(message, (problem,)) from error


def _block_arguments(given: BlockArgs) -> dict[str, Any]:
    if given.attn_layer is None:
        return {}
    attention = _layer("block_args.attn_layer", given.attn_layer, get_attn)
    return {"attn_layer": attention if given.rd_ratio is None else partial(attention, rd_ratio=given.rd_ratio)}


def _pruned(network: ResNet, name: str) -> ResNet:
    """Return a network with the widths that timm's list for a pruned one gives."""
    whole: Any = network
    whole.pretrained_cfg = {"first_conv": "conv1.0"}  # whose input channels the list does not change
    adapted: Any = adapt_model_from_file(whole, name)
    del adapted.pretrained_cfg
    result: ResNet = adapted.train()  # which timm leaves in evaluation mode
    return result
