"""`ResnetConfig`: what it accepts is what timm builds, and what it refuses it explains."""

import inspect
import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from timm.models.resnet import BasicBlock, Bottleneck, ResNet

from nameplate_config import BackboneConfigMixin, ConfigError, Problem, UnknownOptionError, fields
from nameplate_resnet import ResnetConfig, ResnetModelForImageClassification

TIMM_NAMES = {
    "base_width": "base_width",
    "cardinality": "cardinality",
    "channels": "channels",
    "input_channels": "in_chans",
    "num_classes": "num_classes",
    "stem_type": "stem_type",
    "stem_width": "stem_width",
    "avg_down": "avg_down",
}
"""What timm calls the fields; only the block and the depths have no default there."""

NAMED = {
    "resnet18": {"block_type": "basic", "layers": (2, 2, 2, 2)},
    "resnet18d": {
        "block_type": "basic",
        "layers": (2, 2, 2, 2),
        "stem_type": "deep",
        "stem_width": 32,
        "avg_down": True,
    },
    "resnet26t": {"layers": (2, 2, 2, 2), "stem_type": "deep_tiered", "stem_width": 32, "avg_down": True},
    "resnet34": {"block_type": "basic"},
    "resnet50": {},
    "resnet101": {"layers": (3, 4, 23, 3)},
    "resnext50_32x4d": {"cardinality": 32, "base_width": 4},
    "wide_resnet50_2": {"base_width": 128},
}
"""Networks that timm knows by name, as fields that differ from the defaults."""


# ---- defaults


@pytest.mark.parametrize("field", TIMM_NAMES)
def test_a_default_is_that_of_timm(field: str) -> None:
    """A field that is not given means what it means to timm."""
    default = inspect.signature(ResNet).parameters[TIMM_NAMES[field]].default

    assert getattr(ResnetConfig(), field) == default


def test_every_field_is_compared_with_timm() -> None:
    """The table of names above misses no field."""
    assert {field.name for field in fields(ResnetConfig)} == {
        *TIMM_NAMES,
        "block_type",
        "layers",
        *BackboneConfigMixin._rivals,
    }


@pytest.mark.parametrize("name", NAMED)
def test_a_named_network_of_timm_can_be_configured(name: str) -> None:
    """Our fields give the keys and shapes of timm's network of that name; without any, those of ResNet-50."""
    with torch.device("meta"):
        ours = ResnetModelForImageClassification(ResnetConfig(**NAMED[name])).model
        theirs = timm.create_model(name)

    assert shapes(ours) == shapes(theirs)


def shapes(module: torch.nn.Module) -> dict[str, torch.Size]:
    """Return the shape of each tensor of a state dict."""
    return {key: tensor.shape for key, tensor in module.state_dict().items()}


# ---- what is accepted

VALUES = st.fixed_dictionaries(
    {
        "block_type": st.sampled_from(["basic", "bottleneck"]),
        "layers": st.tuples(*[st.integers(1, 2)] * 4),
        "channels": st.tuples(*[st.integers(1, 8)] * 4),
        "num_classes": st.integers(1, 4),
        "input_channels": st.integers(1, 4),
        "cardinality": st.sampled_from([1, 1, 2, 3]),
        "base_width": st.sampled_from([64, 64, 1, 8, 32, 128]),
        "stem_type": st.sampled_from(["", "deep", "deep_tiered"]),
        "stem_width": st.sampled_from([64, 64, 1, 3, 4, 8]),
        "avg_down": st.booleans(),
    }
)


