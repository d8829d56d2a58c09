"""A model is built for loading without its weights, and nothing else about it is different."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from nameplate_config import PreTrainedConfig
from nameplate_model import CheckpointError, PreTrainedModel
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
    assert str(report).endswith(f"\n  It was built for real first: {REASONS[extra]}.")


@pytest.mark.parametrize(
    "find",
    [lambda model: model.kept[0], lambda model: model.kept["weight"], lambda model: model.kept()],
    ids=["list", "dict", "closure"],
)
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_a_second_reference_sees_the_loaded_values(
    find: Callable[[Any], Any], dtype: torch.dtype | None, request: pytest.FixtureRequest, tmp_path: Path
):
    """Whoever holds a parameter besides its module holds the very one that was loaded, of whatever dtype."""
    extra = {"list": keeps_a_list, "dict": keeps_a_dict, "closure": keeps_its_own}
    kind = extra[request.node.callspec.id.rpartition("-")[2]]
    model = saved(real_class(kind), tmp_path)
    loaded = type(model).from_pretrained(tmp_path, dtype=dtype)

    assert find(loaded) is (loaded.weight if kind is keeps_its_own else loaded.linear.weight)
    assert torch.equal(find(loaded), find(model).to(dtype))


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


# ---- modules of torch that are peculiar


def recurrent() -> nn.Module:
    """Keeps flat lists of its weights."""
    return nn.LSTM(4, 4)


def weight_normed() -> nn.Module:
    """Has a load hook and computed weights."""
    return parametrizations.weight_norm(nn.Linear(4, 4))


def spectrally_normed() -> nn.Module:
    """Has buffers that are computed from weights."""
    return parametrizations.spectral_norm(nn.Linear(4, 4))


def instance_normed() -> nn.Module:
    """Overrides how it is loaded."""
    return nn.InstanceNorm1d(4, affine=True, track_running_stats=True)


@pytest.mark.parametrize("part", [recurrent, weight_normed, spectrally_normed, instance_normed])
def test_peculiar_modules_come_back(part: Callable[[], nn.Module], tmp_path: Path):
    """A module with its own way of keeping weights computes the same after a load, without a real build."""

    class Peculiar(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.part = part()

    model = saved(Peculiar, tmp_path)
    loaded = Peculiar.from_pretrained(tmp_path)
    inputs = torch.rand(3, 4, 4)
    outputs = [each.part(inputs) for each in (model, loaded)]
    one, other = [each[0] if isinstance(each, tuple) else each for each in outputs]

    assert torch.equal(one, other)
    assert loaded.load_report is not None
    assert loaded.load_report.built_for_real is None


class Lazy(Box):
    """Learns the width of its inputs from the first batch."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.linear = nn.LazyLinear(config.width)


def test_a_lazy_module_takes_its_shape_from_the_file(tmp_path: Path):
    """A lazy layer that has run before it was saved is loaded without running first."""
    model = Lazy(BoxConfig())
    inputs = torch.rand(2, 7)
    expected = model.linear(inputs)
    model.save_pretrained(tmp_path)
    loaded = Lazy.from_pretrained(tmp_path)

    assert torch.equal(loaded.linear(inputs), expected)


def test_a_lazy_module_without_a_shape_is_not_saved(tmp_path: Path):
    """A lazy layer that never ran has nothing to save; the error names the key and the way out."""
    with pytest.raises(CheckpointError) as caught:
        Lazy(BoxConfig()).save_pretrained(tmp_path)

    assert str(caught.value) == "'linear.weight' has no shape yet: run the model once before it is saved."


# ---- models inside models


