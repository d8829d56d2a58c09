"""`ResnetConfig` and timm: what it accepts is what timm builds, and no field of it is ignored."""

import inspect
import re
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from timm.layers import BlurPool2d, create_act, create_attn, create_norm, get_act_layer, get_attn, get_norm_layer
from timm.models.resnet import BasicBlock, Bottleneck, ResNet
from torch import Tensor, nn

from nameplate_config import BackboneConfigMixin, ConfigError, fields
from nameplate_resnet import ResnetBackbone, ResnetConfig, ResnetModelForImageClassification
from nameplate_resnet.configuration_resnet import Activation, Attention, Normalization, Pooling
from nameplate_resnet.network_resnet import build_resnet

TIMM_NAMES = {
    "base_width": "base_width",
    "cardinality": "cardinality",
    "channels": "channels",
    "input_channels": "in_chans",
    "num_classes": "num_classes",
    "stem_type": "stem_type",
    "stem_width": "stem_width",
    "replace_stem_pool": "replace_stem_pool",
    "avg_down": "avg_down",
    "down_kernel_size": "down_kernel_size",
    "block_reduce_first": "block_reduce_first",
    "output_stride": "output_stride",
    "act_layer": "act_layer",
    "norm_layer": "norm_layer",
    "aa_layer": "aa_layer",
    "drop_rate": "drop_rate",
    "drop_path_rate": "drop_path_rate",
    "drop_block_rate": "drop_block_rate",
    "zero_init_last": "zero_init_last",
    "global_pool": "global_pool",
}
"""What timm calls the fields; only the block and the depths have no default there."""

BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}
BLURS = {None: None, "avg": nn.AvgPool2d, "blur": BlurPool2d, "blurpc": partial(BlurPool2d, pad_mode="constant")}

# ---- defaults


@pytest.mark.parametrize("field", TIMM_NAMES)
def test_a_default_is_that_of_timm(field: str) -> None:
    """A field that is not given means what it means to timm."""
    default = inspect.signature(ResNet).parameters[TIMM_NAMES[field]].default
    layers = {"act_layer": get_act_layer, "norm_layer": get_norm_layer}
    found = getattr(ResnetConfig(), field)

    assert (layers[field](found) if field in layers else found) == default


def test_every_field_is_compared_with_timm() -> None:
    """The table of names above misses no field."""
    assert {field.name for field in fields(ResnetConfig)} == {
        *TIMM_NAMES,
        *("block_type", "layers", "block_args", "pruned"),
        *("problem_type", "label_smoothing"),
        *BackboneConfigMixin._rivals,
    }


# ---- what is accepted

WIDTHS = st.one_of(st.tuples(*[st.integers(1, 8)] * 4), st.just((4, 8, 4, 8)), st.just((32, 32, 32, 32)))
BLOCK = st.sampled_from(["basic", "bottleneck"])
RATE = st.sampled_from([0.0, 0.0, 0.25, 1.0])


def mostly(usual: Any, *others: Any) -> st.SearchStrategy[Any]:
    """Return a strategy of values of which one is usual: were none, hardly anything would fit together."""
    return st.sampled_from([*[usual] * len(others), *others])


VALUES = st.fixed_dictionaries(
    {
        "block_type": BLOCK | st.tuples(*[BLOCK] * 4).filter(lambda blocks: len(set(blocks)) > 1),
        "layers": st.tuples(*[st.integers(1, 2)] * 4),
        "channels": WIDTHS,
        "num_classes": st.integers(1, 4),
        "input_channels": st.integers(1, 4),
        "cardinality": mostly(1, 2, 3),
        "base_width": mostly(64, 1, 8, 32, 128),
        "stem_type": st.sampled_from(["", "deep", "deep_tiered"]),
        "stem_width": mostly(64, 1, 3, 4, 8),
        "replace_stem_pool": st.booleans(),
        "avg_down": st.booleans(),
        "down_kernel_size": mostly(1, 2, 3, 5),
        "block_reduce_first": mostly(1, 2, 3),
        "output_stride": st.sampled_from([32, 16, 8]),
        "act_layer": st.sampled_from(get_args(Activation)),
        "norm_layer": mostly("batchnorm2d", *get_args(Normalization)),
        "aa_layer": mostly(None, "avg", "blur", "blurpc"),
        "block_args": st.fixed_dictionaries(
            {"attn_layer": mostly(None, *get_args(Attention)), "rd_ratio": mostly(None, 0.25, 1.0)}
        ),
        "drop_rate": RATE,
        "drop_path_rate": RATE,
        "drop_block_rate": RATE,
        "zero_init_last": st.booleans(),
        "global_pool": st.sampled_from(get_args(Pooling)),
    }
)


