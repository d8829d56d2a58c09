"""How the package is judged: what it promises of its answers, of timm and of its released versions holds."""

from importlib.metadata import entry_points, version
from pathlib import Path
from typing import Any

import pytest
import torch

from nameplate_conformance.instruments.answers import require_promised
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.runner import HOST, Runner
from nameplate_conformance.law import all_laws
from nameplate_conformance.records.golden import goldens
from nameplate_conformance.result import Status
from nameplate_resnet import ResnetConfig
from nameplate_resnet.architecture import ARCHITECTURE as ANNOUNCED
from nameplate_resnet.conformance import ARCHITECTURE, TIMM
from nameplate_resnet.network_resnet import build_resnet

LARGEST_GOLDEN_FOLDER = 400_000
"""Bytes: every installation carries it."""


def test_it_is_announced():
    """The suite finds it by the name of the architecture, with every head that is announced to the registry."""
    (point,) = entry_points(group="nameplate.conformance", name=ResnetConfig.model_type)

    assert point.load() is ARCHITECTURE
    assert {"AutoConfig", *ARCHITECTURE.models} == ANNOUNCED.keys()


@pytest.mark.parametrize("law", ["G01", "G03", "I04", "M15"])
def test_history_and_timm_are_as_declared(law: str):
    """What version 0.1.0 saved still loads, what timm saves is read to the last bit, and losses are as documented."""
    found = Runner(profile="smoke").attempt(Cell(ARCHITECTURE, all_laws()[law], HOST))

    assert (found.status, found.message) == (Status.PASS, "")


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "deep": {"stem_type": "deep_tiered", "stem_width": 8},
    "dilated": {"output_stride": 8, "replace_stem_pool": True},
    "pooled twice": {"global_pool": "catavgmax", "aa_layer": "blur"},
    "mixed": {"block_type": ("basic", "bottleneck", "basic", "bottleneck"), "output_stride": 16, "avg_down": True},
}


@pytest.mark.parametrize("head", ARCHITECTURE.models)
@pytest.mark.parametrize("size", [32, 41])
@pytest.mark.parametrize("values", KINDS.values(), ids=KINDS)
def test_shapes_are_as_promised(head: str, size: int, values: dict[str, Any]):
    """Every stage halves the sides and rounds up, and a backbone answers the stages that its config names."""
    config = ResnetConfig(layers=(1, 1, 1, 1), channels=(4, 4, 4, 8), num_classes=3, out_indices=(0, 2, -1), **values)
    model = ARCHITECTURE.model_class(head)(config).eval()
    inputs = {"pixel_values": torch.rand(2, 3, size, size)}
    labels = {
        "AutoModelForImageClassification": torch.tensor([0, 2]),
        "AutoModelForSemanticSegmentation": torch.zeros(2, size, size, dtype=torch.long),
    }
    inputs |= {"labels": labels[head]} if head in labels else {}
    with torch.no_grad():
        answer = model(**inputs)

    assert require_promised(ARCHITECTURE, head, config, inputs, answer) >= 2


TOLD: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "all of it": ({"norm_layer": "layernorm2d", "block_args": {"attn_layer": "cbam"}}, {}),
    "blocks of no network": (
        {"block_type": ("basic", "bottleneck", "basic", "bottleneck")},
        {"block_type": ("basic", "basic", "bottleneck", "basic")},
    ),
    "a ratio of no network": (
        {"block_args": {"attn_layer": "gc", "rd_ratio": 0.25}},
        {"block_args": {"rd_ratio": None}},
    ),
    "blur and blocks of two kinds": (
        {"block_type": ("basic", "basic", "bottleneck", "basic"), "aa_layer": "avg"},
        {"aa_layer": None},
    ),
}


@pytest.mark.parametrize(("values", "left_out"), TOLD.values(), ids=TOLD)
def test_timm_is_compared_on_what_it_can_be_told(values: dict[str, Any], left_out: dict[str, Any]):
    """Where JSON cannot hold a part of a config, timm makes the network without that part, and saves that one."""
    config = ResnetConfig(layers=(1, 1, 1, 1), channels=(4, 4, 4, 8), num_classes=3, **values)
    plainer = config.copy(**left_out)

    assert repr(TIMM.make(config)) == repr(build_resnet(plainer, num_classes=3))


def test_the_present_version_has_a_golden_folder_of_its_own():
    """A release without one could not be held to anything; it is small, since everybody installs it."""
    found = [each for each in goldens(ARCHITECTURE) if each.version == version("nameplate-resnet")]
    size = sum(file.stat().st_size for file in Path(found[0].folder).rglob("*") if file.is_file())

    assert {each.head for each in found} == set(ARCHITECTURE.models)
    assert size < LARGEST_GOLDEN_FOLDER
