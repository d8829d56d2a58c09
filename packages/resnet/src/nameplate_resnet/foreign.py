"""Config files of other libraries that `ResnetConfig` reads: the tutorial's, timm's and Transformers' own.

Each is told by its keys and turned into our fields without a look at any code that lies beside it; what our fields
cannot express is an error that names the key. Imports neither torch nor timm.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from nameplate_config import ConfigError, ForeignFormat, Problem
from nameplate_config.wording import listed, shown

Values = dict[str, Any]

_CLASSIFIER = ["ResnetModelForImageClassification"]


def _refuse(what: str, problems: list[Problem]) -> None:
    if problems:
        message = f"{what}: {problems[0]}"
        raise ConfigError(message, tuple(problems))


# ---- the tutorial's

_OF_THE_TUTORIAL = {"block_type", "layers", "input_channels", "cardinality", "stem_type", "avg_down"}


def _is_of_tutorial(values: Mapping[str, Any]) -> bool:
    # Where nothing says `resnet`, a field that the tutorial lacks tells a file of ours that lost its `model_type`.
    named = values["model_type"] == "resnet" if "model_type" in values else "channels" not in values
    return named and values.keys() >= _OF_THE_TUTORIAL


def _from_tutorial(values: Values) -> Values:
    """Read the config of "sharing custom models", whose body is saved with a head too."""
    for name in ("model_type", "auto_map"):
        values.pop(name, None)
    stem = str(values["stem_type"])
    tiered = "deep_tiered" if "tiered" in stem else "deep"
    values["stem_type"] = tiered if "deep" in stem else ""
    if not values["stem_type"]:
        values.pop("stem_width", None)  # which the network ignores
    if "architectures" in values:
        values["architectures"] = _CLASSIFIER
    return values


# ---- timm's

_BASIC: Values = {"block_type": "basic"}
_BOTTLENECK: Values = {"block_type": "bottleneck"}
_C: Values = {"stem_type": "deep", "stem_width": 32}
_D: Values = {**_C, "avg_down": True}
_T: Values = {"stem_type": "deep_tiered", "stem_width": 32, "avg_down": True}
_S: Values = {"stem_type": "deep", "stem_width": 64}
_DEPTHS = MappingProxyType(
    {
        10: (1, 1, 1, 1),
        14: (1, 1, 1, 1),
        18: (2, 2, 2, 2),
        26: (2, 2, 2, 2),
        34: (3, 4, 6, 3),
        50: (3, 4, 6, 3),
        101: (3, 4, 23, 3),
        152: (3, 8, 36, 3),
        200: (3, 24, 36, 3),
    }
)


def _networks() -> Iterator[tuple[str, Values]]:
    """Yield every network of timm that `ResnetConfig` expresses, and its fields."""
    for depth, suffixes in ((18, " d"), (34, " d"), (10, "t")):
        yield from ((f"resnet{depth}{kind.strip()}", {**_BASIC, **_kind(depth, kind)}) for kind in suffixes)
    for depth, suffixes in ((14, "t"), (26, " dt"), (50, " cdst"), (101, " cds"), (152, " cds"), (200, " d")):
        yield from ((f"resnet{depth}{kind.strip()}", {**_BOTTLENECK, **_kind(depth, kind)}) for kind in suffixes)
    for depth, groups, width in ((50, 32, 4), (101, 32, 4), (101, 32, 8), (101, 32, 16), (101, 32, 32), (101, 64, 4)):
        grouped = {**_BOTTLENECK, **_kind(depth, " "), "cardinality": groups, "base_width": width}
        yield f"resnext{depth}_{groups}x{width}d", grouped
    yield "resnext50d_32x4d", {**_BOTTLENECK, **_kind(50, "d"), "cardinality": 32, "base_width": 4}
    for depth in (50, 101):
        yield f"wide_resnet{depth}_2", {**_BOTTLENECK, **_kind(depth, " "), "base_width": 128}


def _kind(depth: int, kind: str) -> Values:
    stems: Mapping[str, Values] = {" ": {}, "c": _C, "d": _D, "t": _T, "s": _S}
    return {"layers": _DEPTHS[depth], **stems[kind]}


TIMM_NETWORKS: Mapping[str, Values] = MappingProxyType(dict(_networks()))
"""The fields of each network of timm that `ResnetConfig` expresses, by timm's name."""

