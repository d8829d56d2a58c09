"""Loading: every tensor is from the file or listed in the report, and any surprise is one error."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import LoadReport, Mismatch, MismatchError, PreTrainedModel


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


class Classifier(Body):
    """The body and a head."""

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.fc = nn.Linear(config.width, config.classes)


BODY = ["linear.bias", "linear.weight"] + [
    f"norm.{name}" for name in ("bias", "num_batches_tracked", "running_mean", "running_var", "weight")
]


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


# ---- a whole model


def test_a_model_comes_back(tmp_path: Path):
    """Every tensor is the saved one, and the config is the saved one."""
    model = saved(Classifier, tmp_path, classes=5)
    loaded = Classifier.from_pretrained(tmp_path)

    assert same(loaded, model)
    assert loaded.config.classes == 5


def test_the_report_of_a_whole_load(tmp_path: Path):
    """The report lists every key as loaded, is exact, and belongs to the model."""
    saved(Body, tmp_path)
    loaded, report = Body.from_pretrained(tmp_path, output_loading_info=True)

    assert report == LoadReport(model="Body", source=str(tmp_path), loaded=tuple(BODY))
    assert (report.exact, loaded.load_report is report) == (True, True)
    assert str(report) == f"all 7 tensors of Body were loaded from {tmp_path}."


def test_a_report_cannot_be_changed(tmp_path: Path):
    """A report is a frozen record."""
    saved(Body, tmp_path)
    report = Body.from_pretrained(tmp_path).load_report

    with pytest.raises(dataclasses.FrozenInstanceError):
        report.missing = ("fc.bias",)


def test_a_plain_model_has_no_report():
    """A model that was not loaded says so."""
    assert Body(NetConfig()).load_report is None


def test_a_loaded_model_is_in_evaluation_mode(tmp_path: Path):
    """Every module of a loaded model is in evaluation mode, though construction leaves training mode."""
    model = saved(Body, tmp_path)
    loaded = Body.from_pretrained(tmp_path)

    assert model.training
    assert {module.training for module in loaded.modules()} == {False}


def test_a_loaded_model_can_be_trained(tmp_path: Path):
    """Mapped parameters take gradients and updates."""
    saved(Body, tmp_path)
    loaded = Body.from_pretrained(tmp_path)
    before = loaded.linear.weight.detach().clone()
    loaded.linear(torch.ones(1, 4)).sum().backward()
    torch.optim.SGD(loaded.parameters(), lr=0.5).step()

    assert torch.equal(loaded.linear.weight, before - 0.5)


def test_a_model_without_parameters_comes_back(tmp_path: Path):
    """A model may have no tensor at all."""

    class Nothing(PreTrainedModel):
        config_class = NetConfig

    Nothing(NetConfig(width=9)).save_pretrained(tmp_path)
    loaded = Nothing.from_pretrained(tmp_path)

    assert (loaded.config.width, str(loaded.load_report)) == (
        9,
        f"all 0 tensors of Nothing were loaded from {tmp_path}.",
    )


def test_the_config_class_may_be_annotated(tmp_path: Path):
    """A class that names its config only in its constructor's signature is loaded with it."""

    class Annotated(PreTrainedModel):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.linear = nn.Linear(config.width, 1)

    model = saved(Annotated, tmp_path, width=6)

    assert same(Annotated.from_pretrained(tmp_path), model)


# ---- strict


