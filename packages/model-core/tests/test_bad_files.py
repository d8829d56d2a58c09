"""Folders that are broken, hostile or someone else's: one typed error that says what to do, never a hang."""

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from nameplate_config import (
    ConfigFileError,
    NameplateError,
    PreTrainedConfig,
    SourceNotFoundError,
    UnsafePathError,
)
from nameplate_config.record import seal
from nameplate_model import AmbiguousCheckpointError, CheckpointError, CorruptFileError, PreTrainedModel, ShardError

WEIGHTS, INDEX, CONFIG = "model.safetensors", "model.safetensors.index.json", "config.json"


class NetConfig(PreTrainedConfig):
    """The width of a small network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """One layer."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a good checkpoint."""
    Net(NetConfig()).save_pretrained(tmp_path / "net")
    return tmp_path / "net"


def failure(source: Any, **options: Any) -> NameplateError:
    """Return the error of a load that must fail with one of ours."""
    with pytest.raises(NameplateError) as caught:
        Net.from_pretrained(source, **options)
    return caught.value


def says(error: NameplateError, kind: type[NameplateError], text: str) -> bool:
    """Whether an error is of exactly one class and has exactly one text."""
    assert (type(error), str(error)) == (kind, text)
    return True


def write_header(path: Path, header: Any, data: bytes = b"") -> None:
    """Write a safetensors file by hand."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def write_shards(folder: Path, **changes: Any) -> None:
    """Put shards and an index in the place of the single file; *changes* replace entries of the weight map."""
    (folder / WEIGHTS).unlink()
    state = Net(NetConfig()).state_dict()
    weight_map = {}
    for number, (key, tensor) in enumerate(state.items()):
        weight_map[key] = f"part-{number}.safetensors"
        save_file({key: tensor}, folder / weight_map[key])
    (folder / INDEX).write_text(json.dumps({"weight_map": {**weight_map, **changes}}))


# ---- what is not there


def test_a_missing_folder(tmp_path: Path):
    """A path that does not exist is said to be none, with a suggestion."""
    (tmp_path / "checkpoint").mkdir()
    error = failure(tmp_path / "chekpoint")

    assert says(
        error,
        SourceNotFoundError,
        f"there is no folder '{tmp_path / 'chekpoint'}'.\n  Did you mean 'checkpoint'?",
    )
    assert isinstance(error, FileNotFoundError)


def test_a_file_instead_of_a_folder(folder: Path):
    """The path of the weights is not the path of the checkpoint."""
    assert says(
        failure(folder / WEIGHTS),
        SourceNotFoundError,
        f"'{folder / WEIGHTS}' is a file. Give the folder that holds it.",
    )


def test_a_folder_without_a_config(folder: Path):
    """Weights of others without a config are said to lack it, and what is there is listed."""
    (folder / CONFIG).unlink()
    save_file(Net(NetConfig()).state_dict(), folder / WEIGHTS)

    assert says(
        failure(folder),
        SourceNotFoundError,
        f"{folder / CONFIG} does not exist.\n  The folder holds: model.safetensors.",
    )


def test_a_folder_without_weights(folder: Path):
    """A config without weights is said to lack them, and what is there is listed."""
    (folder / WEIGHTS).unlink()

    assert says(
        failure(folder),
        SourceNotFoundError,
        f"'{folder}' holds no weights: looked for model.safetensors and model.safetensors.index.json.\n"
        "  The folder holds: config.json.",
    )


def test_a_folder_with_only_a_pickle(folder: Path):
    """A pickle is not read by itself, and the error says how to ask for it."""
    (folder / WEIGHTS).unlink()
    torch.save(Net(NetConfig()).state_dict(), folder / "pytorch_model.bin")

    assert says(
        failure(folder),
        CheckpointError,
        f"'{folder}' holds no weights: looked for model.safetensors and model.safetensors.index.json.\n"
        "  It has pytorch_model.bin, a pickle, which is read only on demand: "
        "pass use_safetensors=False if you trust it.",
    )


# ---- configs


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"width": NaN}', '{"width": 4, "width": 4}', "{} {}", "\x00"])
def test_a_broken_config(text: str, folder: Path):
    """A config that is no JSON object is an error that names the file."""
    (folder / CONFIG).write_text(text)
    error = failure(folder)

    assert (type(error), str(folder / CONFIG) in str(error)) == (ConfigFileError, True)


def test_a_config_in_another_encoding(folder: Path):
    """A config that is not UTF-8 is an error that names the file."""
    (folder / CONFIG).write_bytes('{"width": "é"}'.encode("latin-1"))
    error = failure(folder)

    assert (type(error), str(folder / CONFIG) in str(error)) == (ConfigFileError, True)


def test_a_config_of_another_model_type(folder: Path):
    """The checkpoint of another architecture is refused before its weights are looked at."""
    (folder / CONFIG).write_text('{"model_type": "bert", "width": 4}')
    (folder / WEIGHTS).unlink()

    assert says(
        failure(folder),
        ConfigFileError,
        f"NetConfig in {folder / CONFIG}: 1 problem.\n"
        "  model_type: expected 'net', found 'bert'. Load it with AutoConfig instead.",
    )


# ---- weight files


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 200, 4095, 4096, 4100, -1])
def test_truncated_weights(size: int, folder: Path):
    """A file cut anywhere is never loaded: the error names it and says what to do."""
    path = folder / WEIGHTS
    data = path.read_bytes()
    path.write_bytes(data[:size])
    error = failure(folder)

    assert type(error) is CorruptFileError
    assert str(error).startswith(f"'{path}' is not a whole safetensors file: ")
    assert str(error).endswith("It may be truncated. Restore it from its origin, or save the model again.")


def test_weights_with_a_tail(folder: Path):
    """Bytes after the last tensor are an error."""
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"tail")

    error = failure(folder)

    assert type(error) is CorruptFileError
    assert str(error).startswith(f"'{folder / WEIGHTS}' is not a whole safetensors file: ")


F32 = {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}
GARBAGE: dict[str, Any] = {
    "no JSON": b"garbage!",
    "not UTF-8": b"\xff\xfe\xff\xfe",
    "a list": [],
    "a number as tensor": {"linear.bias": 3},
    "an unknown dtype": {"linear.bias": {**F32, "dtype": "F7"}},
    "a negative shape": {"linear.bias": {**F32, "shape": [-4]}},
    "an overflow": {"linear.bias": {**F32, "shape": [2**62, 2**62]}},
    "offsets out of the file": {"linear.bias": {**F32, "data_offsets": [0, 1 << 40]}},
    "offsets in reverse": {"linear.bias": {**F32, "data_offsets": [16, 0]}},
    "an overlap": {"linear.bias": F32, "linear.weight": F32},
    "deep nesting": b"[" * 100_000,
    "metadata that is no text": {"__metadata__": {"format": 3}},
    "a dtype that torch lacks": {"linear.bias": {"dtype": "F6_E2M3", "shape": [16], "data_offsets": [0, 12]}},
}


@pytest.mark.parametrize("header", GARBAGE.values(), ids=list(GARBAGE))
def test_a_header_that_is_garbage(header: Any, folder: Path):
    """Whatever a header holds, the error is ours and names the file."""
    length = 12 if "F6_E2M3" in str(header) else 16
    write_header(folder / WEIGHTS, header, bytes(length))
    error = failure(folder)

    assert type(error) is CorruptFileError
    assert str(error).startswith(f"'{folder / WEIGHTS}'")


def test_a_header_of_any_length(folder: Path):
    """A header that claims to be larger than the file, or than the format allows, costs nothing."""
    (folder / WEIGHTS).write_bytes(struct.pack("<Q", 2**63) + b"{}")

    assert type(failure(folder)) is CorruptFileError


TIES = ['{"a": "nowhere"}', '{"a": 3}', '{"a": ["linear.bias"]}', "[]", "{", "[" * 100_000, '"linear.bias"']


@pytest.mark.parametrize("tied", TIES, ids=range(len(TIES)))
def test_ties_that_are_garbage(tied: str, folder: Path):
    """Metadata about ties that names no tensors of the file is an error."""
    data = (folder / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    hashes = header["__metadata__"]["nameplate"].split(" ")
    header["__metadata__"]["nameplate"] = " ".join([*hashes[:2], "0" * 64])
    header["__metadata__"]["nameplate.tied"] = tied
    text = json.dumps(header, separators=(",", ":")).encode()
    (folder / WEIGHTS).write_bytes(seal(struct.pack("<Q", len(text)) + text)[0] + data[8 + length :])

    assert says(
        failure(folder),
        CorruptFileError,
        f"{folder / WEIGHTS} is not a whole safetensors file: the metadata 'nameplate.tied' names no tensors of the "
        "file.\n  It may be truncated. Restore it from its origin, or save the model again.",
    )


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
@pytest.mark.parametrize("name", [WEIGHTS, INDEX, CONFIG])
def test_a_fifo_does_not_hang(name: str, folder: Path):
    """A FIFO in the place of a file is refused at once, and not waited for."""
    (folder / (CONFIG if name == CONFIG else WEIGHTS)).unlink()
    os.mkfifo(folder / name)

    assert says(failure(folder), SourceNotFoundError, f"'{folder / name}' is not a regular file.")


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_folder_in_the_place_of_a_file(name: str, folder: Path):
    """A folder in the place of a file is no file."""
    (folder / name).unlink()
    (folder / name).mkdir()
    error = failure(folder)

    assert says(error, SourceNotFoundError, f"'{folder / name}' is not a regular file.")


@pytest.mark.skipif(os.name == "nt", reason="links are those of POSIX")
@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_link_to_nowhere(name: str, folder: Path):
    """A link whose target is gone, as in a cleaned cache, is a missing file."""
    (folder / name).unlink()
    (folder / name).symlink_to(folder / "gone")

    assert type(failure(folder)) is SourceNotFoundError


# ---- indices


@pytest.mark.parametrize("name", ["../net.safetensors", "/etc/x", "a/b", "..", "C:x", "", "a\\b", "x\0"])
def test_an_index_that_leaves_the_folder(name: str, folder: Path):
    """A file name of the index that is a path is refused, though the file may exist."""
    write_shards(folder, **{"linear.bias": name})
    save_file({"linear.bias": torch.zeros(4)}, folder.parent / "net.safetensors")
    error = failure(folder)

    assert says(
        error,
        UnsafePathError,
        f"{folder / INDEX}: {name!r} is not a plain file name, so it could leave the folder '{folder}'.",
    )


def test_an_index_with_an_absent_file(folder: Path):
    """A file that the index names and that is not there is named, and so is what is there."""
    write_shards(folder, **{"linear.bias": "part-9.safetensors"})

    assert says(
        failure(folder),
        ShardError,
        f"{folder / INDEX} names the file 'part-9.safetensors', which is not there. "
        f"{folder / 'part-9.safetensors'} does not exist.\n"
        "  The folder holds: config.json, model.safetensors.index.json, part-0.safetensors, part-1.safetensors.",
    )


def test_an_index_with_an_absent_tensor(folder: Path):
    """A tensor that the index puts into a file that does not have it is named, and so is the file."""
    write_shards(folder, **{"linear.bias": "part-0.safetensors"})

    assert says(
        failure(folder),
        ShardError,
        f"{folder / INDEX} says that 'part-0.safetensors' holds 'linear.bias', but it does not.",
    )


def test_an_index_with_a_torn_file(folder: Path):
    """A shard that is cut is named."""
    write_shards(folder)
    path = folder / "part-1.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    error = failure(folder)

    assert (type(error), str(error).startswith(f"'{path}' is not a whole safetensors file: ")) == (
        CorruptFileError,
        True,
    )


MAPS: dict[str, tuple[Any, str]] = {
    "absent": ({}, "None"),
    "null": ({"weight_map": None}, "None"),
    "a list": ({"weight_map": ["a"]}, "['a']"),
    "a text": ({"weight_map": "a"}, "'a'"),
    "a file that is a number": ({"weight_map": {"linear.bias": 3}}, "{'linear.bias': 3}"),
    "a file that is a list": ({"weight_map": {"linear.bias": ["x"]}}, "{'linear.bias': ['x']}"),
}


@pytest.mark.parametrize(("index", "found"), MAPS.values(), ids=list(MAPS))
def test_a_weight_map_of_a_wrong_type(index: Any, found: str, folder: Path):
    """A weight map that is no object of texts is an error that shows it."""
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text(json.dumps(index))

    assert says(
        failure(folder),
        ShardError,
        f"{folder / INDEX}: 'weight_map' must be an object from tensor names to file names, found {found}.",
    )


@pytest.mark.parametrize("text", ["{", "[]", "3", '{"weight_map": {"a": "b", "a": "c"}}', "\xff", ""])
def test_a_broken_index(text: str, folder: Path):
    """An index that is no JSON object is an error that names the file."""
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_bytes(text.encode("latin-1"))
    error = failure(folder)

    assert (type(error), str(folder / INDEX) in str(error)) == (ShardError, True)


def test_an_empty_index_is_a_model_without_tensors(folder: Path):
    """A weight map without entries holds nothing, so every key is missing."""
    (folder / WEIGHTS).unlink()
    (folder / INDEX).write_text('{"weight_map": {}}')

    assert "\n  missing from the file: linear.bias, linear.weight\n" in str(failure(folder))


# ---- two checkpoints in one folder


def write_index_beside(folder: Path) -> None:
    """Add shards and their index beside the single file."""
    data = (folder / WEIGHTS).read_bytes()
    write_shards(folder)
    (folder / WEIGHTS).write_bytes(data)


def test_two_checkpoints_of_others_are_ambiguous(folder: Path):
    """Where a single file without a record and an index lie side by side, neither is guessed to be the one."""
    save_file(Net(NetConfig()).state_dict(), folder / WEIGHTS)
    write_index_beside(folder)

    assert says(
        failure(folder),
        AmbiguousCheckpointError,
        f"'{folder}' holds both model.safetensors and model.safetensors.index.json, and no record says which one "
        "counts.\n  Remove the one that is left over from an earlier save.",
    )


@pytest.mark.parametrize("sizes", [(40, 1000), (1000, 40)], ids=["single last", "sharded last"])
def test_a_record_decides_between_two_checkpoints(sizes: tuple[int, int], folder: Path):
    """Of a single file and an index of ours the one that says that it took the place of the other counts."""
    first, last = Net(NetConfig()), Net(NetConfig())
    first.save_pretrained(folder, max_shard_size=sizes[0])
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    last.save_pretrained(folder, max_shard_size=sizes[1])
    for name, data in left.items():
        (folder / name).write_bytes((folder / name).read_bytes() if (folder / name).exists() else data)
    loaded = Net.from_pretrained(folder).state_dict()

    assert {WEIGHTS, INDEX} < {path.name for path in folder.iterdir()}
    assert all(torch.equal(loaded[key], tensor) for key, tensor in last.state_dict().items())


# ---- nothing else escapes


def flip(data: bytes, at: int) -> bytes:
    """Return *data* with one byte turned around."""
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def cut(data: bytes, at: int) -> bytes:
    """Return the first bytes of *data*."""
    return data[:at]


def doubled(data: bytes, at: int) -> bytes:
    """Return *data* with one byte repeated."""
    return data[:at] + data[at : at + 1] + data[at:]


@pytest.mark.parametrize("damage", [flip, cut, doubled])
@pytest.mark.parametrize("name", [WEIGHTS, CONFIG, INDEX])
def test_no_builtin_error_escapes(damage: Callable[[bytes, int], bytes], name: str, folder: Path):
    """Damage to any byte of a header, a config or an index is one of our errors, or harmless."""
    if name == INDEX:
        write_shards(folder)
    path = folder / name
    data = path.read_bytes()
    escaped = []
    for at in range(0, min(len(data.rstrip()), 900), 3):
        path.write_bytes(damage(data, at))
        try:
            Net.from_pretrained(folder)
        except NameplateError:
            continue
        except Exception as error:  # noqa: BLE001 - this is what must not happen
            escaped.append((at, repr(error)))

    assert escaped == []
