"""How tensors get into memory: mapped, copied, or whichever suits the file; the bits are the same each way."""

import gc
import json
import os
import struct
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel, _mounts, migrates_state

WEIGHTS = "model.safetensors"
linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what is mapped where")


class NetConfig(PreTrainedConfig):
    """The width of a network."""

    model_type = "net"
    width: int = 4


class Net(PreTrainedModel):
    """Tensors of sizes that are no multiples of anything."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.parts = nn.ParameterList([torch.zeros(size) for size in (1, 3, 16, 5, 33, 64)])
        self.register_buffer("flags", torch.tensor([True, False, True]))
        self.register_buffer("empty", torch.empty(0, 3))


WIDE = 256
"""A width with which a file is large enough to be mapped."""

FREE = "linear.weight"
"""The tensor that is large."""


def saved(folder: Path, width: int = 4, model_class: type[PreTrainedModel] = Net) -> Any:
    """Save a model with drawn weights and return it."""
    model = model_class(NetConfig(width=width))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.rand(parameter.shape))
    model.save_pretrained(folder)
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


def is_mapped(tensor: torch.Tensor, path: Path) -> bool:
    """Whether a tensor lies where the system has mapped a file."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        begin, end = (int(number, 16) for number in line.partition(" ")[0].split("-"))
        if begin <= tensor.data_ptr() < end:
            return line.endswith(f" {path}")
    return False


def move_data(path: Path, blanks: int) -> None:
    """Rewrite a file as another library might, with a header that ends in so many more blanks."""
    save_file({name: tensor.clone() for name, tensor in load_file(path).items()}, path)
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    path.write_bytes(struct.pack("<Q", length + blanks) + data[8 : 8 + length] + b" " * blanks + data[8 + length :])


def start_of(path: Path, name: str) -> int:
    """Return where in a file a tensor begins."""
    data = path.read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    return 8 + length + json.loads(data[8 : 8 + length])[name]["data_offsets"][0]


MEMORIES = ["auto", "mmap", "copy"]


# ---- the same bits


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("width", [4, WIDE])
def test_the_bits_are_the_same(memory: str, width: int, tmp_path: Path):
    """However a tensor gets into memory, it is the saved one, whether the file is small or large."""
    model = saved(tmp_path, width)

    assert same(Net.from_pretrained(tmp_path, memory=memory), model)


@pytest.mark.parametrize("memory", MEMORIES)
@pytest.mark.parametrize("blanks", [0, 1, 2, 3, 4, 37, 64])
def test_files_of_others_may_begin_anywhere(memory: str, blanks: int, tmp_path: Path):
    """Wherever another library's header ends, every tensor is right and aligned to its elements."""
    model = saved(tmp_path, WIDE)
    move_data(tmp_path / WEIGHTS, blanks)
    loaded = Net.from_pretrained(tmp_path, memory=memory)

    assert same(loaded, model)
    assert {each.data_ptr() % each.element_size() for each in loaded.state_dict().values() if each.numel()} == {0}


@pytest.mark.parametrize("memory", MEMORIES)
def test_tensors_start_where_torch_would_put_them(memory: str, tmp_path: Path):
    """In a file of ours every tensor starts on a 64-byte address, so that kernels give the bits of before the save."""
    saved(tmp_path, WIDE)
    loaded = Net.from_pretrained(tmp_path, memory=memory)

    assert {tensor.data_ptr() % 64 for tensor in loaded.state_dict().values()} == {0}


@pytest.mark.parametrize("memory", MEMORIES)
def test_a_write_changes_neither_the_file_nor_another_load(memory: str, tmp_path: Path):
    """Two loads share nothing: writing to one is seen nowhere else."""
    model = saved(tmp_path, WIDE)
    before = (tmp_path / WEIGHTS).read_bytes()
    one, two = (Net.from_pretrained(tmp_path, memory=memory) for _ in range(2))
    with torch.no_grad():
        for tensor in one.state_dict().values():
            tensor.fill_(7)

    assert (tmp_path / WEIGHTS).read_bytes() == before
    assert same(two, model)
    assert same(Net.from_pretrained(tmp_path, memory=memory), model)


@pytest.mark.parametrize("memory", MEMORIES)
def test_tensors_of_one_load_share_nothing(memory: str, tmp_path: Path):
    """Untied tensors of one model do not overlap."""
    saved(tmp_path)
    loaded = Net.from_pretrained(tmp_path, memory=memory)
    before = {key: tensor.clone() for key, tensor in loaded.state_dict().items()}
    with torch.no_grad():
        loaded.parts[1].fill_(7)

    changed = [key for key, tensor in loaded.state_dict().items() if not torch.equal(tensor, before[key])]
    assert changed == ["parts.1"]


# ---- mapped or not