def timm_builds_and_runs(values: dict[str, Any]) -> bool:
    """Whether timm accepts the values without complaint, and heeds each of them."""
    block = {"basic": BasicBlock, "bottleneck": Bottleneck}[values["block_type"]]
    arguments = {theirs: values[ours] for ours, theirs in TIMM_NAMES.items()}
    images = torch.zeros(2, values["input_channels"], 32, 32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch merely warns of a layer without channels
            logits = ResNet(block, values["layers"], **arguments)(images)
    except (AssertionError, RuntimeError, UserWarning, ValueError):
        return False
    heeded = values["stem_type"] != "" or values["stem_width"] == 64
    return heeded and logits.shape == (2, values["num_classes"])


TINY = {
    "block_type": "bottleneck",
    "layers": (1, 1, 1, 1),
    "channels": (4, 4, 4, 4),
    "num_classes": 2,
    "input_channels": 1,
    "cardinality": 1,
    "base_width": 64,
    "stem_type": "",
    "stem_width": 64,
    "avg_down": False,
}


@given(VALUES)
@example(TINY)
@example(TINY | {"channels": (1, 4, 4, 4), "base_width": 32})
@example(TINY | {"channels": (2, 4, 4, 4), "base_width": 32})
@example(TINY | {"stem_type": "deep_tiered", "stem_width": 3})
@example(TINY | {"stem_type": "deep_tiered", "stem_width": 4})
@settings(max_examples=100, deadline=None)
def test_what_is_accepted_is_what_timm_builds(values: dict[str, Any]) -> None:
    """A small config is accepted if and only if timm builds it, runs it and ignores none of its numbers."""
    try:
        ResnetConfig(**values)
    except ConfigError:
        accepted = False
    else:
        accepted = True

    assert accepted == timm_builds_and_runs(values)


def test_the_oracle_can_say_no() -> None:
    """The judge of the property above accepts the tiny network and refuses one that is wrong."""
    assert timm_builds_and_runs(TINY)
    assert not timm_builds_and_runs(TINY | {"block_type": "basic", "cardinality": 2})


# ---- what is refused

REFUSED = {
    "basic blocks with groups": (
        {"block_type": "basic", "cardinality": 32},
        Problem(
            "cardinality",
            "1 while block_type is 'basic'",
            "32",
            "It has an effect only when block_type is 'bottleneck'",
        ),
    ),
    "wide basic blocks": (
        {"block_type": "basic", "base_width": 128},
        Problem(
            "base_width",
            "64 while block_type is 'basic'",
            "128",
            "It has an effect only when block_type is 'bottleneck'",
        ),
    ),
    "three stages": ({"layers": (2, 2, 2)}, Problem("layers", "a tuple of 4", "(2, 2, 2)")),
    "five stages": ({"layers": (1, 1, 1, 1, 1)}, Problem("layers", "a tuple of 4", "(1, 1, 1, 1, 1)")),
    "three widths": ({"channels": (4, 4, 4)}, Problem("channels", "a tuple of 4", "(4, 4, 4)")),
    "an empty stage": ({"layers": (1, 0, 1, 1)}, Problem("layers[1]", "an int and at least 1", "0")),
    "half a block": ({"layers": (1, 1, 1.5, 1)}, Problem("layers[2]", "an int", "1.5")),
    "a width that a plain stem ignores": (
        {"stem_width": 32},
        Problem(
            "stem_width",
            "64 while stem_type is ''",
            "32",
            "It has an effect only when stem_type is 'deep' or 'deep_tiered'",
        ),
    ),
    "a base too narrow for the stages": (
        {"channels": (4, 8, 8, 8), "base_width": 8},
        Problem("base_width", "at least 16 with 4 channels", "8"),
    ),
    "a tiered stem without channels": (
        {"stem_type": "deep_tiered", "stem_width": 3},
        Problem("stem_width", "at least 4 for a tiered stem", "3"),
    ),
    "a stem that does not exist": (
        {"stem_type": "tiered"},
        Problem("stem_type", "one of '', 'deep', 'deep_tiered'", "'tiered'"),
    ),
    "a misspelt block": (
        {"block_type": "Basic"},
        Problem("block_type", "one of 'basic', 'bottleneck'", "'Basic'", "Did you mean 'basic'?"),
    ),
    "no classes": ({"num_classes": 0}, Problem("num_classes", "an int and at least 1", "0")),
    "a number as text": ({"num_classes": "10"}, Problem("num_classes", "an int", "'10'")),
    "a truth as a number": ({"cardinality": True}, Problem("cardinality", "an int", "True")),
    "a number as a truth": ({"avg_down": 1}, Problem("avg_down", "a bool", "1")),
    "images without channels": (
        {"input_channels": 0},
        Problem("input_channels", "an int and at least 1", "0"),
    ),
    "too few labels": (
        {"num_classes": 3, "id2label": {0: "cat", 1: "dog"}},
        Problem(
            "id2label",
            "one label for each of the 3 classes",
            "labels for 0, 1",
            "Give num_classes and id2label together",
        ),
    ),
    "labels of other classes": (
        {"num_classes": 2, "id2label": {1: "cat", 2: "dog"}},
        Problem(
            "id2label",
            "one label for each of the 2 classes",
            "labels for 1, 2",
            "Give num_classes and id2label together",
        ),
    ),
    "two numbers of classes": (
        {"num_labels": 3, "num_classes": 4},
        Problem("num_classes", "one value", "3 and, as 'num_classes', 4"),
    ),
}


@pytest.mark.parametrize(("values", "problem"), REFUSED.values(), ids=REFUSED)
def test_a_wrong_value_is_refused_with_its_reason(values: dict[str, Any], problem: Problem) -> None:
    """The error names the field, what was expected and what was found, and if there is one, the way out."""
    with pytest.raises(ConfigError) as error:
        ResnetConfig(**values)

    assert error.value.problems == (problem,)
    assert str(error.value) == f"ResnetConfig: 1 problem.\n  {problem}"


def test_every_wrong_value_is_reported_at_once() -> None:
    """One error lists all problems, in the order of the fields."""
    with pytest.raises(ConfigError) as error:
        ResnetConfig(block_type="wide", layers=(1, 1, 1), input_channels=0)

    assert [problem.path for problem in error.value.problems] == ["block_type", "layers", "input_channels"]


def test_a_wrong_assignment_is_refused_and_undone() -> None:
    """A config cannot be changed into one that timm would refuse."""
    config = ResnetConfig(block_type="basic")

    with pytest.raises(ConfigError, match=r"cardinality: expected 1 while block_type is 'basic', found 2\."):
        config.cardinality = 2

    assert config == ResnetConfig(block_type="basic")


def test_a_misspelt_field_is_refused() -> None:
    """An unknown name is an error with the nearest field."""
    with pytest.raises(UnknownOptionError) as error:
        ResnetConfig(num_clases=10)

    assert str(error.value) == "ResnetConfig has no field 'num_clases'.\n  Did you mean 'num_classes'?"


# ---- labels and files


def test_num_labels_is_num_classes() -> None:
    """The name that Transformers uses is another name for the same number, in both directions."""
    config = ResnetConfig(num_labels=7)
    given_by_alias = config.num_classes, config.num_labels

    config.num_labels = 8

    assert given_by_alias == (7, 7)
    assert config.num_classes == 8


def test_labels_are_their_own_inverse() -> None:
    """`label2id` follows from `id2label`."""
    config = ResnetConfig(num_classes=2, id2label={0: "cat", 1: "dog"})

    assert config.label2id == {"cat": 0, "dog": 1}


def test_the_file_is_complete_and_exact(tmp_path: Path) -> None:
    """The file holds every field under its own name, defaults included, and gives back the same config."""
    config = ResnetConfig(num_labels=2, layers=[1, 2, 3, 4], id2label={0: "cat", 1: "dog"})

    config.save_pretrained(tmp_path)

    saved = json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))
    every = {field.name for field in fields(ResnetConfig)}

    assert saved.keys() == every | {"id2label", "label2id", "model_type"}
    assert saved["model_type"] == "nameplate_resnet"
    assert ResnetConfig.from_pretrained(tmp_path) == config


