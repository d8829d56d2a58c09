"""Saving on many ranks: one file set, the same bytes whoever holds what, old or new whatever happens to a rank."""

import errno
import itertools
import math
import os
import signal
import socket
import tempfile
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from nameplate_config import PreTrainedConfig
from nameplate_config.files import JoinedDraft
from nameplate_conformance.instruments.ranks import RankEnding, run_ranks, values
from nameplate_model import CorruptFileError, PreTrainedModel
from nameplate_model._boxes import Box
from nameplate_model._distributed.joint_writing import Lent, write_strip
from nameplate_model._strips import strips_of

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="ranks are forked")

TIMEOUT = 30.0
WATCHED = ("write", "pwrite", "ftruncate", "fsync", "replace", "unlink")
"""The functions of `os` before each call of which a rank may be killed."""


class StackConfig(PreTrainedConfig):
    """How wide, and of which values."""

    model_type = "stack"
    width: int = 10
    level: int = 0


@st.composite
def partitions(draw: Any) -> tuple[torch.Tensor, list[Box]]:
    """Draw a tensor and boxes that are all of it."""
    shape = draw(st.lists(st.integers(0, 6), max_size=4).map(tuple))
    tensor = (torch.arange(math.prod(shape)) % 256).to(draw(st.sampled_from([torch.uint8, torch.int32]))).view(shape)
    cuts = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape]
    sides = [[(begin, end - begin) for begin, end in itertools.pairwise(places)] for places in cuts]
    boxes = itertools.product(*sides)
    return tensor, [Box(tuple(at for at, _ in each), tuple(size for _, size in each)) for each in boxes]


class Stack(PreTrainedModel):
    """Tied embeddings, layers, statistics and a part that is never cut."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        width = config.width
        self.embedding = nn.Embedding(7, width)
        self.layers = nn.ModuleList([nn.Linear(width, width) for _ in range(2)])
        self.norm = nn.BatchNorm1d(width)
        self.frozen = nn.Conv2d(2, 3, 3).requires_grad_(requires_grad=False)
        self.head = nn.Linear(width, 7, bias=False)
        self.head.weight = self.embedding.weight
        generator = torch.Generator().manual_seed(1 + config.level)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator))


class Level(PreTrainedModel):
    """Tensors that all have one value, so that any mix of two states can be seen."""

    def __init__(self, config: StackConfig) -> None:
        super().__init__(config)
        self.one = nn.Parameter(torch.full((5, 6), float(config.level)))
        self.two = nn.Parameter(torch.full((7,), float(config.level)))


# ---- how models are cut


def fsdp(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut a stack as FSDP2 does, but for what is frozen."""
    ignored = set(model.get_submodule("frozen").parameters()) if hasattr(model, "frozen") else set()
    for layer in getattr(model, "layers", ()):
        fully_shard(layer, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=ignored)


def columns(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut weights along their last axis and replicate the biases."""
    for layer in model.get_submodule("layers").children():
        layer.weight = nn.Parameter(distribute_tensor(layer.get_parameter("weight"), mesh, [Shard(1)]))
        layer.bias = nn.Parameter(distribute_tensor(layer.get_parameter("bias"), mesh, [Replicate()]))


def tensor_parallel(model: nn.Module, mesh: DeviceMesh) -> None:
    """Cut one layer by rows and one by columns; on a mesh of two dimensions the first one knows nothing of it."""
    part = mesh["tp"] if mesh.ndim > 1 else mesh
    parallelize_module(model, part, {"layers.0": ColwiseParallel(), "layers.1": RowwiseParallel()})


def both(model: nn.Module, mesh: DeviceMesh) -> None:
    """Tensor parallel along one dimension of a mesh, FSDP2 along the other."""
    tensor_parallel(model, mesh)
    fsdp(model, mesh["dp"])


WAYS: dict[str, tuple[Callable[[nn.Module, DeviceMesh], None], int]] = {
    "fsdp": (fsdp, 1), "hsdp": (fsdp, 2), "columns": (columns, 1), "tp": (tensor_parallel, 1),
    "tp of two": (tensor_parallel, 2), "both": (both, 2),
}  # fmt: skip
"""How a model is cut, and on a mesh of how many dimensions."""


def mesh_for(way: str) -> DeviceMesh:
    """Return the mesh of all ranks for a way."""
    world = distributed.get_world_size()
    sizes, names = ((2, world // 2), ("dp", "tp")) if WAYS[way][1] > 1 else ((world,), ("all",))
    return init_device_mesh("cpu", sizes, mesh_dim_names=names)


def cut_stack(way: str, *, dtype: torch.dtype = torch.float32, **fields: Any) -> Stack:
    """Return a stack that lies on all ranks."""
    model = Stack(StackConfig(**fields)).to(dtype)
    WAYS[way][0](model, mesh_for(way))
    return model


def files_in(folder: Path) -> dict[str, bytes]:
    """Return what a folder holds."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# ---- the same bytes


OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "shards": {"max_shard_size": "500B", "variant": "fp16"},
    "half": {"dtype": torch.bfloat16},
}
LAYOUTS = [(1, "tp"), (2, "fsdp"), (2, "tp"), (2, "columns"), (3, "fsdp"), (3, "columns"), (4, "hsdp"),
           (4, "both"), (4, "tp of two")]  # fmt: skip


