"""Modules that have a say in how they are loaded: both roads agree."""

import dataclasses
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import CheckpointError, LoadReport, Mismatch, MismatchError, PreTrainedModel


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"

    width: int = 4
    classes: int = 3


class Body(PreTrainedModel):
    """Two layers; what it has of the head's keys belongs to `Classifier`."""

    config_class = NetConfig
    head_prefixes = ("fc.",)

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.linear = nn.Linear(config.width, config.width)
        self.norm = nn.BatchNorm1d(config.width)


def saved(model_class: type[PreTrainedModel], folder: Path, **fields: Any) -> PreTrainedModel:
    """Save a model whose tensors differ from what any construction gives, and return it."""
    model = model_class(model_class.config_class(**fields))
    with torch.no_grad():
        for tensor in [*model.parameters(), *model.buffers()]:
            tensor.copy_((torch.rand(tensor.shape) * 100).to(tensor.dtype))
    model.save_pretrained(folder)
    return model


def rewrite(folder: Path, change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> None:
    """Replace the weights in a folder by what *change* makes of them, as another library would write them."""
    path = folder / "model.safetensors"
    save_file(change({key: tensor.clone() for key, tensor in load_file(path).items()}), path, {"format": "pt"})


def without(*keys: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Return a change that removes keys."""
    return lambda tensors: {key: tensor for key, tensor in tensors.items() if key not in keys}


def refusal(folder: Path, model_class: type[PreTrainedModel] = Body, **options: Any) -> MismatchError:
    """Return the error of a load that must fail."""
    with pytest.raises(MismatchError) as caught:
        model_class.from_pretrained(folder, **options)
    return caught.value


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


class Tied(PreTrainedModel):
    """Two layers with one weight."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight


# ---- a module's own way of loading


def hook_after(module: nn.Module) -> None:
    """Register a hook that runs after a load."""
    module.register_load_state_dict_post_hook(lambda _module, _keys: None)


def hook_before(module: nn.Module) -> None:
    """Register a hook that runs before a load."""
    module.register_load_state_dict_pre_hook(lambda *_arguments: None)


class Overriding(nn.Linear):
    """A layer with its own way of loading."""

    def _load_from_state_dict(self, *arguments: Any) -> None:
        super()._load_from_state_dict(*arguments)


def override(module: nn.Module) -> None:
    """Add a layer with its own way of loading in the place of another."""
    layer = Overriding(4, 4)
    layer.weight = module.one.weight
    module.two = layer


SLOW = {"a hook after": hook_after, "a hook before": hook_before, "an override": override, "fast": lambda _module: None}


def slow_class(slow: Callable[[Any], None]) -> type[PreTrainedModel]:
    """Return a class of models that are loaded in their own way, with ties, a frozen and a marked parameter."""

    class Slow(Tied):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            slow(self)
            self.sized = nn.Linear(4, config.classes)
            self.sized.requires_grad_(False)
            self.sized.weight.group = "slow"
            self.register_buffer("hidden", torch.arange(3.0), persistent=False)

    return Slow


@pytest.mark.parametrize("slow", SLOW.values(), ids=list(SLOW))
def test_the_slow_road_agrees_with_the_fast_one(slow: Callable[[Any], None], tmp_path: Path):
    """With hooks and overrides a model comes back as without: values, ties, nature of parameters, and report."""
    model = saved(slow_class(slow), tmp_path)
    loaded, report = type(model).from_pretrained(tmp_path, output_loading_info=True)

    assert same(loaded, model)
    assert loaded.one.weight is loaded.two.weight
    assert (loaded.sized.weight.requires_grad, loaded.sized.weight.group) == (False, "slow")
    assert report == LoadReport(model="Slow", source=str(tmp_path), loaded=tuple(sorted(model.state_dict())))


@pytest.mark.parametrize("slow", SLOW.values(), ids=list(SLOW))
def test_both_roads_refuse_alike(slow: Callable[[Any], None], tmp_path: Path):
    """A missing key, one on top, another shape and another kind of dtype are in one error on either road."""
    saved(slow_class(slow), tmp_path)
    wrong = {"sized.bias": torch.ones(3, dtype=torch.int64), "sized.weight": torch.ones(2, 2), "tail": torch.ones(1)}
    rewrite(tmp_path, lambda tensors: {**without("one.bias")(tensors), **wrong})
    error = refusal(tmp_path, slow_class(slow))

    assert str(error) == (
        f"{tmp_path / 'model.safetensors'} does not fit Slow; no model is returned.\n"
        "  missing from the file: one.bias\n"
        "  in the file only: tail\n"
        "  different: sized.bias (expected (3,) torch.float32, found (3,) torch.int64), "
        "sized.weight (expected (3, 4), found (2, 2))\n"
        "  3 tensors fit.\n"
        "  If this is meant, pass allow_missing=[…] and allow_unexpected=[…] and ignore_mismatched_sizes=True."
    )


@pytest.mark.parametrize("slow", SLOW.values(), ids=list(SLOW))
def test_both_roads_refuse_integers_for_floats(slow: Callable[[Any], None], tmp_path: Path):
    """A buffer of another kind of dtype, which torch would take without a word, does not fit on either road."""

    def buffered(module: Any) -> None:
        slow(module)
        module.register_buffer("level", torch.zeros(2))

    saved(slow_class(buffered), tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "level": torch.ones(2, dtype=torch.int64)})
    report = refusal(tmp_path, slow_class(buffered)).report

    assert report is not None
    assert report.mismatched == (Mismatch("level", "(2,) torch.float32", "(2,) torch.int64"),)


@pytest.mark.parametrize("slow", SLOW.values(), ids=list(SLOW))
def test_both_roads_initialise_alike(slow: Callable[[Any], None], tmp_path: Path):
    """What the file lacks has the values of a plain construction on either road, and the tie is kept."""
    model = saved(slow_class(slow), tmp_path)
    wrong = {"sized.weight": torch.ones(2, 2), "two.weight": torch.ones(4, 4)}
    rewrite(tmp_path, lambda tensors: {**without("one.bias")(tensors), **wrong})
    with torch.random.fork_rng():
        torch.manual_seed(5)
        plain = type(model)(NetConfig())
        torch.manual_seed(5)
        loaded, report = type(model).from_pretrained(
            tmp_path, allow_missing="one.bias", ignore_mismatched_sizes=True, output_loading_info=True
        )

    assert (report.missing, [each.name for each in report.mismatched]) == (
        ("one.bias",),
        ["sized.weight", "two.weight"],
    )
    assert torch.equal(loaded.one.bias, plain.one.bias)
    assert torch.equal(loaded.sized.weight, plain.sized.weight)
    assert loaded.one.weight is loaded.two.weight
    assert torch.equal(loaded.one.weight, model.one.weight)


@pytest.mark.parametrize("name", ["register_load_state_dict_pre_hook", "register_load_state_dict_post_hook"])
def test_a_load_hook_runs_once(name: str, tmp_path: Path):
    """A hook of any module runs once in a load of a file that has everything."""
    calls = []

    class Listening(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            getattr(self.norm, name)(lambda module, *_rest: calls.append(module))

    saved(Listening, tmp_path)
    loaded = Listening.from_pretrained(tmp_path)

    assert calls == [loaded.norm]


def test_a_hook_may_rename_keys(tmp_path: Path):
    """Where a model's hook knows the old name of a key, the file with that name fits."""

    class Renaming(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.register_load_state_dict_pre_hook(self.rename)

        @staticmethod
        def rename(_module: nn.Module, state: dict[str, Any], *_rest: Any) -> None:
            for key in [key for key in state if key.startswith("dense.")]:
                state[key.replace("dense.", "linear.")] = state.pop(key)

    model = saved(Renaming, tmp_path)
    rewrite(tmp_path, lambda t: {key.replace("linear.", "dense."): tensor for key, tensor in t.items()})
    loaded = Renaming.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.load_report.exact


def test_an_override_may_accept_another_shape(tmp_path: Path):
    """Where a module makes a tensor of another shape fit, it fits."""

    class Growing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros(0))

        def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
            self.seen = torch.zeros_like(state[prefix + "seen"])
            super()._load_from_state_dict(state, prefix, *rest)

    class Model(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.memory = Growing()

    model = Model(NetConfig())
    model.memory.seen = torch.arange(5.0)
    model.save_pretrained(tmp_path)

    assert Model.from_pretrained(tmp_path).memory.seen.tolist() == [0, 1, 2, 3, 4]


def test_an_override_may_copy_by_itself(tmp_path: Path):
    """Where a module copies into the parameter that it has, that parameter is real, and the report says so."""

    class Copying(Body):
        def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *_rest: Any) -> None:
            with torch.no_grad():
                self.scale.copy_(state[prefix + "scale"] * 2)

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.scale = nn.Parameter(torch.ones(2))

    model = saved(Copying, tmp_path)
    loaded, report = Copying.from_pretrained(tmp_path, output_loading_info=True)

    assert torch.equal(loaded.scale, model.scale * 2)
    assert torch.equal(loaded.linear.weight, model.linear.weight)
    assert report.exact
    assert report.built_for_real == "its own way of loading does not assign scale"


def test_an_override_that_fails_is_an_error(tmp_path: Path):
    """What a module's own way of loading raises is the cause of a checkpoint error."""

    class Failing(Body):
        def _load_from_state_dict(self, *_arguments: Any) -> None:
            message = "not today"
            raise KeyError(message)

    saved(Failing, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        Failing.from_pretrained(tmp_path)

    assert str(caught.value) == (f"Failing could not load {tmp_path / 'model.safetensors'} in its own way: 'not today'")


def test_an_override_that_does_nothing_is_an_error(tmp_path: Path):
    """A parameter that a module's own way of loading forgets is never handed out without a value."""

    class Forgetting(Body):
        def _load_from_state_dict(self, *_arguments: Any) -> None:
            """Load nothing of this module itself, and claim that all is well."""

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.scale = nn.Parameter(torch.ones(2))

    saved(Forgetting, tmp_path)
    with pytest.raises(CheckpointError) as caught:
        Forgetting.from_pretrained(tmp_path)

    assert str(caught.value) == "Forgetting's own way of loading left 'scale' without a value."


class Remembering(Body):
    """Has a tensor as extra state."""

    memory = torch.zeros(2)

    def get_extra_state(self) -> torch.Tensor:
        """Return what torch puts into the state dict."""
        return self.memory

    def set_extra_state(self, state: torch.Tensor) -> None:
        """Take back what `get_extra_state` returned."""
        self.memory = state


def test_extra_state_comes_back(tmp_path: Path):
    """A tensor of extra state is saved under its key, loaded through `set_extra_state` and reported."""
    model = Remembering(NetConfig())
    model.memory = torch.tensor([1.0, 2.0])
    model.save_pretrained(tmp_path)
    loaded = Remembering.from_pretrained(tmp_path)

    assert loaded.memory.tolist() == [1, 2]
    assert "_extra_state" in loaded.load_report.loaded


def test_missing_extra_state_is_an_error(tmp_path: Path):
    """Extra state that the file lacks is missing like any tensor."""
    saved(Remembering, tmp_path)
    rewrite(tmp_path, without("_extra_state"))

    assert "\n  missing from the file: _extra_state\n" in str(refusal(tmp_path, Remembering))


# ---- whatever the file has


class Wide(Tied):
    """Every kind of place: ties, a frozen parameter, buffers of both kinds, a norm, and a module in two places."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.norm = nn.BatchNorm1d(4)
        self.again = self.norm
        self.scale = nn.Parameter(torch.ones(()), requires_grad=False)
        self.register_buffer("level", torch.zeros(2, dtype=torch.bfloat16))
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)


class HookedWide(Wide):
    """The same, loaded in its own way."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        hook_after(self.two)


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a saved model."""
    folder = tmp_path_factory.mktemp("wide")
    saved(Wide, folder)
    rewrite(folder, dict)
    return folder


SHAPES = {key: tensor.shape for key, tensor in Wide(NetConfig()).state_dict().items()}
KEYS = sorted(SHAPES)
CHANGES = {
    "dropped": lambda tensors, key: tensors.pop(key, None),
    "reshaped": lambda tensors, key: tensors.update({key: torch.ones(3, 5)}),
    "of integers": lambda tensors, key: tensors.update(
        {key: torch.ones(Wide(NetConfig()).state_dict()[key].shape).int()}
    ),
    "widened": lambda tensors, key: tensors.update({key: tensors[key].double()} if key in tensors else {}),
    "added": lambda tensors, key: tensors.update({f"{key}_more": torch.ones(1)}),
}


def outcome(kind: type[PreTrainedModel], folder: Path, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return the report of a load, or of its refusal, and every tensor that came of it."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        try:
            loaded, report = kind.from_pretrained(folder, output_loading_info=True, **options)
        except MismatchError as error:
            return error.report and dataclasses.replace(error.report, model=""), {}
    tensors = [*loaded.named_parameters(remove_duplicate=False), *loaded.named_buffers(remove_duplicate=False)]
    return dataclasses.replace(report, model=""), {
        name: (each.dtype, each.requires_grad, type(each), each.flatten().tolist()) for name, each in tensors
    }


@settings(deadline=None, max_examples=60)
@given(
    changes=st.dictionaries(st.sampled_from(KEYS), st.sampled_from(sorted(CHANGES)), max_size=4),
    options=st.fixed_dictionaries(
        {},
        optional={
            "strict": st.booleans(),
            "ignore_mismatched_sizes": st.booleans(),
            "dtype": st.sampled_from([torch.float64, torch.bfloat16]),
            "memory": st.sampled_from(["mmap", "copy"]),
        },
    ),
)
def test_both_roads_agree(
    changes: dict[str, str], options: dict[str, Any], wide: Path, tmp_path_factory: pytest.TempPathFactory
):
    """Whatever a file lacks, has on top or has in another form: verdicts, values, dtypes and natures are the same."""
    folder = tmp_path_factory.mktemp("changed")
    tensors = load_file(wide / "model.safetensors")
    for key, change in changes.items():
        CHANGES[change](tensors, key)
    save_file({key: tensor.clone() for key, tensor in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text((wide / "config.json").read_text())

    assert outcome(Wide, folder, **options) == outcome(HookedWide, folder, **options)


@settings(deadline=None, max_examples=40)
@given(dropped=st.sets(st.sampled_from(KEYS)))
def test_the_fast_road_agrees_with_torch(dropped: set[str], wide: Path, tmp_path_factory: pytest.TempPathFactory):
    """A load without hooks gives the model, and the missing keys, that torch's own `load_state_dict` gives."""
    folder = tmp_path_factory.mktemp("part")
    tensors = {key: each for key, each in load_file(wide / "model.safetensors").items() if key not in dropped}
    save_file(tensors, folder / "model.safetensors")
    (folder / "config.json").write_text((wide / "config.json").read_text())
    with torch.random.fork_rng():
        torch.manual_seed(3)
        loaded, report = Wide.from_pretrained(folder, strict=False, output_loading_info=True)
        torch.manual_seed(3)
        theirs = Wide(NetConfig())
    state = OrderedDict(tensors)
    state._metadata = theirs.state_dict()._metadata
    missing = set(theirs.load_state_dict(state, strict=False).missing_keys)
    ties = [{"one.weight", "two.weight"}] + [{key, key.replace("norm", "again")} for key in KEYS if "norm" in key]
    known = {key for tie in ties if tie & tensors.keys() for key in tie}  # torch counts each name for itself

    assert set(report.missing) == missing - known
    assert same(loaded, theirs)
