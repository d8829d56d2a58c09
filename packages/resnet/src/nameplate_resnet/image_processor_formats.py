"""The files that say how images are prepared, in and out: Transformers' `preprocessor_config.json` and timm's keys.

Plain JSON values on one side, the values of `ImageProcessorConfig` on the other. What the fields cannot express is an
error that names the key of the file. Imports neither torch nor timm.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

from nameplate_config import ConfigError, ForeignFormat, Problem
from nameplate_config.wording import did_you_mean, listed, shown

Values = dict[str, Any]
Size = tuple[int, int]

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of the red, green and blue of ImageNet, for values in [0, 1]; timm's default."""

RESCALE = 1 / 255
"""What makes a value in [0, 1] of one byte; timm knows nothing else."""

LEAST_SHARE = 0.01
"""Of how little of a resized image a crop may be."""

_LEVELS = 255
_DEFAULT_INPUT = (3, 224, 224)
_RGB = 3
_MOST_CHANNELS = 65_536  # so that a file of a few bytes cannot fill the memory with averages


def resized(size: Size, crop_pct: float) -> Size:
    """Return the sides to which an image is resized before it is cropped to *size*, as timm rounds them.

    Example:
        >>> resized((224, 224), 0.95)
        (235, 235)
    """
    height, width = size
    return math.floor(height / crop_pct), math.floor(width / crop_pct)


def _share(size: Size, before: Size) -> float | None:
    """Return the share of the resized sides that the crop keeps, or None if no number gives both sides."""
    share = min(size[0] / before[0], size[1] / before[1])
    while min(map(int.__sub__, resized(size, share), before)) < 0:  # a division that was rounded up: one step or two
        share = math.nextafter(share, 0)
    return share if resized(size, share) == before else None


def _refusal(*problems: Problem) -> ConfigError:
    return ConfigError(str(problems[0]), problems)


# ---- timm

_TIMM_NAMES = ("interpolation", "crop_pct", "crop_mode", "test_crop_pct")


def _is_of_a_model(values: Mapping[str, Any]) -> bool:
    if not values.keys().isdisjoint({"model_type", "architecture", "input_size"}):
        return True
    return "pretrained_cfg" in values and "image_processor_type" not in values


def _from_model(values: Values) -> Values:
    """Read the config of a model, or timm's `pretrained_cfg` by itself; what else it says is of no concern here."""
    cfg = values.get("pretrained_cfg") or values  # older files say at their top level what it says
    place = "" if cfg is values else "pretrained_cfg"
    arguments = values.get("model_args") or {}
    if not isinstance(arguments, Mapping):
        raise _refusal(Problem("model_args", "an object", shown(arguments)))
    counts = {"model_args.in_chans": arguments.get("in_chans")}
    counts |= {key: values.get(key) for key in ("input_channels", "num_channels")}
    return _from_timm(cfg, place, {path: each for path, each in counts.items() if each is not None})


def _from_timm(cfg: Any, place: str, counts: Mapping[str, Any]) -> Values:
    """Read timm's keys; the first of the *counts* is that of the channels, if there is one."""
    if not isinstance(cfg, Mapping):
        raise _refusal(Problem(place, "an object", shown(cfg)))
    sizes = {name: cfg[name] for name in ("input_size", "test_input_size") if cfg.get(name) is not None}
    wrong = {_path(place, name): size for name, size in sizes.items() if not _are_sides(size, 3)}
    if wrong:
        raise _refusal(*(Problem(path, "[channels, height, width]", shown(size)) for path, size in wrong.items()))
    size = sizes.get("input_size", _DEFAULT_INPUT)
    origin, count = next(iter({**counts, _path(place, "input_size"): size[0]}.items()))
    if not _are_sides([count], 1) or count > _MOST_CHANNELS:
        raise _refusal(Problem(origin, f"a number of channels, at most {_MOST_CHANNELS}", shown(count)))
    fields: Values = {"size": list(size[1:])}
    if "test_input_size" in sizes:
        fields["test_size"] = list(sizes["test_input_size"][1:])
    fields |= {name: cfg[name] for name in _TIMM_NAMES if cfg.get(name)}
    for name, default in (("mean", MEAN), ("std", STD)):
        fields[name] = _per_channel(cfg.get(name) or default, count, _path(place, name))
    return fields


def _path(place: str, name: str) -> str:
    return f"{place}.{name}" if place else name


def _are_sides(value: Any, count: int) -> bool:
    """Whether a value is so many whole numbers above 0."""
    if not isinstance(value, (list, tuple)) or len(value) != count:
        return False
    return all(type(each) is int and each > 0 for each in value)


def _per_channel(values: Any, channels: int, path: str) -> list[float]:
    """Return one number for each channel: where there are others than channels, their mean, as timm does."""
    given = list(values) if isinstance(values, (list, tuple)) else [values]
    if not given or not all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in given):
        raise _refusal(Problem(path, "a number for each channel", shown(values)))
    return given if len(given) == channels else [round(sum(given) / len(given), 12)] * channels


