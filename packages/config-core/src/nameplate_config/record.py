"""The commit record of a checkpoint: which config and which weight files count, whatever a crash left beside them.

A save ends with one rename, that of the record, and the rename is the commit. The record is the header of
`model.safetensors`, or the index of a sharded checkpoint. It begins with the hash of the `config.json` to be written
after it, the hash of the one that stood there before, its own digest, and the identities of the weight files that it
supersedes; the text of the config follows. A `config.json` with any third hash was edited by hand, and wins. Of a
single file and an index the one that supersedes the other wins.

`nameplate_model` writes the record and this module reads it, without torch, so that `AutoConfig` and the
model always agree on the config.
"""

import hashlib
import json
import re
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from nameplate_config._source import Source
from nameplate_config.errors import ConfigFileError, UnsafePathError
from nameplate_config.files import open_regular, read_file
from nameplate_config.strict_json import LARGEST_CONFIG, parse_object
from nameplate_config.wording import shown

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

RECORD_KEY = "nameplate"
"""The metadata key of a record: ``<mirror> <stale> <digest>``, then the identities of superseded files."""

CONFIG_KEY = "nameplate.config"
"""The metadata key of the text of the config."""

HEADER_OPENING = b'{"__metadata__":{"format":"pt","nameplate":"'
"""How the header of every safetensors file that we write begins, behind its length; the hashes follow."""

INDEX_OPENING = b'{"metadata": {"nameplate": "'
"""How every index that we write begins; the hashes follow."""

NO_HASH = "-"
_VARIANT = re.compile(r"\w[\w.+-]*")
_SHARD_ENDING = re.compile(r"-\d{5}-of-\d{5}$")  # such a variant would be called as a shard of another is
_RECORD_FILE = re.compile(r"model\.(?:.+\.)?safetensors|model\.safetensors\.index\.(?:.+\.)?json")
_LENGTH = struct.Struct("<Q")
_DIGEST_LENGTH = 2 * hashlib.sha256().digest_size
_BLANK = "0" * _DIGEST_LENGTH  # stands for the digest while it is computed
_BEGINNING = 4096  # holds the hashes of a record, whatever else there is
_LARGEST_HEADER = 100 << 20  # the limit of the safetensors format itself
_LARGEST_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The config of a checkpoint as bytes, and where they were found.

    Attributes:
        data: UTF-8 JSON, not yet parsed.
        where: How messages name the place.
    """

    data: bytes
    where: str


@dataclass(frozen=True, slots=True)
class WeightsPlace:
    """Which weight files a checkpoint has, and which of them counts.

    Attributes:
        single: The one file that holds every tensor, if there is one.
        index: The index of shards, if there is one.
        chosen: Which of the two counts; None if there is neither, or if nothing says which.
        ours: Whether the one that counts has a record of ours.
    """

    single: Path | None
    index: Path | None
    chosen: Literal["single", "index"] | None
    ours: bool

    @property
    def path(self) -> Path | None:
        """The file that counts."""
        return {"single": self.single, "index": self.index, None: None}[self.chosen]


@dataclass(frozen=True, slots=True)
class Hashes:
    """What a record begins with.

    Attributes:
        mirror: The hash of the `config.json` that belongs to it, or a dash.
        stale: The hash of the one that stood there before, or a dash.
        digest: The digest of the record: of everything in it but these digits.
        superseded: The identities of the weight files that counted before.
    """

    mirror: str
    stale: str
    digest: str
    superseded: tuple[str, ...] = ()

    def left_behind(self, mirror: bytes) -> bool:
        """Whether a crash left this `config.json` from the checkpoint before."""
        return hash_of(mirror) == self.stale != self.mirror


# ---- names


def weights_name(variant: str | None = None) -> str:
    """Return the name of the one weight file of a variant.

    Raises:
        UnsafePathError: If the variant would make it the name of something else.

    Example:
        >>> weights_name(), weights_name("fp16")
        ('model.safetensors', 'model.fp16.safetensors')
    """
    return WEIGHTS_NAME if variant is None else f"model.{_checked(variant)}.safetensors"


def index_name(variant: str | None = None) -> str:
    """Return the name of the index of a variant's shards.

    Raises:
        UnsafePathError: If the variant would make it the name of something else.

    Example:
        >>> index_name(), index_name("fp16")
        ('model.safetensors.index.json', 'model.safetensors.index.fp16.json')
    """
    return f"{WEIGHTS_NAME}.index.json" if variant is None else f"{WEIGHTS_NAME}.index.{_checked(variant)}.json"


def _checked(variant: str) -> str:
    if isinstance(variant, str) and _VARIANT.fullmatch(variant) and not _SHARD_ENDING.search(variant):
        return variant
    message = f"a variant is a word such as 'fp16' (letters, digits, and . _ - + inside), found {shown(variant)}."
    raise UnsafePathError(message)


# ---- writing


def record_metadata(config_text: str, previous: bytes | None, superseded: Sequence[str] = ()) -> dict[str, str]:
    """Return the metadata that makes a safetensors file the record of a checkpoint.

    An index needs the same, without the format. Its digest is still blank: `seal` fills it in when all bytes are known.

    Args:
        config_text: The text that `config.json` is going to have.
        previous: The bytes that `config.json` has now, or None if there is none.
        superseded: The identities of the other weight files that count until then.
    """
    stale = NO_HASH if previous is None else hash_of(previous)
    hashes = " ".join([hash_of(config_text.encode()), stale, _BLANK, *superseded])
    return {"format": "pt", RECORD_KEY: hashes, CONFIG_KEY: config_text}


def part_metadata() -> dict[str, str]:
    """Return the metadata of a safetensors file that is no record, but part of a checkpoint that has one."""
    return {"format": "pt", RECORD_KEY: f"{NO_HASH} {NO_HASH} {_BLANK}"}


def blank_again(hashes: str, new: str) -> str:
    """Return what a record begins with as it was before it was sealed, but for the config of a new one.

    Args:
        hashes: The value of `RECORD_KEY` in a record that is there.
        new: That of one to be written.

    Raises:
        ValueError: If there are no such hashes.
    """
    _, stale, _, *superseded = hashes.split(" ")
    return " ".join([new.split(" ", maxsplit=1)[0], stale, _BLANK, *superseded])


def seal(data: bytes) -> tuple[bytes, str]:
    """Fill in the digest of a header (its length included) or an index, and return both.

    Args:
        data: All bytes, with the blank digest that `record_metadata` put there.

    Example:
        >>> text = '{"metadata": ' + json.dumps(record_metadata("{}", None)).replace('"format": "pt", ', "") + "}"
        >>> sealed, digest = seal(text.encode())
        >>> check_digest(sealed), check_digest(sealed.replace(b"{}", b"[]"))
        (True, False)
    """
    place = _digest_place(data)
    assert place is not None
    digest = hashlib.sha256(data).hexdigest()
    return data[:place] + digest.encode() + data[place + _DIGEST_LENGTH :], digest


def check_digest(data: bytes) -> bool:
    """Return whether a header of ours (its length included) or an index of ours is as it was written."""
    place = _digest_place(data)
    if place is None:
        return False
    end = place + _DIGEST_LENGTH
    blank = data[:place] + _BLANK.encode() + data[end:]
    return hashlib.sha256(blank).hexdigest().encode() == data[place:end]


def hash_of(data: bytes) -> str:
    """Return the sha256 of some bytes in hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