@given(st.data())
@settings(max_examples=50, deadline=None)
def test_every_accepted_config_survives_its_dict(data: st.DataObject) -> None:
    """Turning a config into the contents of a file and back changes nothing."""
    block = data.draw(st.sampled_from(["basic", "bottleneck"]))
    stem = data.draw(st.sampled_from(["", "deep"]))
    config = ResnetConfig(
        block_type=block,
        layers=data.draw(st.tuples(*[st.integers(1, 100)] * 4)),
        num_classes=data.draw(st.integers(1, 10**6)),
        cardinality=data.draw(st.integers(1, 64)) if block == "bottleneck" else 1,
        stem_type=stem,
        stem_width=data.draw(st.integers(1, 256)) if stem else 64,
    )

    assert ResnetConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


# ---- what it costs

PROBE = """
import sys
from nameplate_resnet.configuration_resnet import ResnetConfig

ResnetConfig(num_labels=3).save_pretrained(sys.argv[1])
assert ResnetConfig.from_pretrained(sys.argv[1]).num_classes == 3
print(*sys.modules)
"""


def test_a_config_needs_neither_torch_nor_timm(tmp_path: Path) -> None:
    """Building, saving and loading a config imports no framework."""
    probe = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", PROBE, str(tmp_path)],
        capture_output=True,
        check=False,
        text=True,
    )

    assert probe.returncode == 0, probe.stderr
    assert {"torch", "timm", "numpy", "huggingface_hub"}.isdisjoint(probe.stdout.split())
