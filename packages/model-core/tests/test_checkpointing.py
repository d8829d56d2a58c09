"""Gradient checkpointing: a step in less memory that is the plain step, to the last bit."""

import copy
import pickle
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm
from torch.utils.checkpoint import checkpoint

from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import NotCheckpointableError, PreTrainedModel

WIDTH = 6


class TowerConfig(PreTrainedConfig):
    """Which blocks a tower has, and how many."""

    model_type = "tower"
    kind: str = "norm"
    floors: int = 3


class Counting(nn.Module):
    """Counts its forwards in something that is no buffer, so that a test can see each of them."""

    def __init__(self) -> None:
        super().__init__()
        self.forwards = 0
        self.linear = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        """Count, and add a layer to the input."""
        self.forwards += 1
        return x + self.linear(x).tanh()


class Norm(Counting):
    """A batch norm and a dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.dropout = nn.BatchNorm1d(WIDTH), nn.Dropout(0.4)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise what the layer answers."""
        return self.dropout(self.norm(super().forward(x)))


class Renorm(Counting):
    """A norm whose answer depends on the statistics that its forward changes, in place and by assignment."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(WIDTH))
        self.register_buffer("steps", torch.tensor(0))
        self.register_buffer("last", None)
        self.register_buffer("table", torch.arange(float(WIDTH)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Change the statistics, then use them."""
        x = super().forward(x)
        self.mean.mul_(0.5).add_(x.detach().mean(0))
        self.steps = self.steps + 1
        x = x * (1 + self.mean / self.steps) + self.table
        if self.last is not None:
            x = x + self.last
        self.last = x.detach().mean(0)
        return x


class Spectral(Counting):
    """A weight that is divided by its largest singular value, found a little better at each forward."""

    def __init__(self) -> None:
        super().__init__()
        spectral_norm(self.linear)


class Shared(Counting):
    """Two norms with one running mean."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.BatchNorm1d(WIDTH), nn.BatchNorm1d(WIDTH)
        self.two.running_mean = self.one.running_mean

    def forward(self, x: Tensor) -> Tensor:
        """Normalise twice."""
        return self.two(self.one(super().forward(x)).relu())


class Nested(Counting):
    """Checkpoints a part of itself, with torch's own function."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Counting()

    def forward(self, x: Tensor) -> Tensor:
        """Pass the inner block after the own layer."""
        return checkpoint(self.inner, super().forward(x), use_reentrant=False)


class Structured(Counting):
    """Takes a list and a keyword, and answers with a dict in which not everything is a tensor."""

    def forward(self, pair: list[Tensor], *, scale: Tensor) -> dict[str, Any]:
        """Transform the first of the pair."""
        return {"pair": [super().forward(pair[0]) * scale, pair[1]], "name": "structured", "nothing": None}


KINDS = {each.__name__.lower(): each for each in (Counting, Norm, Renorm, Spectral, Shared, Nested)}


class Tower(PreTrainedModel):
    """Blocks, one on the other; the first is fed with what wants no gradient."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList(KINDS[config.kind]() for _ in range(config.floors))
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the loss of an input."""
        for block in self.blocks:
            x = block(x)
        return {"loss": self.head(x).square().mean()}


class PairTower(Tower):
    """Blocks that pass more than one tensor."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.blocks = nn.ModuleList([Structured(), Structured()])
        self.scale = nn.Parameter(torch.tensor(1.5))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the loss of an input."""
        pair = [x, self.scale * x]
        for block in self.blocks:
            pair = block(pair, scale=self.scale)["pair"]
        return {"loss": self.head(pair[0] + pair[1]).square().mean()}


class Delegate(nn.Module):
    """Checkpoints its blocks itself when it is told to, as the models of timm do."""

    def __init__(self, kind: str, *, use_reentrant: bool = False) -> None:
        super().__init__()
        self.steps = nn.Sequential(*(KINDS[kind]() for _ in range(3)))
        self.use_reentrant = use_reentrant
        self.grad_checkpointing = False

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Switch it on or off."""
        self.grad_checkpointing = enable

    def forward(self, x: Tensor) -> Tensor:
        """Run the blocks."""
        for step in self.steps:
            x = checkpoint(step, x, use_reentrant=self.use_reentrant) if self.grad_checkpointing else step(x)
        return x


class Wrapper(PreTrainedModel):
    """A wrapped module behind a layer of its own."""

    def __init__(self, config: TowerConfig, wrapped: nn.Module) -> None:
        super().__init__(config)
        self.stem, self.wrapped, self.head = nn.Linear(WIDTH, WIDTH), wrapped, nn.Linear(WIDTH, 1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Return the loss of an input."""
        return {"loss": self.head(self.wrapped(self.stem(x))).square().mean()}


