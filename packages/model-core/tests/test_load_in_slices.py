"""Loading on several ranks: each reads its parts, and together they have what one process would have."""

import math
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

from nameplate_config import NameplateError, PreTrainedConfig, UnknownOptionError
from nameplate_conformance.instruments.ranks import run_ranks, values
from nameplate_model import MismatchError, PreTrainedModel, ShardingPlanError, load_weights
from nameplate_model._files import WeightFile
from nameplate_model._state import local_of

linux = pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")

TENSOR_PARALLEL = {"blocks.*.up": "colwise", "blocks.*.down": "rowwise"}


class NetConfig(PreTrainedConfig):
    """Sizes of a small network, of which none divides another."""

    model_type = "net_in_slices"

    width: int = 6
    inner: int = 10
    classes: int = 7


class Block(nn.Module):
    """Two layers that a tensor parallel plan cuts in turn."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.width, config.inner)
        self.down = nn.Linear(config.inner, config.width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Add what the layers make of features to them."""
        return features + self.down(self.up(features).relu())


class Net(PreTrainedModel):
    """An embedding tied to the head, blocks, a frozen layer, and buffers of both kinds."""

    config_class = NetConfig
    head_prefixes = ("extra.",)

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.emb = nn.Embedding(config.classes, config.width)
        self.blocks = nn.Sequential(*(Block(config) for _ in range(2)))
        self.frozen = nn.Linear(config.width, config.width).requires_grad_(requires_grad=False)
        self.norm = nn.BatchNorm1d(config.width)
        self.head = nn.Linear(config.width, config.classes, bias=False)
        self.head.weight = self.emb.weight
        self.register_buffer("drawn", torch.rand(3), persistent=False)
        self.register_buffer("count", torch.tensor(0))

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Return a score of each class for each token."""
        return self.head(self.norm(self.frozen(self.blocks(self.emb(tokens)))))


class NetWithHead(Net):
    """The same with a layer that the checkpoints of the other lack."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.extra = nn.Linear(config.width, 5)


class Pixels(PreTrainedModel):
    """A convolution with a batch norm."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.conv = nn.Conv2d(3, config.inner, 3)
        self.norm = nn.BatchNorm2d(config.inner)


class Peculiar(PreTrainedModel):
    """A model that renames what it is given by a hook of its own."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.inner)
        self._register_load_state_dict_pre_hook(self._rename)

    def _rename(self, state: dict[str, torch.Tensor], *_: object) -> None:
        for name in [name for name in state if name.startswith("old.")]:
            state[f"linear.{name.removeprefix('old.')}"] = state.pop(name)


class Holder(PreTrainedModel):
    """A model that keeps a second reference to a parameter, and so is built for real."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.inner)
        self.kept = [self.linear.weight]


class Odd(PreTrainedModel):
    """Tensors without elements, with one, and in other layouts than row by row; and two that overlap."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.none = nn.Parameter(torch.zeros(0, 3))
        self.row = nn.Parameter(torch.ones(1, config.width))
        self.row.mark = "kept"  # type: ignore[attr-defined]
        self.conv = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
        numbers = torch.arange(10.0)
        self.register_buffer("first", numbers[:6])
        self.register_buffer("second", numbers[4:])


def saved(model_class: type[PreTrainedModel], folder: Path, **options: Any) -> PreTrainedModel:
    """Save a model whose tensors differ from what any construction gives, and return it in evaluation mode."""
    model = model_class(model_class.config_class())
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_((torch.rand(tensor.shape) * 2).to(tensor.dtype))
    model.save_pretrained(folder, **options)
    return model.eval()