def _digest_place(data: bytes) -> int | None:
    """Return where the digest begins in a header or an index of ours."""
    start = _after_opening(data)
    if start is None:
        return None
    fields = data[start : start + _BEGINNING].split(b'"', 1)[0].split(b" ")
    if len(fields) < 3 or len(fields[2]) != _DIGEST_LENGTH:  # noqa: PLR2004 - mirror, stale, digest
        return None
    return start + len(fields[0]) + len(fields[1]) + 2


# ---- reading


def choose_weights(source: Source, variant: str | None = None) -> WeightsPlace:
    """Find the weight files of a checkpoint and decide which one counts.

    Only the beginnings of files are read, but for one case: a foreign file beside a record of ours that may supersede
    it, which a crash during a save can leave, is read whole.

    Args:
        source: Where the checkpoint is.
        variant: Which of its variants.

    Raises:
        SourceNotFoundError: If a weight file is no regular file.
        UnsafePathError: If the variant is no word.
        HubError: If the Hub cannot be asked.
    """
    index, single = source.find(index_name(variant)), source.find(weights_name(variant))
    if single is None or index is None:
        chosen: Literal["single", "index"] | None = "single" if single else "index" if index else None
        path = single or index
        return WeightsPlace(single, index, chosen, path is not None and read_hashes(path) is not None)
    of_single, of_index = read_hashes(single), read_hashes(index)
    if of_single is not None and _supersedes(of_single, index, of_index):
        return WeightsPlace(single, index, "single", ours=True)
    if of_index is not None and _supersedes(of_index, single, of_single):
        return WeightsPlace(single, index, "index", ours=True)
    return WeightsPlace(single, index, None, ours=False)


def identity_of(path: Path) -> str:
    """Return what tells a weight file from any other: its digest if it is ours, else the hash of all its bytes."""
    hashes = read_hashes(path)
    if hashes is not None:
        return hashes.digest
    found = hashlib.sha256()
    with open_regular(path) as file:
        while chunk := file.read(_LARGEST_CHUNK):
            found.update(chunk)
    return found.hexdigest()