class Flagged(Norm):
    """A layer that is checkpointed with the function that it is given, as the layers of Transformers."""

    gradient_checkpointing = False
    _gradient_checkpointing_func: Callable[..., Any]

    def __call__(self, x: Tensor) -> Tensor:
        """Run, checkpointed if the flag says so."""
        if self.gradient_checkpointing and self.training:
            return self._gradient_checkpointing_func(super().__call__, x)
        return super().__call__(x)


MODES = {
    "plain": {},
    "not reentrant": {"gradient_checkpointing_kwargs": {"use_reentrant": False}},
    "reentrant": {"gradient_checkpointing_kwargs": {"use_reentrant": True}},
    "every second": {"every_n_layers": 2},
    "offloaded": {"offload": True},
}

every_mode = pytest.mark.parametrize("options", MODES.values(), ids=MODES)
every_kind = pytest.mark.parametrize("kind", KINDS)


def tower(kind: str = "norm", floors: int = 3) -> Tower:
    """Return a tower, always the same."""
    torch.manual_seed(0)
    return Tower(TowerConfig(kind=kind, floors=floors))


def wrapper(wrapped: Callable[[], nn.Module]) -> Wrapper:
    """Return a model around a module, always the same."""
    torch.manual_seed(0)
    return Wrapper(TowerConfig(), wrapped())


def inputs(number: int = 0) -> Tensor:
    """Return the input with this number."""
    return torch.randn(5, WIDTH, generator=torch.Generator().manual_seed(number))


def bits(tensor: Tensor | None) -> bytes:
    """Return the bytes of a tensor, so that 0.0 differs from -0.0 and NaN equals NaN."""
    return b"" if tensor is None else tensor.detach().contiguous().numpy().tobytes()


def traces(model: nn.Module) -> dict[str, bytes]:
    """Return every bit that a step leaves behind: gradients, buffers, and the state of the random numbers."""
    gradients = {f"gradient of {name}": bits(each.grad) for name, each in model.named_parameters()}
    buffers = {name: bits(each) for name, each in model.named_buffers(remove_duplicate=False)}
    return {**gradients, **buffers, "random numbers": bits(torch.get_rng_state())}


def step(model: nn.Module, number: int = 0) -> dict[str, bytes]:
    """Train on one input, and return every bit that is left."""
    torch.manual_seed(number)
    loss = model(inputs(number))["loss"]
    loss.backward()
    return {"loss": bits(loss), **traces(model)}


def forwards(model: nn.Module) -> list[int]:
    """Return how often each block of a model ran."""
    return [each.forwards for each in model.modules() if isinstance(each, Counting)]


# ---- the same step


@every_mode
@every_kind
def test_the_step_is_the_plain_step(kind: str, options: dict[str, Any]):
    """Loss, gradients, buffers and random numbers are those of the step without checkpointing, time after time."""
    plain, checked = tower(kind), tower(kind)
    checked.gradient_checkpointing_enable(**options)

    assert [step(checked, number) for number in range(3)] == [step(plain, number) for number in range(3)]
    assert sum(forwards(checked)) > sum(forwards(plain))


@every_mode
def test_a_gradient_keeps_its_strides(options: dict[str, Any]):
    """The gradient of what a block is given lies in memory as it does without checkpointing: sums round by that."""

    class Turning(Counting):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).t().contiguous().t()

    def strides(model: Wrapper) -> list[tuple[int, ...]]:
        found: list[tuple[int, ...]] = []

        def watch(_: nn.Module, __: Any, answer: Tensor) -> None:
            answer.register_hook(lambda gradient: found.append(gradient.stride()))

        turned: Any = model.wrapped
        turned[0].register_forward_hook(watch)
        step(model)
        return found

    plain, checked = (wrapper(lambda: nn.Sequential(Counting(), Turning(), Turning())) for _ in range(2))
    checked.gradient_checkpointing_enable(**options)

    assert strides(checked) == strides(plain) == [(1, 5)]


