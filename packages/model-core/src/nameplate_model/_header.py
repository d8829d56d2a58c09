"""The header of a safetensors file: parsed within a budget, and every claim in it checked before anybody believes it.

The format (https://github.com/huggingface/safetensors): eight bytes of length, a JSON table, then the tensors' bytes
without gaps. What is in the table comes from whoever wrote the file, so nothing is allocated by its word.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from nameplate_config.record import RECORD_KEY, check_digest
from nameplate_config.strict_json import Budget, parse_object
from nameplate_config.wording import sentences, shown
from nameplate_model._layout import CHECKSUM_KEYS, DIGESTS_KEY, DTYPES, LARGEST_HEADER, METADATA, MOST_TENSORS
from nameplate_model.errors import CorruptFileError

LENGTH = struct.Struct("<Q")
_BUDGET = Budget(keys=MOST_TENSORS + 1, values=12 * MOST_TENSORS, objects=MOST_TENSORS + 2)
_FIELDS = 3
_INTEGERS = frozenset({int})
KNOWN_DTYPES: Mapping[str, torch.dtype] = {
    code: getattr(torch, name) for name, code in DTYPES.items() if hasattr(torch, name)
}
"""The dtypes that a file can hold and the installed torch knows, by the name that the format has for them."""


class Entry(NamedTuple):
    """Where a tensor lies in its file.

    Attributes:
        dtype: The type of its elements.
        shape: Its size along each axis.
        begin: Where its bytes begin, counted from the start of the file.
        end: Where they end.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself, checked.

    Attributes:
        entries: Where each tensor lies, by name.
        metadata: Texts by key.
        digests: The checksum of each tensor's bytes, by name; empty if the file has none.
        ours: Whether a save of this package wrote the file.
        digests_key: Under which of `CHECKSUM_KEYS` the metadata has the checksums, which says of what kind they are.
    """

    entries: Mapping[str, Entry]
    metadata: Mapping[str, str]
    digests: Mapping[str, str]
    ours: bool
    digests_key: str = DIGESTS_KEY


def header_length(start: bytes, size: int, where: str) -> int:
    """Return the length of the JSON table from the first eight bytes of a file.

    Raises:
        CorruptFileError: If the file is too short for it, or the table longer than is read.
    """
    if len(start) < LENGTH.size:
        raise corrupt(where, f"it has {size} bytes, and not even the 8 of the header's length")
    length: int = LENGTH.unpack(start)[0]
    if length > size - LENGTH.size:
        raise corrupt(where, f"its header claims {length:,} bytes, but only {size - LENGTH.size:,} follow")
    if length > LARGEST_HEADER:
        message = f"{where} has a header of {length:,} bytes; at most {LARGEST_HEADER:,} are read."
        raise CorruptFileError(message)
    return length


def parse_header(table: bytes, size: int, where: str) -> Header:
    """Parse the table of a file and check that it describes exactly the bytes that follow.

    Args:
        table: The bytes of the table, without its length.
        size: The size of the whole file, in bytes.
        where: How messages name the file.

    Raises:
        CorruptFileError: If it is no such table, or does not fit the file.
    """
    root = parse_object(table, where=where, error=CorruptFileError, budget=_BUDGET, values=False)
    return header_of(root, LENGTH.size + len(table), size, where, table)


def header_of(root: dict[str, Any], start: int, size: int, where: str, table: bytes = b"") -> Header:
    """Return the header that a parsed table describes.

    Args:
        root: The table; taken over.
        start: Where the tensors' bytes begin in the file.
        size: The size of the whole file, in bytes.
        where: How messages name the file.
        table: The bytes of the table, if there are any, for its digest.
    """
    metadata = _metadata(root.pop(METADATA, {}), where)
    ours = any(key.startswith(RECORD_KEY) for key in metadata)
    if ours and table:
        _refuse_changed(table, where)
    entries = {name: _entry(name, each, start, where) for name, each in root.items()}
    _check_cover(entries, start, size, where)
    key = digests_key(metadata)
    return Header(entries, metadata, _digests(metadata, key, where), ours, key)


def digests_key(metadata: Mapping[str, str]) -> str:
    """Return under which of `CHECKSUM_KEYS` metadata has checksums; the first if it has none."""
    return next((key for key in CHECKSUM_KEYS if key in metadata), DIGESTS_KEY)


def corrupt(where: str, problem: str) -> CorruptFileError:
    """Return the error about a file that is not what it should be."""
    message = sentences(
        f"{where} is not a whole safetensors file: {problem}.",
        "It may be truncated. Restore it from its origin, or save the model again.",
    )
    return CorruptFileError(message)


def _metadata(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, dict) and all(type(text) is str for text in value.values()):
        return value
    raise corrupt(where, f"its {METADATA!r} must be an object of texts, found {shown(value)}")


def _entry(name: str, value: Any, start: int, where: str) -> Entry:
    try:
        dtype, shape, (begin, end) = KNOWN_DTYPES[value["dtype"]], value["shape"], value["data_offsets"]
    except (KeyError, TypeError, ValueError):
        raise _wrong_entry(name, value, where) from None
    numbers = type(begin) is int is type(end) and type(shape) is list and _INTEGERS.issuperset(map(type, shape))
    if not numbers or len(value) != _FIELDS or begin < 0 or (shape and min(shape) < 0):
        raise _wrong_entry(name, value, where)
    if end - begin != math.prod(shape) * dtype.itemsize:
        problem = f"{shown(name)} has {end - begin:,} bytes for the shape {shown(shape)} of {value['dtype']}"
        raise corrupt(where, problem)
    return Entry(dtype, tuple(shape), start + begin, start + end)


def _wrong_entry(name: str, value: Any, where: str) -> CorruptFileError:
    found = value.get("dtype") if isinstance(value, dict) else None
    if isinstance(found, str) and found not in KNOWN_DTYPES:
        message = f"{where}: {shown(name)} has the dtype {shown(found)}, which the installed torch cannot hold."
        return CorruptFileError(message)
    return corrupt(where, f"{shown(name)} must have a dtype, a shape and data_offsets, found {shown(value)}")


def _check_cover(entries: Mapping[str, Entry], start: int, size: int, where: str) -> None:
    """Refuse holes, overlaps and bytes behind the last tensor: the format has none, so something is wrong."""
    at = start
    for name, entry in sorted(entries.items(), key=_by_place):
        if entry.begin != at:
            kind = "overlaps the one before it" if entry.begin < at else "leaves a hole before it"
            raise corrupt(where, f"{shown(name)} {kind}")
        at = entry.end
    if at != size:
        kind = f"{at - size:,} are missing" if at > size else f"{size - at:,} are left over"
        raise corrupt(where, f"its tensors should end after {at:,} bytes, but {kind}")


def _by_place(item: tuple[str, Entry]) -> tuple[int, int]:
    return item[1].begin, item[1].end


def _refuse_changed(table: bytes, where: str) -> None:
    """Refuse a header of ours of which a bit has changed: it would be read as other tensors."""
    if not check_digest(LENGTH.pack(len(table)) + table):
        message = sentences(
            f"{where} is not the file that was saved: its header has changed since, as its checksum tells.",
            f"Restore it from its origin. A tool that writes it anew must leave out the metadata {RECORD_KEY!r}.",
        )
        raise CorruptFileError(message)


def _digests(metadata: Mapping[str, str], key: str, where: str) -> Mapping[str, str]:
    text = metadata.get(key)
    if text is None:
        return {}
    found = parse_object(text.encode(), where=f"{where}: {key}", error=CorruptFileError, budget=_BUDGET, values=False)
    if not all(type(digest) is str for digest in found.values()):
        raise corrupt(where, f"its {key!r} must be an object of texts")
    return found
