"""Bad weights of every kind, each refused with one error of ours that names the file, at once and in little memory.

A case takes a folder with a good checkpoint and spoils it. `hostile_loads.py` loads each in a process of its own, into
a new model and into one that is there.
"""

import json
import os
import random
import runpy
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from nameplate_config.record import seal

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each checkpoint is loaded in a fork")

PROGRAM = Path(__file__).with_name("hostile_loads.py")
good = runpy.run_path(str(PROGRAM))["good"]
"""Builds the model whose checkpoint is spoilt."""

MOST_SECONDS = 1.0
"""The time of a processor that a checkpoint may take."""

MOST_BYTES = 64 << 20
"""The memory that a checkpoint may take above that of the process."""

LONGEST_MESSAGE = 4000
WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"
PLAIN = {"format": "pt"}

Spoil = Callable[[Path], object]
Load = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """Start the process that loads the checkpoints of this module."""
    command = [sys.executable, str(PROGRAM)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a good checkpoint in one file."""
    good().save_pretrained(tmp_path / "checkpoint")
    return tmp_path / "checkpoint"


@pytest.fixture
def load(server: subprocess.Popen[str]) -> Load:
    """Return what asks the server what comes of a folder."""

    def answer(folder: Path, **options: Any) -> dict[str, Any]:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(json.dumps({"path": str(folder), "options": options}) + "\n")
        server.stdin.flush()
        return json.loads(server.stdout.readline())

    return answer


# ---- how checkpoints are spoilt


def table_of(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the header of a file as that of a foreign one, without a record, and the bytes after it."""
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    table = json.loads(content[8 : 8 + length])
    table["__metadata__"] = dict(PLAIN)
    return table, content[8 + length :]


def write(path: Path, table: Any, data: bytes) -> None:
    """Write a file of whatever is called a table, and bytes."""
    text = table if isinstance(table, bytes) else json.dumps(table).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


def retable(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Return what rewrites the header; the change may return another table, or bytes."""

    def spoil(folder: Path) -> None:
        table, data = table_of(folder / WEIGHTS)
        changed = change(table)
        write(folder / WEIGHTS, table if changed is None else changed, data)

    return spoil


def resealed(key: str, text: str) -> Spoil:
    """Return what puts a text into the metadata of a file of ours, with a checksum that is right again."""

    def spoil(folder: Path) -> None:
        content = (folder / WEIGHTS).read_bytes()
        (length,) = struct.unpack_from("<Q", content)
        table = json.loads(content[8 : 8 + length])
        fields = table["__metadata__"]["nameplate"].split(" ")
        table["__metadata__"]["nameplate"] = " ".join([*fields[:2], "0" * 64])
        table["__metadata__"][key] = text
        header = json.dumps(table, separators=(",", ":")).encode()
        sealed, _ = seal(struct.pack("<Q", len(header)) + header)
        (folder / WEIGHTS).write_bytes(sealed + content[8 + length :])

    return spoil


def entry(**fields: Any) -> Spoil:
    """Return what changes fields of one tensor's entry in the header."""
    return retable(lambda table: table["one.weight"].update(fields))


def rebytes(change: Callable[[bytes], bytes], name: str = WEIGHTS) -> Spoil:
    """Return what changes the bytes of a file."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def foreign(folder: Path, **weight_map: str) -> Path:
    """Turn the checkpoint into a sharded one of somebody else, of one shard, and return its index."""
    table, data = table_of(folder / WEIGHTS)
    (folder / WEIGHTS).unlink()
    write(folder / "a.safetensors", table, data)
    names = dict.fromkeys((name for name in table if name != "__metadata__"), "a.safetensors")
    index = folder / INDEX
    index.write_text(json.dumps({"metadata": {"total_size": len(data)}, "weight_map": names | weight_map}))
    return index


def mapped(value: Any) -> Spoil:
    """Return what lets an index say that a tensor is in another file."""
    return lambda folder: foreign(folder, **{"one.weight": value})


def reindex(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Return what rewrites an index of somebody else."""

    def spoil(folder: Path) -> None:
        path = foreign(folder)
        index = json.loads(path.read_text())
        changed = change(index)
        text = index if changed is None else changed
        path.write_bytes(text if isinstance(text, bytes) else json.dumps(text).encode())

    return spoil


def instead(make: Callable[[Path], object], name: str = WEIGHTS) -> Spoil:
    """Return what puts something else in the place of a file."""

    def spoil(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return spoil


def sparse(path: Path, size: int) -> None:
    """Make a file of so many bytes, none of them written."""
    with path.open("wb") as file:
        file.truncate(size)


def bomb(folder: Path) -> None:
    """Let a file claim a tensor of a terabyte, and be as large."""
    size = 1 << 40
    table = json.dumps({"one.weight": {"dtype": "F32", "shape": [size >> 2], "data_offsets": [0, size]}}).encode()
    sparse(folder / WEIGHTS, 8 + len(table) + size)
    with (folder / WEIGHTS).open("r+b") as file:
        file.write(struct.pack("<Q", len(table)) + table)


def ours_sharded(change: Callable[[Path], object]) -> Spoil:
    """Return what saves the checkpoint anew in shards, and spoils that."""

    def spoil(folder: Path) -> None:
        good().save_pretrained(folder, max_shard_size=64)
        change(folder)

    return spoil


def first_shard(folder: Path) -> Path:
    """Return one of the shards."""
    return min(folder.glob("model-*.safetensors"))


def swap_shards(folder: Path) -> None:
    """Exchange the contents of two shards."""
    one, other, *_ = sorted(folder.glob("model-*.safetensors"))
    one_bytes, other_bytes = one.read_bytes(), other.read_bytes()
    one.write_bytes(other_bytes)
    other.write_bytes(one_bytes)


def flip(position: int) -> Callable[[bytes], bytes]:
    """Return what flips one bit of a byte; positions below zero count from the end."""

    def change(content: bytes) -> bytes:
        changed = bytearray(content)
        changed[position] ^= 1
        return bytes(changed)

    return change


MANY = b"{" + b",".join(b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}' % n for n in range(60_000)) + b"}"
VIEWS = json.dumps(
    [{"bytes": 1 << 40, "members": {name: {"offset": 1 << 40, "stride": [1, 1]} for name in ("one.weight", "steps")}}]
)
NAMES = {"one.weight", "one.bias", "two.weight", "two.bias", "steps"}

CASES: dict[str, tuple[Spoil, str, str]] = {
    # the length
    "empty file": (rebytes(lambda _: b""), "CorruptFileError", WEIGHTS),
    "seven bytes": (rebytes(lambda data: data[:7]), "CorruptFileError", "not even the 8"),
    "only a length": (rebytes(lambda data: data[:8]), "CorruptFileError", "claims"),
    "length of nothing": (rebytes(lambda data: bytes(8) + data[8:]), "CorruptFileError", WEIGHTS),
    "length beyond the file": (rebytes(lambda d: struct.pack("<Q", 1 << 40) + d[8:]), "CorruptFileError", "claims"),
    "largest length": (rebytes(lambda data: b"\xff" * 8 + data[8:]), "CorruptFileError", "claims"),
    "length one short": (rebytes(lambda d: struct.pack("<Q", struct.unpack_from("<Q", d)[0] - 1) + d[8:]),
                         "CorruptFileError", WEIGHTS),
    # the table
    "no JSON": (retable(lambda _: b"garbage"), "CorruptFileError", "JSON"),
    "a list": (retable(lambda _: []), "CorruptFileError", "JSON object"),
    "null": (retable(lambda _: b"null"), "CorruptFileError", "JSON object"),
    "a number": (retable(lambda _: b"1"), "CorruptFileError", "JSON object"),
    "no UTF-8": (retable(lambda _: b'{"\xff": 1}'), "CorruptFileError", "UTF-8"),
    "byte order mark": (retable(lambda t: b"\xef\xbb\xbf" + json.dumps(t).encode()), "CorruptFileError", "byte order"),
    "duplicate tensor": (retable(lambda t: json.dumps(t).replace("two.weight", "one.weight").encode()),
                         "CorruptFileError", "twice"),
    "nested a thousand deep": (retable(lambda _: b'{"a":' * 1000 + b"1" + b"}" * 1000), "CorruptFileError", "deep"),
    "nested a million deep": (retable(lambda _: b"[" * 1_000_000), "CorruptFileError", WEIGHTS),
    "60,000 tensors": (retable(lambda _: MANY), "CorruptFileError", "50,002"),
    "a header of 40 MB": (retable(lambda _: b" " * (40 << 20)), "CorruptFileError", "at most"),
    "three million lists": (retable(lambda _: b"[" + b"[]," * 3_000_000 + b"[]]"), "CorruptFileError", WEIGHTS),
    "long integer": (retable(lambda _: b'{"a": ' + b"9" * 100_000 + b"}"), "CorruptFileError", WEIGHTS),
    # entries
    "no dtype": (retable(lambda t: t["one.weight"].pop("dtype") and None), "CorruptFileError", "'one.weight'"),
    "no shape": (retable(lambda t: t["one.weight"].pop("shape") and None), "CorruptFileError", "'one.weight'"),
    "no offsets": (retable(lambda t: t["one.weight"].pop("data_offsets") and None), "CorruptFileError", "'one.weight'"),
    "a fourth field": (entry(more=1), "CorruptFileError", "'one.weight'"),
    "entry is a list": (retable(lambda t: t.update({"one.weight": [1]})), "CorruptFileError", "'one.weight'"),
    "entry is null": (retable(lambda t: t.update({"one.weight": None})), "CorruptFileError", "'one.weight'"),
    "unknown dtype": (entry(dtype="F128"), "CorruptFileError", "'F128'"),
    "dtype is a number": (entry(dtype=3), "CorruptFileError", "'one.weight'"),
    "dtype is a list": (entry(dtype=["F32"]), "CorruptFileError", "'one.weight'"),
    "dtype in small letters": (entry(dtype="f32"), "CorruptFileError", "'f32'"),
    "same width, other kind": (entry(dtype="I32"), "MismatchError", "one.weight"),
    "narrower dtype": (entry(dtype="F16"), "CorruptFileError", "'one.weight'"),
    "wider dtype": (entry(dtype="F64"), "CorruptFileError", "'one.weight'"),
    "shape is a text": (entry(shape="84"), "CorruptFileError", "'one.weight'"),
    "shape of texts": (entry(shape=["8", "4"]), "CorruptFileError", "'one.weight'"),
    "negative axes": (entry(shape=[-8, -4]), "CorruptFileError", "'one.weight'"),
    "axis of true": (entry(shape=[8, 4, True]), "CorruptFileError", "'one.weight'"),
    "fractional axis": (entry(shape=[8.0, 4]), "CorruptFileError", "'one.weight'"),
    "overflowing shape": (entry(shape=[1 << 62, 8]), "CorruptFileError", "'one.weight'"),
    "many axes": (entry(shape=[1] * 100_000), "CorruptFileError", "'one.weight'"),
    "transposed": (entry(shape=[4, 8]), "MismatchError", "one.weight"),
    "flattened": (entry(shape=[32]), "MismatchError", "one.weight"),
    "offsets reversed": (entry(data_offsets=[128, 0]), "CorruptFileError", "'one.weight'"),
    "offsets negative": (entry(data_offsets=[-128, 0]), "CorruptFileError", "'one.weight'"),
    "offsets are texts": (entry(data_offsets=["0", "128"]), "CorruptFileError", "'one.weight'"),
    "three offsets": (entry(data_offsets=[0, 64, 128]), "CorruptFileError", "'one.weight'"),
    "offsets beyond the end": (entry(data_offsets=[1 << 40, (1 << 40) + 128]), "CorruptFileError", WEIGHTS),
    "overlapping tensors": (retable(lambda t: t["two.weight"].update(data_offsets=t["one.weight"]["data_offsets"])),
                            "CorruptFileError", "overlaps"),
    "hole": (retable(lambda t: t.pop("one.weight") and None), "CorruptFileError", "hole"),
    "metadata is a list": (retable(lambda t: t.update(__metadata__=[])), "CorruptFileError", "__metadata__"),
    "metadata of numbers": (retable(lambda t: t.update(__metadata__={"a": 1})), "CorruptFileError", "__metadata__"),
    "metadata of objects": (retable(lambda t: t.update(__metadata__={"a": {}})), "CorruptFileError", "__metadata__"),
    "a record without its checksum": (retable(lambda t: t["__metadata__"].update({"nameplate.tied": "{}"})),
                                      "CorruptFileError", "checksum"),
    "ties to nothing": (resealed("nameplate.tied", '{"x": "nowhere"}'), "CorruptFileError", "nameplate.tied"),
    "ties are a list": (resealed("nameplate.tied", "[1]"), "CorruptFileError", "nameplate.tied"),
    "views are a number": (resealed("nameplate.views", "3"), "CorruptFileError", "overlapping"),
    "views of a terabyte": (resealed("nameplate.views", VIEWS), "CorruptFileError", "overlapping"),
    "digests are a list": (resealed("nameplate.sha256", "[]"), "CorruptFileError", "nameplate.sha256"),
    "version is no number": (resealed("nameplate.version", "x"), "CorruptFileError", "nameplate.version"),
    "version of the future": (resealed("nameplate.version", "7"), "CheckpointError", "version 7"),
    # keys
    "tensor missing": (lambda f: drop(f, "steps"), "MismatchError", "steps"),
    "tensor renamed": (retable(lambda t: t.update({"eno": t.pop("steps")})), "MismatchError", "eno"),
    "all renamed": (retable(lambda t: {f"x.{n}" if n in NAMES else n: t[n] for n in t}), "MismatchError", "'x.'"),
    "no tensors": (lambda f: write(f / WEIGHTS, {}, b""), "MismatchError", "missing"),
    # data
    "truncated by one": (rebytes(lambda data: data[:-1]), "CorruptFileError", "missing"),
    "a byte too many": (rebytes(lambda data: data + b"\0"), "CorruptFileError", "left over"),
    "half": (rebytes(lambda data: data[: len(data) // 2]), "CorruptFileError", WEIGHTS),
    "a bit of the record": (rebytes(flip(60)), "CorruptFileError", "checksum"),
    "a terabyte": (bomb, "MismatchError", "one.weight"),
    # what is no file
    "a folder": (instead(Path.mkdir), "SourceNotFoundError", "not a regular file"),
    "a pipe": (instead(os.mkfifo), "SourceNotFoundError", "not a regular file"),
    "endless zeros": (instead(lambda p: p.symlink_to("/dev/zero")), "SourceNotFoundError", "not a regular file"),
    "a link to nowhere": (instead(lambda p: p.symlink_to("nowhere")), "SourceNotFoundError", "nowhere"),
    "a link to itself": (instead(lambda p: p.symlink_to(p.name)), "SourceNotFoundError", WEIGHTS),
    "nothing": (instead(lambda _: None), "SourceNotFoundError", WEIGHTS),
    "a terabyte of nothing": (instead(lambda p: sparse(p, 1 << 40)), "CorruptFileError", WEIGHTS),
    # an index
    "leaves the folder": (mapped("../a.safetensors"), "UnsafePathError", "../a.safetensors"),
    "absolute path": (mapped("/etc/passwd"), "UnsafePathError", "/etc/passwd"),
    "a path of Windows": (mapped("..\\a.safetensors"), "UnsafePathError", "a.safetensors"),
    "a drive": (mapped("C:a.safetensors"), "UnsafePathError", "C:a"),
    "a NUL": (mapped("a\0.safetensors"), "UnsafePathError", INDEX),
    "an empty name": (mapped(""), "UnsafePathError", INDEX),
    "the parent": (mapped(".."), "UnsafePathError", INDEX),
    "absent shard": (mapped("b.safetensors"), "ShardError", "b.safetensors"),
    "config as shard": (mapped("config.json"), "CorruptFileError", "config.json"),
    "index as shard": (mapped(INDEX), "CorruptFileError", INDEX),
    "shard is a number": (mapped(3), "ShardError", "weight_map"),
    "shard is a pipe": (lambda f: os.mkfifo(f / "p") or mapped("p")(f), "ShardError", "not a regular file"),
    "unknown tensor": (reindex(lambda i: i["weight_map"].update(more="a.safetensors")), "ShardError", "'more'"),
    "unlisted tensor": (reindex(lambda i: i["weight_map"].pop("steps") and None), "ShardError", "'steps'"),
    "weight_map is a list": (reindex(lambda i: i.update(weight_map=[])), "ShardError", "weight_map"),
    "no weight_map": (reindex(lambda i: i.pop("weight_map") and None), "ShardError", "weight_map"),
    "index is a list": (reindex(lambda _: []), "ShardError", "JSON object"),
    "index is no JSON": (reindex(lambda _: b"{"), "ShardError", "JSON"),
    "index of 30 MB": (reindex(lambda _: b" " * (30 << 20)), "ShardError", "at most"),
    "a million names": (reindex(lambda _: b'{"weight_map":{%s}}' % b",".join(b'"%d":"a"' % n for n in range(10**6))),
                        "ShardError", INDEX),
    "20,000 shards": (reindex(lambda i: i["weight_map"].update({str(n): f"{n}.safetensors" for n in range(20_000)})),
                       "ShardError", "files"),
    "index with a key twice": (reindex(lambda i: json.dumps(i).replace("two.bias", "one.bias").encode()),
                               "ShardError", "twice"),
    "in two shards": (lambda f: (foreign(f), (f / "b.safetensors").write_bytes((f / "a.safetensors").read_bytes()),
                                 reindex_again(f)), "ShardError", "disagrees"),
    "both kinds": (lambda f: (keep := (f / WEIGHTS).read_bytes(), foreign(f),
                              (f / WEIGHTS).write_bytes(plain(keep))), "AmbiguousCheckpointError", "both"),
    # shards of ours
    "shard of ours absent": (ours_sharded(lambda f: first_shard(f).unlink()), "ShardError", "not there"),
    "shard of ours torn": (ours_sharded(lambda f: os.truncate(first_shard(f), 100)), "CorruptFileError", "model-"),
    "shards exchanged": (ours_sharded(swap_shards), "ShardError", "not the file"),
    "index of ours edited": (ours_sharded(rebytes(lambda d: d.replace(b'"one.bias": "', b'"one_bias": "'), INDEX)),
                             "CorruptFileError", "checksum"),
}  # fmt: skip


def drop(folder: Path, name: str) -> None:
    """Rewrite the file without a tensor."""
    from safetensors.torch import load_file, save_file  # noqa: PLC0415 - an independent writer

    tensors = load_file(folder / WEIGHTS)
    tensors.pop(name)
    save_file(tensors, folder / WEIGHTS)


def reindex_again(folder: Path) -> None:
    """Let the index name a second shard, which holds the same tensors."""
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["steps"] = "b.safetensors"
    (folder / INDEX).write_text(json.dumps(index))


def plain(content: bytes) -> bytes:
    """Return a file of ours as one without a record."""
    (length,) = struct.unpack_from("<Q", content)
    table = json.loads(content[8 : 8 + length])
    table["__metadata__"] = dict(PLAIN)
    text = json.dumps(table).encode()
    return struct.pack("<Q", len(text)) + text + content[8 + length :]


# ---- what comes of them


def check(outcome: dict[str, Any], error: str, says: str) -> None:
    """Make sure that a checkpoint was refused as it should be."""
    assert outcome["error"] == error, outcome
    assert says in outcome["message"]
    assert len(outcome["message"]) <= LONGEST_MESSAGE
    assert outcome["untouched"]
    assert outcome["seconds"] <= MOST_SECONDS, outcome
    assert outcome["bytes"] <= MOST_BYTES, outcome


@pytest.mark.parametrize("case", CASES)
def test_a_bad_checkpoint_is_refused(case: str, folder: Path, load: Load):
    """It raises one error that names the file or the key, and a model that is there stays as it was."""
    spoil, error, says = CASES[case]
    spoil(folder)

    outcome = load(folder)
    check(outcome, error, says)
    assert str(folder) in outcome["message"]


def test_a_good_checkpoint_is_loaded(folder: Path, load: Load):
    """What is not spoilt comes back, so it is not the server that refuses."""
    for options in ({}, {"verify": "full"}, {"memory": "mmap"}):
        outcome = load(folder, **options)
        assert (outcome["error"], outcome["same"], outcome["untouched"]) == (None, True, True)


@pytest.mark.parametrize("round_", range(4))
def test_a_random_change_is_found_or_harmless(round_: int, folder: Path, load: Load):
    """Whatever byte of the header of ours changes, the load fails with our error; with checksums, any byte at all."""
    chance = random.Random(round_)  # noqa: S311 - only positions are drawn
    content = (folder / WEIGHTS).read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    for _ in range(12):
        position = chance.randrange(len(content))
        (folder / WEIGHTS).write_bytes(flip(position)(content))
        full = load(folder, verify="full")
        check(full, "CorruptFileError", WEIGHTS)
        found = load(folder)
        if position < 8 + length:
            check(found, "CorruptFileError", WEIGHTS)


def test_a_foreign_header_is_never_misread(folder: Path, load: Load):
    """A foreign header of which bytes were changed at random raises one of our errors, or means the same tensors."""
    chance = random.Random(1)  # noqa: S311 - only positions are drawn
    table, data = table_of(folder / WEIGHTS)
    text = json.dumps(table).encode()
    errors = set()
    for _ in range(100):
        changed = bytearray(text)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(32, 127)
        write(folder / WEIGHTS, bytes(changed), data)
        outcome = load(folder)
        errors.add(outcome["error"])
        assert outcome["error"] is not None or outcome["same"]
    assert errors <= {None, "CorruptFileError", "MismatchError", "CheckpointError"}
    assert len(errors) > 1


def test_a_full_check_names_file_and_tensor(folder: Path, load: Load):
    """A flipped bit in the data is found, and said where."""
    table, _ = table_of(folder / WEIGHTS)
    content = (folder / WEIGHTS).read_bytes()
    start = len(content) - max(each["data_offsets"][1] for name, each in table.items() if name != "__metadata__")
    for name in NAMES:
        position = start + table[name]["data_offsets"][0]
        (folder / WEIGHTS).write_bytes(flip(position)(content))
        outcome = load(folder, verify="full")
        check(outcome, "CorruptFileError", repr(name))
        assert repr(str(folder / WEIGHTS)) in outcome["message"]


def test_a_foreign_file_has_nothing_to_check_against(folder: Path, load: Load):
    """A file without checksums cannot be verified, and is not said to have been."""
    (folder / WEIGHTS).write_bytes(plain((folder / WEIGHTS).read_bytes()))

    check(load(folder, verify="full"), "CheckpointError", "holds no checksum")


def test_pickles_are_not_read_unasked(folder: Path, load: Load):
    """A folder with nothing but a pickle says how to ask for it."""
    (folder / WEIGHTS).unlink()
    torch.save(good().state_dict(), folder / "pytorch_model.bin")

    check(load(folder), "CheckpointError", "use_safetensors=False")
    assert load(folder, use_safetensors=False)["same"]
