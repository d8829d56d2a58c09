"""timm's config file, in and out: what `timm.models.push_to_hf_hub` and `save_for_hf` write and `create_model` reads.

What is written is a file of ours as well: timm leaves keys alone that it does not know, and we its own. Imports neither
torch nor timm.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from .config_core import ConfigError, ForeignFormat, Problem, shown
from .variants import TIMM_NETWORKS, fields_of, nearest

Values = dict[str, Any]

_CLASSIFIER = "ResnetModelForImageClassification"
_BODY = "ResnetModel"
_INPUT_SIZE = (3, 224, 224)
_MOST_NAMED = 1_000_000  # so that a file of a few bytes cannot fill the memory with names
_SIZES = ("input_size", "test_input_size", "min_input_size")
_STATISTICS = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}  # of ImageNet, timm's defaults
_WHERE_FROM = frozenset({"url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source", "architecture"})
_OF_THE_FILE = frozenset({"custom_load", "label_names", "label_descriptions", "label_offset", "labels"})
_WHERE_TO = ("pretrained", "device", "dtype")

_OWN_KEYS = frozenset({"architecture", "model_args", "num_features", "label_names", "image_processor_type"})
"""What timm says of a network that our fields say as well, and for whom Transformers takes the file."""


def _is_of_timm(values: Mapping[str, Any]) -> bool:
    name = values.get("architecture")
    known = isinstance(name, str) and name in TIMM_NETWORKS
    return known and "model_type" not in values and not values.keys().isdisjoint({"pretrained_cfg", "num_classes"})


# ---- in


def _from_timm(values: Values) -> Values:
    cfg = _pretrained_cfg(values)
    name, given = values.pop("architecture"), _arguments(values, cfg)
    count = given.pop("num_classes")
    labels = _labels(values, cfg, count)
    told = {"num_classes", "num_features", "global_pool", "model_args", "label_names", "labels"}
    kept = {key: each for key, each in values.items() if key not in told and each != {}}
    # A body counts no classes, though its file may.
    counted = {"architectures": [_CLASSIFIER], "num_classes": count} if count else {"architectures": [_BODY]}
    return {**kept, **_fields(name, given), **counted, **labels}


def _pretrained_cfg(values: Values) -> Values:
    """Return what a file says of its weights; one from before timm called it so becomes one of today."""
    if "pretrained_cfg" not in values:
        top = {"architecture", "num_features", "num_classes", "label_names", "labels", "model_args"}
        values["pretrained_cfg"] = {key: values.pop(key) for key in values.keys() - top}
    cfg = values["pretrained_cfg"]
    _refuse(_unfit(cfg))
    return cfg


def _unfit(cfg: Any) -> Iterator[Problem]:
    """Yield what in `pretrained_cfg` is not what it must be to be read."""
    if not isinstance(cfg, dict):
        yield Problem("pretrained_cfg", "an object", shown(cfg))
        return
    for key in _SIZES:
        size = cfg.get(key)
        if size is not None and not (isinstance(size, list) and len(size) == len(_INPUT_SIZE)):
            yield Problem(f"pretrained_cfg.{key}", "channels, height and width", shown(size))
    for key in _STATISTICS:
        each = cfg.get(key)
        if each is not None and not (
            isinstance(each, list) and each and all(isinstance(n, (int, float)) for n in each)
        ):
            yield Problem(f"pretrained_cfg.{key}", "a number for each channel", shown(each))


def _arguments(values: Values, cfg: Values) -> Values:
    """Return the arguments of timm that a file stands for, whichever part of it says them."""
    given = values.get("model_args") or {}
    if not isinstance(given, dict):
        _refuse([Problem("model_args", "an object", shown(given))])
    found = {key: value for key, value in given.items() if key not in _WHERE_TO}
    for key, default in (("num_classes", 1000), ("global_pool", "avg")):
        found.setdefault(key, values.get(key, cfg.get(key, default)))
    found.setdefault("in_chans", (cfg.get("input_size") or _INPUT_SIZE)[0])
    return found


def _fields(name: str, arguments: Values) -> Values:
    try:
        return fields_of(arguments, network=name)
    except ConfigError as error:
        _refuse(Problem(f"model_args.{each.path}", each.expected, each.found, each.hint) for each in error.problems)
        raise


def _labels(values: Values, cfg: Values, count: Any) -> Values:
    """Return timm's names of the classes as labels; those that it leaves out are numbered."""
    names = values.get("label_names") or values.get("labels") or cfg.get("label_names") or cfg.get("labels")
    if not names or not count:
        return {}
    if not isinstance(names, (list, dict)):
        _refuse([Problem("label_names", "the names of the classes", shown(names))])
    if isinstance(names, list):
        return {"id2label": {str(index): name for index, name in enumerate(names)}}
    _refuse(_unnumbered(names, count))
    gaps = {str(index): f"LABEL_{index}" for index in range(count)}
    return {"id2label": {**gaps, **{str(int(key)): name for key, name in names.items()}}}