@every_mode
def test_nested_arguments_and_answers_pass(options: dict[str, Any]):
    """Blocks may take and give lists, dicts and keywords; torch's reentrant function alone would lose gradients."""
    torch.manual_seed(0)
    plain = PairTower(TowerConfig())
    checked = copy.deepcopy(plain)
    checked.gradient_checkpointing_enable(**options)

    assert step(checked) == step(plain)


@every_mode
@pytest.mark.parametrize("kind", ["norm", "renorm", "spectral"])
def test_a_step_can_go_backward_many_times(kind: str, options: dict[str, Any]):
    """A graph that is kept is gone through again, from the same buffers."""
    plain, checked = tower(kind), tower(kind)
    checked.gradient_checkpointing_enable(**options)
    found = []
    for model in (plain, checked):
        torch.manual_seed(1)
        loss = model(inputs())["loss"]
        for keep in (True, True, False):
            loss.backward(retain_graph=keep)
        found.append(traces(model))

    assert found[1] == found[0]


@every_mode
@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first in, first out", "last in, first out"])
@every_kind
def test_forwards_may_overlap(kind: str, order: tuple[int, int], options: dict[str, Any]):
    """Each backward starts from the buffers of its own forward, whatever ran in between."""
    plain, checked = tower(kind), tower(kind)
    checked.gradient_checkpointing_enable(**options)
    found = []
    for model in (plain, checked):
        torch.manual_seed(1)
        losses = [model(inputs(number))["loss"] for number in range(2)]
        for number in order:
            losses[number].backward()
        found.append(traces(model))

    assert found[1] == found[0]


def test_frozen_blocks_pass_gradients_on():
    """Blocks without anything to train, below or above others, do what they do without checkpointing."""
    for frozen in range(3):
        plain, reentrant = tower(), tower()
        reentrant.gradient_checkpointing_enable({"use_reentrant": True})
        for model in (plain, reentrant):
            model.blocks[frozen].requires_grad_(requires_grad=False)

        assert step(reentrant) == step(plain)


@every_mode
def test_evaluation_keeps_its_mode(options: dict[str, Any]):
    """Without gradients nothing is repeated; with them, evaluation is checkpointed like training."""
    plain, checked = tower().eval(), tower().eval()
    checked.gradient_checkpointing_enable(**options)
    with torch.no_grad():
        assert bits(checked(inputs())["loss"]) == bits(plain(inputs())["loss"])

    assert forwards(checked) == [1, 1, 1]
    assert step(checked) == step(plain)


def test_large_tables_that_change_are_kept():
    """A large buffer is compared by value, so a write that torch does not count is seen."""

    class Table(Counting):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("table", torch.zeros(20_000))
            self.register_buffer("constant", torch.ones(20_000))

        def forward(self, x: Tensor) -> Tensor:
            self.table.data += 1
            return super().forward(x) * self.table[:WIDTH] * self.constant[:WIDTH]

    torch.manual_seed(0)
    plain = Wrapper(TowerConfig(), nn.Sequential(Table(), Table()))
    checked = copy.deepcopy(plain)
    checked.gradient_checkpointing_enable()

    assert [step(checked, number) for number in range(2)] == [step(plain, number) for number in range(2)]


# ---- modules that do it themselves


@pytest.mark.parametrize("use_reentrant", [False, True], ids=["not reentrant", "reentrant"])
@every_kind
def test_a_wrapped_module_is_told(kind: str, use_reentrant: bool):
    """A module with `set_grad_checkpointing` does it itself, and its buffers are kept all the same."""
    plain, checked = wrapper(lambda: Delegate(kind)), wrapper(lambda: Delegate(kind, use_reentrant=use_reentrant))
    checked.gradient_checkpointing_enable()

    assert checked.wrapped.grad_checkpointing
    assert [step(checked, number) for number in range(3)] == [step(plain, number) for number in range(3)]
    assert sum(forwards(checked)) > sum(forwards(plain))