def test_a_missing_key_is_an_error(tmp_path: Path):
    """A key that the file lacks is one error, which names it, the file, and the way out."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    error = refusal(tmp_path)

    assert str(error) == (
        f"{tmp_path / 'model.safetensors'} does not fit Body; no model is returned.\n"
        "  missing from the file: linear.bias\n"
        "  6 tensors fit.\n"
        "  If this is meant, pass allow_missing=[…]."
    )
    assert error.report == LoadReport(
        model="Body", source=str(tmp_path), loaded=("linear.weight", *BODY[2:]), missing=("linear.bias",)
    )


def test_an_unexpected_key_is_an_error(tmp_path: Path):
    """A key that the model has no place for is one error."""
    saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "tail.bias": torch.ones(1)})
    error = refusal(tmp_path)

    assert str(error) == (
        f"{tmp_path / 'model.safetensors'} does not fit Body; no model is returned.\n"
        "  in the file only: tail.bias\n"
        "  7 tensors fit.\n"
        "  If this is meant, pass allow_unexpected=[…]."
    )
    assert error.report is not None
    assert error.report.unexpected == ("tail.bias",)


def test_another_shape_is_an_error(tmp_path: Path):
    """A tensor of another shape is one error, which says both shapes."""
    saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "linear.bias": torch.ones(7)})
    error = refusal(tmp_path)

    assert str(error) == (
        f"{tmp_path / 'model.safetensors'} does not fit Body; no model is returned.\n"
        "  different: linear.bias (expected (4,), found (7,))\n"
        "  6 tensors fit.\n"
        "  If this is meant, pass ignore_mismatched_sizes=True."
    )
    assert error.report is not None
    assert error.report.mismatched == (Mismatch("linear.bias", "(4,)", "(7,)"),)


def test_another_kind_of_dtype_is_an_error(tmp_path: Path):
    """Integers in the place of floats are one error, though the shape is right."""
    saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "linear.bias": torch.ones(4, dtype=torch.int64)})
    report = refusal(tmp_path).report

    assert report is not None
    assert report.mismatched == (Mismatch("linear.bias", "(4,) torch.float32", "(4,) torch.int64"),)


def test_one_error_has_every_difference(tmp_path: Path):
    """All kinds of difference are in one error; each lists five names and counts the rest."""
    saved(Body, tmp_path)
    extra = {f"extra.{number}": torch.ones(1) for number in range(7)}
    rewrite(tmp_path, lambda tensors: {"linear.bias": torch.ones(7), "norm.weight": tensors["norm.weight"], **extra})
    error = refusal(tmp_path)

    assert str(error) == (
        f"{tmp_path / 'model.safetensors'} does not fit Body; no model is returned.\n"
        "  missing from the file: linear.weight, norm.bias, norm.num_batches_tracked, norm.running_mean, "
        "norm.running_var\n"
        "  in the file only: extra.0, extra.1, extra.2, extra.3, extra.4 and 2 more\n"
        "  different: linear.bias (expected (4,), found (7,))\n"
        "  1 tensors fit.\n"
        "  If this is meant, pass allow_missing=[…] and allow_unexpected=[…] and ignore_mismatched_sizes=True."
    )
    assert error.report is not None
    assert len(error.report.unexpected) == 7


def test_a_prefix_of_the_file_is_diagnosed(tmp_path: Path):
    """Where the file's keys have a prefix on top, the error says which."""
    saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: {f"module.{key}": tensor for key, tensor in tensors.items()})

    assert "\n  What is in the file only starts with 'module.', which the model's keys lack.\n" in str(
        refusal(tmp_path)
    )


def test_a_prefix_of_the_model_is_diagnosed(tmp_path: Path):
    """Where the model's keys have a prefix on top, the error says which."""
    saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: {key.removeprefix("linear."): tensor for key, tensor in tensors.items()})

    assert "\n  What is missing starts with 'linear.', which the keys in the file lack.\n" in str(refusal(tmp_path))


def test_a_misspelt_key_is_diagnosed(tmp_path: Path):
    """Where a key of the file resembles the one that is missing, the error says which."""
    saved(Body, tmp_path)
    rewrite(tmp_path, lambda t: {key.replace("linear.bias", "lineal.bias"): tensor for key, tensor in t.items()})

    assert "\n  'lineal.bias' in the file may be 'linear.bias'.\n" in str(refusal(tmp_path))


# ---- relaxed


