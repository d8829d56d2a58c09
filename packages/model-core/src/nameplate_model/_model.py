"""`PreTrainedModel`: a torch module that belongs to a config and can be saved and loaded by name.

The façade: every method here is a few lines and calls a room of its own. Construction is `_construct`, loading
`_load`, saving `_save`.
"""

from abc import ABCMeta
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeVar, cast, get_type_hints, overload

import torch
from torch import nn

from nameplate_config import (
    HUB_OPTIONS,
    NameplateError,
    PreTrainedConfig,
    Source,
    UnknownOptionError,
    argument_names,
    open_source,
    read_config_values,
    split_options,
)
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, sentences, shown
from nameplate_model._construct import is_deferred
from nameplate_model._load import Placement, Policy, load
from nameplate_model._report import LoadReport
from nameplate_model._save import save_checkpoint
from nameplate_model._weights import Weights, open_weights, stamp
from nameplate_model.errors import CheckpointError

LOAD_OPTIONS = frozenset(
    {
        "allow_missing",
        "allow_unexpected",
        "config",
        "device",
        "dtype",
        "ignore_mismatched_sizes",
        "output_loading_info",
        "strict",
    }
)
"""The names of the options of `PreTrainedModel.from_pretrained` that are not about the source."""

_MOST_TRIES = 20
"""How often a load starts anew because somebody saved between its reading of the config and of the weights."""

_T = TypeVar("_T")


class ModelMeta(ABCMeta):
    """Finishes a model when the outermost `__init__` has returned, so no `post_init()` can be forgotten.

    An `ABCMeta`, so that a model can also be an abstract class.
    """

    def __call__(cls: type[_T], *args: Any, **kwargs: Any) -> _T:
        """Construct the model, then finish it."""
        model = super().__call__(*args, **kwargs)  # type: ignore[misc]
        model._finish()  # noqa: SLF001 - our own instance
        return model