def save_all(_rank: int, base: str, ways: list[str]) -> None:
    """Save a stack in every way with every kind of options."""
    for way in ways:
        for kind, options in OPTIONS.items():
            dtype = options.get("dtype", torch.float32)
            model = cut_stack(way, dtype=dtype)
            saving = {name: value for name, value in options.items() if name != "dtype"}
            model.save_pretrained(Path(base, way, kind), timeout=TIMEOUT, **saving)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, str, str], Path]:
    """Return a function that says where so many ranks have saved in a way, with options of a kind."""
    base = tmp_path_factory.mktemp("saved")
    for world, every in itertools.groupby([(1, "fsdp"), *LAYOUTS], key=lambda layout: layout[0]):
        values(run_ranks(save_all, world, str(base / str(world)), [way for _, way in every]))
    return lambda world, way, kind: base / str(world) / way / kind


@pytest.mark.parametrize(("world", "way"), LAYOUTS)
def test_files_do_not_tell_who_wrote_them(world: int, way: str, saved: Callable[[int, str, str], Path]):
    """However many ranks save, and however the model is cut, the folder is, byte for byte, that of one rank."""
    for kind in OPTIONS:
        assert files_in(saved(world, way, kind)) == files_in(saved(1, "fsdp", kind))


@pytest.mark.parametrize("kind", OPTIONS)
def test_the_tensors_are_those_of_a_plain_save(kind: str, saved: Callable[[int, str, str], Path], tmp_path: Path):
    """What ranks save is what one process saves of the same model, tensor by tensor, also for plain safetensors."""
    dtype = OPTIONS[kind].get("dtype", torch.float32)
    options = {name: value for name, value in OPTIONS[kind].items() if name != "dtype"}
    model = Stack(StackConfig()).to(dtype)
    model.save_pretrained(tmp_path, **options)
    ours = [load_file(path) for path in sorted(saved(1, "fsdp", kind).glob("*.safetensors"))]
    plain = [load_file(path) for path in sorted(tmp_path.glob("*.safetensors"))]
    found, expected = ({name: each for part in parts for name, each in part.items()} for parts in (ours, plain))

    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], each) and found[name].dtype == each.dtype for name, each in expected.items())
    assert (saved(1, "fsdp", kind) / "config.json").read_bytes() == (tmp_path / "config.json").read_bytes()


def test_what_ranks_saved_loads_and_verifies(saved: Callable[[int, str, str], Path]):
    """A single process loads it strictly, ties and frozen parts included, and checks every byte."""
    loaded = Stack.from_pretrained(saved(4, "both", "plain"), verify="full")

    assert loaded.load_report is not None
    assert loaded.load_report.exact
    assert loaded.head.weight is loaded.embedding.weight
    assert loaded.config.architectures == ["Stack"]


