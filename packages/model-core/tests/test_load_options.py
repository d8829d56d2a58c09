"""The options of a load that are neither about keys nor about places."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from nameplate_config import ConfigError, NameplateError, PreTrainedConfig, SourceNotFoundError, UnknownOptionError
from nameplate_model import MismatchError, PreTrainedModel


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


def same(one: nn.Module, other: nn.Module) -> bool:
    """Whether two models have equal state dicts, dtypes included."""
    ours, theirs = one.state_dict(), other.state_dict()
    return ours.keys() == theirs.keys() and all(
        ours[key].dtype == theirs[key].dtype and torch.equal(ours[key], theirs[key]) for key in ours
    )


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
        "  Its options are: allow_missing, allow_unexpected, config, device, device_map, device_mesh, dtype, "
        "engine, ignore_mismatched_sizes, keep_in_fp32, key_mapping, memory, output_loading_info, plan, state_dict, "
        "strict, timeout, use_safetensors, variant, verify."
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


# ---- tensors that are there already


def test_tensors_can_be_given(tmp_path: Path):
    """Without a source, but with a config and a state dict, the model has those tensors, and no file is needed."""
    model = saved(Classifier, tmp_path)
    config = NetConfig()
    loaded = Classifier.from_pretrained(None, config=config, state_dict=model.state_dict())

    assert same(loaded, model)
    assert loaded.config is config
    assert str(loaded.load_report) == "all 9 tensors of Classifier were loaded from the state_dict that was given."


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("hook", [False, True])
@pytest.mark.parametrize("dtype", [None, torch.float64])
def test_given_tensors_are_copied(*, kept: bool, hook: bool, dtype: torch.dtype | None):
    """The model never shares memory with what was given, parameters included, cast or not, whichever way it loads."""

    class Given(Body):
        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            if kept:
                self.kept = [self.linear.weight]
            if hook:
                self.register_load_state_dict_post_hook(lambda _module, _keys: None)

    state = Body(NetConfig()).state_dict(keep_vars=True)
    before = {name: tensor.detach().clone() for name, tensor in state.items()}
    loaded = Given.from_pretrained(None, config=NetConfig(), state_dict=state, dtype=dtype)
    with torch.no_grad():
        for tensor in loaded.state_dict().values():
            tensor.fill_(7)

    assert all(torch.equal(tensor, before[name]) for name, tensor in state.items())


def test_given_tensors_are_judged_like_a_files():
    """What is missing, on top or of another shape is one error; it calls the given tensors by what they are."""
    state = {**Body(NetConfig()).state_dict(), "tail": torch.ones(1)}
    del state["norm.bias"]
    with pytest.raises(MismatchError) as caught:
        Body.from_pretrained(None, config=NetConfig(), state_dict=state)

    assert str(caught.value) == (
        "the state_dict that was given does not fit Body; no model is returned.\n"
        "  missing from the file: norm.bias\n"
        "  in the file only: tail\n"
        "  'tail' in the file may be 'norm.bias'.\n"
        "  6 tensors fit.\n"
        "  If this is meant, pass allow_missing=[…] and allow_unexpected=[…]."
    ).replace("  'tail' in the file may be 'norm.bias'.\n", "")


def test_given_tensors_may_be_tied():
    """One tensor under two names is one parameter; two equal tensors for a tie of the class are one as well."""

    class Tied(PreTrainedModel):
        config_class = NetConfig

        def __init__(self, config: NetConfig) -> None:
            super().__init__(config)
            self.one, self.two = nn.Linear(4, 4, bias=False), nn.Linear(4, 4, bias=False)
            if config.classes == 3:
                self.two.weight = self.one.weight

    weight = torch.rand(4, 4)
    for config, two in ((NetConfig(), weight), (NetConfig(), weight.clone()), (NetConfig(classes=4), weight)):
        state = {"one.weight": weight, "two.weight": two}
        loaded = Tied.from_pretrained(None, config=config, state_dict=state)

        assert loaded.one.weight is loaded.two.weight
        assert torch.equal(loaded.one.weight, weight)


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"linear.bias": [1, 2]}, "the state_dict that was given holds [1, 2] under 'linear.bias', not a tensor."),
        ({3: torch.ones(1)}, "the state_dict that was given has the name 3, which is no text."),
        ([torch.ones(1)], "state_dict must map names to tensors, found "),
    ],
    ids=["no tensor", "no text", "no mapping"],
)
def test_what_is_given_must_be_tensors_by_name(state: Any, text: str):
    """Anything else is an error that shows what was found."""
    with pytest.raises(NameplateError) as caught:
        Body.from_pretrained(None, config=NetConfig(), state_dict=state)

    assert str(caught.value).startswith(text)


def test_a_source_or_tensors_are_needed(tmp_path: Path):
    """Neither, both, or tensors without a config is an error that says what goes together."""
    state = saved(Body, tmp_path).state_dict()
    needs = "Body.from_pretrained needs a source, or None together with config= and state_dict=."
    both = "state_dict is given as well as a source; give None as the source if the tensors are there already."
    wrong: list[tuple[Any, dict[str, Any], str]] = [
        (None, {}, needs),
        (None, {"config": NetConfig()}, needs),
        (None, {"state_dict": state}, needs),
        (tmp_path, {"state_dict": state}, both),
    ]
    for source, options, text in wrong:
        with pytest.raises(UnknownOptionError) as caught:
            Body.from_pretrained(source, **options)

        assert str(caught.value) == text


# ---- where the files are


def test_a_subfolder_is_a_checkpoint(tmp_path: Path):
    """With *subfolder* config and weights are those below the folder."""
    saved(Body, tmp_path, width=6)
    model = saved(Body, tmp_path / "inner")

    assert same(Body.from_pretrained(tmp_path, subfolder="inner"), model)


@pytest.mark.parametrize("options", [{}, {"max_shard_size": 1}], ids=["single", "sharded"])
def test_a_variant_has_weights_of_its_own(options: dict[str, Any], tmp_path: Path):
    """With *variant* the weights are those that were saved under it, and without it the others."""
    plain, other = saved(Body, tmp_path), Body(NetConfig())
    other.save_pretrained(tmp_path, variant="fp16", **options)

    assert same(Body.from_pretrained(tmp_path, variant="fp16"), other)
    assert same(Body.from_pretrained(tmp_path), plain)


def test_a_variant_that_is_absent_is_an_error(tmp_path: Path):
    """The plain weights are not taken for a variant; the error says what was looked for."""
    saved(Body, tmp_path)
    with pytest.raises(SourceNotFoundError) as caught:
        Body.from_pretrained(tmp_path, variant="fp16")

    assert str(caught.value) == (
        f"'{tmp_path}' holds no weights: looked for model.fp16.safetensors and model.safetensors.index.fp16.json.\n"
        "  The folder holds: config.json, model.safetensors."
    )


def test_safetensors_are_the_default(tmp_path: Path):
    """With `use_safetensors` true or left out a pickle beside the weights is not looked at; with false only it is."""
    model, other = saved(Body, tmp_path), Body(NetConfig())
    torch.save(other.state_dict(), tmp_path / "pytorch_model.bin")

    assert same(Body.from_pretrained(tmp_path), model)
    assert same(Body.from_pretrained(tmp_path, use_safetensors=True), model)
    assert same(Body.from_pretrained(tmp_path, use_safetensors=False), other)
