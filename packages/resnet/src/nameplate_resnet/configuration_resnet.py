"""`ResnetConfig`: everything that a residual network is built from, checked against what timm accepts.

Imports neither torch nor timm.
"""

import math
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, Self

from .config_core import BackboneConfigMixin, Ge, Gt, Le, OnlyWhen, PreTrainedConfig, Problem, Tiny, fields, shown
from .foreign import FOREIGN_FORMATS
from .variants import TIMM_NETWORKS, network_fields

Depth = Annotated[int, Ge(1), Tiny(1, 2)]
"""Blocks in one stage."""

Width = Annotated[int, Ge(1), Tiny(4, 8)]
"""Channels of one stage, before the block's expansion (4 for bottlenecks)."""

Rate = Annotated[float, Ge(0), Le(1), Tiny(0.0, 0.25)]
"""How much is dropped in training, of 1."""

Block = Literal["basic", "bottleneck"]
"""The blocks of timm."""

Activation = Literal[
    "relu", "relu6", "leaky_relu", "prelu", "elu", "celu", "selu", "gelu", "gelu_tanh", "quick_gelu", "silu", "mish",
    "hard_mish", "hard_sigmoid", "hard_swish", "sigmoid", "tanh", "identity",
]  # fmt: skip
"""The activations of timm, each by one of its names."""

Normalization = Literal[
    "batchnorm2d", "groupnorm", "groupnorm1", "layernorm2d", "layernorm2dfp32", "rmsnorm2d", "rmsnorm2dfp32",
    "simplenorm2d", "simplenorm2dfp32",
]  # fmt: skip
"""The normalisations of timm that take maps of ``(batch, channels, height, width)``."""

Attention = Literal[
    "se", "ese", "eca", "ecam", "ceca", "gc", "gca", "cbam", "lcbam", "coord", "scoord", "ela", "strip", "sk", "splat",
    "lambda", "nl",
]  # fmt: skip
"""The attentions of timm that need know no more than the channels of a map."""

Pooling = Literal["avg", "max", "avgmax", "catavgmax", "fastavg", "fastmax", "fastavgmax", "fastcatavgmax"]
"""How timm turns the last maps into one vector: the mean, the maximum, the mean of both or both, side by side."""

EXPANSION: Mapping[str, int] = MappingProxyType({"basic": 1, "bottleneck": 4})
"""Channels that a block answers, per channel of its stage."""

_BASE_OF_WIDTH = 64
_PLAIN_STEM = 64
_SHALLOWEST_TIERED_STEM = 4
_GROUPS_OF_NORM = 32
_MULTIPLES: Mapping[str, int] = MappingProxyType({"lambda": 4, "sk": 2, "splat": 2})  # of other attentions: any width
_OF_VARIANCE = frozenset({"simplenorm2d", "simplenorm2dfp32"})
_FREE_WHEN_PRUNED = frozenset(
    {"num_classes", "input_channels", "act_layer", "global_pool", "drop_rate", "drop_path_rate", "drop_block_rate"}
    | {"pruned", "problem_type", "label_smoothing", "out_features", "out_indices"}
)


class BlockArgs(PreTrainedConfig):
    """What `ResnetConfig.block_args` holds: timm's arguments for every block.

    Attributes:
        attn_layer: The attention at the end of each block's branch; None for none.
        rd_ratio: How many of the channels the attention works with inside; None for what timm has as its default. Only
            for attentions that reduce.

    Example:
        >>> BlockArgs(attn_layer="se", rd_ratio=0.25)
        BlockArgs(attn_layer='se', rd_ratio=0.25)
    """

    attn_layer: Attention | None = None
    rd_ratio: Annotated[
        float | None,
        Gt(0),
        Le(1),
        Tiny(None, 0.25),
        OnlyWhen("attn_layer", "se", "ecam", "gc", "gca", "cbam", "lcbam", "coord", "scoord", "sk", "splat", "nl"),
    ] = None


class StageWidths(NamedTuple):
    """Channels inside one stage.

    Attributes:
        first: Behind the first convolution of each block.
        inner: Behind the 3x3 convolution that can have groups.
        out: Behind each block.
    """

    first: int
    inner: int
    out: int


