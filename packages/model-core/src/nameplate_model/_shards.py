"""Splitting a checkpoint into shards, writing them side by side, and the text of their index.

A shard's name holds its digest, so shards of different content never take each other's place, and one that is there
already need not be written. The index that names them is the record: until it is replaced, new shards mean nothing.
"""

import json
import os
import re
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import torch

from nameplate_config import UnknownOptionError
from nameplate_config.files import Draft
from nameplate_config.record import RECORD_KEY, blank_again, part_metadata, seal
from nameplate_config.wording import sentences, shown
from nameplate_model._aliases import Stored
from nameplate_model._layout import FILES_KEY, MOST_SHARDS, REPLACED_KEY, is_shard, shard_name, weights_name
from nameplate_model._unchanged import same_file
from nameplate_model._writer import MUCH, Blank, Filling, bytes_of, header, planned, write_tensors
from nameplate_model.errors import CheckpointError

_MOST_WRITERS = 4
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]I?)?B", re.IGNORECASE | re.ASCII)
_POWERS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_DECIMAL, _BINARY = 1000, 1024


def parse_size(size: int | str) -> int:
    """Return a size in bytes.

    Args:
        size: A number of bytes, or a text such as ``"600B"``, ``"5GB"`` (5,000,000,000) or ``"5GiB"``.

    Raises:
        UnknownOptionError: If it is none of these, or less than one byte.

    Example:
        >>> parse_size("1.5KB"), parse_size("5KiB"), parse_size(7)
        (1500, 5120, 7)
    """
    found = size if type(size) is int else 0
    parsed = _SIZE.fullmatch(size.strip()) if isinstance(size, str) else None
    if parsed:
        unit = (parsed[2] or "").upper()
        found = int(float(parsed[1]) * (_BINARY if unit.endswith("I") else _DECIMAL) ** _POWERS[unit[:1]])
    if found < 1:
        message = f"max_shard_size is at least one byte, such as 1000, '5GB' or '5GiB', found {shown(size)}."
        raise UnknownOptionError(message)
    return found