def for_timm(fields: Mapping[str, Any]) -> Values:
    """Return timm's names for how images are prepared, as its `pretrained_cfg` has them.

    timm divides by 255. Another factor goes into mean and deviation, which then mean the same.
    """
    per_level = _LEVELS * fields["rescale_factor"]
    channels = len(fields["mean"])
    cfg: Values = {
        "input_size": [channels, *fields["size"]],
        **{name: fields[name] for name in _TIMM_NAMES if fields[name] is not None},
        **{name: [each / per_level for each in fields[name]] for name in ("mean", "std")},
    }
    if fields["test_size"] is not None:
        cfg["test_input_size"] = [channels, *fields["test_size"]]
    return cfg


# ---- Transformers'

_RESAMPLE = ("nearest", "lanczos", "bilinear", "bicubic", "box", "hamming")
"""The names of Pillow's numbers."""

_HALF = (0.5, 0.5, 0.5)
_CLIP: Values = {
    "image_mean": (0.48145466, 0.4578275, 0.40821073),
    "image_std": (0.26862954, 0.26130258, 0.27577711),
    "resample": 3,
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "crop_size": {"height": 224, "width": 224},
}
_ViT: Values = {"image_mean": _HALF, "image_std": _HALF, "resample": 2, "size": {"height": 224, "width": 224}}
_PROCESSORS: Mapping[str, Values] = MappingProxyType(
    {
        "BitImageProcessor": _CLIP,
        "CLIPImageProcessor": _CLIP,
        "ConvNextImageProcessor": {
            "image_mean": _HALF,
            "image_std": _HALF,
            "resample": 3,
            "size": {"shortest_edge": 384},
            "crop_pct": 224 / 256,
        },
        "DeiTImageProcessor": {
            **_ViT,
            "resample": 3,
            "size": {"height": 256, "width": 256},
            "do_center_crop": True,
            "crop_size": {"height": 224, "width": 224},
        },
        "ViTImageProcessor": _ViT,
    }
)
"""What the image processors of Transformers take for granted that a file may leave out."""

_RESNETS = "ConvNextImageProcessor"
"""What Transformers takes for its ResNet where a file names no class."""

_SQUASHING = 384
"""From this size on ConvNext's processor squashes the whole image instead of cropping it."""

_OURS = "BitImageProcessor"
_WRAPPER = "TimmWrapperImageProcessor"
_SWITCHES = ("do_center_crop", "do_convert_rgb", "do_normalize", "do_pad", "do_rescale", "do_resize")
_NAMES = ("feature_extractor_type", "image_processor_type", "pretrained_cfg")
_MARKS = frozenset({*_SWITCHES, *_NAMES, "crop_size", "image_mean", "image_std", "resample"})
"""The keys that tell a file of Transformers from one of ours."""

_READ = _MARKS | {"crop_pct", "rescale_factor", "size", "test_crop_pct", "test_size"}


def _is_of_a_processor(values: Mapping[str, Any]) -> bool:
    return not _is_of_a_model(values) and not values.keys().isdisjoint(_MARKS)


def _from_processor(values: Values) -> Values:
    """Read what an image processor of Transformers saves, those of older versions included."""
    named = values.get("image_processor_type") or values.get("feature_extractor_type") or _RESNETS
    kind = str(named).replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    kept = {key: value for key, value in values.items() if key not in _READ}
    if kind == _WRAPPER:
        return {**kept, **_from_timm(values.get("pretrained_cfg"), "pretrained_cfg", {})}
    if kind not in _PROCESSORS:
        expected = f"one of {listed(map(repr, _PROCESSORS))}"
        raise _refusal(Problem("image_processor_type", expected, shown(named), did_you_mean(kind, _PROCESSORS)))
    defaults = _PROCESSORS[kind]
    given = {**defaults, **{key: value for key, value in values.items() if value is not None}}
    if problems := list(_beyond_timm(given)):
        raise _refusal(*problems)
    size = _size_of(given["size"], square="height" in defaults["size"])
    crop = _crop_of_convnext(given, size) if kind == _RESNETS else _crop(given, size)
    tests = {name: given[name] for name in ("test_size", "test_crop_pct") if name in given}
    return {**kept, **crop, **tests, **_pixels(given)}


def _beyond_timm(given: Values) -> Iterator[Problem]:
    """Yield what an image processor can do and timm's transform cannot."""
    for key, only in (("do_resize", True), ("do_pad", False)):
        if given.get(key, only) is not only:
            yield Problem(key, str(only).lower(), shown(given[key]), "timm's transform has nothing else")
    if type(given["resample"]) is not int or given["resample"] not in range(len(_RESAMPLE)):
        yield Problem("resample", f"a number of Pillow from 0 to {len(_RESAMPLE) - 1}", shown(given["resample"]))


