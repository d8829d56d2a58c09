"""Every law about models, on small models of every kind: nothing fails, is vacuous, or is skipped unnoticed."""

import pytest

from nameplate_conformance import Report, check
from nameplate_conformance.law import LEVELS, all_laws
from nameplate_conformance.result import Status
from nameplate_conformance.samples.models import SAMPLE_MODELS

LEVEL_OF_CONFIGS = LEVELS.index("config")
LAWS = [law.id for law in all_laws().values() if law.level != LEVEL_OF_CONFIGS]
ARCHITECTURES = {each.label: each for each in SAMPLE_MODELS}

NO_LABELS, NO_STAGES, NO_OTHER_HEAD, NO_CHECKPOINTS = "M15", "M16", "M18", "T02"
NO_CODE_THAT_TRAVELS = {"X02", "X03", "X06"}
NO_DENIALS, NO_ADMISSIONS = "H01", "H02"
NO_PLAN = "K08"
NO_HISTORY_NOR_RELATIVE = {"G01", "G03", "I04"}
USUAL = {
    *(NO_LABELS, NO_STAGES, NO_OTHER_HEAD, NO_CHECKPOINTS, NO_DENIALS, NO_ADMISSIONS, NO_PLAN),
    *(NO_CODE_THAT_TRAVELS | NO_HISTORY_NOR_RELATIVE),
}
NO_META = {"I02", "M08", "M11"}
NO_TENSORS = {
    *("D01", "D02", "D04", "D06", "I01", "I02", "I03", "M03", "M08", "M09", "S01", "S04", "S07", "S09", "S10", "S11"),
    *("S14", "S15", "S16", "S17", "S19", "T01", "T04", "T06", "D08", "K03", "X05"),
    *("F01", "F02", "F03", "F05", "F06", "F07", "F08", "F09", "I05", "K05", "K06", "K07", "Z02", "Z03"),
}
OTHERS_CANNOT = {"I02"}
TORCH_CANNOT = {"K09"}
BUILT_FOR_REAL = {"S18"}

INAPPLICABLE = {
    "sample_dtypes": USUAL | OTHERS_CANNOT | TORCH_CANNOT,
    "sample_shared_module": USUAL | OTHERS_CANNOT,
    "sample_nothing": USUAL | NO_TENSORS,
    "sample_views": USUAL | BUILT_FOR_REAL,
    "sample_parametrized": USUAL - {NO_CHECKPOINTS},
    "sample_lazy": USUAL - {NO_DENIALS} | NO_META | BUILT_FOR_REAL | {"M09"},
    "sample_reading": USUAL - {NO_DENIALS} | NO_META | BUILT_FOR_REAL,
    "sample_taught": USUAL - {NO_DENIALS} | NO_META,
    "sample_recurrent": USUAL - {NO_DENIALS} | {"K02", "K03"},
}
"""The laws that speak of something a model does not have, where they are not the usual ones."""


@pytest.fixture(scope="module", params=list(ARCHITECTURES))
def report(request: pytest.FixtureRequest) -> Report:
    """What the laws about models make of one of them."""
    return check(ARCHITECTURES[request.param], profile="glance", laws=LAWS)


def test_every_law_holds_or_is_known_not_to_apply(report: Report):
    """Each law passes with evidence, except those that are listed as inapplicable, which must be."""
    (label,) = report.architectures()
    inapplicable = INAPPLICABLE.get(label, USUAL)
    wrong = {
        result.law: f"{result.status.value}: {result.message} {result.counterexample}"
        for result in report.results
        if result.status is not (Status.NOT_APPLICABLE if result.law in inapplicable else Status.PASS)
    }

    assert wrong == {}


def test_every_model_has_a_name_of_its_own():
    """No two samples share a label, under which a report would mix them."""
    assert len(ARCHITECTURES) == len(SAMPLE_MODELS) >= 12
