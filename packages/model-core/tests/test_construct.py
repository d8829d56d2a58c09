"""A model is built for loading without its weights, and nothing else about it is different."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn.utils import parametrizations

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel
from nameplate_model._construct import build_skeleton


class BoxConfig(PreTrainedConfig):
    """A config with one size."""

    model_type = "box"
    width: int = 4


class Box(PreTrainedModel):
    """What the models below have in common."""

    config_class = BoxConfig


class Net(Box):
    """Layers with every common initialiser, and buffers of both kinds."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.embedding = nn.Embedding(8, config.width, padding_idx=0)
        self.conv = nn.Conv1d(config.width, config.width, 3, padding=1)
        self.norm = nn.BatchNorm1d(config.width)
        self.attention = nn.MultiheadAttention(config.width, 2)
        self.scale = nn.Parameter(torch.full((config.width,), 0.5))
        self.register_buffer("steps", torch.arange(3.0))
        self.register_buffer("hidden", torch.arange(1.0, 9.0), persistent=False)
        nn.init.trunc_normal_(self.conv.weight, std=0.02)
        nn.init.zeros_(tensor=self.conv.bias)


def saved(model_class: type[PreTrainedModel], folder: Path) -> PreTrainedModel:
    """Save a model with drawn weights and return it in evaluation mode."""
    model = model_class(BoxConfig()).eval()
    with torch.no_grad():
        for tensor in model.parameters():
            tensor.copy_(torch.rand(tensor.shape))
    model.save_pretrained(folder)
    return model


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


# ---- what is deferred and what is not


def test_parameters_are_metadata():
    """No parameter of a skeleton has memory."""
    skeleton = build_skeleton(lambda: Net(BoxConfig()))

    assert {parameter.is_meta for parameter in skeleton.model.parameters()} == {True}
    assert skeleton.built_for_real is None


def test_buffers_are_real():
    """Every buffer of a skeleton, non-persistent ones included, has the value that a plain construction gives."""
    plain = dict(Net(BoxConfig()).named_buffers())
    built = dict(build_skeleton(lambda: Net(BoxConfig())).model.named_buffers())

    assert built.keys() == plain.keys() >= {"hidden", "steps", "norm.running_mean"}
    assert all(torch.equal(built[name], plain[name]) for name in plain)


def test_no_initialiser_runs():
    """Nothing was ever written into a parameter of a skeleton: torch counts the writes to each tensor."""
    plain = [parameter._version for parameter in Net(BoxConfig()).parameters()]
    built = [parameter._version for parameter in build_skeleton(lambda: Net(BoxConfig())).model.parameters()]

    assert sum(plain) > len(plain)
    assert built == [0] * len(plain)


def test_the_random_state_stays_where_it_was():
    """Loading cannot be seen in the random numbers that are drawn afterwards."""
    before = torch.get_rng_state()
    build_skeleton(lambda: Net(BoxConfig()))

    assert torch.equal(torch.get_rng_state(), before)


class Drawn(Box):
    """Its buffer is drawn."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.register_buffer("noise", torch.randn(config.width), persistent=False)


def test_a_buffer_is_drawn_as_in_a_plain_construction():
    """A buffer that is drawn has the plain construction's value under the same seed; the state is put back."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        before = torch.get_rng_state()
        skeleton = build_skeleton(lambda: Drawn(BoxConfig()))
        after = torch.get_rng_state()
        plain = Drawn(BoxConfig())

    assert torch.equal(skeleton.model.noise, plain.noise)
    assert torch.equal(after, before)


def test_the_random_state_is_not_taken_from_other_threads():
    """What another thread draws while a skeleton is built is not drawn again after it."""
    drawn = []

    def build() -> nn.Module:
        thread = threading.Thread(target=lambda: drawn.append(torch.rand(4)))
        thread.start()
        thread.join()
        return Net(BoxConfig())

    build_skeleton(build)

    assert not torch.equal(torch.rand(4), drawn[0])


