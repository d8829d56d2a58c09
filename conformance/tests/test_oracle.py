"""The independent reader and writer of checkpoints agree with safetensors, and with nothing of ours."""

import json
import struct
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from nameplate_conformance.instruments.oracle import (
    DTYPES,
    INDEX,
    SINGLE,
    StoredTensor,
    keep_only,
    read_checkpoint,
    read_file,
    read_index,
    read_safetensors,
    write_safetensors,
    write_shards,
)
from nameplate_conformance.instruments.poison import any_bits

ONE = StoredTensor.of(torch.ones(2))
TWO = StoredTensor.of(torch.arange(6).reshape(2, 3))


@pytest.mark.parametrize("name", sorted(set(DTYPES) - {"F8_E8M0"}))
def test_what_the_oracle_writes_safetensors_reads(tmp_path: Path, name: str):
    """A tensor of each dtype that the oracle writes is, for safetensors, that tensor."""
    tensor = any_bits(torch.empty(2, 3, dtype=DTYPES[name]), seed=1)
    write_safetensors(tmp_path / "x.safetensors", {"x": StoredTensor.of(tensor)})

    read = load_file(tmp_path / "x.safetensors")["x"]

    assert read.dtype == tensor.dtype
    assert torch.equal(read.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize("name", sorted(set(DTYPES) - {"F8_E8M0"}))
def test_what_safetensors_writes_the_oracle_reads(tmp_path: Path, name: str):
    """A tensor of each dtype that safetensors writes is, for the oracle, that tensor."""
    tensor = any_bits(torch.empty(2, 3, dtype=DTYPES[name]), seed=1)
    save_file({"x": tensor}, tmp_path / "x.safetensors", metadata={"format": "pt"})

    read = read_file(tmp_path / "x.safetensors")

    assert read.tensors == {"x": StoredTensor.of(tensor)}
    assert read.metadata == {"format": "pt"}
    assert read.size == tensor.numel() * tensor.element_size()


SHAPES = st.lists(st.integers(0, 3), max_size=3)
STORED = SHAPES.map(lambda shape: StoredTensor.of(torch.arange(torch.Size(shape).numel()).reshape(shape)))


@given(st.dictionaries(st.text("ab.é", min_size=1), STORED))
def test_reading_undoes_writing(tmp_path_factory: pytest.TempPathFactory, tensors: dict[str, StoredTensor]):
    """What is written is read, in the same order, scalars and empty tensors included."""
    path = tmp_path_factory.mktemp("oracle") / "x.safetensors"
    write_safetensors(path, tensors)

    assert read_safetensors(path) == tensors


def test_strides_are_not_stored():
    """A transposed tensor lies in a file row after row, and a slice of one element has no stride."""
    assert StoredTensor.of(torch.arange(6).reshape(2, 3).t().contiguous().t()) == TWO
    assert StoredTensor.of(torch.ones(1, 2)[..., 1]).data == struct.pack("<f", 1)


def test_a_checkpoint_is_read_from_shards(tmp_path: Path):
    """Shards are found through their index, in whichever order it names them."""
    write_shards(tmp_path, [{"b": ONE}, {"a": TWO}], order=["a", "b"])

    assert read_checkpoint(tmp_path) == {"a": TWO, "b": ONE}
    assert list(read_index(tmp_path)["weight_map"]) == ["a", "b"]
    assert read_index(tmp_path)["metadata"] == {"total_size": 56}


def test_a_checkpoint_is_read_from_one_file(tmp_path: Path):
    """Without an index the one file is the checkpoint."""
    write_safetensors(tmp_path / SINGLE, {"a": ONE})

    assert read_checkpoint(tmp_path) == {"a": ONE}


def test_only_one_file_is_kept(tmp_path: Path):
    """Whatever else lies in a folder is removed."""
    write_shards(tmp_path, [{"a": ONE}], order=["a"])
    (tmp_path / "config.json").write_text("{}")

    keep_only(tmp_path, "config.json")

    assert [entry.name for entry in tmp_path.iterdir()] == ["config.json"]
    assert not (tmp_path / INDEX).exists()


def _write_header(path: Path, header: dict[str, object], data: bytes) -> None:
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)


@pytest.mark.parametrize(
    ("offsets", "data", "said"),
    [
        ([0, 4], b"1234", "a: 4 bytes for"),
        ([4, 12], b"123456789012", "a: starts at 4, 0 is next"),
        ([0, 8], b"1234567890", "10 bytes of data, 8 of them named"),
    ],
)
def test_a_wrong_header_is_noticed(tmp_path: Path, offsets: list[int], data: bytes, said: str):
    """Sizes that do not fit the shape, gaps and bytes of no tensor are refused."""
    _write_header(tmp_path / "x", {"a": {"dtype": "F32", "shape": [2], "data_offsets": offsets}}, data)

    with pytest.raises(AssertionError, match=said):
        read_file(tmp_path / "x")
