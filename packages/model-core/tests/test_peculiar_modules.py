"""Modules of torch that are peculiar, models inside models, and `_init_weights`."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path

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
