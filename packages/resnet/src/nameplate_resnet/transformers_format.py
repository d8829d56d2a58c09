"""The config file of Transformers' own ResNet, in and out, and its names of tensors.

It is timm's plainest network: what else our fields can say it cannot be told. Imports neither torch nor timm.
"""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

from .config_core import ConfigError, ForeignFormat, Problem, shown

Values = dict[str, Any]

_SIGNATURE = {"depths", "hidden_sizes", "layer_type"}
_EXPANSION = MappingProxyType({"basic": 1, "bottleneck": 4})
_STEM = 64
_STAGES = 4
_CLASSES = MappingProxyType(
    {
        "ResNetForImageClassification": "ResnetModelForImageClassification",
        "ResNetModel": "ResnetModel",
        "ResNetBackbone": "ResnetBackbone",
    }
)


def _is_of_transformers(values: Mapping[str, Any]) -> bool:
    return values.get("model_type") == "resnet" and values.keys() >= _SIGNATURE


# ---- in


def _from_transformers(values: Values) -> Values:
    _refuse(_beyond_ours(values))
    block, widths = values.pop("layer_type"), values.pop("hidden_sizes")
    fields = {
        "block_type": block,
        "layers": values.pop("depths"),
        "channels": [width // _EXPANSION[block] for width in widths],
        "input_channels": values.pop("num_channels", 3),
        **_counted(values),
    }
    if values.get("architectures"):
        fields["architectures"] = _ours(values["architectures"])
    gone = {"model_type", "embedding_size", "hidden_act", "downsample_in_first_stage", "downsample_in_bottleneck"}
    return {**{key: each for key, each in values.items() if key not in gone | {"stage_names"}}, **fields}


def _ours(names: Any) -> Any:
    if not isinstance(names, list):
        return names  # which the config refuses
    return [_CLASSES.get(name, name) if isinstance(name, str) else name for name in names]


def _counted(values: Values) -> Values:
    """Return the number of classes where nobody named them; two are not even written."""
    labels = values.get("id2label")
    if labels is None:
        values.pop("id2label", None)
        return {"num_classes": values.pop("num_labels", 2)}
    if isinstance(labels, dict) and labels == _numbered(len(labels)):
        values.pop("id2label")
        values.pop("label2id", None)
        return {"num_classes": len(labels)}
    return {}


def _numbered(count: int) -> dict[str, str]:
    """Return the labels of classes that nobody named."""
    return {str(index): f"LABEL_{index}" for index in range(count)}


def _beyond_ours(values: Values) -> Iterator[Problem]:
    """Yield what Transformers' ResNet can be and timm's cannot."""
    fixed = {"embedding_size": _STEM, "hidden_act": "relu", "downsample_in_first_stage": False}
    if values["layer_type"] == "bottleneck":
        fixed["downsample_in_bottleneck"] = False
    for key, only in fixed.items():
        if values.get(key, only) != only:
            yield Problem(key, repr(only), shown(values[key]), "The network of timm has nothing else")
    yield from _stems(values)
    block, widths, depths = values["layer_type"], values["hidden_sizes"], values["depths"]
    if not isinstance(block, str) or block not in _EXPANSION:
        yield Problem("layer_type", "'basic' or 'bottleneck'", shown(block))
        return
    for key, each in (("hidden_sizes", widths), ("depths", depths)):
        if not isinstance(each, list) or len(each) != _STAGES or not all(type(number) is int for number in each):
            yield Problem(key, f"{_STAGES} numbers", shown(each))
            return
    if any(width % _EXPANSION[block] for width in widths):
        yield Problem("hidden_sizes", "multiples of 4, the expansion of a bottleneck", shown(widths))


def _stems(values: Values) -> Iterator[Problem]:
    """Yield a stem that a backbone answers: it is another one in each library."""
    names, numbers = values.get("out_features") or (), values.get("out_indices") or ()
    if "stem" in names or not {0, -_STAGES - 1}.isdisjoint(numbers):
        hint = "The stem of Transformers ends behind its pooling, that of timm before it"
        yield Problem("out_features", "no stem", shown(names or numbers), hint)


def _refuse(problems: Iterator[Problem]) -> None:
    found = tuple(problems)
    if found:
        message = f"Transformers' ResNet: {found[0]}"
        raise ConfigError(message, found)


# ---- out

_ONLY: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "stem_type": ("", "Its stem is one 7x7 convolution"),
        "stem_width": (_STEM, "Its stem is one 7x7 convolution"),
        "replace_stem_pool": (False, "Its stem pools"),
        "cardinality": (1, "Its convolutions have no groups"),
        "base_width": (64, "The width of its blocks follows from their stage"),
        "block_reduce_first": (1, "The width of its blocks follows from their stage"),
        "avg_down": (False, "Its skip connections shrink by their 1x1 convolution"),
        "down_kernel_size": (1, "Its skip connections shrink by their 1x1 convolution"),
        "output_stride": (32, "It has no dilation"),
        "act_layer": ("relu", "Its blocks have 'relu' inside, whatever its hidden_act says"),
        "norm_layer": ("batchnorm2d", "It has no other normalisation"),
        "aa_layer": (None, "It has no anti-aliasing"),
        "block_args": ({"attn_layer": None, "rd_ratio": None}, "It has no attention"),
        "global_pool": ("avg", "Its pooling is the mean"),
        "pruned": (None, "The width of its blocks follows from their stage"),
    }
)
"""The fields that Transformers' ResNet does not have, with the value that it stands for and why there is no other."""