def test_nothing_of_torch_is_replaced():
    """After a load, the initialisers, the default dtype and device, and plain construction are what they were."""
    names = [name for name in dir(nn.init) if name.endswith("_")]
    before = [getattr(nn.init, name) for name in names], nn.Module.register_parameter, nn.Parameter.__new__
    build_skeleton(lambda: Net(BoxConfig()))
    linear = nn.Linear(2, 2)

    assert before == ([getattr(nn.init, name) for name in names], nn.Module.register_parameter, nn.Parameter.__new__)
    assert (torch.get_default_dtype(), torch.get_default_device().type) == (torch.float32, "cpu")
    assert (linear.weight.device.type, linear.weight.any().item()) == ("cpu", True)


# ---- what survives


class Tied(Box):
    """Ties of three kinds, and a module in two places."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        shared = nn.Parameter(torch.zeros(4))
        self.left = shared
        self.right = shared
        self.again = self.one


PAIRS = [("one.weight", "two.weight"), ("left", "right"), ("one.bias", "again.bias")]


@pytest.mark.parametrize("pair", PAIRS)
def test_a_skeleton_has_ties(pair: tuple[str, str]):
    """A parameter in two places is one piece of metadata, though it was registered twice."""
    model = build_skeleton(lambda: Tied(BoxConfig())).model

    assert model.get_parameter(pair[0]) is model.get_parameter(pair[1])


@pytest.mark.parametrize("pair", PAIRS)
def test_ties_survive(pair: tuple[str, str], tmp_path: Path):
    """A parameter in two places is one object after a load, undeclared, however the tie was made."""
    model = saved(Tied, tmp_path)
    loaded = Tied.from_pretrained(tmp_path)
    one, two = (loaded.get_parameter(name) for name in pair)

    assert one is two
    assert torch.equal(one, model.get_parameter(pair[0]))


def test_shared_modules_survive(tmp_path: Path):
    """A module in two places is one module after a load."""
    saved(Tied, tmp_path)
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.again is loaded.one


class Marked(Box):
    """Parameters with a nature of their own."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.frozen = nn.Linear(4, 4)
        self.frozen.requires_grad_(False)
        self.constant = nn.Parameter(torch.zeros(4), requires_grad=False)
        self.free = nn.Parameter(torch.zeros(4))
        self.free.no_weight_decay = True
        marked = nn.Parameter(torch.zeros(4))
        marked.group = "slow"
        self.marked = marked


def test_frozen_parameters_stay_frozen(tmp_path: Path):
    """`requires_grad` is what the constructor left it at."""
    saved(Marked, tmp_path)
    loaded = Marked.from_pretrained(tmp_path)

    assert {name: p.requires_grad for name, p in loaded.named_parameters()} == {
        "constant": False,
        "free": True,
        "marked": True,
        "frozen.weight": False,
        "frozen.bias": False,
    }


def test_attributes_of_parameters_survive(tmp_path: Path):
    """What the constructor noted on a parameter, before or after its registration, is there after a load."""
    saved(Marked, tmp_path)
    loaded = Marked.from_pretrained(tmp_path)

    assert (loaded.free.no_weight_decay, loaded.marked.group) == (True, "slow")


# ---- constructors that need real parameters


def reads_a_parameter(model: Any) -> None:
    """Look at a value."""
    model.level = model.linear.weight.sum().item()


def derives_a_buffer(model: Any) -> None:
    """Compute a buffer that no file holds."""
    model.register_buffer("rows", model.linear.weight.detach().sum(1), persistent=False)


def derives_an_attribute(model: Any) -> None:
    """Compute a plain tensor."""
    model.rows = model.linear.weight.detach().sum(1)


def keeps_a_list(model: Any) -> None:
    """Hold a registered parameter a second time."""
    model.kept = [model.linear.weight]


def keeps_a_dict(model: Any) -> None:
    """Hold a registered parameter a second time, by name."""
    model.kept = {"weight": model.linear.weight}


def keeps_its_own(model: Any) -> None:
    """Hold a parameter from before its registration."""
    weight = nn.Parameter(torch.zeros(4))
    model.weight = weight
    model.kept = lambda: weight


