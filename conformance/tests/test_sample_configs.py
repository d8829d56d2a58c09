"""Every law about configs, on config classes of every style: nothing fails, is vacuous, or is skipped unnoticed."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import strategies as st

from nameplate_conformance import Architecture, Report, check
from nameplate_conformance.judging.references import named
from nameplate_conformance.law import LEVELS, all_laws
from nameplate_conformance.result import Status
from nameplate_conformance.samples.architectures import SAMPLES

LEVEL_OF_CONFIGS = LEVELS.index("config")
HARNESS = {"A02", "A03"}
ABOUT_NAMES = {"R01", "R02", "R03", "R04", "R05", "R07", "R08", "R09", "R10", "X01", "X04", "Z01"}
CONFIG_LAWS = [law.id for law in all_laws().values() if law.level == LEVEL_OF_CONFIGS]


def seed_configs() -> ModuleType:
    """Import the file beside this one that holds the classes of the seeds as they were written."""
    spec = importlib.util.spec_from_file_location("seed_configs", Path(__file__).with_name("seed_configs.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SEEDS = seed_configs()
SEED_RESNET = Architecture(
    config=SEEDS.ResnetConfig,
    name="seed_resnet",
    fields={
        "block_type": st.sampled_from(["basic", "bottleneck"]),
        "layers": st.lists(st.integers(1, 3), min_size=1, max_size=4),
        "num_classes": st.integers(2, 4),
        "stem_type": st.sampled_from(["", "deep"]),
    },
)
SEED_ALIAS = Architecture(config=SEEDS.MyModelConfig, name="seed_my_model", fields={"d_model": st.integers(1, 16)})
ARCHITECTURES = {each.label: each for each in (*SAMPLES, SEED_RESNET, SEED_ALIAS, named("nameplate_resnet"))}

NO_ALIAS, NO_PART, NOTHING_TYPED, NO_MODULE, NO_PACKAGE = "C11", "C15", "C12", "C16", "R05"

INAPPLICABLE = {
    "sample_every_kind": {NO_ALIAS, NO_PART},
    "sample_containers": {NO_ALIAS, NO_PART},
    "sample_unions": {NO_ALIAS, NO_PART},
    "sample_bounded": {NO_ALIAS, NO_PART},
    "sample_versioned": {NO_ALIAS, NO_PART},
    "sample_grandchild": {NO_PART},
    "sample_labelled": {NO_ALIAS, NO_PART},
    "sample_renamed_labels": {NO_PART},
    "sample_branch": {NO_ALIAS},
    "sample_tree": {NO_ALIAS},
    "sample_two_towers": {NO_ALIAS},
    "sample_node": {NO_ALIAS},
    "sample_base_last": {NO_ALIAS, NO_PART},
    "sample_base_forgotten": {NO_ALIAS, NO_PART, NOTHING_TYPED},
    "sample_base_first": {NO_ALIAS, NO_PART},
    "sample_plain_over_annotated": {NO_PART},
    "sample_annotated_over_plain": {NO_PART},
    "sample_required_argument": {NO_ALIAS, NO_PART},
    "seed_resnet": {NO_ALIAS, NO_PART, NOTHING_TYPED, NO_MODULE, NO_PACKAGE},
    "seed_my_model": {NO_PART, NOTHING_TYPED, NO_MODULE, NO_PACKAGE},
    "nameplate_resnet": set(),
}
"""The laws that speak of something a config does not have. Anything else that is not judged is a gap."""


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def report(request: pytest.FixtureRequest) -> Report:
    """What the laws about configs and their names, and the one that they stand on, make of one config class."""
    architecture = ARCHITECTURES[request.param]
    names = [] if architecture.models else sorted(ABOUT_NAMES)  # with models, they are judged where those are
    return check(architecture, laws=["A01", *CONFIG_LAWS, *names])


def test_every_law_holds_or_is_known_not_to_apply(report: Report):
    """Each law passes with evidence, except those that are listed as inapplicable, which must be."""
    (label,) = report.architectures()
    wrong = {
        result.law: f"{result.status.value}: {result.message} {result.counterexample}"
        for result in report.results
        if result.status is not (Status.NOT_APPLICABLE if result.law in INAPPLICABLE[label] else Status.PASS)
    }

    assert wrong == {}


def test_every_law_is_judged_somewhere():
    """No law about configs is inapplicable to all samples."""
    assert not set.intersection(*INAPPLICABLE.values())


def test_a_config_without_a_model_is_judged_as_far_as_it_goes():
    """Laws that need a model do not apply to a config alone; those about configs and their names do."""
    results = check(SEED_ALIAS, profile="smoke").results
    above = {law.id for law in all_laws().values() if law.level > LEVEL_OF_CONFIGS} - ABOUT_NAMES
    about_models = [each for each in results if each.law in above | HARNESS]

    assert about_models
    assert {each.status for each in about_models} == {Status.NOT_APPLICABLE}, [each.message for each in about_models]
    assert {each.message for each in about_models} == {"the architecture has a config and no model"}
