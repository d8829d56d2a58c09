"""timm's networks by name: the table is what the installed timm says, and each of them is built as timm builds it.

``python packages/resnet/tests/test_variants.py --write`` writes the table anew, from the installed timm.
"""

import functools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.models.resnet
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from timm.layers import BlurPool2d, SEModule
from timm.models.resnet import BasicBlock, Bottleneck
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.func import functional_call

from nameplate_config import ConfigError, NameplateError
from nameplate_resnet import ResnetConfig
from nameplate_resnet.network_resnet import build_resnet
from nameplate_resnet.variants import TIMM_NETWORKS, arguments_of, fields_of, nearest, network_fields

VARIANTS = Path(__file__).parent.parent / "src/nameplate_resnet/variants.py"

_D = {"stem_type": "deep", "stem_width": 32, "avg_down": True}
_T = {"stem_type": "deep_tiered", "stem_width": 32, "avg_down": True}

PARTS: Mapping[str, Mapping[str, Any]] = {
    "_10": {"block_type": "basic", "layers": (1, 1, 1, 1)},
    "_14": {"block_type": "bottleneck", "layers": (1, 1, 1, 1)},
    "_18": {"block_type": "basic", "layers": (2, 2, 2, 2)},
    "_26": {"block_type": "bottleneck", "layers": (2, 2, 2, 2)},
    "_34": {"block_type": "basic", "layers": (3, 4, 6, 3)},
    "_50": {"block_type": "bottleneck", "layers": (3, 4, 6, 3)},
    "_101": {"block_type": "bottleneck", "layers": (3, 4, 23, 3)},
    "_152": {"block_type": "bottleneck", "layers": (3, 8, 36, 3)},
    "_200": {"block_type": "bottleneck", "layers": (3, 24, 36, 3)},
    "_269": {"block_type": "bottleneck", "layers": (3, 30, 48, 8)},
    "_D": _D,
    "_T": _T,
    "_C": {"stem_type": "deep", "stem_width": 32},
    "_S": {"stem_type": "deep", "stem_width": 64},
    "_RS": {"replace_stem_pool": True, "block_args": {"attn_layer": "se", "rd_ratio": 0.25}},
    "_32X4": {"cardinality": 32, "base_width": 4},
    "_32X8": {"cardinality": 32, "base_width": 8},
    "_SE": {"block_args": {"attn_layer": "se"}},
    "_ECA": {"block_args": {"attn_layer": "eca"}},
}
"""What many networks have in common, by the names that `variants` has for it."""

SPELLED = {BasicBlock: "basic", Bottleneck: "bottleneck", nn.AvgPool2d: "avg", BlurPool2d: "blur"}


# ---- what timm says


@functools.cache
def said_by_timm() -> dict[str, dict[str, Any]]:
    """Return our fields for every network of timm, from what its functions hand to the constructor."""
    found: dict[str, dict[str, Any]] = {}
    for name, said in handed_over().items():
        arguments = {key: spelled(value) for key, value in said.items() if key not in {"block", "pruned"}}
        fields = {"block_type": spelled(said["block"]), **fields_of(arguments)}
        found[name] = fields | ({"pruned": name} if said.get("pruned") else {})
    return found


