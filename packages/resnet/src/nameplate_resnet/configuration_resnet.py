"""`ResnetConfig`: every number that a residual network is built from, checked against what timm accepts.

Imports neither torch nor timm.
"""

from collections.abc import Iterator
from typing import Annotated, Literal

from annotated_types import Ge

from nameplate_config import BackboneConfigMixin, OnlyWhen, Problem, Tiny

from .foreign import FOREIGN_FORMATS

Depth = Annotated[int, Ge(1), Tiny(1, 2)]
"""Blocks in one stage."""

Width = Annotated[int, Ge(1), Tiny(4, 8)]
"""Channels of one stage, before the block's expansion (4 for bottlenecks)."""

_BASE_OF_WIDTH = 64
_SHALLOWEST_TIERED_STEM = 4


class ResnetConfig(BackboneConfigMixin):
    """The configuration of a residual network of four stages.

    It also reads the config files of timm, of Transformers' own ResNet and of the tutorial on custom models, see
    `nameplate_resnet.foreign`.

    Attributes:
        block_type: Two 3x3 convolutions (``"basic"``, ResNet-18 and -34) or 1x1, 3x3, 1x1 (``"bottleneck"``).
        layers: Blocks in each of the four stages.
        channels: Channels of each stage, before the expansion of the block.
        num_classes: Classes that the classification head tells apart; also called `num_labels`.
        input_channels: Channels of the images.
        cardinality: Groups of the 3x3 convolution (ResNeXt); only bottlenecks have it.
        base_width: Channels per group, per 64 of the stage (Wide ResNet: 128); only bottlenecks have it.
        stem_width: Channels of a deep stem; a plain stem always has 64.
        stem_type: ``""`` for one 7x7 convolution; ``"deep"`` and ``"deep_tiered"`` for three 3x3 ones.
        avg_down: Whether skip connections that shrink use average pooling (ResNet-D).
        out_features: The stages that a backbone answers, of ``"stem"`` and ``"stage1"`` to ``"stage4"``.
        out_indices: The same stages by number.

    Example:
        >>> ResnetConfig(block_type="basic", layers=(2, 2, 2, 2))
        ResnetConfig(block_type='basic', layers=(2, 2, 2, 2))
        >>> ResnetConfig(block_type="basic", stem_width=32)
        Traceback (most recent call last):
        ...
        nameplate_config.ConfigError: ResnetConfig: 1 problem.
          stem_width: expected 64 while stem_type is '', found 32. It has an effect only when stem_type is ...
    """

    model_type = "nameplate_resnet"
    foreign_formats = FOREIGN_FORMATS
    attribute_map = {"num_labels": "num_classes"}  # noqa: RUF012 - a ClassVar of the base class

    block_type: Literal["basic", "bottleneck"] = "bottleneck"
    layers: tuple[Depth, Depth, Depth, Depth] = (3, 4, 6, 3)
    channels: tuple[Width, Width, Width, Width] = (64, 128, 256, 512)
    num_classes: Annotated[int, Ge(1), Tiny(2, 3)] = 1000
    input_channels: Annotated[int, Ge(1), Tiny(1, 3)] = 3
    cardinality: Annotated[int, Ge(1), Tiny(1, 2), OnlyWhen("block_type", "bottleneck")] = 1
    base_width: Annotated[int, Ge(1), Tiny(64, 32, 128), OnlyWhen("block_type", "bottleneck")] = 64
    stem_type: Literal["", "deep", "deep_tiered"] = ""
    stem_width: Annotated[int, Ge(1), Tiny(64, 8, 4), OnlyWhen("stem_type", "deep", "deep_tiered")] = 64
    avg_down: bool = False

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stem and of the four stages."""
        return ("stem", *(f"stage{number + 1}" for number in range(len(self.layers))))

    def validate_widths(self) -> Iterator[Problem]:
        """Refuse widths that would leave a convolution without channels."""
        if min(self.channels) * self.base_width < _BASE_OF_WIDTH:
            least = -(-_BASE_OF_WIDTH // min(self.channels))
            yield Problem("base_width", f"at least {least} with {min(self.channels)} channels", str(self.base_width))
        if self.stem_type == "deep_tiered" and self.stem_width < _SHALLOWEST_TIERED_STEM:
            yield Problem("stem_width", f"at least {_SHALLOWEST_TIERED_STEM} for a tiered stem", str(self.stem_width))
