"""Checkpoints of torch.distributed.checkpoint: read here bit for bit, whole and in slices, and ours are read there.

No code in one ever runs, and one that is torn or mixed from two saves is one typed error.
"""

import json
import os
import pickle
import shutil
import warnings
from collections.abc import Callable
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torch.distributed.checkpoint.filesystem import SerializationFormat
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from nameplate_config import NameplateError, PreTrainedConfig, UnsafePathError, open_source
from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import (
    AmbiguousCheckpointError,
    CheckpointError,
    CorruptFileError,
    MismatchError,
    PreTrainedModel,
    ShardError,
    load_weights,
    read_tensors,
)
from nameplate_model._boxes import Box
from nameplate_model._dcp.metadata import METADATA_NAME
from nameplate_model._weights import WeightChoice, open_weights

UNSAFE: dict[str, Any] = {"use_safetensors": False}
WAYS: dict[str, dict[str, Any]] = {
    "native": UNSAFE,
    "native-safetensors": UNSAFE,
    "shards": {},
    "shards-mapped": {},
    "whole": {},
    "whole/sharded": {},
}
"""How a folder is loaded, by the way in which torch has written it."""


class NetConfig(PreTrainedConfig):
    """The width of a small network."""

    model_type = "net"
    width: int = 5


class Net(PreTrainedModel):
    """Tensors that two and three ranks cut unevenly, or not at all."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.up = nn.Linear(4, config.width)
        self.down = nn.Linear(config.width, 3, bias=False, dtype=torch.bfloat16)
        self.conv = nn.Conv2d(2, 7, 3)
        self.scale = nn.Parameter(torch.ones(1))
        self.register_buffer("mean", torch.zeros(3))


def net() -> Net:
    """Return a network with the same values everywhere."""
    torch.manual_seed(8)
    model = Net(NetConfig())
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            tensor.copy_(torch.randn(tensor.shape))
    return model


def digests(tensors: dict[str, torch.Tensor]) -> dict[str, str]:
    """Return what tells the tensors of a state dict, of all ranks together, from any others."""
    whole = {name: each.full_tensor() if isinstance(each, DTensor) else each for name, each in tensors.items()}
    return {name: f"{each.dtype} {tuple(each.shape)} {sha256(bits(each)).hexdigest()}" for name, each in whole.items()}


def bits(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor, row by row."""
    return bytes(tensor.detach().contiguous().view(-1).view(torch.uint8).tolist())


def columns(model: nn.Module, mesh: Any) -> None:
    """Cut a network as FSDP2 does, but one weight by its columns."""
    model.down.weight = nn.Parameter(distribute_tensor(model.down.weight.detach(), mesh, [Shard(1)]))
    fully_shard(model, mesh=mesh, ignored_params={model.down.weight})


# ---- on ranks


def write_all(rank: int, folder: str) -> None:
    """Write one model with torch, in every way that it has."""
    mesh = init_device_mesh("cpu", (2,))
    model = net()
    columns(model, mesh)
    state = model.state_dict()
    mapping = {name: 1 + place % 2 for place, name in enumerate(state)}
    hugging: dict[str, dict[str, Any]] = {
        "shards": {},
        "shards-mapped": {"fqn_to_index_mapping": mapping, "thread_count": 2},
        "whole": {"enable_consolidation": True},
    }
    dcp.save(state, checkpoint_id=f"{folder}/native")
    packed = SerializationFormat.SAFETENSORS
    dcp.save(state, storage_writer=dcp.FileSystemWriter(f"{folder}/native-safetensors", serialization_format=packed))
    for name, options in hugging.items():
        writer = dcp.HuggingFaceStorageWriter(f"{folder}/{name}", save_distributed=True, **options)
        dcp.save(state, storage_writer=writer)
    optimizer = torch.optim.AdamW([each for each in model.parameters() if each is not model.down.weight], lr=0.0)
    for each in optimizer.param_groups[0]["params"]:
        each.grad = torch.ones_like(each)
    optimizer.step()
    dcp.save({"model": state, "optimizer": optimizer.state_dict()}, checkpoint_id=f"{folder}/all")
    if not rank:
        for name in WAYS:
            NetConfig().save_pretrained(f"{folder}/{name}")