BEYOND: Mapping[str, str] = MappingProxyType(
    {
        name: reason
        for reason, names in {
            "attention": (
                "ecaresnet26t ecaresnet50d ecaresnet50t ecaresnet101d ecaresnet200d ecaresnet269d ecaresnetlight "
                "ecaresnext26t_32x4d ecaresnext50t_32x4d senet154 seresnet18 seresnet34 seresnet50 seresnet50t "
                "seresnet101 seresnet152 seresnet152d seresnet200d seresnet269d seresnext26d_32x4d "
                "seresnext26t_32x4d seresnext50_32x4d seresnext101_32x4d seresnext101_32x8d seresnext101_64x4d "
                "seresnext101d_32x8d resnetrs50 resnetrs101 resnetrs152 resnetrs200 resnetrs270 resnetrs350 resnetrs420"
            ),
            "pruned layers": "ecaresnet50d_pruned ecaresnet101d_pruned",
            "anti-aliasing": (
                "resnetaa34d resnetaa50 resnetaa50d resnetaa101d resnetblur18 resnetblur50 resnetblur50d "
                "resnetblur101d seresnetaa50d seresnextaa101d_32x8d seresnextaa201d_32x8d"
            ),
            "group normalization": "resnet50_gn",
            "blocks of several kinds": "test_resnet",
        }.items()
        for name in names.split()
    }
)
"""The other residual networks of timm, with what they have and `ResnetConfig` has not."""

_ARGUMENTS = {name: name for name in ("layers", "channels", "cardinality", "base_width", "stem_width", "stem_type")}
_ARGUMENTS |= {"avg_down": "avg_down", "in_chans": "input_channels", "num_classes": "num_classes"}
_ONLY: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "output_stride": (32,),
        "global_pool": ("avg",),
        "replace_stem_pool": (False,),
        "block_reduce_first": (1,),
        "down_kernel_size": (1,),
        "act_layer": ("relu", None),
        "norm_layer": ("batchnorm2d", "batchnorm", None),
        "aa_layer": (None, ""),
        "drop_rate": (0,),
        "drop_path_rate": (0,),
        "drop_block_rate": (0,),
        "block_args": (None, {}),
    }
)
"""Arguments of timm's ResNet that are no fields of ours, with the values that mean what we do."""

_ABOUT_INITIALIZING = ("zero_init_last", "pretrained", "device", "dtype")


def _is_of_timm(values: Mapping[str, Any]) -> bool:
    name = values.get("architecture")
    known = isinstance(name, str) and (name in TIMM_NETWORKS or name in BEYOND)
    return known and "model_type" not in values and not values.keys().isdisjoint({"pretrained_cfg", "num_classes"})


def _from_timm(values: Values) -> Values:
    """Read what `timm.models.push_to_hf_hub` and `save_for_hf` write."""
    name = values.pop("architecture")
    pretrained = values.get("pretrained_cfg") or values  # older files say at their top level what it says
    given: Values = values.pop("model_args", None) or {}
    for each in ("num_classes", "global_pool"):
        given.setdefault(each, values.pop(each, pretrained.get(each, {"num_classes": 1000}.get(each, "avg"))))
    given.setdefault("in_chans", (pretrained.get("input_size") or (3,))[0])
    problems = list(_beyond_timm(name, given))
    _refuse(f"timm's {name}", problems)
    fields = {**TIMM_NETWORKS[name], **{ours: given[each] for each, ours in _ARGUMENTS.items() if each in given}}
    if "deep" not in fields.get("stem_type", ""):
        fields.pop("stem_width", None)
    labels = _labels(values, pretrained, fields["num_classes"])
    fields["architectures"] = _CLASSIFIER if fields["num_classes"] else ["ResnetModel"]
    if not fields["num_classes"]:
        del fields["num_classes"]  # a body, whose config may still count classes
    kept = {key: each for key, each in values.items() if key not in {"num_features", "label_names", "labels"}}
    return {**kept, **fields, **labels}


def _beyond_timm(name: str, given: Values) -> Iterator[Problem]:
    if name in BEYOND:
        yield Problem("architecture", "a network that ResnetConfig expresses", repr(name), f"It has {BEYOND[name]}")
    for key, value in given.items():
        if key in _ARGUMENTS or key in _ABOUT_INITIALIZING or value in _ONLY.get(key, ()):
            continue
        expected = f"{_ONLY[key][0]!r}" if key in _ONLY else f"one of {listed(_ARGUMENTS, limit=20)}"
        yield Problem(f"model_args.{key}", expected, shown(value), "ResnetConfig has no field for it")


