"""Tags say what an architecture cannot do; laws read them, and nothing else can be said."""

from dataclasses import replace

import pytest

from nameplate_conformance import Tags, check
from nameplate_conformance.result import Result, Status
from nameplate_conformance.zoo import MUTANTS, reference


def judged(law: str, tags: Tags, mutant: str = "") -> Result:
    """Return what one law makes of a mutant, or of the reference, with other tags."""
    architecture = next((each.breed() for each in MUTANTS if each.name == mutant), reference())
    passive = architecture.tags.passive_fields
    judged_as = replace(architecture, tags=replace(tags, passive_fields=passive))
    (result,) = check(judged_as, laws=[law], profile="glance").results
    return result


def test_an_unknown_tag_is_refused():
    """A tag that no law reads cannot be given."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'batch_independant'"):
        Tags(batch_independant=False)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("mutant", "law", "tags"),
    [
        ("LooksAtOtherRows", "M13", Tags(batch_independent=False)),
        ("EscapesMeta", "M08", Tags(builds_on_meta=False)),
        ("ShortcutWhenExported", "K01", Tags(exportable=False)),
        ("BreaksTheGraph", "K02", Tags(compilable=False)),
        ("MasksWithAHugeNumber", "D09", Tags(half_precision=False)),
    ],
)
def test_a_tag_switches_its_law_off(mutant: str, law: str, tags: Tags):
    """What an architecture says that it cannot do is not asked of it."""
    assert judged(law, Tags(), mutant).status is Status.FAIL
    assert judged(law, tags, mutant).status is Status.NOT_APPLICABLE


def test_unused_parameters_are_named_by_patterns():
    """A parameter that is declared as unused needs no gradient; the others still do."""
    assert judged("T01", Tags(unused_parameters=("spare.*",)), "UnusedParameter").status is Status.PASS
    assert judged("T01", Tags(unused_parameters=("other.*",)), "UnusedParameter").status is Status.FAIL


def test_checkpointing_that_is_declared_must_be_there():
    """An architecture that says it can be checkpointed, and cannot, is not passed over."""
    result = judged("T03", Tags(gradient_checkpointing=True))

    assert result.status is Status.FAIL
    assert result.message == "the tag says True, supports_gradient_checkpointing False"


def test_a_passive_field_that_does_not_exist_is_noticed():
    """The name of a field that was renamed does not stay behind in a tag."""
    (result,) = check(replace(reference(), tags=Tags(passive_fields=("scales", "title"))), laws=["M12"]).results

    assert result.message == "declared as passive, but no field: title"
