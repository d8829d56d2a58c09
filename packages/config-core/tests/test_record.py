"""Which config belongs to the weights: the one beside them, unless a crash left it there."""

import json
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nameplate_config import (
    ConfigFileError,
    PreTrainedConfig,
    SourceNotFoundError,
    UnsafePathError,
    open_source,
    read_config_values,
)
from nameplate_config.record import (
    WeightsPlace,
    blank_again,
    check_digest,
    choose_weights,
    identity_of,
    index_name,
    mirror_bytes,
    part_metadata,
    read_config,
    read_hashes,
    record_metadata,
    seal,
    weights_name,
)

OLD, NEW, EDITED = '{"width": 1}\n', '{"width": 2}\n', '{"width": 3}\n'


class Block(PreTrainedConfig):
    """A config to be found."""

    width: int = 8


def write_weights(folder: Path, metadata: dict[str, str] | None, name: str = "model.safetensors") -> None:
    """Write a safetensors file without tensors by hand: the header's length, then the header."""
    header = {} if metadata is None else {"__metadata__": metadata}
    text = json.dumps(header, separators=(",", ":")).encode()
    data = struct.pack("<Q", len(text)) + text
    (folder / name).write_bytes(seal(data)[0] if metadata and "nameplate.config" in metadata else data)


def write_index(folder: Path, metadata: dict[str, str] | None, name: str = "model.safetensors.index.json") -> None:
    """Write an index without shards by hand; the record in it knows no format."""
    texts = {key: text for key, text in (metadata or {"total_size": "0"}).items() if key != "format"}
    data = json.dumps({"metadata": texts, "weight_map": {}}).encode()
    (folder / name).write_bytes(seal(data)[0] if metadata else data)


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
    """A header that claims to be endless is read to the end of the file, and no further; it is no record."""
    write_checkpoint(tmp_path, OLD, previous=OLD)
    path = tmp_path / "model.safetensors"
    path.write_bytes(b"\xff" * 8 + path.read_bytes()[8:])

    assert Block.from_pretrained(tmp_path).width == 1


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
    first, later = record_metadata(NEW, None), record_metadata(NEW, OLD.encode(), ["a" * 64])

    assert list(first) == list(later) == ["format", "nameplate", "nameplate.config"]
    assert (first["format"], first["nameplate.config"]) == ("pt", NEW)
    assert first["nameplate"].split(" ")[1:] == ["-", "0" * 64]
    assert [len(part) for part in later["nameplate"].split(" ")] == [64, 64, 64, 64]


# ---- the digest


def sealed(metadata: dict[str, str]) -> tuple[bytes, str]:
    """Return a sealed header with some metadata, and its digest."""
    text = json.dumps({"__metadata__": metadata}, separators=(",", ":")).encode()
    return seal(struct.pack("<Q", len(text)) + text)


@pytest.mark.parametrize("metadata", [record_metadata(NEW, None), record_metadata(NEW, b"old"), part_metadata()])
def test_a_sealed_header_holds_its_digest(metadata: dict[str, str]):
    """Sealing puts the digest in its place and changes nothing else."""
    data, digest = sealed(metadata)
    fields = json.loads(data[8:])["__metadata__"]["nameplate"].split(" ")

    assert fields[2] == digest
    assert fields[:2] == metadata["nameplate"].split(" ")[:2]
    assert check_digest(data)