def test_a_byte_that_changed_fails_the_sum(saved: Callable[[int, str, str], Path], tmp_path: Path):
    """The last byte of the file is part of a tensor, whose checksum tells that it has changed."""
    path = tmp_path / "model.safetensors"
    data = bytearray(files_in(saved(2, "fsdp", "plain"))["model.safetensors"])
    data[-1] ^= 1
    path.write_bytes(data)
    (tmp_path / "config.json").write_bytes(files_in(saved(2, "fsdp", "plain"))["config.json"])
    with pytest.raises(CorruptFileError) as caught:
        Stack.from_pretrained(tmp_path, verify="full")

    assert str(caught.value) == (
        f"{str(path)!r}: the bytes of 'frozen.bias' are not those that were saved, as their checksum "
        "tells. Restore the file from its origin, or save the model again."
    )


def test_one_process_knows_what_ranks_saved(saved: Callable[[int, str, str], Path], tmp_path: Path):
    """Over the same checkpoint it writes nothing; over another one it leaves its own, and nothing else."""
    for kind in ("plain", "shards"):
        folder = tmp_path / kind
        folder.mkdir()
        for name, data in files_in(saved(3, "fsdp", kind)).items():
            (folder / name).write_bytes(data)
        before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
        Stack(StackConfig()).save_pretrained(folder, **OPTIONS[kind])

        assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before

        Stack(StackConfig(level=1)).save_pretrained(folder)

        assert Stack.from_pretrained(folder, verify="full").config.level == 1
        left = {path.name for path in folder.iterdir() if ".fp16" not in path.name}
        assert left == {"config.json", "model.safetensors"}


# ---- what counts of what ranks hold


def save_odd_states(rank: int, base: str) -> list[list[str]]:
    """Save state dicts with what differs between ranks, and return what each folder holds."""
    mesh = mesh_for("fsdp")
    model = Stack(StackConfig())
    cut = distribute_tensor(torch.arange(12.0).view(3, 4), mesh, [Shard(0)])
    whole = distribute_tensor(torch.arange(6.0), mesh, [Replicate()])
    none = distribute_tensor(torch.empty(0, 3), mesh, [Shard(0)])
    across = DTensor.from_local((torch.arange(9.0).view(3, 3) + 9 * rank).t(), mesh, [Shard(0)], run_check=False)
    mine = torch.full((2,), rank)
    state = {"cut": cut, "again": cut.detach(), "whole": whole, "none": none, "across": across, "mine": mine}
    model.save_pretrained(Path(base, "odd"), state_dict=state, timeout=TIMEOUT, is_main_process=rank == 1)
    model.save_pretrained(Path(base, "plain"), state_dict={"mine": torch.ones(1)}, is_main_process=rank == 1)
    distributed.barrier()
    return [sorted(path.name for path in Path(base, name).iterdir()) for name in ("odd", "plain")]


def test_a_state_dict_of_ones_own_is_saved_by_its_ranks(tmp_path: Path):
    """Ties, replicas, tensors without elements, odd strides: all are there once; plain tensors are the first rank's."""
    endings = run_ranks(save_odd_states, 2, str(tmp_path))
    found = load_file(tmp_path / "odd" / "model.safetensors")

    assert values(endings) == [[["config.json", "model.safetensors"]] * 2] * 2
    assert sorted(found) == ["across", "cut", "mine", "none", "whole"]
    assert torch.equal(found["cut"], torch.arange(12.0).view(3, 4))
    assert torch.equal(found["whole"], torch.arange(6.0))
    assert torch.equal(found["across"], torch.arange(18.0).view(2, 3, 3).mT.reshape(6, 3))
    assert found["mine"].tolist() == [0, 0]
    assert tuple(found["none"].shape) == (0, 3)


@pytest.mark.parametrize("locks", [True, False], ids=["rows", "runs"])
@given(drawn=partitions())
def test_parts_that_are_written_one_by_one_are_the_whole(drawn: tuple[torch.Tensor, list[Box]], locks: bool):
    """Whatever boxes a tensor is cut into, and in rows or in runs, the file has its bytes and no others change."""
    tensor, boxes = drawn
    data = bytes(tensor.reshape(-1).view(torch.uint8).tolist())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(b"head" + b"?" * len(data) + b"tail")
        with JoinedDraft(path) as draft:
            for box in reversed(boxes):
                for strip, piece in strips_of(tensor[box.slices], box, tensor.shape):
                    write_strip(draft, Lent("file", 3, "", locks), 1, strip, piece)

        assert path.read_bytes() == b"head" + data + b"tail"


