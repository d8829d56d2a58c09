"""Saving: equal states give equal bytes that anybody can read, and a failure changes nothing."""

import errno
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import nn

from nameplate_config import PreTrainedConfig, UnsafePathError
from nameplate_model import CheckpointError, PreTrainedModel, SaveError


class NetConfig(PreTrainedConfig):
    """The width of a small network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Some layers."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)
        self.conv = nn.Conv2d(2, 3, 2)


class Held(PreTrainedModel):
    """Holds buffers that a test puts there."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        for name in ("one", "two", "three"):
            self.register_buffer(name, torch.zeros(3))


def header_of(folder: Path) -> tuple[dict[str, Any], int]:
    """Return the header of the weights in a folder, and where the data starts."""
    data = (folder / "model.safetensors").read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return json.loads(data[8 : 8 + length]), 8 + length


def contents(folder: Path) -> dict[str, bytes]:
    """Return the bytes of every file in a folder, hidden ones included."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


# ---- what is written


def test_a_save_writes_two_files(tmp_path: Path):
    """A checkpoint is `model.safetensors` and `config.json`; missing folders are created."""
    Net(NetConfig()).save_pretrained(tmp_path / "a" / "b")

    assert sorted(contents(tmp_path / "a" / "b")) == ["config.json", "model.safetensors"]


def test_the_config_says_what_was_saved(tmp_path: Path):
    """The config file names the class and the dtype of the weights."""
    Net(NetConfig(width=8)).to(torch.bfloat16).save_pretrained(str(tmp_path))

    assert json.loads((tmp_path / "config.json").read_text()) == {
        "architectures": ["Net"],
        "dtype": "bfloat16",
        "model_type": "net",
        "width": 8,
    }


def test_safetensors_reads_the_weights(tmp_path: Path):
    """The plain library reads the file, every key of the state dict is in it, and no other."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        metadata = file.metadata()

    assert tensors.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, tensors[key]) for key, tensor in model.state_dict().items())
    assert metadata["format"] == "pt"


def test_equal_states_are_equal_bytes(tmp_path: Path):
    """Two models with equal weights and configs are written as the same bytes, wherever they come from."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path / "one")
    Net.from_pretrained(tmp_path / "one").save_pretrained(tmp_path / "two")

    assert contents(tmp_path / "one") == contents(tmp_path / "two")


def test_saving_again_changes_no_byte(tmp_path: Path):
    """Saving the same model a second time into a folder leaves it byte for byte as it was."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path)
    before = contents(tmp_path)
    model.save_pretrained(tmp_path)

    assert contents(tmp_path) == before


@pytest.mark.parametrize("width", [1, 16, 300])
def test_data_starts_on_a_page(width: int, tmp_path: Path):
    """The header is padded, so that the data starts on a page, and whole blocks lie on 64 bytes."""
    Net(NetConfig(width=width)).save_pretrained(tmp_path)
    header, start = header_of(tmp_path)
    offsets = [
        entry["data_offsets"]
        for name, entry in header.items()
        if name != "__metadata__" and (entry["data_offsets"][1] - entry["data_offsets"][0]) % 64 == 0
    ]

    assert start % 4096 == 0
    assert [begin % 64 for begin, _ in offsets] == [0] * len(offsets)


def test_a_model_without_tensors_is_saved(tmp_path: Path):
    """A file without tensors is a whole file, and no dtype is claimed."""

    class Nothing(PreTrainedModel):
        config_class = NetConfig

    Nothing(NetConfig()).save_pretrained(tmp_path)

    assert load_file(tmp_path / "model.safetensors") == {}
    assert "dtype" not in json.loads((tmp_path / "config.json").read_text())


# ---- ties