def read_hashes(path: Path) -> Hashes | None:
    """Read what a record begins with; None for a file without a record.

    Raises:
        SourceNotFoundError: If it is no regular file.
    """
    with open_regular(path) as file:
        data = file.read(_BEGINNING)
    start = _after_opening(data)
    text, quote, _ = (b"", b"", b"") if start is None else data[start:].partition(b'"')
    fields = text.decode("ascii", "replace").split(" ")
    return Hashes(fields[0], fields[1], fields[2], tuple(fields[3:])) if quote and len(fields) >= 3 else None  # noqa: PLR2004


def _supersedes(hashes: Hashes, other: Path, of_other: Hashes | None) -> bool:
    if not hashes.superseded:  # so a foreign file need not be read
        return False
    return (identity_of(other) if of_other is None else of_other.digest) in hashes.superseded


def _after_opening(data: bytes) -> int | None:
    """Return where the hashes of a record begin, or None if it does not begin like one."""
    if data.startswith(INDEX_OPENING):
        return len(INDEX_OPENING)
    return _LENGTH.size + len(HEADER_OPENING) if data.startswith(HEADER_OPENING, _LENGTH.size) else None


# ---- the config


def read_config(source: Source, variant: str | None = None) -> ConfigText:
    """Return the config that belongs to the checkpoint's weights.

    Args:
        source: Where the checkpoint is.
        variant: Whose weights.

    Raises:
        SourceNotFoundError: If the source holds neither a `config.json` nor a record.
        ConfigFileError: If `config.json` is larger than the budget.
    """
    if source.file is not None:
        return ConfigText(read_file(source.file, limit=LARGEST_CONFIG, too_large=_too_large), str(source.file))
    path = source.find(CONFIG_NAME, largest=LARGEST_CONFIG)
    mirror = None if path is None else read_file(path, limit=LARGEST_CONFIG, too_large=_too_large)
    committed = None if source.folder is None else _committed(source, variant, mirror)
    if committed is not None:
        return committed
    if mirror is None:  # this raises, and says what is there instead, unless somebody has saved since
        mirror = read_file(source.path(CONFIG_NAME), limit=LARGEST_CONFIG, too_large=_too_large)
    return ConfigText(mirror, source.where(CONFIG_NAME))


def _too_large(message: str) -> ConfigFileError:
    return ConfigFileError(message, code="too-large")


def read_config_values(source: Source, variant: str | None = None) -> tuple[dict[str, Any], str]:
    """Return the parsed config of a source, and how messages name the place.

    Args:
        source: Where the checkpoint is.
        variant: The config of which weights.

    Raises:
        SourceNotFoundError: If the source holds no config.
        ConfigFileError: If the file is not the JSON of a config.
    """
    text = read_config(source, variant)
    return parse_object(text.data, where=text.where), text.where


def mirror_bytes(folder: Path, config_text: str, replaced: Collection[str] = ()) -> bytes:
    """Return the bytes to write as `config.json` so that they count as the folder's config, for every variant.

    That is the text itself. Only where it is, byte for byte, what a record takes for the leftover of a
    crash, a second line feed tells it apart.

    Args:
        folder: Where `config.json` is going to be.
        config_text: The text of the config.
        replaced: The names of weight files whose records are about to be replaced.
    """
    data = config_text.encode()
    records = [read_hashes(path) for path in _record_files(folder) if path.name not in replaced]
    while any(hashes is not None and hashes.left_behind(data) for hashes in records):
        data += b"\n"
    return data


def _record_files(folder: Path) -> list[Path]:
    """Return the files of a folder that may have a record, of all variants."""
    try:
        return [path for path in folder.iterdir() if _RECORD_FILE.fullmatch(path.name) and path.is_file()]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _record(source: Source, variant: str | None) -> Path | None:
    """Return the file that has the record of a folder, if its weights are regular files."""
    names = (weights_name(variant), index_name(variant))
    found = [path for name in names if (path := source.find(name)) is not None]
    if not found or not all(path.is_file() for path in found):
        return None
    place = choose_weights(source, variant)
    return place.path if place.ours else None


def _committed(source: Source, variant: str | None, mirror: bytes | None) -> ConfigText | None:
    """Return the config inside the record if the mirror is absent or was left stale by a crash."""
    record = _record(source, variant)
    hashes = None if record is None else read_hashes(record)
    if record is None or hashes is None or (mirror is not None and not hashes.left_behind(mirror)):
        return None
    with open_regular(record) as file:
        start = file.read(_LENGTH.size)
        in_index = INDEX_OPENING.startswith(start)
        length = _LARGEST_HEADER if in_index else min(_LENGTH.unpack(start)[0], _LARGEST_HEADER)
        data = start + file.read(length)
    try:
        root = json.loads(data if in_index else data[_LENGTH.size :])
        text = root["metadata" if in_index else "__metadata__"][CONFIG_KEY]
        return ConfigText(text.encode(), source.where(record.name) + " (its record)") if check_digest(data) else None
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return None  # torn or edited: loading the weights will say so
