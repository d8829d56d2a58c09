"""Pickled weights: read only on demand, bit for bit, and never a program: nothing that a file says is ever run."""

import io
import json
import os
import pickle
import pickletools
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from mmap import MAP_SHARED
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from nameplate_config import NameplateError, PreTrainedConfig, SourceNotFoundError, UnsafePathError
from nameplate_model import AmbiguousCheckpointError, CheckpointError, CorruptFileError, PreTrainedModel, ShardError
from nameplate_model._pickled import read_pickled

PICKLE, INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
WAY_OUT = "\n  If you trust its origin, read it yourself and pass the tensors as state_dict=, or ask for safetensors."


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


class Canary:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, nest: Path) -> None:
        self.nest = str(nest)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.nest,)


def weights() -> dict[str, torch.Tensor]:
    """Return what a network is filled with."""
    return {"linear.weight": torch.arange(16.0).reshape(4, 4), "linear.bias": torch.arange(4.0)}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a good pickle and a config."""
    folder = tmp_path / "net"
    NetConfig().save_pretrained(folder)
    torch.save(weights(), folder / PICKLE)
    return folder


def load(folder: Path, **options: Any) -> Net:
    """Load the pickle of a folder."""
    return Net.from_pretrained(folder, use_safetensors=False, **options)


def says(folder: Path, kind: type[NameplateError], text: str) -> bool:
    """Whether loading the pickle of a folder is an error of exactly one class and has exactly one text."""
    with pytest.raises(NameplateError) as caught:
        load(folder)
    assert (type(caught.value), str(caught.value)) == (kind, text)
    return True


def corrupt(path: Path, why: str) -> str:
    """Return the text of the error about a file that is torn."""
    return f"'{path}' is not a whole file of torch.save: {why}.\n  It may be truncated. Restore it from its origin."


def rezip(path: Path, edit: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Write an archive anew with other contents."""
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in held.items():
            archive.writestr(name, edit(name.partition("/")[2], data))


def with_stream(data: bytes, number: int, new: bytes) -> bytes:
    """Return a file of the old format with one of the five pickles before its data replaced."""
    rest = io.BytesIO(data)
    ends = [0]
    for _ in range(5):
        list(pickletools.genops(rest))
        ends.append(rest.tell())
    return data[: ends[number]] + new + data[ends[number + 1] :]


def save_old(state: Any, path: Path) -> None:
    """Write a file as torch did before 1.6."""
    torch.save(state, path, _use_new_zipfile_serialization=False)


# ---- what is read


@pytest.mark.parametrize("old", [False, True])
def test_tensors_of_every_kind_come_back(old: bool, tmp_path: Path):
    """Dtype, shape, strides and bits are those that were saved, autograd's marks are not kept."""
    state = {
        "scalar": torch.tensor(3, dtype=torch.int64),
        "empty": torch.zeros(0, 3),
        "half": torch.randn(3).half(),
        "bfloat16": torch.randn(3).bfloat16(),
        "bool": torch.tensor([True, False]),
        "complex": torch.randn(2, dtype=torch.complex64),
        "parameter": nn.Parameter(torch.randn(2)),
        "columns": torch.randn(3, 4).T,
        "part": torch.arange(10)[3:6],
        "positions": torch.arange(3).expand((1, -1)),
    }
    if not old:
        state |= {"float8": torch.randn(4).to(torch.float8_e4m3fn), "uint16": torch.tensor([1], dtype=torch.uint16)}
    path = tmp_path / PICKLE
    torch.save(OrderedDict(state), path, _use_new_zipfile_serialization=not old)
    found = read_pickled(path)

    assert list(found) == list(state)
    for name, tensor in state.items():
        assert (found[name].dtype, found[name].shape) == (tensor.dtype, tensor.shape), name
        assert found[name].stride() == tensor.stride(), name
        assert torch.equal(found[name].contiguous().view(-1).view(torch.uint8), bits(tensor)), name
    assert not any(tensor.requires_grad for tensor in found.values())


def bits(tensor: torch.Tensor) -> torch.Tensor:
    """Return the bytes of a tensor."""
    return tensor.detach().contiguous().view(-1).view(torch.uint8)


def test_a_mapped_pickle_is_never_written_to(folder: Path):
    """Training on what was read leaves the file as it is, also where the process maps files shared."""
    before = (folder / PICKLE).read_bytes()
    for options in [None, MAP_SHARED]:
        if options is None:
            model = load(folder)
        else:
            with torch.serialization.set_default_mmap_options(options):
                model = load(folder)
        nn.init.zeros_(model.linear.weight)

    assert (folder / PICKLE).read_bytes() == before


