"""timm's residual networks by name, and the arguments of timm's constructor as our fields and back.

Only data and pure functions, for all who read or write what timm does; neither torch nor timm is imported.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from .config_core import ConfigError, Problem, did_you_mean, listed, sentences, shown

if TYPE_CHECKING:
    from .configuration_resnet import ResnetConfig

Values = dict[str, Any]

# ---- the table

_10: Values = {"block_type": "basic", "layers": (1, 1, 1, 1)}
_14: Values = {"block_type": "bottleneck", "layers": (1, 1, 1, 1)}
_18: Values = {"block_type": "basic", "layers": (2, 2, 2, 2)}
_26: Values = {"block_type": "bottleneck", "layers": (2, 2, 2, 2)}
_34: Values = {"block_type": "basic", "layers": (3, 4, 6, 3)}
_50: Values = {"block_type": "bottleneck", "layers": (3, 4, 6, 3)}
_101: Values = {"block_type": "bottleneck", "layers": (3, 4, 23, 3)}
_152: Values = {"block_type": "bottleneck", "layers": (3, 8, 36, 3)}
_200: Values = {"block_type": "bottleneck", "layers": (3, 24, 36, 3)}
_269: Values = {"block_type": "bottleneck", "layers": (3, 30, 48, 8)}
_D: Values = {"stem_type": "deep", "stem_width": 32, "avg_down": True}
_T: Values = {"stem_type": "deep_tiered", "stem_width": 32, "avg_down": True}
_C: Values = {"stem_type": "deep", "stem_width": 32}
_S: Values = {"stem_type": "deep", "stem_width": 64}
_RS: Values = {"replace_stem_pool": True, "block_args": {"attn_layer": "se", "rd_ratio": 0.25}}
_32X4: Values = {"cardinality": 32, "base_width": 4}
_32X8: Values = {"cardinality": 32, "base_width": 8}
_SE: Values = {"block_args": {"attn_layer": "se"}}
_ECA: Values = {"block_args": {"attn_layer": "eca"}}

TIMM_NETWORKS: Mapping[str, Values] = MappingProxyType(
    {
        "ecaresnet101d": {**_101, **_D, **_ECA},
        "ecaresnet101d_pruned": {**_101, **_D, **_ECA, "pruned": "ecaresnet101d_pruned"},
        "ecaresnet200d": {**_200, **_D, **_ECA},
        "ecaresnet269d": {**_269, **_D, **_ECA},
        "ecaresnet26t": {**_26, **_T, **_ECA},
        "ecaresnet50d": {**_50, **_D, **_ECA},
        "ecaresnet50d_pruned": {**_50, **_D, **_ECA, "pruned": "ecaresnet50d_pruned"},
        "ecaresnet50t": {**_50, **_T, **_ECA},
        "ecaresnetlight": {**_ECA, "block_type": "bottleneck", "layers": (1, 1, 11, 3), "avg_down": True},
        "ecaresnext26t_32x4d": {**_26, **_T, **_32X4, **_ECA},
        "ecaresnext50t_32x4d": {**_50, **_T, **_32X4, **_ECA},
        "resnet101": {**_101},
        "resnet101c": {**_101, **_C},
        "resnet101d": {**_101, **_D},
        "resnet101s": {**_101, **_S},
        "resnet10t": {**_10, **_T},
        "resnet14t": {**_14, **_T},
        "resnet152": {**_152},
        "resnet152c": {**_152, **_C},
        "resnet152d": {**_152, **_D},
        "resnet152s": {**_152, **_S},
        "resnet18": {**_18},
        "resnet18d": {**_18, **_D},
        "resnet200": {**_200},
        "resnet200d": {**_200, **_D},
        "resnet26": {**_26},
        "resnet26d": {**_26, **_D},
        "resnet26t": {**_26, **_T},
        "resnet34": {**_34},
        "resnet34d": {**_34, **_D},
        "resnet50": {**_50},
        "resnet50_gn": {**_50, "norm_layer": "groupnorm"},
        "resnet50c": {**_50, **_C},
        "resnet50d": {**_50, **_D},
        "resnet50s": {**_50, **_S},
        "resnet50t": {**_50, **_T},
        "resnetaa101d": {**_101, **_D, "aa_layer": "avg"},
        "resnetaa34d": {**_34, **_D, "aa_layer": "avg"},
        "resnetaa50": {**_50, "aa_layer": "avg"},
        "resnetaa50d": {**_50, **_D, "aa_layer": "avg"},
        "resnetblur101d": {**_101, **_D, "aa_layer": "blur"},
        "resnetblur18": {**_18, "aa_layer": "blur"},
        "resnetblur50": {**_50, "aa_layer": "blur"},
        "resnetblur50d": {**_50, **_D, "aa_layer": "blur"},
        "resnetrs101": {**_101, **_D, **_RS},
        "resnetrs152": {**_152, **_D, **_RS},
        "resnetrs200": {**_200, **_D, **_RS},
        "resnetrs270": {**_D, **_RS, "block_type": "bottleneck", "layers": (4, 29, 53, 4)},
        "resnetrs350": {**_D, **_RS, "block_type": "bottleneck", "layers": (4, 36, 72, 4)},
        "resnetrs420": {**_D, **_RS, "block_type": "bottleneck", "layers": (4, 44, 87, 4)},
        "resnetrs50": {**_50, **_D, **_RS},
        "resnext101_32x16d": {**_101, "cardinality": 32, "base_width": 16},
        "resnext101_32x32d": {**_101, "cardinality": 32, "base_width": 32},
        "resnext101_32x4d": {**_101, **_32X4},
        "resnext101_32x8d": {**_101, **_32X8},
        "resnext101_64x4d": {**_101, "cardinality": 64, "base_width": 4},
        "resnext50_32x4d": {**_50, **_32X4},
        "resnext50d_32x4d": {**_50, **_D, **_32X4},
        "senet154": {
            **_152,
            **_SE,
            "cardinality": 64,
            "base_width": 4,
            "stem_type": "deep",
            "down_kernel_size": 3,
            "block_reduce_first": 2,
        },
        "seresnet101": {**_101, **_SE},
        "seresnet152": {**_152, **_SE},
        "seresnet152d": {**_152, **_D, **_SE},
        "seresnet18": {**_18, **_SE},
        "seresnet200d": {**_200, **_D, **_SE},
        "seresnet269d": {**_269, **_D, **_SE},
        "seresnet34": {**_34, **_SE},
        "seresnet50": {**_50, **_SE},
        "seresnet50t": {**_50, **_T, **_SE},
        "seresnetaa50d": {**_50, **_D, **_SE, "aa_layer": "avg"},
        "seresnext101_32x4d": {**_101, **_32X4, **_SE},
        "seresnext101_32x8d": {**_101, **_32X8, **_SE},
        "seresnext101_64x4d": {**_101, **_SE, "cardinality": 64, "base_width": 4},
        "seresnext101d_32x8d": {**_101, **_D, **_32X8, **_SE},
        "seresnext26d_32x4d": {**_26, **_D, **_32X4, **_SE},
        "seresnext26t_32x4d": {**_26, **_T, **_32X4, **_SE},
        "seresnext50_32x4d": {**_50, **_32X4, **_SE},
        "seresnextaa101d_32x8d": {**_101, **_D, **_32X8, **_SE, "aa_layer": "avg"},
        "seresnextaa201d_32x8d": {
            **_S,
            **_32X8,
            **_SE,
            "block_type": "bottleneck",
            "layers": (3, 24, 36, 4),
            "avg_down": True,
            "aa_layer": "avg",
        },
        "test_resnet": {
            "block_type": ("basic", "basic", "bottleneck", "basic"),
            "layers": (1, 1, 1, 1),
            "stem_width": 16,
            "stem_type": "deep",
            "avg_down": True,
            "channels": (32, 48, 48, 96),
        },
        "wide_resnet101_2": {**_101, "base_width": 128},
        "wide_resnet50_2": {**_50, "base_width": 128},
    }
)
"""The fields of each residual network of timm 1.0.31, by timm's name."""