# ---- writers apart


def save_apart(rank: int, base: str, ways: list[str]) -> None:
    """Save on machines of two ranks each, as far as names of machines tell."""
    for way in ways:
        for machines in (1, 2):
            socket.gethostname = lambda number=rank // 2 % machines: f"machine-{number}"
            model = cut_stack(way)
            model.save_pretrained(Path(base, way, str(machines)), timeout=TIMEOUT, writers="apart")


def test_ranks_of_several_machines_write_a_file_for_each(saved: Callable[[int, str, str], Path], tmp_path: Path):
    """Apart, each machine has a file of whole tensors, to which the others send their parts; one machine has one."""
    ways = ["fsdp", "columns", "both"]
    values(run_ranks(save_apart, 4, str(tmp_path), ways))
    for way in ways:
        apart, alone = tmp_path / way / "2", tmp_path / way / "1"
        loaded, expected = Stack.from_pretrained(apart, verify="full").state_dict(), Stack(StackConfig()).state_dict()
        sizes = [path.stat().st_size for path in apart.glob("model-*.safetensors")]

        assert all(torch.equal(loaded[name], each) for name, each in expected.items())
        assert len(sizes) == 2
        assert files_in(apart) == files_in(tmp_path / ways[0] / "2")
        assert files_in(alone) == files_in(saved(1, "fsdp", "plain"))


# ---- memory


def grown(_rank: int, base: str) -> int:
    """Return by how many bytes a rank's peak of memory has grown in a save of 96 MB that lie column by column."""
    mesh = mesh_for("fsdp")
    part = torch.ones(6144, 4096).t()
    cut = DTensor.from_local(part, mesh, [Shard(1)], run_check=False)
    model = Level(StackConfig())
    model.save_pretrained(Path(base), state_dict={"warm": distribute_tensor(torch.ones(8), mesh)}, timeout=TIMEOUT)
    Path("/proc/self/clear_refs").write_text("5")
    before = _peak()
    model.save_pretrained(Path(base), state_dict={"cut": cut}, timeout=TIMEOUT)
    return _peak() - before


def _peak() -> int:
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.partition("VmHWM:")[2].split()[0])


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the system does not tell peaks of memory")
def test_a_rank_needs_little_memory(tmp_path: Path):
    """Even where a part must be copied to be written, no rank takes 64 MB for it."""
    assert max(values(run_ranks(grown, 2, str(tmp_path)))) < 64 << 20


# ---- failures


def level_in(folder: Path) -> int:
    """Return the level of the state in a folder, which must be whole: config and every tensor agree."""
    loaded = Level.from_pretrained(folder, verify="full")
    levels = {value for parameter in loaded.parameters() for value in parameter.unique().tolist()}
    assert levels == {loaded.config.level}
    return loaded.config.level


def save_level(level: int, folder: Path, *, way: str = "fsdp", **options: Any) -> None:
    """Save a state of one level on all ranks."""
    model = Level(StackConfig(level=level))
    fully_shard(model, mesh=mesh_for(way))
    model.save_pretrained(folder, **{"timeout": TIMEOUT, **options})


