"""Files are compared with their checksums: headers by every load, and every byte if that is asked for."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from nameplate_config import NameplateError, PreTrainedConfig, UnknownOptionError
from nameplate_model import CheckpointError, CorruptFileError, PreTrainedModel, load_weights

WEIGHTS, INDEX = "model.safetensors", "model.safetensors.index.json"


class NetConfig(PreTrainedConfig):
    """The width of a network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Tensors of several dtypes, one of them empty, and two with one name."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(config.width, config.width), nn.Linear(config.width, config.width)
        self.two.weight = self.one.weight
        self.narrow = nn.Parameter(torch.rand(5, dtype=torch.bfloat16))
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("empty", torch.empty(0, 3))


def save_single(folder: Path) -> Net:
    """Save a model in one file."""
    model = Net(NetConfig())
    model.save_pretrained(folder)
    return model


def save_shards(folder: Path) -> Net:
    """Save a model in a file for each tensor."""
    model = Net(NetConfig())
    model.save_pretrained(folder, max_shard_size=1)
    return model


SAVES = [save_single, save_shards]


def data_start(path: Path) -> int:
    """Return where in a safetensors file the tensors begin."""
    with path.open("rb") as file:
        return 8 + struct.unpack("<Q", file.read(8))[0]


def flip(path: Path, at: int, mask: int) -> None:
    """Change bits of one byte of a file."""
    data = bytearray(path.read_bytes())
    data[at] ^= mask
    path.write_bytes(data)


def owner_of(path: Path, at: int) -> str:
    """Return the name of the tensor that a byte of a file belongs to, as another library sees it."""
    start = data_start(path)
    with safe_open(path, "pt") as file:
        header = {name: file.get_slice(name) for name in file.offset_keys()}
        for name in file.offset_keys():
            size = file.get_tensor(name).nbytes
            if start <= at < start + size:
                return name
            start += size
    raise AssertionError(header)


def refusal(folder: Path, **options: Any) -> NameplateError:
    """Return the error of a load that must fail."""
    with pytest.raises(NameplateError) as caught:
        Net.from_pretrained(folder, **options)
    return caught.value


# ---- every byte


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a checkpoint in one file, and one below it in many."""
    folder = tmp_path_factory.mktemp("net")
    save_single(folder)
    save_shards(folder / "shards")
    return folder


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_of_a_tensor_is_found(folder: Path, data: st.DataObject):
    """With `verify="full"` a changed byte of a tensor is an error that names the file and the tensor."""
    path = data.draw(st.sampled_from([folder / WEIGHTS, *sorted((folder / "shards").glob("*.safetensors"))]))
    start, size = data_start(path), path.stat().st_size
    if start == size:  # a shard of nothing but an empty tensor
        return
    at, mask = data.draw(st.integers(start, size - 1)), data.draw(st.integers(1, 255))
    name = owner_of(path, at)
    flip(path, at, mask)
    error = refusal(path.parent, verify="full")
    flip(path, at, mask)

    assert type(error) is CorruptFileError
    assert str(error) == (
        f"'{path}': the bytes of '{name}' are not those that were saved, as their checksum tells. "
        "Restore the file from its origin, or save the model again."
    )


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_of_a_header_is_found(folder: Path, data: st.DataObject):
    """Without being asked, a load refuses a file of ours with a header in which one byte has changed."""
    path = data.draw(st.sampled_from([folder / WEIGHTS, *sorted((folder / "shards").glob("*.safetensors"))]))
    at, mask = data.draw(st.integers(0, data_start(path) - 1)), data.draw(st.integers(1, 255))
    flip(path, at, mask)
    try:
        error = refusal(path.parent)
    finally:
        flip(path, at, mask)

    assert isinstance(error, NameplateError)
    assert str(path) in str(error) or path.name in str(error)


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_any_flipped_bit_of_an_index_is_found(folder: Path, data: st.DataObject):
    """Without being asked, a load refuses an index of ours in which one byte has changed."""
    path = folder / "shards" / INDEX
    at, mask = data.draw(st.integers(0, path.stat().st_size - 1)), data.draw(st.integers(1, 255))
    flip(path, at, mask)
    try:
        error = refusal(path.parent)
    finally:
        flip(path, at, mask)

    assert isinstance(error, NameplateError)


@pytest.mark.parametrize("save", SAVES)
def test_what_was_saved_is_what_is_verified(save: Callable[[Path], Net], tmp_path: Path):
    """A file that nothing happened to passes, and the model is the saved one."""
    model = save(tmp_path)
    loaded = Net.from_pretrained(tmp_path, verify="full")

    assert loaded.load_report.exact
    assert all(torch.equal(tensor, loaded.state_dict()[name]) for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("save", SAVES)
@pytest.mark.parametrize("memory", ["mmap", "copy"])
def test_a_flip_is_found_before_anything_is_loaded(save: Callable[[Path], Net], memory: str, tmp_path: Path):
    """A module that is to be filled stays as it was, whatever the way into memory."""
    save(tmp_path)
    path = max(tmp_path.glob("*.safetensors"))
    flip(path, path.stat().st_size - 1, 1)
    module = Net(NetConfig())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    with pytest.raises(CorruptFileError, match="are not those that were saved"):
        load_weights(module, tmp_path, verify="full", memory=memory)

    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())


def test_by_default_bytes_of_tensors_are_not_compared(tmp_path: Path):
    """A load in milliseconds reads no tensor, so it cannot tell: the flipped bit is in the model."""
    model = save_single(tmp_path)
    flip(tmp_path / WEIGHTS, (tmp_path / WEIGHTS).stat().st_size - 1, 1)
    loaded = Net.from_pretrained(tmp_path)

    assert [
        name
        for name, tensor in loaded.state_dict().items()
        if not torch.equal(tensor.view(-1).view(torch.uint8), model.state_dict()[name].view(-1).view(torch.uint8))
    ] == [owner_of(tmp_path / WEIGHTS, (tmp_path / WEIGHTS).stat().st_size - 1)]


# ---- what cannot be verified


def test_a_file_of_others_has_no_checksums(tmp_path: Path):
    """A file without checksums cannot be verified, and the error says how it gets them."""
    model = save_single(tmp_path)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / WEIGHTS)
    error = refusal(tmp_path, verify="full")

    assert type(error) is CheckpointError
    assert str(error).startswith(f"'{tmp_path / WEIGHTS}' holds no checksum of '")
    assert str(error).endswith(
        "', so it cannot be verified. Save the model with save_pretrained, which writes them, or load it with "
        "verify='structure'."
    )


def test_a_pickle_has_no_checksums(tmp_path: Path):
    """A pickle cannot be verified either, so it is not loaded as if it had been."""
    model = save_single(tmp_path)
    (tmp_path / WEIGHTS).unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"model_type": "net"}')
    error = refusal(tmp_path, verify="full", use_safetensors=False)

    assert type(error) is CheckpointError
    assert str(error).startswith(f"{tmp_path / 'pytorch_model.bin'} has no checksums, so it cannot be verified.")


@pytest.mark.parametrize("verify", ["fully", None, True, ["full"]])
def test_verify_must_be_one_of_two_words(verify: Any, tmp_path: Path):
    """Anything else is an error that names what was found, also where a module is filled."""
    save_single(tmp_path)
    for load in (Net.from_pretrained, lambda folder, **options: load_weights(Net(NetConfig()), folder, **options)):
        with pytest.raises(UnknownOptionError) as caught:
            load(tmp_path, verify=verify)

        assert str(caught.value) == f"verify must be 'structure' or 'full', found {verify!r}."