@every_mode
def test_a_wrapped_module_does_as_it_is_told(options: dict[str, Any]):
    """What the wrapped module cannot be told is done to its blocks from outside."""
    plain, checked = wrapper(lambda: Delegate("norm")), wrapper(lambda: Delegate("norm"))
    checked.gradient_checkpointing_enable(**options)

    assert checked.wrapped.grad_checkpointing == (options == {})
    assert step(checked) == step(plain)


def test_a_wrapped_module_may_refuse():
    """A module whose `set_grad_checkpointing` only says that it cannot has its blocks checkpointed from outside."""

    class Refusing(Delegate):
        def set_grad_checkpointing(self, enable: bool = True) -> None:
            assert not enable, "gradient checkpointing not supported"

    plain, checked = wrapper(lambda: Refusing("norm")), wrapper(lambda: Refusing("norm"))
    checked.gradient_checkpointing_enable()

    assert step(checked) == step(plain)
    assert forwards(checked) == [2, 2, 2]


@every_mode
def test_modules_written_for_transformers_are_told(options: dict[str, Any]):
    """A module with a flag gets torch's function, with the options, and the flag is set."""
    plain, checked = (wrapper(lambda: nn.Sequential(Flagged(), Flagged(), Flagged())) for _ in range(2))
    checked.gradient_checkpointing_enable(**options)
    set_flags = [each.gradient_checkpointing for each in checked.wrapped]

    assert set_flags == [True, options != MODES["every second"], True]
    assert step(checked) == step(plain)
    assert forwards(checked) == [1 + flag for flag in set_flags]


def test_models_inside_models_are_switched_once():
    """A model that was switched on alone, before the model around it, is not checkpointed twice."""
    inner = tower()
    outer = Wrapper(TowerConfig(), inner)
    inner.gradient_checkpointing_enable()
    outer.gradient_checkpointing_enable()

    assert (inner.is_gradient_checkpointing, outer.is_gradient_checkpointing) == (False, True)
    assert step(inner) == step(tower())
    assert forwards(inner) == [2, 2, 2]


# ---- what is checkpointed


def test_it_really_runs_twice():
    """Each block of the model runs once in forward and once in backward; each n-th does if that is asked for."""
    model = tower(floors=5)
    model.gradient_checkpointing_enable()
    model(inputs())["loss"].backward()
    every = forwards(model)
    model.activation_checkpointing_enable(every_n_layers=3)
    model(inputs())["loss"].backward()

    assert every == [2, 2, 2, 2, 2]
    assert forwards(model) == [4, 3, 3, 4, 3]


def test_activations_are_not_kept():
    """Between forward and backward, a checkpointed model holds the inputs of its blocks and not what is in them."""

    def kept(model: Tower) -> int:
        sizes: list[int] = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.numel()) or x, lambda x: x):
            model(inputs())
        return sum(sizes)

    plain, checked = tower(), tower()
    checked.gradient_checkpointing_enable()

    assert kept(checked) < kept(plain) / 2


def test_blocks_are_found_outermost_first():
    """What repeats in a list is a block; containers, single modules and plain layers are none, nor what is in one."""

    class Stage(nn.Sequential):
        pass

    torch.manual_seed(0)
    stages = nn.Sequential(*(Stage(Norm(), Norm()) for _ in range(2)))
    model = Wrapper(TowerConfig(), nn.Sequential(nn.Linear(WIDTH, WIDTH), Counting(), stages, nn.Linear(WIDTH, WIDTH)))
    model.gradient_checkpointing_enable()

    assert [name for name, each in model.named_modules() if "forward" in vars(each)] == ["wrapped.2.0", "wrapped.2.1"]


def test_layers_that_are_made_of_a_layer_of_torch_are_no_blocks():
    """A normalisation that inherits from torch's own is as plain as that, whoever wrote it."""

    class ChannelsLast(nn.LayerNorm):
        pass

    model = wrapper(lambda: nn.Sequential(ChannelsLast(WIDTH), Counting(), ChannelsLast(WIDTH), Counting()))
    model.gradient_checkpointing_enable()

    assert [name for name, each in model.named_modules() if "forward" in vars(each)] == ["wrapped.1", "wrapped.3"]