def test_a_pickle_fills_a_model(folder: Path):
    """A model is loaded from a pickle as strictly as from safetensors."""
    model = load(folder)

    assert torch.equal(model.linear.weight, weights()["linear.weight"])
    assert model.load_report.exact


# ---- what is a program


@pytest.mark.parametrize("old", [False, True])
def test_code_in_a_pickle_never_runs(old: bool, folder: Path):
    """A file that asks for a function is refused before anything of it is followed."""
    torch.save({**weights(), "x": Canary(folder / "nest")}, folder / PICKLE, _use_new_zipfile_serialization=not old)

    assert says(
        folder,
        CheckpointError,
        f"'{folder / PICKLE}' asks for 'posix.mkdir', of which no tensor is made; nothing of it was run.{WAY_OUT}",
    )
    assert not (folder / "nest").exists()


@pytest.mark.parametrize("number", range(5))
def test_code_around_the_tensors_never_runs(number: int, folder: Path):
    """Each of the five pickles of an old file is looked at."""
    save_old(weights(), folder / PICKLE)
    program = pickle.dumps(Canary(folder / "nest"), protocol=2)
    (folder / PICKLE).write_bytes(with_stream((folder / PICKLE).read_bytes(), number, program))

    with pytest.raises(CheckpointError, match=r"asks for 'posix\.mkdir'"):
        load(folder)
    assert not (folder / "nest").exists()


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_a_bare_pickle_never_runs(protocol: int, folder: Path):
    """A pickle that torch did not write is refused, whatever its protocol."""
    (folder / PICKLE).write_bytes(pickle.dumps(Canary(folder / "nest"), protocol=protocol))

    with pytest.raises(CheckpointError, match=r"asks for '(posix\.mkdir|STACK_GLOBAL)'"):
        load(folder)
    assert not (folder / "nest").exists()


def test_what_the_process_trusts_is_not_trusted(folder: Path):
    """Functions that the program allowed torch to call for other files are refused as well."""
    torch.save({**weights(), "x": Canary(folder / "nest")}, folder / PICKLE)
    with (
        torch.serialization.safe_globals([os.mkdir]),
        pytest.raises(CheckpointError, match=r"asks for 'posix\.mkdir'"),
    ):
        load(folder)

    assert not (folder / "nest").exists()


def test_a_torchscript_program(folder: Path):
    """A program is no dict of tensors, and its code is not looked at."""
    torch_archive = zipfile.ZipFile(folder / PICKLE, "w")
    with torch_archive as archive:
        archive.writestr("net/data.pkl", b"")
        archive.writestr("net/constants.pkl", b"")

    assert says(
        folder,
        CheckpointError,
        f"'{folder / PICKLE}' is a TorchScript program, not a dict of tensors.{WAY_OUT}",
    )


def test_a_torch_that_is_too_old(folder: Path, monkeypatch: pytest.MonkeyPatch):
    """A torch whose own reader was found unsafe reads no pickle at all."""
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")

    assert says(
        folder,
        CheckpointError,
        f"'{folder / PICKLE}' is a pickle, which torch 2.9.1+cpu cannot read safely.\n"
        "  Install torch 2.10 or newer, or convert the file to safetensors.",
    )


# ---- what is no dict of tensors


@pytest.mark.parametrize(
    ("state", "what"),
    [
        ([1], "holds a list, not a dict of tensors."),
        (torch.zeros(2), "holds a Tensor, not a dict of tensors."),
        ({"linear.weight": 3}, "holds 3 at 'linear.weight', not a tensor."),
        ({5: torch.zeros(1)}, "holds tensor([0.]) at 5, not a tensor."),
        ({"model": {"w": torch.zeros(1)}}, "holds a dict at 'model', not a tensor: the weights may be in there."),
    ],
)
def test_other_things_than_tensors(state: Any, what: str, folder: Path):
    """What is found instead of tensors is named, with the key."""
    torch.save(state, folder / PICKLE)

    assert says(folder, CheckpointError, f"'{folder / PICKLE}' {what}{WAY_OUT}")