def split(content: Stored, limit: int) -> list[dict[str, torch.Tensor]]:
    """Split tensors into shards of at most *limit* bytes, in the order that they have.

    What is larger than the limit has a shard of its own. Tensors that overlap in memory are stored by value, each where
    its turn comes.

    Raises:
        CheckpointError: If there would be more shards than a reader opens.
    """
    shards: list[dict[str, torch.Tensor]] = []
    current: dict[str, torch.Tensor] = {}
    room = limit
    for name, tensor in content.tensors.items():
        size = bytes_of(tensor)
        if size > limit:
            shards.append({name: tensor})
            continue
        if size > room:
            shards.append(current)
            current = dict[str, torch.Tensor]()
            room = limit
        current[name] = tensor
        room -= size
    shards += [current] if current or not shards else []
    if len(shards) > MOST_SHARDS:
        message = sentences(
            f"a max_shard_size of {limit:,} bytes gives {len(shards):,} files; at most {MOST_SHARDS:,} are loaded.",
            "Give a larger one.",
        )
        raise CheckpointError(message)
    return shards


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard that lies in the folder or is about to.

    Attributes:
        name: Its name.
        size: Its size in bytes.
        digest: The digest of its header.
        tensors: The names of what it holds.
        draft: The finished file, or None if it was there already.
    """

    name: str
    size: int
    digest: str
    tensors: tuple[str, ...]
    draft: Draft | None = field(repr=False)


@contextmanager
def written(
    folder: Path, parts: list[dict[str, torch.Tensor]], variant: str | None, filling: Filling | None = None
) -> Iterator[list[Shard]]:
    """Write shards as drafts, several at a time; what is not published by the end is removed.

    Args:
        folder: Where they go.
        parts: The tensors of each.
        variant: Of which variant they are.
        filling: Who writes all of them, if it is not done here.

    Raises:
        OSError: Whatever the system reports.
    """
    writing = _Writing(folder, parts, variant)
    try:
        yield writing.run() if filling is None else writing.let(filling)
    finally:
        for draft in writing.drafts:
            draft.discard()


class _Writing:
    """The writing of all shards of a save."""

    def __init__(self, folder: Path, parts: list[dict[str, torch.Tensor]], variant: str | None) -> None:
        self._folder = folder
        self._parts = parts
        self._variant = variant
        self._there = sorted(path.name for path in folder.iterdir())
        self._stop = Event()
        self.drafts: list[Draft] = []

    def run(self) -> list[Shard]:
        """Write all, or none if one fails."""
        if sum(bytes_of(tensor) for part in self._parts for tensor in part.values()) < MUCH:
            return [self._write(number) for number in range(len(self._parts))]
        workers = min(len(self._parts), _MOST_WRITERS, max(2, os.cpu_count() or 1))
        with ThreadPoolExecutor(workers, thread_name_prefix="writing") as pool:
            futures = [pool.submit(self._write, number) for number in range(len(self._parts))]
            try:
                for future in wait(futures, return_when=FIRST_EXCEPTION).done:
                    future.result()
                return [future.result() for future in futures]
            except BaseException:
                self._stop.set()
                pool.shutdown(cancel_futures=True)
                raise

    def let(self, filling: Filling) -> list[Shard]:
        """Let others write all, also those that are there already."""
        blanks: list[Blank] = []
        for index, part in enumerate(self._parts):
            blanks.append(Blank(self._draft(index), planned(part), part_metadata()))
            blanks[-1].draft.set_aside()
        found: list[Shard] = []
        for number, (blank, filled) in enumerate(zip(blanks, filling(blanks), strict=True), 1):
            name = shard_name(filled.digest, number, len(blanks), self._variant)
            found.append(Shard(name, filled.size, filled.digest, tuple(each.name for each in blank.plan), blank.draft))
        return found

    def _draft(self, index: int) -> Draft:
        draft = Draft(self._folder, f"{weights_name(self._variant)}-{index + 1}")
        self.drafts.append(draft)
        return draft

    def _write(self, index: int) -> Shard:
        number, count = index + 1, len(self._parts)
        plan, metadata = planned(self._parts[index]), part_metadata()
        names = tuple(each.name for each in plan)
        size = len(header(plan, metadata)) + (plan[-1].end if plan else 0)
        for name in self._there:
            if is_shard(name, self._variant) and name.endswith(f"-{number:05d}-of-{count:05d}.safetensors"):
                digest = same_file(self._folder / name, plan, metadata)
                if digest is not None and name == shard_name(digest, number, count, self._variant):
                    return Shard(name, (self._folder / name).stat().st_size, digest, names, None)
        draft = self._draft(index)
        digest = write_tensors(draft, plan, metadata, beside=False, stop=self._stop)
        return Shard(shard_name(digest, number, count, self._variant), size, digest, names, draft)


def index_text(
    record: Mapping[str, object], shards: list[Shard], content: Stored, parameters: int
) -> tuple[bytes, str]:
    """Return the sealed text of an index, and its digest.

    Args:
        record: Its record, the digest still blank, and what else the metadata is to say.
        shards: What it names.
        content: What they hold.
        parameters: How many parameters the model has.
    """
    files = {shard.name: {"size": shard.size, "digest": shard.digest} for shard in shards}
    total = sum(map(bytes_of, content.tensors.values()))
    numbers = {"total_parameters": parameters, "total_size": total}
    place = {name: shard.name for shard in shards for name in shard.tensors}
    metadata = {**record, FILES_KEY: files, **content.metadata(), **numbers}
    index = {"metadata": metadata, "weight_map": dict(sorted(place.items()))}
    return seal((json.dumps(index) + "\n").encode())


def same_index(path: Path, record: Mapping[str, str], shards: list[Shard], content: Stored, parameters: int) -> bool:
    """Return whether the index at *path* says the same as one that `index_text` would make.

    As of a single file, only the config of its record counts, not what it took the place of.
    """
    if any(shard.draft for shard in shards):
        return False
    try:
        found = path.read_bytes()
        metadata = json.loads(found)["metadata"]
        again: dict[str, object] = {name: text for name, text in record.items() if name != "format"}
        again[RECORD_KEY] = blank_again(metadata[RECORD_KEY], record[RECORD_KEY])
        again.update({name: metadata[name] for name in (REPLACED_KEY,) if name in metadata})
        return index_text(again, shards, content, parameters)[0] == found
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False