# ---- the end of the table

_NAMES: Mapping[str, str] = MappingProxyType(
    {
        "layers": "layers",
        "num_classes": "num_classes",
        "in_chans": "input_channels",
        "output_stride": "output_stride",
        "global_pool": "global_pool",
        "cardinality": "cardinality",
        "base_width": "base_width",
        "stem_width": "stem_width",
        "stem_type": "stem_type",
        "replace_stem_pool": "replace_stem_pool",
        "block_reduce_first": "block_reduce_first",
        "down_kernel_size": "down_kernel_size",
        "avg_down": "avg_down",
        "channels": "channels",
        "act_layer": "act_layer",
        "norm_layer": "norm_layer",
        "aa_layer": "aa_layer",
        "drop_rate": "drop_rate",
        "drop_path_rate": "drop_path_rate",
        "drop_block_rate": "drop_block_rate",
        "zero_init_last": "zero_init_last",
        "block_args": "block_args",
    }
)
"""Our fields by the names of timm's arguments, in the order of timm's constructor."""

_SYNONYMS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "act_layer": {"swish": "silu", "hardswish": "hard_swish", "hardsigmoid": "hard_sigmoid"},
        "norm_layer": {"batchnorm": "batchnorm2d"},
        "aa_layer": {"avgpool": "avg", "blurpool": "blur"},
        "global_pool": {"fast": "fastavg"},
    }
)
"""Second names that timm has for a layer."""