def _pixels(given: Values) -> Values:
    """Return what becomes of the values of an image; a step that is left out is one that changes nothing."""
    lists = [each for each in (given["image_mean"], given["image_std"]) if isinstance(each, (list, tuple))]
    count = max(map(len, lists), default=_RGB)
    normalized, rescaled = given.get("do_normalize", True), given.get("do_rescale", True)
    return {
        "interpolation": _RESAMPLE[given["resample"]],
        "mean": _per_channel(given["image_mean"] if normalized else 0.0, count, "image_mean"),
        "std": _per_channel(given["image_std"] if normalized else 1.0, count, "image_std"),
        "rescale_factor": given.get("rescale_factor", RESCALE) if rescaled else 1.0,
    }


def _size_of(value: Any, *, square: bool, path: str = "size") -> int | Size:
    """Return the length of the shorter side, or both sides."""
    if square and _are_sides([value], 1):
        return value, value
    named = {key: each for key, each in value.items() if each is not None} if isinstance(value, dict) else {}
    if named.keys() == {"shortest_edge"}:
        value = named["shortest_edge"]
    elif named.keys() == {"height", "width"}:
        value = (named["height"], named["width"])
    if _are_sides([value], 1):
        return int(value)
    if not _are_sides(value, 2):
        expected = "{'height': pixels, 'width': pixels} or {'shortest_edge': pixels}"
        raise _refusal(Problem(path, expected, shown(value)))
    return value[0], value[1]


def _crop_of_convnext(given: Values, edge: int | Size) -> Values:
    if isinstance(edge, tuple):
        raise _refusal(Problem("size", "{'shortest_edge': pixels}", shown(given["size"]), "ConvNext's has no other"))
    if given.get("do_center_crop"):
        raise _refusal(Problem("do_center_crop", "false", "true", "ConvNext's has cropped already"))
    mode, share = ("center", given["crop_pct"]) if edge < _SQUASHING else ("squash", 1.0)
    return {"size": [edge, edge], "crop_mode": mode, "crop_pct": share}


def _crop(given: Values, size: int | Size) -> Values:
    """Return how an image is resized and cropped, from the sides before the crop and behind it."""
    if not given.get("do_center_crop"):
        if isinstance(size, int):
            hint = "Without it images keep their shapes, and a batch needs one"
            raise _refusal(Problem("do_center_crop", "true", "false", hint))
        return {"size": size, "crop_mode": "squash", "crop_pct": 1.0}
    crop = _size_of(given.get("crop_size", size), square=True, path="crop_size")
    before = (size, size) if isinstance(size, int) else size
    if isinstance(crop, int) or (isinstance(size, int) and crop[0] != crop[1]):
        expected = "a height and a width" if isinstance(crop, int) else "as high as wide"
        raise _refusal(Problem("crop_size", expected, shown(given["crop_size"]), "timm's transform has nothing else"))
    share = given.get("crop_pct")
    if not isinstance(share, float) or not share >= LEAST_SHARE or resized(crop, share) != before:
        share = _share(crop, before)
    if share is None:
        hint = "timm's transform crops the same share of both sides"
        raise _refusal(Problem("crop_size", f"the shape of {before}", shown(crop), hint))
    return {"size": crop, "crop_mode": "center" if isinstance(size, int) else "squash", "crop_pct": share}


def expressible(fields: Mapping[str, Any]) -> bool:
    """Return whether an image processor of Transformers can do by itself what the fields say."""
    height, width = fields["size"]
    return fields["crop_mode"] == "squash" or (fields["crop_mode"] == "center" and height == width)


def for_transformers(fields: Mapping[str, Any]) -> Values:
    """Return what `preprocessor_config.json` says, in the words of Transformers.

    What none of its own processors can do is said in timm's words to that which asks timm.
    """
    if not expressible(fields):
        return {"image_processor_type": _WRAPPER, "pretrained_cfg": for_timm(fields)}
    before = resized(fields["size"], fields["crop_pct"])
    sides = dict(zip(("height", "width"), before, strict=True))
    more = {name: fields[name] for name in ("test_size", "test_crop_pct") if fields[name] is not None}
    return {
        "image_processor_type": _OURS,
        "do_resize": True,
        "size": {"shortest_edge": before[0]} if fields["crop_mode"] == "center" else sides,
        "resample": _RESAMPLE.index(fields["interpolation"]),
        "do_center_crop": True,
        "crop_size": dict(zip(("height", "width"), fields["size"], strict=True)),
        "crop_pct": fields["crop_pct"],
        "do_rescale": True,
        "rescale_factor": fields["rescale_factor"],
        "do_normalize": True,
        "image_mean": list(fields["mean"]),
        "image_std": list(fields["std"]),
        "do_convert_rgb": len(fields["mean"]) == _RGB,
        **more,
    }


# ---- both

_KINDS: Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], Callable[[Values], Values]]] = {
    "config of a model": (_is_of_a_model, _from_model),
    "image processor of Transformers": (_is_of_a_processor, _from_processor),
}

PROCESSOR_FORMATS = tuple(ForeignFormat(name, *functions) for name, functions in _KINDS.items())
"""The files that `ImageProcessorConfig` reads."""