@given(data=st.data())
def test_any_flipped_bit_of_a_header_is_found(data: st.DataObject):
    """A header in which any one bit is changed is not as it was written."""
    whole, _ = sealed(record_metadata(NEW, OLD.encode()))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    torn = bytearray(whole)
    torn[place // 8] ^= 1 << place % 8

    assert not check_digest(bytes(torn))


@pytest.mark.parametrize("data", [b"", b"{}", b"\0" * 100, b'12345678{"__metadata__":{"format":"pt","nameplate":"a b"'])
def test_other_bytes_have_no_digest(data: bytes):
    """What is no record of ours has no digest that could be right."""
    assert not check_digest(data)


def test_the_hashes_of_a_record_are_read_from_its_beginning(tmp_path: Path):
    """What a record begins with is read whole, whatever follows."""
    write_weights(tmp_path, record_metadata(NEW * 9999, OLD.encode(), ["a" * 64]))
    hashes = read_hashes(tmp_path / "model.safetensors")

    assert hashes is not None
    assert (hashes.superseded, hashes.left_behind(OLD.encode())) == (("a" * 64,), True)
    assert hashes.digest == identity_of(tmp_path / "model.safetensors")


def test_a_foreign_file_is_known_by_all_its_bytes(tmp_path: Path):
    """The identity of a file without a record is the hash of everything in it."""
    (tmp_path / "model.safetensors").write_bytes(b"abc")

    assert identity_of(tmp_path / "model.safetensors") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


def test_a_record_can_be_compared_with_an_older_one():
    """Put beside a new one, an old record keeps all but its config and its digest."""
    old, new = record_metadata(OLD, b"x", ["a" * 64])["nameplate"], record_metadata(NEW, None)["nameplate"]

    assert blank_again(old, new).split(" ") == [new.split(" ")[0], old.split(" ")[1], "0" * 64, "a" * 64]


# ---- which weights count


def place_of(folder: Path, variant: str | None = None) -> WeightsPlace:
    """Return which weights of a folder count."""
    return choose_weights(open_source(folder), variant)


def test_a_folder_without_weights_has_no_place(tmp_path: Path):
    """Where there are no weights, none count."""
    assert place_of(tmp_path) == WeightsPlace(None, None, None, ours=False)


@pytest.mark.parametrize("metadata", [record_metadata(NEW, None), {"format": "pt"}, None])
def test_the_only_file_counts(metadata: dict[str, str] | None, tmp_path: Path):
    """A single file without an index counts, whoever wrote it."""
    write_weights(tmp_path, metadata)
    ours = metadata is not None and "nameplate" in metadata

    assert place_of(tmp_path) == WeightsPlace(tmp_path / "model.safetensors", None, "single", ours=ours)


@pytest.mark.parametrize("metadata", [record_metadata(NEW, None), None])
def test_the_only_index_counts(metadata: dict[str, str] | None, tmp_path: Path):
    """An index without a single file counts, whoever wrote it."""
    write_index(tmp_path, metadata)

    expected = WeightsPlace(None, tmp_path / "model.safetensors.index.json", "index", ours=metadata is not None)
    assert place_of(tmp_path) == expected
    assert place_of(tmp_path).path == tmp_path / "model.safetensors.index.json"


@pytest.mark.parametrize("foreign", [False, True])
def test_the_index_that_supersedes_a_file_counts(*, foreign: bool, tmp_path: Path):
    """Of two that a crash left, the later one counts: an index over a single file."""
    write_weights(tmp_path, {"format": "pt"} if foreign else record_metadata(OLD, None))
    write_index(tmp_path, record_metadata(NEW, None, [identity_of(tmp_path / "model.safetensors")]))

    assert place_of(tmp_path).chosen == "index"
    assert Block.from_pretrained(tmp_path).width == 2


@pytest.mark.parametrize("foreign", [False, True])
def test_the_file_that_supersedes_an_index_counts(*, foreign: bool, tmp_path: Path):
    """Of two that a crash left, the later one counts: a single file over an index."""
    write_index(tmp_path, None if foreign else record_metadata(OLD, None))
    write_weights(tmp_path, record_metadata(NEW, None, [identity_of(tmp_path / "model.safetensors.index.json")]))

    assert place_of(tmp_path).chosen == "single"
    assert Block.from_pretrained(tmp_path).width == 2


@pytest.mark.parametrize("single", [record_metadata(OLD, None), record_metadata(OLD, None, ["a" * 64]), None])
@pytest.mark.parametrize("index", [record_metadata(NEW, None), record_metadata(NEW, None, ["b" * 64]), None])
def test_two_strangers_are_ambiguous(single: dict[str, str] | None, index: dict[str, str] | None, tmp_path: Path):
    """Where neither of two knows the other, nothing says which counts, and `config.json` is in force."""
    write_weights(tmp_path, single)
    write_index(tmp_path, index)
    (tmp_path / "config.json").write_text(EDITED)

    assert (place_of(tmp_path).chosen, place_of(tmp_path).path) == (None, None)
    assert Block.from_pretrained(tmp_path).width == 3


def test_each_variant_has_its_own_weights(tmp_path: Path):
    """The weights of one variant say nothing of another's."""
    write_weights(tmp_path, record_metadata(NEW, None), "model.fp16.safetensors")

    assert place_of(tmp_path).chosen is None
    assert place_of(tmp_path, "fp16").single == tmp_path / "model.fp16.safetensors"


@pytest.mark.parametrize("variant", ["", "a/b", "..", ".a", "a b", "a\0", "fp16-00001-of-00002", "a\n", 5])
def test_a_variant_is_a_word(variant: str):
    """What would make another path of a name is no variant."""
    for name in (weights_name, index_name):
        with pytest.raises(UnsafePathError) as caught:
            name(variant)

        assert str(caught.value).startswith("a variant is a word such as 'fp16' (")


# ---- the config of an index


def test_a_stale_config_beside_an_index_does_not_count(tmp_path: Path):
    """A `config.json` that a crash left beside an index gives way to the record in it."""
    write_index(tmp_path, record_metadata(NEW, OLD.encode()))
    (tmp_path / "config.json").write_text(OLD)
    found = read_config(open_source(tmp_path))

    assert (found.data, found.where) == (NEW.encode(), f"{tmp_path / 'model.safetensors.index.json'} (its record)")


def test_a_config_edited_beside_an_index_wins(tmp_path: Path):
    """A `config.json` that no save wrote counts, also beside an index."""
    write_index(tmp_path, record_metadata(NEW, OLD.encode()))
    (tmp_path / "config.json").write_text(EDITED)

    assert Block.from_pretrained(tmp_path).width == 3


def test_going_back_beside_an_index_is_told_apart(tmp_path: Path):
    """The config that a crash could have left is written in another way beside an index as well."""
    write_index(tmp_path, record_metadata(NEW, OLD.encode()))

    assert mirror_bytes(tmp_path, OLD) == OLD.encode() + b"\n"


def test_a_variant_has_its_own_record(tmp_path: Path):
    """The config of a variant's weights is asked for by its name."""
    write_weights(tmp_path, record_metadata(NEW, OLD.encode()), "model.fp16.safetensors")
    (tmp_path / "config.json").write_text(OLD)

    assert read_config_values(open_source(tmp_path))[0] == {"width": 1}
    assert read_config_values(open_source(tmp_path), "fp16")[0] == {"width": 2}


@pytest.mark.parametrize("length", [0, 1, 20, 60, 130, -1])
def test_a_torn_index_is_no_record(length: int, tmp_path: Path):
    """An index that ends too early leaves `config.json` in force: loading it will say what is wrong."""
    write_index(tmp_path, record_metadata(NEW, OLD.encode()))
    (tmp_path / "config.json").write_text(OLD)
    path = tmp_path / "model.safetensors.index.json"
    path.write_bytes(path.read_bytes()[:length])

    assert Block.from_pretrained(tmp_path).width == 1


def test_a_config_counts_for_every_variant(tmp_path: Path):
    """A config that only a variant's record takes for a leftover is told apart too, and so is one line feed more."""
    write_weights(tmp_path, record_metadata(EDITED, OLD.encode()))
    write_weights(tmp_path, record_metadata(NEW, OLD.encode() + b"\n"), "model.fp16.safetensors")
    data = mirror_bytes(tmp_path, OLD)
    (tmp_path / "config.json").write_bytes(data)

    assert data == OLD.encode() + b"\n\n"
    assert read_config_values(open_source(tmp_path), "fp16")[0] == {"width": 1}


def test_a_record_that_is_replaced_takes_nothing_for_stale(tmp_path: Path):
    """What goes with the save decides nothing about the bytes of its config."""
    write_weights(tmp_path, record_metadata(NEW, OLD.encode()))

    assert mirror_bytes(tmp_path, OLD, replaced=["model.safetensors"]) == OLD.encode()
