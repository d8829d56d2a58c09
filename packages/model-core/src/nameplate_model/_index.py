"""The index of a sharded checkpoint: which file holds which tensor. For safetensors and for pickles alike."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nameplate_config import Source, SourceNotFoundError, UnsafePathError
from nameplate_config.files import read_file
from nameplate_config.strict_json import Budget, parse_object
from nameplate_config.wording import shown
from nameplate_model._layout import LARGEST_INDEX, MOST_SHARDS, MOST_TENSORS
from nameplate_model.errors import ShardError

_BUDGET = Budget(keys=2 * MOST_TENSORS, values=8 * MOST_TENSORS, objects=2 * MOST_SHARDS)
"""What tensors and their ties, or their overlaps, take."""


@dataclass(frozen=True, slots=True)
class Index:
    """A parsed index.

    Attributes:
        where: How messages name it.
        weight_map: The name of the file of each tensor.
        metadata: What else it says; anything.
        data: Its bytes, as they were read.
    """

    where: str
    weight_map: dict[str, str]
    metadata: dict[str, Any]
    data: bytes

    @property
    def shards(self) -> list[str]:
        """The names of the files, sorted."""
        return sorted(set(self.weight_map.values()))


def read_index(source: Source, name: str) -> Index:
    """Read an index file.

    Raises:
        ShardError: If it is no index, or too large to be one.
    """
    where = source.where(name)
    data = read_file(source.path(name), limit=LARGEST_INDEX, too_large=ShardError)
    root = parse_object(data, where=where, error=ShardError, budget=_BUDGET)
    weight_map, metadata = root.get("weight_map"), root.get("metadata")
    if not isinstance(weight_map, dict) or not all(isinstance(file, str) for file in weight_map.values()):
        message = f"{where}: 'weight_map' must be an object from tensor names to file names, found {shown(weight_map)}."
        raise ShardError(message)
    index = Index(where, weight_map, metadata if isinstance(metadata, dict) else {}, data)
    if len(index.shards) > MOST_SHARDS:
        message = f"{where} names {len(index.shards):,} files; at most {MOST_SHARDS:,} are opened."
        raise ShardError(message)
    return index


def shard_path(source: Source, where: str, shard: str) -> Path:
    """Return the path of a file that an index names.

    Args:
        source: Where the checkpoint is.
        where: How messages name the index.
        shard: What it calls the file.

    Raises:
        UnsafePathError: If it would leave the folder.
        ShardError: If it is not there.
    """
    try:
        return source.path(shard)
    except UnsafePathError as error:
        message = f"{where}: {error}"
        raise UnsafePathError(message) from error
    except SourceNotFoundError as error:
        message = f"{where} names the file {shard!r}, which is not there. {error}"
        raise ShardError(message) from error
