"""Saving: equal states give equal bytes that anybody can read, and a failure changes nothing."""

import errno
import hashlib
import json
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import load_torch_model
from safetensors import safe_open
from safetensors.torch import load_file, load_model
from torch import nn

from nameplate_config import PreTrainedConfig, UnknownOptionError, UnsafePathError
from nameplate_config.record import check_digest
from nameplate_model import CheckpointError, PreTrainedModel, SaveError, read_tensors
from nameplate_model._layout import DTYPES


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


def test_every_tensor_has_its_digest(tmp_path: Path):
    """The header holds the first half of the sha256 of each tensor's bytes, and a digest of itself."""
    Net(NetConfig()).save_pretrained(tmp_path)
    header, start = header_of(tmp_path)
    data = (tmp_path / "model.safetensors").read_bytes()
    metadata = header.pop("__metadata__")
    expected = {
        name: hashlib.sha256(data[start:][slice(*entry["data_offsets"])]).hexdigest()[:32]
        for name, entry in header.items()
    }

    assert list(metadata)[:3] == ["format", "nameplate", "nameplate.config"]
    assert metadata["nameplate.config"] == (tmp_path / "config.json").read_text()
    assert json.loads(metadata["nameplate.sha256"]) == expected
    assert check_digest(data[:start])


@pytest.mark.parametrize("size", [100, 3 << 20])
def test_a_large_file_is_hashed_like_a_small_one(size: int, tmp_path: Path):
    """Where another thread hashes, the digests are those of the bytes all the same."""
    model = Held(NetConfig())
    model.one, model.two = torch.arange(size), torch.arange(size).reshape(2, -1).T
    model.save_pretrained(tmp_path)
    said = json.loads(header_of(tmp_path)[0]["__metadata__"]["nameplate.sha256"])

    for name in ("one", "two"):
        data = getattr(model, name).contiguous().numpy().tobytes()
        assert said[name] == hashlib.sha256(data).hexdigest()[:32]


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


# ---- memory in common


def overlap(**tensors: torch.Tensor) -> Held:
    """Return a model that holds these tensors as buffers."""
    model = Held(NetConfig())
    for name, tensor in tensors.items():
        model.register_buffer(name, tensor)
    return model


def views_in(folder: Path) -> list[dict[str, Any]]:
    """Return what the weights in a folder record of overlapping tensors."""
    return json.loads(header_of(folder)[0]["__metadata__"].get("nameplate.views", "[]"))


BASE = torch.arange(24.0).reshape(4, 6)
COMPLEX = torch.tensor([1 + 2j, 3j])
APART: dict[str, Callable[[], list[torch.Tensor]]] = {
    "neighbours": lambda: [BASE[:2], BASE[2:]],
    "columns": lambda: [BASE[:, :3], BASE[:, 3:]],
    "every other": lambda: [BASE.view(-1)[::2], BASE.view(-1)[1::2]],
    "empty": lambda: [BASE[:0], BASE],
    "a conjugate": lambda: [COMPLEX, COMPLEX.conj()],
    "of two memories": lambda: [BASE, BASE.clone()],
}


@pytest.mark.parametrize("make", APART.values(), ids=list(APART))
def test_windows_without_a_common_element_are_tensors_of_their_own(
    make: Callable[[], list[torch.Tensor]], tmp_path: Path
):
    """Tensors in one piece of memory that share no element are not recorded as overlapping."""
    one, two = make()
    overlap(one=one, two=two).save_pretrained(tmp_path)

    assert views_in(tmp_path) == []


GEOMETRIES: dict[str, tuple[Callable[[], list[torch.Tensor]], int, tuple[int, list[int]], tuple[int, list[int]]]] = {
    "slices": (lambda: [BASE.view(-1)[:9], BASE.view(-1)[5:15]], 60, (0, [1]), (20, [1])),
    "transposed": (lambda: [BASE, BASE.T], 96, (0, [6, 1]), (0, [1, 6])),
    "from the middle": (lambda: [BASE[2:], BASE[3:, None]], 48, (0, [6, 1]), (24, [1, 1, 1])),
    "columns and a row": (lambda: [BASE[:, 1:], BASE[1]], 96, (4, [6, 1]), (24, [1])),
    "another dtype": (lambda: [BASE.view(torch.int32)[0], BASE[0]], 24, (0, [1]), (0, [1])),
}


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_geometry_of_overlapping_tensors_is_recorded(geometry: str, tmp_path: Path):
    """Of tensors that have elements in common the file says where in their memory each one lies."""
    make, size, (first, steps), (second, strides) = GEOMETRIES[geometry]
    one, two = make()
    overlap(one=one, two=two, three=torch.zeros(2)).save_pretrained(tmp_path)

    assert views_in(tmp_path) == [
        {
            "bytes": size,
            "members": {"one": {"offset": first, "stride": steps}, "two": {"offset": second, "stride": strides}},
        }
    ]