@pytest.mark.parametrize("old", [False, True])
def test_a_number_that_the_file_cannot_hold(old: bool, folder: Path):
    """A storage is never larger than its file, so no memory is set aside for what a hostile one says."""
    torch.save({"linear.weight": torch.zeros(300)}, folder / PICKLE, _use_new_zipfile_serialization=not old)
    inflate = lambda data: data.replace(b"M\x2c\x01", b"J\x00\x00\x00\x7f")  # noqa: E731 - 300 becomes 2 billion
    if old:
        (folder / PICKLE).write_bytes(inflate((folder / PICKLE).read_bytes()))
    else:
        rezip(folder / PICKLE, lambda name, data: inflate(data) if name == "data.pkl" else data)
    size = (folder / PICKLE).stat().st_size

    assert says(
        folder,
        CorruptFileError,
        f"'{folder / PICKLE}' says 2,130,706,432, but has only {size:,} bytes.\n"
        "  It is damaged or hostile, and was not read.",
    )


def test_a_tensor_that_repeats_one_number(folder: Path):
    """A view that would become larger than the file as soon as it is copied is refused."""
    torch.save({"linear.weight": torch.zeros(1).expand(900, 900)}, folder / PICKLE)

    assert says(
        folder,
        CorruptFileError,
        f"'{folder / PICKLE}': the tensor 'linear.weight' of shape (900, 900) is larger than the file.\n"
        "  The file is damaged or hostile.",
    )


def test_a_packed_archive(folder: Path):
    """A compressed archive could become a thousand times larger, and torch writes none."""
    rezip(folder / PICKLE, lambda _, data: data, zipfile.ZIP_DEFLATED)

    assert says(folder, CorruptFileError, corrupt(folder / PICKLE, "an archive that torch does not write"))


TOO_MUCH = (
    "describes more tensors than are read from one pickle: "
    "over 1,000,000 instructions, 16,777,216 bytes of them or 4,194,304 of names."
)


def test_a_pickle_with_too_many_instructions(folder: Path):
    """Reading stops after a million instructions."""
    rezip(folder / PICKLE, lambda name, data: b"\x80\x02" + b"N0" * 600_000 + b"}." if name == "data.pkl" else data)

    assert says(folder, CheckpointError, f"'{folder / PICKLE}' {TOO_MUCH}{WAY_OUT}")


@pytest.mark.parametrize("large", [False, True])
def test_an_archive_of_too_many_entries(large: bool, folder: Path):
    """The directory of an archive is not read if it is larger than any of tensors."""
    end = struct.pack("<4sHHHHLLH", b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF if large else 5 << 20, 4, 0)
    record = struct.pack("<4sQHHLLQQQQ", b"PK\6\6", 44, 45, 45, 0, 0, 80_000, 80_000, 5 << 20, 4) if large else b""
    (folder / PICKLE).write_bytes(b"PK\3\4" + bytes(5 << 20) + record + end)

    assert says(folder, CheckpointError, f"'{folder / PICKLE}' {TOO_MUCH}{WAY_OUT}")


def test_a_tar_file(folder: Path):
    """What the very first versions of torch wrote is named, and not read."""
    (folder / PICKLE).write_bytes(b"\0" * 257 + b"ustar" + b"\0" * 250)

    assert says(
        folder,
        CheckpointError,
        f"'{folder / PICKLE}' is a tar file of torch before 0.1.10, which is not read.{WAY_OUT}",
    )


# ---- what is torn


@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.2, 0.5, 0.9, 0.99])
def test_a_truncated_pickle(share: float, old: bool, folder: Path):
    """A file cut anywhere is never loaded: the error names it and says what to do."""
    torch.save(weights(), folder / PICKLE, _use_new_zipfile_serialization=not old)
    data = (folder / PICKLE).read_bytes()
    (folder / PICKLE).write_bytes(data[: int(len(data) * share)])

    with pytest.raises(CorruptFileError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"'{folder / PICKLE}' is not a whole file of torch.save: ")
    assert str(caught.value).endswith("It may be truncated. Restore it from its origin.")