def full(tensor: torch.Tensor) -> torch.Tensor:
    """Return all of a tensor, wherever its parts are."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def differences(one: nn.Module, other: nn.Module) -> list[str]:
    """Return the names of tensors that are not the same, bit for bit, in dtype, nature and attributes."""
    ours = {**dict(one.named_parameters(remove_duplicate=False)), **dict(one.named_buffers(remove_duplicate=False))}
    theirs = {
        **dict(other.named_parameters(remove_duplicate=False)),
        **dict(other.named_buffers(remove_duplicate=False)),
    }
    assert ours.keys() == theirs.keys()
    with torch.no_grad():
        return [key for key in ours if not _same(ours[key], theirs[key])]


def _same(one: torch.Tensor, other: torch.Tensor) -> bool:
    ours, theirs = full(one), full(other)
    kinds = one.requires_grad == other.requires_grad and isinstance(one, nn.Parameter) == isinstance(
        other, nn.Parameter
    )
    kinds &= getattr(one, "mark", None) == getattr(other, "mark", None)
    return kinds and ours.dtype == theirs.dtype and torch.equal(ours, theirs)


# ---- the same as alone


def compare(
    rank: int,
    model_class: type[PreTrainedModel],
    folder: str,
    plan: Any,
    sizes: tuple[int, ...],
    options: dict[str, Any],
) -> dict[str, Any]:
    """Load alone and together, and return how the models differ."""
    torch.manual_seed(0)
    alone = model_class.from_pretrained(folder, **options)
    torch.manual_seed(rank)
    before = torch.get_rng_state()
    names = ("dp", "tp")[: len(sizes)]
    mesh = init_device_mesh("cpu", sizes, mesh_dim_names=names)
    model, report = model_class.from_pretrained(
        folder, device_mesh=mesh, plan=plan, output_loading_info=True, **options
    )
    assert isinstance(model, model_class)
    assert model.load_report is report
    return {
        "different": differences(model, alone),
        "cut": sum(isinstance(each, DTensor) for each in model.parameters()),
        "same report": report == alone.load_report,
        "report": str(report),
        "state kept": torch.equal(before, torch.get_rng_state()),
        "training": model.training,
        "tied": model.head.weight is model.emb.weight if isinstance(model, Net) else True,
    }


WAYS: Mapping[int, list[tuple[Any, tuple[int, ...]]]] = {
    2: [
        ("fsdp", (2,)),
        (TENSOR_PARALLEL, (2,)),
        ({"emb": Shard(1), "head": Shard(1), "blocks.*.up.weight": Shard(1)}, (2,)),
        ({"*": "replicate"}, (2,)),
    ],
    3: [("fsdp", (3,))],
    4: [("fsdp", (2, 2)), ({"dp": "fsdp", "tp": TENSOR_PARALLEL}, (2, 2))],
}
"""Plans and sizes of meshes, by the number of ranks."""


def compare_ways(rank: int, folder: str, world: int) -> list[dict[str, Any]]:
    """Load a model alone and in each of the ways for so many ranks."""
    return [compare(rank, Net, folder, plan, sizes, {}) for plan, sizes in WAYS[world]]


@pytest.mark.parametrize("world", WAYS)
def test_a_model_loaded_in_slices_is_the_one_that_a_single_process_loads(world: int, tmp_path: Path):
    """Parameters, ties, frozen layers and buffers of both kinds are the same bits, under the leader's random state."""
    saved(Net, tmp_path)
    for found in values(run_ranks(compare_ways, world, str(tmp_path), world)):
        for each in found:
            assert each["different"] == []
            assert each["cut"] >= 3
            assert each["report"] == f"all 18 tensors of Net were loaded from {tmp_path}."
            assert each["same report"]
            assert each["tied"]
            assert each["state kept"]
            assert not each["training"]


# ---- options