def test_windows_that_are_mostly_holes_are_stored_by_value_alone(tmp_path: Path):
    """Tensors whose memory is larger than they are one by one are not recorded: nobody makes room by a file's word."""
    overlap(one=BASE.view(-1)[::8], two=BASE[0]).save_pretrained(tmp_path)

    assert views_in(tmp_path) == []
    assert load_file(tmp_path / "model.safetensors")["one"].tolist() == [0, 8, 16]


class Overlapping(PreTrainedModel):
    """Two windows of one piece of memory."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.register_buffer("one", torch.zeros(12))
        self.register_buffer("two", torch.zeros(3, 4))


@pytest.mark.parametrize("limit", ["50GB", 1])
def test_overlapping_tensors_come_back_overlapping(limit: int | str, tmp_path: Path):
    """What one of them is written to is seen through the other after a load as before."""
    model, base = Overlapping(NetConfig()), torch.arange(20.0)
    model.one, model.two = base[:12], base[6:18].view(3, 4)
    model.save_pretrained(tmp_path, max_shard_size=limit)
    loaded = Overlapping.from_pretrained(tmp_path)
    loaded.one[7] = 100.0

    assert loaded.two[0, 1] == 100.0
    assert loaded.one.tolist()[:7] == list(range(7))


# ---- dtypes


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_dtype_of_the_format_comes_back(name: str, tmp_path: Path):
    """A tensor of any dtype that the format has comes back bit for bit."""
    dtype = getattr(torch, name)
    model = Held(NetConfig())
    model.one = torch.tensor([0, 1, 1] * 8, dtype=torch.uint8).view(dtype)
    model.one = model.one[:3].clone()
    model.save_pretrained(tmp_path)
    loaded = read_tensors(tmp_path)["one"]

    assert loaded.dtype == dtype
    assert loaded.view(torch.uint8).tolist() == model.one.view(torch.uint8).tolist()


@pytest.mark.parametrize("name", sorted(set(DTYPES) - {"float8_e8m0fnu"}))  # whose name the library does not know
def test_every_dtype_is_read_by_the_library(name: str, tmp_path: Path):
    """A tensor of any dtype that safetensors reads is read by it as it was."""
    model = Held(NetConfig())
    model.one = torch.tensor([0, 1, 1] * 8, dtype=torch.uint8).view(getattr(torch, name))
    model.save_pretrained(tmp_path)
    read = load_file(tmp_path / "model.safetensors")["one"]

    assert read.dtype == model.one.dtype
    assert read.view(torch.uint8).tolist() == model.one.view(torch.uint8).tolist()


# ---- readers of others


def test_ties_are_recorded_as_others_record_them(tmp_path: Path):
    """The metadata names each alias as safetensors and huggingface_hub do, and their strict loader takes the file."""
    model = Tied(NetConfig())
    model.save_pretrained(tmp_path)
    other = Tied(NetConfig())
    missing, unexpected = load_model(other, tmp_path / "model.safetensors", strict=True)

    assert header_of(tmp_path)[0]["__metadata__"]["two.weight"] == "one.weight"
    assert (set(missing), unexpected) == (set(), [])
    assert same(other, model)


def test_the_hub_library_loads_our_files(tmp_path: Path):
    """`huggingface_hub` loads single files and shards of ours."""
    model = Net(NetConfig())
    model.save_pretrained(tmp_path / "single")
    model.save_pretrained(tmp_path / "shards", max_shard_size=100)
    for folder in ("single", "shards"):
        other = Net(NetConfig())
        load_torch_model(other, tmp_path / folder, strict=True)

        assert same(other, model)


# ---- options


def test_other_processes_do_not_save(tmp_path: Path):
    """A process that is not the main one writes nothing."""
    Net(NetConfig()).save_pretrained(tmp_path / "model", is_main_process=False)

    assert not (tmp_path / "model").exists()


def test_a_given_state_is_saved(tmp_path: Path):
    """What is given as the state is saved instead of the model's own."""
    model = Net(NetConfig())
    state = {key: torch.ones_like(tensor) for key, tensor in model.state_dict().items()}
    model.save_pretrained(tmp_path, state_dict=state)

    assert {key: each.tolist() for key, each in load_file(tmp_path / "model.safetensors").items()} == {
        key: each.tolist() for key, each in state.items()
    }


