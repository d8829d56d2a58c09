"""A module that is there already is filled in place: all of it, or nothing."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import NameplateError, UnknownOptionError
from nameplate_model import CorruptFileError, LoadReport, MismatchError, load_weights

WEIGHTS = "model.safetensors"


class Net(nn.Module):
    """No model of ours: ties, a view, buffers of both kinds, a frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight
        self.two.requires_grad_(False)
        self.norm = nn.BatchNorm1d(4)
        self.register_buffer("table", torch.zeros(3, 4))
        self.row = self.table[1]
        self.register_buffer("hidden", torch.arange(3.0), persistent=False)


class Hooked(Net):
    """Has a way of loading of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.register_load_state_dict_post_hook(Hooked.count)

    def count(self, _keys: Any) -> None:
        """Count a load."""
        self.calls += 1


class Copying(Net):
    """Copies one tensor by itself."""

    def _load_from_state_dict(self, state: dict[str, Any], prefix: str, *rest: Any) -> None:
        self.table.copy_(state[prefix + "table"])
        super()._load_from_state_dict(state, prefix, *rest)


KINDS = [Net, Hooked, Copying]


def written(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]] = dict) -> dict[str, torch.Tensor]:
    """Write drawn weights that fit, changed, as another library would, and return them."""
    state = {name: (torch.rand(each.shape) * 100 + 1).to(each.dtype) for name, each in Net().state_dict().items()}
    state["two.weight"] = state["one.weight"].clone()
    state = change(state)
    folder.mkdir(exist_ok=True)
    save_file(state, folder / WEIGHTS)
    return state


def bits(module: nn.Module) -> dict[str, tuple[object, ...]]:
    """Return all that can be seen of a module's tensors: object, place, dtype, and values."""
    tensors = [*module.named_parameters(remove_duplicate=False), *module.named_buffers(remove_duplicate=False)]
    return {
        name: (id(each), each.data_ptr(), each.dtype, each.device, each.requires_grad, each.flatten().tolist())
        for name, each in tensors
    }


def places(module: nn.Module) -> dict[str, tuple[object, ...]]:
    """Return what must not change when a module is filled."""
    return {name: seen[:-1] for name, seen in bits(module).items()}


# ---- what is filled


@pytest.mark.parametrize("kind", KINDS)
def test_a_module_is_filled_in_place(kind: type[Net], tmp_path: Path):
    """Every tensor has the file's values and is the object, in the place and of the nature, that it was."""
    state = written(tmp_path)
    module = kind()
    before = places(module)
    report = load_weights(module, tmp_path)

    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
    assert places(module) == before
    assert report == LoadReport(model=kind.__name__, source=str(tmp_path), loaded=tuple(sorted(module.state_dict())))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_a_module_keeps_its_dtypes(kind: type[Net], dtype: torch.dtype, tmp_path: Path):
    """Values are cast to what the module has, whatever the file has."""
    state = written(tmp_path)
    module = kind().to(dtype)
    before = places(module)
    load_weights(module, tmp_path)

    assert places(module) == before
    assert torch.equal(module.one.bias, state["one.bias"].to(dtype))


@pytest.mark.parametrize("kind", KINDS)
def test_whoever_holds_a_tensor_sees_it_filled(kind: type[Net], tmp_path: Path):
    """An optimizer, a view, or a buffer of the same memory needs not be told."""
    state = written(tmp_path)
    module = kind()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    load_weights(module, tmp_path)

    assert torch.equal(module.row, state["table"][1])
    assert torch.equal(optimizer.param_groups[0]["params"][0], state["one.weight"])


def test_the_mode_is_not_changed(tmp_path: Path):
    """A module in training goes on training; its hidden buffers and gradients are left alone."""
    written(tmp_path)
    module = Net()
    module.one(torch.ones(1, 4)).sum().backward()
    before = module.one.bias.grad.clone()
    load_weights(module, tmp_path)

    assert module.training
    assert module.hidden.tolist() == [0, 1, 2]
    assert torch.equal(module.one.bias.grad, before)


@pytest.mark.parametrize("memory", ["auto", "mmap", "copy"])
def test_the_file_is_not_needed_afterwards(memory: str, tmp_path: Path):
    """The module has memory of its own, so the file may be changed in place."""
    state = written(tmp_path)
    module = Net()
    load_weights(module, tmp_path, memory=memory)
    path = tmp_path / WEIGHTS
    with path.open("r+b") as file:
        file.write(b"\xff" * path.stat().st_size)

    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())


def test_names_can_be_mapped(tmp_path: Path):
    """`key_mapping` renames what the file has, and the report says so."""
    state = written(tmp_path, lambda state: {f"model.{name}": tensor for name, tensor in state.items()})
    module = Net()
    report = load_weights(module, tmp_path, key_mapping={r"^model\.": ""})

    assert torch.equal(module.one.weight, state["model.one.weight"])
    assert ("one.bias", "model.one.bias") in report.renamed