class Tied(PreTrainedModel):
    """A tie and a module in two places, made by the constructor and declared nowhere."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two, self.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.again = self.three


def test_a_tie_is_stored_once(tmp_path: Path):
    """The file holds one of the names of a tied tensor, and its metadata the others."""
    Tied(NetConfig()).save_pretrained(tmp_path)
    header, _ = header_of(tmp_path)

    assert sorted(header) == ["__metadata__", "one.bias", "one.weight", "three.bias", "three.weight", "two.bias"]
    assert json.loads(header["__metadata__"]["nameplate.tied"]) == {
        "again.bias": "three.bias",
        "again.weight": "three.weight",
        "two.weight": "one.weight",
    }


def test_a_tie_comes_back(tmp_path: Path):
    """What was one parameter is one parameter, and what was one module one module."""
    model = Tied(NetConfig())
    model.save_pretrained(tmp_path)
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert loaded.again is loaded.three
    assert same(loaded, model)


def test_a_tie_of_one_instance_comes_back(tmp_path: Path):
    """A tie that only this model had, not its class, is a tie after a load."""
    model = Tied(NetConfig())
    model.three.weight = model.two.weight
    model.save_pretrained(tmp_path)
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.three.weight is loaded.one.weight
    assert loaded.load_report.exact
    assert same(loaded, model)


def test_empty_tensors_are_not_tied(tmp_path: Path):
    """Tensors without elements have no memory to share."""
    model = Held(NetConfig())
    model.one, model.two = torch.zeros(0), torch.zeros(0)
    model.save_pretrained(tmp_path)

    assert load_file(tmp_path / "model.safetensors").keys() == {"one", "two", "three"}


@pytest.mark.parametrize("frozen_first", [False, True])
def test_tied_tensors_keep_their_natures(*, frozen_first: bool, tmp_path: Path):
    """A parameter, a frozen one and a buffer over the same memory come back as these, over the same memory."""

    class Natures(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.one = nn.Parameter(torch.rand(3), requires_grad=not frozen_first)
            self.two = nn.Parameter(torch.zeros(3), requires_grad=frozen_first)
            self.register_buffer("three", torch.zeros(3))

    model = Natures(NetConfig())
    model.two = nn.Parameter(model.one.data, requires_grad=frozen_first)
    model.three = model.one.data
    model.save_pretrained(tmp_path)
    loaded = Natures.from_pretrained(tmp_path)

    assert (loaded.one.requires_grad, loaded.two.requires_grad) == (not frozen_first, frozen_first)
    assert type(loaded.three) is torch.Tensor
    assert len({each.data_ptr() for each in (loaded.one, loaded.two, loaded.three)}) == 1


# ---- tensors of every layout


LAYOUTS: dict[str, Callable[[], torch.Tensor]] = {
    "transposed": lambda: torch.arange(12.0).reshape(3, 4).T,
    "expanded": lambda: torch.arange(3.0)[:, None].expand(3, 4),
    "strided": lambda: torch.arange(12.0)[::3],
    "a view at an offset": lambda: torch.arange(12.0)[5:9],
    "channels last": lambda: torch.arange(24.0).reshape(1, 2, 3, 4).to(memory_format=torch.channels_last),
    "conjugate": lambda: torch.tensor([1 + 2j, 3 - 4j]).conj(),
    "negative": lambda: torch.tensor([1 + 2j, 3 - 4j]).conj().imag,
    "requires grad": lambda: torch.arange(3.0, requires_grad=True) * 2,
}


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=list(LAYOUTS))
def test_a_tensor_of_any_layout_is_saved_by_value(make: Callable[[], torch.Tensor], tmp_path: Path):
    """However a tensor lies in memory, its values are in the file, in row-major order."""
    model = Held(NetConfig())
    model.one = make()
    model.save_pretrained(tmp_path)

    assert torch.equal(load_file(tmp_path / "model.safetensors")["one"], make())


def test_overlapping_views_are_saved_by_value(tmp_path: Path):
    """Views of one memory that are not the same tensor are stored one by one."""
    model = Held(NetConfig())
    base = torch.arange(6.0)
    model.one, model.two, model.three = base[:3], base[1:4], base.reshape(2, 3)
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")

    assert [tensors[name].tolist() for name in ("one", "two", "three")] == [
        [0, 1, 2],
        [1, 2, 3],
        [[0, 1, 2], [3, 4, 5]],
    ]


def test_views_from_the_same_address_are_saved_by_value(tmp_path: Path):
    """A transposed and a shorter view start where their base does, and are other tensors all the same."""
    model = Held(NetConfig())
    model.one = torch.arange(4.0).reshape(2, 2)
    model.two, model.three = model.one.T, model.one[:1]
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")

    assert [tensors[name].tolist() for name in ("one", "two", "three")] == [
        [[0, 1], [2, 3]],
        [[0, 2], [1, 3]],
        [[0, 1]],
    ]


def test_a_conjugate_is_not_tied_to_its_base(tmp_path: Path):
    """A lazy conjugate shares the memory of its base, but has other values."""
    model = Held(NetConfig())
    model.one = torch.tensor([1 + 2j])
    model.two = model.one.conj()
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")

    assert (tensors["one"].tolist(), tensors["two"].tolist()) == ([1 + 2j], [1 - 2j])


# ---- the caller's own


def test_the_model_is_only_read(tmp_path: Path):
    """Saving changes neither the tensors, nor the mode, nor the config of a model."""
    config = NetConfig(width=8)
    model = Net(config)
    tensors = {key: (tensor.data_ptr(), tensor.clone()) for key, tensor in model.state_dict().items()}
    text = config.to_json_string()
    model.save_pretrained(tmp_path)

    assert model.config is config
    assert (config.to_json_string(), config.architectures, config.dtype) == (text, None, None)
    assert model.training
    assert {key: tensor.data_ptr() for key, tensor in model.state_dict().items()} == {
        key: pointer for key, (pointer, _) in tensors.items()
    }
    assert all(torch.equal(tensor, tensors[key][1]) for key, tensor in model.state_dict().items())


def test_a_model_is_saved_over_the_file_that_it_is_mapped_from(tmp_path: Path):
    """Load, change, save into the same folder: the new weights are there, and other loads keep the old."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path)
    loaded, bystander = Net.from_pretrained(tmp_path), Net.from_pretrained(tmp_path)
    with torch.no_grad():
        loaded.linear.bias.fill_(7)
    loaded.save_pretrained(tmp_path)

    assert same(bystander, model)
    assert same(Net.from_pretrained(tmp_path), loaded)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Return `os.umask`, and put the mask back afterwards."""
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="modes are those of POSIX")
@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_modes_follow_the_umask(mask: int, umask: Callable[[int], int], tmp_path: Path):
    """Files are as readable as the umask says, also where they replace others."""
    folder = tmp_path / "model"
    Net(NetConfig()).save_pretrained(folder)
    umask(mask)
    Net(NetConfig()).save_pretrained(folder)

    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o666 & ~mask}


# ---- what cannot be saved


def meta(model: Any) -> None:
    """Put a parameter on the meta device."""
    model.one = torch.zeros(3, device="meta")


def sparse(model: Any) -> None:
    """Hold a sparse tensor."""
    model.one = torch.eye(3).to_sparse()


def quantized(model: Any) -> None:
    """Hold a tensor of a dtype that the format lacks."""
    model.one = torch.zeros(3, dtype=torch.complex128)


class Remembering(Held):
    """Has a dict as extra state."""

    def get_extra_state(self) -> dict[str, int]:
        """Return something that is no tensor."""
        return {"steps": 3}


UNFIT = {
    meta: "'one' is on the meta device: it has no values that could be saved.",
    sparse: "'one' has dtype torch.float32 and layout torch.sparse_coo, which safetensors cannot hold.",
    quantized: "'one' has dtype torch.complex128 and layout torch.strided, which safetensors cannot hold.",
}


@pytest.mark.parametrize("spoil", UNFIT)
def test_a_tensor_that_the_format_lacks_is_an_error(spoil: Callable[[Any], None], tmp_path: Path):
    """What cannot be saved is named before anything is written."""
    model = Held(NetConfig())
    spoil(model)
    with pytest.raises(CheckpointError) as caught:
        model.save_pretrained(tmp_path / "model")

    assert str(caught.value) == UNFIT[spoil]
    assert not (tmp_path / "model").exists()


def test_extra_state_that_is_no_tensor_is_an_error(tmp_path: Path):
    """Extra state must be tensors; the error names its key."""
    with pytest.raises(CheckpointError) as caught:
        Remembering(NetConfig()).save_pretrained(tmp_path)

    assert str(caught.value) == (
        "the extra state of the model is {'steps': 3}; get_extra_state() must return a tensor to be saved."
    )


@pytest.mark.parametrize("name", ["__metadata__", "\ud800"])
def test_a_name_that_would_break_the_file_is_an_error(name: str, tmp_path: Path):
    """A key that safetensors could not read back is refused, and the old checkpoint stays."""
    model = Held(NetConfig())
    model.save_pretrained(tmp_path)
    before = contents(tmp_path)
    model.register_buffer(name, torch.zeros(1))
    with pytest.raises(CheckpointError) as caught:
        model.save_pretrained(tmp_path)

    assert str(caught.value) == f"{name!r} cannot be the name of a tensor in a safetensors file."
    assert contents(tmp_path) == before


# ---- where nothing can be saved


def test_a_path_that_is_a_file_is_an_error(tmp_path: Path):
    """A file is no folder, and is left as it is."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UnsafePathError) as caught:
        Net(NetConfig()).save_pretrained(tmp_path / "file")

    assert str(caught.value) == (
        f"'{tmp_path / 'file'}' is not a folder, so nothing can be saved into it. Give the path of a folder."
    )
    assert (tmp_path / "file").read_text() == "mine"