class PreTrainedModel(nn.Module, metaclass=ModelMeta):
    """A torch module built from a config, with `save_pretrained` and `from_pretrained`.

    A subclass names its config class, in `config_class` or by annotating the `config` parameter of `__init__`, calls
    ``super().__init__(config)`` and builds itself from the config. Nothing else is asked of it: no `post_init()`, no
    list of tied weights, no way to initialise. Any `torch.nn.Module` can be wrapped.

    A class that defines ``_init_weights(module)``, as models written for Transformers do, has it applied to each
    of its modules once, after construction.

    Attributes:
        config_class: The class of the configs that it is built from.
        main_input_name: The name of the first argument of `forward`.
        head_prefixes: Beginnings of the keys that belong to a head. They may be absent from, or left over in, a
            checkpoint that another class of the same architecture saved.
        config: The config that it was built from; shared with the caller, never changed.
        load_report: What the load that made it did with every key, or None.

    Example:
        >>> import tempfile
        >>> class LineConfig(PreTrainedConfig):
        ...     model_type = "line"
        ...     width: int = 3
        >>> class LineModel(PreTrainedModel):
        ...     config_class = LineConfig
        ...     def __init__(self, config: LineConfig) -> None:
        ...         super().__init__(config)
        ...         self.linear = nn.Linear(config.width, 1)
        >>> model = LineModel(LineConfig())
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model.save_pretrained(folder)
        ...     loaded = LineModel.from_pretrained(folder)
        >>> torch.equal(model.linear.weight, loaded.linear.weight)
        True
    """

    config_class: ClassVar[type[PreTrainedConfig] | None] = None
    main_input_name: ClassVar[str] = "pixel_values"
    head_prefixes: ClassVar[Sequence[str]] = ()

    config: Any  # a subclass may say which; the type of a writable attribute cannot be narrowed
    load_report: LoadReport | None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "config_class" not in cls.__dict__ and "__init__" in cls.__dict__:
            annotated = _annotated_config(cls)
            if annotated is not None:
                cls.config_class = annotated

    def __init__(self, config: PreTrainedConfig) -> None:
        super().__init__()
        expected = type(self).config_class or PreTrainedConfig
        if not isinstance(config, expected):
            message = f"{type(self).__name__} is built from a {expected.__name__}, found {shown(config)}."
            raise UnknownOptionError(message)
        self.config = config
        self.load_report = None

    def _finish(self) -> None:
        initialise = getattr(self, "_init_weights", None)
        if initialise is not None and not is_deferred():
            for module in _modules_below(self):
                initialise(module)

    def post_init(self) -> None:
        """Do nothing: construction is finished without it. Here so that models written for Transformers run."""

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> Self:
        """Return a model with freshly initialised weights."""
        return cls(config)

    def num_parameters(self, *, only_trainable: bool = False) -> int:
        """Return the number of parameters, shared ones counted once."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad or not only_trainable)

    # ---- saving

    def save_pretrained(self, folder: StrPath) -> None:
        """Write `model.safetensors` and `config.json` into *folder*: the old checkpoint or the new, never a mix.

        Equal weights and configs give equal bytes. Neither the model nor its config is changed. Tensors that share
        memory are stored once and come back shared.

        Raises:
            CheckpointError: If the state dict holds something that safetensors cannot.
            SaveError: If the system cannot write. The folder holds the old checkpoint or the new one, whole.
            UnsafePathError: If the path is a file.
        """
        config = self.config.copy()  # never frozen
        config.architectures = [type(self).__name__]
        config.dtype = _floating_dtype(self)
        save_checkpoint(Path(folder), self.state_dict(), config.to_json_string())

    # ---- loading

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, output_loading_info: Literal[True], **kwargs: Any
    ) -> tuple[Self, LoadReport]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, output_loading_info: Literal[False] = False, **kwargs: Any
    ) -> Self: ...

    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, output_loading_info: bool = False, **kwargs: Any
    ) -> Self | tuple[Self, LoadReport]:
        """Load a model from a checkpoint folder or from a repository on the Hub, in evaluation mode.

        On the CPU and without a change of dtype, parameters are views of the mapped file: the load takes no memory
        of its own, and the first write to a page copies that page. The file is never written to.

        Args:
            source: A folder, or the id of a repository.
            output_loading_info: Return ``(model, report)``; the report also answers Transformers' keys.
            **kwargs: Options of the load, of the source, and fields of the config.

                *config*: the config to build from, instead of the checkpoint's.
                *strict* (True): whether any missing or unexpected key is an error.
                *allow_missing*, *allow_unexpected*: shell patterns of keys to which that does not apply.
                *ignore_mismatched_sizes* (False): initialise tensors of another shape anew.
                *device*: where the tensors go; the default device if not given.
                *dtype*: what floating tensors are cast to; as stored if not given.
                The options of `HubOptions`, and any field of the config, which then gets another value.

        Raises:
            SourceNotFoundError: If there is no such folder or repository, or it lacks a config or weights.
            ConfigError: If its config does not fit `config_class`.
            MismatchError: If keys or shapes do not fit; lists all of them with the likely cause.
            CheckpointError: If a weight file is torn or ambiguous.
            UnknownOptionError: If an argument is neither an option nor a field.
        """
        hub, options, overrides = _split(cls, kwargs)
        opened = open_source(source, **hub)
        given = options.pop("config", None)
        config, weights = _read(cls, opened, overrides) if given is None else (given, open_weights(opened))
        placement = Placement(_device(options.pop("device", None)), _dtype(options.pop("dtype", None)))
        saved_by = config.architectures if given is None else _saved_by(opened)
        policy = Policy(head_prefixes=_transferable(cls, saved_by), **options)
        built, report = load(partial(cls, config), weights, policy, placement, opened.name)
        model = cast("Self", built)
        model.load_report = report
        model.eval()
        return (model, report) if output_loading_info else model


def _split(cls: type[PreTrainedModel], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any], dict[str, Any]]:
    """Split keyword arguments into options of the source, options of the load, and fields of the config."""
    hub, others = split_options(kwargs)
    options = {name: value for name, value in others.items() if name in LOAD_OPTIONS}
    rest = {name: value for name, value in others.items() if name not in LOAD_OPTIONS}
    config_class = cls.config_class or PreTrainedConfig
    names = argument_names(config_class)
    for name in rest:
        if name not in names or "config" in options:
            raise _unknown_option(cls, name, names)
    return hub, options, rest


def _unknown_option(cls: type[PreTrainedModel], name: str, field_names: Sequence[str]) -> UnknownOptionError:
    if name in field_names:
        return UnknownOptionError(f"{name!r} is a field of the config that is given; change it there.")
    message = sentences(
        f"{cls.__name__}.from_pretrained has no option {name!r}.",
        did_you_mean(name, [*LOAD_OPTIONS, *HUB_OPTIONS, *field_names])
        or f"Its options are: {', '.join(sorted(LOAD_OPTIONS))}.",
    )
    return UnknownOptionError(message)


def _read(cls: type[PreTrainedModel], source: Source, overrides: dict[str, Any]) -> tuple[PreTrainedConfig, Weights]:
    """Read the config and open the weights of one and the same save, whoever saves into the folder meanwhile."""
    config_class = cls.config_class or PreTrainedConfig
    for _ in range(_MOST_TRIES):
        before = stamp(source)
        config = cast("PreTrainedConfig", config_class.from_pretrained(source, **overrides))
        weights = open_weights(source)
        if stamp(source) == before:
            return config, weights
    message = f"{source.name!r} is being saved again and again. Load it when that is done."
    raise CheckpointError(message)


def _saved_by(source: Source) -> Any:
    """Return the classes that a checkpoint itself says it was saved from, whichever config it is loaded with."""
    try:
        return read_config_values(source)[0].get("architectures")
    except NameplateError:  # weights without a config, or with a broken one
        return None


def _transferable(cls: type[PreTrainedModel], saved_by: Any) -> Sequence[str]:
    """Return the head's prefixes if another class saved the checkpoint; loading what one saved is strict."""
    return () if cls.__name__ in (saved_by or [cls.__name__]) else cls.head_prefixes


