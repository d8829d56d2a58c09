"""The `.metadata` of a torch DCP folder: which tensors it holds, and in which file each piece of one lies.

It is a pickle of a few classes of torch. They are read as plain records, and every claim in them is checked before
anybody believes it; no code in it ever runs.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from nameplate_config.files import read_file
from nameplate_config.wording import listed, sentences, shown
from nameplate_model._boxes import Box
from nameplate_model._dcp.records import LARGEST_PICKLE, Name, Record, RecordsError, read_records
from nameplate_model._layout import MOST_TENSORS
from nameplate_model._pickled import KINDS
from nameplate_model.errors import CheckpointError, CorruptFileError

METADATA_NAME = ".metadata"

_MODULE = "torch.distributed.checkpoint.metadata"
_METADATA, _INDEX = f"{_MODULE} Metadata", f"{_MODULE} MetadataIndex"
_TENSOR, _BYTES = f"{_MODULE} TensorStorageMetadata", f"{_MODULE} BytesStorageMetadata"
_CHUNK, _PLACE = f"{_MODULE} ChunkStorageMetadata", "torch.distributed.checkpoint.filesystem _StorageInfo"
_PROPERTIES = (f"{_MODULE} TensorProperties", "torch.distributed._shard.sharded_tensor.metadata TensorProperties")
_SIZE = "torch Size"
_PATHS = ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")
_ALLOWED = frozenset(
    {
        *(_METADATA, _INDEX, _TENSOR, _BYTES, _CHUNK, _PLACE, _SIZE, *_PROPERTIES, *KINDS),
        *(f"{_MODULE} StorageMeta", f"{_MODULE} _MEM_FORMAT_ENCODING", "torch.serialization _get_layout"),
        "torch.distributed._shard.sharded_tensor.metadata MEM_FORMAT_ENCODING",
        *(f"{module} {name}" for module in ("pathlib", "pathlib._local") for name in _PATHS),
    }
)
"""What the metadata of tensors is made of."""

_MOST_AXES = 64
"""More than torch allows."""


class Chunk(NamedTuple):
    """A piece of a tensor, as the metadata describes it.

    Attributes:
        box: Which part of the tensor.
        file: The file that it says, a name from outside.
        offset: Where the bytes of what was saved begin in it.
        length: How many there are.
    """

    box: Box
    file: str
    offset: int
    length: int


class Described(NamedTuple):
    """A tensor, as the metadata describes it.

    Attributes:
        dtype: The type of its elements.
        shape: Its size along each axis.
        chunks: Its pieces.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    chunks: tuple[Chunk, ...]


def read_metadata(path: Path, where: str) -> tuple[dict[str, Described], str]:
    """Read which tensors a folder holds. What else it holds, such as the numbers of an optimizer, is left out.

    Args:
        path: The file.
        where: How messages name it.

    Returns:
        The tensors by name, and the sha256 of the file in hexadecimal digits.

    Raises:
        SourceNotFoundError: If there is no such file, or it is no regular file.
        CorruptFileError: If it is torn, or says what cannot be.
        CheckpointError: If it is too large, or asks for anything that metadata is not made of; nothing of it is run.
    """
    data = read_file(path, limit=LARGEST_PICKLE, too_large=CheckpointError)
    try:
        root = read_records(data, _ALLOWED)
    except RecordsError as error:
        raise _refused(where, error) from error
    try:
        return dict(_described(root, where)), hashlib.sha256(data).hexdigest()
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise _torn(where, "it does not describe tensors as torch does") from error


def _refused(where: str, error: RecordsError) -> CheckpointError:
    if not error.hostile:
        return _torn(where, str(error))
    message = sentences(
        f"{where} asks for {shown(str(error))}, of which no metadata is made; nothing of it was run.",
        "If you trust its origin, load it with torch.distributed.checkpoint, and save the model with save_pretrained.",
    )
    return CheckpointError(message)