def load_all(_rank: int, folder: str) -> dict[str, Any]:
    """Load every folder in slices."""
    mesh = init_device_mesh("cpu", (3,))
    plans: dict[str, Any] = {"fsdp": "fsdp", "columns": {"up.weight": Shard(1), "down": Shard(1), "conv": Shard(0)}}
    found: dict[str, Any] = {}
    for way, options in WAYS.items():
        for name, plan in plans.items():
            model = Net.from_pretrained(f"{folder}/{way}", device_mesh=mesh, plan=plan, **options)
            found[f"{way} {name}"] = digests(model.state_dict())
    skeleton = Net(NetConfig())
    fully_shard(skeleton, mesh=mesh)
    load_weights(skeleton, f"{folder}/shards")
    found["in place"] = digests(skeleton.state_dict())
    return found


def read_with_torch(_rank: int, folder: str, save: bool) -> dict[str, Any]:
    """Let torch read what we have saved, as DTensors of two kinds; *save* it in slices first."""
    mesh = init_device_mesh("cpu", (2,))
    if save:
        model = net()
        columns(model, mesh)
        model.save_pretrained(folder)
    found: dict[str, Any] = {}
    for name, cut in {
        "fsdp": lambda model: fully_shard(model, mesh=mesh),
        "columns": lambda m: columns(m, mesh),
    }.items():
        model = Net(NetConfig())
        cut(model)
        state = model.state_dict()
        dcp.load(state, storage_reader=dcp.HuggingFaceStorageReader(folder))
        found[name] = digests(state)
    return found


def through_torch(_rank: int, folder: str) -> dict[str, str]:
    """Load in slices here, save with torch, and let torch load that into another layout."""
    mesh = init_device_mesh("cpu", (2,))
    model = Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp")
    dcp.save(model.state_dict(), checkpoint_id=f"{folder}/dcp")
    other = Net(NetConfig())
    columns(other, mesh)
    state = other.state_dict()
    dcp.load(state, checkpoint_id=f"{folder}/dcp")
    return digests(state)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with what two ranks have written with torch, in every way."""
    folder = tmp_path_factory.mktemp("written")
    values(run_ranks(write_all, 2, str(folder)))
    return folder


# ---- what torch has written


@pytest.mark.parametrize("way", WAYS)
def test_one_process_loads_what_ranks_have_saved_with_torch(way: str, written: Path):
    """Every way to write of torch DCP loads here, bit for bit."""
    assert digests(Net.from_pretrained(written / way, **WAYS[way]).state_dict()) == digests(net().state_dict())


def test_other_ranks_load_in_slices_what_ranks_have_saved_with_torch(written: Path):
    """What two ranks have written, three load in slices, each in its own layout, bit for bit."""
    expected = digests(net().state_dict())
    for found in values(run_ranks(load_all, 3, str(written))):
        assert found == dict.fromkeys(found, expected)
        assert len(found) == 2 * len(WAYS) + 1


def test_a_plan_of_shards_counts_their_bytes(written: Path):
    """A plan knows the tensors of such shards, and reads none."""
    plan = Net.plan_load(written / "shards")
    assert plan.allowed
    assert plan.bytes == sum(each.numel() * each.element_size() for each in net().state_dict().values())
    assert list(plan.files) == [f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)]


def test_one_module_of_a_folder_is_read_by_its_prefix(written: Path):
    """A nested state dict has flat names, of which those of the model are read by their prefix."""
    found = read_tensors(written / "all", prefix="model.", **UNSAFE)
    assert digests(found) == digests(net().state_dict())


def test_a_prefix_is_reported_and_can_be_mapped_away(written: Path):
    """A nested state dict does not fit by itself; the error has the names, and key_mapping and a pattern help."""
    with pytest.raises(MismatchError, match=r"'model\.conv\.bias' in the file may be 'conv\.bias'"):
        Net.from_pretrained(written / "all", config=NetConfig(), **UNSAFE)
    model = Net.from_pretrained(
        written / "all", config=NetConfig(), key_mapping={"^model\\.": ""}, allow_unexpected=["optimizer.*"], **UNSAFE
    )
    assert digests(model.state_dict()) == digests(net().state_dict())


def test_only_the_pieces_that_overlap_are_read(written: Path, tmp_path: Path):
    """A box that lies in the file of one rank is read although that of the other is worth nothing."""
    folder = shutil.copytree(written / "native", tmp_path / "native")
    file = folder / "__1_0.distcp"
    file.write_bytes(b"PK\3\4" + bytes(file.stat().st_size - 4))
    weights = open_weights(open_source(folder), WeightChoice(use_safetensors=False))
    tensor: Any = weights.tensors["up.weight"]
    assert torch.equal(tensor.take(Box((1, 2), (2, 1))), net().up.weight[1:3, 2:3])
    with pytest.raises(CorruptFileError, match=r"is not the saved piece of 'up\.weight'"):
        tensor.take()


# ---- what torch reads


@pytest.mark.parametrize("options", [{}, {"max_shard_size": 200}])
def test_torch_reads_what_one_process_has_saved(options: dict[str, Any], tmp_path: Path):
    """One file of ours, or many, is read by torch's own reader into FSDP2 and column-cut models, bit for bit."""
    net().save_pretrained(tmp_path, **options)
    expected = digests(net().state_dict())
    for found in values(run_ranks(read_with_torch, 2, str(tmp_path), False)):
        assert found == {"fsdp": expected, "columns": expected}