def of_timm(values: dict[str, Any]) -> ResNet:
    """Return timm's own network for values, built without our code."""
    blocks = values["block_type"]
    block: Any = BLOCKS[blocks] if isinstance(blocks, str) else [BLOCKS[each] for each in blocks]
    arguments = {theirs: values[ours] for ours, theirs in TIMM_NAMES.items()}
    arguments["aa_layer"] = BLURS[values["aa_layer"]]
    attention, ratio = values["block_args"]["attn_layer"], values["block_args"]["rd_ratio"]
    if attention is not None:
        arguments["block_args"] = {"attn_layer": ratioed(attention, ratio)}
    return ResNet(block, values["layers"], **arguments)


def ratioed(attention: str, ratio: float | None) -> Any:
    """Return timm's class of an attention, with a ratio if there is one."""
    return get_attn(attention) if ratio is None else partial(get_attn(attention), rd_ratio=ratio)


def timm_builds_and_runs(values: dict[str, Any]) -> bool:
    """Whether timm accepts the values without complaint, learns and answers, and heeds each of them."""
    images = torch.zeros(2, values["input_channels"], 32, 32)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # torch merely warns of a layer without channels
            network = of_timm(values)
            network(images).sum().backward()
            logits = network.eval()(images)
            heeded = all(is_heeded(values, *each) for each in (("stem_width", 64), ("down_kernel_size", 1)))
            heeded = heeded and is_ratio_heeded(**values["block_args"])
    except (AssertionError, RuntimeError, TypeError, UserWarning, ValueError):
        return False
    return heeded and bool(logits.isfinite().all()) and logits.shape == (2, values["num_classes"])


def is_heeded(values: dict[str, Any], field: str, default: Any) -> bool:
    """Whether a value that is not the default makes other modules than the default does."""
    return values[field] == default or repr(of_timm(values)) != repr(of_timm({**values, field: default}))


def is_ratio_heeded(*, attn_layer: str | None, rd_ratio: float | None) -> bool:
    """Whether a ratio makes another attention: for many channels, since few are rounded."""
    if attn_layer is None or rd_ratio is None:
        return rd_ratio is None
    return repr(create_attn(ratioed(attn_layer, rd_ratio), 512)) != repr(create_attn(attn_layer, 512))


TINY: dict[str, Any] = {
    "block_type": "bottleneck",
    "layers": (1, 1, 1, 1),
    "channels": (4, 4, 4, 4),
    "num_classes": 2,
    "input_channels": 1,
    "cardinality": 1,
    "base_width": 64,
    "stem_type": "",
    "stem_width": 64,
    "replace_stem_pool": False,
    "avg_down": False,
    "down_kernel_size": 1,
    "block_reduce_first": 1,
    "output_stride": 32,
    "act_layer": "relu",
    "norm_layer": "batchnorm2d",
    "aa_layer": None,
    "block_args": {"attn_layer": None, "rd_ratio": None},
    "drop_rate": 0.0,
    "drop_path_rate": 0.0,
    "drop_block_rate": 0.0,
    "zero_init_last": True,
    "global_pool": "avg",
}


def attended(attention: str, ratio: float | None = None) -> dict[str, Any]:
    """Return the values of a tiny network with an attention."""
    return TINY | {"block_args": {"attn_layer": attention, "rd_ratio": ratio}}


