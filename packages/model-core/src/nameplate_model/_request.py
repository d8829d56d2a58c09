"""From the arguments of `from_pretrained` to what a load needs: every option checked before a file is opened.

Also the opening itself: config and weights of one and the same save, whoever saves into the folder meanwhile.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, cast

import torch

from nameplate_config import (
    HUB_OPTIONS,
    NameplateError,
    PreTrainedConfig,
    Source,
    UnknownOptionError,
    argument_names,
    config_from_values,
    open_source,
    read_config_values,
    split_options,
)
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._auto_class import own_options
from nameplate_model._boxes import is_sharded
from nameplate_model._device_map import AUTO, to_device_map
from nameplate_model._engines.choice import check_engine, to_engine
from nameplate_model._load import Loading
from nameplate_model._names import Migration, Naming
from nameplate_model._placement import Placement, to_device, to_dtype, to_memory, to_patterns, to_timeout
from nameplate_model._policy import Policy
from nameplate_model._weights import WeightChoice, Weights, held_weights, stamp, to_verify
from nameplate_model.errors import CheckpointError, ShardingPlanError

if TYPE_CHECKING:
    from nameplate_model._distributed.loading import Ranks

_DEFAULTS: Mapping[str, Any] = {
    "allow_missing": (),
    "allow_unexpected": (),
    "config": None,
    "device": None,
    "device_map": None,
    "device_mesh": None,
    "dtype": "checkpoint",
    "engine": "auto",
    "ignore_mismatched_sizes": False,
    "keep_in_fp32": (),
    "key_mapping": {},
    "memory": "auto",
    "plan": None,
    "state_dict": None,
    "strict": True,
    "timeout": 600.0,
    "use_safetensors": None,
    "variant": None,
    "verify": "structure",
}

LOAD_OPTIONS = frozenset({*_DEFAULTS, "output_loading_info"})
"""The names of the options of `PreTrainedModel.from_pretrained` that are not about the source."""

_OF_ONE_RANK = frozenset({"config", "device_mesh", "plan", "state_dict", "timeout"})
"""Options whose values are no facts on which ranks agree, or are agreed on in another way."""

_MOST_TRIES = 20
"""How often a load starts anew because somebody saved between its reading of the config and of the weights."""

Opener = Callable[[Source, WeightChoice], Weights]
"""Opens the weights of a source, or their headers."""


class ModelClass(Protocol):
    """What a load reads off a model class."""

    __name__: str
    config_class: Any
    head_prefixes: Sequence[str]
    base_model_prefix: str
    foreign_key_mapping: Mapping[str, str]
    keep_in_fp32: Sequence[str]
    state_dict_version: int
    _state_migrations: Mapping[int, Migration]


@dataclass(frozen=True, slots=True)
class Request:
    """Arguments of a load, checked as far as they can be without looking at the checkpoint.

    Attributes:
        cls: The model class.
        source: Where the checkpoint is, or None if its tensors were given.
        options: The value of every option of a load.
        overrides: Fields of the config that get another value than the checkpoint's.
    """

    cls: ModelClass
    source: Source | None
    options: Mapping[str, Any]
    overrides: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything that a load needs.

    Attributes:
        config: What the model is built from.
        weights: What it is filled with.
        loading: How.
    """

    config: PreTrainedConfig
    weights: Weights
    loading: Loading


def read_request(cls: ModelClass, source: StrPath | Source | None, kwargs: Mapping[str, Any]) -> Request:
    """Sort and check the arguments of a load.

    Raises:
        UnknownOptionError: If one is neither an option nor a field, or two exclude each other.
        SourceNotFoundError: If there is no such folder or repository.
    """
    hub, others = split_options(_with_dtype(own_options(cast("type", cls), kwargs)))
    options = {**_DEFAULTS, **{name: value for name, value in others.items() if name in _DEFAULTS}}
    overrides = {name: value for name, value in others.items() if name not in _DEFAULTS}
    names = argument_names(cls.config_class or PreTrainedConfig)
    for name in overrides:
        if name not in names or options["config"] is not None:
            raise _unknown_option(cls, name, names)
    _refuse_contradictions(cls, source, options)
    to_verify(options["verify"])
    to_timeout(options["timeout"])
    return Request(cls, None if source is None else open_source(source, **hub), options, overrides)