@pytest.mark.parametrize(
    "options", [{"allow_missing": ["linear.*"]}, {"allow_missing": "linear.*"}, {"strict": False}], ids=str
)
def test_missing_keys_can_be_allowed(options: dict[str, Any], tmp_path: Path):
    """With a pattern (in a list or alone) or without strictness, missing keys are reported, not refused."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias", "linear.weight"))
    _, report = Body.from_pretrained(tmp_path, output_loading_info=True, **options)

    assert (report.missing, report.exact) == (("linear.bias", "linear.weight"), False)
    assert str(report) == (
        f"5 of 7 tensors of Body were loaded from {tmp_path}.\n  missing from the file: linear.bias, linear.weight"
    )


@pytest.mark.parametrize("options", [{"allow_unexpected": ["tail.*"]}, {"strict": False}], ids=str)
def test_unexpected_keys_can_be_allowed(options: dict[str, Any], tmp_path: Path):
    """With a pattern or without strictness, keys on top are reported, not refused."""
    model = saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "tail.bias": torch.ones(1)})
    loaded, report = Body.from_pretrained(tmp_path, output_loading_info=True, **options)

    assert report.unexpected == ("tail.bias",)
    assert same(loaded, model)


@pytest.mark.parametrize(
    "options", [{"allow_missing": ["linear.weight"]}, {"allow_missing": "norm.*"}, {"allow_unexpected": ["*"]}], ids=str
)
def test_a_pattern_allows_only_what_it_matches(options: dict[str, Any], tmp_path: Path):
    """A key that no pattern matches is still an error."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias"))

    assert isinstance(refusal(tmp_path, **options), MismatchError)


def test_other_shapes_can_be_ignored(tmp_path: Path):
    """With `ignore_mismatched_sizes` the others are loaded, and the report has both shapes."""
    model = saved(Classifier, tmp_path)
    loaded, report = Classifier.from_pretrained(
        tmp_path, classes=2, ignore_mismatched_sizes=True, output_loading_info=True
    )

    assert report.mismatched == (Mismatch("fc.bias", "(2,)", "(3,)"), Mismatch("fc.weight", "(2, 4)", "(3, 4)"))
    assert loaded.fc.weight.shape == (2, 4)
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_without_strictness_another_shape_is_still_an_error(tmp_path: Path):
    """`strict=False` is about keys; shapes have an option of their own."""
    saved(Classifier, tmp_path)

    assert isinstance(refusal(tmp_path, Classifier, classes=2, strict=False), MismatchError)


MISSING = {
    "one layer": without("linear.weight", "linear.bias"),
    "one bias": without("linear.bias"),
    "a buffer": without("norm.running_var"),
    "everything": lambda _tensors: {"other": torch.ones(1)},
    "another shape": lambda tensors: {**tensors, "linear.weight": torch.ones(2, 2)},
}


@pytest.mark.parametrize("change", MISSING.values(), ids=list(MISSING))
def test_missing_tensors_have_the_values_of_a_plain_construction(
    change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]], tmp_path: Path
):
    """What the file lacks is, bit for bit, what a plain construction gives under the same seed; nothing else is."""
    model = saved(Classifier, tmp_path)
    rewrite(tmp_path, change)
    with torch.random.fork_rng():
        torch.manual_seed(11)
        plain = Classifier(NetConfig()).state_dict()
        torch.manual_seed(11)
        loaded, report = Classifier.from_pretrained(
            tmp_path, strict=False, ignore_mismatched_sizes=True, output_loading_info=True
        )
    new = {*report.missing, *(each.name for each in report.mismatched)}
    expected = {key: plain[key] if key in new else tensor for key, tensor in model.state_dict().items()}

    assert new
    assert all(torch.equal(tensor, expected[key]) for key, tensor in loaded.state_dict().items())


def test_two_loads_with_missing_tensors_differ(tmp_path: Path):
    """New weights are drawn, not repeated."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.weight"))
    one, two = (Body.from_pretrained(tmp_path, allow_missing=["linear.weight"]) for _ in range(2))

    assert not torch.equal(one.linear.weight, two.linear.weight)


# ---- Transformers' words


def test_the_report_answers_the_keys_of_transformers(tmp_path: Path):
    """The second of the pair can be used as Transformers' loading info."""
    saved(Classifier, tmp_path)
    rewrite(tmp_path, lambda tensors: {**without("linear.bias")(tensors), "tail": torch.ones(1)})
    _, info = Classifier.from_pretrained(
        tmp_path, output_loading_info=True, strict=False, ignore_mismatched_sizes=True, classes=2
    )

    assert dict(info) == {
        "missing_keys": {"linear.bias"},
        "unexpected_keys": {"tail"},
        "mismatched_keys": {("fc.bias", "(3,)", "(2,)"), ("fc.weight", "(3, 4)", "(2, 4)")},
        "error_msgs": [],
    }
    assert info["missing_keys"] == {"linear.bias"}
