"""The weights of a checkpoint: which file, or which part of one, holds each tensor. Only headers are read here.

`open_weights` decides which files count. What becomes of the tensors is decided in `_load`, and how they get into
memory in `_reading`.
"""

import json
import os
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import torch

from nameplate_config import Source, SourceNotFoundError, UnknownOptionError
from nameplate_config.record import CONFIG_NAME, RECORD_KEY, WeightsPlace, check_digest, choose_weights, read_hashes
from nameplate_config.wording import listed, sentences, shown
from nameplate_model._dcp import native_folder, safetensors_folder
from nameplate_model._dcp.metadata import METADATA_NAME
from nameplate_model._files import Held, Stored, WeightFile
from nameplate_model._header import corrupt
from nameplate_model._index import Index, read_index, shard_path
from nameplate_model._layout import (
    FILES_KEY,
    NAMES_KEY,
    TIED_KEY,
    VIEWS_KEY,
    index_name,
    is_shard,
    variant_of,
    weights_name,
)
from nameplate_model._pickled import open_pickled, pickled_names
from nameplate_model._pieced import Pieced
from nameplate_model._views import ViewGroup, parse_views
from nameplate_model.errors import AmbiguousCheckpointError, CheckpointError, CorruptFileError, ShardError

VERSION_KEY = "nameplate.version"
"""The metadata key of the version of the names: that of `PreTrainedModel.state_dict_version`, if it is not 1."""

_FORMAT_KEY = "format"

_MOST_OPEN = 64
"""Files of one checkpoint that are kept open between reading their headers and their tensors."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Every tensor of a checkpoint by name, without its data.

    Attributes:
        where: How messages name the checkpoint's weights.
        tensors: Where each tensor is.
        files: The opened files.
        tied: Names that were the same tensor when saved, mapped to the one that is stored.
        views: Tensors that overlapped in memory when saved.
        version: The version of the names.
        renamed: The stored name of each tensor that has another one here.
        ours: Whether this library saved them under names of some version of the class, and not in another's layout.
    """

    where: str
    tensors: Mapping[str, Stored | Held | Pieced]
    files: tuple[WeightFile, ...] = ()
    tied: Mapping[str, str] = field(default_factory=dict)
    views: tuple[ViewGroup, ...] = ()
    version: int = 1
    renamed: Mapping[str, str] = field(default_factory=dict)
    ours: bool = False

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def with_names(self, new: Callable[[str], str]) -> "Weights":
        """Return the same tensors under other names.

        Raises:
            CheckpointError: If two tensors would get one name.
        """
        names = {name: new(name) for name in (*self.tensors, *self.tied)}
        back: dict[str, str] = {}
        for old, name in names.items():
            if name in back:
                message = f"{self.where}: both {back[name]!r} and {old!r} would be renamed to {name!r}."
                raise CheckpointError(message)
            back[name] = old
        renamed = {name: self.renamed.get(old, old) for name, old in back.items()}
        return replace(
            self,
            tensors={names[old]: stored for old, stored in self.tensors.items()},
            tied={names[alias]: names[kept] for alias, kept in self.tied.items()},
            views=tuple(group.with_names(names) for group in self.views),
            renamed={name: old for name, old in renamed.items() if name != old},
        )

    def verify(self, names: Collection[str] | None = None) -> None:
        """Compare every tensor of every file with its checksum.

        Args:
            names: Those of the tensors that are looked at, if not all are.

        Raises:
            CorruptFileError: If one differs; names file and tensor.
            CheckpointError: If a file has no checksums.
        """
        if not self.files:
            message = sentences(
                f"{self.where} has no checksums, so it cannot be verified.",
                "Load it with verify='structure', and save it with save_pretrained, which writes them.",
            )
            raise CheckpointError(message)
        for file in self.files:
            file.verify(names)

    def close(self) -> None:
        """Give the descriptors of the files back. What is mapped stays mapped."""
        for file in self.files:
            file.close()


@dataclass(frozen=True, slots=True)
class WeightChoice:
    """Which weights of a source are meant.

    Attributes:
        variant: The middle of the file names, as in ``model.fp16.safetensors``.
        use_safetensors: None and True mean safetensors; False means pickles, those of torch DCP included.
    """

    variant: str | None = None
    use_safetensors: bool | None = None