_IN_TRAINING = frozenset(
    {"drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last", "problem_type", "label_smoothing"}
)
"""The fields that change no answer of a trained network: Transformers keeps them, and obeys `problem_type` alone."""


def _to_transformers(values: Values) -> Values:
    _refuse(_beyond_transformers(values))
    block = values["block_type"]
    told = {"block_type", "layers", "channels", "num_classes", "input_channels", "auto_map", *_ONLY}
    theirs = {
        "model_type": "resnet",
        "architectures": [_theirs(name) for name in values["architectures"]],
        "layer_type": block,
        "depths": values["layers"],
        "hidden_sizes": [width * _EXPANSION[block] for width in values["channels"]],
        "embedding_size": _STEM,
        "num_channels": values["input_channels"],
        "hidden_act": "relu",
        "downsample_in_first_stage": False,
        "downsample_in_bottleneck": False,
        "id2label": values.get("id2label") or _numbered(values["num_classes"]),
    }
    return {**{key: each for key, each in values.items() if key not in told}, **theirs}


def _theirs(name: str) -> str | None:
    return next((theirs for theirs, ours in _CLASSES.items() if ours == name), None)


def _beyond_transformers(values: Values) -> Iterator[Problem]:
    """Yield what timm's networks can be and Transformers' cannot."""
    for name in values.get("architectures") or ("none",):
        if _theirs(name) is None:
            yield Problem(
                "architectures", f"one of {', '.join(_CLASSES.values())}", shown(name), "It has no such model"
            )
    if not isinstance(values["block_type"], str):
        yield Problem("block_type", "one for all stages", shown(values["block_type"]), "Its stages are of one kind")
    for key, (only, why) in _ONLY.items():
        if values[key] != only:
            yield Problem(key, shown(only), shown(values[key]), why)
    yield from _stems(values)


# ---- tensors

_PARTS = (("convolution", "conv"), ("normalization", "bn"))
_SHORTCUT = (("convolution", "downsample.0"), ("normalization", "downsample.1"))

TRANSFORMERS_KEYS: Mapping[str, str] = MappingProxyType(
    {
        **{rf"^(?:resnet\.)?embedder\.embedder\.{theirs}\.": f"model.{ours}1." for theirs, ours in _PARTS},
        **{
            rf"^(?:resnet\.)?encoder\.stages\.{stage}\.layers\.": f"model.layer{stage + 1}." for stage in range(_STAGES)
        },
        **{
            rf"^(model\.layer\d\.\d+)\.layer\.{number}\.{theirs}\.": rf"\1.{ours}{number + 1}."
            for number in range(3)
            for theirs, ours in _PARTS
        },
        **{rf"^(model\.layer\d\.\d+)\.shortcut\.{theirs}\.": rf"\1.{ours}." for theirs, ours in _SHORTCUT},
        r"^classifier\.1\.": "model.fc.",
    }
)
"""From the names of Transformers to ours."""

_EXPORT_KEYS: Mapping[str, str] = MappingProxyType(
    {
        **{rf"^model\.{ours}1\.": f"resnet.embedder.embedder.{theirs}." for theirs, ours in _PARTS},
        **{rf"^model\.layer{stage + 1}\.": f"resnet.encoder.stages.{stage}.layers." for stage in range(_STAGES)},
        **{
            rf"^(resnet\.\S+\.layers\.\d+)\.{ours}{number + 1}\.": rf"\1.layer.{number}.{theirs}."
            for number in range(3)
            for theirs, ours in _PARTS
        },
        **{rf"^(resnet\.\S+\.layers\.\d+)\.{ours}\.": rf"\1.shortcut.{theirs}." for theirs, ours in _SHORTCUT},
        r"^model\.fc\.": "classifier.1.",
    }
)
"""From our names to those of Transformers, with which its body and its backbone find their part as well."""

TRANSFORMERS = ForeignFormat(
    "transformers", _is_of_transformers, _from_transformers, _to_transformers, export_keys=_EXPORT_KEYS
)
"""Folders of ``microsoft/resnet-50`` and its like."""