def test_torch_reads_what_ranks_have_saved_in_slices(tmp_path: Path):
    """A folder that two ranks of ours have saved together is read by torch's own reader, bit for bit."""
    expected = digests(net().state_dict())
    for found in values(run_ranks(read_with_torch, 2, str(tmp_path / "net"), True)):
        assert found == {"fsdp": expected, "columns": expected}


def test_torch_saves_what_was_loaded_in_slices(tmp_path: Path):
    """The state dict of a model that was loaded in slices goes through torch DCP into another layout."""
    net().save_pretrained(tmp_path)
    assert values(run_ranks(through_torch, 2, str(tmp_path))) == [digests(net().state_dict())] * 2


# ---- shards that do not fit together


SHARDS = [f"shard-0000{rank}-model-00001-of-00001.safetensors" for rank in (1, 2)]
RESTORE = "A file is missing, or belongs to another save. Restore the folder from its origin, or save again."


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Return a folder with the two halves of one tensor, and a config."""
    folder = tmp_path / "net"
    NetConfig().save_pretrained(folder)
    for rank, name in enumerate(SHARDS):
        write_shard(folder / name, {"w": (torch.arange(6.0).view(3, 2) + 6 * rank, [3 * rank, 0])})
    return folder


def write_shard(path: Path, parts: dict[str, tuple[torch.Tensor, Any]]) -> None:
    """Write parts of tensors, each with where it begins, as a rank of torch does."""
    places = {name: {"saved_offsets": begin} for name, (_, begin) in parts.items()}
    metadata = {"DCP_SHARDING_INFO": json.dumps(places), "DCP_VERSION": "1.0", "format": "pt"}
    save_file({name: tensor for name, (tensor, _) in parts.items()}, path, metadata=metadata)


def says(kind: type[NameplateError], text: str, folder: Path, **options: Any) -> bool:
    """Whether reading a folder is an error of exactly one class and has exactly one text."""
    with pytest.raises(NameplateError) as caught:
        read_tensors(folder, **options)
    assert (type(caught.value), str(caught.value)) == (kind, text)
    return True


def test_shards_need_not_have_the_names_that_torch_gives_them(shards: Path):
    """What says of itself that it is part of a tensor is one, and what is no weight file of ranks is let alone."""
    (shards / SHARDS[0]).rename(shards / "first.safetensors")
    save_file({"other": torch.ones(1)}, shards / "adapter.safetensors")
    (shards / "torn.safetensors").write_bytes(b"torn")
    assert torch.equal(read_tensors(shards)["w"], torch.arange(12.0).view(6, 2))


def test_a_shard_in_the_middle_is_missing(shards: Path):
    """Without the first of two files there is a gap, which the error counts."""
    (shards / SHARDS[0]).unlink()
    text = f"'{shards}' (1 shard): the pieces of 'w' leave a gap.\n  There are 1 with 6 elements in all, and its shape "
    assert says(CorruptFileError, f"{text}(6, 2) has 12.\n  {RESTORE}", shards)


def test_the_last_shard_is_missing(shards: Path):
    """Nothing tells that more is missing behind the last file but the shape that the model has."""
    (shards / SHARDS[1]).unlink()
    with pytest.raises(MismatchError, match=r"w \(expected \(6, 2\), found \(3, 2\)\)"):
        load_weights(Whole(), shards)


class Whole(nn.Module):
    """A module with the tensor that the shards hold."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(6, 2))