def handed_over() -> dict[str, dict[str, Any]]:
    """Return what each of timm's functions hands to the one that builds a residual network."""
    said: dict[str, dict[str, Any]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(timm.models.resnet, "_create_resnet", lambda name, _, **kwargs: said.setdefault(name, kwargs))
        for name in timm.list_models(module="resnet"):
            timm.model_entrypoint(name)()
    return said


def spelled(value: Any) -> Any:
    """Return an argument with texts in the place of classes."""
    if isinstance(value, functools.partial) and value.func is SEModule:
        return {"attn_layer": "se", **value.keywords}
    if isinstance(value, Mapping):
        inner = {key: spelled(each) for key, each in value.items()}
        return inner["attn_layer"] if isinstance(inner["attn_layer"], dict) else inner
    if isinstance(value, (list, tuple)):
        return tuple(spelled(each) for each in value)
    return SPELLED.get(value, value) if isinstance(value, type) else value


# ---- the table as text


def table() -> str:
    """Return the lines of `variants` between its two marks."""
    parts = "\n".join(f"{name}: Values = {_text(dict(part))}" for name, part in PARTS.items())
    lines = "\n".join(f'        "{name}": {_line(fields)},' for name, fields in sorted(said_by_timm().items()))
    return (
        f"{parts}\n\nTIMM_NETWORKS: Mapping[str, Values] = MappingProxyType(\n    {{\n{lines}\n    }}\n)\n"
        '"""The fields of each residual network of timm 1.0.31, by timm\'s name."""\n'
    )


def _line(fields: dict[str, Any]) -> str:
    left, used = dict(fields), list[str]()
    for name, part in PARTS.items():
        if all(left.get(key) == value for key, value in part.items()):
            used.append(f"**{name}")
            left = {key: value for key, value in left.items() if key not in part}
    rest = _text(left)[1:-1]
    return "{" + ", ".join([*used, *([rest] if rest else [])]) + "}"


def _text(value: Any) -> str:
    return repr(value).replace("'", '"')


# ---- the names


def test_the_table_is_what_the_installed_timm_says() -> None:
    """Every residual network of timm is in the table, with the fields that its function hands to the constructor."""
    assert dict(TIMM_NETWORKS) == said_by_timm()
    assert len(TIMM_NETWORKS) == 81


def test_a_tag_of_weights_does_not_change_the_network() -> None:
    """A name may carry the tag of its weights, as timm's names on the Hub do."""
    assert ResnetConfig.from_timm("resnet50d.ra2_in1k") == ResnetConfig.from_timm("resnet50d")
    assert ResnetConfig.from_timm("timm/resnet50d.ra2_in1k") == ResnetConfig.from_timm("resnet50d")


def test_overrides_go_before_what_the_name_means() -> None:
    """Fields given beside a name replace those of the network, under their aliases too."""
    config = ResnetConfig.from_timm("seresnet18", num_labels=3, block_args={"attn_layer": "eca"}, layers=(1, 1, 1, 1))

    assert config == ResnetConfig(
        block_type="basic", layers=(1, 1, 1, 1), num_classes=3, block_args={"attn_layer": "eca"}
    )


def test_an_unknown_name_is_refused_with_the_nearest() -> None:
    """A name that timm does not have is an error that says what may be meant."""
    with pytest.raises(ConfigError) as error:
        ResnetConfig.from_timm("resnet5d")

    assert str(error.value) == "timm has no residual network 'resnet5d'.\n  Did you mean 'resnet50d'?"


@pytest.mark.parametrize("name", [None, 5, ["resnet50"], b"resnet50"])
def test_what_is_no_name_is_refused(name: Any) -> None:
    """What is no text is the name of no network."""
    with pytest.raises(ConfigError, match=r"^timm has no residual network "):
        ResnetConfig.from_timm(name)


def test_a_number_that_is_given_twice_is_refused() -> None:
    """A field and its other name are one, also here."""
    with pytest.raises(NameplateError, match="num_classes"):
        ResnetConfig.from_timm("resnet18", num_labels=5, num_classes=6)


# ---- the networks


@pytest.mark.parametrize("name", TIMM_NETWORKS)
def test_a_name_means_the_modules_of_timm(name: str) -> None:
    """Our config of a name builds the modules of timm's network, with the same keys, shapes and dtypes."""
    with torch.device("meta"):
        ours = build_resnet(ResnetConfig.from_timm(name), num_classes=1000)
    theirs = timm.create_model(name, device="meta")

    assert tensors(ours) == tensors(theirs)
    assert repr(ours) == repr(theirs)


def tensors(network: nn.Module) -> list[tuple[str, torch.Size, torch.dtype]]:
    """Return what a state dict holds, in its order."""
    return [(key, tensor.shape, tensor.dtype) for key, tensor in network.state_dict().items()]


def kinds() -> dict[str, str]:
    """Return the shallowest network of each kind; others are deeper and the same in everything else."""
    found: dict[str, str] = {}
    for name in sorted(TIMM_NETWORKS, key=lambda each: sum(ResnetConfig.from_timm(each).layers)):
        values = ResnetConfig.from_timm(name).to_dict()
        found.setdefault(json.dumps({**values, "layers": None}), name)
    return {name: kind for kind, name in found.items()}


@pytest.mark.parametrize("name", TIMM_NETWORKS)
def test_a_network_runs_without_memory(name: str) -> None:
    """At full size each network answers fake images with logits, and so it can be traced."""
    with torch.device("meta"):
        network = build_resnet(ResnetConfig.from_timm(name), num_classes=1000).eval()
    with FakeTensorMode(), torch.no_grad():
        state = {key: torch.empty(each.shape, dtype=each.dtype) for key, each in whole_state(network).items()}
        logits = functional_call(network, state, torch.empty(1, 3, 64, 64))

    assert logits.shape == (1, 1000)


def whole_state(network: nn.Module) -> dict[str, torch.Tensor]:
    """Return every tensor of a network, those that are not saved too."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


@pytest.mark.parametrize("name", [name for name in kinds() if "pruned" not in name])
def test_a_narrow_network_is_that_of_timm_to_the_last_bit(name: str) -> None:
    """Made shallow and narrow alike, both draw the same weights under one seed and answer the same."""
    fewer: dict[str, Any] = {"layers": (1, 2, 1, 1), "channels": (32, 32, 32, 64)}

    same_in_every_bit(
        lambda: build_resnet(ResnetConfig.from_timm(name, **fewer), num_classes=3),
        lambda: timm.create_model(name, num_classes=3, **fewer),
    )


def test_a_pruned_network_is_that_of_timm_to_the_last_bit() -> None:
    """A pruned network has the widths of timm's list, and is drawn and answers as timm's."""
    same_in_every_bit(
        lambda: build_resnet(ResnetConfig.from_timm("ecaresnet50d_pruned"), num_classes=3),
        lambda: timm.create_model("ecaresnet50d_pruned", num_classes=3),
    )


def same_in_every_bit(our: Callable[[], nn.Module], their: Callable[[], nn.Module]) -> None:
    """Assert that two networks get the same weights, and answer the same in training and in evaluation."""
    networks: list[nn.Module] = []
    for build in (our, their):
        torch.manual_seed(0)
        networks.append(build())
    ours, theirs = networks
    pixels = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))

    assert whole_state(ours).keys() == whole_state(theirs).keys()
    assert all(torch.equal(each, whole_state(theirs)[key]) for key, each in whole_state(ours).items())
    for training in (True, False):
        answers = []
        for network in networks:
            torch.manual_seed(2)
            answers.append(network.train(training)(pixels))
        assert torch.equal(*answers)


# ---- timm's arguments and back


@pytest.mark.parametrize("name", TIMM_NETWORKS)
def test_a_network_of_timm_is_nearest_to_itself(name: str) -> None:
    """The call that builds the network of a name is that name, without arguments."""
    assert nearest(ResnetConfig.from_timm(name)) == (name, {})


SMALL = {"layers": (1, 1, 1, 1), "channels": (32, 32, 32, 32), "num_classes": 3}

CALLS: Mapping[str, tuple[dict[str, Any], str]] = {
    "a new layer for everything": (
        {
            **SMALL,
            "act_layer": "silu",
            "norm_layer": "groupnorm",
            "global_pool": "catavgmax",
            "block_args": {"attn_layer": "cbam"},
            "output_stride": 8,
        },
        "resnet50_gn",
    ),
    "attention taken away": ({**SMALL, **network_fields("ecaresnetlight"), "block_args": {}}, "ecaresnetlight"),
    "blur behind a stem that does not pool": (
        {**SMALL, "replace_stem_pool": True, "aa_layer": "blurpc", "input_channels": 1},
        "resnet26",
    ),
    "blur behind a stem that pools": ({**SMALL, "block_type": "basic", "aa_layer": "blur"}, "resnetblur18"),
    "another ratio": ({**SMALL, "block_args": {"attn_layer": "se", "rd_ratio": 0.25}}, "resnetrs50"),
    "rates": ({**SMALL, "drop_rate": 0.1, "drop_path_rate": 0.2, "zero_init_last": False}, "resnet26"),
    "blocks of two kinds": (
        {**SMALL, "block_type": ("basic", "basic", "bottleneck", "basic"), "down_kernel_size": 3},
        "test_resnet",
    ),
}


@pytest.mark.parametrize(("values", "name"), CALLS.values(), ids=CALLS)
def test_the_nearest_call_builds_the_network(values: dict[str, Any], name: str) -> None:
    """Passed through JSON and to timm's `create_model`, name and arguments build what we build."""
    config = ResnetConfig(**values)
    found, arguments = nearest(config)
    assert found == name

    theirs = timm.create_model(
        found, pretrained_cfg_overlay={"mean": (0.5,), "std": (0.5,)}, **json.loads(json.dumps(arguments))
    )

    assert repr(theirs) == repr(build_resnet(config, num_classes=config.num_classes))
    assert theirs.drop_rate == config.drop_rate


def test_a_network_that_json_cannot_say_is_refused() -> None:
    """Where no network of timm brings its blocks with its anti-aliasing or ratio, the error names them."""
    config = ResnetConfig(block_type="basic", block_args={"attn_layer": "se", "rd_ratio": 0.25})
    with pytest.raises(ConfigError) as error:
        nearest(config)

    assert str(error.value) == (
        "timm has no network with block_type 'basic' and block_args.attn_layer 'se' and block_args.rd_ratio 0.25 "
        "together, and its arguments as JSON cannot say them.\n"
        "  Save the model in its own format, or choose what one of timm's networks has."
    )


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "layers": st.tuples(*[st.integers(1, 9)] * 4),
            "input_channels": st.integers(1, 9),
            "num_classes": st.integers(1, 9),
            "output_stride": st.sampled_from([32, 16, 8]),
            "act_layer": st.sampled_from(["relu", "silu", "hard_swish"]),
            "norm_layer": st.sampled_from(["batchnorm2d", "layernorm2dfp32"]),
            "global_pool": st.sampled_from(["avg", "fastavg"]),
            "drop_rate": st.floats(0, 1),
            "zero_init_last": st.booleans(),
            "block_args": st.sampled_from([{}, {"attn_layer": "se"}, {"attn_layer": "se", "rd_ratio": 0.5}]),
        },
    ),
    st.sampled_from(["resnet18", "resnet50d", "senet154", "resnetblur50", "resnetrs50"]),
)
@settings(max_examples=50, deadline=None)
def test_arguments_and_fields_are_inverse(changes: dict[str, Any], name: str) -> None:
    """The arguments of a config, through JSON, give its fields back."""
    config = ResnetConfig.from_timm(name, **changes)
    arguments = json.loads(json.dumps(arguments_of(config)))

    assert ResnetConfig(block_type=config.block_type, **fields_of(arguments)) == config


