"""Which config belongs to the weights: the one beside them, unless a crash left it there."""

import json
import struct
from pathlib import Path

import pytest

from nameplate_config import (
    ConfigFileError,
    PreTrainedConfig,
    SourceNotFoundError,
    open_source,
    read_config_values,
)
from nameplate_config.record import mirror_bytes, read_config, record_metadata

OLD, NEW, EDITED = '{"width": 1}\n', '{"width": 2}\n', '{"width": 3}\n'


class Block(PreTrainedConfig):
    """A config to be found."""

    width: int = 8


def write_weights(folder: Path, metadata: dict[str, str] | None) -> None:
    """Write a safetensors file without tensors by hand: the header's length, then the header."""
    header = {} if metadata is None else {"__metadata__": metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text)


def write_checkpoint(folder: Path, mirror: str | None, *, previous: str | None) -> None:
    """Write weights whose record belongs to `NEW` and was made over *previous*, and a `config.json`."""
    write_weights(folder, record_metadata(NEW, None if previous is None else previous.encode()))
    if mirror is not None:
        (folder / "config.json").write_text(mirror)


@pytest.mark.parametrize("previous", [None, OLD, NEW])
def test_the_config_of_a_finished_save_is_its_own(previous: str | None, tmp_path: Path):
    """After a save that went well, `config.json` counts."""
    write_checkpoint(tmp_path, NEW, previous=previous)
    found = read_config(open_source(tmp_path))

    assert (found.data, found.where) == (NEW.encode(), str(tmp_path / "config.json"))


def test_a_stale_config_does_not_count(tmp_path: Path):
    """A `config.json` that a crash left from the save before gives way to the record in the weights."""
    write_checkpoint(tmp_path, OLD, previous=OLD)
    found = read_config(open_source(tmp_path))

    assert (found.data, found.where) == (NEW.encode(), f"{tmp_path / 'model.safetensors'} (its record)")
    assert Block.from_pretrained(tmp_path).width == 2


@pytest.mark.parametrize("previous", [None, OLD])
def test_a_missing_config_is_in_the_record(previous: str | None, tmp_path: Path):
    """Where `config.json` is missing, whether never written or removed, the record has the config."""
    write_checkpoint(tmp_path, None, previous=previous)

    assert Block.from_pretrained(tmp_path).width == 2


@pytest.mark.parametrize("previous", [None, OLD, NEW])
def test_a_config_edited_by_hand_wins(previous: str | None, tmp_path: Path):
    """A `config.json` that neither the save nor the one before wrote was edited, and counts."""
    write_checkpoint(tmp_path, EDITED, previous=previous)

    assert Block.from_pretrained(tmp_path).width == 3


def test_going_back_by_hand_to_the_config_before_is_told_apart(tmp_path: Path):
    """Saving exactly the config that a crash could have left makes it count, by one more line feed."""
    write_checkpoint(tmp_path, NEW, previous=OLD)
    data = mirror_bytes(tmp_path, OLD)
    (tmp_path / "config.json").write_bytes(data)

    assert data == OLD.encode() + b"\n"
    assert Block.from_pretrained(tmp_path).width == 1


def test_save_pretrained_beside_weights_counts(tmp_path: Path):
    """A config saved beside the weights of another counts, also if it is the one from before."""
    config = Block(width=5)
    text = config.to_json_string()
    write_weights(tmp_path, record_metadata(NEW, text.encode()))
    config.save_pretrained(tmp_path)

    assert Block.from_pretrained(tmp_path) == config


@pytest.mark.parametrize(
    ("text", "previous"),
    [(NEW, OLD), (EDITED, OLD), (NEW, NEW), (OLD, None)],
    ids=["its own", "another", "unchanged", "first save"],
)
def test_the_mirror_is_the_text_itself(text: str, previous: str | None, tmp_path: Path):
    """Where nothing can be confused, the mirror has not one byte more than the text."""
    write_checkpoint(tmp_path, None, previous=previous)

    assert mirror_bytes(tmp_path, text) == text.encode()


def test_the_mirror_of_an_empty_folder_is_the_text(tmp_path: Path):
    """Without weights there is nothing to be told apart."""
    assert mirror_bytes(tmp_path, NEW) == NEW.encode()


def test_a_save_of_the_same_config_is_no_crash(tmp_path: Path):
    """A record made over its own config, as every second save makes it, takes no mirror for stale."""
    write_checkpoint(tmp_path, NEW, previous=NEW)
    found = read_config(open_source(tmp_path))

    assert found.where == str(tmp_path / "config.json")