def test_a_shard_of_another_save(shards: Path):
    """The third file of a save by other ranks overlaps the others."""
    write_shard(shards / SHARDS[1].replace("2", "3"), {"w": (torch.zeros(2, 2), [4, 0])})
    text = f"'{shards}' (3 shards): the pieces of 'w' overlap.\n  There are 3 with 16 elements in all, and its shape "
    assert says(CorruptFileError, f"{text}(6, 2) has 12.\n  {RESTORE}", shards)


def test_pieces_that_count_right_and_lie_wrong(shards: Path):
    """Pieces that overlap as much as they leave out are refused as well."""
    write_shard(shards / SHARDS[0], {"w": (torch.zeros(3, 2), [2, 0])})
    write_shard(shards / SHARDS[1], {"w": (torch.zeros(2, 2), [3, 0])})
    write_shard(shards / "first.safetensors", {"w": (torch.zeros(0, 2), [0, 0])})
    with pytest.raises(CorruptFileError, match=r"the pieces of 'w' leave a gap and overlap"):
        read_tensors(shards)


def test_a_shard_with_another_dtype(shards: Path):
    """Pieces of two dtypes are of two saves."""
    write_shard(shards / SHARDS[1], {"w": (torch.zeros(3, 2).half(), [3, 0])})
    assert says(
        CorruptFileError,
        f"'{shards}' (2 shards): the pieces of 'w' are of different kinds: float32 of 2 axes in {SHARDS[0]}, "
        f"float16 of 2 axes in {SHARDS[1]}.\n"
        "  The files are of different saves. Restore the folder from its origin, or save again.",
        shards,
    )


@pytest.mark.parametrize("begin", [None, [0], [0, -1], [0, 1.0], [0, True], "00", {}])
def test_a_shard_that_does_not_say_where_its_part_begins(begin: Any, shards: Path):
    """Where a part begins must be said with a number for each axis."""
    write_shard(shards / SHARDS[0], {"w": (torch.zeros(3, 2), begin)})
    assert says(
        CorruptFileError,
        f"'{shards / SHARDS[0]}' must say where its part of 'w' begins, with 2 numbers from 0 on in "
        f"'DCP_SHARDING_INFO', found {begin!r}.\n  Restore it from its origin, or save again.",
        shards,
    )


def test_a_shard_that_says_nothing_of_parts(shards: Path):
    """A file that is only called as a shard is named, and not loaded."""
    save_file({"w": torch.ones(3, 2)}, shards / SHARDS[0])
    assert says(
        ShardError,
        f"'{shards / SHARDS[0]}' is called as a shard of torch.distributed.checkpoint is, but has no "
        "'DCP_SHARDING_INFO'.\n  Remove it if it belongs to something else, or restore it from its origin.",
        shards,
    )