@linux
@pytest.mark.parametrize(
    ("memory", "width", "mapped"),
    [("auto", WIDE, True), ("auto", 4, False), ("mmap", WIDE, True), ("mmap", 4, True), ("copy", WIDE, False)],
)
def test_what_is_mapped(memory: str, width: int, *, mapped: bool, tmp_path: Path):
    """A large file is mapped; a small one only if that is asked for; and none if copies are asked for."""
    saved(tmp_path, width)
    loaded = Net.from_pretrained(tmp_path, memory=memory)

    assert is_mapped(loaded.linear.weight, tmp_path / WEIGHTS) is mapped


@linux
@pytest.mark.parametrize(("blanks", "mapped"), [(0, True), (4, True), (1, False), (6, False)])
def test_what_another_library_left_unaligned_is_copied(blanks: int, *, mapped: bool, tmp_path: Path):
    """A tensor of another library's file is mapped if it is aligned to its own elements, and else copied."""
    model = saved(tmp_path, WIDE)
    move_data(tmp_path / WEIGHTS, blanks)
    loaded = Net.from_pretrained(tmp_path)

    assert is_mapped(loaded.linear.weight, tmp_path / WEIGHTS) is mapped
    assert same(loaded, model)


@linux
@pytest.mark.parametrize(("memory", "seen"), [("mmap", True), ("copy", False)])
def test_only_a_mapped_tensor_sees_the_file_change(memory: str, *, seen: bool, tmp_path: Path):
    """A change of the file's bytes in place can be seen through a mapping, and never in a copy."""
    model = saved(tmp_path, WIDE)
    loaded = Net.from_pretrained(tmp_path, memory=memory)
    with (tmp_path / WEIGHTS).open("r+b") as file:
        file.seek(start_of(tmp_path / WEIGHTS, FREE))
        file.write(struct.pack("<f", 5.0))

    assert loaded.linear.weight[0, 0].item() == (5.0 if seen else model.linear.weight[0, 0].item())


@linux
def test_another_dtype_is_no_mapping(tmp_path: Path):
    """What is cast gets memory of its own."""
    saved(tmp_path, WIDE)
    loaded = Net.from_pretrained(tmp_path, memory="mmap", dtype=torch.float64)

    assert not is_mapped(loaded.linear.weight, tmp_path / WEIGHTS)


