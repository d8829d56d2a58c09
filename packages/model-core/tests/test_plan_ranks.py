"""Plans on real ranks: torch's engine cuts what the plan says, and the model computes what it does in one process."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import distributed, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, ParallelStyle, parallelize_module

from nameplate_config import PreTrainedConfig
from nameplate_conformance.instruments.ranks import RankEnding, run_ranks, values
from nameplate_model import PreTrainedModel
from nameplate_model._boxes import box_of
from nameplate_model._distributed.plan import apply_plan, cuts_of
from nameplate_model._distributed.spec import spec_of, wrap

STYLES = {"emb": "rowwise", "head": "colwise_rep", "layers.*.up": "colwise", "layers.*.down": "rowwise"}
LAYOUTS: dict[int, list[tuple[dict[str, int], object]]] = {
    2: [
        ({"dp": 2}, "fsdp"),
        ({"tp": 2}, STYLES),
        ({"tp": 2}, {**STYLES, "layers.*.norm": "replicate"}),
    ],
    4: [
        ({"dp": 4}, "fsdp"),
        ({"rep": 2, "dp": 2}, "fsdp"),
        ({"dp": 2, "tp": 2}, {"dp": "fsdp", "tp": STYLES}),
        ({"rep": 1, "dp": 2, "tp": 2}, {("rep", "dp"): "fsdp", "tp": STYLES}),
    ],
}


class TowerConfig(PreTrainedConfig):
    """Sizes of a tower."""

    model_type = "tower"
    width: int = 8
    words: int = 14


class Block(nn.Module):
    """A block with blocks inside."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.up, self.down, self.norm = nn.Linear(width, 3 * width), nn.Linear(3 * width, width), nn.LayerNorm(width)
        self.inner = nn.Sequential(nn.Sequential(nn.Linear(width, 3), nn.Linear(3, width)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return features."""
        return x + self.inner(self.down(self.up(self.norm(x)).relu()))


class Tower(PreTrainedModel):
    """A tie across blocks, a parameter without axes, a buffer, and a layer that is frozen and of odd size."""

    config_class = TowerConfig

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.emb, self.head = (
            nn.Embedding(config.words, config.width),
            nn.Linear(config.width, config.words, bias=False),
        )
        self.layers = nn.ModuleList(Block(config.width) for _ in range(3))
        self.head.weight = self.emb.weight
        self.emb.weight.no_decay = True
        self.scale = nn.Parameter(torch.tensor(1.5))
        self.frozen = nn.Linear(config.width, 3).requires_grad_(False)
        self.register_buffer("shift", torch.linspace(0, 1, config.words), persistent=False)

    def forward(self, words: torch.Tensor) -> torch.Tensor:
        """Return a value for each word."""
        x = self.emb(words)
        for layer in self.layers:
            x = layer(x)
        return self.head(x) * self.scale + self.shift + self.frozen(x).sum()


def tower() -> Tower:
    """Return the same tower in every process."""
    torch.manual_seed(0)
    return Tower(TowerConfig())


def cut_tower(mesh: DeviceMesh, plan: object, whole: nn.Module) -> Tower:
    """Return a tower whose parts have the values of *whole*, as a load leaves it."""
    with torch.device("meta"):
        model = Tower(TowerConfig())
    model.shift = torch.linspace(0, 1, 14)
    apply_plan(model, mesh, plan)
    known, new = dict(whole.named_parameters(remove_duplicate=False)), {}
    for path, module in model.named_modules():
        for name, parameter in module._parameters.items():
            if parameter is None:
                continue
            key = f"{path}.{name}" if path else name
            if id(parameter) not in new:
                value = known[key].detach().clone()
                if isinstance(parameter, DTensor):
                    value = wrap(value[spec_of(parameter, key).box.slices].contiguous(), parameter)
                new[id(parameter)] = parameter, nn.Parameter(value, requires_grad=parameter.requires_grad)
            module._parameters[name] = new[id(parameter)][1]
    return model


def whole(tensor: torch.Tensor | None) -> torch.Tensor:
    """Return a tensor as it is in one process."""
    assert tensor is not None
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


# ---- what ranks do


def lay_out(rank: int, world: int) -> list[str]:
    """Cut a tower in every layout; return what differs from the simulation, or is lost."""
    wrong: list[str] = []
    for sizes, plan in LAYOUTS[world]:
        mesh = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(sizes))
        with torch.device("meta"):
            model = Tower(TowerConfig())
        simulated = cuts_of(model, plan, sizes)
        apply_plan(model, mesh, plan)
        for key, parameter in model.named_parameters(remove_duplicate=False):
            box = box_of(tuple(parameter.shape), simulated[key], mesh.shape, mesh.get_coordinate() or ())
            found = spec_of(parameter, key).box if isinstance(parameter, DTensor) else None
            if found is None and any(simulated[key]):
                wrong.append(f"rank {rank}: {key} is not cut by {plan}")
            if found is not None and (found != box or tuple(parameter._local_tensor.shape) != box.sizes):
                wrong.append(f"rank {rank}: {key} is {found} and not {box} by {plan}")
        kept = model.emb.weight is model.head.weight, model.frozen.weight.requires_grad, model.emb.weight.no_decay
        wrong += [f"{plan} keeps {kept}"] if kept != (True, False, True) else []
    return wrong


def train(_rank: int, world: int) -> list[str]:
    """Take a step in every layout, each data parallel rank with words of its own; return what differs."""
    wrong: list[str] = []
    for sizes, plan in LAYOUTS[world]:
        mesh = init_device_mesh("cpu", tuple(sizes.values()), mesh_dim_names=tuple(sizes))
        groups = [name for name in sizes if name != "tp"]
        replicas = [mesh.get_local_rank(name) * (2 if name == "rep" else 1) for name in groups]
        words = torch.arange(6).reshape(1, 6)
        batches = [(words + 3 * number) % 14 for number in range(world // sizes.get("tp", 1))]
        one = tower()
        loss = torch.stack([one(batch).square().mean() for batch in batches]).mean()
        loss.backward()
        many = cut_tower(mesh, plan, tower())
        many(batches[sum(replicas) if groups else 0]).square().mean().backward()
        for (key, ours), theirs in zip(many.named_parameters(), one.parameters(), strict=True):
            if theirs.grad is not None and not torch.allclose(whole(ours.grad), theirs.grad, rtol=1e-4, atol=1e-5):
                wrong.append(f"the gradient of {key} by {plan}")
    return wrong


def refused(_rank: int) -> list[str]:
    """Apply plans that torch does not take; return what is said."""
    mesh = init_device_mesh("cpu", (2,), mesh_dim_names=("dp",))
    said: list[str] = []

    def shard_by_halves(model: nn.Module, mesh: DeviceMesh) -> None:
        fully_shard(model.get_submodule("layers.0"), mesh=mesh)
        parallelize_module(model, mesh, {"emb": ColwiseParallel()})

    def wrap(model: nn.Module, _mesh: DeviceMesh) -> nn.Module:
        return nn.Sequential(model)

    def fail(model: nn.Module, _mesh: DeviceMesh) -> None:
        model.get_submodule("nowhere")

    for plan in (shard_by_halves, wrap, fail, {"layers.*.inner.0.0": Odd()}):
        with torch.device("meta"):
            model = Tower(TowerConfig())
        try:
            apply_plan(model, mesh, plan)
        except Exception as error:  # noqa: BLE001 - its class is what is asked for
            said.append(f"{type(error).__name__}: {error}")
    return said


class Odd(ParallelStyle):
    """A style that torch knows nothing of."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        del module, device_mesh
        message = "not today"
        raise NotImplementedError(message)


class Own(ParallelStyle):
    """A style of somebody that works."""

    def _apply(self, module: nn.Module, device_mesh: DeviceMesh) -> nn.Module:
        for name, parameter in list(module.named_parameters()):
            module.register_parameter(name, nn.Parameter(distribute_tensor(parameter, device_mesh, [Shard(0)])))
        return module


class Declaring(Tower):
    """A tower that says in code how it is cut."""

    def sharding_plan(self, mesh: DeviceMesh) -> None:
        """Let FSDP2 cut the blocks alone."""
        for layer in self.layers:
            fully_shard(layer, mesh=mesh)


def called(rank: int, folder: str) -> list[Any]:
    """Apply functions and styles of one's own, and plan with a real mesh; return what became of parameters."""
    mesh = init_device_mesh("cpu", (2, 1), mesh_dim_names=("dp", "tp"))
    with torch.device("meta"):
        declaring, styled = Declaring(TowerConfig()), Tower(TowerConfig())
    apply_plan(declaring, mesh["dp"])
    apply_plan(styled, mesh["dp"], {"frozen": Own(), "layers.0.up.weight": (Shard(1),)})
    cut = [
        [key for key, each in model.named_parameters() if isinstance(each, DTensor)] for model in (declaring, styled)
    ]
    frozen = styled.frozen.weight.requires_grad
    if rank == 0:
        tower().save_pretrained(folder)
    distributed.barrier()
    plan = Declaring.plan_load(folder, device_mesh=mesh["dp"])
    same = Tower.plan_load(folder, device_mesh=mesh, plan={"dp": "fsdp"}).ranks
    said = Tower.plan_load(folder, device_mesh={"dp": 2, "tp": 1}, plan={"dp": "fsdp"}).ranks
    loaded = Tower.from_pretrained(folder, device_mesh=mesh, plan={"dp": "fsdp"})
    kept = sum(each.to_local().nbytes if isinstance(each, DTensor) else each.nbytes for each in loaded.parameters())
    return [cut, frozen, plan.ranks.spread("bytes"), same[:] == said[:], kept == same[rank].kept]


def small(_rank: int) -> list[str]:
    """Cut models of one layer, with an empty parameter, and with a block that shares one; return placements."""
    mesh = init_device_mesh("cpu", (2,))
    found: list[str] = []
    with torch.device("meta"):
        one, empty = nn.Linear(3, 5), nn.Linear(3, 5)
        empty.register_parameter("none", nn.Parameter(torch.empty(0, 3)))
        tied = nn.Sequential(*(Block(4) for _ in range(3)), nn.Linear(4, 12))
    tied[3].weight = tied[1].up.weight
    for model in (one, empty, tied):
        apply_plan(model, mesh, "fsdp")
        kinds = {str(parameter.placements) for parameter in model.parameters() if isinstance(parameter, DTensor)}
        found.append(f"{len(list(model.parameters()))} {kinds}")
    found.append(str(tied[3].weight is tied[1].up.weight))
    return found


# ---- what holds


def every(endings: list[RankEnding]) -> Any:
    """Return what all ranks return alike."""
    found = values(endings)
    assert all(each == found[0] for each in found)
    return found[0]


@pytest.mark.parametrize("world", LAYOUTS)
def test_the_simulation_is_what_torch_does(world: int):
    """Every rank has the box that was worked out without it; ties, frozen layers and attributes survive."""
    assert every(run_ranks(lay_out, world, world)) == []


@pytest.mark.parametrize("world", LAYOUTS)
def test_a_plan_trains_as_one_process_does(world: int):
    """All gradients are those of one process with all the data, also of a parameter without axes."""
    assert every(run_ranks(train, world, world)) == []


def test_what_torch_does_not_take():
    """What torch or a function of the caller raises is one error of ours, with the name of the plan."""
    halves, wrapped, failed, odd = every(run_ranks(refused, 2))

    assert halves.startswith("ShardingPlanError: The plan cuts emb.weight and head.weight in different ways, but they")
    assert "returns another module than the Tower that it was given.\n  Change the model in place" in wrapped
    assert "refused.<locals>.fail fails on Tower: AttributeError: Tower has no attribute `nowhere`" in failed
    assert odd == "ShardingPlanError: Torch refuses the plan for Tower: NotImplementedError: not today"


def test_functions_and_styles_of_ones_own(tmp_path: Path):
    """A method is a plan of the class, a style of somebody cuts what it likes, and a plan may be asked on ranks."""
    cut, frozen, read, *same = every(run_ranks(called, 2, str(tmp_path / "tower")))

    assert all(key.startswith("layers.") for key in cut[0])
    assert len(cut[0]) == len([key for key, _ in tower().named_parameters() if key.startswith("layers.")])
    assert cut[1] == ["layers.0.up.weight", "frozen.weight", "frozen.bias"]
    assert not frozen
    assert read[0] > sum(parameter.nbytes for parameter in tower().layers.parameters()) // 2
    assert same == [True, True]


def test_small_and_tied_models():
    """One layer is a model; a parameter may be empty; a block that shares one with others stays with them."""
    assert every(run_ranks(small, 2)) == [
        "2 {'(Shard(dim=0),)'}",
        "3 {'(Shard(dim=0),)'}",
        "31 {'(Shard(dim=0),)'}",
        "True",
    ]