def test_second_names_become_first_ones() -> None:
    """Second names that timm has for layers, and numbers that it ignores, become what the config knows."""
    arguments = {
        "act_layer": "hardswish",
        "norm_layer": "batch_norm",
        "aa_layer": "avgpool",
        "global_pool": "fast",
        "stem_type": "deep_tiered_narrow",
        "block_args": {"attn_layer": True},
        "drop_rate": 0,
        "stem_width": 64,
        "avg_down": None,
    }

    assert fields_of(arguments) == {
        "act_layer": "hard_swish",
        "norm_layer": "batchnorm2d",
        "aa_layer": "avg",
        "global_pool": "fastavg",
        "stem_type": "deep_tiered",
        "block_args": {"attn_layer": "se"},
        "drop_rate": 0.0,
        "stem_width": 64,
    }
    assert fields_of({"stem_width": 64, "down_kernel_size": 3, "avg_down": True}) == {"avg_down": True}


def test_arguments_change_a_network() -> None:
    """Beside a name, arguments replace what the network has, the arguments of its blocks as a whole."""
    found = fields_of({"stem_type": "", "block_args": {"attn_layer": "eca"}}, network="resnetrs50.tf_in1k")

    assert found == {
        "block_type": "bottleneck",
        "layers": (3, 4, 6, 3),
        "avg_down": True,
        "replace_stem_pool": True,
        "stem_type": "",
        "block_args": {"attn_layer": "eca"},
    }


