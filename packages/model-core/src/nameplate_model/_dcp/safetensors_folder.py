"""Shards of torch's `HuggingFaceStorageWriter`: a safetensors file from each rank, and nothing that lists them.

Each says in its metadata where its parts of the tensors begin. How large a tensor is follows from its parts, so that
they fit together is all that can be checked; that the whole has the right shape, the model says.
"""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nameplate_config import NameplateError
from nameplate_config.record import hash_of, identity_of
from nameplate_config.strict_json import Budget, parse_object
from nameplate_config.wording import listed, sentences, shown
from nameplate_model._boxes import Box
from nameplate_model._files import Held, Stored, WeightFile
from nameplate_model._layout import MOST_SHARDS, MOST_TENSORS
from nameplate_model._pieced import Piece, Pieced, joined
from nameplate_model.errors import CorruptFileError, ShardError

_PLACES_KEY = "DCP_SHARDING_INFO"
"""The metadata key of where the parts in a file begin: JSON, ``{name: {"saved_offsets": [elements]}}``."""

_OFFSETS_KEY = "saved_offsets"
_NAME = re.compile(r"shard-\d{5,}-model-\d{5,}-of-\d{5,}\.safetensors")
_BUDGET = Budget(keys=MOST_TENSORS, values=8 * MOST_TENSORS, objects=MOST_TENSORS + 1)


def named_shards(folder: Path) -> list[str]:
    """Return the names of the files that are called as such shards are and say so themselves, sorted."""
    return [name for name in _names(folder) if _NAME.fullmatch(name) and _opened(folder / name) is not None]


def identity_of_shards(folder: Path, names: Sequence[str]) -> str:
    """Return what tells some shards from those of any other save; every byte of them is read.

    Args:
        folder: Where they are.
        names: Their names, sorted.

    Raises:
        SourceNotFoundError: If one is not there any more.
    """
    return hash_of("\n".join(f"{name} {identity_of(folder / name)}" for name in names).encode())


def _names(folder: Path) -> list[str]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 - at each load, so no path objects
    except OSError:  # a folder of which only what is asked for by name is shown
        return []
    return sorted(name for name in names if name.endswith(".safetensors") and name[0] != ".")


def find_shards(folder: Path, *, most_open: int) -> list[WeightFile]:
    """Open the files of a folder that hold parts of tensors, as their metadata says, in the order of their names.

    Args:
        folder: The folder.
        most_open: Of more files the descriptors are given back at once.

    Raises:
        ShardError: If a file is called as such a shard is and says nothing of parts, or if there are too many.
        CorruptFileError: If a file that is called so is torn.
    """
    names = _names(folder)
    if len(names) > MOST_SHARDS:
        message = f"{str(folder)!r} holds {len(names):,} files of weights; at most {MOST_SHARDS:,} are opened."
        raise ShardError(message)
    files: list[WeightFile] = []
    for name in names:
        file = _opened(folder / name)
        if file is None and _NAME.fullmatch(name):
            raise _refusal(folder / name)
        if file is not None:
            files.append(file)
            if len(names) > most_open:
                file.close()
    return files


def _opened(path: Path) -> WeightFile | None:
    """Open a file, or return None if it is torn or says nothing of parts."""
    try:
        file = WeightFile(path)
    except NameplateError:
        return None
    if _PLACES_KEY in file.header.metadata:
        return file
    file.close()
    return None


def _refusal(path: Path) -> NameplateError:
    """Return what is wrong with a file that is called as such a shard is and is none."""
    try:
        where = WeightFile(path).where
    except NameplateError as error:
        return error
    message = sentences(
        f"{where} is called as a shard of torch.distributed.checkpoint is, but has no {_PLACES_KEY!r}.",
        "Remove it if it belongs to something else, or restore it from its origin.",
    )
    return ShardError(message)


def tensors_of(
    files: Sequence[WeightFile], where: str, wanted: Callable[[str], bool]
) -> dict[str, Stored | Held | Pieced]:
    """Return the wanted tensors whose parts lie in files.

    Args:
        files: The opened shards.
        where: How messages name all of them.
        wanted: Which tensors are needed.

    Raises:
        CorruptFileError: If a file does not say where its parts begin, or the parts of a tensor do not fit together.
    """
    parts: dict[str, list[Piece]] = {}
    for file in files:
        places = parse_object(
            file.header.metadata[_PLACES_KEY].encode(),
            where=f"{file.where}: {_PLACES_KEY}",
            error=CorruptFileError,
            budget=_BUDGET,
        )
        for name, stored in file.tensors:
            if wanted(name):
                parts.setdefault(name, []).append(Piece(Box(_offsets(places, stored), stored.shape), stored))
    return {name: _whole(name, pieces, where) for name, pieces in parts.items()}


def _offsets(places: Mapping[str, Any], stored: Stored) -> tuple[int, ...]:
    try:
        offsets = places[stored.name][_OFFSETS_KEY]
    except (KeyError, TypeError):
        offsets = None
    numbers = isinstance(offsets, list) and all(type(each) is int and each >= 0 for each in offsets)
    if not isinstance(offsets, list) or not numbers or len(offsets) != len(stored.shape):
        message = sentences(
            f"{stored.file.where} must say where its part of {shown(stored.name)} begins, with "
            f"{len(stored.shape)} numbers from 0 on in {_PLACES_KEY!r}, found {shown(offsets)}.",
            "Restore it from its origin, or save again.",
        )
        raise CorruptFileError(message)
    return tuple(offsets)


def _whole(name: str, pieces: Sequence[Piece], where: str) -> Stored | Pieced:
    """Return one tensor; how far its pieces reach is its shape."""
    stored = [piece.stored for piece in pieces if isinstance(piece.stored, Stored)]
    kinds = {(each.dtype, len(each.shape)): each.file.path.name for each in stored}
    if len(kinds) > 1:
        found = (f"{str(dtype).removeprefix('torch.')} of {axes} axes in {at}" for (dtype, axes), at in kinds.items())
        message = sentences(
            f"{where}: the pieces of {shown(name)} are of different kinds: {listed(found)}.",
            "The files are of different saves. Restore the folder from its origin, or save again.",
        )
        raise CorruptFileError(message)
    boxes = [piece.box for piece in pieces]
    shape = [max(box.offsets[axis] + box.sizes[axis] for box in boxes) for axis in range(len(boxes[0].sizes))]
    return joined(name, stored[0].dtype, pieces, shape, where)