def _torn(where: str, why: str) -> CorruptFileError:
    message = sentences(
        f"{where} is not the whole metadata of torch.distributed.checkpoint: {why.removesuffix('.')}.",
        "It may be truncated. Restore it from its origin.",
    )
    return CorruptFileError(message)


def _described(root: Any, where: str) -> Iterator[tuple[str, Described]]:
    fields = _fields(root, _METADATA)
    tensors, storage = fields["state_dict_metadata"], _storage(fields["storage_data"])
    if len(tensors) > MOST_TENSORS:
        message = f"{where} names {len(tensors):,} tensors; at most {MOST_TENSORS:,} are read."
        raise CheckpointError(message)
    for name, record in tensors.items():
        if not isinstance(name, str):
            raise _torn(where, f"it has the name {shown(name)}, which is no text")
        if record.made_of != _BYTES:
            yield name, _tensor(name, _fields(record, _TENSOR), storage, where)


def _tensor(name: str, fields: Mapping[str, Any], storage: Mapping[tuple[str, Any], Any], where: str) -> Described:
    shape = _sizes(fields["size"])
    properties = fields["properties"]
    if properties.made_of not in _PROPERTIES:
        raise ValueError
    dtype = KINDS[_text(properties.state[0])]
    chunks: list[Chunk] = []
    for each in fields["chunks"]:
        chunk = _fields(each, _CHUNK)
        box = Box(_sizes(chunk["offsets"]), _sizes(chunk["sizes"]))
        if len(box.offsets) != len(shape) or len(box.sizes) != len(shape):
            raise _torn(where, f"a piece of {shown(name)} has another number of axes than the tensor")
        place = storage.get((name, box.offsets))
        if place is None:
            raise _torn(where, f"it does not say where the piece of {shown(name)} at {box.offsets} lies")
        chunks.append(_chunk(name, box, place, where))
        if box.numel * dtype.itemsize > chunks[-1].length:
            found = f"{chunks[-1].length:,} bytes for the shape {box.sizes} of {dtype}"
            raise _torn(where, f"the piece of {shown(name)} has {found}")
    return Described(dtype, shape, tuple(chunks))


def _chunk(name: str, box: Box, place: Mapping[str, Any], where: str) -> Chunk:
    file, offset, length = place["relative_path"], place["offset"], place["length"]
    changed = place.get("transform_descriptors")
    if changed:
        message = sentences(
            f"{where}: {shown(name)} was changed on its way to the file, by {listed(changed)}.",
            "Load it with torch.distributed.checkpoint, and save the model with save_pretrained.",
        )
        raise CheckpointError(message)
    if not isinstance(file, str) or type(offset) is not int or type(length) is not int or offset < 0 or length < 0:
        found = f"{shown(offset)} and {shown(length)} in {shown(file)}"
        raise _torn(where, f"the piece of {shown(name)} must have an offset and a length from 0 on, found {found}")
    return Chunk(box, file, offset, length)


def _storage(records: Mapping[Record, Record]) -> dict[tuple[str, Any], Any]:
    """Return what is said of each place, by the name of a tensor and where the piece begins."""
    found: dict[tuple[str, Any], Any] = {}
    for index, place in records.items():
        fields = _fields(index, _INDEX)
        offsets = fields.get("offset")
        if isinstance(fields["fqn"], str) and offsets is not None:
            found[fields["fqn"], _sizes(offsets)] = _fields(place, _PLACE)
    return found


def _fields(record: Any, made_of: str) -> Mapping[str, Any]:
    if not isinstance(record, Record) or record.made_of != made_of or not isinstance(record.state, dict):
        raise TypeError
    return record.state


def _sizes(record: Any) -> tuple[int, ...]:
    if not isinstance(record, Record) or record.made_of != _SIZE:
        raise TypeError
    (sizes,) = record.arguments
    if len(sizes) > _MOST_AXES or not all(type(size) is int and size >= 0 for size in sizes):
        raise ValueError
    return tuple(sizes)


def _text(name: Any) -> str:
    if not isinstance(name, Name):
        raise TypeError
    return name.text