def _with_dtype(kwargs: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return arguments in which `dtype` says what `torch_dtype` said before version 5 of Transformers."""
    if "torch_dtype" not in kwargs:
        return kwargs
    if "dtype" in kwargs:
        message = "dtype and torch_dtype are both given; they mean the same, so give dtype."
        raise UnknownOptionError(message)
    return {"dtype" if name == "torch_dtype" else name: value for name, value in kwargs.items()}


@contextmanager
def meeting(kwargs: Mapping[str, Any]) -> Iterator["Ranks | None"]:
    """Provide the ranks that load together: those of the mesh that is among the arguments of a load, if there is one.

    Raises:
        UnknownOptionError: If it is no mesh of which this process is a rank.
        MissingRankError: If a rank does not come in time.
        NameplateError: Whatever is raised inside, on whichever rank.
    """
    if kwargs.get("device_mesh") is None:
        yield None
        return
    from nameplate_model._distributed.loading import meet  # noqa: PLC0415 - slow to import, and seldom needed

    with meet(kwargs["device_mesh"], kwargs.get("plan"), kwargs.get("timeout", _DEFAULTS["timeout"])) as ranks:
        yield ranks


def prepare(request: Request, opener: Opener, ranks: "Ranks | None" = None) -> Prepared:
    """Read the config, open the weights, and decide how one is filled with the other.

    Args:
        request: What is asked for.
        opener: Opens the weights.
        ranks: Those that load it together, if this process is not alone.

    Raises:
        SourceNotFoundError: If the source lacks a config or weights.
        ConfigError: If the config does not fit the class.
        CheckpointError: If the weights cannot be read.
        UnknownOptionError: If an option has a value that it cannot have.
        RanksDisagreeError: If ranks have other configs, weights or options.
    """
    placement = _placement(request)  # refuses wrong options before anything is read
    if request.source is None:
        config = request.options["config"]
        given = held_weights(request.options["state_dict"], "the state_dict that was given", lent=True)
        weights = replace(given, version=request.cls.state_dict_version)  # what is in memory is of this version
        saved_by = None
    else:
        config, weights, saved_by = _read(request, request.source, opener)
    if placement.dtype is None and request.options["dtype"] == AUTO:
        placement = _placement(request, _automatic_dtype(config, weights))
    loading = _loading(request, placement, saved_by)
    if ranks is not None:
        try:
            _agree(ranks, request, config, weights)
        except NameplateError:
            weights.close()
            raise
    return Prepared(config, weights, replace(loading, ranks=ranks))


def _agree(ranks: "Ranks", request: Request, config: PreTrainedConfig, weights: Weights) -> None:
    """Make sure that all ranks load the same in the same way. Where they find it may differ."""
    options = {name: value for name, value in request.options.items() if name not in _OF_ONE_RANK}
    told = config.to_json_string() if isinstance(config, PreTrainedConfig) else config  # which the class refuses
    ranks.agree(weights, model=request.cls, config=told, options=options)


def _refuse_contradictions(cls: ModelClass, source: object, options: Mapping[str, Any]) -> None:
    given = options["state_dict"] is not None
    if given and source is not None:
        message = "state_dict is given as well as a source; give None as the source if the tensors are there already."
        raise UnknownOptionError(message)
    if source is None and (not given or options["config"] is None):
        message = f"{cls.__name__}.from_pretrained needs a source, or None together with config= and state_dict=."
        raise UnknownOptionError(message)
    if options["device"] is not None and options["device_map"] is not None:
        message = "device and device_map are both given; a device is a device_map of the whole model, so give one."
        raise UnknownOptionError(message)
    if options["device_mesh"] is not None and (options["device"] is not None or options["device_map"] is not None):
        message = "device_mesh is given as well as a device; tensors go to the devices of the mesh, so give just that."
        raise UnknownOptionError(message)
    if options["plan"] is not None and options["device_mesh"] is None:
        message = "plan says how ranks share a model, but there is no device_mesh that says which ranks; give both."
        raise ShardingPlanError(message)
    if not any(options["use_safetensors"] is each for each in (None, True, False)):
        message = f"use_safetensors must be None, True or False, found {shown(options['use_safetensors'])}."
        raise UnknownOptionError(message)
    if given and not isinstance(options["state_dict"], Mapping):
        message = f"state_dict must map names to tensors, found {shown(options['state_dict'])}."
        raise UnknownOptionError(message)
    if given and any(isinstance(each, torch.Tensor) and is_sharded(each) for each in options["state_dict"].values()):
        message = "state_dict holds a DTensor; give plain tensors, or save them and load the folder."
        raise UnknownOptionError(message)
    if not isinstance(options["key_mapping"], Mapping):
        message = f"key_mapping must map regular expressions to texts, found {shown(options['key_mapping'])}."
        raise UnknownOptionError(message)


def _unknown_option(cls: ModelClass, name: str, field_names: Sequence[str]) -> UnknownOptionError:
    if name in field_names:
        return UnknownOptionError(f"{name!r} is a field of the config that is given; change it there.")
    message = sentences(
        f"{cls.__name__}.from_pretrained has no option {name!r}.",
        did_you_mean(name, [*LOAD_OPTIONS, *HUB_OPTIONS, *field_names])
        or f"Its options are: {', '.join(sorted(LOAD_OPTIONS))}.",
    )
    return UnknownOptionError(message)


# ---- reading


def _read(request: Request, source: Source, opener: Opener) -> tuple[PreTrainedConfig, Weights, Sequence[str] | None]:
    """Read the config and open the weights of one and the same save."""
    choice = WeightChoice(request.options["variant"], request.options["use_safetensors"])
    for _ in range(_MOST_TRIES):
        before = stamp(source, choice.variant)
        try:
            config, saved_by = _config(request, source)
            weights = opener(source, choice)
        except NameplateError:
            if stamp(source, choice.variant) == before:
                raise
            continue  # what was missing or torn may be because of that save
        if stamp(source, choice.variant) == before:
            return config, weights, saved_by
        weights.close()
    message = f"{source.name!r} is being saved again and again. Load it when that is done."
    raise CheckpointError(message)


def _config(request: Request, source: Source) -> tuple[PreTrainedConfig, Sequence[str] | None]:
    """Return the config to build from, and the classes that the checkpoint says it was saved from."""
    given = request.options["config"]
    if given is not None:
        return given, given.architectures if _is_of(given, source) else _saved_by(source)
    config_class = request.cls.config_class or PreTrainedConfig
    variant = request.options["variant"]
    if variant is None:
        config = cast("PreTrainedConfig", config_class.from_pretrained(source, **request.overrides))
    else:  # whose record may know better than the file that was left beside it
        values, where = read_config_values(source, variant)
        overrides = dict(request.overrides)
        config, _ = config_from_values(config_class, values, where=where, overrides=overrides, source=source)
    return config, config.architectures


def _is_of(config: Any, source: Source) -> bool:
    """Whether a config was loaded from a checkpoint, whose own file may be in the words of another library."""
    return isinstance(config, PreTrainedConfig) and (config.name_or_path, config.commit_hash) == (
        source.name,
        source.commit,
    )


def _saved_by(source: Source) -> Any:
    try:
        return read_config_values(source)[0].get("architectures")
    except NameplateError:  # weights without a config, or with a broken one
        return None


# ---- how


def _loading(request: Request, placement: Placement, saved_by: Sequence[str] | None) -> Loading:
    cls, options = request.cls, request.options
    foreign = isinstance(saved_by, (list, tuple)) and bool(saved_by) and cls.__name__ not in saved_by
    own = not foreign and bool(saved_by)
    policy = Policy(
        strict=bool(options["strict"]),
        allow_missing=to_patterns("allow_missing", options["allow_missing"]),
        allow_unexpected=to_patterns("allow_unexpected", options["allow_unexpected"]),
        ignore_mismatched_sizes=bool(options["ignore_mismatched_sizes"]),
        head_prefixes=cls.head_prefixes if foreign else (),
        body=cls.base_model_prefix if foreign else "",
        ignored_missing=(
            *_declared(cls, "_keys_to_ignore_on_load_missing"),
            *_declared(cls, "_keys_to_ignore_on_save"),  # what a save leaves out, a load cannot want
        ),
        ignored_unexpected=_declared(cls, "_keys_to_ignore_on_load_unexpected"),
    )
    naming = Naming(
        options["key_mapping"],
        cls._state_migrations,
        cls.state_dict_version,
        cls.foreign_key_mapping,
        body="" if own else cls.base_model_prefix,
    )
    name = "the state_dict that was given" if request.source is None else request.source.name
    return Loading(
        source=name,
        policy=policy,
        placement=placement,
        naming=naming,
        verify=to_verify(options["verify"]),
        spread=options["device_map"] == AUTO,
    )


def _placement(request: Request, automatic: torch.dtype | None = None) -> Placement:
    cls, options = request.cls, request.options
    device_map = to_device_map(options["device_map"])
    by_path = {} if device_map is None or isinstance(device_map, str) else dict(device_map)
    dtype = to_dtype(options["dtype"])
    kept = (
        *cls.keep_in_fp32,
        *_declared(cls, "_keep_in_fp32_modules"),
        *_declared(cls, "_keep_in_fp32_modules_strict"),
    )
    placement = Placement(
        by_path.pop("", None) or _device(options),
        automatic if isinstance(dtype, str) else dtype,
        to_memory(options["memory"]),
        by_path,
        (*kept, *to_patterns("keep_in_fp32", options["keep_in_fp32"])),
        to_engine(options["engine"]),
    )
    if device_map != AUTO:
        check_engine(placement.engine, {placement.device, *by_path.values()})
    return placement


def _device(options: Mapping[str, Any]) -> torch.device:
    """Return where the tensors go: the device of this rank in a mesh, if there is a real one."""
    if hasattr(options["device_mesh"], "device_type"):
        from nameplate_model._distributed.spec import device_of  # noqa: PLC0415 - slow to import, and seldom needed

        return device_of(options["device_mesh"])
    return to_device(options["device"])


def _declared(cls: ModelClass, name: str) -> tuple[str, ...]:
    """Return what a class declares under one of Transformers' names, which may be None."""
    return tuple(getattr(cls, name, None) or ())


def _automatic_dtype(config: PreTrainedConfig, weights: Weights) -> torch.dtype | None:
    """Return the dtype that the config names, else that of the first floating tensor."""
    named = to_dtype(str(config.dtype)) if config.dtype is not None else None
    if isinstance(named, torch.dtype):
        return named
    return next((each.dtype for each in weights.tensors.values() if each.dtype.is_floating_point), None)