def keeps_a_closure(model: Any) -> None:
    """Hold a registered parameter where nobody looks."""
    weight = model.linear.weight
    model.kept = lambda: weight


def keeps_an_optimizer(model: Any) -> None:
    """Hold every parameter in an object."""
    model.optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    model.kept = lambda: model.optimizer.param_groups[0]["params"][0]


def hides_a_module(model: Any) -> None:
    """Hold a module that is no part of the model, so that no file has its weights."""
    model.hidden = [nn.Linear(4, 4)]


def cuts_a_flat_tensor(model: Any) -> None:
    """Let parameters be windows of a tensor that is kept."""
    model.flat = torch.zeros(8)
    model.weight = nn.Parameter(model.flat[:4])
    model.bias = nn.Parameter(model.flat[4:])


class Special(nn.Parameter):
    """A parameter of another class."""


def has_a_special_parameter(model: Any) -> None:
    """Register a parameter of another class."""
    model.weight = Special(torch.zeros(4))


def lengthen(model: Any) -> None:
    """Have a parametrization that looks at its tensor."""
    model.turn = parametrizations.orthogonal(nn.Linear(4, 4))


NEEDS = "its constructor needs real parameters: "
ITEM = "RuntimeError: Tensor.item() cannot be called on meta tensors"
REASONS = {
    reads_a_parameter: NEEDS + ITEM,
    derives_a_buffer: "the non-persistent buffer rows is computed from parameters",
    derives_an_attribute: "the attribute rows is computed from parameters, or holds one",
    keeps_a_list: "the attribute kept is computed from parameters, or holds one",
    keeps_a_dict: "the attribute kept is computed from parameters, or holds one",
    keeps_its_own: "a parameter is kept outside its module",
    keeps_a_closure: "a parameter is kept outside its module",
    keeps_an_optimizer: "a parameter is kept outside its module",
    hides_a_module: "a parameter is kept outside its module",
    cuts_a_flat_tensor: NEEDS + "TypeError: a parameter is a view of other memory",
    has_a_special_parameter: NEEDS + "TypeError: a Special cannot be built as metadata",
    lengthen: NEEDS + ITEM,
}


