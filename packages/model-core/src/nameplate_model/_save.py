"""Saving: one file whose replacement is the commit, then its mirror.

`model.safetensors` carries the config it belongs to in its own header (see `nameplate_config.record`), so the rename
that replaces it changes weights and config in one step. `config.json` follows. Equal states give equal bytes.
"""

import ctypes
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch.nn.parameter import is_lazy

from nameplate_config.files import Buffer, make_folder, read_file, replace_file
from nameplate_config.record import CONFIG_NAME, WEIGHTS_NAME, record_metadata
from nameplate_config.strict_json import LARGEST_CONFIG
from nameplate_config.wording import sentences, shown
from nameplate_model._layout import ALIGNMENT, TIED_KEY
from nameplate_model.errors import CheckpointError, SaveError

_PAGE = 4096
"""Tensor data starts on a page, so that it can be mapped, sliced by rank and read past the page cache."""

_METADATA = "__metadata__"

_DTYPE_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32",
    "uint32": "U32", "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32",
    "float64": "F64", "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2",
}  # fmt: skip
_DTYPES = {getattr(torch, ours): theirs for ours, theirs in _DTYPE_NAMES.items() if hasattr(torch, ours)}


def save_checkpoint(folder: Path, state: Mapping[str, torch.Tensor], config_text: str) -> None:
    """Write weights and config into a folder: a reader or a crash sees the old checkpoint or the new one.

    Args:
        folder: Created if needed.
        state: The tensors by key. Only read; a tensor on another device is copied to the host one at a time.
        config_text: What `config.json` is going to hold.

    Raises:
        CheckpointError: If a value is no tensor, has no data, or has a dtype that the format lacks.
        SaveError: If the system cannot write. The folder holds the old checkpoint or the new one, whole.
    """
    stored, tied = _without_twins(_checked(state))
    mirror = folder / CONFIG_NAME
    try:
        make_folder(folder)
        metadata = record_metadata(config_text, _previous(mirror, config_text))
        if tied:
            metadata[TIED_KEY] = json.dumps(tied, sort_keys=True)
        replace_file(folder / WEIGHTS_NAME, _file_bytes(stored, metadata))
        replace_file(mirror, [config_text.encode()])
    except OSError as error:
        message = f"{str(folder)!r} could not be written: {error.strerror or error}."
        raise SaveError(
            sentences(message, "What it holds is whole: the checkpoint from before, or the new one.")
        ) from error


def _previous(mirror: Path, config_text: str) -> bytes | None:
    """Return what `config.json` holds now, if that differs from what it is going to hold."""
    if not mirror.exists():
        return None
    previous = read_file(mirror, limit=LARGEST_CONFIG, too_large=CheckpointError)
    return None if previous == config_text.encode() else previous


def _checked(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the state with every tensor as plain memory: a lazy conjugate or negative is computed."""
    for key, tensor in state.items():
        if not isinstance(tensor, torch.Tensor):
            message = f"the state dict holds {shown(tensor)} under {key!r}; only tensors can be saved."
            raise CheckpointError(message)
        if is_lazy(tensor):
            message = f"{key!r} has no shape yet: run the model once before it is saved."
            raise CheckpointError(message)
        if tensor.is_meta:
            message = f"{key!r} is on the meta device: it has no values that could be saved."
            raise CheckpointError(message)
        if tensor.dtype not in _DTYPES or tensor.layout is not torch.strided:
            message = f"{key!r} has dtype {tensor.dtype} and layout {tensor.layout}, which safetensors cannot hold."
            raise CheckpointError(message)
        if key == _METADATA or key.encode(errors="ignore").decode() != key:
            message = f"{key!r} cannot be the name of a tensor in a safetensors file."
            raise CheckpointError(message)
    return {key: tensor.resolve_conj().resolve_neg() for key, tensor in state.items()}


def _without_twins(state: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Split off the names of tensors that are stored already: the same memory, seen in the same way."""
    stored: dict[str, torch.Tensor] = {}
    tied: dict[str, str] = {}
    first: dict[tuple[object, ...], str] = {}
    for key, tensor in state.items():
        identity = (tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride(), tensor.device)
        kept = first.setdefault(identity, key) if tensor.numel() else key
        if kept == key:
            stored[key] = tensor
        else:
            tied[key] = kept
    return stored, tied


def _file_bytes(state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> Iterator[Buffer]:
    names = sorted(state, key=lambda name: _order(name, state[name]))
    yield _header(names, state, metadata)
    for name in names:
        yield from _tensor_bytes(state[name])


def _order(name: str, tensor: torch.Tensor) -> tuple[bool, int, int, str]:
    """Sort so that as many tensors as possible can be mapped, and the order depends on nothing but the tensors.

    The format allows no gaps. Tensors of whole 64-byte blocks come first and keep each other on that grid; of the
    rest, wide elements come first, so that each is at least aligned to its own elements.
    """
    size = tensor.numel() * tensor.element_size()
    return size % ALIGNMENT != 0, -tensor.element_size(), -size, name


def _header(names: list[str], state: Mapping[str, torch.Tensor], metadata: Mapping[str, str]) -> bytes:
    table: dict[str, object] = {_METADATA: dict(metadata)}
    offset = 0
    for name in names:
        tensor = state[name]
        end = offset + tensor.numel() * tensor.element_size()
        table[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [offset, end]}
        offset = end
    text = json.dumps(table, separators=(",", ":")).encode()
    length = -(-(len(text) + 8) // _PAGE) * _PAGE - 8
    return struct.pack("<Q", length) + text.ljust(length)


def _tensor_bytes(tensor: torch.Tensor) -> Iterator[Buffer]:
    """Yield the bytes of a tensor in row-major order, without a copy where it already lies so in host memory."""
    dense = tensor.detach().to("cpu").contiguous()
    size = dense.numel() * dense.element_size()
    if size:
        # torch offers no buffer without numpy; `dense` outlives the view, which is written before we go on.
        yield memoryview((ctypes.c_char * size).from_address(dense.data_ptr()))
