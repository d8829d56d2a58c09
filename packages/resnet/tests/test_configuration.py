"""`ResnetConfig`: what it refuses it explains, and what it holds survives the file."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_config import ConfigError, Problem, UnknownOptionError, fields
from nameplate_resnet import ResnetConfig

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
        Problem("block_type", "one of 'basic', 'bottleneck' or a tuple of 4", "'Basic'", "Did you mean 'basic'?"),
    ),
    "a misspelt block of four": (
        {"block_type": ("basic", "basic", "Bottleneck", "basic")},
        Problem("block_type[2]", "one of 'basic', 'bottleneck'", "'Bottleneck'", "Did you mean 'bottleneck'?"),
    ),
    "four blocks of a kind": (
        {"block_type": ("basic",) * 4},
        Problem("block_type", "'basic' for four of a kind", "('basic', 'basic', 'basic', 'basic')"),
    ),
    "groups beside blocks that have none": (
        {"block_type": ("basic", "basic", "bottleneck", "basic"), "cardinality": 2},
        Problem(
            "cardinality",
            "1 while block_type is ('basic', 'basic', 'bottleneck', 'basic')",
            "2",
            "It has an effect only when block_type is 'bottleneck'",
        ),
    ),
    "a kernel where skip connections pool": (
        {"down_kernel_size": 3, "avg_down": True},
        Problem("down_kernel_size", "1 while avg_down is True", "3", "It has an effect only when avg_down is False"),
    ),
    "a kernel without a middle": ({"down_kernel_size": 2}, Problem("down_kernel_size", "an odd number", "2")),
    "a first convolution without channels": (
        {"channels": (4, 4, 2, 4), "block_reduce_first": 3},
        Problem("block_reduce_first", "at most 2 with 2 channels in stage 3", "3"),
    ),
    "a first convolution that groups cannot share": (
        {"cardinality": 32, "base_width": 4, "block_reduce_first": 3},
        Problem("block_reduce_first", "what leaves stage 1 a multiple of 32 channels, its groups, of 128", "3"),
    ),
    "groups of channels that cannot be formed": (
        {"norm_layer": "groupnorm", "stem_type": "deep_tiered", "stem_width": 32},
        Problem("norm_layer", "one for 24 channels, as the stem has; this one takes multiples of 32", "'groupnorm'"),
    ),
    "the variance of one channel": (
        {"norm_layer": "simplenorm2d", "block_type": "basic", "channels": (4, 1, 4, 4)},
        Problem(
            "norm_layer",
            "one for the single channel of stage 2; this one divides by the variance of several",
            "'simplenorm2d'",
        ),
    ),
    "a normalisation of other maps": (
        {"norm_layer": "layernorm"},
        Problem("norm_layer", ANY, "'layernorm'", "Did you mean 'layernorm2d'?"),
    ),
    "attention of four heads": (
        {"block_args": {"attn_layer": "lambda"}, "block_type": "basic", "channels": (4, 6, 8, 8)},
        Problem(
            "block_args.attn_layer", "one for 6 channels, as stage 2 has; this one takes multiples of 4", "'lambda'"
        ),
    ),
    "a ratio without attention": (
        {"block_args": {"rd_ratio": 0.25}},
        Problem("block_args.rd_ratio", "None while attn_layer is None", "0.25", ANY),
    ),
    "a ratio of attention that has none": (
        {"block_args": {"attn_layer": "eca", "rd_ratio": 0.25}},
        Problem("block_args.rd_ratio", "None while attn_layer is 'eca'", "0.25", ANY),
    ),
    "an argument that blocks do not have": (
        {"block_args": {"attention": "se"}},
        Problem("block_args.attention", "a field of BlockArgs", "'se'", "Its fields are: attn_layer, rd_ratio."),
    ),
    "a blur that the stem does not take": (
        {"aa_layer": "blurpc"},
        Problem(
            "aa_layer",
            "None, 'avg' or 'blur' while replace_stem_pool is False",
            "'blurpc'",
            "timm's pooling stem takes no other blur",
        ),
    ),
    "no pooling": ({"global_pool": ""}, Problem("global_pool", ANY, "''")),
    "a stride between": ({"output_stride": 4}, Problem("output_stride", "one of 32, 16, 8", "4")),
    "a rate above one": (
        {"drop_path_rate": 1.5},
        Problem("drop_path_rate", "a float and at least 0 and at most 1", "1.5"),
    ),
    "smoothing of what is no class": (
        {"problem_type": "regression", "label_smoothing": 0.1},
        Problem(
            "label_smoothing",
            "0.0 while problem_type is 'regression'",
            "0.1",
            "It has an effect only when problem_type is None or 'single_label_classification'",
        ),
    ),
    "another network than the one that was pruned": (
        {"pruned": "ecaresnet50d_pruned", "stem_type": "deep", "stem_width": 32, "avg_down": True},
        Problem(
            "block_args",
            "BlockArgs(attn_layer='eca') while pruned is 'ecaresnet50d_pruned'",
            "BlockArgs()",
            "timm's list of widths is for one network",
        ),
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
    assert str(error.value) == f"ResnetConfig: 1 problem.\n  {error.value.problems[0]}"


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