def compare_each(rank: int, cases: list[tuple[type[PreTrainedModel], str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Load alone and together, once for each case."""
    found = []
    for model_class, folder, options in cases:
        each = compare(rank, model_class, folder, "fsdp", (2,), options)
        found.append({"case": (model_class.__name__, options), **each})
    return found


def rewrite(folder: Path, change: Callable[[str], str]) -> None:
    """Replace the weights in a folder by the same under other names, as another library would write them."""
    tensors = {change(key): tensor.clone() for key, tensor in load_file(folder / "model.safetensors").items()}
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def test_every_option_means_what_it_means_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Casts, foreign names, shards, variants, missing and misshapen tensors give what they give in one process."""
    monkeypatch.syspath_prepend(str(Path(__file__).parents[3]))  # where the ranks find the classes of this module
    for name, options in {"net": {}, "shards": {"max_shard_size": "400B"}, "half": {"variant": "fp16"}}.items():
        saved(Net, tmp_path / name, **options)
    for model_class in (Pixels, Peculiar, Holder, Odd):
        saved(model_class, tmp_path / model_class.__name__)
    saved(Net, tmp_path / "foreign")
    rewrite(tmp_path / "foreign", lambda key: f"net.{key}")
    saved(Peculiar, tmp_path / "old")
    rewrite(tmp_path / "old", lambda key: key.replace("linear.", "old."))
    net = str(tmp_path / "net")
    cases: list[tuple[type[PreTrainedModel], str, dict[str, Any]]] = [
        (Net, net, {"dtype": torch.bfloat16, "keep_in_fp32": ["emb"]}),
        (Net, net, {"memory": "copy"}),
        (Net, net, {"verify": "full"}),
        (Net, str(tmp_path / "shards"), {"verify": "full"}),
        (Net, str(tmp_path / "half"), {"variant": "fp16"}),
        (Net, str(tmp_path / "foreign"), {"key_mapping": {"^net\\.": ""}, "allow_missing": ["head.weight"]}),
        (NetWithHead, net, {}),
        (NetWithHead, net, {"dtype": torch.bfloat16}),
        (Net, net, {"inner": 9, "ignore_mismatched_sizes": True}),
        (Pixels, str(tmp_path / "Pixels"), {}),
        (Peculiar, str(tmp_path / "Peculiar"), {}),
        (Peculiar, str(tmp_path / "old"), {"dtype": torch.bfloat16}),
        (Holder, str(tmp_path / "Holder"), {}),
        (Odd, str(tmp_path / "Odd"), {}),
    ]
    for found in values(run_ranks(compare_each, 2, cases)):
        for each in found:
            assert each["different"] == [], each["case"]
            assert each["same report"], each["case"]
            assert each["state kept"], each["case"]
            assert each["cut"], each["case"]
            assert each["tied"], each["case"]


# ---- before and after torch's own engine


def fill(model: Net, folder: str) -> Net:
    """Fill a model that has been cut, and return it in evaluation mode."""
    assert load_weights(model, folder).model == "Net"
    return model.eval()


def cut_by(engine: str, model: Net, mesh: DeviceMesh) -> Net:
    """Cut a model by torch's own functions, as its users do."""
    if engine == "tp":
        styles = {f"blocks.{n}.{name}": style() for n in range(2) for name, style in _STYLES.items()}
        return cast("Net", parallelize_module(model, mesh, styles))
    for block in model.blocks:
        fully_shard(block, mesh=mesh)
    return cast("Net", fully_shard(model, mesh=mesh))


_STYLES = {"up": ColwiseParallel, "down": RowwiseParallel}


def without_memory() -> Net:
    """Return a model without memory but for the buffer that no file holds."""
    with torch.device("meta"):
        model = Net(NetConfig())
    model.drawn = torch.ones(3)
    return model


def load_in_orders(_: int, folder: str) -> list[dict[str, Any]]:
    """Load a model on two ranks in every order, and compare each with the one of a single process."""
    torch.manual_seed(0)
    alone = Net.from_pretrained(folder)
    tokens = torch.arange(7)
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("dp",))
    found = []
    for engine, plan in {"fsdp": "fsdp", "tp": TENSOR_PARALLEL}.items():
        torch.manual_seed(0)
        used = cut_by(engine, Net(NetConfig()).eval(), mesh)
        used(tokens)  # FSDP2 gathers the root for it, and leaves it so
        models = {
            "plan": Net.from_pretrained(folder, device_mesh=mesh, plan=plan),
            "state dict": Net.from_pretrained(
                None, config=NetConfig(), state_dict=alone.state_dict(), device_mesh=mesh, plan=plan
            ),
            "function": Net.from_pretrained(folder, device_mesh=mesh, plan=partial(cut_by, engine)),
            "load, then cut": cut_by(engine, Net.from_pretrained(folder), mesh),
            "cut, then load": fill(cut_by(engine, Net(NetConfig()), mesh), folder),
            "cut and use, then load": fill(used, folder),
            "cut metadata, then load": fill(cut_by(engine, without_memory(), mesh), folder),
        }
        for order, model in models.items():
            model.drawn = alone.drawn  # which load_weights leaves as it is
            outputs = model(tokens)
            found.append(
                {
                    "order": f"{engine}: {order}",
                    "different": differences(model, alone),
                    "equal": torch.equal(outputs, alone(tokens)),
                    "close": torch.allclose(outputs, alone(tokens)),
                }
            )
    return found


def test_a_model_may_be_cut_before_or_after_the_load(tmp_path: Path):
    """However it is cut and filled, it has the same bits; under FSDP2 it computes the same ones, too."""
    saved(Net, tmp_path)
    for found in values(run_ranks(load_in_orders, 2, str(tmp_path))):
        assert len(found) == 14
        for each in found:
            assert each["different"] == [], each["order"]
            assert each["close"], each["order"]
            assert each["equal"] or each["order"].startswith("tp"), each["order"]


def load_then_shard(_: int, folder: str) -> list[str]:
    """Load by a tensor parallel plan on one dimension of a mesh, then let FSDP2 cut along the other."""
    torch.manual_seed(0)
    alone = Net.from_pretrained(folder)
    mesh = init_device_mesh("cpu", (2, 2), mesh_dim_names=("dp", "tp"))
    torch.manual_seed(0)
    model = Net.from_pretrained(folder, device_mesh=mesh["tp"], plan=TENSOR_PARALLEL)
    fully_shard(model, mesh=mesh["dp"])
    assert torch.allclose(model(torch.arange(7)), alone(torch.arange(7)))
    found = differences(model, alone)
    load_weights(model, folder)
    return [*found, *differences(model, alone)]


def test_fsdp_can_be_applied_along_another_dimension_afterwards(tmp_path: Path):
    """A tensor parallel load of each half of the ranks leaves what FSDP2 takes."""
    saved(Net, tmp_path)
    assert values(run_ranks(load_then_shard, 4, str(tmp_path))) == [[], [], [], []]


def train(_: int, folder: str) -> list[bool]:
    """Take two steps of a training alone and together."""
    torch.manual_seed(0)
    alone = Net.from_pretrained(folder).train()
    torch.manual_seed(0)
    mesh = init_device_mesh("cpu", (2,))
    together = Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp").train()
    tokens = torch.arange(7)
    for model in (alone, together):
        optimizer = torch.optim.AdamW([each for each in model.parameters() if each.requires_grad], lr=0.1)
        for _ in range(2):
            model(tokens).square().mean().backward()
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        trained = [torch.allclose(full(one), full(two), atol=1e-5) for one, two in paired(together, alone)]
        again = Net.from_pretrained(folder)
        return [*trained, *(not torch.equal(one, two) for one, two in paired(alone.blocks, again.blocks))]


def paired(one: nn.Module, other: nn.Module) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Yield the parameters and buffers of two models side by side."""
    yield from zip([*one.parameters(), *one.buffers()], [*other.parameters(), *other.buffers()], strict=True)


def test_what_was_loaded_by_slices_trains_as_the_whole_does(tmp_path: Path):
    """FSDP2 finds the tensors that the load put there, mapped or not, and its steps change them and not the file."""
    saved(Net, tmp_path)
    for found in values(run_ranks(train, 2, str(tmp_path))):
        assert found == [True] * len(found)
        assert len(found) > 20


# ---- bytes


class Wide(PreTrainedModel):
    """Layers that are large enough for what is read of them to be counted."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(nn.Linear(1024, 1024, bias=False) for _ in range(4))


def read_so_far() -> int:
    """Return how many bytes this process has asked the system to read."""
    return int(Path("/proc/self/io").read_text().split()[1])


def mapped_at(path: Path) -> range:
    """Return the addresses at which a file is mapped into this process."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    (begin, end), *_ = (line.split()[0].split("-") for line in lines if line.endswith(str(path)))
    return range(int(begin, 16), int(end, 16))


def count_bytes(_: int, folder: str, remote: bool) -> dict[str, float]:
    """Return how many bytes were read for each byte of this rank's share, by the way of loading."""
    if remote:
        WeightFile.remote = property(lambda _: True)  # type: ignore[assignment]
    world = distributed.get_world_size()
    line = init_device_mesh("cpu", (world,))
    ways: dict[str, tuple[Any, DeviceMesh, float]] = {
        "rows": ("fsdp", line, 1 / world),
        "columns": ({"layers.*": Shard(1)}, line, 1 / world),
    }
    if remote:
        square = init_device_mesh("cpu", (2, world // 2), mesh_dim_names=("replicate", "shard"))
        ways = {"twice": ("fsdp", square, 1 / world), "replicated": ({"layers.*": "replicate"}, line, 1 / world)}
    alone = Wide.from_pretrained(folder)
    whole = sum(each.nbytes for each in alone.parameters())
    found: dict[str, float] = {}
    for way, (plan, mesh, share) in ways.items():
        for _ in range(2):  # the first time Python reads modules, too
            before = read_so_far()
            model = Wide.from_pretrained(folder, device_mesh=mesh, plan=plan, memory="auto" if remote else "copy")
            found[way] = (read_so_far() - before) / (whole * share)
        assert differences(model, alone) == []
    return found


def count_unused(_: int, folder: str) -> tuple[int, list[bool]]:
    """Return how many bytes a mapped load read, and for each part whether it is a view of the file."""
    mesh = init_device_mesh("cpu", (2,))
    for _ in range(2):
        before = read_so_far()
        model = Wide.from_pretrained(folder, device_mesh=mesh, plan="fsdp")
        found = read_so_far() - before
    here = mapped_at(Path(folder) / "model.safetensors")
    return found, [cast("DTensor", each).to_local().data_ptr() in here for each in model.parameters()]


@linux
def test_each_rank_reads_just_its_share(tmp_path: Path):
    """By rows or by columns, no rank reads more than a twentieth on top of its share."""
    saved(Wide, tmp_path)
    for found in values(run_ranks(count_bytes, 2, str(tmp_path), False)):
        assert found == {way: pytest.approx(1.025, abs=0.025) for way in ("rows", "columns")}


@linux
def test_a_mapped_load_reads_nothing_but_headers(tmp_path: Path):
    """The parts are views of the file: of the rest, no rank ever reads a byte."""
    saved(Wide, tmp_path)
    for count, views in values(run_ranks(count_unused, 2, str(tmp_path))):
        assert count < 1 << 18
        assert views == [True] * 4


@linux
def test_behind_a_network_what_several_ranks_need_is_read_once(tmp_path: Path):
    """Replicas share the reading evenly, and send each other what they have read."""
    saved(Wide, tmp_path)
    for found in values(run_ranks(count_bytes, 4, str(tmp_path), True)):
        assert found == {way: pytest.approx(1.025, abs=0.03) for way in ("twice", "replicated")}


def compare_remote(rank: int, folder: str) -> list[dict[str, Any]]:
    """Load as if the folder lay behind a network."""
    WeightFile.remote = property(lambda _: True)  # type: ignore[assignment]
    return compare_ways(rank, folder, 4)


def test_what_ranks_send_each_other_is_what_they_have_read(tmp_path: Path):
    """Behind a network the parameters and buffers of every dtype are the same bits as well."""
    saved(Net, tmp_path)
    for found in values(run_ranks(compare_remote, 4, str(tmp_path))):
        assert [each["different"] for each in found] == [[], []]


# ---- errors


def load_own_folder(rank: int, folder: str, options: dict[str, Any]) -> str:
    """Load on two ranks, each from a folder of its own."""
    mesh = init_device_mesh("cpu", (2,))
    return str(Net.from_pretrained(f"{folder}/{rank}", device_mesh=mesh, plan="fsdp", **options).load_report)


def copies(folder: Path) -> list[Path]:
    """Save one model into a folder for each of two ranks, and return the paths of the weights."""
    torch.manual_seed(0)
    saved(Net, folder / "0")
    shutil.copytree(folder / "0", folder / "1")
    return [folder / str(rank) / "model.safetensors" for rank in range(2)]


def test_ranks_may_find_the_same_checkpoint_in_different_places(tmp_path: Path):
    """It is the checkpoint that must be the same, not its path."""
    copies(tmp_path)
    found = values(run_ranks(load_own_folder, 2, str(tmp_path), {}))

    assert found == [f"all 18 tensors of Net were loaded from {tmp_path}/{rank}." for rank in range(2)]


def test_a_file_that_is_torn_on_one_rank_is_an_error_on_all(tmp_path: Path):
    """Nobody waits for the rank that cannot read its file, and all say which one it is."""
    paths = copies(tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:-4])
    said = (
        f"rank 1: {str(paths[1])!r} is not a whole safetensors file: its tensors should end after 5,632 bytes, but 4 "
        "are missing.\n"
        "  It may be truncated. Restore it from its origin, or save the model again."
    )
    raised = [ending.raised for ending in run_ranks(load_own_folder, 2, str(tmp_path), {})]

    assert [each.name for each in raised if each] == ["CorruptFileError"] * 2
    assert {each.text for each in raised if each} == {said}


def test_each_rank_verifies_its_share_and_all_hear_of_it(tmp_path: Path):
    """A byte that has changed is found by the one rank that looks at it, and is an error on all."""
    saved(Net, tmp_path / "0")
    (tmp_path / "1").symlink_to(tmp_path / "0")
    path = tmp_path / "0" / "model.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    endings = run_ranks(load_own_folder, 2, str(tmp_path), {"verify": "full"})
    raised = [ending.raised for ending in endings]

    assert [each.name for each in raised if each] == ["CorruptFileError"] * 2
    assert len({each.text for each in raised if each}) == 1
    assert [each.cause for each in raised if each] == ["", "CorruptFileError"]


def fill_or_leave(rank: int, folder: str) -> tuple[str, bool]:
    """Fill a model from a folder of the rank's own, and return what is raised, and whether the model is as it was."""
    model = cut_by("fsdp", Net(NetConfig()), init_device_mesh("cpu", (2,)))
    before = [local_of(each).clone() for each in model.parameters()]
    said = refusal_of(lambda: load_weights(model, f"{folder}/{rank}", verify="full"))
    after = [local_of(each) for each in model.parameters()]
    return said.partition(" the bytes of")[0], all(map(torch.equal, before, after))


def test_a_model_is_filled_on_all_ranks_or_on_none(tmp_path: Path):
    """If one rank cannot read its file, the parts of every rank are as they were."""
    paths = copies(tmp_path)
    data = bytearray(paths[1].read_bytes())
    data[-1] ^= 1
    paths[1].write_bytes(data)

    said = f"CorruptFileError: rank 1: {str(paths[1])!r}:"
    assert values(run_ranks(fill_or_leave, 2, str(tmp_path))) == [(said, True)] * 2


def mismatch(_: int, folder: str) -> list[Any]:
    """Return what a load raises that does not fit, and what its report says."""
    mesh = init_device_mesh("cpu", (2,))
    with pytest.raises(MismatchError) as caught:
        Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp", inner=9)
    assert caught.value.report is not None
    return [str(caught.value), [each.name for each in caught.value.report.mismatched]]


def test_a_mismatch_is_the_same_error_with_the_same_report_on_all_ranks(tmp_path: Path):
    """What does not fit is listed as in one process: every rank has come to it by itself."""
    saved(Net, tmp_path)
    with pytest.raises(MismatchError) as caught:
        Net.from_pretrained(tmp_path, inner=9)
    assert caught.value.report is not None
    expected = [str(caught.value), [each.name for each in caught.value.report.mismatched]]

    assert values(run_ranks(mismatch, 2, str(tmp_path))) == [expected, expected]


def refuse(_: int, folder: str) -> list[str]:
    """Return what is said of arguments that cannot be."""
    mesh = init_device_mesh("cpu", (2,))
    peculiar = cast("nn.Module", parallelize_module(Peculiar(NetConfig()), mesh, {"linear": ColwiseParallel()}))
    cut = {"linear.weight": peculiar.get_parameter("linear.weight")}
    calls: list[Callable[[], object]] = [
        lambda: Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp", device="cpu"),
        lambda: Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp", device_map="auto"),
        lambda: Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp", timeout=0),
        lambda: Net.from_pretrained(None, config=NetConfig(), state_dict=cut),
        lambda: load_weights(peculiar, folder),
    ]
    said = [refusal_of(call) for call in calls]
    distributed.destroy_process_group()
    return [*said, refusal_of(lambda: Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp"))]


def refusal_of(call: Callable[[], object]) -> str:
    """Return the class and the text of the error that a call raises."""
    try:
        call()
    except NameplateError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def test_arguments_that_contradict_each_other_are_refused(tmp_path: Path):
    """Each error says what to give instead, and comes on every rank."""
    saved(Peculiar, tmp_path)
    first, second = values(run_ranks(refuse, 2, str(tmp_path)))

    assert first == second
    assert (
        first[0]
        == first[1]
        == (
            "UnknownOptionError: device_mesh is given as well as a device; tensors go to the devices of the mesh, "
            "so give just that."
        )
    )
    assert first[2] == "UnknownOptionError: timeout must be a number of seconds above 0, found 0."
    assert first[3] == (
        "UnknownOptionError: state_dict holds a DTensor; give plain tensors, or save them and load the folder."
    )
    assert first[4] == (
        "CheckpointError: Peculiar has its own way of loading, which cannot take parts of tensors.\n"
        "  Load it with from_pretrained(device_mesh=…, plan=…), which cuts it afterwards, or fill it before."
    )
    assert first[5] == (
        "UnknownOptionError: device_mesh is given, but there is no process group through which its ranks could talk.\n"
        "  Start the processes with torchrun, and call torch.distributed.init_process_group() in each of them first."
    )


class Loop:
    """A thing that holds itself, and no plan."""

    def __init__(self) -> None:
        self.own = self


def odd_values(rank: int, folder: str) -> list[str]:
    """Return what is said of values that no option has, the first of which only rank 1 gives, and of a load after."""
    mesh = init_device_mesh("cpu", (2,))
    plans: list[object] = [Loop(), object(), {"emb": object()}, {None: "fsdp"}]
    given: list[dict[str, Any]] = [{"timeout": "soon" if rank else 30}, {"timeout": 10**400}]
    options = [*({"plan": "fsdp", **each} for each in given), *({"plan": each} for each in plans)]
    options.append({"plan": "fsdp", "config": "config.json"})
    calls = [partial(Net.from_pretrained, folder, device_mesh=mesh, **each) for each in options]
    said = [re.sub(" at 0x[0-9a-f]+", "", refusal_of(call)) for call in calls]
    return [*said, refusal_of(lambda: Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp"))]


def test_a_value_that_no_option_has_is_an_error_on_all_ranks(tmp_path: Path):
    """It is one error, also if just one rank gives it, and the ranks can load afterwards."""
    saved(Net, tmp_path)
    first, second = values(run_ranks(odd_values, 2, str(tmp_path)))

    assert first == second
    assert first[0] == "UnknownOptionError: rank 1: timeout must be a number of seconds above 0, found 'soon'."
    assert first[1].startswith("UnknownOptionError: timeout must be a number of seconds above 0, found 1000")
    assert all("A plan cannot be <" in said for said in first[2:4])
    assert "The plan gives 'emb' the style <object object" in first[4]
    assert first[5].startswith("ShardingPlanError: The plan speaks of the dimension None of the mesh,")
    assert first[6] == "UnknownOptionError: Net is built from a NetConfig, found 'config.json'."
    assert first[7] == "nothing"


@pytest.mark.parametrize("timeout", ["soon", 0, -1.5, math.nan, 10**400, True, None])
def test_a_timeout_that_is_no_time_is_an_error_without_a_mesh_too(timeout: object, tmp_path: Path):
    """An option has a meaning or is refused, whether it matters or not."""
    saved(Net, tmp_path)
    for call in (partial(Net.from_pretrained, tmp_path), partial(load_weights, Net(NetConfig()), tmp_path)):
        with pytest.raises(UnknownOptionError, match="timeout must be a number of seconds above 0, found"):
            call(timeout=timeout)


def against_the_order(_: int, folder: str) -> list[str]:
    """Return what is said of a mesh whose ranks descend."""
    mesh = DeviceMesh("cpu", [1, 0])
    cut = fully_shard(Net(NetConfig()), mesh=mesh)
    return [
        refusal_of(lambda: Net.from_pretrained(folder, device_mesh=mesh, plan="fsdp")),
        refusal_of(lambda: load_weights(cut, folder)),
    ]


def test_a_mesh_whose_ranks_descend_is_an_error(tmp_path: Path):
    """FSDP2 gives its first part to rank 0 there, and the mesh to rank 1: parameters would get other values."""
    saved(Net, tmp_path)
    said = (
        "ShardingPlanError: The mesh has the ranks [1, 0], which torch joins in another order than it cuts.\n"
        "  Let them ascend along each dimension, as init_device_mesh does."
    )

    assert values(run_ranks(against_the_order, 2, str(tmp_path))) == [[said, said]] * 2


def test_a_plan_without_a_mesh_is_an_error(tmp_path: Path):
    """A plan alone does not say which ranks share the model."""
    saved(Net, tmp_path)
    with pytest.raises(ShardingPlanError) as caught:
        Net.from_pretrained(tmp_path, plan="fsdp")

    assert str(caught.value) == (
        "plan says how ranks share a model, but there is no device_mesh that says which ranks; give both."
    )


def test_a_mesh_that_is_none_is_an_error(tmp_path: Path):
    """What is no DeviceMesh is refused with the way to make one."""
    saved(Net, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Net.from_pretrained(tmp_path, device_mesh="cpu", plan="fsdp")

    assert str(caught.value) == (
        "device_mesh must be a torch DeviceMesh, found 'cpu'.\n"
        "  Make one with torch.distributed.device_mesh.init_device_mesh('cpu', (2,))."
    )
