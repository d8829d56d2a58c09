"""Pickled weights, `pytorch_model.bin`: what others wrote before safetensors, read only when asked for by name.

A pickle is a program. `read_pickled` first goes through its instructions without following any: only the functions
that rebuild tensors may be named, and no number may be larger than the file, so neither code nor memory can be asked
for. Then torch reads it with ``weights_only=True``, which keeps a list of its own. Nothing here writes a pickle.
"""

import io
import mmap
import os
import pickletools
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import torch

from nameplate_config import Source
from nameplate_config.files import open_regular
from nameplate_config.wording import brief, sentences, shown
from nameplate_model._index import read_index, shard_path
from nameplate_model.errors import AmbiguousCheckpointError, CheckpointError, CorruptFileError, ShardError

_LARGEST_PICKLE = 16 << 20
_MOST_INSTRUCTIONS = 1_000_000
"""A tensor takes 35, so this is enough for 28,000 in one file; going through them takes half a second."""

_OLDEST_TORCH = (2, 10)
"""Before, `weights_only` could be led to corrupt memory (CVE-2026-24747)."""

_ENCRYPTED = 1
_LARGEST_DIRECTORY = 4 << 20
"""Of an archive, in bytes: 60 or more for a tensor. Reading one takes ten times its size in memory."""

_LONGEST_END = (64 << 10) + 100
"""The record at the end of an archive has a comment of at most 64 KiB, and another record before it."""

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_STREAMS = 5
"""Magic number, protocol, system, tensors, names of storages: what precedes the data in files of torch before 1.6."""

_TENSORS_STREAM = 3

STORAGES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
    "torch ComplexFloatStorage": torch.complex64,
    "torch ComplexDoubleStorage": torch.complex128,
}
"""What a pickle calls the memory of a tensor, and the type of its elements."""

KINDS = {f"torch {name}": value for name, value in vars(torch).items() if isinstance(value, torch.dtype)}
"""What a pickle calls a dtype."""

TENSOR_NAMES = frozenset(
    {
        "collections OrderedDict",
        "torch.storage UntypedStorage",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_tensor_v3",
        "torch._utils _rebuild_parameter",
        "torch._utils _rebuild_parameter_with_state",
        *STORAGES,
        *KINDS,
    }
)
"""What a dict of plain tensors is made of: less than what torch allows, and not extended by `add_safe_globals`."""

_NAMING = frozenset({"GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4"})
"""The instructions that can reach a class or function; torch writes only the first for tensors."""


def open_pickled(source: Source, variant: str | None = None) -> dict[str, torch.Tensor]:
    """Read the pickled weights of a checkpoint, in one file or in shards.

    Args:
        source: The opened source.
        variant: The middle of the file names, as in ``pytorch_model.fp16.bin``.

    Returns:
        Every tensor by name, mapped from its file where the format allows it. Names of one tensor share an object
        if they are in the same file.

    Raises:
        SourceNotFoundError: If the source holds no such weights.
        AmbiguousCheckpointError: If it holds both one file and an index of shards.
        ShardError: If the index names a file that is absent, or a tensor that its file lacks.
        UnsafePathError: If the index names a file outside the folder.
        CheckpointError: As `read_pickled`.
    """
    name, index = pickled_names(variant)
    single, shards = source.find(name), source.find(index)
    if single is not None and shards is not None:
        message = sentences(
            f"{source.name!r} holds both {name} and {index}, and no record says which one counts.",
            "Remove the one that is left over from an earlier save.",
        )
        raise AmbiguousCheckpointError(message)
    if shards is not None:
        return _read_shards(source, index)
    return read_pickled(source.path(name))


def pickled_names(variant: str | None = None) -> tuple[str, str]:
    """Return how the pickled weights of a checkpoint are called, in one file and as an index of shards.

    Example:
        >>> pickled_names("fp16")
        ('pytorch_model.fp16.bin', 'pytorch_model.bin.index.fp16.json')
    """
    middle = f".{variant}" if variant else ""
    return f"pytorch_model{middle}.bin", f"pytorch_model.bin.index{middle}.json"


def read_pickled(path: Path) -> dict[str, torch.Tensor]:
    """Read one file of `torch.save` that holds a dict of tensors; no code in it runs, whatever it holds.

    Raises:
        SourceNotFoundError: If there is no such file, or it is no regular file.
        CorruptFileError: If it is torn, or no file of `torch.save`.
        CheckpointError: If it holds anything other than plain tensors by name, or torch is too old to be safe.
    """
    _require_safe_torch(path)
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        zipped = file.read(2) == b"PK"
        file.seek(0)
        for stream in _zipped(path, file) if zipped else _legacy(path, file):
            _go_through(path, stream, size)
    # torch maps shared if the process says so; then training would write into the checkpoint
    private = torch.serialization.get_default_mmap_options() == getattr(mmap, "MAP_PRIVATE", None)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and private)
    except Exception as error:  # the file decides what goes wrong
        raise _corrupt(path, brief(error).partition("\n")[0]) from error
    return _joined(_tensors(path, loaded, size))


def _require_safe_torch(path: Path) -> None:
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < _OLDEST_TORCH:
        message = sentences(
            f"{str(path)!r} is a pickle, which torch {torch.__version__} cannot read safely.",
            "Install torch 2.10 or newer, or convert the file to safetensors.",
        )
        raise CheckpointError(message)


# ---- what a file asks for