@pytest.mark.parametrize("kind", KINDS[:2])
def test_what_is_allowed_to_be_missing_stays(kind: type[Net], tmp_path: Path):
    """What the file lacks, or has in another shape, keeps its value if that is allowed."""
    state = written(tmp_path, lambda state: {**state, "norm.weight": torch.ones(7), "extra": torch.ones(1)})
    del state["one.bias"]
    save_file(state, tmp_path / WEIGHTS)
    module = kind()
    before = bits(module)
    report = load_weights(
        module, tmp_path, allow_missing="one.bias", allow_unexpected="extra", ignore_mismatched_sizes=True
    )

    assert (report.missing, report.unexpected, [each.name for each in report.mismatched]) == (
        ("one.bias",),
        ("extra",),
        ["norm.weight"],
    )
    unchanged = [name for name, seen in bits(module).items() if seen == before[name]]
    assert unchanged == ["one.bias", "norm.weight", "hidden"]


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize("kept", ["one.weight", "two.weight"])
def test_either_name_of_a_tie_is_enough(kind: type[Net], kept: str, tmp_path: Path):
    """A tied tensor is filled from whichever of its names the file has."""
    other = {"one.weight": "two.weight", "two.weight": "one.weight"}[kept]
    state = written(tmp_path, lambda state: {name: each for name, each in state.items() if name != other})
    module = kind()
    report = load_weights(module, tmp_path)

    assert torch.equal(module.one.weight, state[kept])
    assert report.exact


def test_a_lazy_module_is_filled(tmp_path: Path):
    """A lazy layer takes its shape from the file, and is still the object that it was."""
    save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, tmp_path / WEIGHTS)
    module = nn.LazyLinear(2)
    weight = module.weight
    load_weights(module, tmp_path)

    assert module.weight is weight
    assert module(torch.ones(1, 3)).tolist() == [[3, 3]]


# ---- all or nothing


WRONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "a missing key": lambda state: {name: each for name, each in state.items() if name != "norm.bias"},
    "a key on top": lambda state: {**state, "extra": torch.ones(1)},
    "another shape": lambda state: {**state, "norm.bias": torch.ones(7)},
    "another kind": lambda state: {**state, "norm.bias": torch.ones(4, dtype=torch.int64)},
    "two values for a tie": lambda state: {**state, "two.weight": state["one.weight"] + 1},
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("change", WRONG.values(), ids=list(WRONG))
def test_what_does_not_fit_changes_nothing(kind: type[Net], change: Callable[..., Any], tmp_path: Path):
    """If one tensor does not fit, no other is written either, and the module's own code has not run on it."""
    written(tmp_path, change)
    module = kind()
    before = bits(module)
    with pytest.raises(MismatchError) as caught:
        load_weights(module, tmp_path)

    assert str(caught.value).startswith(f"{tmp_path / WEIGHTS} does not fit {kind.__name__}; no model is returned.")
    assert bits(module) == before
    assert getattr(module, "calls", 0) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_torn_file_changes_nothing(kind: type[Net], tmp_path: Path):
    """A file that ends early is refused before anything is written."""
    written(tmp_path)
    path = tmp_path / WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    module = kind()
    before = bits(module)
    with pytest.raises(CorruptFileError):
        load_weights(module, tmp_path)

    assert bits(module) == before


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_that_cannot_be_verified_changes_nothing(kind: type[Net], tmp_path: Path):
    """With `verify="full"` a file without checksums is refused."""
    written(tmp_path)
    module = kind()
    before = bits(module)
    with pytest.raises(NameplateError, match="cannot be verified"):
        load_weights(module, tmp_path, verify="full")

    assert bits(module) == before


class Failing(nn.Module):
    """Its own way of loading fails, after other modules were filled."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(2, 2), nn.Linear(2, 2)
        self.last.register_load_state_dict_pre_hook(self.fail)

    @staticmethod
    def fail(*_arguments: Any) -> None:
        """Fail."""
        message = "not today"
        raise RuntimeError(message)


def test_a_module_that_fails_to_load_is_as_it_was(tmp_path: Path):
    """What a module's own way of loading raises is our error, and its other modules have kept their values."""
    module = Failing()
    save_file({name: each + 1 for name, each in module.state_dict().items()}, tmp_path / WEIGHTS)
    before = bits(module)
    with pytest.raises(NameplateError, match="not today"):
        load_weights(module, tmp_path)

    assert bits(module) == before


def test_an_unknown_option_is_an_error_with_a_suggestion(tmp_path: Path):
    """Dtypes and devices are the module's, so they are no options; a misspelt one is told."""
    written(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        load_weights(Net(), tmp_path, strickt=False)

    assert str(caught.value) == "load_weights has no option 'strickt'.\n  Did you mean 'strict'?"


# ---- as torch does


@settings(deadline=None, max_examples=40)
@given(data=st.data())
def test_a_filled_module_is_what_torch_would_make_of_it(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory):
    """Whatever part of the keys a file has, the module is the one that torch's own `load_state_dict` would give."""
    folder = tmp_path_factory.mktemp("net")
    kind = data.draw(st.sampled_from(KINDS[:2]))
    dropped = data.draw(
        st.sets(
            st.sampled_from(sorted(set(Net().state_dict()) - {"one.weight", "two.weight", "norm.num_batches_tracked"}))
        )
    )
    state = written(folder, lambda state: {name: each for name, each in state.items() if name not in dropped})
    module, theirs = kind(), kind()
    theirs.load_state_dict(module.state_dict())
    answer = theirs.load_state_dict(load_file(folder / WEIGHTS), strict=False)
    report = load_weights(module, folder, strict=False)

    assert set(report.missing) == set(answer.missing_keys) == dropped
    assert report.unexpected == ()
    assert set(report.loaded) == set(state)
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in module.state_dict().items())


def test_parameters_without_memory_get_some(tmp_path: Path):
    """On the meta device there is nothing to be filled, so parameters and buffers get memory; ties and nature stay."""
    state = written(tmp_path)
    with torch.device("meta"):
        module = Net()
    report = load_weights(module, tmp_path)

    assert report.exact
    assert module.two.weight is module.one.weight
    assert not module.two.bias.requires_grad
    assert all(torch.equal(tensor, state[name]) for name, tensor in module.state_dict().items())
