"""The weights of a checkpoint as its headers describe them, so that a plan needs no more, not even from the Hub."""

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import cast

from nameplate_config import Source, SourceNotFoundError
from nameplate_model._files import Held, Stored, WeightFile
from nameplate_model._header import Header, header_of
from nameplate_model._index import read_index
from nameplate_model._layout import index_name, weights_name
from nameplate_model._weights import WeightChoice, Weights, open_weights, weights_of
from nameplate_model.errors import ShardError


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A weight file on the Hub of which only the header is here.

    Attributes:
        path: Its name.
        where: How messages name it.
        size: Its size in bytes.
        header: What it says of itself, checked.
    """

    path: PurePosixPath
    where: str
    size: int
    header: Header

    def close(self) -> None:
        """Do nothing: nothing is open."""


def open_heads(source: Source, choice: WeightChoice) -> Weights:
    """Return the weights of a checkpoint for a plan; their tensors cannot be asked for.

    Raises:
        SourceNotFoundError: If the source holds no weights.
        CheckpointError: If they cannot be read; as `open_weights`.
        HubError: If the Hub cannot be asked.
    """
    if source.repository is None or choice.use_safetensors is False:
        return open_weights(source, choice)
    single = _remote_file(source, weights_name(choice.variant))
    if single is not None:
        return weights_of(single.where, _tensors(single), (_as_file(single),), single.header.metadata)
    if source.find(index_name(choice.variant)) is None:
        return open_weights(source, choice)  # raises, and says what was looked for
    index = read_index(source, index_name(choice.variant))
    files: dict[str, RemoteFile] = {}
    for shard in index.shards:
        found = _remote_file(source, shard)
        if found is None:
            message = f"{index.where} names the file {shard!r}, which is not there."
            raise ShardError(message)
        files[shard] = found
    tensors = {name: stored for file in files.values() for name, stored in _tensors(file).items()}
    absent = next((name for name in index.weight_map if name not in tensors), None)
    if absent is not None:
        message = f"{index.where} says that {index.weight_map[absent]!r} holds {absent!r}, but it does not."
        raise ShardError(message)
    return weights_of(index.where, tensors, tuple(map(_as_file, files.values())), index.metadata)


def _remote_file(source: Source, name: str) -> RemoteFile | None:
    try:
        found = source.table(name)
    except SourceNotFoundError:
        return None
    if found is None:
        return None
    root, size = found
    where = source.where(name)
    ends = [each["data_offsets"][1] for key, each in root.items() if key != "__metadata__"]
    header = header_of(root, size - max(ends, default=0), size, where)
    return RemoteFile(PurePosixPath(name), where, size, header)


def _tensors(file: RemoteFile) -> dict[str, Stored | Held]:
    return {name: Stored(*entry, _as_file(file), name) for name, entry in file.header.entries.items()}


def _as_file(file: RemoteFile) -> WeightFile:
    return cast("WeightFile", file)  # of which a plan asks no more than there is