@pytest.mark.parametrize("size", ["5GB", "50B"])
def test_a_save_takes_the_place_of_shards(size: str, shards: Path):
    """What is saved over them is what is loaded, be they removed already or not, and they are."""
    old = {name: (shards / name).read_bytes() for name in SHARDS}
    model = net()
    model.save_pretrained(shards, max_shard_size=size)

    assert not any((shards / name).exists() for name in SHARDS)
    assert digests(Net.from_pretrained(shards).state_dict()) == digests(model.state_dict())
    for name, data in old.items():  # as if it had been killed before
        (shards / name).write_bytes(data)
    assert digests(Net.from_pretrained(shards).state_dict()) == digests(model.state_dict())


@pytest.mark.parametrize("ours", [False, True])
def test_shards_beside_a_whole_file(ours: bool, shards: Path):
    """A file with all tensors, and shards of ranks that are not known to be older, are ambiguous."""
    newer = {name: (shards / name).read_bytes() for name in SHARDS}
    save_file({"w": torch.ones(1)}, shards / "model.safetensors")
    if ours:
        (shards / SHARDS[0]).write_bytes(b"others")
        net().save_pretrained(shards)
        for name, data in newer.items():
            (shards / name).write_bytes(data)
    assert says(
        AmbiguousCheckpointError,
        f"'{shards}' holds both model.safetensors and {SHARDS[0]} and 1 more, and no record says which one counts.\n"
        "  Remove what is left over from an earlier save.",
        shards,
    )


def test_shards_have_no_checksums(written: Path):
    """To verify what torch has written is refused: nothing says what its bytes were."""
    for way in ("shards", "native"):
        with pytest.raises(CheckpointError, match=r"cannot be verified"):
            Net.from_pretrained(written / way, verify="full", **WAYS[way])


# ---- what is no metadata


class Canary:
    """An object whose pickle makes a folder when it is read."""

    def __init__(self, nest: Path) -> None:
        self.nest = str(nest)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.nest,)


@pytest.fixture
def native(tmp_path: Path) -> Path:
    """Return a folder that one process has written with torch."""
    return written_alone(tmp_path / "net", {"w": torch.arange(12.0).view(6, 2), "b": torch.ones(3), "step": 7})


def written_alone(folder: Path, state: dict[str, Any]) -> Path:
    """Write a state dict with torch, in one process, and return the folder."""
    with warnings.catch_warnings(action="ignore"):  # it says that it is one process
        dcp.save(state, checkpoint_id=folder, no_dist=True)
    return folder


def change(folder: Path, edit: Callable[[Any], Any]) -> None:
    """Write the metadata of a folder anew, with what *edit* returns or leaves in the place of what was there."""
    path = folder / METADATA_NAME
    metadata = pickle.loads(path.read_bytes())
    changed = edit(metadata)
    path.write_bytes(pickle.dumps(metadata if changed is None else changed))


def place_of(metadata: Any, name: str) -> Any:
    """Return what metadata says of where the one piece of a tensor lies."""
    return next(place for index, place in metadata.storage_data.items() if index.fqn == name)


def test_native_folders_are_read_only_on_demand(native: Path):
    """Without being asked for it, a load never opens the metadata, and says how to ask."""
    assert says(
        CheckpointError,
        f"'{native}' holds no weights: looked for model.safetensors and model.safetensors.index.json.\n"
        "  It has .metadata, a pickle, of torch.distributed.checkpoint, which is read only on demand: pass "
        "use_safetensors=False if you trust it.",
        native,
    )


def test_what_is_no_tensor_is_left_out(native: Path):
    """Numbers that an optimizer keeps beside its tensors are not read: they are pickles of any kind."""
    assert list(read_tensors(native, **UNSAFE)) == ["w", "b"]