@given(VALUES)
@example(TINY)
@example(TINY | {"channels": (1, 4, 4, 4), "base_width": 32})
@example(TINY | {"channels": (2, 4, 4, 4), "base_width": 32})
@example(TINY | {"stem_type": "deep_tiered", "stem_width": 3})
@example(TINY | {"stem_type": "deep_tiered", "stem_width": 4})
@example(TINY | {"block_reduce_first": 4})
@example(TINY | {"block_reduce_first": 5})
@example(TINY | {"block_reduce_first": 4, "cardinality": 2})
@example(TINY | {"block_reduce_first": 3, "cardinality": 2, "base_width": 96})
@example(TINY | {"down_kernel_size": 3})
@example(TINY | {"down_kernel_size": 4})
@example(TINY | {"down_kernel_size": 3, "avg_down": True})
@example(TINY | {"norm_layer": "groupnorm", "channels": (32, 32, 32, 32)})
@example(TINY | {"norm_layer": "groupnorm", "channels": (32, 32, 32, 32), "stem_type": "deep_tiered"})
@example(TINY | {"norm_layer": "groupnorm", "channels": (32, 32, 32, 40)})
@example(TINY | {"aa_layer": "blurpc"})
@example(TINY | {"aa_layer": "blurpc", "replace_stem_pool": True})
@example(attended("lambda") | {"block_type": "basic", "channels": (4, 6, 4, 4)})
@example(attended("sk") | {"block_type": "basic", "channels": (4, 4, 3, 4)})
@example(attended("splat") | {"block_type": "basic", "channels": (4, 4, 6, 4)})
@example(attended("eca", 0.25))
@example(attended("cbam", 0.25))
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


def fitting(values: dict[str, Any]) -> dict[str, Any]:
    """Return values in which all that the config refuses is as in the tiny network."""
    try:
        ResnetConfig(**values)
    except ConfigError as error:
        refused = {re.split(r"[.\[]", problem.path)[0] for problem in error.problems}
        return fitting(values | {name: TINY[name] for name in refused})
    return values


@given(VALUES.map(fitting))
@settings(max_examples=40, deadline=None)
def test_what_is_accepted_is_the_network_of_timm(values: dict[str, Any]) -> None:
    """A config that is accepted builds timm's network: the same modules, drawn alike, with the same answers."""
    config = ResnetConfig(**values)
    ours, theirs = seeded(lambda: build_resnet(config, num_classes=2)), seeded(lambda: of_timm(values | CLASSES))
    images = torch.rand(2, config.input_channels, 32, 32, generator=torch.Generator().manual_seed(1))

    assert repr(ours) == repr(theirs)
    assert state_of(ours).keys() == state_of(theirs).keys()
    assert all(torch.equal(tensor, state_of(theirs)[key]) for key, tensor in state_of(ours).items())
    assert torch.equal(seeded(lambda: ours(images)), seeded(lambda: theirs(images)))
    assert torch.equal(ours.eval()(images), theirs.eval()(images))


CLASSES = {"num_classes": 2}


def seeded(action: Callable[[], Any]) -> Any:
    """Return what an action returns, with the same randomness each time."""
    torch.manual_seed(0)
    return action()


def state_of(network: nn.Module) -> dict[str, Tensor]:
    """Return every tensor of a network, those that are not saved too."""
    return {**dict(network.named_parameters()), **dict(network.named_buffers())}


def test_the_oracle_can_say_no() -> None:
    """The judge of the property above accepts the tiny network and refuses those that are wrong or in part ignored."""
    assert timm_builds_and_runs(TINY)
    assert not timm_builds_and_runs(TINY | {"block_type": "basic", "cardinality": 2})
    assert not timm_builds_and_runs(TINY | {"stem_width": 8})
    assert not timm_builds_and_runs(attended("ese", 0.25))


# ---- the choices

SECOND_NAMES = {"swish", "hardswish", "hardsigmoid", "batchnorm"}