def fail(rank: int, base: str, case: str) -> None:
    """Save in a way that must fail on this rank or another."""
    folder = Path(base)
    if case.startswith("full") and rank == 1:
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    try:
        if case == "elsewhere" and rank == 1:
            folder = folder / "elsewhere"
            folder.mkdir(exist_ok=True)
        if case == "full, apart":
            socket.gethostname = lambda: f"machine-{rank}"
            cut = distribute_tensor(torch.ones(8, 8), mesh_for("fsdp"), [Shard(0)])
            state = {"cut": cut, "sent": torch.ones(2)}
            Level(StackConfig()).save_pretrained(folder, state_dict=state, timeout=TIMEOUT, writers="apart")
        elif case == "partial":
            state = {"sum": DTensor.from_local(torch.ones(2), mesh_for("fsdp"), [Partial()])}
            Level(StackConfig()).save_pretrained(folder, state_dict=state, timeout=TIMEOUT)
        elif case == "text" and rank == 1:
            cut = distribute_tensor(torch.ones(2), mesh_for("fsdp"), [Shard(0)])
            Level(StackConfig()).save_pretrained(folder, state_dict={"a": cut, "b": "text"}, timeout=TIMEOUT)
        elif case == "text":
            cut = distribute_tensor(torch.ones(2), mesh_for("fsdp"), [Shard(0)])
            Level(StackConfig()).save_pretrained(folder, state_dict={"a": cut, "b": cut}, timeout=TIMEOUT)
        elif case == "push":
            model = Level(StackConfig())
            fully_shard(model, mesh=mesh_for("fsdp"))
            model.push_to_hub("user/name")
        else:
            save_level(2 + (rank if case == "config" else 0), folder, variant="a/b" if case == "variant" else None)
    finally:
        if case.startswith("full") and rank == 1:
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


FAILURES: dict[str, tuple[str, list[str]]] = {
    "full": (
        "SaveError",
        [
            f"rank 1: '{{folder}}' could not be written: {os.strerror(errno.EFBIG)}.",
            "What it holds is as it was before.",
        ],
    ),
    "full, apart": (
        "SaveError",
        [
            f"rank 1: '{{folder}}' could not be written: {os.strerror(errno.EFBIG)}.",
            "What it holds is as it was before.",
        ],
    ),
    "elsewhere": (
        "SaveError",
        [
            "rank 1: '{folder}/elsewhere' does not show the file that rank 0 is writing, so it is not the same folder.",
            "Ranks that save together need one folder that all of them see, such as on a network file system.",
        ],
    ),
    "variant": (
        "UnsafePathError",
        ["a variant is a word such as 'fp16' (letters, digits, and . _ - + inside), found 'a/b'."],
    ),
    "partial": (
        "ShardingPlanError",
        [
            "sum has the placement P(sum), so no rank holds its values.",
            "Redistribute it to Shard or Replicate placements first.",
        ],
    ),
    "push": (
        "CheckpointError",
        [
            "Level lies on several ranks, and one process publishes.",
            "Call save_pretrained on all of them, into a folder that all see, then load and push it in one process.",
        ],
    ),
}


@pytest.mark.parametrize("case", FAILURES)
def test_what_fails_on_one_rank_fails_on_all(case: str, tmp_path: Path):
    """All ranks raise one error with one text, the folder is the old one, and no draft is left."""
    Level(StackConfig(level=1)).save_pretrained(tmp_path)
    before = files_in(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    endings = run_ranks(fail, 2, str(tmp_path), case)
    name, lines = FAILURES[case]

    assert [each.raised and each.raised.name for each in endings] == [name] * 2, endings
    assert {each.raised.text for each in endings if each.raised} == {"\n  ".join(lines).format(folder=tmp_path)}
    (tmp_path / "elsewhere").rmdir()
    assert files_in(tmp_path) == before


def fail_late(rank: int, base: str) -> None:
    """Save state 2 where the system fails to replace `config.json` on the first rank."""
    replace = os.replace

    def broken(source: str, target: Path) -> None:
        if target.name == "config.json" and not rank:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        replace(source, target)

    os.replace = broken
    save_level(2, Path(base))


def test_a_failure_after_the_commit_is_told_to_all(tmp_path: Path):
    """Where the leader fails when the new checkpoint counts, all ranks hear that it counts."""
    Level(StackConfig(level=1)).save_pretrained(tmp_path)
    endings = run_ranks(fail_late, 2, str(tmp_path))

    assert [each.raised and each.raised.name for each in endings] == ["CommittedError"] * 2, endings
    lines = [
        f"rank 0: {str(tmp_path)!r} holds the new checkpoint, but the save was not finished: {os.strerror(errno.EIO)}.",
        "It is whole, though a power failure may undo it. Save again.",
    ]
    assert {each.raised.text for each in endings if each.raised} == {"\n  ".join(lines)}
    assert level_in(tmp_path) == 2


CUT_B = "b torch.float32 (2,), cut along 0 on (2,) ranks"


@pytest.mark.parametrize(
    ("case", "told"),
    [
        ("config", "config: rank 0 has '\"level\": 2,', rank 1 has '\"level\": 3,'"),
        ("text", f"tensors: rank 0 has {CUT_B!r}, rank 1 has nothing that the others lack"),
    ],
)
def test_ranks_that_save_different_things_are_told_which(case: str, told: str, tmp_path: Path):
    """Where configs or tensors differ, all ranks say in what, and nothing is written."""
    endings = run_ranks(fail, 2, str(tmp_path / "model"), case)

    assert [each.raised and each.raised.name for each in endings] == ["RanksDisagreeError"] * 2, endings
    assert [each.raised and each.raised.text.splitlines()[1] for each in endings] == [f"  {told}"] * 2
    assert not (tmp_path / "model").exists()


def save_until_killed(rank: int, base: str, victim: int, last: int, options: Mapping[str, Any]) -> int:
    """Save state 2, and be killed before the *last*-th call that changes a file; return the number of calls."""
    calls = itertools.count(1)
    made = [0]

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            made[0] = next(calls)
            if made[0] == last and rank == victim:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **keywords)

        return call

    model = Level(StackConfig(level=2))
    fully_shard(model, mesh=mesh_for("fsdp"))
    for name in WATCHED:
        setattr(os, name, mortal(getattr(os, name)))
    model.save_pretrained(Path(base), **options)
    return made[0]