def test_a_class_may_name_its_blocks():
    """`checkpointed_modules` says what is checkpointed, instead of what would be found."""

    class Named(Wrapper):
        checkpointed_modules = ("wrapped.1", "ste?")

    torch.manual_seed(0)
    model = Named(TowerConfig(), nn.Sequential(Counting(), Counting()))
    model.gradient_checkpointing_enable()

    assert [name for name, each in model.named_modules() if "forward" in vars(each)] == ["stem", "wrapped.1"]


NOTHING = """Wrapper has nothing to checkpoint: no block is repeated in a ModuleList or Sequential.
  Name the modules to checkpoint in the class, as in `checkpointed_modules = ('encoder.*',)`."""


def test_a_model_without_blocks_says_so():
    """Where nothing can be checkpointed, that is known before, and an error says what to do."""
    model = Wrapper(TowerConfig(), nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)))

    with pytest.raises(NotCheckpointableError) as caught:
        model.gradient_checkpointing_enable()

    assert str(caught.value) == NOTHING
    assert (model.supports_gradient_checkpointing, tower().supports_gradient_checkpointing) == (False, True)
    assert not model.is_gradient_checkpointing


def test_a_name_that_fits_nothing_is_reported():
    """Patterns of the class that fit no module are an error that shows them."""

    class Misnamed(Wrapper):
        checkpointed_modules = ("encoder.*",)

    with pytest.raises(NotCheckpointableError) as caught:
        Misnamed(TowerConfig(), nn.Sequential(Counting(), Counting())).gradient_checkpointing_enable()

    assert str(caught.value) == (
        "Misnamed names modules to checkpoint that it does not have: 'encoder.*'.\n"
        "  Name others in `checkpointed_modules`; `named_modules()` lists what there is."
    )


def test_a_wrapped_module_that_cannot_be_told_is_reported():
    """A module that does it itself and has no blocks cannot be given options."""

    class Opaque(nn.Linear):
        def set_grad_checkpointing(self, enable: bool = True) -> None:
            """Do nothing."""

    model = Wrapper(TowerConfig(), Opaque(WIDTH, WIDTH))
    with pytest.raises(NotCheckpointableError) as caught:
        model.activation_checkpointing_enable(every_n_layers=2)

    assert str(caught.value) == (
        "Wrapper has no repeated blocks, and what has `set_grad_checkpointing` in it takes no options.\n"
        "  Give none, or name the modules to checkpoint in `checkpointed_modules`."
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"activation_checkpointing_kwargs": {"use_reentrnt": False}},
            "'use_reentrnt' is no option of gradient checkpointing.\n  Did you mean 'use_reentrant'?",
        ),
        ({"every_n_layers": 0}, "every_n_layers must be a number of blocks, 1 or more, found 0."),
        ({"every_n_layers": "all"}, "every_n_layers must be a number of blocks, 1 or more, found 'all'."),
    ],
)
def test_wrong_options_are_reported(arguments: dict[str, Any], message: str):
    """An option that torch does not have is an error with the nearest name, and nothing is switched on."""
    model = tower()
    with pytest.raises(UnknownOptionError) as caught:
        model.activation_checkpointing_enable(**arguments)

    assert str(caught.value) == message
    assert not model.is_gradient_checkpointing


# ---- on and off

BUILDERS = {
    "blocks": tower,
    "delegate": lambda: wrapper(lambda: Delegate("norm")),
    "flags": lambda: wrapper(lambda: nn.Sequential(Flagged(), Flagged())),
}

every_way = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS)


def attributes(model: nn.Module) -> list[tuple[str, list[str], list[int]]]:
    """Return what each module has of its own, less flags that are down: names, and numbers of hooks."""
    ours = list(model.modules())
    names = [sorted(name for name, value in vars(each).items() if value is not False) for each in ours]
    hooks = [[len(value) for name, value in vars(each).items() if "hooks" in name and value] for each in ours]
    return [(type(each).__name__, *rest) for each, *rest in zip(ours, names, hooks, strict=True)]


@every_way
def test_off_is_off(build: Callable[[], PreTrainedModel]):
    """Switched off, a model has neither hooks nor anything else of it left, and nothing runs twice."""
    model = build()
    before = attributes(model)
    model.gradient_checkpointing_enable()
    switched = (model.is_gradient_checkpointing, model.is_activation_checkpointing)
    on = attributes(model)
    model.gradient_checkpointing_disable()

    assert switched == (True, True)
    assert on != before == attributes(model)
    assert not model.is_gradient_checkpointing
    assert step(model) == step(build())
    assert set(forwards(model)) == {1}


