"""Loading: every tensor is from the file or listed in the report, and any surprise is one error."""

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import huggingface_hub
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import ConfigError, PreTrainedConfig, UnknownOptionError
from nameplate_model import CheckpointError, LoadReport, Mismatch, MismatchError, PreTrainedModel


class NetConfig(PreTrainedConfig):
    """Sizes of a small network."""

    model_type = "net"
    attribute_map: ClassVar = {"hidden_size": "width"}

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
HEAD = ["fc.bias", "fc.weight"]


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


KINDS = {
    "scalar": torch.tensor(1.5),
    "empty": torch.empty(0, 3),
    "of_bool": torch.tensor([True, False, True]),
    "of_uint8": torch.tensor([0, 255], dtype=torch.uint8),
    "of_int16": torch.tensor([-5], dtype=torch.int16),
    "of_uint64": torch.tensor([2**64 - 1], dtype=torch.uint64),
    "of_int64": torch.tensor(2**62),
    "of_complex64": torch.tensor([1 - 2j]),
    "of_float16": torch.tensor([1.5], dtype=torch.float16),
    "of_bfloat16": torch.tensor([1.5, -0.0], dtype=torch.bfloat16),
    "of_float64": torch.tensor([1 / 3], dtype=torch.float64),
    "of_float8_e4m3fn": torch.tensor([1.5, -2.0]).to(torch.float8_e4m3fn),
    "of_float8_e5m2": torch.tensor([1.5, -2.0]).to(torch.float8_e5m2),
    "not_a_number": torch.tensor([float("nan"), float("inf"), -0.0]),
}


class Kinds(PreTrainedModel):
    """A buffer of every kind."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        for name, tensor in KINDS.items():
            self.register_buffer(name, torch.zeros_like(tensor))


@pytest.mark.parametrize("name", KINDS)
def test_a_tensor_of_any_kind_comes_back(name: str, tmp_path: Path):
    """Shape, dtype and every bit of a tensor come back: no dimension, no element, and all dtypes."""
    model = Kinds(NetConfig())
    model.get_buffer(name).copy_(KINDS[name])
    model.save_pretrained(tmp_path)
    loaded = Kinds.from_pretrained(tmp_path).get_buffer(name)

    assert (loaded.dtype, loaded.shape) == (KINDS[name].dtype, KINDS[name].shape)
    assert torch.equal(loaded.flatten().view(torch.uint8), KINDS[name].flatten().view(torch.uint8))


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


# ---- body and head


def test_a_head_is_new_over_a_body(tmp_path: Path):
    """A class with a head loads a checkpoint of the body; the report lists the head's keys as transferred."""
    model = saved(Body, tmp_path)
    loaded, report = Classifier.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.missing, report.transferred) == (tuple(HEAD), tuple(HEAD))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_head_is_left_out_of_a_body(tmp_path: Path):
    """The body loads a checkpoint of a class with a head; the report lists the head's keys as transferred."""
    model = saved(Classifier, tmp_path)
    loaded, report = Body.from_pretrained(tmp_path, output_loading_info=True)

    assert (report.unexpected, report.transferred) == (tuple(HEAD), tuple(HEAD))
    assert torch.equal(loaded.linear.weight, model.linear.weight)


def test_a_transfer_does_not_depend_on_who_read_the_config(tmp_path: Path):
    """The checkpoint's own config says who saved it, also where another is passed."""
    saved(Body, tmp_path)
    loaded = Classifier.from_pretrained(tmp_path, config=NetConfig(classes=7))

    assert loaded.load_report.transferred == tuple(HEAD)
    assert loaded.fc.weight.shape == (7, 4)


