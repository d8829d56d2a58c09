"""What a plan cuts, what is wrong with one, and what the ranks of a mesh would read: without any process group."""

import json
import struct
import sys
from collections.abc import Mapping
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.distributed.tensor import Partial, Replicate, Shard
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, PrepareModuleInput

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel, ShardingPlanError
from nameplate_model._boxes import Box, Cut, box_of, overlap
from nameplate_model._distributed.patterns import matches
from nameplate_model._distributed.plan import cuts_of
from nameplate_model._distributed.simulate import Spread

WEIGHTS = "model.safetensors"
MEGATRON = {"emb": "rowwise", "head": "colwise_rep", "layers.*.up": "colwise", "layers.*.down": "rowwise"}


class TowerConfig(PreTrainedConfig):
    """Sizes of a tower."""

    model_type = "tower"
    width: int = 8
    floors: int = 2
    words: int = 12


class Floor(nn.Module):
    """A block as in any transformer."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(width, 3 * width), nn.Linear(3 * width, width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features."""
        return x + self.down(self.up(self.norm(x)).relu())


class Tower(PreTrainedModel):
    """Words in, words out, by one tied matrix; between them equal blocks, and a parameter without axes."""

    config_class = TowerConfig

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.emb = nn.Embedding(config.words, config.width)
        self.layers = nn.ModuleList(Floor(config.width) for _ in range(config.floors))
        self.head = nn.Linear(config.width, config.words, bias=False)
        self.head.weight = self.emb.weight
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.register_buffer("steps", torch.arange(3))

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return a value for each word."""
        x = self.emb(words)
        for layer in self.layers:
            x = layer(x)
        return self.head(x) * self.scale


def cut_along(plan: object, sizes: Mapping[str, int], model: nn.Module | None = None) -> dict[str, Any]:
    """Return the cuts of those parameters that are cut at all."""
    found = cuts_of(model or Tower(TowerConfig()), plan, sizes)
    return {key: cuts for key, cuts in found.items() if any(cuts)}


def refusal(plan: object, sizes: Mapping[str, int] | None = None, model: nn.Module | None = None) -> str:
    """Return what is wrong with a plan."""
    with pytest.raises(ShardingPlanError) as caught:
        cuts_of(model or Tower(TowerConfig()), plan, sizes or {"tp": 2})
    return str(caught.value)


# ---- what it cuts


def test_fsdp_cuts_every_parameter_along_its_first_axis():
    """All but what has no axes, and what is tied is one parameter."""
    found = cuts_of(Tower(TowerConfig(floors=1)), "fsdp", {"dp": 3})

    assert found.pop("scale") == (None,)
    assert set(found) == {"emb.weight", "head.weight"} | {
        f"layers.0.{name}" for name in ("up.weight", "up.bias", "down.weight", "down.bias", "norm.weight", "norm.bias")
    }
    assert set(found.values()) == {(Cut(0),)}


def test_fsdp_on_two_dimensions_replicates_along_the_first():
    """A mesh of two dimensions means HSDP."""
    assert set(cut_along("fsdp", {"replicate": 2, "shard": 3}).values()) == {(None, Cut(0))}


def test_styles_cut_linear_layers_and_embeddings():
    """Columns are the outputs of a layer, rows its inputs; biases go with the outputs; the rest stays whole."""
    assert cut_along(MEGATRON, {"tp": 2}, Tower(TowerConfig(floors=1))) == {
        "emb.weight": (Cut(0),),
        "head.weight": (Cut(0),),
        "layers.0.up.weight": (Cut(0),),
        "layers.0.up.bias": (Cut(0),),
        "layers.0.down.weight": (Cut(1),),
    }
    assert cut_along({"one": "colwise"}, {"tp": 2}, nn.ModuleDict({"one": nn.Embedding(4, 4)})) == {
        "one.weight": (Cut(1),)
    }


def test_placements_cut_parameters_and_what_is_in_modules():
    """A placement is for a key, or for all parameters of a module; from the end counts a negative axis."""
    plan = {"layers.0": Replicate(), "layers.1.*.weight": Shard(-1), "emb.weight": (Shard(1),), "head": (Shard(1),)}

    assert cut_along(plan, {"tp": 2}) == {
        "emb.weight": (Cut(1),),
        "head.weight": (Cut(1),),
        "layers.1.up.weight": (Cut(1),),
        "layers.1.down.weight": (Cut(1),),
        "layers.1.norm.weight": (Cut(0),),
    }


def test_tensor_parallel_under_fsdp_cuts_an_axis_twice():
    """FSDP cuts what tensor parallelism has left to a rank: of one axis the parts of the parts."""
    plan = {"dp": "fsdp", "tp": {"layers.*.up": "colwise", "layers.*.down": "rowwise"}}
    found = cuts_of(Tower(TowerConfig()), plan, {"dp": 2, "tp": 4})

    assert found["layers.0.up.weight"] == (Cut(0, 4), Cut(0))
    assert found["layers.0.down.weight"] == (Cut(0), Cut(1))
    assert found["emb.weight"] == (Cut(0), None)


def test_hsdp_with_tensor_parallelism_is_one_key_for_two_dimensions():
    """The dimensions of HSDP are named together."""
    plan = {("rep", "dp"): "fsdp", "tp": {"layers.*.down": "rowwise"}}

    assert cut_along(plan, {"rep": 2, "dp": 2, "tp": 2})["layers.0.down.weight"] == (None, Cut(0), Cut(1))


def test_a_class_declares_its_plan():
    """Without a plan the one of the class counts, and else what it declares for Transformers."""

    class Declaring(Tower):
        sharding_plan = MEGATRON

    class Transforming(Tower):
        _tp_plan: ClassVar = {"layers.*.up": "colwise", "layers.*.down": "rowwise", "head": "colwise_gather_output"}
        _tp_plan["emb"] = "embedding_rowwise"

    expected = cut_along(MEGATRON, {"tp": 2})
    assert cut_along(None, {"tp": 2}, Declaring(TowerConfig())) == expected
    assert cut_along(None, {"tp": 2}, Transforming(TowerConfig())) == expected
    assert cut_along(None, {"tp": 2}, nn.Sequential(Transforming(TowerConfig()))).keys() == {
        f"0.{key}" for key in expected
    }
    assert cut_along(None, {"dp": 2, "tp": 2}, Transforming(TowerConfig())) == {
        key: (None, *cuts) for key, cuts in expected.items()
    }


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("layers.*.up", "layers.10.up", True),
        ("layers.*", "layers.0.up", False),
        ("layers.**", "layers.0.up", True),
        ("**", "", True),
        ("**.up", "up", True),
        ("**.layers.**.up", "a.layers.1.b.up", True),
        ("layers.[01].up", "layers.2.up", False),
        ("", "up", False),
    ],
)
def test_patterns_match_part_by_part(pattern: str, name: str, expected: bool):
    """A star stays within a part of a name, and two stars are any number of parts."""
    assert matches(name, pattern) is expected


def test_a_shared_module_is_cut_once():
    """A module that stands in two places is named by either."""
    model = nn.ModuleDict({"one": nn.Linear(4, 4)})
    model["two"] = model["one"]

    assert cut_along({"two": "colwise"}, {"tp": 2}, model)["one.weight"] == (Cut(0),)


# ---- what is wrong with it


def test_a_pattern_that_matches_nothing():
    """The nearest pattern that would is named."""
    assert refusal({"layers.*.upp": "colwise"}) == (
        "The plan has the pattern 'layers.*.upp', which matches no module and no parameter of Tower.\n"
        "  Did you mean 'layers.*.up'?"
    )
    assert refusal({"*.up": "colwise"}).endswith(
        "Patterns are matched part by part, as in 'layers.*.up'; '**' stands for any number of parts."
    )


def test_patterns_that_contradict_each_other():
    """Both are named, whether they speak of a module, of a parameter, or of two names of one."""
    assert refusal({"layers.*.up": "colwise", "layers.0.u*": "rowwise"}) == (
        "The plan contradicts itself: two patterns, 'layers.*.up' and 'layers.0.u*', "
        "cut layers.0.up in different ways.\n"
        "  Let one of them match fewer names, or let both say the same."
    )
    assert "two patterns, 'layers.*.up' and '**.bias', cut layers.0.up.bias in" in refusal(
        {"layers.*.up": "colwise", "**.bias": Replicate()}
    )
    assert "cut emb.weight and head.weight, one tensor, in" in refusal({"emb": "rowwise", "head": Shard(1)})
    assert "the pattern '[eh]*' cuts emb.weight and head.weight, one tensor, in" in refusal({"[eh]*": "colwise"})
    assert "layers.0.up in" in refusal({"layers.0.up": "colwise", "layers.*.up": "colwise_rep"})
    assert cut_along({"layers.0.up": "colwise", "layers.*.up": "colwise"}, {"tp": 2})


def test_a_tie_of_which_one_side_is_cut():
    """The other name is in the message."""
    assert refusal({"emb": "rowwise"}) == (
        "The plan cuts emb.weight by 'emb', but not head.weight, which is the same tensor.\n"
        "  Give a style to both modules, such as 'rowwise' to an embedding and 'colwise' to the head tied to it."
    )


def test_a_mesh_larger_than_an_axis():
    """What is cut by word must leave each rank a part; FSDP pads."""
    assert refusal({"layers.*.up": "colwise"}, {"tp": 25}) == (
        "The plan cuts layers.0.up.weight along axis 0 by 'layers.*.up' for 25 ranks, but its shape is (24, 8).\n"
        "  Use fewer ranks along that dimension of the mesh, or replicate it."
    )
    assert "for 16 ranks" in refusal({"layers.0.norm": (Shard(0), Shard(0))}, {"a": 4, "b": 4})
    assert cut_along("fsdp", {"dp": 1000})


class Unknown(ParallelStyle):
    """A style of somebody."""

    def _apply(self, module: nn.Module, device_mesh: Any) -> nn.Module:
        del device_mesh
        return module


LIST = "A style is one of 'colwise', 'colwise_rep', 'rowwise', 'rowwise_rep', 'sequence', 'replicate', a ParallelStyle,"


@pytest.mark.parametrize(
    ("plan", "sizes", "text"),
    [
        ({"emb": "colwize"}, {"tp": 2}, "the style 'colwize', which is unknown.\n  Did you mean 'colwise'?"),
        ({"emb": "packed_colwise"}, {"tp": 2}, "the style 'packed_colwise', which is unknown.\n  Its styles are: "),
        ({"emb": 3}, {"tp": 2}, LIST),
        ({"emb": ()}, {"tp": 2}, LIST),
        ({3: "colwise"}, {"tp": 2}, "A plan maps patterns of names to styles, and 3 is no text."),
        ({"emb": Partial()}, {"tp": 2}, "of which no rank holds a range of the values."),
        ({"emb": Shard(2)}, {"tp": 2}, "but emb.weight has the shape (12, 8)."),
        ({"emb.weight": "colwise"}, {"tp": 2}, "which is for modules; emb.weight is a parameter."),
        ({"layers.*.norm": "colwise"}, {"tp": 2}, "but layers.0.norm is a LayerNorm, and torch has it for Linear and"),
        ({"": "rowwise"}, {"tp": 2}, "but the model itself is a Tower,"),
        ({"emb": "colwise"}, {"dp": 2, "tp": 2}, "what is for 1 dimensions of a mesh, and there are 2."),
        ({"emb": (Shard(0), Shard(0))}, {"tp": 2}, "what is for 2 dimensions of a mesh, and there are 1."),
        (
            {"emb": Unknown(), "head": Unknown()},
            {"tp": 2},
            "What Unknown, the style of 'emb', cuts shows only on ranks.",
        ),
        ("fdsp", {"dp": 2}, "A plan cannot be 'fdsp'.\n  Did you mean 'fsdp'?"),
        ({}, {"dp": 2}, "A plan cannot be {}."),
        (7, {"dp": 2}, "It is 'fsdp', a mapping of styles by the paths of modules,"),
        (print, {"dp": 2}, "The plan print is a function: what it does to Tower shows only on ranks."),
        ("fsdp", {"a": 2, "b": 2, "c": 2}, "for one dimension of a mesh, or for two with names"),
        (
            {"pp": "fsdp"},
            {"dp": 2, "tp": 2},
            "the dimension 'pp' of the mesh, whose dimensions are {'dp': 2, 'tp': 2}.",
        ),
        ({("tp", "dp"): "fsdp"}, {"dp": 2, "tp": 2}, "the dimension ('tp', 'dp') of the mesh"),
        ({None: "fsdp"}, {"dp": 2}, "the dimension None of the mesh, whose dimensions are {'dp': 2}."),
        ({"dp": "fsdp", "tp": {"emb": "colwise", "head": "colwise"}}, {"tp": 2, "dp": 2}, "is not before all others"),
        ({"dp": "fsdp", "tp": "fsdp"}, {"dp": 2, "tp": 2}, "or for several."),
        ({"dp": "fsdp", ("dp",): "fsdp"}, {"dp": 2, "tp": 2}, "speaks twice of dimension ('dp',) of the mesh."),
        ({"dp": "fsdp", "emb": "colwise"}, {"dp": 2}, "has both plans of mesh dimensions and styles"),
        ({"layers.0.up": "fsdp", "emb": "colwise"}, {"dp": 2}, "has both plans of mesh dimensions and styles"),
    ],
)
def test_what_is_no_plan(plan: object, sizes: Mapping[str, int], text: str):
    """Each has its message."""
    assert text in refusal(plan, sizes)


def test_a_class_without_a_plan():
    """A mesh alone says how many ranks there are, and not how they share a model."""
    assert refusal(None) == (
        "Tower declares no sharding_plan, so a device_mesh alone does not say how to cut it.\n"
        "  Pass plan='fsdp', or styles by the paths of modules."
    )


def test_parameters_without_a_shape():
    """Nobody knows yet how they could be cut."""
    assert "before the first forward: one.weight, one.bias." in refusal(
        "fsdp", model=nn.ModuleDict({"one": nn.LazyLinear(3)})
    )


def test_styles_that_only_prepare_inputs_cut_nothing():
    """They are for what comes into a module and goes out."""
    prepare = PrepareModuleInput(input_layouts=Replicate(), desired_input_layouts=Shard(0))

    assert cut_along({"layers.*": prepare, "layers.*.up": ColwiseParallel()}, {"tp": 2}).keys() == {
        f"layers.{number}.up.{name}" for number in range(2) for name in ("weight", "bias")
    }


# ---- what ranks would read


def saved(folder: Path, config: TowerConfig | None = None, **options: Any) -> int:
    """Save a tower and return the bytes of its tensors."""
    model = Tower(config or TowerConfig())
    model.save_pretrained(folder, **options)
    return sum(parameter.nbytes for parameter in model.parameters()) + model.steps.nbytes


def test_a_plan_says_what_each_rank_reads(tmp_path: Path):
    """The bytes of its parts, the runs in which these lie, what it keeps after a cast, and what others keep, too."""
    saved(tmp_path, TowerConfig(floors=1))
    plan = {"emb": "colwise", "head": Shard(1), "layers.*.up": "colwise"}
    ranks = Tower.plan_load(tmp_path, device_mesh={"tp": 2}, plan=plan, dtype=torch.bfloat16).ranks

    cut, whole = 12 * 8 // 2 + (24 * 8 + 24) // 2, 8 * 24 + 8 + 8 + 8 + 1
    assert (
        ranks[1]
        == ranks[-1]
        == (
            1,
            (1,),
            4 * (cut + whole) + 24,
            12 + 2 + 5 + 1,
            1,
            {"bfloat16": 2 * (cut + whole), "int64": 24},
            2 * whole + 24,
        )
    )
    assert [rank.rank for rank in ranks[:]] == [0, 1]


def test_a_plan_of_ranks_can_be_read(tmp_path: Path):
    """As text it has the bytes, runs and files of the ranks, and what they do together."""
    stored = saved(tmp_path, max_shard_size=600)
    plan = Tower.plan_load(tmp_path, device_mesh={"dp": 3}, plan="fsdp")
    headers = sum(plan.ranks.headers)

    assert plan.ranks.stored == stored == plan.bytes
    assert str(plan).splitlines()[1:] == [
        f"  3 ranks (dp: 3) together read {stored + 2 * 28:,} bytes, 1.01 times what is loaded.",
        "  read by each: 1,164 to 1,380 (median 1,380) bytes, in 15 runs, of 6 files",
        "  kept by each: 1,164 to 1,380 (median 1,380) bytes, of which others keep, too: 28",
        f"  headers: {headers:,} bytes of 6 files, read by each",
    ]


def test_a_plan_without_a_mesh_has_no_ranks(tmp_path: Path):
    """Then one process loads it."""
    saved(tmp_path)

    assert Tower.plan_load(tmp_path).ranks is None


def test_a_model_with_its_own_way_of_loading_is_read_whole(tmp_path: Path):
    """Every rank reads all of it, and keeps its part."""

    class Own(Tower):
        def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
            super()._load_from_state_dict(*args, **kwargs)

    stored = saved(tmp_path)
    ranks = Own.plan_load(tmp_path, device_mesh={"dp": 4}, plan="fsdp").ranks

    assert ranks.spread("bytes") == Spread(stored, stored, stored)
    assert ranks.spread("kept").most < stored // 2


def test_a_model_that_is_built_for_real_is_read_whole(tmp_path: Path):
    """Somebody holds its parameters, so every rank fills them before it cuts them."""

    class Held(Tower):
        def __init__(self, config: TowerConfig) -> None:
            super().__init__(config)
            self.kept = list(self.parameters())

    stored = saved(tmp_path)
    plan = Held.plan_load(tmp_path, device_mesh={"dp": 4}, plan="fsdp")

    assert plan.report.built_for_real
    assert plan.ranks.spread("bytes") == Spread(stored, stored, stored)


def test_a_mesh_of_more_ranks_than_can_be_worked_out(tmp_path: Path):
    """Each is worked out by itself, so there is an end to it."""
    saved(tmp_path)
    with pytest.raises(UnknownOptionError, match="and a plan is for 1,000,000 ranks at most"):
        Tower.plan_load(tmp_path, device_mesh={"dp": 10**9, "tp": 10**21}, plan="fsdp")


@pytest.mark.parametrize("mesh", [{}, {"dp": 0}, {"dp": 1.5}, {3: 2}, 4])
def test_what_is_no_mesh(mesh: object, tmp_path: Path):
    """Sizes are positive and have names."""
    saved(tmp_path)
    with pytest.raises(
        UnknownOptionError, match=r"or for a plan the sizes of its dimensions, found .*\n.* at least 1 by"
    ):
        Tower.plan_load(tmp_path, device_mesh=mesh, plan="fsdp")


SHAPES = st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple)


@settings(deadline=None, max_examples=80)
@given(data=st.data(), shapes=st.lists(SHAPES, min_size=1, max_size=3), first=st.integers(1, 4), last=st.integers(1, 4))
def test_the_boxes_of_all_ranks_are_the_whole(data: st.DataObject, shapes: list[Any], first: int, last: int):
    """With any plan, each element of a parameter lies on as many ranks as there are replicas of it."""
    model = nn.Module()
    for number, shape in enumerate(shapes):
        model.register_parameter(f"p{number}", nn.Parameter(torch.empty(shape, device="meta")))
    placed = {
        f"p{number}": data.draw(
            st.sampled_from([Replicate(), *(Shard(d) for d, size in enumerate(shape) if size >= last)])
        )
        for number, shape in enumerate(shapes)
    }
    plan = data.draw(st.sampled_from(["fsdp", {"a": "fsdp"}, {"b": placed}, {"a": "fsdp", "b": placed}]))
    sizes = (first, last)
    for key, cuts in cuts_of(model, plan, {"a": first, "b": last}).items():
        shape = tuple(model.get_parameter(key).shape)
        boxes = [box_of(shape, cuts, sizes, place) for place in product(range(first), range(last))]
        copies = prod(size for size, cut in zip(sizes, cuts, strict=True) if cut is None)
        apart = [Box(*box) for box in {tuple(box) for box in boxes if box.numel}]

        assert sum(box.numel for box in boxes) == prod(shape) * copies
        assert not any(overlap(a, b) for at, a in enumerate(apart) for b in apart[:at])


# ---- a checkpoint that nobody could load here


class GiantConfig(PreTrainedConfig):
    """Sizes of a language model of 8 GB in bfloat16."""

    model_type = "giant"
    width: int = 4096
    wide: int = 14336
    floors: int = 19
    words: int = 32000


class GiantFloor(nn.Module):
    """The weights of a block of a language model."""

    def __init__(self, config: GiantConfig) -> None:
        super().__init__()
        self.q, self.o = (nn.Linear(config.width, config.width, bias=False) for _ in range(2))
        self.up, self.gate = (nn.Linear(config.width, config.wide, bias=False) for _ in range(2))
        self.down, self.norm = nn.Linear(config.wide, config.width, bias=False), nn.RMSNorm(config.width)


class Giant(PreTrainedModel):
    """A model that only its headers let one plan."""

    config_class = GiantConfig
    sharding_plan: ClassVar = {"dp": "fsdp", "tp": {"layers.*.[qug]*": "colwise", "layers.*.[od]*": "rowwise"}}

    def __init__(self, config: GiantConfig) -> None:
        super().__init__(config)
        self.emb = nn.Embedding(config.words, config.width)
        self.layers = nn.ModuleList(GiantFloor(config) for _ in range(config.floors))


def write_sparse(folder: Path) -> int:
    """Write a giant of which nothing but the header takes room on the disk, and return its bytes."""
    with torch.device("meta"):
        state = Giant(GiantConfig()).state_dict()
    header: dict[str, Any] = {}
    end = 0
    for name, tensor in state.items():
        begin, end = end, end + 2 * tensor.numel()
        header[name] = {"dtype": "BF16", "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    with (folder / WEIGHTS).open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    (folder / "config.json").write_text(json.dumps({"model_type": "giant"}))
    return end


def memory_and_reads() -> tuple[int, int]:
    """Return the most bytes that this process has ever had in memory, and how many it has read."""
    status = Path("/proc/self/status").read_text()
    peak = next(line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak.split()[1]) << 10, int(Path("/proc/self/io").read_text().split()[1])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")
def test_eight_gigabytes_are_planned_for_a_thousand_ranks(tmp_path: Path):
    """Nothing is read but the header and nothing allocated, and each rank reads a thousandth of what is cut."""
    stored = write_sparse(tmp_path)
    Giant.plan_load(tmp_path, device_mesh={"dp": 1, "tp": 1})
    memory, read = memory_and_reads()
    ranks = Giant.plan_load(tmp_path, device_mesh={"dp": 125, "tp": 8}).ranks
    most = ranks.spread("bytes").most
    after, then = memory_and_reads()

    assert stored > 8e9
    assert len(ranks) == 1000
    assert most <= stored / 1000 * 1.05 + 2 * GiantConfig().words * GiantConfig().width / 125
    assert sum(each.bytes for each in ranks) == ranks.total
    assert (after - memory, then - read) < (64 << 20, 1 << 20)