class Inner(Box):
    """A small model of its own."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)


class Hooked(Inner):
    """Goes the slow road."""

    def __init__(self, config: BoxConfig) -> None:
        super().__init__(config)
        self.register_load_state_dict_post_hook(lambda _module, _keys: None)


@pytest.mark.parametrize("inner_class", [Inner, Hooked])
def test_a_constructor_may_load_a_model(inner_class: type[Inner], tmp_path: Path):
    """A `from_pretrained` inside an `__init__` that is itself being loaded gives a model with real weights."""
    inner = saved(inner_class, tmp_path / "inner")
    seen = []

    class Outer(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.teacher = inner_class.from_pretrained(tmp_path / "inner")
            seen.append(same(self.teacher, inner))
            self.register_buffer("rows", self.teacher.linear.weight.detach().sum(1), persistent=False)

    outer = saved(Outer, tmp_path / "outer")
    loaded = Outer.from_pretrained(tmp_path / "outer")

    assert seen == [True, True]
    assert same(loaded, outer)
    assert loaded.load_report is not None
    assert loaded.load_report.built_for_real is None


def test_a_constructor_may_load_a_model_with_new_weights(tmp_path: Path):
    """What the inner file lacks is initialised for real, also inside a deferred construction."""
    saved(Inner, tmp_path)
    seen = []

    class Wider(Inner):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.extra = nn.Linear(4, 4)

    def build() -> nn.Module:
        seen.append(Wider.from_pretrained(tmp_path, allow_missing=["extra.*"]))
        return Net(BoxConfig())

    build_skeleton(build)

    assert {parameter.is_meta for parameter in seen[0].parameters()} == {False}


# ---- finishing


def counting_class(*, calls_post_init: bool) -> tuple[type[PreTrainedModel], list[str]]:
    """Return a class with `_init_weights`, and the list of the modules that it was called for."""
    calls: list[str] = []

    class Counting(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.linear = nn.Linear(4, 4)
            self.again = self.linear
            if calls_post_init:
                self.post_init()
            self.late = nn.LayerNorm(4)

        def _init_weights(self, module: nn.Module) -> None:
            calls.append(type(module).__name__)

    return Counting, calls


@pytest.mark.parametrize("calls_post_init", [False, True])
def test_init_weights_is_called_once_for_each_module(*, calls_post_init: bool):
    """`_init_weights` sees every module once, whether or not `post_init` is called, and where."""
    model_class, calls = counting_class(calls_post_init=calls_post_init)
    model_class(BoxConfig())

    assert sorted(calls) == ["Counting", "LayerNorm", "Linear"]


def test_init_weights_waits_for_the_outermost_constructor():
    """A subclass's modules are initialised as well, and its attributes can be used."""

    class Base(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.linear = nn.Linear(4, 4)

        def _init_weights(self, module: nn.Module) -> None:
            if isinstance(module, nn.Linear):
                nn.init.constant_(module.weight, self.level)

    class Derived(Base):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.level = 7.0
            self.head = nn.Linear(4, 1)

    model = Derived(BoxConfig())

    assert {model.linear.weight.unique().item(), model.head.weight.unique().item()} == {7.0}


def test_init_weights_is_not_called_to_load(tmp_path: Path):
    """A load in which the file has every key initialises nothing."""
    model_class, calls = counting_class(calls_post_init=True)
    model_class(BoxConfig()).save_pretrained(tmp_path)
    calls.clear()
    model_class.from_pretrained(tmp_path)

    assert calls == []


def test_init_weights_leaves_loaded_tensors_alone(tmp_path: Path):
    """Where a file lacks the bias, `_init_weights` sets the bias and not the weight beside it."""

    class Resetting(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.linear = nn.Linear(4, 4, bias=config.width == 4)

        def _init_weights(self, module: nn.Module) -> None:
            if isinstance(module, nn.Linear):
                module.weight.data.fill_(0.5)
                if module.bias is not None:
                    module.bias.data.fill_(0.25)

    model = Resetting(BoxConfig(width=5))
    nn.init.constant_(model.linear.weight, 3.0)
    model.save_pretrained(tmp_path)
    loaded = Resetting.from_pretrained(tmp_path, width=4, allow_missing=["linear.bias"])

    assert (loaded.linear.weight.unique().item(), loaded.linear.bias.unique().item()) == (3.0, 0.25)


def test_a_model_inside_a_model_initialises_itself():
    """Each model's `_init_weights` is applied to its own modules, not to those of a model inside it."""
    inner_class, inner_calls = counting_class(calls_post_init=False)
    calls: list[str] = []

    class Outer(Box):
        def __init__(self, config: BoxConfig) -> None:
            super().__init__(config)
            self.inner = inner_class(config)
            self.norm = nn.LayerNorm(4)

        def _init_weights(self, module: nn.Module) -> None:
            calls.append(type(module).__name__)

    Outer(BoxConfig())

    assert (calls, len(inner_calls)) == (["Outer", "LayerNorm"], 3)


def test_a_model_may_be_abstract():
    """A model class may be an abstract base class, which cannot be built, and its subclass can."""

    class Policy(Box, ABC):
        @abstractmethod
        def act(self) -> int: ...

    class Fixed(Policy):
        def act(self) -> int:
            return 1

    with pytest.raises(TypeError, match="abstract"):
        Policy(BoxConfig())

    assert Fixed(BoxConfig()).act() == 1


# ---- threads


def test_threads_build_and_load_at_once(tmp_path: Path):
    """Of eight threads, four build plain models and four load: each has real, initialised or loaded weights."""
    model = saved(Net, tmp_path)
    start = threading.Barrier(8)

    def work(worker: int) -> bool:
        start.wait()
        if worker % 2:
            return all(same(Net.from_pretrained(tmp_path), model) for _ in range(15))
        plain = [nn.Linear(4, 4) for _ in range(200)] + [Net(BoxConfig()).conv for _ in range(15)]
        return all(not each.weight.is_meta and bool(each.weight.any()) for each in plain)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(work, range(8)))

    assert answers == [True] * 8


def test_threads_do_not_mix_dtypes(tmp_path: Path):
    """Threads that load in different dtypes each get their own."""
    saved(Net, tmp_path)
    dtypes = [torch.float32, torch.bfloat16] * 4

    def work(dtype: torch.dtype) -> set[torch.dtype]:
        loaded = [Net.from_pretrained(tmp_path, dtype=dtype) for _ in range(10)]
        return {parameter.dtype for each in loaded for parameter in each.parameters()}

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(work, dtypes))

    assert found == [{dtype} for dtype in dtypes]


def test_plain_models_do_not_repeat_while_another_thread_loads(tmp_path: Path):
    """No two layers that are initialised during loads have the same weights."""
    saved(Net, tmp_path)
    done = threading.Event()

    def load() -> None:
        while not done.is_set():
            Net.from_pretrained(tmp_path)

    thread = threading.Thread(target=load)
    thread.start()
    weights = {tuple(nn.Linear(4, 4).weight.flatten().tolist()) for _ in range(1000)}
    done.set()
    thread.join()

    assert len(weights) == 1000
