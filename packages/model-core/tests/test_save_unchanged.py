"""A checkpoint that is there already is not written again, and one that differs in any bit always is."""

import ctypes
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_config.record import record_metadata
from nameplate_model import PreTrainedModel, _mapped, _unchanged
from nameplate_model._mapped import Mapped
from nameplate_model._unchanged import same_file

pytestmark = pytest.mark.skipif(not hasattr(os, "preadv"), reason="without preadv, everything is written anew")

PAGE = mmap.PAGESIZE
ON_LINUX = pytest.mark.skipif(not Path("/proc/self/pagemap").exists(), reason="only Linux has a map of pages")


class NetConfig(PreTrainedConfig):
    """The width of a small network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Tensors of several dtypes and sizes."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.large = nn.Parameter(torch.rand(100, 200))
        self.small = nn.Linear(3, config.width)
        self.register_buffer("flag", torch.tensor([True]))
        self.register_buffer("count", torch.arange(5))
        self.register_buffer("brain", torch.rand(7).bfloat16())


def inode(folder: Path) -> int:
    """Return which file the weights of a folder are."""
    return (folder / "model.safetensors").stat().st_ino


def flip(tensor: torch.Tensor, bit: int) -> None:
    """Flip one bit of a tensor's memory, behind the back of torch."""
    memory = (ctypes.c_ubyte * (tensor.numel() * tensor.element_size())).from_address(tensor.data_ptr())
    memory[bit // 8 % len(memory)] ^= 1 << bit % 8


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Net, Path]:
    """Return a model and the folder that it is saved in."""
    folder = tmp_path_factory.mktemp("saved")
    model = Net(NetConfig())
    model.save_pretrained(folder)
    return model, folder


@pytest.mark.parametrize("loaded", [False, True])
@settings(deadline=None)
@given(place=st.integers(0, 1 << 20), bit=st.integers(0, 1 << 30))
def test_any_flipped_bit_is_saved(*, loaded: bool, place: int, bit: int, saved: tuple[Net, Path]):
    """Whichever bit of whichever tensor changes, in memory of its own or in a mapped file, the file is replaced."""
    model, folder = saved
    model = Net.from_pretrained(folder) if loaded else model
    model.save_pretrained(folder)
    before = inode(folder)
    tensors = list(model.state_dict().values())
    flip(tensors[place % len(tensors)], bit)
    model.save_pretrained(folder)
    after = inode(folder)
    model.save_pretrained(folder)

    assert after != before
    assert inode(folder) == after


CHANGES: dict[str, Callable[[Net], object]] = {
    "through data": lambda model: model.large.data[99].neg_(),
    "through a view": lambda model: model.large.detach().view(-1)[12345:].add_(1),
    "in place": lambda model: nn.init.zeros_(model.small.weight),
    "minus zero": lambda model: model.large.data[50, 50].copy_(torch.tensor(-0.0)),
    "another nan": lambda model: flip(model.large.data[51, 51], 0),
    "a bool": lambda model: model.flag.logical_not_(),
    "another tensor": lambda model: setattr(model, "count", torch.arange(5) + 1),
    "another dtype": lambda model: setattr(model, "count", model.count.int()),
    "another shape": lambda model: setattr(model, "count", model.count[None]),
    "one more": lambda model: model.register_buffer("more", torch.zeros(0)),
    "one less": lambda model: delattr(model, "brain"),
    "a tie": lambda model: setattr(model, "brain", model.count),
    "the config": lambda model: setattr(model, "config", NetConfig(width=9)),
}


