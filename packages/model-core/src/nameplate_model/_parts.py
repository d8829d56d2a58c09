"""Part of a checkpoint, read without the class that saved it: by the names of tensors alone."""

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any

import torch

from nameplate_config import Source, UnknownOptionError, open_source, split_options
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, sentences
from nameplate_model._placement import to_device, to_memory
from nameplate_model._reading import Want, fetch
from nameplate_model._weights import WeightChoice, open_weights
from nameplate_model.errors import CheckpointError

_OPTIONS = ("device", "memory", "use_safetensors", "variant")


def read_tensors(source: StrPath | Source, *patterns: str, prefix: str = "", **kwargs: Any) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint whose names match, such as those of one sub-module.

    Of a sharded checkpoint only the files that hold them are opened or downloaded. On the CPU the tensors are views
    of the mapped files, as in `PreTrainedModel.from_pretrained`.

    Args:
        source: A folder, or the id of a repository.
        *patterns: Shell patterns of names, of which one must match; every name if there are none.
        prefix: What the names must begin with. It is cut off, so that the result fits the sub-module it belongs to.
        **kwargs: *variant*, *use_safetensors*, *memory* and *device* as for `PreTrainedModel.from_pretrained`, and
            the options of `HubOptions`.

    Returns:
        The tensors by name; tied ones are one object.

    Raises:
        CheckpointError: If nothing matches what was asked for, or the files cannot be read.
        SourceNotFoundError: If there is no such folder or repository, or it has no weights.
        UnknownOptionError: If an argument is no option.

    Example:
        >>> import tempfile
        >>> from safetensors.torch import save_file
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save_file({"body.weight": torch.ones(2), "head.weight": torch.zeros(3)}, f"{folder}/model.safetensors")
        ...     read_tensors(folder, prefix="body.")
        {'weight': tensor([1., 1.])}
    """
    hub, options = split_options(kwargs)
    for name in options:
        if name not in _OPTIONS:
            message = sentences(f"read_tensors has no option {name!r}.", did_you_mean(name, _OPTIONS))
            raise UnknownOptionError(message)
    device, memory = to_device(options.get("device")), to_memory(options.get("memory", "auto"))
    choice = WeightChoice(options.get("variant"), options.get("use_safetensors"))
    wanted = _matcher(patterns, prefix)
    weights = open_weights(open_source(source, **hub), choice, wanted=wanted)
    try:
        stored = {name: weights.tied.get(name, name) for name in (*weights.tensors, *weights.tied) if wanted(name)}
        if not stored and (patterns or prefix):
            looked = " or ".join(map(repr, patterns)) or "anything"
            message = f"{weights.where} has no tensor that matches {looked}" + (
                f" below {prefix!r}." if prefix else "."
            )
            raise CheckpointError(sentences(message, did_you_mean(prefix or patterns[0], weights.tensors)))
        kept = list(dict.fromkeys(stored.values()))
        wants = [Want(weights.tensors[name], device, weights.tensors[name].dtype) for name in kept]
        tensors = dict(zip(kept, fetch(wants, memory), strict=True))
    finally:
        weights.close()
    return {name.removeprefix(prefix): tensors[at] for name, at in stored.items()}


def _matcher(patterns: tuple[str, ...], prefix: str) -> Callable[[str], bool]:
    def wanted(name: str) -> bool:
        if not name.startswith(prefix):
            return False
        return not patterns or any(fnmatchcase(name, pattern) for pattern in patterns)

    return wanted
