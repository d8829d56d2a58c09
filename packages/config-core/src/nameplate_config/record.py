"""The commit record of a checkpoint: which config belongs to the weights, whatever a crash left beside them.

A save replaces `model.safetensors` first, and that one rename is the commit; `config.json` is mirrored after
it. Between the two a crash can leave the previous `config.json`. The record therefore travels inside the
weights: the text of their config, the hash of the mirror to be written, and the hash of the one that stood
there before. A `config.json` with any third hash was edited by hand, and wins.

`nameplate_model` writes the record and this module reads it, without torch, so that `AutoConfig` and the
model always agree on the config.
"""

import hashlib
import json
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nameplate_config._source import Source
from nameplate_config.errors import ConfigFileError
from nameplate_config.files import open_regular, read_file
from nameplate_config.strict_json import LARGEST_CONFIG, parse_object

CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"

_LENGTH = struct.Struct("<Q")
_NO_HASH = "-"
_OPENING = b'{"__metadata__":{"format":"pt","nameplate":"'
"""How the header of every file that we write begins; the hashes follow. Any other has no record of ours."""

_HASHES = 2 * hashlib.sha256().digest_size
_LARGEST_HEADER = 100 << 20  # the limit of the safetensors format itself


@dataclass(frozen=True, slots=True)
class ConfigText:
    """The config of a checkpoint as bytes, and where they were found.

    Attributes:
        data: UTF-8 JSON, not yet parsed.
        where: How messages name the place.
    """

    data: bytes
    where: str


def record_metadata(config_text: str, previous: bytes | None) -> dict[str, str]:
    """Return the safetensors metadata that makes a weight file its own commit record.

    Args:
        config_text: The text that `config.json` is going to have.
        previous: The bytes that `config.json` has now, or None if there is none.
    """
    return {
        "format": "pt",
        "nameplate": f"{_hash(config_text.encode())} {_NO_HASH if previous is None else _hash(previous)}",
        "nameplate.config": config_text,
    }


def read_config(source: Source) -> ConfigText:
    """Return the config that belongs to the checkpoint's weights.

    Raises:
        SourceNotFoundError: If the source holds neither a `config.json` nor a record.
        ConfigFileError: If `config.json` is larger than the budget.
    """
    if source.file is not None:
        return ConfigText(read_file(source.file, limit=LARGEST_CONFIG, too_large=_too_large), str(source.file))
    path = source.find(CONFIG_NAME)
    mirror = None if path is None else read_file(path, limit=LARGEST_CONFIG, too_large=_too_large)
    committed = None if source.folder is None else _committed(source.folder, mirror)
    if committed is not None:
        return ConfigText(committed, source.where(WEIGHTS_NAME) + " (its record)")
    if mirror is None:
        source.path(CONFIG_NAME)  # raises, and says what is there instead
    assert mirror is not None
    return ConfigText(mirror, source.where(CONFIG_NAME))


def _too_large(message: str) -> ConfigFileError:
    return ConfigFileError(message, code="too-large")


def read_config_values(source: Source) -> tuple[dict[str, Any], str]:
    """Return the parsed config of a source, and how messages name the place.

    Raises:
        SourceNotFoundError: If the source holds no config.
        ConfigFileError: If the file is not the JSON of a config.
    """
    text = read_config(source)
    return parse_object(text.data, where=text.where), text.where


def mirror_bytes(folder: Path, config_text: str) -> bytes:
    """Return the bytes to write as `config.json` so that they count as the folder's config.

    That is the text itself. Only where it is, byte for byte, what the record takes for the leftover of a
    crash, a second line feed tells it apart.
    """
    data = config_text.encode()
    hashes = _recorded_hashes(folder / WEIGHTS_NAME)
    return data + b"\n" if hashes is not None and hashes.left_behind(data) else data


@dataclass(frozen=True, slots=True)
class _Hashes:
    mirror: str
    stale: str

    def left_behind(self, mirror: bytes) -> bool:
        """Whether a crash left this `config.json` from the checkpoint before."""
        return _hash(mirror) == self.stale != self.mirror


def _recorded_hashes(weights: Path) -> _Hashes | None:
    """Read the two hashes at the very start of our header; None for a file without a record."""
    if not weights.is_file():
        return None
    with open_regular(weights) as file:
        start = file.read(_LENGTH.size + len(_OPENING) + 2 * _HASHES + 1)[_LENGTH.size :]
    if not start.startswith(_OPENING):
        return None
    mirror, _, stale = start[len(_OPENING) :].split(b'"', 1)[0].decode("ascii", "replace").partition(" ")
    return _Hashes(mirror, stale)


def _committed(folder: Path, mirror: bytes | None) -> bytes | None:
    """Return the config inside the record if the mirror is absent or was left stale by a crash."""
    weights = folder / WEIGHTS_NAME
    hashes = _recorded_hashes(weights)
    if hashes is None or (mirror is not None and not hashes.left_behind(mirror)):
        return None
    with open_regular(weights) as file:
        length = _LENGTH.unpack(file.read(_LENGTH.size))[0]
        try:
            text = json.loads(file.read(min(length, _LARGEST_HEADER)))["__metadata__"]["nameplate.config"]
            return text.encode()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            return None  # a torn or edited header: loading the weights will say so


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
