"""Tensors that overlap in memory overlap again after a load, as the class wove them or as only the instance did."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_config.record import seal
from nameplate_model import CorruptFileError, PreTrainedModel

WEIGHTS = "model.safetensors"


class NetConfig(PreTrainedConfig):
    """A config of nothing."""

    model_type = "net"


class Plain(PreTrainedModel):
    """Weaves nothing by itself."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.whole = nn.Parameter(torch.zeros(4, 6))
        self.part = nn.Parameter(torch.zeros(2, 6))
        self.register_buffer("column", torch.zeros(4))


class Buffers(PreTrainedModel):
    """A table, and windows of it: persistent or not, strided, of another dtype, and a second name."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.register_buffer("table", torch.zeros(4, 6))
        self.register_buffer("row", self.table[1])
        self.register_buffer("column", self.table[:, 2])
        self.register_buffer("turned", self.table.t(), persistent=False)
        self.register_buffer("bits", self.table.view(torch.int32), persistent=False)
        self.again = nn.Module()
        self.again.register_buffer("table", self.table)


class Parameters(PreTrainedModel):
    """Parameters that are windows of one another, and a buffer of the same memory."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.whole = nn.Parameter(torch.zeros(4, 6))
        self.part = nn.Parameter(self.whole.detach()[1:3], requires_grad=False)
        self.part.group = "slow"
        self.register_buffer("column", self.whole.detach()[:, 2], persistent=False)
        self.again = nn.Module()
        self.again.whole = self.whole


class Flat(PreTrainedModel):
    """Parameters that are cut out of one flat piece of memory, which is a hidden buffer."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.register_buffer("flat", torch.zeros(24), persistent=False)
        self.one = nn.Parameter(self.flat[:12].view(3, 4))
        self.two = nn.Parameter(self.flat[12:])


def tensors_of(model: nn.Module) -> dict[str, torch.Tensor]:
    """Return every tensor of a model under every name."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return {name: tensor.detach() for name, tensor in named}