def test_a_transfer_excuses_nothing_else(tmp_path: Path):
    """A key of the body that is missing is an error, transfer or not."""
    saved(Body, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    report = refusal(tmp_path, Classifier).report

    assert report is not None
    assert (report.missing, report.transferred) == (("fc.bias", "fc.weight", "linear.bias"), ("fc.bias", "fc.weight"))


def test_within_a_class_a_missing_head_is_an_error(tmp_path: Path):
    """What a class saved has that class's head, or it is broken."""
    saved(Classifier, tmp_path)
    rewrite(tmp_path, without(*HEAD))
    report = refusal(tmp_path, Classifier).report

    assert report is not None
    assert (report.missing, report.transferred) == (tuple(HEAD), ())


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


# ---- options


def test_an_unknown_option_is_an_error_with_a_suggestion(tmp_path: Path):
    """A misspelt option is refused before anything is loaded."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, allow_mising=["x"])

    assert str(caught.value) == ("Body.from_pretrained has no option 'allow_mising'.\n  Did you mean 'allow_missing'?")


def test_an_option_that_resembles_nothing_is_an_error_with_a_list(tmp_path: Path):
    """Where nothing resembles the option, the options are listed."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, quux=1)

    assert str(caught.value) == (
        "Body.from_pretrained has no option 'quux'.\n"
        "  Its options are: allow_missing, allow_unexpected, config, device, dtype, ignore_mismatched_sizes, "
        "output_loading_info, strict."
    )


@pytest.mark.parametrize("name", ["classes", "width", "hidden_size"])
def test_a_field_of_the_config_can_be_overridden(name: str, tmp_path: Path):
    """A field, or another name of one, gets the value that is passed, before the model is built."""
    saved(Classifier, tmp_path)
    loaded = Classifier.from_pretrained(tmp_path, **{name: 6}, strict=False, ignore_mismatched_sizes=True)

    assert getattr(loaded.config, name) == 6
    assert 6 in loaded.fc.weight.shape


def test_an_override_is_checked(tmp_path: Path):
    """A value that the field cannot hold is a config error."""
    saved(Body, tmp_path)
    with pytest.raises(ConfigError, match="width: expected an int, found 'wide'"):
        Body.from_pretrained(tmp_path, width="wide")


def test_a_passed_config_is_used_and_not_changed(tmp_path: Path):
    """The model is built from the config that is passed, which keeps its every value."""
    saved(Classifier, tmp_path, classes=5)
    config = NetConfig(classes=5)
    before = config.to_json_string()
    loaded = Classifier.from_pretrained(tmp_path, config=config)
    loaded.save_pretrained(tmp_path / "again")

    assert loaded.config is config
    assert config.to_json_string() == before


def test_a_passed_config_makes_the_file_of_none_unnecessary(tmp_path: Path):
    """Weights alone can be loaded with a config."""
    model = saved(Body, tmp_path)
    rewrite(tmp_path, lambda tensors: tensors)
    (tmp_path / "config.json").unlink()

    assert same(Body.from_pretrained(tmp_path, config=NetConfig()), model)


@pytest.mark.parametrize("config", ["config.json", {"width": 4}, PreTrainedConfig()], ids=["path", "dict", "base"])
def test_something_else_passed_as_config_is_an_error(config: Any, tmp_path: Path):
    """Only a config of the class can be passed."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError, match=r"^Body is built from a NetConfig, found "):
        Body.from_pretrained(tmp_path, config=config)


def test_a_config_and_a_field_exclude_each_other(tmp_path: Path):
    """With a config there is nothing to override."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError, match=r"^'width' is a field of the config that is given; change it there\."):
        Body.from_pretrained(tmp_path, config=NetConfig(), width=4)


# ---- dtype and device


def test_a_dtype_is_given_to_floating_tensors_only(tmp_path: Path):
    """Parameters and floating buffers are cast, persistent or not; integers, bools and complex ones are not."""
    model = Kinds(NetConfig())
    model.save_pretrained(tmp_path)
    loaded = Kinds.from_pretrained(tmp_path, dtype=torch.float16)

    assert {name: tensor.dtype for name, tensor in loaded.named_buffers()} == {
        name: torch.float16 if tensor.is_floating_point() else tensor.dtype for name, tensor in model.named_buffers()
    }


def test_a_dtype_is_given_to_what_no_file_holds(tmp_path: Path):
    """Buffers that the constructor computed, and parameters that the file lacks, get the dtype as well."""

    class Hiding(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.register_buffer("steps", torch.arange(3.0), persistent=False)
            self.register_buffer("indices", torch.arange(3), persistent=False)

    saved(Hiding, tmp_path)
    rewrite(tmp_path, without("linear.bias"))
    loaded = Hiding.from_pretrained(tmp_path, dtype=torch.float16, allow_missing="linear.bias")

    assert (loaded.steps.dtype, loaded.indices.dtype) == (torch.float16, torch.int64)
    assert {parameter.dtype for parameter in loaded.parameters()} == {torch.float16}


@pytest.mark.parametrize("dtype", ["bfloat16", "torch.bfloat16", torch.bfloat16])
def test_a_dtype_may_be_a_text(dtype: Any, tmp_path: Path):
    """A dtype is torch's, or its name."""
    saved(Body, tmp_path)

    assert Body.from_pretrained(tmp_path, dtype=dtype).linear.weight.dtype is torch.bfloat16


@pytest.mark.parametrize("dtype", [None, "checkpoint"])
def test_without_a_dtype_each_tensor_keeps_the_files(dtype: Any, tmp_path: Path):
    """Tensors of different widths come back as they were stored, whatever the constructor uses."""
    model = saved(Body, tmp_path)
    model.linear.double()
    model.norm.half()
    model.save_pretrained(tmp_path)

    assert same(Body.from_pretrained(tmp_path, dtype=dtype), model)


@pytest.mark.parametrize("dtype", ["float33", "int32", torch.int8, 16])
def test_a_dtype_must_be_a_floating_one(dtype: Any, tmp_path: Path):
    """Anything but a floating dtype is an error that names what was found."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, dtype=dtype)

    assert str(caught.value) == (
        f"dtype must be 'checkpoint' or a floating dtype such as torch.bfloat16, found {dtype!r}."
    )


@pytest.mark.parametrize("device", ["abacus", 1.5, object])
def test_a_device_must_be_one(device: Any, tmp_path: Path):
    """Anything but a device is an error that names what was found."""
    saved(Body, tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Body.from_pretrained(tmp_path, device=device)

    assert str(caught.value) == f"device must be one such as 'cpu' or 'cuda:0', found {device!r}."


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_the_default_device_is_honoured(device: str, tmp_path: Path):
    """Without a device, every tensor is on the default device."""
    model = saved(Kinds, tmp_path)
    with torch.device(device):
        loaded = Kinds.from_pretrained(tmp_path)

    assert {tensor.device.type for tensor in loaded.buffers()} == {device}
    assert same(loaded.cpu(), model)


@pytest.mark.parametrize("device", DEVICES)
def test_a_device_wins_over_the_default_one(device: str, tmp_path: Path):
    """With a device, every tensor is there, whatever the default is."""
    saved(Body, tmp_path)
    with torch.device("meta"):
        loaded = Body.from_pretrained(tmp_path, device=device)

    assert {tensor.device.type for tensor in [*loaded.parameters(), *loaded.buffers()]} == {device}


# ---- ties


class Tied(PreTrainedModel):
    """Two layers with one weight."""

    config_class = NetConfig

    def __init__(self, config: NetConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)
        self.two.weight = self.one.weight


def test_a_tie_stored_twice_stays_a_tie(tmp_path: Path):
    """Where another library wrote both names of a tied tensor with equal values, it is one object again."""
    saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "two.weight": tensors["one.weight"].clone()})
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert loaded.load_report.exact


@pytest.mark.parametrize("kept", ["one.weight", "two.weight"])
def test_either_name_of_a_tie_is_enough(kept: str, tmp_path: Path):
    """A tied tensor is loaded from whichever name the file has."""
    model = saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**without("one.weight")(tensors), kept: tensors["one.weight"]})
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert same(loaded, model)


def test_two_values_for_a_tie_are_an_error(tmp_path: Path):
    """A file that has different values for what is one tensor in the model does not fit it."""
    saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "two.weight": tensors["one.weight"] + 1})

    assert "\n  different: two.weight (expected the values of 'one.weight', its tied tensor, found others)\n" in str(
        refusal(tmp_path, Tied)
    )


def test_two_values_for_a_tie_can_be_ignored(tmp_path: Path):
    """If that is meant, the model stays tied, with the values of the first name."""
    model = saved(Tied, tmp_path)
    rewrite(tmp_path, lambda tensors: {**tensors, "two.weight": tensors["one.weight"] + 1})
    loaded = Tied.from_pretrained(tmp_path, ignore_mismatched_sizes=True)

    assert loaded.one.weight is loaded.two.weight
    assert torch.equal(loaded.one.weight, model.one.weight)


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


# ---- sharded checkpoints of others


def shard_with_hub(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write shards as Transformers' own library does."""
    huggingface_hub.save_torch_state_dict(state, folder, max_shard_size=100)


def shard_by_hand(state: dict[str, torch.Tensor], folder: Path) -> None:
    """Write one shard for each tensor and an index without metadata."""
    weight_map = {}
    for number, (key, tensor) in enumerate(state.items()):
        weight_map[key] = f"part-{number}.safetensors"
        save_file({key: tensor.clone()}, folder / weight_map[key])
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


@pytest.mark.parametrize("shard", [shard_with_hub, shard_by_hand])
def test_shards_are_read(shard: Callable[[dict[str, torch.Tensor], Path], None], tmp_path: Path):
    """A sharded checkpoint of another library comes back whole."""
    model = saved(Classifier, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shard(model.state_dict(), tmp_path)
    loaded = Classifier.from_pretrained(tmp_path)

    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    assert same(loaded, model)
    assert loaded.load_report.exact


def test_shards_of_a_tied_model_are_read(tmp_path: Path):
    """Another library's shards hold one of two tied tensors; the model has both again, as one."""
    model = saved(Tied, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shard_with_hub(model.state_dict(), tmp_path)
    loaded = Tied.from_pretrained(tmp_path)

    assert loaded.one.weight is loaded.two.weight
    assert same(loaded, model)


def test_errors_about_shards_name_the_index(tmp_path: Path):
    """Where keys do not fit, the index is what does not fit."""
    model = saved(Body, tmp_path)
    (tmp_path / "model.safetensors").unlink()
    shard_by_hand(without("linear.bias")(model.state_dict()), tmp_path)

    assert str(refusal(tmp_path)).startswith(f"{tmp_path / 'model.safetensors.index.json'} does not fit Body;")


# ---- memory


@pytest.mark.skipif(sys.platform != "linux", reason="POSIX leaves open what a private mapping sees of a later write")
def test_loaded_tensors_are_views_of_the_file(tmp_path: Path):
    """Whole 64-byte blocks are mapped, not copied: a change of the file's bytes in place can be seen."""

    class Wide(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.weight = nn.Parameter(torch.zeros(4096))

    Wide(NetConfig()).save_pretrained(tmp_path)
    loaded = Wide.from_pretrained(tmp_path)
    with (tmp_path / "model.safetensors").open("r+b") as file:
        file.seek(-4, 2)
        file.write(b"\0\0\x80\x3f")  # 1.0

    assert loaded.weight[-1].item() == 1.0


def test_a_write_changes_neither_the_file_nor_another_load(tmp_path: Path):
    """Two loads share nothing: writing to one is seen nowhere else."""
    model = saved(Body, tmp_path)
    before = (tmp_path / "model.safetensors").read_bytes()
    one, two = Body.from_pretrained(tmp_path), Body.from_pretrained(tmp_path)
    with torch.no_grad():
        for tensor in [*one.parameters(), *one.buffers()]:
            tensor.fill_(7)

    assert (tmp_path / "model.safetensors").read_bytes() == before
    assert same(two, model)
    assert same(Body.from_pretrained(tmp_path), model)


def test_tensors_of_one_load_share_nothing(tmp_path: Path):
    """Untied tensors of one model do not overlap."""
    saved(Body, tmp_path)
    loaded = Body.from_pretrained(tmp_path)
    before = {key: tensor.clone() for key, tensor in loaded.state_dict().items()}
    with torch.no_grad():
        loaded.linear.bias.fill_(7)

    assert [key for key, tensor in loaded.state_dict().items() if not torch.equal(tensor, before[key])] == [
        "linear.bias"
    ]


@pytest.mark.parametrize("writer", ["ours", "theirs"])
def test_tensors_start_where_torch_would_put_them(writer: str, tmp_path: Path):
    """Every tensor starts on a 64-byte address, so that kernels give the same bits as before the save."""

    class Odd(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.parts = nn.ParameterList([torch.zeros(size) for size in (1, 3, 16, 5, 33, 64)])
            self.register_buffer("flags", torch.zeros(3, dtype=torch.bool))

    model = saved(Odd, tmp_path)
    if writer == "theirs":
        rewrite(tmp_path, lambda tensors: {**tensors, "flags": torch.tensor([True, False, True])})
        model.flags = torch.tensor([True, False, True])
    loaded = Odd.from_pretrained(tmp_path)

    assert [tensor.data_ptr() % 64 for tensor in loaded.state_dict().values()] == [0] * 7
    assert same(loaded, model)