PLAIN_CHOICE = WeightChoice()


def to_verify(value: Any) -> bool:
    """Return whether an argument asks for every byte to be compared with its checksum.

    Raises:
        UnknownOptionError: If it is neither ``"structure"`` nor ``"full"``.
    """
    if value in ("structure", "full"):
        return bool(value == "full")
    message = f"verify must be 'structure' or 'full', found {shown(value)}."
    raise UnknownOptionError(message)


def everything(_name: str) -> bool:
    """Want any tensor."""
    return True


def open_weights(
    source: Source, choice: WeightChoice = PLAIN_CHOICE, *, wanted: Callable[[str], bool] = everything
) -> Weights:
    """Find the weight files of a checkpoint and read their headers.

    Args:
        source: The opened source.
        choice: Which weights of it are meant.
        wanted: Which tensors are needed; shards without one are neither opened nor downloaded.

    Raises:
        SourceNotFoundError: If the source holds no weights.
        CorruptFileError: If a file is torn.
        ShardError: If the index names a file that is absent, or a tensor that its file lacks.
        AmbiguousCheckpointError: If there are two checkpoints and no record says which one counts.
    """
    if choice.use_safetensors is False:
        return _open_unsafe(source, choice.variant, wanted)
    place = choose_weights(source, choice.variant)
    if place.single is None and place.index is None:
        shards = _open_shards_of_ranks(source, choice.variant, wanted)
        if shards is None:
            raise _no_weights(source, choice.variant)
        return shards
    if place.chosen is None:
        raise _ambiguous(source, place)
    _refuse_shards_of_ranks(source, choice.variant, place)
    if place.chosen == "index":
        return _open_shards(source, choice.variant, wanted)
    assert place.single is not None
    file = WeightFile(place.single)
    metadata, where = file.header.metadata, source.where(weights_name(choice.variant))
    return weights_of(where, dict(file.tensors), (file,), metadata)


def _open_unsafe(source: Source, variant: str | None, wanted: Callable[[str], bool]) -> Weights:
    """Open what is read only on demand: a pickle with tensors, or a folder of torch DCP, whose metadata is a pickle."""
    pickle = next((name for name in pickled_names(variant) if source.find(name) is not None), None)
    both = source.folder is not None  # to ask the Hub for one more file takes a while
    metadata = source.find(METADATA_NAME) if variant is None and (both or pickle is None) else None
    if metadata is None:
        where = source.where(pickled_names(variant)[0])
        return held_weights(open_pickled(source, variant), where)
    if pickle is not None:
        message = sentences(
            f"{source.name!r} holds both {pickle} and {METADATA_NAME}, and no record says which one counts.",
            "Remove the one that is left over from an earlier save.",
        )
        raise AmbiguousCheckpointError(message)
    where = source.where(METADATA_NAME)
    tensors, files = native_folder.open_pieces(source, metadata, where, wanted=wanted, most_open=_MOST_OPEN)
    return Weights(where, tensors, files)


def _open_shards_of_ranks(source: Source, variant: str | None, wanted: Callable[[str], bool]) -> Weights | None:
    """Open the shards that torch's ranks have each written for itself, if there are any; no index lists them."""
    if source.folder is None or variant is not None:
        return None
    files = safetensors_folder.find_shards(source.folder, most_open=_MOST_OPEN)
    if not files:
        return None
    where = f"{source.name!r} ({len(files)} {'shard' if len(files) == 1 else 'shards'})"
    return Weights(where, safetensors_folder.tensors_of(files, where, wanted), tuple(files))


def _refuse_shards_of_ranks(source: Source, variant: str | None, place: WeightsPlace) -> None:
    """Refuse weights that have such shards beside them, unless their record says that it took the place of those."""
    if source.folder is None or variant is not None:
        return
    names = safetensors_folder.named_shards(source.folder)
    if names:
        assert place.path is not None
        hashes = read_hashes(place.path)
        superseded = hashes.superseded if hashes is not None else ()
        if superseded and safetensors_folder.identity_of_shards(source.folder, names) in superseded:
            return  # a save was ended before it could remove them
        message = sentences(
            f"{source.name!r} holds both {place.path.name} and {listed(names, limit=1)}, and no record says which one "
            "counts.",
            "Remove what is left over from an earlier save.",
        )
        raise AmbiguousCheckpointError(message)