_RATES = ("drop_rate", "drop_path_rate", "drop_block_rate")


# ---- from timm's arguments to our fields


def fields_of(arguments: Mapping[str, Any], *, network: str | None = None) -> Values:
    """Return our fields for the arguments that timm is given.

    Args:
        arguments: What ``timm.create_model`` is given by name, as JSON holds it: layers are texts. None says nothing,
            as it does there.
        network: The name of the network that they change, if they change one: its fields come too.

    Returns:
        The values of fields. What timm would ignore is left out, and so is what nobody said.

    Raises:
        ConfigError: If timm has no such network, or an argument is no field.

    Example:
        >>> fields_of({"in_chans": 1, "act_layer": "swish"}, network="resnet18")
        {'block_type': 'basic', 'layers': (2, 2, 2, 2), 'input_channels': 1, 'act_layer': 'silu'}
    """
    given = {name: value for name, value in arguments.items() if value is not None}
    if problems := tuple(_unknown(given)):
        message = f"timm's arguments: {problems[0]}"
        raise ConfigError(message, problems)
    fields = {} if network is None else dict(network_fields(network))
    fields |= {_NAMES[name]: _field(name, value) for name, value in given.items()}
    if not fields.get("stem_type"):
        fields.pop("stem_width", None)
    if fields.get("avg_down"):
        fields.pop("down_kernel_size", None)
    return fields


def network_fields(name: str) -> Values:
    """Return the fields of a network of timm by its name, with or without the tag of pretrained weights.

    Args:
        name: Such as ``"resnet50d"``, ``"resnet50d.ra2_in1k"`` or ``"timm/resnet50d.ra2_in1k"``.

    Returns:
        The fields in which it differs from `ResnetConfig`'s defaults; do not change them.

    Raises:
        ConfigError: If timm has no residual network of that name.
    """
    network = name.rpartition("/")[2].partition(".")[0] if isinstance(name, str) else ""
    if network not in TIMM_NETWORKS:
        known = did_you_mean(network, TIMM_NETWORKS) or f"Known are {listed(TIMM_NETWORKS)}."
        message = sentences(f"timm has no residual network {shown(name)}.", known)
        raise ConfigError(message)
    return TIMM_NETWORKS[network]