def _device(device: torch.device | str | int | None) -> torch.device:
    try:
        return torch.get_default_device() if device is None else torch.device(device)
    except (RuntimeError, TypeError) as error:
        message = f"device must be one such as 'cpu' or 'cuda:0', found {shown(device)}."
        raise UnknownOptionError(message) from error


def _dtype(dtype: torch.dtype | str | None) -> torch.dtype | None:
    if dtype is None or dtype == "checkpoint":
        return None
    found = getattr(torch, dtype.removeprefix("torch."), None) if isinstance(dtype, str) else dtype
    if isinstance(found, torch.dtype) and found.is_floating_point:
        return found
    message = f"dtype must be 'checkpoint' or a floating dtype such as torch.bfloat16, found {shown(dtype)}."
    raise UnknownOptionError(message)


def _floating_dtype(model: nn.Module) -> str | None:
    """Return the dtype of the first floating parameter as text, as Transformers records it."""
    first = next((p for p in model.parameters() if p.is_floating_point()), None)
    return None if first is None else str(first.dtype).removeprefix("torch.")


def _modules_below(model: PreTrainedModel) -> list[nn.Module]:
    """Return the modules of a model without those of models inside it, which initialised themselves."""
    inner: set[nn.Module] = set()
    for module in model.modules():
        if module is not model and isinstance(module, PreTrainedModel):
            inner |= set(module.modules())
    return [module for module in model.modules() if module not in inner]


def _annotated_config(cls: type) -> type[PreTrainedConfig] | None:
    try:
        annotation = get_type_hints(cls.__dict__["__init__"]).get("config")
    except NameError:  # a name that exists only for type checkers
        return None
    return annotation if isinstance(annotation, type) and issubclass(annotation, PreTrainedConfig) else None