@every_way
def test_on_and_off_may_be_repeated(build: Callable[[], PreTrainedModel]):
    """Switching on what is on, or off what is off, changes nothing."""
    model = build()
    before = attributes(model)
    model.gradient_checkpointing_disable()
    model.gradient_checkpointing_enable()
    model.gradient_checkpointing_enable()
    model(inputs())["loss"].backward()

    assert set(forwards(model)) == {2}
    model.activation_checkpointing_disable()
    assert attributes(model) == before


def pickled(protocol: int) -> Callable[[nn.Module], nn.Module]:
    """Return a function that copies a model through a pickle."""
    return lambda model: pickle.loads(pickle.dumps(model, protocol))


COPIES = {"deepcopy": copy.deepcopy, **{f"pickle {number}": pickled(number) for number in range(2, 6)}}


@pytest.mark.parametrize("copied", COPIES.values(), ids=COPIES)
@every_way
def test_copies_are_checkpointed_alone(build: Callable[[], PreTrainedModel], copied: Callable[[Any], Any]):
    """A copy of a model in which it is on has it on, works on its own blocks, and is switched off on its own."""
    model = build()
    model.gradient_checkpointing_enable()
    model(inputs())["loss"]  # leaves the guards with something that no copy is to have
    other = copied(model)
    runs = forwards(model)
    for each in (model, other):
        each.zero_grad()

    assert other.is_gradient_checkpointing
    found = step(other)
    assert forwards(model) == runs
    other.gradient_checkpointing_disable()
    assert model.is_gradient_checkpointing
    assert step(model) == found
    assert step(other) == step(model)


@every_way
def test_it_is_no_part_of_the_checkpoint(build: Callable[[], PreTrainedModel], tmp_path: Path):
    """The same bytes are saved, on or off; what is loaded has it off."""
    model = build()
    for name in ("off", "on"):
        model.save_pretrained(tmp_path / name)
        model.gradient_checkpointing_enable()

    files = [{file.name: file.read_bytes() for file in (tmp_path / name).iterdir()} for name in ("off", "on")]
    assert files[0] == files[1]
    if isinstance(model, Tower):
        assert not Tower.from_pretrained(tmp_path / "on").is_gradient_checkpointing


def test_a_forward_of_the_instance_comes_back():
    """A block whose forward was exchanged before keeps the one that it had."""
    model = tower()
    model.blocks[0].forward = own = lambda x: 2 * x
    model.gradient_checkpointing_enable()
    checked = bits(model(inputs())["loss"])
    model.gradient_checkpointing_disable()

    assert model.blocks[0].forward is own
    torch.manual_seed(0)
    assert checked != bits(tower()(inputs())["loss"])


@pytest.mark.parametrize("build", [lambda: tower("renorm"), lambda: wrapper(lambda: Delegate("renorm"))])
def test_threads_train_at_once(build: Callable[[], PreTrainedModel]):
    """Models that are trained in several threads do not see each other's buffers."""

    def train(model: PreTrainedModel) -> None:
        for number in range(4):
            model(inputs(number))["loss"].backward()

    expected, *models = [build() for _ in range(5)]
    train(expected)
    for model in models:
        model.gradient_checkpointing_enable()
    threads = [threading.Thread(target=train, args=[model]) for model in models]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert all(traces(model) == traces(expected) for model in models)


class Failing(nn.Module):
    """Fails."""

    def forward(self, _: Tensor) -> Tensor:
        """Fail."""
        message = "out of luck"
        raise ArithmeticError(message)


@every_way
def test_a_forward_that_fails_leaves_the_buffers(build: Callable[[], PreTrainedModel]):
    """An error in a repeated forward goes to the caller, and the model has the buffers of before."""
    model = build()
    model.gradient_checkpointing_enable()
    loss = model(inputs())["loss"]
    before = {name: (bits(each), id(each)) for name, each in model.named_buffers()}
    next(each for each in model.modules() if isinstance(each, Norm)).dropout = Failing()
    with pytest.raises(ArithmeticError, match="out of luck"):
        loss.backward()

    assert {name: (bits(each), id(each)) for name, each in model.named_buffers()} == before