UNTOUCHED = "\n  What it holds is as it was before."


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path):
    """A name that the system refuses is a `SaveError` with the system's reason."""
    folder = tmp_path / ("x" * 300)
    with pytest.raises(SaveError) as caught:
        Net(NetConfig()).save_pretrained(folder)

    assert str(caught.value) == f"'{folder}' could not be written: File name too long." + UNTOUCHED


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_folder_in_the_place_of_a_file_is_an_error(name: str, tmp_path: Path):
    """Where a file should be replaced and is a folder, the save fails and leaves no litter."""
    (tmp_path / name).mkdir()
    with pytest.raises(SaveError):
        Net(NetConfig()).save_pretrained(tmp_path)

    assert [path.name for path in tmp_path.iterdir()] == [name]


def old_and_new(folder: Path) -> tuple[PreTrainedModel, PreTrainedModel]:
    """Return a model that is saved in a folder and one, of another config, that is not."""
    old, new = Net(NetConfig(width=4)), Net(NetConfig(width=6))
    old.save_pretrained(folder)
    return old, new


def fail_at(monkeypatch: pytest.MonkeyPatch, name: str, count: int) -> None:
    """Let the *count*-th call of a function of `os` find the disk full."""
    calls = iter(range(1, 1000))
    real = getattr(os, name)

    def failing(*arguments: Any, **keywords: Any) -> Any:
        if next(calls) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **keywords)

    monkeypatch.setattr(os, name, failing)