def _unknown(given: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what `ResnetConfig` has no field for."""
    for name in given:
        if name not in _NAMES:
            hint = did_you_mean(name, _NAMES) or "It has no field"
            yield Problem(name, "an argument of timm's ResNet that JSON can hold", shown(given[name]), hint)
    inner = given.get("block_args", {})
    if not isinstance(inner, Mapping):
        yield Problem("block_args", "a dict", shown(inner))
        return
    for name in inner.keys() - {"attn_layer", "rd_ratio"}:
        yield Problem(f"block_args.{name}", "only 'attn_layer' and 'rd_ratio'", shown(inner[name]))


def _field(name: str, value: Any) -> Any:
    """Return the value of our field for an argument of timm, by the first of the names that timm has for it."""
    if name == "block_args":
        attention = {True: "se", False: None, "": None}.get(value.get("attn_layer"), value.get("attn_layer"))
        rest = {key: each for key, each in value.items() if key != "attn_layer" and each is not None}
        return {"attn_layer": attention, **rest} if attention else rest
    if name == "stem_type" and isinstance(value, str):
        return ("deep_tiered" if "tiered" in value else "deep") if "deep" in value else ""
    if name in _RATES and type(value) is int:
        return float(value)
    if name in _SYNONYMS and isinstance(value, str):
        plain = value.lower().replace("_", "") if name == "norm_layer" else value.lower()
        return _SYNONYMS[name].get(plain, plain)
    return value


# ---- from our fields to timm's arguments


def arguments_of(config: "ResnetConfig") -> Values:
    """Return the arguments of timm's constructor for a config, but for the blocks and the pruning.

    Args:
        config: The config.

    Returns:
        All of them, as JSON holds them: layers are texts. A reduction ratio, which timm binds to the class of the
        attention, stands beside its name.

    Example:
        >>> from nameplate_resnet import ResnetConfig
        >>> arguments_of(ResnetConfig(input_channels=1))["in_chans"]
        1
    """
    values = {theirs: getattr(config, ours) for theirs, ours in _NAMES.items() if theirs != "block_args"}
    lists = {name: list(values[name]) for name in ("layers", "channels")}
    inner = {name: getattr(config.block_args, name) for name in ("attn_layer", "rd_ratio")}
    return {**values, **lists, "block_args": {name: each for name, each in inner.items() if each is not None}}


def nearest(config: "ResnetConfig") -> tuple[str, Values]:
    """Return by which call timm builds the network of a config.

    JSON can hold neither blocks nor, for the stem, anti-aliasing nor an attention's ratio: a network of timm that has
    the same must bring them.

    Args:
        config: The config.

    Returns:
        A name and arguments: ``timm.create_model(name, **arguments)`` builds this very network. Of all such calls
        it is the one that keeps the kind of stem, with the fewest arguments, of the shallowest network.

    Raises:
        ConfigError: If no network of timm brings what JSON cannot hold.

    Example:
        >>> from nameplate_resnet import ResnetConfig
        >>> nearest(ResnetConfig(layers=(3, 4, 6, 3), num_classes=10))
        ('resnet50', {'num_classes': 10})
    """
    wanted = arguments_of(config)
    calls: list[tuple[bool, int, int, str, Values]] = []
    for name, fields in TIMM_NETWORKS.items():
        start = type(config)(**fields)
        if _brings(start, config):
            had = arguments_of(start)
            more = {key: value for key, value in wanted.items() if value != had[key]}
            calls.append(("stem_type" in more, len(more), sum(start.layers), name, more))
    if not calls:
        raise _unspeakable(config)
    *_, name, more = min(calls, key=lambda call: call[:4])
    return name, more


def _brings(start: "ResnetConfig", config: "ResnetConfig") -> bool:
    """Whether a network of timm has everything of a config that JSON cannot hold."""
    blurred = config.aa_layer is not None and config.replace_stem_pool  # the one place where timm takes a text
    return (
        start.block_type == config.block_type
        and start.pruned == config.pruned
        and (blurred or start.aa_layer == config.aa_layer)
        and (config.block_args.rd_ratio is None or start.block_args == config.block_args)
    )


def _unspeakable(config: "ResnetConfig") -> ConfigError:
    named: Values = {"block_type": config.block_type, "aa_layer": config.aa_layer}
    named |= {"block_args.attn_layer": config.block_args.attn_layer, "block_args.rd_ratio": config.block_args.rd_ratio}
    if config.block_args.rd_ratio is None:
        del named["block_args.attn_layer"]
    found = " and ".join(f"{name} {value!r}" for name, value in named.items() if value is not None)
    message = sentences(
        f"timm has no network with {found} together, and its arguments as JSON cannot say them.",
        "Save the model in its own format, or choose what one of timm's networks has.",
    )
    return ConfigError(message)