def killed_everywhere(base: Path, victim: int, options: Mapping[str, Any]) -> list[list[RankEnding]]:
    """Kill a rank before each call of its save over state 1, in `base/1`, `base/2`, …; return how the ranks ended."""
    Level(StackConfig(level=1)).save_pretrained(base / "0")
    calls = values(run_ranks(save_until_killed, 2, str(base / "0"), victim, 0, {"timeout": TIMEOUT, **options}))[victim]
    endings = []
    for last in range(1, calls + 1):
        Level(StackConfig(level=1)).save_pretrained(base / str(last))
        endings.append(
            run_ranks(save_until_killed, 2, str(base / str(last)), victim, last, {"timeout": 1.0, **options})
        )
    return endings


KINDS: dict[str, dict[str, Any]] = {"single": {}, "shards": {"max_shard_size": "100B"}}
VICTIMS = ["leader", "member"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], tuple[Path, list[int], list[RankEnding]]]:
    """Return a function that kills a rank everywhere; it returns the folders, their levels, and the survivors."""

    @cache
    def kill(victim: str, kind: str) -> tuple[Path, list[int], list[RankEnding]]:
        base, number = tmp_path_factory.mktemp(kind), VICTIMS.index(victim)
        endings = killed_everywhere(base, number, KINDS[kind])
        assert all(each[number].ended_by == "SIGKILL" for each in endings)
        levels = [level_in(base / str(last)) for last in range(1, len(endings) + 1)]
        return base, levels, [each[1 - number] for each in endings]

    return kill


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_rank_that_is_killed_leaves_old_or_new(victim: str, kind: str, killed: Callable[[str, str], Any]):
    """Whichever rank is killed before whichever call, the folder is old up to one point, and new from there."""
    _, levels, survivors = killed(victim, kind)

    assert len(levels) > (10 if victim == "leader" else 2)
    assert levels == sorted(levels)
    assert set(levels) == ({1, 2} if victim == "leader" else {1})
    assert {each.raised and each.raised.name for each in survivors} == {"MissingRankError"}


def save_over(_rank: int, base: str, numbers: list[int]) -> None:
    """Save state 3 into several folders."""
    for number in numbers:
        save_level(3, Path(base, str(number)))


def test_the_next_save_heals_what_a_killed_one_left(killed: Callable[[str, str], Any]):
    """Wherever the leader was killed, what the next save of all ranks leaves is its own state, and nothing else."""
    base, levels, _ = killed("leader", "shards")
    numbers = list(range(1, len(levels) + 1))
    values(run_ranks(save_over, 2, str(base), numbers))

    assert {level_in(base / str(number)) for number in numbers} == {3}
    assert {name for number in numbers for name in files_in(base / str(number))} == {"config.json", "model.safetensors"}