@linux
@pytest.mark.parametrize("memory", MEMORIES)
def test_migrated_tensors_go_the_same_way_into_memory(memory: str, tmp_path: Path):
    """What a migration renames is mapped or copied as if it had always had that name."""

    class Newer(Net):
        state_dict_version = 2

        @staticmethod
        @migrates_state(1, 2)
        def nothing(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
            return dict(state)

    model = saved(tmp_path, WIDE)
    move_data(tmp_path / WEIGHTS, 0)
    loaded = Newer.from_pretrained(tmp_path, memory=memory)

    assert is_mapped(loaded.linear.weight, tmp_path / WEIGHTS) is (memory != "copy")
    assert same(loaded, model)


@pytest.mark.parametrize("memory", ["map", None, 1, ["copy"]])
def test_the_way_into_memory_must_be_one(memory: Any, tmp_path: Path):
    """Anything but the three words is an error that names what was found."""
    saved(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Net.from_pretrained(tmp_path, memory=memory)

    assert str(caught.value) == f"memory must be 'auto', 'mmap' or 'copy', found {memory!r}."


def mappings(path: Path) -> int:
    """Return how many times this process has mapped a file."""
    return sum(line.endswith(f" {path}") for line in Path("/proc/self/maps").read_text().splitlines())


@linux
def test_what_nobody_needs_is_unmapped(tmp_path: Path):
    """A file is mapped once for a model, as long as any tensor of it lives, and keeps no descriptor."""
    saved(tmp_path, WIDE)
    open_before = len(list(Path("/proc/self/fd").iterdir()))
    loaded = Net.from_pretrained(tmp_path)
    weight = loaded.linear.weight.detach()
    after_load = mappings(tmp_path / WEIGHTS), len(list(Path("/proc/self/fd").iterdir()))
    del loaded
    gc.collect()
    after_model = mappings(tmp_path / WEIGHTS)
    total = weight.sum()
    del weight

    assert after_load == (1, open_before)
    assert (after_model, mappings(tmp_path / WEIGHTS)) == (1, 0)
    assert total > 0


# ---- file systems behind a network


@pytest.fixture
def mount(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that makes the system's table say on what kind of file system the tests run."""
    device = tmp_path.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"

    def mounting(kind: str) -> None:
        table = tmp_path / "mountinfo"
        table.write_text(
            "21 20 0:0 / /proc rw,nosuid - proc proc rw\n"
            f"36 35 {numbers} / {tmp_path} rw,noatime master:1 propagate_from:2 - {kind} server:/export rw,a=b\n"
            "a line that says nothing\n"
        )
        monkeypatch.setattr(_mounts, "_MOUNTS", table)
        _mounts._kinds.cache_clear()

    yield mounting
    _mounts._kinds.cache_clear()


@linux
@pytest.mark.parametrize(
    ("kind", "mapped"),
    [("ext4", True), ("overlay", True), ("tmpfs", True), ("fuseblk", True), ("fuse.fuse-overlayfs", True)]
    + [(kind, False) for kind in ("nfs", "nfs4", "cifs", "smb3", "lustre", "9p", "fuse", "fuse.sshfs", "fuse.s3fs")],
)
def test_files_behind_a_network_are_read(kind: str, mount: Callable[[str], None], *, mapped: bool, tmp_path: Path):
    """What lies on another machine, or comes from a program, is read as a whole; what is on this one is mapped."""
    model = saved(tmp_path, WIDE)
    mount(kind)
    loaded = Net.from_pretrained(tmp_path)

    assert is_mapped(loaded.linear.weight, tmp_path / WEIGHTS) is mapped
    assert same(loaded, model)


@linux
def test_files_behind_a_network_are_mapped_if_asked_for(mount: Callable[[str], None], tmp_path: Path):
    """Whoever knows the network can have the file mapped."""
    saved(tmp_path, WIDE)
    mount("nfs4")
    loaded = Net.from_pretrained(tmp_path, memory="mmap")

    assert is_mapped(loaded.linear.weight, tmp_path / WEIGHTS)


def test_without_a_table_of_mounts_every_file_is_local(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where the system does not tell, loads work as on a local disk."""
    monkeypatch.setattr(_mounts, "_MOUNTS", tmp_path / "nothing")
    _mounts._kinds.cache_clear()
    model = saved(tmp_path, WIDE)
    loaded = Net.from_pretrained(tmp_path)
    _mounts._kinds.cache_clear()

    assert same(loaded, model)


# ---- memory of one's own


class Woven(Net):
    """Ties and views among parameters, buffers, and between both kinds."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.again = nn.Linear(config.width, config.width)
        self.again.weight = self.linear.weight
        self.register_buffer("table", torch.zeros(config.width, config.width))
        self.register_buffer("row", self.table[1])
        self.register_buffer("corner", self.table[:2, :2], persistent=False)
        self.alias = nn.Module()
        self.alias.register_buffer("table", self.table)


@linux
def test_materialized_tensors_do_not_see_the_file_change(tmp_path: Path):
    """After `materialize_` the file's bytes may be changed in place: no tensor of the model changes."""
    model = saved(tmp_path, WIDE, Woven)
    path = tmp_path / WEIGHTS
    loaded = Woven.from_pretrained(tmp_path, memory="mmap").materialize_()
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"\xff" * (path.stat().st_size - 4096))

    assert not any(is_mapped(tensor, path) for tensor in loaded.state_dict().values() if tensor.numel())
    assert same(loaded, model)


def test_materialized_parameters_are_the_same_objects(tmp_path: Path):
    """`materialize_` returns the model and changes no parameter but its memory: an optimizer keeps what it holds."""
    saved(tmp_path, WIDE, Woven)
    loaded = Woven.from_pretrained(tmp_path, memory="mmap")
    loaded.linear.bias.requires_grad_(False)
    loaded.linear.weight.marked = True
    before = dict(loaded.named_parameters(remove_duplicate=False))

    assert loaded.materialize_() is loaded
    after = dict(loaded.named_parameters(remove_duplicate=False))
    assert before.keys() == after.keys()
    assert all(after[name] is parameter for name, parameter in before.items())
    assert (loaded.linear.bias.requires_grad, loaded.linear.weight.marked) == (False, True)


@pytest.mark.parametrize("memory", MEMORIES)
def test_materialized_tensors_share_what_they_shared(memory: str, tmp_path: Path):
    """Ties stay ties and views stay views, of parameters and of buffers, persistent or not."""
    saved(tmp_path, WIDE, Woven)
    loaded = Woven.from_pretrained(tmp_path, memory=memory).materialize_()
    with torch.no_grad():
        loaded.table[1].fill_(8)
        loaded.table[:2, :2].fill_(9)
        loaded.linear.weight[0, 0] = 10

    assert loaded.alias.table is loaded.table
    assert loaded.row[:3].tolist() == [9, 9, 8]
    assert loaded.corner.tolist() == [[9, 9], [9, 9]]
    assert loaded.again.weight is loaded.linear.weight


def test_a_materialized_model_keeps_its_gradients(tmp_path: Path):
    """Gradients that are there already are not lost, and training goes on."""
    saved(tmp_path, WIDE)
    loaded = Net.from_pretrained(tmp_path, memory="mmap")
    loaded.linear(torch.ones(1, WIDE)).sum().backward()
    before = loaded.linear.weight.detach().clone()
    loaded.materialize_()
    torch.optim.SGD(loaded.parameters(), lr=0.5).step()

    assert torch.equal(loaded.linear.weight, before - 0.5)


def test_a_model_that_was_built_can_be_materialized():
    """A model that no file has to do with stays what it is, memory included."""
    model = Woven(NetConfig())
    before = {name: tensor.data_ptr() for name, tensor in model.state_dict().items()}

    assert {name: tensor.data_ptr() for name, tensor in model.materialize_().state_dict().items()} == before