@pytest.mark.parametrize(
    "tensor",
    [
        torch.randn(5, 3).T,
        torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        torch.tensor(3),
        torch.zeros(0, 3),
        torch.randn(3).to(torch.float8_e4m3fn),
        torch.tensor([1], dtype=torch.uint16),
        torch.randn(2, dtype=torch.complex64),
        torch.tensor([True, False]),
        torch.arange(10)[3:6],
    ],
)
def test_tensors_of_every_kind_come_back(tensor: torch.Tensor, tmp_path: Path):
    """Dtype, shape and bits are those that were saved, whatever the order in memory was."""
    found = read_tensors(written_alone(tmp_path / "net", {"w": tensor}), **UNSAFE)
    assert digests(found) == digests({"w": tensor})


def test_a_native_folder_and_a_pickle(native: Path):
    """Two checkpoints of pickles in one folder are ambiguous."""
    torch.save({}, native / "pytorch_model.bin")
    assert says(
        AmbiguousCheckpointError,
        f"'{native}' holds both pytorch_model.bin and .metadata, and no record says which one counts.\n"
        "  Remove the one that is left over from an earlier save.",
        native,
        **UNSAFE,
    )


@pytest.mark.parametrize("place", ["root", "inside"])
def test_code_in_the_metadata_never_runs(place: str, native: Path):
    """Metadata that asks for a function is refused, wherever it does, before anything of it is followed."""

    def plant(metadata: Any) -> Any:
        metadata.planner_data = Canary(native / "nest")
        return metadata.planner_data if place == "root" else None

    change(native, plant)
    assert says(
        CheckpointError,
        f"{native / METADATA_NAME} asks for 'posix.mkdir', of which no metadata is made; nothing of it was run.\n"
        "  If you trust its origin, load it with torch.distributed.checkpoint, and save the model with "
        "save_pretrained.",
        native,
        **UNSAFE,
    )
    assert not (native / "nest").exists()


def test_code_in_a_piece_never_runs(native: Path):
    """The pickle of a piece is read as plainly as the metadata is."""
    program = BytesIO()
    torch.save(Canary(native / "nest"), program)
    (native / "__0_0.distcp").write_bytes(program.getvalue())

    def point(metadata: Any) -> None:
        place_of(metadata, "w").offset, place_of(metadata, "w").length = 0, len(program.getvalue())

    change(native, point)
    assert says(
        CorruptFileError,
        f"'{native / '__0_0.distcp'}': what lies at byte 0 is not the saved piece of 'w': it asks for 'posix.mkdir', "
        "of which no tensor is made.\n"
        "  It may be damaged, or of another save. Restore the folder from its origin, or save again.",
        native,
        prefix="w",
        **UNSAFE,
    )
    assert not (native / "nest").exists()


@pytest.mark.parametrize("name", ["../__0_0.distcp", "/etc/passwd", "..", "a/b.distcp"])
def test_a_piece_outside_the_folder(name: str, native: Path):
    """Metadata cannot name a file that is not beside it."""
    change(native, lambda metadata: setattr(place_of(metadata, "w"), "relative_path", name))
    assert says(
        UnsafePathError,
        f"{native / METADATA_NAME}: {name!r} is not a plain file name, so it could leave the folder '{native}'.",
        native,
        **UNSAFE,
    )


def test_a_file_that_is_not_there(native: Path):
    """A missing file is named, with the metadata that asks for it."""
    (native / "__0_0.distcp").unlink()
    with pytest.raises(ShardError) as caught:
        read_tensors(native, **UNSAFE)
    assert str(caught.value).startswith(f"{native / METADATA_NAME} names the file '__0_0.distcp', which is not there.")


def test_a_piece_behind_the_end_of_its_file(native: Path):
    """A file that is too short for what is said of it is never read."""
    change(native, lambda metadata: setattr(place_of(metadata, "w"), "offset", 1 << 40))
    with pytest.raises(CorruptFileError) as caught:
        read_tensors(native, **UNSAFE)
    size = (native / "__0_0.distcp").stat().st_size
    assert str(caught.value).startswith(f"'{native / '__0_0.distcp'}' has {size:,} bytes, but {native / METADATA_NAME}")


