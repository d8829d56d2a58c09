"""A folder in torch DCP's own format: a pickled `.metadata`, and files with the saved pieces of tensors.

Read only when asked for, as pickles are. Only the pieces that are needed are ever looked at.
"""

from collections.abc import Callable, Mapping
from itertools import pairwise
from pathlib import Path

from nameplate_config import Source
from nameplate_config.wording import sentences, shown
from nameplate_model._boxes import Box
from nameplate_model._dcp.metadata import Chunk, Described, read_metadata
from nameplate_model._dcp.saved_tensor import MAGIC, PackedFile, Saved
from nameplate_model._files import Held, Stored, WeightFile
from nameplate_model._index import shard_path
from nameplate_model._layout import MOST_SHARDS
from nameplate_model._pieced import Piece, Pieced, Sealed, joined
from nameplate_model.errors import CorruptFileError, ShardError


def open_pieces(
    source: Source, metadata: Path, where: str, *, wanted: Callable[[str], bool], most_open: int
) -> tuple[dict[str, Stored | Held | Pieced], tuple[WeightFile, ...]]:
    """Return the wanted tensors of a folder, and the files that hold them.

    Args:
        source: The opened source.
        metadata: The file that says which tensors there are.
        where: How messages name it.
        wanted: Which tensors are needed; files without one are not opened.
        most_open: Of more files the descriptors are given back at once.

    Raises:
        ShardError: If a file is not there, or there are too many.
        UnsafePathError: If a file would lie outside of the folder.
        CorruptFileError: If a file is too short for what is said of it, or the pieces of a tensor do not fit together.
        CheckpointError: As `read_metadata`.
    """
    described, digest = read_metadata(metadata, where)
    needed = {name: each for name, each in described.items() if wanted(name)}
    places: dict[str, list[tuple[str, Chunk]]] = {}
    for name, each in needed.items():
        for chunk in each.chunks:
            places.setdefault(chunk.file, []).append((name, chunk))
    if len(places) > MOST_SHARDS:
        message = f"{where} names {len(places):,} files; at most {MOST_SHARDS:,} are opened."
        raise ShardError(message)
    opened: dict[str, WeightFile] = {}
    for file, chunks in places.items():
        opened[file] = _open(shard_path(source, where, file), chunks, where, digest)
        if len(places) > most_open:
            opened[file].close()
    tensors: dict[str, Stored | Held | Pieced] = {
        name: _joined(name, each, opened, where) for name, each in needed.items()
    }
    return tensors, tuple(opened.values())


def _open(path: Path, chunks: list[tuple[str, Chunk]], where: str, digest: str) -> WeightFile:
    file = PackedFile(path, digest)
    ordered = sorted((chunk.offset, chunk.offset + chunk.length, tensor) for tensor, chunk in chunks)
    for begin, end, tensor in ordered:
        if end > file.size:
            message = sentences(
                f"{file.where} has {file.size:,} bytes, but {where} says that a piece of {shown(tensor)} lies at bytes "
                f"{begin:,} to {end:,}.",
                "It may be truncated, or of another save. Restore the folder from its origin, or save again.",
            )
            raise CorruptFileError(message)
    magic = bytearray(min(len(MAGIC), file.size - ordered[0][0]))
    file.read_into(memoryview(magic), ordered[0][0])
    if magic != MAGIC:  # what a rank wrote with its SerializationFormat.SAFETENSORS
        file.close()
        return WeightFile(path)
    for (_, end, tensor), (begin, _, other) in pairwise(ordered):
        if begin < end:
            message = sentences(
                f"{where}: the pieces of {shown(tensor)} and {shown(other)} overlap in {file.where}.",
                "It is damaged or hostile. Restore it from its origin.",
            )
            raise CorruptFileError(message)
    return file


def _joined(name: str, described: Described, files: Mapping[str, WeightFile], where: str) -> Stored | Pieced:
    pieces = [Piece(chunk.box, _piece(name, described, chunk, files[chunk.file])) for chunk in described.chunks]
    return joined(name, described.dtype, pieces, described.shape, where)


def _piece(name: str, described: Described, chunk: Chunk, file: WeightFile) -> Stored | Sealed:
    if isinstance(file, PackedFile):
        return Saved(file, chunk.offset, chunk.length, name, described.dtype, chunk.box.sizes)
    entry = file.header.entries.get(name)
    stored = None if entry is None else file.stored(name, entry)
    if stored is None or (stored.dtype, Box(chunk.box.offsets, stored.shape)) != (described.dtype, chunk.box):
        found = "no such tensor" if stored is None else f"the shape {stored.shape} of {stored.dtype}"
        message = sentences(
            f"{file.where} must hold a piece of {shown(name)} of shape {chunk.box.sizes}, found {found}.",
            "It may be of another save. Restore the folder from its origin, or save again.",
        )
        raise CorruptFileError(message)
    return stored