def choices_of_timm() -> dict[str, list[str]]:
    """Return every name that timm has for a layer."""
    return {
        "act_layer": list(create_act._ACT_LAYER_DEFAULT),
        "norm_layer": list(create_norm._NORM_MAP),
        "attn_layer": re.findall(r"attn_type == '(\w+)'", inspect.getsource(get_attn)),
        "global_pool": [kind + pool for kind in ("", "fast") for pool in ("avg", "max", "avgmax", "catavgmax", "")],
    }


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("act_layer", get_args(Activation)),
        ("norm_layer", get_args(Normalization)),
        ("attn_layer", get_args(Attention)),
        ("global_pool", get_args(Pooling)),
    ],
)
def test_the_choices_are_those_that_work_in_timm(field: str, known: tuple[str, ...]) -> None:
    """Of all layers that timm names, the config knows exactly those that a ResNet can use, each by one name."""
    names = [name for name in choices_of_timm()[field] if name not in SECOND_NAMES | {"fast"}]
    roomy = {"channels": (32, 32, 32, 32)}
    values = {name: (attended(name) if field == "attn_layer" else TINY | {field: name}) | roomy for name in names}

    assert [name for name in names if timm_builds_and_runs(values[name])] == sorted(known, key=names.index)


CHANGES: dict[str, tuple[dict[str, Any], Any]] = {
    "block_type": ({}, "basic"),
    "layers": ({}, (1, 2, 1, 1)),
    "channels": ({}, (4, 4, 4, 8)),
    "num_classes": ({}, 3),
    "input_channels": ({}, 3),
    "cardinality": ({}, 2),
    "base_width": ({}, 128),
    "stem_type": ({}, "deep"),
    "stem_width": ({"stem_type": "deep"}, 8),
    "replace_stem_pool": ({}, True),
    "avg_down": ({}, True),
    "down_kernel_size": ({}, 3),
    "block_reduce_first": ({}, 2),
    "output_stride": ({}, 16),
    "act_layer": ({}, "silu"),
    "norm_layer": ({}, "layernorm2d"),
    "aa_layer": ({}, "blur"),
    "block_args": ({}, {"attn_layer": "se"}),
    "drop_rate": ({}, 0.5),
    "drop_path_rate": ({}, 0.9),
    "drop_block_rate": ({}, 0.9),
    "zero_init_last": ({}, False),
    "global_pool": ({}, "max"),
    "problem_type": ({"num_classes": 2}, "multi_label_classification"),
    "label_smoothing": ({"num_classes": 2}, 0.5),
    "out_features": ({}, ("stem",)),
    "out_indices": ({}, (0,)),
}
"""For each field a value that is not the tiny one, beside what it needs."""


@pytest.mark.parametrize("field", CHANGES)
def test_no_field_is_dead(field: str) -> None:
    """Changing any one field changes what a network is built of, how it starts, or what it answers in training."""
    beside, value = CHANGES[field]
    values = TINY | {"zero_init_last": False} | beside
    before = ResnetConfig(**values)
    after = ResnetConfig(**(values | {field: not before.zero_init_last if field == "zero_init_last" else value}))

    assert traces(before) != traces(after)


def traces(config: ResnetConfig) -> list[Any]:
    """Return all that can be seen of a config in its models."""
    model = seeded(lambda: ResnetModelForImageClassification(config))
    images = torch.rand(4, config.input_channels, 32, 32, generator=torch.Generator().manual_seed(1))
    labels = torch.eye(2)[[0, 1, 0, 1]] if config.problem_type else torch.tensor([0, 1, 0, 1])
    started = {key: tensor.tolist() for key, tensor in model.state_dict().items()}
    answer = seeded(lambda: model(images, labels))
    maps = ResnetBackbone(config)(images).feature_maps
    return [repr(model), started, answer["logits"].tolist(), answer["loss"].item(), [each.shape for each in maps]]


def test_every_field_is_known_not_to_be_dead() -> None:
    """The table above misses no field but the name of a pruned network, whose widths other tests look at."""
    assert CHANGES.keys() == {field.name for field in fields(ResnetConfig)} - {"pruned"}