def set_sizes(metadata: Any, sizes: Any) -> None:
    """Change the shape of a tensor and that of its one piece."""
    described = metadata.state_dict_metadata["w"]
    described.size = described.chunks[0].sizes = sizes


TORN = "is not the whole metadata of torch.distributed.checkpoint"


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda metadata: set_sizes(metadata, torch.Size([-6, -2])), f"{TORN}: it does not describe tensors"),
        (lambda metadata: set_sizes(metadata, (6, 2)), f"{TORN}: it does not describe tensors"),
        (lambda metadata: set_sizes(metadata, torch.Size([12])), "has another number of axes than the tensor"),
        (lambda metadata: set_sizes(metadata, torch.Size([2, 6])), r"it has the shape \(6, 2\) of torch.float32"),
        (
            lambda metadata: set_sizes(metadata, torch.Size([1 << 60, 2])),
            r"bytes for the shape \(1152921504606846976, 2\)",
        ),
        (lambda metadata: setattr(place_of(metadata, "w"), "length", -1), "an offset and a length from 0 on"),
        (lambda metadata: setattr(place_of(metadata, "w"), "offset", "0"), "an offset and a length from 0 on"),
        (lambda metadata: setattr(place_of(metadata, "w"), "length", 47), "has 47 bytes for the shape"),
        (lambda metadata: setattr(place_of(metadata, "w"), "length", 90), "an archive that torch does not write"),
        (lambda metadata: setattr(place_of(metadata, "w"), "transform_descriptors", ["zstd"]), "by zstd"),
        (lambda metadata: metadata.storage_data.clear(), "does not say where the piece of 'w' at"),
        (lambda metadata: metadata.state_dict_metadata["w"].chunks.clear(), "the pieces of 'w' leave a gap"),
        (lambda metadata: metadata.state_dict_metadata.update({5: metadata.state_dict_metadata["w"]}), "is no text"),
        (lambda _: [1], f"{TORN}: it does not describe tensors"),
    ],
)
def test_metadata_that_cannot_be(edit: Callable[[Any], Any], what: str, native: Path):
    """What metadata says of a tensor is checked before it becomes memory; what cannot be is one typed error."""
    change(native, edit)
    with pytest.raises(CheckpointError, match=what):
        read_tensors(native, **UNSAFE)


def test_pieces_that_share_their_bytes(native: Path):
    """Two tensors cannot lie in the same bytes: a small file could become any amount of memory."""
    change(native, lambda metadata: vars(place_of(metadata, "b")).update(vars(place_of(metadata, "w"))))
    with pytest.raises(CorruptFileError, match=r"the pieces of 'b' and 'w' overlap in"):
        read_tensors(native, **UNSAFE)


def test_a_piece_of_another_kind(native: Path):
    """The dtype of a piece must be the one that the metadata says."""
    change(native, lambda metadata: setattr(metadata.state_dict_metadata["w"].properties, "dtype", torch.int32))
    with pytest.raises(CorruptFileError, match=r"it has the shape \(6, 2\) of torch\.float32, and not"):
        read_tensors(native, **UNSAFE)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """Return a folder that many examples damage, and what its files should be."""
    folder = written_alone(tmp_path_factory.mktemp("scratch"), {"w": torch.arange(12.0).view(6, 2), "b": torch.ones(3)})
    return folder, {path.name: path.read_bytes() for path in folder.iterdir()}


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_any_damage_is_an_error_of_ours_or_harmless(data: st.DataObject, scratch: tuple[Path, dict[str, bytes]]):
    """Whatever bytes of a folder are changed or cut off, it gives tensors or an error that callers can catch."""
    folder, good = scratch
    for name, content in good.items():
        changed = bytearray(content)
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        (folder / name).write_bytes(changed[: data.draw(st.just(len(changed)) | st.integers(0, len(changed)))])
    try:
        found = read_tensors(folder, **UNSAFE)
    except NameplateError:
        return
    assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())