UNSAID = {
    "a misspelt argument": (
        {"in_chan": 3},
        "in_chan: expected an argument of timm's ResNet that JSON can hold, found 3. Did you mean 'in_chans'?",
    ),
    "an argument of no residual network": (
        {"patch_size": 16},
        "patch_size: expected an argument of timm's ResNet that JSON can hold, found 16. It has no field",
    ),
    "an argument of the blocks": (
        {"block_args": {"attn_layer": "se", "cardinality": 2}},
        "block_args.cardinality: expected only 'attn_layer' and 'rd_ratio', found 2",
    ),
    "no arguments of the blocks": ({"block_args": "se"}, "block_args: expected a dict, found 'se'"),
}


@pytest.mark.parametrize(("arguments", "problem"), UNSAID.values(), ids=UNSAID)
def test_an_argument_that_is_no_field_is_refused(arguments: dict[str, Any], problem: str) -> None:
    """The error names the argument, also inside those of the blocks."""
    with pytest.raises(ConfigError) as error:
        fields_of(arguments)

    assert str(error.value) == f"timm's arguments: {problem}"
    assert [str(each) for each in error.value.problems] == [problem]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    text = VARIANTS.read_text(encoding="utf-8")
    before, _, rest = text.partition("# ---- the table\n")
    _, _, after = rest.partition("# ---- the end of the table\n")
    VARIANTS.write_text(
        f"{before}# ---- the table\n\n{table()}\n\n# ---- the end of the table\n{after}", encoding="utf-8"
    )