class ResnetConfig(BackboneConfigMixin):
    """The configuration of a residual network of four stages.

    It also reads the config files of timm, of Transformers' own ResNet and of the tutorial on custom models, see
    `nameplate_resnet.foreign`.

    Attributes:
        block_type: Two 3x3 convolutions (``"basic"``, ResNet-18 and -34) or 1x1, 3x3, 1x1 (``"bottleneck"``); four
            of them where the stages differ.
        layers: Blocks in each of the four stages.
        channels: Channels of each stage, before the expansion of the block.
        num_classes: Classes that the classification head tells apart; also called `num_labels`.
        input_channels: Channels of the images.
        cardinality: Groups of the 3x3 convolution (ResNeXt); only bottlenecks have it.
        base_width: Channels per group, per 64 of the stage (Wide ResNet: 128); only bottlenecks have it.
        stem_type: ``""`` for one 7x7 convolution; ``"deep"`` and ``"deep_tiered"`` for three 3x3 ones.
        stem_width: Channels of a deep stem; a plain stem always has 64.
        replace_stem_pool: Whether a convolution halves the maps behind the stem, instead of pooling (ResNet-RS).
        avg_down: Whether skip connections that shrink use average pooling (ResNet-D).
        down_kernel_size: The kernel of the convolution in skip connections, where they do not pool (SENet: 3).
        block_reduce_first: By how much the first convolution of a block is narrower (SENet: 2).
        output_stride: Pixels of the image, along a side, that one of the last map stands for: stages that would
            shrink it further are dilated.
        act_layer: The activation.
        norm_layer: The normalisation.
        aa_layer: What blurs before each halving: ``"avg"``, ``"blur"``, or ``"blurpc"``, which pads with zeros and
            goes with `replace_stem_pool` only; None for nothing.
        block_args: Attention in the blocks; a dict will do.
        drop_rate: Dropout before the classifier, in training.
        drop_path_rate: Stochastic depth of the last block, in training; earlier blocks have less.
        drop_block_rate: DropBlock of the last two stages, in training.
        zero_init_last: Whether the last normalisation of each block starts at zero.
        global_pool: How the last maps become one vector.
        pruned: The name of one of timm's two pruned networks, whose widths are a list of timm's.
        problem_type: What the loss of the classification head is for; None leaves it to the labels.
        label_smoothing: How much of each label is spread over all classes, of 1.
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

    block_type: Block | tuple[Block, Block, Block, Block] = "bottleneck"
    layers: tuple[Depth, Depth, Depth, Depth] = (3, 4, 6, 3)
    channels: tuple[Width, Width, Width, Width] = (64, 128, 256, 512)
    num_classes: Annotated[int, Ge(1), Tiny(2, 3)] = 1000
    input_channels: Annotated[int, Ge(1), Tiny(1, 3)] = 3
    cardinality: Annotated[int, Ge(1), Tiny(1, 2), OnlyWhen("block_type", "bottleneck")] = 1
    base_width: Annotated[int, Ge(1), Tiny(64, 32, 128), OnlyWhen("block_type", "bottleneck")] = 64
    stem_type: Literal["", "deep", "deep_tiered"] = ""
    stem_width: Annotated[int, Ge(1), Tiny(64, 8, 4), OnlyWhen("stem_type", "deep", "deep_tiered")] = 64
    replace_stem_pool: bool = False
    avg_down: bool = False
    down_kernel_size: Annotated[int, Ge(1), Tiny(1, 3), OnlyWhen("avg_down", False)] = 1
    block_reduce_first: Annotated[int, Ge(1), Tiny(1, 2)] = 1
    output_stride: Literal[32, 16, 8] = 32
    act_layer: Activation = "relu"
    norm_layer: Normalization = "batchnorm2d"
    aa_layer: Literal["avg", "blur", "blurpc"] | None = None
    block_args: BlockArgs = BlockArgs()
    drop_rate: Rate = 0.0
    drop_path_rate: Rate = 0.0
    drop_block_rate: Rate = 0.0
    zero_init_last: bool = True
    global_pool: Pooling = "avg"
    pruned: Annotated[Literal["ecaresnet50d_pruned", "ecaresnet101d_pruned"] | None, Tiny(None)] = None
    problem_type: Literal["regression", "single_label_classification", "multi_label_classification"] | None = None
    label_smoothing: Annotated[
        float, Ge(0), Le(1), Tiny(0.0, 0.25), OnlyWhen("problem_type", None, "single_label_classification")
    ] = 0.0

    @classmethod
    def from_timm(cls, name: str, **overrides: Any) -> Self:
        """Return the config of a network of timm.

        Args:
            name: One of timm's names of residual networks. A tag behind it, as in ``"resnet50d.ra2_in1k"``, and an
                owner before it name weights, and do not change the network.
            **overrides: Fields that get another value.

        Returns:
            The config of the network that ``timm.create_model(name)`` builds.

        Raises:
            ConfigError: If timm has no residual network of that name, or a value does not fit.
            UnknownOptionError: If an override names no field.

        Example:
            >>> ResnetConfig.from_timm("seresnet18", num_classes=10)
            ResnetConfig(block_type='basic', layers=(2, 2, 2, 2), num_classes=10, block_args=BlockArgs(attn_layer='se'))
        """
        return cls(**{**network_fields(name), **overrides})

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stem and of the four stages."""
        return ("stem", *(f"stage{number + 1}" for number in range(len(self.layers))))

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The block of each of the four stages."""
        return (self.block_type,) * len(self.layers) if isinstance(self.block_type, str) else self.block_type

    # ---- widths

    @property
    def stem_widths(self) -> tuple[int, ...]:
        """The channels behind each convolution of the stem, the last one its output; of a pruned network, before."""
        if not self.stem_type:
            return (_PLAIN_STEM,)
        first = 3 * (self.stem_width // 4) if self.stem_type == "deep_tiered" else self.stem_width
        return (first, self.stem_width, 2 * self.stem_width)

    @property
    def stage_widths(self) -> tuple[StageWidths, ...]:
        """The channels inside each stage, derived as timm derives them; of a pruned network, before its pruning."""
        found: list[StageWidths] = []
        for block, planes in zip(self.blocks, self.channels, strict=True):
            inner = planes
            if block == "bottleneck":
                inner = math.floor(planes * (self.base_width / _BASE_OF_WIDTH)) * self.cardinality
            found.append(StageWidths(inner // self.block_reduce_first, inner, planes * EXPANSION[block]))
        return tuple(found)

    # ---- what contradicts

    def validate_blocks(self) -> Iterator[Problem]:
        """Refuse a second way to say the same blocks."""
        if not isinstance(self.block_type, str) and len(set(self.block_type)) == 1:
            yield Problem("block_type", f"{self.block_type[0]!r} for four of a kind", repr(self.block_type))

    def validate_widths(self) -> Iterator[Problem]:
        """Refuse widths that would leave a convolution without channels, or with channels that groups cannot share."""
        if min(self.channels) * self.base_width < _BASE_OF_WIDTH:
            least = -(-_BASE_OF_WIDTH // min(self.channels))
            yield Problem("base_width", f"at least {least} with {min(self.channels)} channels", str(self.base_width))
            return
        if self.stem_type == "deep_tiered" and self.stem_width < _SHALLOWEST_TIERED_STEM:
            yield Problem("stem_width", f"at least {_SHALLOWEST_TIERED_STEM} for a tiered stem", str(self.stem_width))
        for number, (first, inner, _) in enumerate(self.stage_widths, start=1):
            groups = self.cardinality
            if not first:
                expected = f"at most {inner} with {inner} channels in stage {number}"
            elif first % groups:
                expected = f"what leaves stage {number} a multiple of {groups} channels, its groups, of {inner}"
            else:
                continue
            yield Problem("block_reduce_first", expected, str(self.block_reduce_first))
            return

    def validate_layers_fit(self) -> Iterator[Problem]:
        """Refuse normalisation, attention and anti-aliasing that do not fit the widths or each other."""
        attention = self.block_args.attn_layer or ""
        groups = _GROUPS_OF_NORM if self.norm_layer == "groupnorm" else 1
        asked = (
            ("norm_layer", self.norm_layer, groups, self._normalized()),
            ("block_args.attn_layer", attention, _MULTIPLES.get(attention, 1), self._answered()),
        )
        for field, name, multiple, widths in asked:
            unfit = next((each for each in widths if each[1] % multiple), None)
            if unfit is not None:
                expected = f"one for {unfit[1]} channels, as {unfit[0]} has; this one takes multiples of {multiple}"
                yield Problem(field, expected, repr(name))
        single = next((place for place, width in self._normalized() if width == 1), None)
        if single is not None and self.norm_layer in _OF_VARIANCE:
            expected = f"one for the single channel of {single}; this one divides by the variance of several"
            yield Problem("norm_layer", expected, repr(self.norm_layer))
        if self.aa_layer == "blurpc" and not self.replace_stem_pool:
            hint = "timm's pooling stem takes no other blur"
            yield Problem("aa_layer", "None, 'avg' or 'blur' while replace_stem_pool is False", "'blurpc'", hint)

    def validate_down_kernel(self) -> Iterator[Problem]:
        """Refuse kernels that have no middle: their maps are one pixel too large to be added."""
        if self.down_kernel_size % 2 == 0:
            yield Problem("down_kernel_size", "an odd number", str(self.down_kernel_size))

    def validate_losses(self) -> Iterator[Problem]:
        """Refuse losses that a single class cannot have: its cross entropy is always zero."""
        if self.num_classes > 1:
            return
        hint = "A single class is a number, as in a regression"
        if self.problem_type == "single_label_classification":
            yield Problem("problem_type", "another loss while num_classes is 1", repr(self.problem_type), hint)
        elif self.label_smoothing:
            yield Problem("label_smoothing", "0.0 while num_classes is 1", str(self.label_smoothing), hint)

    def validate_pruned(self) -> Iterator[Problem]:
        """Refuse a pruned network that is built from anything else than the one that timm pruned."""
        if self.pruned is None:
            return
        whole = {name: value for name, value in TIMM_NETWORKS[self.pruned].items() if name != "pruned"}
        original = ResnetConfig(**whole)
        for field in fields(ResnetConfig):
            expected, found = (getattr(each, field.name) for each in (original, self))
            if field.name not in _FREE_WHEN_PRUNED and found != expected:
                hint = "timm's list of widths is for one network"
                yield Problem(field.name, f"{expected!r} while pruned is {self.pruned!r}", shown(found), hint)

    def _normalized(self) -> Iterator[tuple[str, int]]:
        """Yield every width that is normalised, and where."""
        yield from (("the stem", width) for width in self.stem_widths)
        for number, widths in enumerate(self.stage_widths, start=1):
            yield from ((f"stage {number}", width) for width in widths)

    def _answered(self) -> Iterator[tuple[str, int]]:
        """Yield the width behind each stage's blocks, and where."""
        yield from ((f"stage {number}", widths.out) for number, widths in enumerate(self.stage_widths, start=1))