@pytest.mark.parametrize("loaded", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_model_is_written(change: str, *, loaded: bool, tmp_path: Path):
    """Whatever changes, however it is done, is in the file after the next save."""
    model = Net(NetConfig())
    model.large.data[50, 50], model.large.data[51, 51] = 0.0, float("nan")
    model.save_pretrained(tmp_path / "one")
    model = Net.from_pretrained(tmp_path / "one") if loaded else model
    model.save_pretrained(tmp_path / "one")
    before = inode(tmp_path / "one")
    CHANGES[change](model)
    model.save_pretrained(tmp_path / "one")
    model.save_pretrained(tmp_path / "two")
    one, two = ((tmp_path / each / "model.safetensors").read_bytes() for each in ("one", "two"))

    assert inode(tmp_path / "one") != before
    assert one[-2000:] == two[-2000:]
    assert len(one) == len(two)


LAYOUTS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "transposed": lambda tensor: tensor.T,
    "strided": lambda tensor: tensor[:, ::2],
    "expanded": lambda tensor: tensor[:1].expand(100, 200),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("change", [False, True])
def test_tensors_of_any_layout_are_compared_by_value(layout: str, *, change: bool, tmp_path: Path):
    """However a tensor lies in memory, its values decide."""
    model = Net(NetConfig())
    del model.large
    base = torch.rand(100, 200)
    model.register_buffer("large", LAYOUTS[layout](base))
    model.save_pretrained(tmp_path)
    before = inode(tmp_path)
    base[0, 198] += change
    model.save_pretrained(tmp_path)

    assert (inode(tmp_path) != before) == change


@pytest.mark.parametrize("change", [None, 0, 5 << 20, (10 << 20) - 1])
def test_large_tensors_are_compared_side_by_side(change: int | None, tmp_path: Path):
    """Where several threads compare, a difference anywhere is found."""
    model = Net(NetConfig())
    model.register_buffer("huge", torch.zeros(10 << 20, dtype=torch.uint8))
    model.save_pretrained(tmp_path)
    before = inode(tmp_path)
    if change is not None:
        model.huge[change] = 1
    model.save_pretrained(tmp_path)

    assert (inode(tmp_path) != before) == (change is not None)


def test_a_file_of_others_is_replaced(tmp_path: Path):
    """A file without a record is written anew, whatever it holds."""
    (tmp_path / "model.safetensors").write_bytes(b"\0" * 8 + b"{}")

    assert same_file(tmp_path / "model.safetensors", [], record_metadata("{}", None)) is None


@pytest.mark.parametrize("data", [b"", b"1234567", b"\xff" * 100, b"\2" + bytes(7) + b"{}", b"\4" + bytes(7) + b"null"])
def test_a_torn_file_is_replaced(data: bytes, tmp_path: Path):
    """A file that is no file of ours any more is not the same."""
    (tmp_path / "file").write_bytes(data)

    assert same_file(tmp_path / "file", [], record_metadata("{}", None)) is None


@pytest.mark.parametrize("missing", [True, False])
def test_what_is_no_file_is_replaced(*, missing: bool, tmp_path: Path):
    """A file that is not there, or a folder, is not the same."""
    if not missing:
        (tmp_path / "file").mkdir()

    assert same_file(tmp_path / "file", [], record_metadata("{}", None)) is None


def test_without_the_means_everything_is_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where the system has no way to compare, a save writes, and the file is the same."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path)
    before, data = inode(tmp_path), (tmp_path / "model.safetensors").read_bytes()
    monkeypatch.setattr(_unchanged, "_MEMCMP", None)
    model.save_pretrained(tmp_path)

    assert inode(tmp_path) != before
    assert (tmp_path / "model.safetensors").read_bytes() == data


# ---- the pages of a mapped file


@pytest.fixture
def mapping(tmp_path: Path) -> tuple[Path, mmap.mmap, int]:
    """Return a file of ten pages, a private mapping of it, and where that is in memory."""
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * (10 * PAGE // 256))
    with path.open("rb") as file:
        memory = mmap.mmap(file.fileno(), 10 * PAGE, flags=mmap.MAP_PRIVATE, prot=mmap.PROT_READ | mmap.PROT_WRITE)
    return path, memory, torch.frombuffer(memory, dtype=torch.uint8).data_ptr()


def mapped(path: Path) -> Mapped:
    """Return what is known of the mappings of a file."""
    with path.open("rb") as file:
        return Mapped(file.fileno())


@ON_LINUX
def test_pages_that_nobody_wrote_to_are_the_files(mapping: tuple[Path, mmap.mmap, int]):
    """Reading changes nothing, and where nothing changed nothing needs to be compared."""
    path, memory, address = mapping

    assert sum(memory[:]) > 0
    assert mapped(path).unsure(address, 10 * PAGE, 0) == []
    assert mapped(path).unsure(address + 5000, 100, 5000) == []


@ON_LINUX
def test_pages_that_were_written_to_are_unsure(mapping: tuple[Path, mmap.mmap, int]):
    """A write, also of the value that was there, makes its page one to be compared."""
    path, memory, address = mapping
    memory[3 * PAGE + 7] = memory[3 * PAGE + 7]
    memory[9 * PAGE] = 1

    assert mapped(path).unsure(address, 10 * PAGE, 0) == [(3 * PAGE, 4 * PAGE), (9 * PAGE, 10 * PAGE)]
    assert mapped(path).unsure(address + 3 * PAGE + 9, 10, 3 * PAGE + 9) == [(0, 10)]
    assert mapped(path).unsure(address + 4 * PAGE, 5 * PAGE, 4 * PAGE) == []


@ON_LINUX
def test_memory_elsewhere_is_unsure(mapping: tuple[Path, mmap.mmap, int], tmp_path: Path):
    """Memory of another place in the file, of another file, or of none, is compared."""
    path, _, address = mapping
    (tmp_path / "other").write_bytes(path.read_bytes())
    own = torch.zeros(100, dtype=torch.uint8)

    assert mapped(path).unsure(address, 100, PAGE) == [(0, 100)]
    assert mapped(path).unsure(address + 9 * PAGE, 2 * PAGE, 9 * PAGE) == [(0, 2 * PAGE)]
    assert mapped(tmp_path / "other").unsure(address, 100, 0) == [(0, 100)]
    assert mapped(path).unsure(own.data_ptr(), 100, 0) == [(0, 100)]


@ON_LINUX
@pytest.mark.parametrize("answer", [[], None])
def test_a_page_map_that_does_not_tell_is_not_believed(
    answer: list[tuple[int, int]] | None, mapping: tuple[Path, mmap.mmap, int], monkeypatch: pytest.MonkeyPatch
):
    """Where the system does not show that a page was written to, everything is compared."""
    path, _, address = mapping
    monkeypatch.setattr(_mapped, "_changed", lambda *_: answer)

    assert mapped(path).unsure(address, 100, 0) == [(0, 100)]


class Large(Net):
    """Has ten megabytes more."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.huge = nn.Parameter(torch.zeros(10 << 18))


@ON_LINUX
@pytest.mark.parametrize(("page", "most"), [(None, 100_000), (700, 200_000)])
def test_the_pages_of_a_mapped_model_are_not_read(
    page: int | None, most: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Saving a model over the file that it is mapped from reads of it only what was written to since."""
    Large(NetConfig()).save_pretrained(tmp_path)
    loaded = Large.from_pretrained(tmp_path, memory="mmap")
    before = inode(tmp_path)
    if page is not None:
        loaded.huge.data[page * PAGE // 4] = 0.0
    read: list[int] = []
    real = os.preadv

    def counting(descriptor: int, buffers: list[bytearray], offset: int) -> int:
        read.append(real(descriptor, buffers, offset))
        return read[-1]

    monkeypatch.setattr(os, "preadv", counting)
    loaded.save_pretrained(tmp_path)

    assert inode(tmp_path) == before
    assert 0 < sum(read) < most