def held_weights(tensors: Mapping[str, Any], where: str, *, lent: bool = False) -> Weights:
    """Return tensors in memory as the weights of a checkpoint; those that are one object are tied.

    Raises:
        CheckpointError: If a name is no text, or a value no tensor.
    """
    found: dict[str, Held] = {}
    tied: dict[str, str] = {}
    first: dict[int, str] = {}
    for name, tensor in tensors.items():
        if not isinstance(name, str):
            message = f"{where} has the name {shown(name)}, which is no text."
            raise CheckpointError(message)
        if not isinstance(tensor, torch.Tensor):
            message = f"{where} holds {shown(tensor)} under {shown(name)}, not a tensor."
            raise CheckpointError(message)
        kept = first.setdefault(id(tensor), name)
        if kept == name:
            found[name] = Held.of(tensor, lent=lent)
        else:
            tied[name] = kept
    return Weights(where, found, tied=tied)


def stamp(source: Source, variant: str | None = None) -> list[tuple[int, ...] | None]:
    """Return what differs if a file that decides about a folder's checkpoint was replaced since the last stamp."""
    if source.folder is None:
        return []
    folder = str(source.folder)  # twice in every load, so no path objects
    return [_identity(f"{folder}/{name}") for name in (weights_name(variant), index_name(variant), CONFIG_NAME)]


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(path)  # noqa: PTH116 - as above
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _open_shards(source: Source, variant: str | None, wanted: Callable[[str], bool]) -> Weights:
    index = read_index(source, index_name(variant))
    recorded = _recorded_files(index, variant)
    tied = _aliases(index.metadata, index.weight_map, index.where)
    needed = {kept for alias, kept in tied.items() if wanted(alias)}
    files: dict[str, WeightFile] = {}
    for shard in sorted({shard for name, shard in index.weight_map.items() if wanted(name) or name in needed}):
        file = files[shard] = _open_shard(source, index, shard)
        if recorded is not None:
            _check_shard(file, recorded.get(shard), index.where)
        if len(index.shards) > _MOST_OPEN:
            file.close()
    tensors: dict[str, Stored | Held | Pieced] = {}
    for name, shard in index.weight_map.items():
        if shard not in files:
            continue
        entry = files[shard].header.entries.get(name)
        if entry is None:
            message = f"{index.where} says that {shard!r} holds {name!r}, but it does not."
            raise ShardError(message)
        tensors[name] = files[shard].stored(name, entry)
    _refuse_strangers(index, files)
    return weights_of(index.where, tensors, tuple(files.values()), index.metadata, index.weight_map)


def _open_shard(source: Source, index: Index, shard: str) -> WeightFile:
    try:
        return WeightFile(shard_path(source, index.where, shard))
    except SourceNotFoundError as error:
        message = f"{index.where} names the file {shard!r}, which is not there. {error}"
        raise ShardError(message) from error


def _recorded_files(index: Index, variant: str | None) -> Mapping[str, Any] | None:
    """Return what an index of ours says of its files, after it has been checked itself; None for one of others."""
    recorded = any(key.startswith(RECORD_KEY) for key in index.metadata)
    if not recorded and not any(is_shard(shard, variant) for shard in index.shards):
        return None
    files = index.metadata.get(FILES_KEY)
    if not check_digest(index.data) or not isinstance(files, dict):
        message = sentences(
            f"{index.where} is not the index that was saved: it has changed since, as its checksum tells.",
            "Restore it from its origin, or save the model again.",
        )
        raise CorruptFileError(message)
    return files


def _check_shard(file: WeightFile, recorded: Any, where: str) -> None:
    """Refuse a shard that is not the one which was saved: its digest stands for all that it holds."""
    fields = file.header.metadata.get(RECORD_KEY, "").split(" ")
    found = fields[2] if len(fields) > 2 else None  # noqa: PLR2004 - after the two of the config
    if not isinstance(recorded, dict) or recorded.get("digest") != found or recorded.get("size") != file.size:
        message = sentences(
            f"{file.where} is not the file that {where} was saved with.",
            "Restore both from the same place, or save the model again.",
        )
        raise ShardError(message)