def real_class(extra: Callable[[Any], None]) -> type[PreTrainedModel]:
    """Return the class of a linear layer whose constructor does something more."""

    class Real(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.linear = nn.Linear(4, 4)
            extra(self)

    return Real


@pytest.mark.parametrize("extra", REASONS)
def test_a_constructor_that_needs_real_parameters_gets_them(extra: Callable[[Any], None], tmp_path: Path):
    """It is built for real, every weight is the file's, and the report says why."""
    model = saved(real_class(extra), tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)

    assert same(loaded, model)
    assert report.built_for_real == REASONS[extra]
    assert not any(each.is_meta for each in loaded.parameters())
    assert str(report).endswith(f"\n  It was built for real first: {REASONS[extra]}.")


FINDERS: dict[Callable[[Any], None], Callable[[Any], Any]] = {
    keeps_a_list: lambda model: model.kept[0],
    keeps_a_dict: lambda model: model.kept["weight"],
    keeps_its_own: lambda model: model.kept(),
    keeps_a_closure: lambda model: model.kept(),
    keeps_an_optimizer: lambda model: model.kept(),
}


@pytest.mark.parametrize("extra", FINDERS)
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_second_reference_sees_the_loaded_values(
    extra: Callable[[Any], None], dtype: torch.dtype | None, tmp_path: Path
):
    """Whoever holds a parameter besides its module holds the very one that was loaded, of whatever dtype."""
    find = FINDERS[extra]
    model = saved(real_class(extra), tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=dtype)

    assert find(loaded) is (loaded.weight if extra is keeps_its_own else loaded.linear.weight)
    assert torch.equal(find(loaded), find(model).to(dtype))


def test_a_hidden_module_is_real(tmp_path: Path):
    """A module that is kept out of the tree on purpose has the values that its constructor gave it."""
    model = saved(real_class(hides_a_module), tmp_path)
    with torch.random.fork_rng():
        torch.manual_seed(5)
        expected = real_class(hides_a_module)(BoxConfig()).hidden[0].weight
        torch.manual_seed(5)
        loaded = type(model).from_pretrained(tmp_path)

    assert torch.equal(loaded.hidden[0].weight, expected)


def test_what_a_constructor_throws_away_is_no_reason(tmp_path: Path):
    """A part that was built and replaced, even one that refers to itself, does not make the build a real one."""

    def extra(model: Any) -> None:
        model.head = nn.Linear(4, 4)
        model.head.itself = [model.head]
        model.head = nn.Linear(4, 2)

    model = saved(real_class(extra), tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)

    assert (same(loaded, model), report.built_for_real) == (True, None)


@pytest.mark.parametrize("extra", REASONS)
def test_a_real_build_leaves_the_random_state(extra: Callable[[Any], None], tmp_path: Path):
    """A load in which the file has everything cannot be seen in the random numbers that are drawn afterwards."""
    model = saved(real_class(extra), tmp_path)
    before = torch.get_rng_state()
    type(model).from_pretrained(tmp_path)

    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("extra", [reads_a_parameter, keeps_a_list])
def test_a_real_build_gives_missing_tensors_their_values(extra: Callable[[Any], None], tmp_path: Path):
    """What the file lacks has the plain construction's values under the same seed, and two loads differ in them."""
    model = saved(real_class(extra), tmp_path)
    save_file({"linear.weight": torch.ones(4, 4)}, tmp_path / "model.safetensors")
    with torch.random.fork_rng():
        torch.manual_seed(7)
        plain = type(model)(BoxConfig())
        torch.manual_seed(7)
        one, two = (type(model).from_pretrained(tmp_path, allow_missing="linear.bias") for _ in range(2))

    assert torch.equal(one.linear.bias, plain.linear.bias)
    assert not torch.equal(one.linear.bias, two.linear.bias)


@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_second_reference_sees_what_a_hooked_model_loads(dtype: torch.dtype | None, tmp_path: Path):
    """The same holds where a load hook makes the model be loaded through torch's own way."""

    def extra(model: Any) -> None:
        keeps_a_list(model)
        model.register_load_state_dict_post_hook(lambda _module, _keys: None)

    model = saved(real_class(extra), tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=dtype)

    assert loaded.kept[0] is loaded.linear.weight
    assert torch.equal(loaded.kept[0], model.kept[0].to(dtype))


def test_a_view_of_a_parameter_sees_the_loaded_values(tmp_path: Path):
    """An attribute that is a view of a parameter is one after a load."""

    def extra(model: Any) -> None:
        model.first = model.linear.weight.detach()[0]

    model = saved(real_class(extra), tmp_path)
    loaded = type(model).from_pretrained(tmp_path)

    assert torch.equal(loaded.first, model.linear.weight[0])


def test_a_parameter_keeps_its_class(tmp_path: Path):
    """A parameter of a subclass is one after a load."""
    model = saved(real_class(has_a_special_parameter), tmp_path)
    loaded = type(model).from_pretrained(tmp_path)

    assert type(loaded.weight) is Special


def test_a_persistent_buffer_may_be_computed_from_parameters(tmp_path: Path):
    """The file holds such a buffer, so nothing has to be built for real."""

    def extra(model: Any) -> None:
        model.register_buffer("rows", model.linear.weight.detach().sum(1))

    model = saved(real_class(extra), tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)

    assert (same(loaded, model), report.built_for_real) == (True, None)


def test_what_a_constructor_raises_is_raised():
    """An error that is the constructor's own is not taken for a need of real parameters."""

    class Faulty(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            message = "four heads do not divide a width of five"
            raise ValueError(message)

    with pytest.raises(ValueError, match=r"^four heads do not divide a width of five$"):
        build_skeleton(lambda: Faulty(BoxConfig()))