def _zipped(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Yield the pickle of an archive. What is packed could be larger than the file, and cannot be mapped."""
    if _directory_size(file) > _LARGEST_DIRECTORY:
        raise _too_much(path)
    try:
        with zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            found = [entry for entry in entries if entry.filename.partition("/")[2] == "data.pkl"]
            if any(entry.filename.partition("/")[2] == "constants.pkl" for entry in entries):
                raise _not_tensors(path, "is a TorchScript program, not a dict of tensors.")
            if len(found) != 1 or any(entry.compress_type or entry.flag_bits & _ENCRYPTED for entry in entries):
                raise _corrupt(path, "an archive that torch does not write")
            if found[0].file_size > _LARGEST_PICKLE:
                raise _too_much(path)
            yield archive.read(found[0])
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError) as error:
        raise _corrupt(path, brief(error)) from error


def _directory_size(file: IO[bytes]) -> int:
    """Return how large an archive says that its directory is, from the record at its end."""
    file.seek(-min(file.seek(0, io.SEEK_END), _LONGEST_END), io.SEEK_END)
    end = file.read()
    at, large = end.rfind(b"PK\5\6"), end.rfind(b"PK\6\6")
    size = int.from_bytes(end[at + 12 : at + 16], "little") if at >= 0 else 0
    return int.from_bytes(end[large + 40 : large + 48], "little") if large >= 0 else size


def _legacy(path: Path, file: IO[bytes]) -> Iterator[bytes]:
    """Yield the pickle with the tensors of a file that torch before 1.6 wrote, after looking at those around it."""
    head = file.read(_LARGEST_PICKLE)
    if head[257:262] == b"ustar":
        raise _not_tensors(path, "is a tar file of torch before 0.1.10, which is not read.")
    rest = io.BytesIO(head)
    for number in range(_LEGACY_STREAMS):
        start = rest.tell()
        numbers = [each for _, each in _instructions(path, rest)]
        if number == 0 and _LEGACY_MAGIC not in numbers:
            raise _corrupt(path, "it does not begin like one")
        if number == _TENSORS_STREAM:
            yield head[start : rest.tell()]


def _go_through(path: Path, stream: bytes, size: int) -> None:
    """Refuse a pickle that says a number which the file cannot hold: it would become memory."""
    for _, value in _instructions(path, io.BytesIO(stream)):
        if isinstance(value, int) and value > size:
            message = f"{str(path)!r} says {value:,}, but has only {size:,} bytes."
            raise CorruptFileError(sentences(message, "It is damaged or hostile, and was not read."))


def _instructions(path: Path, stream: io.BytesIO) -> Iterator[tuple[str, Any]]:
    """Yield the instructions of one pickle with their arguments; none is followed.

    Raises:
        CheckpointError: If one names anything that tensors are not made of.
    """
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if count == _MOST_INSTRUCTIONS:
                raise _too_much(path)
            if opcode.name in _NAMING and (opcode.name != "GLOBAL" or argument not in TENSOR_NAMES):
                asked = str(argument).replace(" ", ".") if opcode.name == "GLOBAL" else opcode.name
                raise _not_tensors(path, f"asks for {shown(asked)}, of which no tensor is made; nothing of it was run.")
            yield opcode.name, argument
    except (ValueError, EOFError, OverflowError, Warning) as error:  # a warning where the caller made them errors
        raise _corrupt(path, brief(error)) from error


# ---- what came out


def _tensors(path: Path, loaded: Any, size: int) -> dict[str, torch.Tensor]:
    """Return what was read without autograd's marks, if it is a dict of plain tensors."""
    if not isinstance(loaded, Mapping):
        raise _not_tensors(path, f"holds a {type(loaded).__name__}, not a dict of tensors.")
    for name, value in loaded.items():
        if isinstance(value, Mapping):
            raise _not_tensors(path, f"holds a dict at {shown(name)}, not a tensor: the weights may be in there.")
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise _not_tensors(path, f"holds {shown(value)} at {shown(name)}, not a tensor.")
        if value.numel() * value.element_size() > size:
            message = f"{str(path)!r}: the tensor {shown(name)} of shape {tuple(value.shape)} is larger than the file."
            raise CorruptFileError(sentences(message, "The file is damaged or hostile."))
    return {name: value.detach() for name, value in loaded.items()}


def _joined(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return tensors of which those that were one when saved are one object again."""
    first: dict[tuple[Any, ...], torch.Tensor] = {}
    return {
        name: first.setdefault((each.data_ptr(), each.dtype, each.shape, each.stride()), each) if each.numel() else each
        for name, each in tensors.items()
    }


def _read_shards(source: Source, name: str) -> dict[str, torch.Tensor]:
    index = read_index(source, name)
    shards = {shard: read_pickled(shard_path(source, index.where, shard)) for shard in index.shards}
    for key, shard in index.weight_map.items():
        if key not in shards[shard]:
            message = f"{index.where} says that {shard!r} holds {key!r}, but it does not."
            raise ShardError(message)
    return {key: shards[shard][key] for key, shard in index.weight_map.items()}


# ---- what is wrong


def _corrupt(path: Path, why: str) -> CorruptFileError:
    message = sentences(
        f"{str(path)!r} is not a whole file of torch.save: {why.removesuffix('.')}.",
        "It may be truncated. Restore it from its origin.",
    )
    return CorruptFileError(message)


def _too_much(path: Path) -> CheckpointError:
    most = f"{_MOST_INSTRUCTIONS:,} instructions, {_LARGEST_PICKLE:,} bytes of them or {_LARGEST_DIRECTORY:,} of names"
    return _not_tensors(path, f"describes more tensors than are read from one pickle: over {most}.")


def _not_tensors(path: Path, what: str) -> CheckpointError:
    message = sentences(
        f"{str(path)!r} {what}",
        "If you trust its origin, read it yourself and pass the tensors as state_dict=, or ask for safetensors.",
    )
    return CheckpointError(message)