@pytest.mark.parametrize(("name", "count"), [("fsync", 1), ("write", 1), ("write", 2), ("write", 5)])
def test_a_full_disk_leaves_the_old_checkpoint(name: str, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where the weights cannot be written, the folder holds every byte of before and nothing else."""
    _, new = old_and_new(tmp_path)
    before = contents(tmp_path)
    fail_at(monkeypatch, name, count)
    with pytest.raises(SaveError) as caught:
        new.save_pretrained(tmp_path)

    assert str(caught.value) == f"'{tmp_path}' could not be written: No space left on device." + UNTOUCHED
    assert contents(tmp_path) == before


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_failure_after_the_commit_leaves_the_new_checkpoint(
    count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Once the weights are replaced, the folder is the new checkpoint, config included, though the save failed."""
    _, new = old_and_new(tmp_path)
    fail_at(monkeypatch, "fsync", count)
    with pytest.raises(SaveError):
        new.save_pretrained(tmp_path)
    loaded = Net.from_pretrained(tmp_path)

    assert (loaded.config.width, same(loaded, new)) == (6, True)
    assert sorted(contents(tmp_path)) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_a_save_after_a_failed_one_heals(count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """After a failure, the next save that works gives the folder its bytes and its mirror."""
    old, new = old_and_new(tmp_path)
    fail_at(monkeypatch, "fsync", count)
    with pytest.raises(SaveError):
        new.save_pretrained(tmp_path)
    old.save_pretrained(tmp_path)
    loaded = Net.from_pretrained(tmp_path)

    assert (loaded.config.width, same(loaded, old)) == (4, True)
    assert json.loads((tmp_path / "config.json").read_text())["width"] == 4


def test_a_real_limit_of_the_system_leaves_the_old_checkpoint(tmp_path: Path):
    """Where the system itself refuses to write more, the folder holds every byte of before and nothing else."""
    resource = pytest.importorskip("resource")
    _, new = old_and_new(tmp_path)
    before = contents(tmp_path)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4200, limits[1]))
    try:
        with pytest.raises(SaveError) as caught:
            new.save_pretrained(tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    assert str(caught.value) == f"'{tmp_path}' could not be written: File too large." + UNTOUCHED
    assert contents(tmp_path) == before


def test_an_interrupt_leaves_the_old_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A keyboard interrupt in the middle of a save goes through, and leaves the old checkpoint and no litter."""
    _, new = old_and_new(tmp_path)
    before = contents(tmp_path)

    def interrupted(_descriptor: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupted)
    with pytest.raises(KeyboardInterrupt):
        new.save_pretrained(tmp_path)

    assert contents(tmp_path) == before