GOOD: dict[bool, bytes] = {}


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the path of a file that many examples overwrite."""
    return tmp_path_factory.mktemp("scratch") / PICKLE


@given(data=st.data(), old=st.booleans())
@settings(max_examples=150, deadline=None)
def test_any_damage_is_an_error_of_ours_or_harmless(data: st.DataObject, old: bool, scratch: Path):
    """Whatever bytes are changed, a pickle gives tensors or an error that callers can catch; nothing else."""
    good = bytearray(GOOD.setdefault(old, saved_bytes(old=old)))
    for _ in range(data.draw(st.integers(1, 4))):
        good[data.draw(st.integers(0, len(good) - 1))] = data.draw(st.integers(0, 255))
    scratch.write_bytes(good)
    try:
        found = read_pickled(scratch)
    except CheckpointError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())


def saved_bytes(*, old: bool) -> bytes:
    """Return a good file."""
    file = io.BytesIO()
    torch.save(weights(), file, _use_new_zipfile_serialization=not old)
    return file.getvalue()


# ---- which file


def test_a_folder_without_a_pickle(folder: Path):
    """Asking for a pickle where there is none is an error that lists what is there."""
    (folder / PICKLE).unlink()

    assert says(
        folder,
        SourceNotFoundError,
        f"{folder / PICKLE} does not exist.\n  The folder holds: config.json.",
    )


@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_pickle_that_is_no_file(kind: str, folder: Path):
    """What would hang or never end is not opened."""
    (folder / PICKLE).unlink()
    make = {"fifo": os.mkfifo, "device": lambda path: path.symlink_to("/dev/zero"), "folder": Path.mkdir}
    make[kind](folder / PICKLE)

    assert says(folder, SourceNotFoundError, f"'{folder / PICKLE}' is not a regular file.")


def shard(folder: Path, **changes: str) -> None:
    """Put shards and an index in the place of the single pickle; *changes* replace entries of the weight map."""
    (folder / PICKLE).unlink()
    weight_map = {}
    for number, (key, tensor) in enumerate(weights().items()):
        weight_map[key] = f"pytorch_model-{number}.bin"
        torch.save({key: tensor}, folder / weight_map[key])
    (folder / INDEX).write_text(json.dumps({"weight_map": {**weight_map, **changes}}))


def test_shards(folder: Path):
    """An index of pickles is read as one of safetensors is."""
    shard(folder)

    assert torch.equal(load(folder).linear.bias, weights()["linear.bias"])


@pytest.mark.parametrize("name", ["../pytorch_model-0.bin", "/etc/passwd", "..", "a/b.bin"])
def test_a_shard_outside_the_folder(name: str, folder: Path):
    """An index cannot name a file that is not beside it."""
    shard(folder, **{"linear.bias": name})

    assert says(
        folder,
        UnsafePathError,
        f"{folder / INDEX}: {name!r} is not a plain file name, so it could leave the folder '{folder}'.",
    )


def test_a_shard_that_is_not_there(folder: Path):
    """A missing shard is named, with the index that asks for it."""
    shard(folder, **{"linear.bias": "pytorch_model-7.bin"})

    with pytest.raises(ShardError) as caught:
        load(folder)
    assert str(caught.value).startswith(f"{folder / INDEX} names the file 'pytorch_model-7.bin', which is not there.")


def test_a_tensor_that_its_shard_lacks(folder: Path):
    """What the index says of a shard must be true."""
    shard(folder, extra="pytorch_model-0.bin")

    assert says(folder, ShardError, f"{folder / INDEX} says that 'pytorch_model-0.bin' holds 'extra', but it does not.")


def test_one_pickle_and_an_index(folder: Path):
    """Two pickled checkpoints in one folder are ambiguous."""
    shard(folder)
    torch.save(weights(), folder / PICKLE)

    assert says(
        folder,
        AmbiguousCheckpointError,
        f"'{folder}' holds both {PICKLE} and {INDEX}, and no record says which one counts.\n"
        "  Remove the one that is left over from an earlier save.",
    )


@pytest.mark.parametrize("use", [None, True])
def test_a_pickle_is_read_only_on_demand(use: bool | None, folder: Path):
    """Without being asked for it, a load never opens a pickle, and says how to ask."""
    with pytest.raises(CheckpointError) as caught:
        Net.from_pretrained(folder, use_safetensors=use)

    assert str(caught.value) == (
        f"'{folder}' holds no weights: looked for model.safetensors and model.safetensors.index.json.\n"
        f"  It has {PICKLE}, a pickle, which is read only on demand: pass use_safetensors=False if you trust it."
    )


def test_safetensors_count_beside_a_pickle(folder: Path):
    """Where a folder has both, the pickle is read only if it is asked for."""
    Net(NetConfig()).save_pretrained(folder)
    torch.save(weights(), folder / PICKLE)

    assert not torch.equal(Net.from_pretrained(folder).linear.bias, weights()["linear.bias"])
    assert torch.equal(load(folder).linear.bias, weights()["linear.bias"])