# ---- weights without a record


@pytest.mark.parametrize(
    "metadata",
    [None, {}, {"format": "pt"}, {"format": "pt", "note": "nameplate"}, {"nameplate": "x"}],
    ids=str,
)
def test_weights_of_others_have_no_record(metadata: dict[str, str] | None, tmp_path: Path):
    """Beside weights that others wrote, `config.json` counts, and nothing replaces it."""
    write_weights(tmp_path, metadata)
    with pytest.raises(SourceNotFoundError) as caught:
        read_config(open_source(tmp_path))
    (tmp_path / "config.json").write_text(OLD)

    assert str(caught.value) == (f"{tmp_path / 'config.json'} does not exist.\n  The folder holds: model.safetensors.")
    assert Block.from_pretrained(tmp_path).width == 1


def test_an_empty_folder_has_no_config(tmp_path: Path):
    """A folder with neither is reported with what it holds."""
    with pytest.raises(SourceNotFoundError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == f"{tmp_path / 'config.json'} does not exist.\n  The folder holds: none."


@pytest.mark.parametrize("length", [0, 7, 8, 40, 60, 200, -20])
def test_a_torn_record_is_no_record(length: int, tmp_path: Path):
    """Weights that end too early leave `config.json` in force: loading them will say what is wrong."""
    write_checkpoint(tmp_path, OLD, previous=OLD)
    path = tmp_path / "model.safetensors"
    path.write_bytes(path.read_bytes()[:length])

    assert Block.from_pretrained(tmp_path).width == 1


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"nameplate.config", b"something.else"),
        (b'"nameplate.config":"', b'"nameplate.config":5,"x":"'),
        (b'"nameplate.config":"', b'"nameplate.config":null,"x":"'),
        (b'"nameplate.config":"', b'"nameplate.config":"\\ud800'),
        (b'"nameplate.config":"', b'"nameplate.config":"\xff'),
        (b'"nameplate.config":"', b'"x":' + b"[" * 100_000 + b'"'),
        (b'"}}', b'"},"__metadata__":5}'),
        (b'"}}', b'"},"__metadata__":[]}'),
        (b'"}}', b'"}}]'),
    ],
)
def test_a_forged_record_is_no_record(old: bytes, new: bytes, tmp_path: Path):
    """A header that does not hold what a record holds leaves `config.json` in force."""
    write_checkpoint(tmp_path, OLD, previous=OLD)
    path = tmp_path / "model.safetensors"
    header = path.read_bytes()[8:]
    forged = header.replace(old, new)
    path.write_bytes(struct.pack("<Q", len(forged)) + forged)

    assert forged != header
    assert Block.from_pretrained(tmp_path).width == 1


def test_a_forged_length_is_bounded(tmp_path: Path):
    """A header that claims to be endless is read to the end of the file, and no further."""
    write_checkpoint(tmp_path, OLD, previous=OLD)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])

    assert Block.from_pretrained(tmp_path).width == 2


def test_a_record_that_is_no_config_is_named(tmp_path: Path):
    """A record whose text is no JSON is refused with the file that holds it."""
    write_weights(tmp_path, record_metadata("[1]", None))
    with pytest.raises(ConfigFileError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == (f"{tmp_path / 'model.safetensors'} (its record) must hold a JSON object, found [1].")


def test_a_large_config_is_refused(tmp_path: Path):
    """A `config.json` over the budget is refused unread."""
    (tmp_path / "config.json").write_text('{"a": "' + "x" * (4 << 20) + '"}')
    with pytest.raises(ConfigFileError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == (f"{str(tmp_path / 'config.json')!r} has 4,194,313 bytes; at most 4,194,304 are read.")


def test_the_values_are_read_with_their_place(tmp_path: Path):
    """`read_config_values` gives the parsed config and how messages name its place."""
    (tmp_path / "config.json").write_text(OLD)

    assert read_config_values(open_source(tmp_path)) == ({"width": 1}, str(tmp_path / "config.json"))


def test_the_metadata_of_a_record_is_text():
    """A record consists of texts, as the safetensors format demands, and starts with the format."""
    first, later = record_metadata(NEW, None), record_metadata(NEW, OLD.encode())

    assert list(first) == list(later) == ["format", "nameplate", "nameplate.config"]
    assert (first["format"], first["nameplate.config"]) == ("pt", NEW)
    assert first["nameplate"].split(" ")[1] == "-"
    assert [len(part) for part in later["nameplate"].split(" ")] == [64, 64]
