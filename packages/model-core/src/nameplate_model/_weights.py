"""Weight files: where a checkpoint keeps which tensor, and the tensors themselves, mapped from the page cache.

`open_weights` reads headers only. A tensor that is asked for is a view of the mapped file: nothing is copied until
somebody writes to it, and then only the pages written to. The file itself is never changed. Deciding which tensor
goes where is `_load`; writing is `_save`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from nameplate_config import Source, SourceNotFoundError, UnsafePathError
from nameplate_config.files import open_regular, read_file
from nameplate_config.record import CONFIG_NAME, WEIGHTS_NAME
from nameplate_config.strict_json import Budget, parse_object
from nameplate_config.wording import listed, sentences, shown
from nameplate_model.errors import AmbiguousCheckpointError, CheckpointError, CorruptFileError, ShardError

INDEX_NAME = "model.safetensors.index.json"
TIED_KEY = "nameplate.tied"
"""The metadata key that records which names were one tensor: JSON, ``{alias: kept name}``."""

ALIGNMENT = 64
"""Where tensors start in memory that torch allocates, in bytes. Kernels treat the odd ends of a tensor differently,
so the same weights elsewhere can give another last bit; a mapped tensor off this grid is therefore copied."""

_DECISIVE = (WEIGHTS_NAME, INDEX_NAME, CONFIG_NAME)
_LARGEST_INDEX = 64 << 20
_INDEX_BUDGET = Budget(keys=1_000_000, values=2_000_000, objects=1_000)


@dataclass(frozen=True, slots=True)
class Weights:
    """Every tensor of a checkpoint by name, without its data.

    Attributes:
        where: How messages name the checkpoint's weights.
        files: The opened file of each name.
        tied: Names that were the same tensor when saved, mapped to the one that the file holds.
    """

    where: str
    files: Mapping[str, "WeightFile"]
    tied: Mapping[str, str] = field(default_factory=dict)

    def __contains__(self, name: str) -> bool:
        return name in self.files

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor that shares the pages of its file; writing to it copies them."""
        return self.files[name].tensor(name)


class WeightFile:
    """One opened safetensors file; its header has been checked, its data not yet read."""

    def __init__(self, path: Path) -> None:
        open_regular(path).close()  # refuses FIFOs and devices, which would hang or never end
        self.path = path
        self._read: dict[str, torch.Tensor] = {}
        try:
            self._handle: Any = safe_open(path, framework="pt")
            self.names: tuple[str, ...] = tuple(self._handle.keys())
            self.metadata: dict[str, str] = self._handle.metadata() or {}
        except (SafetensorError, OSError) as error:
            message = sentences(
                f"{str(path)!r} is not a whole safetensors file: {error}.",
                "It may be truncated. Restore it from its origin, or save the model again.",
            )
            raise CorruptFileError(message) from error

    def tensor(self, name: str) -> torch.Tensor:
        """Return a tensor by name, mapped; the same object each time."""
        try:
            if name not in self._read:
                self._read[name] = self._handle.get_tensor(name)
            return self._read[name]
        except (SafetensorError, ValueError, TypeError, KeyError) as error:
            message = f"{str(self.path)!r}: the tensor {name!r} cannot be read: {error}."
            raise CorruptFileError(message) from error


def open_weights(source: Source) -> Weights:
    """Find the weight files of a checkpoint and read their headers.

    Raises:
        SourceNotFoundError: If the source holds no weights.
        CorruptFileError: If a file is torn.
        ShardError: If the index names a file that is absent, or a tensor that its file lacks.
        AmbiguousCheckpointError: If there are two checkpoints and no record says which one counts.
    """
    single, index = source.find(WEIGHTS_NAME), source.find(INDEX_NAME)
    if single is None and index is None:
        raise _no_weights(source)
    if single is None:
        return _open_shards(source)
    file = WeightFile(single)
    if index is not None and "nameplate" not in file.metadata:
        message = sentences(
            f"{source.name!r} holds both {WEIGHTS_NAME} and {INDEX_NAME}, and no record says which one counts.",
            "Remove the one that is left over from an earlier save.",
        )
        raise AmbiguousCheckpointError(message)
    return Weights(source.where(WEIGHTS_NAME), dict.fromkeys(file.names, file), _tied(file))


def stamp(source: Source) -> list[tuple[int, ...] | None]:
    """Return what differs if a file that decides about a folder's checkpoint was replaced since the last stamp."""
    return [] if source.folder is None else [_identity(source.folder / name) for name in _DECISIVE]


def _identity(path: Path) -> tuple[int, ...] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _open_shards(source: Source) -> Weights:
    where = source.where(INDEX_NAME)
    data = read_file(source.path(INDEX_NAME), limit=_LARGEST_INDEX, too_large=ShardError)
    index = parse_object(data, where=where, error=ShardError, budget=_INDEX_BUDGET)
    weight_map = index.get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(name, str) for name in weight_map.values()):
        message = f"{where}: 'weight_map' must be an object from tensor names to file names, found {shown(weight_map)}."
        raise ShardError(message)
    opened: dict[str, WeightFile] = {}
    for shard in sorted(set(weight_map.values())):
        try:
            opened[shard] = WeightFile(source.path(shard))
        except UnsafePathError as error:
            message = f"{where}: {error}"
            raise UnsafePathError(message) from error
        except SourceNotFoundError as error:
            message = f"{where} names the file {shard!r}, which is not there. {error}"
            raise ShardError(message) from error
    held = {shard: frozenset(file.names) for shard, file in opened.items()}
    for name, shard in weight_map.items():
        if name not in held[shard]:
            message = f"{where} says that {shard!r} holds {name!r}, but it does not."
            raise ShardError(message)
    return Weights(where, {name: opened[shard] for name, shard in weight_map.items()})


def _tied(file: WeightFile) -> dict[str, str]:
    try:
        tied = json.loads(file.metadata.get(TIED_KEY, "{}"))
    except (ValueError, RecursionError):
        tied = None
    names = set(file.names)
    if not isinstance(tied, dict) or not all(isinstance(kept, str) and kept in names for kept in tied.values()):
        message = f"{str(file.path)!r}: the metadata {TIED_KEY!r} names no tensors of the file."
        raise CorruptFileError(message)
    return tied


def _no_weights(source: Source) -> Exception:
    looked = f"{source.name!r} holds no weights: looked for {WEIGHTS_NAME} and {INDEX_NAME}."
    if source.find("pytorch_model.bin") is not None:
        message = sentences(looked, "It has pytorch_model.bin, a pickle, which is not read: it could run any code.")
        return CheckpointError(message)
    there = [] if source.folder is None else sorted(entry.name for entry in source.folder.iterdir())
    return SourceNotFoundError(sentences(looked, f"The folder holds: {listed(there)}." if there else ""))