def _unnumbered(names: Values, count: Any) -> Iterator[Problem]:
    """Yield what keeps names by their numbers from being filled up to all classes."""
    wrong = next((key for key in names if not (key.isascii() and key.isdigit())), None)
    if wrong is not None:
        yield Problem("label_names", "the names of the classes by their numbers", shown(wrong))
    if type(count) is not int or count > _MOST_NAMED:
        yield Problem("num_classes", f"at most {_MOST_NAMED} where only some have names", shown(count))


def _refuse(problems: Any) -> None:
    found = tuple(problems)
    if found:
        message = f"timm's file: {found[0]}"
        raise ConfigError(message, found)


# ---- out


def _to_timm(values: Values) -> Values:
    """Add to what our file holds what timm looks for.

    The classes that timm counts are those of the weights: of a body it is told 0, and our number, which means nothing
    there, goes by its other name.
    """
    from .configuration_resnet import ResnetConfig  # noqa: PLC0415 - which imports this module for its formats

    _refuse(_beyond_timm(values))
    config = ResnetConfig.from_dict({**values, "model_type": ResnetConfig.model_type})
    name, arguments = nearest(config)
    has_head = values["architectures"] != [_BODY]
    count = arguments.pop("num_classes", config.num_classes) if has_head else 0
    arguments.pop("num_classes", None)
    labels = values.get("id2label") if has_head else None
    theirs: Values = {
        "architecture": name,
        "model_args": arguments,
        "num_features": config.stage_widths[-1].out,
        "pretrained_cfg": _exported_cfg(config, values.get("pretrained_cfg") or {}, count),
        "image_processor_type": "TimmWrapperImageProcessor",  # else Transformers finds no processor in such a file
    }
    if labels:
        theirs["label_names"] = [labels[index] for index in sorted(labels, key=int)]
    if not has_head:
        values["num_labels"] = values.pop("num_classes")
    return {**values, **theirs}


def _beyond_timm(values: Values) -> Iterator[Problem]:
    """Yield what keeps a model out of timm's files."""
    found = values.get("architectures")
    if found not in ([_CLASSIFIER], [_BODY]):
        hint = "timm answers classes or pooled features and nothing else. Save the body, which takes its part of this"
        yield Problem("architectures", f"{_CLASSIFIER} or {_BODY}", shown(found), hint)
    yield from _unfit(values.get("pretrained_cfg") or {})


def _exported_cfg(config: Any, cfg: Values, count: int) -> Values:
    """Return what timm is told of the weights: what was known of how images are prepared, and what is true of them."""
    kept = {key: each for key, each in cfg.items() if key not in _WHERE_FROM | _OF_THE_FILE and each is not None}
    channels = config.input_channels
    sizes = {key: [channels, *kept[key][1:]] for key in _SIZES if key in kept}
    means = {key: _spread(kept.get(key, default), channels) for key, default in _STATISTICS.items()}
    true = {"num_classes": count, "classifier": "fc", "first_conv": "conv1.0" if config.stem_type else "conv1"}
    return {"input_size": [channels, *_INPUT_SIZE[1:]], **kept, **sizes, **means, **true}


def _spread(numbers: list[float], channels: int) -> list[float]:
    """Return a number for each channel: their mean where there are more or fewer, as timm does."""
    return numbers if len(numbers) == channels else [round(sum(numbers) / len(numbers), 12)] * channels


TIMM = ForeignFormat(
    "timm",
    _is_of_timm,
    _from_timm,
    _to_timm,
    export_keys={r"^model\.": ""},
    one_file=True,
    mirrored=_OWN_KEYS,
)
"""Folders of timm, and what it loads as ``local-dir:`` and ``hf-hub:``."""

TIMM_KEYS: Mapping[str, str] = {r"^(?=(?:conv1|bn1|act1|maxpool|layer[1-4]|fc)\.)": "model."}
"""From timm's names of tensors, which are torchvision's too, to ours."""