def _refuse_strangers(index: Index, files: Mapping[str, WeightFile]) -> None:
    """Refuse tensors that lie in a shard but not in the index: nobody would ever load them."""
    for shard, file in files.items():
        for name in file.header.entries:
            if index.weight_map.get(name) != shard:
                known = f"it says {index.weight_map[name]!r}" if name in index.weight_map else "it does not name it"
                message = f"{file.where} holds {name!r}, but the index {index.where} disagrees: {known}."
                raise ShardError(sentences(message, "Restore both from the same place, or save the model again."))


def weights_of(
    where: str,
    tensors: Mapping[str, Stored | Held | Pieced],
    files: tuple[WeightFile, ...],
    metadata: Mapping[str, Any],
    names: Collection[str] | None = None,
) -> Weights:
    """Return tensors with what the metadata of their file or index says of them.

    Args:
        where: How messages name the checkpoint's weights.
        tensors: Those that are needed.
        files: The opened files.
        metadata: What is said of them.
        names: The names of all tensors of the checkpoint, if *tensors* may be fewer.

    Raises:
        CorruptFileError: If it says what cannot be.
    """
    text, whole = metadata.get(VIEWS_KEY), len(tensors) == len(names or tensors)
    tied = {alias: kept for alias, kept in _aliases(metadata, names or tensors, where).items() if kept in tensors}
    views = parse_views(text, tensors, where) if text is not None and whole else ()
    version = metadata.get(VERSION_KEY, "1")
    if not isinstance(version, str) or not version.isdecimal() or len(version) > 6:  # noqa: PLR2004 - a million
        raise corrupt(where, f"its metadata {VERSION_KEY!r} is {shown(version)}, not a number")
    ours = NAMES_KEY not in metadata and any(key.startswith(RECORD_KEY) for key in metadata)
    return Weights(where, tensors, files, tied, views, int(version), ours=ours)


def _aliases(metadata: Mapping[str, Any], tensors: Collection[str], where: str) -> dict[str, str]:
    """Return the recorded names of tensors that are stored under another one."""
    text = metadata.get(TIED_KEY)
    if text is None:  # huggingface_hub and safetensors write each as an entry of its own
        plain = {alias: kept for alias, kept in metadata.items() if isinstance(kept, str) and alias != _FORMAT_KEY}
        return {alias: kept for alias, kept in plain.items() if alias not in tensors and kept in tensors}
    try:
        tied = json.loads(text) if isinstance(text, str) else text
    except (ValueError, RecursionError):
        tied = None
    known = isinstance(tied, dict) and all(isinstance(kept, str) and kept in tensors for kept in tied.values())
    if not isinstance(tied, dict) or not known:
        raise corrupt(where, f"the metadata {TIED_KEY!r} names no tensors of the file")
    return tied


def _ambiguous(source: Source, place: WeightsPlace) -> AmbiguousCheckpointError:
    assert place.single is not None
    assert place.index is not None
    message = sentences(
        f"{source.name!r} holds both {place.single.name} and {place.index.name}, and no record says which one counts.",
        "Remove the one that is left over from an earlier save.",
    )
    return AmbiguousCheckpointError(message)


def _no_weights(source: Source, variant: str | None) -> Exception:
    looked = f"{source.name!r} holds no weights: looked for {weights_name(variant)} and {index_name(variant)}."
    pickle = next((name for name in pickled_names(variant) if source.find(name) is not None), None)
    if pickle is not None:
        message = sentences(
            looked,
            f"It has {pickle}, a pickle, which is read only on demand: pass use_safetensors=False if you trust it.",
        )
        return CheckpointError(message)
    if variant is None and source.find(METADATA_NAME) is not None:
        message = sentences(
            looked,
            f"It has {METADATA_NAME}, a pickle, of torch.distributed.checkpoint, which is read only on demand: pass "
            "use_safetensors=False if you trust it.",
        )
        return CheckpointError(message)
    for name in (weights_name(variant), index_name(variant)) if source.folder is None else ():
        with suppress(SourceNotFoundError):
            source.path(name)  # says it if the file is only not in the cache
    there = [] if source.folder is None else sorted(entry.name for entry in source.folder.iterdir())
    others = sorted(filter(None, (variant_of(name) for name in there)))
    way = f"It has the variant {others[0]!r}: pass variant={others[0]!r}." if others else ""
    return SourceNotFoundError(sentences(looked, f"The folder holds: {listed(there)}." if there else "", way))