def _labels(values: Values, pretrained: Values, count: int) -> Values:
    """Return timm's names of the classes as labels; those that it leaves out are numbered."""
    names = values.get("label_names") or values.get("labels") or pretrained.get("label_names")
    if not names or not count:
        return {}
    by_index = (
        {int(index): name for index, name in names.items()} if isinstance(names, dict) else dict(enumerate(names))
    )
    gaps = {index: f"LABEL_{index}" for index in range(count)} if isinstance(names, dict) else {}
    return {"id2label": {str(index): name for index, name in {**gaps, **by_index}.items()}}


# ---- Transformers'

_OF_TRANSFORMERS = {"depths", "hidden_sizes", "layer_type"}
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
    return values.get("model_type") == "resnet" and values.keys() >= _OF_TRANSFORMERS


def _from_transformers(values: Values) -> Values:
    """Read the config of Transformers' own ResNet."""
    _refuse("Transformers' ResNet", list(_beyond_ours(values)))
    block, widths = values.pop("layer_type"), values.pop("hidden_sizes")
    fields = {
        "block_type": block,
        "layers": values.pop("depths"),
        "channels": [width // _EXPANSION[block] for width in widths],
        "input_channels": values.pop("num_channels", 3),
    }
    if values.get("id2label") is None:
        values.pop("id2label", None)
        fields["num_classes"] = values.pop("num_labels", 2)  # which Transformers does not write
    if values.get("architectures"):
        fields["architectures"] = [_CLASSES.get(name, name) for name in values["architectures"]]
    gone = {"model_type", "embedding_size", "hidden_act", "downsample_in_first_stage", "downsample_in_bottleneck"}
    return {**{key: each for key, each in values.items() if key not in gone | {"stage_names"}}, **fields}


def _beyond_ours(values: Values) -> Iterator[Problem]:
    """Yield what Transformers' ResNet can be and timm's cannot."""
    fixed = {"embedding_size": _STEM, "hidden_act": "relu", "downsample_in_first_stage": False}
    if values["layer_type"] == "bottleneck":
        fixed["downsample_in_bottleneck"] = False
    for key, only in fixed.items():
        if values.get(key, only) != only:
            yield Problem(key, repr(only), shown(values[key]), "The network of timm has nothing else")
    if "stem" in (values.get("out_features") or ()) or not {0, -_STAGES - 1}.isdisjoint(
        values.get("out_indices") or ()
    ):
        hint = "The stem of Transformers ends behind its pooling, that of timm before it"
        yield Problem("out_features", "no stem", shown(values.get("out_features") or values["out_indices"]), hint)
    block, widths, depths = values["layer_type"], values["hidden_sizes"], values["depths"]
    if block not in _EXPANSION:
        yield Problem("layer_type", "'basic' or 'bottleneck'", shown(block))
        return
    for key, each in (("hidden_sizes", widths), ("depths", depths)):
        if not isinstance(each, list) or len(each) != _STAGES or not all(type(number) is int for number in each):
            yield Problem(key, f"{_STAGES} numbers", shown(each))
            return
    if any(width % _EXPANSION[block] for width in widths):
        yield Problem("hidden_sizes", "multiples of 4, the expansion of a bottleneck", shown(widths))


_KINDS: Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], Callable[[Values], Values]]] = {
    "tutorial": (_is_of_tutorial, _from_tutorial),
    "timm": (_is_of_timm, _from_timm),
    "transformers": (_is_of_transformers, _from_transformers),
}

FOREIGN_FORMATS = tuple(ForeignFormat(name, *functions) for name, functions in _KINDS.items())
"""What `ResnetConfig` reads besides its own files; announced through the entry point ``nameplate.foreign_formats``."""

FOREIGN_KEYS: Mapping[str, str] = MappingProxyType(
    {
        r"^(?=(?:conv1|bn1|layer[1-4]|fc)\.)": "model.",
        r"^(?:resnet\.)?embedder\.embedder\.convolution\.": "model.conv1.",
        r"^(?:resnet\.)?embedder\.embedder\.normalization\.": "model.bn1.",
        **{
            rf"^(?:resnet\.)?encoder\.stages\.{stage}\.layers\.": f"model.layer{stage + 1}." for stage in range(_STAGES)
        },
        **{
            rf"^(model\.layer\d\.\d+)\.layer\.{number}\.{theirs}\.": rf"\1.{ours}{number + 1}."
            for number in range(3)
            for theirs, ours in (("convolution", "conv"), ("normalization", "bn"))
        },
        r"^(model\.layer\d\.\d+)\.shortcut\.convolution\.": r"\1.downsample.0.",
        r"^(model\.layer\d\.\d+)\.shortcut\.normalization\.": r"\1.downsample.1.",
        r"^classifier\.1\.": "model.fc.",
    }
)
"""From the names of timm and of Transformers to ours, which are timm's below ``model.``."""