def fill(model: nn.Module) -> None:
    """Write drawn values."""
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.rand(tensor.shape))
        for name, tensor in model.named_buffers():
            if name == "table":
                tensor.copy_(torch.rand(tensor.shape))


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal tensors, hidden ones included."""
    ours, theirs = tensors_of(one), tensors_of(other)
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


def geometry(model: nn.Module) -> dict[str, tuple[object, ...]]:
    """Return where each tensor lies: which piece of memory by number, from which byte on, and with which steps."""
    pieces: dict[int, int] = {}
    first: dict[int, int] = {}
    tensors = tensors_of(model)
    for tensor in tensors.values():
        piece = tensor.untyped_storage().data_ptr()
        pieces.setdefault(piece, len(pieces))
        first[piece] = min(first.get(piece, tensor.data_ptr()), tensor.data_ptr())
    return {
        name: (
            pieces[tensor.untyped_storage().data_ptr()],
            tensor.data_ptr() - first[tensor.untyped_storage().data_ptr()],
            tensor.stride(),
        )
        for name, tensor in tensors.items()
    }


WOVEN = [Buffers, Parameters, Flat]


# ---- as the class weaves them


@pytest.mark.parametrize("kind", WOVEN)
@pytest.mark.parametrize("memory", ["mmap", "copy"])
def test_what_the_class_weaves_is_woven(kind: type[PreTrainedModel], memory: str, tmp_path: Path):
    """Values, memory, offsets and strides of every tensor are those of the saved model, also of hidden buffers."""
    model = kind(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path)
    loaded = kind.from_pretrained(tmp_path, memory=memory)

    assert same(loaded, model)
    assert geometry(loaded) == geometry(model)


@pytest.mark.parametrize("kind", WOVEN)
def test_another_library_need_not_know(kind: type[PreTrainedModel], tmp_path: Path):
    """Where the file says nothing of overlaps, those that the class makes are there all the same."""
    model = kind(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, tmp_path / WEIGHTS)
    loaded = kind.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert geometry(loaded) == geometry(model)


@pytest.mark.parametrize("kind", WOVEN)
def test_shards_are_woven(kind: type[PreTrainedModel], tmp_path: Path):
    """Windows of one memory may lie in different files."""
    model = kind(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path, max_shard_size=1)
    loaded = kind.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert geometry(loaded) == geometry(model)


def test_parameters_keep_their_nature(tmp_path: Path):
    """Windows that are parameters stay frozen, marked and tied as they were."""
    model = Parameters(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path)
    loaded = Parameters.from_pretrained(tmp_path)

    assert (loaded.whole.requires_grad, loaded.part.requires_grad, loaded.part.group) == (True, False, "slow")
    assert loaded.again.whole is loaded.whole
    assert type(loaded.part) is nn.Parameter


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_cast_keeps_windows_of_one_dtype(dtype: torch.dtype, tmp_path: Path):
    """Windows that are cast alike lie in one memory again."""
    model = Parameters(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path)
    loaded = Parameters.from_pretrained(tmp_path, dtype=dtype)
    with torch.no_grad():
        loaded.whole.fill_(7)

    assert {name: tensor.dtype for name, tensor in tensors_of(loaded).items()} == dict.fromkeys(
        tensors_of(loaded), dtype
    )
    assert {value for tensor in tensors_of(loaded).values() for value in tensor.flatten().tolist()} == {7}


def test_a_hidden_window_follows_a_tensor_that_is_missing(tmp_path: Path):
    """Where the file lacks a tensor, its hidden windows have the values that construction gives."""
    model = Buffers(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path)
    save_file({"column": torch.ones(4)}, tmp_path / WEIGHTS)
    loaded = Buffers.from_pretrained(tmp_path, strict=False)
    expected = torch.zeros(4, 6)
    expected[:, 2] = 1  # what the file has wins over what the constructor computed

    assert torch.equal(loaded.table, expected)
    assert torch.equal(loaded.turned, expected.t())


@pytest.mark.parametrize("hook", [False, True])
def test_values_that_contradict_each_other_are_an_error(*, hook: bool, tmp_path: Path):
    """A file with other values for the same memory is refused, and the error names the tensors."""

    class Hooked(Buffers):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            if hook:
                self.register_load_state_dict_post_hook(lambda _module, _keys: None)

    model = Hooked(NetConfig())
    fill(model)
    model.save_pretrained(tmp_path)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_file({**state, "row": state["row"] + 1}, tmp_path / WEIGHTS)
    with pytest.raises(CorruptFileError, match=r"is the same memory as .*, but the checkpoint has other values for it"):
        Hooked.from_pretrained(tmp_path)


# ---- as only the instance does


def weave(model: Any) -> None:
    """Let tensors of an instance be windows of one memory, as its class knows nothing of."""
    memory = torch.rand(48)
    model.whole = nn.Parameter(memory[8:32].view(6, 4).t())
    model.part = nn.Parameter(memory[12:24].view(2, 6), requires_grad=False)
    model.column = memory[8:32:6]


def tie(model: Any) -> None:
    """Let two names be one tensor."""
    model.part = nn.Parameter(torch.rand(2, 6))
    model.whole = nn.Parameter(torch.rand(4, 6))
    model.column = model.whole.detach()[:, 0]


@pytest.mark.parametrize("change", [weave, tie])
@pytest.mark.parametrize("limit", ["50GB", 1])
def test_what_an_instance_weaves_is_recorded(change: Callable[[Any], None], limit: str | int, tmp_path: Path):
    """Overlaps that only the saved instance had come back, with offsets and strides."""
    model = Plain(NetConfig())
    change(model)
    model.save_pretrained(tmp_path, max_shard_size=limit)
    loaded = Plain.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert geometry(loaded) == geometry(model)
    with torch.no_grad():
        loaded.whole.fill_(5)
    assert set(loaded.column.tolist()) == {5}


def test_neighbours_are_not_woven(tmp_path: Path):
    """Windows of one memory that have no element in common come back as tensors of their own."""
    model = Plain(NetConfig())
    memory = torch.rand(36)
    model.whole, model.part = nn.Parameter(memory[:24].view(4, 6)), nn.Parameter(memory[24:].view(2, 6))
    model.save_pretrained(tmp_path)
    loaded = Plain.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.whole.untyped_storage().data_ptr() != loaded.part.untyped_storage().data_ptr()


def test_whole_tensors_are_in_the_file(tmp_path: Path):
    """Every window is in the file by value, so a reader that knows nothing of them has it whole."""
    model = Plain(NetConfig())
    weave(model)
    model.save_pretrained(tmp_path)
    theirs = load_file(tmp_path / WEIGHTS)

    assert theirs.keys() == model.state_dict().keys()
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in theirs.items())


GARBAGE = {
    "no JSON": "{",
    "no list": "3",
    "no members": "[{}]",
    "an unknown tensor": '[{"members": {"nowhere": {"offset": 0, "stride": [1]}}}]',
    "a negative offset": '[{"members": {"column": {"offset": -4, "stride": [1]}}}]',
    "an offset between elements": '[{"members": {"column": {"offset": 2, "stride": [1]}}}]',
    "too few strides": '[{"members": {"whole": {"offset": 0, "stride": [1]}}}]',
    "a negative stride": '[{"members": {"column": {"offset": 0, "stride": [-1]}}}]',
    "more memory than the tensors": '[{"members": {"column": {"offset": 4096, "stride": [1]}}}]',
    "a stride of terabytes": '[{"members": {"column": {"offset": 0, "stride": [1099511627776]}}}]',
    "a text as offset": '[{"members": {"column": {"offset": "0", "stride": [1]}}}]',
    "deep nesting": "[" * 50_000,
}


@pytest.mark.parametrize("text", GARBAGE.values(), ids=list(GARBAGE))
def test_overlaps_that_are_garbage(text: str, tmp_path: Path):
    """Metadata about overlaps that cannot be is an error, and no memory is taken by its word."""
    Plain(NetConfig()).save_pretrained(tmp_path)
    data = (tmp_path / WEIGHTS).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8 : 8 + length])
    hashes = header["__metadata__"]["nameplate"].split(" ")
    header["__metadata__"]["nameplate"] = " ".join([*hashes[:2], "0" * 64])
    header["__metadata__"]["nameplate.views"] = text
    table = json.dumps(header, separators=(",", ":")).encode()
    (tmp_path / WEIGHTS).write_bytes(seal(struct.pack("<Q", len(table)) + table)[0] + data[8 + length :])
    with pytest.raises(CorruptFileError) as caught:
        Plain.from_pretrained(tmp_path)

    assert "what it records of overlapping tensors cannot be: " in str(caught.value)
