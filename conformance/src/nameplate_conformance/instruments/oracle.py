"""An independent reader and writer of checkpoints, so that no law trusts the code that it judges.

Only what the safetensors format and Hugging Face's index of shards say; no record of ours is read or written.
"""

import json
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

_NAMES = {
    "bool": "BOOL", "uint8": "U8", "int8": "I8", "int16": "I16", "uint16": "U16", "int32": "I32", "uint32": "U32",
    "int64": "I64", "uint64": "U64", "float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64",
    "complex64": "C64", "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2fnuz": "F8_E5M2FNUZ", "float8_e8m0fnu": "F8_E8M0",
}  # fmt: skip
DTYPES = {theirs: getattr(torch, ours) for ours, theirs in _NAMES.items() if hasattr(torch, ours)}
"""The dtypes of the format that torch has and that hold one value in whole bytes, by their name in a file."""

_METADATA = "__metadata__"


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor as it lies in a file."""

    dtype: str
    shape: tuple[int, ...]
    data: bytes

    @classmethod
    def of(cls, tensor: Tensor) -> "StoredTensor":
        """Return a tensor as it should lie in a file: row after row, whatever its strides."""
        dense = tensor.detach().to("cpu").clone(memory_format=torch.contiguous_format)
        name = next(name for name, dtype in DTYPES.items() if dtype == tensor.dtype)
        return cls(name, tuple(tensor.shape), bytes(dense.reshape(-1).view(torch.uint8).tolist()))


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A weight file: its tensors in the order of their data, and its metadata."""

    tensors: Mapping[str, StoredTensor]
    metadata: Mapping[str, str]

    @property
    def size(self) -> int:
        """The number of bytes of its tensors."""
        return sum(len(each.data) for each in self.tensors.values())


def read_file(path: Path) -> StoredFile:
    """Return a weight file; the sizes that the header claims must fit the shapes, without a gap or an overlap."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header: dict[str, Any] = json.loads(content[8 : 8 + length])
    data, metadata = content[8 + length :], header.pop(_METADATA, {})
    found: dict[str, StoredTensor] = {}
    expected = 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = entry["data_offsets"]
        size = DTYPES[entry["dtype"]].itemsize
        for axis in entry["shape"]:
            size *= axis
        assert start == expected, f"{name}: starts at {start}, {expected} is next"
        assert end - start == size, f"{name}: {end - start} bytes for {entry['shape']} of {entry['dtype']}"
        found[name] = StoredTensor(entry["dtype"], tuple(entry["shape"]), data[start:end])
        expected = end
    assert expected == len(data), f"{path.name}: {len(data)} bytes of data, {expected} of them named"
    return StoredFile(found, metadata)


def read_safetensors(path: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a file."""
    return dict(read_file(path).tensors)


def read_checkpoint(folder: Path) -> dict[str, StoredTensor]:
    """Return every tensor of a folder that holds one checkpoint, in one file or in shards."""
    if not (folder / INDEX).exists():
        return read_safetensors(folder / SINGLE)
    shards = sorted(set(read_index(folder)["weight_map"].values()))
    return {name: each for shard in shards for name, each in read_safetensors(folder / shard).items()}


def read_index(folder: Path) -> dict[str, Any]:
    """Return the index of a sharded checkpoint."""
    return dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))


def write_safetensors(
    path: Path, tensors: Mapping[str, StoredTensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write a weight file, the data in the order of *tensors*; without metadata if there is none."""
    header: dict[str, Any] = {} if metadata is None else {_METADATA: dict(metadata)}
    end = 0
    for name, each in tensors.items():
        start, end = end, end + len(each.data)
        header[name] = {"dtype": each.dtype, "shape": list(each.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # the format asks for data on 8 bytes
    path.write_bytes(b"".join([struct.pack("<Q", len(text)), text, *(each.data for each in tensors.values())]))


def write_shards(folder: Path, shards: Iterable[Mapping[str, StoredTensor]], *, order: Iterable[str]) -> None:
    """Write shards and their index as Transformers does; *order* is that of the names in the index."""
    parts = list(shards)
    names = [f"model-{number:05}-of-{len(parts):05}.safetensors" for number in range(1, len(parts) + 1)]
    place = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    for name, part in zip(names, parts, strict=True):
        write_safetensors(folder / name, part, {"format": "pt"})
    size = sum(len(each.data) for part in parts for each in part.values())
    index = {"metadata": {"total_size": size}, "weight_map": {tensor: place[tensor] for tensor in order}}
    (folder / INDEX).write_text(json.dumps(index), encoding="utf-8")


def keep_only(folder: Path, name: str) -> None:
    """Remove every weight file and index of a folder, and leave its file *name*."""
    for entry in list(folder.iterdir()):
        if entry.name != name:
            entry.unlink()
