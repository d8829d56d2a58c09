"""A model is an ordinary torch module: it is copied, pickled, compiled and exported, fresh or loaded."""

import copy
import io
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel


class NetConfig(PreTrainedConfig):
    """The width and depth of a network."""

    model_type = "copied_net"
    width: int = 6
    depth: int = 2


class Layer(nn.Module):
    """A residual layer with a norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.norm = nn.Linear(width, width), nn.BatchNorm1d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Add the layer to the input."""
        return x + self.norm(self.linear(x)).relu()


class Net(PreTrainedModel):
    """Layers, a tied head, a frozen parameter, and a buffer that no file holds."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList(Layer(config.width) for _ in range(config.depth))
        self.head = nn.Linear(config.width, config.width)
        self.head.weight = self.layers[0].linear.weight
        self.scale = nn.Parameter(torch.full((1,), 1.5), requires_grad=False)
        self.register_buffer("table", torch.arange(float(config.width)), persistent=False)

    def forward(self, x: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        """Return logits, and the loss if there are labels."""
        for layer in self.layers:
            x = layer(x)
        logits = self.head(x) * self.scale + self.table
        if labels is None:
            return {"logits": logits}
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def fresh(_: Path) -> Net:
    """Return a model as its constructor makes it."""
    torch.manual_seed(0)
    return Net.from_config(NetConfig())


def loaded(folder: Path) -> Net:
    """Return a model as it comes from a checkpoint."""
    fresh(folder).save_pretrained(folder)
    return Net.from_pretrained(folder)


both = pytest.mark.parametrize("make", [fresh, loaded])


def pickled(protocol: int) -> Callable[[nn.Module], nn.Module]:
    """Return a function that copies a model through a pickle."""
    return lambda model: pickle.loads(pickle.dumps(model, protocol))


def saved_by_torch(model: nn.Module) -> nn.Module:
    """Copy a model as `torch.save` does it."""
    buffer = io.BytesIO()
    torch.save(model, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = {
    "deepcopy": copy.deepcopy,
    "torch.save": saved_by_torch,
    **{f"pickle {number}": pickled(number) for number in range(2, 6)},
}

every_copy = pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)


def inputs() -> Tensor:
    """Return an input, always the same."""
    return torch.randn(4, 6, generator=torch.Generator().manual_seed(0))


def bits(tensor: Tensor | None) -> bytes:
    """Return the bytes of a tensor."""
    return b"" if tensor is None else tensor.detach().contiguous().numpy().tobytes()


def everything(model: nn.Module) -> list[tuple[str, bytes, bool]]:
    """Return every tensor of a model, by each of its names."""
    named = [*model.named_parameters(remove_duplicate=False), *model.named_buffers(remove_duplicate=False)]
    return [(name, bits(tensor), tensor.requires_grad) for name, tensor in named]


def trained(model: nn.Module, run: Callable[..., dict[str, Tensor]] | None = None) -> list[bytes]:
    """Train a step with a model, or with what was made of it, and return every bit of the outcome."""
    answer = (model if run is None else run)(inputs(), torch.arange(4))
    answer["loss"].backward()
    gradients = [bits(each.grad) for each in model.parameters()]
    return [bits(answer["loss"]), bits(answer["logits"]), *gradients, *(bits(each) for each in model.buffers())]


# ---- copies


@both
@every_copy
def test_a_copy_is_the_model(copied: Callable[[Any], Any], make: Callable[[Path], Net], tmp_path: Path):
    """A copy has the same bits, ties, frozen parameters, mode, config and report, and memory of its own."""
    model = make(tmp_path)
    other = copied(model)

    assert everything(other) == everything(model)
    assert other.head.weight is other.layers[0].linear.weight
    assert (other.training, other.config, other.load_report) == (model.training, model.config, model.load_report)
    with torch.no_grad():
        other.head.weight.zero_()
    assert everything(other) != everything(model) == everything(make(tmp_path))


@both
@every_copy
def test_a_copy_is_saved_and_trained(copied: Callable[[Any], Any], make: Callable[[Path], Net], tmp_path: Path):
    """A copy writes the bytes that the model writes, and a step with it is the same step."""
    model = make(tmp_path / "made")
    other = copied(model)
    for name, each in (("model", model), ("other", other)):
        each.save_pretrained(tmp_path / name)

    files = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("model", "other")]
    assert files[0] == files[1]
    assert trained(other.train()) == trained(model.train())


def test_from_config_builds_what_the_constructor_builds():
    """Under one seed both give the same bits."""
    config = NetConfig(depth=3)
    torch.manual_seed(1)
    constructed = Net(config)
    torch.manual_seed(1)

    assert everything(Net.from_config(config)) == everything(constructed)


# ---- compilers


@both
def test_a_model_is_compiled_whole(make: Callable[[Path], Net], tmp_path: Path):
    """The compiler sees the forward as one graph, and what it makes of it answers with the same bits."""
    torch.compiler.reset()
    model = make(tmp_path).eval()
    run = torch.compile(model, backend="eager", fullgraph=True)

    assert bits(run(inputs())["logits"]) == bits(model(inputs())["logits"])


@both
def test_training_is_compiled_whole(make: Callable[[Path], Net], tmp_path: Path):
    """A step of a compiled model has the loss, gradients and buffers of the step without a compiler."""
    torch.compiler.reset()
    model = make(tmp_path).train()
    other = copy.deepcopy(model)

    assert trained(other, torch.compile(other, backend="eager", fullgraph=True)) == trained(model)


def test_checkpointing_is_left_to_the_compiler():
    """With gradient checkpointing on, the compiler that traces backward does it, and writes to buffers once."""
    torch.compiler.reset()
    model = fresh(Path())
    other = copy.deepcopy(model)
    other.gradient_checkpointing_enable()
    run = torch.compile(other, backend="aot_eager", fullgraph=True)

    assert trained(other, run) == trained(model)


def test_compiling_survives_a_switch():
    """A model that had gradient checkpointing on and off is compiled as if nothing had been."""
    torch.compiler.reset()
    model = fresh(Path())
    model.gradient_checkpointing_enable()
    model.gradient_checkpointing_disable()

    assert trained(model, torch.compile(model, backend="eager", fullgraph=True)) == trained(fresh(Path()))


@both
def test_a_model_in_place_is_compiled(make: Callable[[Path], Net], tmp_path: Path):
    """`Module.compile` leaves a model that is saved as before."""
    torch.compiler.reset()
    model = make(tmp_path).eval()
    expected = bits(model(inputs())["logits"])
    model.compile(backend="eager", fullgraph=True)

    assert bits(model(inputs())["logits"]) == expected
    model.save_pretrained(tmp_path)
    assert everything(Net.from_pretrained(tmp_path)) == everything(model)


@both
@pytest.mark.parametrize("strict", [False, True], ids=["traced", "strict"])
def test_a_model_is_exported(strict: bool, make: Callable[[Path], Net], tmp_path: Path):
    """The exported program answers with the same bits, for any number of rows, and its state dict is the model's."""
    model = make(tmp_path).eval()
    rows = torch.export.Dim("rows", min=2, max=64)
    program = torch.export.export(model, (inputs(),), dynamic_shapes=({0: rows},), strict=strict)
    more = torch.randn(9, 6)

    assert bits(program.module()(more)["logits"]) == bits(model(more)["logits"])
    persistent = model.state_dict()
    assert {name: bits(program.state_dict[name]) for name in persistent} == {
        name: bits(each) for name, each in persistent.items()
    }


def test_an_exported_model_is_read_back(tmp_path: Path):
    """A program that was written to a file is the same program."""
    model = loaded(tmp_path).eval()
    torch.export.save(torch.export.export(model, (inputs(),)), tmp_path / "net.pt2")

    program = torch.export.load(tmp_path / "net.pt2")
    assert bits(program.module()(inputs())["logits"]) == bits(model(inputs())["logits"])
