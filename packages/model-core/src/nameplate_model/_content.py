"""What of a model is saved: its state dict, a copy of its config, and the options of the one who saves it.

Nothing here writes; `_save` does.
"""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import torch
from torch import distributed, nn
from torch.nn.parameter import is_lazy

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_config.code import code_beside
from nameplate_config.wording import did_you_mean, listed, sentences, shown
from nameplate_model._exported import in_layout, layout_of
from nameplate_model._placement import to_timeout
from nameplate_model._save import Checkpoint
from nameplate_model._shards import parse_size
from nameplate_model._state import class_of
from nameplate_model._weights import VERSION_KEY

SAVE_OPTIONS: Final = (
    "is_main_process", "layout", "max_shard_size", "state_dict", "timeout", "variant", "writers",
)  # fmt: skip
"""The names of the options of `PreTrainedModel.save_pretrained`."""

WRITERS: Final = ("auto", "shared", "apart")
"""Who may write into one file where ranks save together: whoever the file system lets, all, those of one machine."""

_IGNORED = ("safe_serialization", "save_function")  # accelerate and older code pass them


def checkpoint_of(
    model: nn.Module,
    config: PreTrainedConfig,
    *,
    max_shard_size: int | str,
    variant: str | None,
    state_dict: Mapping[str, Any],
    layout: str | None = None,
) -> Checkpoint:
    """Return what is saved of a model, as it is now. Neither the model nor its config is changed.

    Raises:
        CheckpointError: If two tensors would get one name in the layout.
        ConfigError: If the layout cannot express the config.
        SourceCodeError: If a class is registered for an Auto class and its code cannot be copied.
        UnknownOptionError: If the size of a shard is none, or the config class has no such layout.
    """
    limit = parse_size(max_shard_size)
    format_ = None if layout is None else layout_of(type(config), layout)
    state = _without_ignored(model, state_dict)
    cls = class_of(model)
    ours = config.copy()  # never frozen
    ours.architectures = [cls.__name__]
    ours.dtype = _floating_dtype(model, state)
    code = code_beside(config, cls)
    if code.files:
        ours.auto_map = dict(code.auto_map or {})
    version = getattr(model, "state_dict_version", 1)
    texts = {} if version == 1 else {VERSION_KEY: str(version)}
    parameters = sum(parameter.numel() for parameter in model.parameters() if not is_lazy(parameter))
    checkpoint = Checkpoint(state, ours.to_json_string(), limit, variant, parameters, texts, code.files)
    return checkpoint if format_ is None else in_layout(checkpoint, ours, format_)


def state_of(model: nn.Module) -> Mapping[str, Any]:
    """Return the state dict of a model, also in inference mode, where torch fails to make one of DTensors."""
    with torch.inference_mode(mode=False), torch.no_grad():
        return model.state_dict()


def check_options(model: nn.Module, options: Mapping[str, Any]) -> None:
    """Refuse options that nobody knows; those that callers of Transformers pass mean what is done anyway.

    Raises:
        UnknownOptionError: If there is another, or one of those asks for something else.
    """
    for name in options:
        if name not in _IGNORED and name not in SAVE_OPTIONS:
            message = sentences(
                f"{class_of(model).__name__}.save_pretrained has no option {name!r}.",
                did_you_mean(name, SAVE_OPTIONS) or f"Its options are: {listed(SAVE_OPTIONS)}.",
            )
            raise UnknownOptionError(message)
    if options["writers"] not in WRITERS:
        message = f"writers must be {listed(map(repr, WRITERS))}, found {shown(options['writers'])}."
        raise UnknownOptionError(message)
    to_timeout(options["timeout"])
    if options.get("safe_serialization", True) is not True:
        message = sentences(
            f"safe_serialization={shown(options['safe_serialization'])} asks for a pickle, which could run any code.",
            "Only safetensors is written; leave the option out.",
        )
        raise UnknownOptionError(message)
    if options.get("save_function") is not None and not callable(options["save_function"]):
        message = f"save_function must be a function, found {shown(options['save_function'])}; it is not called."
        raise UnknownOptionError(message)


def check_state(state: object) -> None:
    """Refuse what is no state dict, and is not None.

    Raises:
        UnknownOptionError: If it is no mapping, or a name in it is no text.
    """
    odd: list[object] = [] if state is None else [state]
    if isinstance(state, Mapping):
        odd = [name for name in state if not isinstance(name, str)]
    if odd:
        message = f"state_dict must be a mapping of tensors by their names, found {shown(odd[0])}."
        raise UnknownOptionError(message)


def is_left_to_first_rank(model: nn.Module, state: Mapping[str, Any]) -> bool:
    """Whether a state dict is the empty one that a rank gets where torch has gathered all of it on the first.

    `torch.distributed.checkpoint.state_dict` gathers so for ``full_state_dict=True, cpu_offload=True``.

    Raises:
        UnknownOptionError: If it is empty for no such reason: nobody would save the model's parameters.
    """
    if state or next(model.parameters(), None) is None:
        return False
    if distributed.is_available() and distributed.is_initialized() and distributed.get_rank():
        return True
    message = sentences(
        f"state_dict is empty, but {class_of(model).__name__} has parameters, of which the checkpoint would have none.",
        "Leave it out to save the model's own, or save just the config with model.config.save_pretrained.",
    )
    raise UnknownOptionError(message)


def _without_ignored(model: nn.Module, state: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a state dict without what the class says is not to be saved."""
    ignored = getattr(model, "_keys_to_ignore_on_save", None) or ()
    try:
        patterns = [re.compile(pattern) for pattern in ignored]
    except (re.error, TypeError) as error:
        message = f"{class_of(model).__name__}._keys_to_ignore_on_save must hold regular expressions: {error}."
        raise UnknownOptionError(message) from error
    return {key: each for key, each in state.items() if not any(pattern.search(key) for pattern in patterns)}


def _floating_dtype(model: nn.Module, state: Mapping[str, Any]) -> str | None:
    """Return the dtype as which most of the floating parameters are saved, as text.

    Transformers records that of the first, which is the same. Only a model of several dtypes makes a difference, and
    there the order of construction must make none. What is saved counts, as in FSDP's mixed precision a parameter has
    the dtype of its computations from a forward to the next.
    """
    amounts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        each = state.get(name, parameter)
        if isinstance(each, torch.Tensor) and each.is_floating_point() and not is_lazy(parameter):
            amounts[_name_of(each.dtype)] += each.numel()
    return max(sorted(amounts), key=amounts.__getitem__, default=None)


def _name_of(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