def test_keys_that_the_class_ignores_are_not_saved(tmp_path: Path):
    """Keys that a pattern of the class matches are left out, and the model keeps them."""

    class Forgetful(Net):
        _keys_to_ignore_on_save = (r"^norm\.", r"bias$")

    model = Forgetful(NetConfig())
    keys = set(model.state_dict())
    model.save_pretrained(tmp_path)

    assert load_file(tmp_path / "model.safetensors").keys() == {"linear.weight", "conv.weight"}
    assert set(model.state_dict()) == keys


def test_a_tie_outlives_its_ignored_name(tmp_path: Path):
    """Where the name that a tie would be stored under is ignored, it is stored under the other."""

    class Forgetful(Tied):
        _keys_to_ignore_on_save = ("^one",)

    model = Forgetful(NetConfig())
    model.save_pretrained(tmp_path)

    assert torch.equal(load_file(tmp_path / "model.safetensors")["two.weight"], model.one.weight)


def test_a_pattern_that_is_none_is_an_error(tmp_path: Path):
    """What is no regular expression is named with the class that has it."""

    class Wrong(Net):
        _keys_to_ignore_on_save = ("(",)

    with pytest.raises(UnknownOptionError) as caught:
        Wrong(NetConfig()).save_pretrained(tmp_path)

    assert str(caught.value).startswith("Wrong._keys_to_ignore_on_save must hold regular expressions: missing )")


def test_options_of_accelerate_are_taken(tmp_path: Path):
    """What callers of Transformers pass without need changes nothing."""
    Net(NetConfig()).save_pretrained(tmp_path, safe_serialization=True, save_function=torch.save)

    assert load_file(tmp_path / "model.safetensors")


NOT_OPTIONS: dict[str, tuple[dict[str, Any], list[str]]] = {
    "pickles": (
        {"safe_serialization": False},
        [
            "safe_serialization=False asks for a pickle, which could run any code.",
            "Only safetensors is written; leave the option out.",
        ],
    ),
    "no function": ({"save_function": 5}, ["save_function must be a function, found 5; it is not called."]),
    "a slip": (
        {"max_shard_sise": 5},
        ["Net.save_pretrained has no option 'max_shard_sise'.", "Did you mean 'max_shard_size'?"],
    ),
    "unknown": (
        {"xyz": 5},
        [
            "Net.save_pretrained has no option 'xyz'.",
            "Its options are: is_main_process, layout, max_shard_size, state_dict, timeout and 2 more.",
        ],
    ),
}


@pytest.mark.parametrize("case", NOT_OPTIONS)
def test_an_option_that_cannot_be_is_an_error(case: str, tmp_path: Path):
    """An unknown option, or one that asks for what is not done, is refused before anything is made."""
    options, lines = NOT_OPTIONS[case]
    with pytest.raises(UnknownOptionError) as caught:
        Net(NetConfig()).save_pretrained(tmp_path / "model", **options)

    assert str(caught.value) == "\n  ".join(lines)
    assert not (tmp_path / "model").exists()


def test_the_home_of_the_user_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A tilde at the beginning of the folder is the user's home."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    Net(NetConfig()).save_pretrained("~/model")

    assert sorted(contents(tmp_path / "model")) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("", "'' is no path, so nothing can be saved there. Give the path of a folder."),
        ("a\0b", "'a\\x00b' is no path, so nothing can be saved there. Give the path of a folder."),
        ("~nobody-of-that-name/x", "'~nobody-of-that-name/x' begins with a home that is not known."),
    ],
)
def test_a_path_that_is_none_is_an_error(folder: str, message: str):
    """What cannot be the path of a folder is refused."""
    with pytest.raises(UnsafePathError) as caught:
        Net(NetConfig()).save_pretrained(folder)

    assert str(caught.value).startswith(message)


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
