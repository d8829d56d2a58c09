"""Tags are tested and not trusted, and a run can be had again, here and in another process."""

from dataclasses import dataclass, field, replace

import pytest

from nameplate_conformance import Architecture, LawBrokenError, Tags
from nameplate_conformance.instruments.account import account_elsewhere, account_of, difference
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.runner import Runner
from nameplate_conformance.law import all_laws
from nameplate_conformance.result import Result, Status
from nameplate_conformance.samples.models import SAMPLE_MODELS
from nameplate_conformance.zoo import MUTANTS, reference

SAMPLES = {each.label: each for each in SAMPLE_MODELS}


def attempted(law: str, architecture: Architecture) -> Result:
    """Return what one law makes of an architecture."""
    return Runner(profile="glance").attempt(Cell(architecture, all_laws()[law], "cpu"))


def bred(name: str, tags: Tags) -> Architecture:
    """Return a mutant with other tags."""
    architecture = next(each.breed() for each in MUTANTS if each.name == name)
    return replace(architecture, tags=replace(tags, passive_fields=architecture.tags.passive_fields))


@pytest.mark.parametrize("label", ["sample_recurrent", "sample_lazy", "sample_reading"])
def test_tags_of_the_samples_are_witnessed(label: str):
    """What the samples deny would really fail."""
    result = attempted("H01", SAMPLES[label])

    assert result.status is Status.PASS, result.message
    assert result.evidence == {"tags": 1}


@pytest.mark.parametrize(
    ("mutant", "tags"),
    [
        ("LooksAtOtherRows", Tags(batch_independent=False)),
        ("MasksWithAHugeNumber", Tags(half_precision=False)),
        ("UnusedParameter", Tags(unused_parameters=("spare.*",))),
    ],
)
def test_a_denial_that_is_true_is_witnessed(mutant: str, tags: Tags):
    """A tag that excuses a mutant's mistake is true."""
    assert attempted("H01", bred(mutant, tags)).status is Status.PASS


def test_one_of_two_patterns_may_be_stale():
    """Each pattern of unused parameters is witnessed by itself."""
    result = attempted("H01", bred("UnusedParameter", Tags(unused_parameters=("spare.*", "norm.*"))))

    assert result.status is Status.FAIL
    assert result.message == ("the tag unused_parameters='norm.*' is stale: without it nothing fails in T01; remove it")


def test_an_account_says_which_examples_were_judged():
    """Each law's account has its examples, its verdict and its evidence."""
    (entry,) = account_of(reference(), ["C01"])

    assert entry["law"] == "C01"
    assert entry["verdict"][0] == "pass"
    assert len(entry["examples"]) > 1
    assert entry["evidence"]


def test_accounts_of_one_seed_are_equal_and_others_differ():
    """The difference of two accounts is the first example that is not the same."""
    one, other = account_of(reference(), ["C01"]), account_of(replace(reference(), name="another"), ["C01"])
    changed = [{**other[0], "examples": ["none of these", *other[0]["examples"][1:]]}]

    assert difference(one, other) == ""
    assert difference(one, changed).endswith(" then 'none of these'")


def test_another_process_gives_the_same_account():
    """What can be imported elsewhere is judged there, with the same outcome."""
    assert account_elsewhere(reference(), ["C01"]) == account_of(reference(), ["C01"])


def test_what_another_process_cannot_import_has_no_account_there():
    """A class that a function made is known to this process alone."""
    assert account_elsewhere(MUTANTS[0].breed(), ["C01"]) is None


class Bomb:
    """Raises where it is unpacked."""

    def __reduce__(self) -> tuple[object, ...]:
        """Return a call that fails."""
        return int, ("no number",)


@dataclass(frozen=True, kw_only=True)
class Fragile(Architecture):
    """An architecture that another process cannot unpack."""

    config: str = "nameplate_conformance.zoo.reference:ZooConfig"
    bomb: object = field(default_factory=Bomb)


def test_a_failure_of_another_process_breaks_the_law():
    """What the other process raises is told, and it answers the next question all the same."""
    with pytest.raises(LawBrokenError, match=r"another process fails: [^\0]*ValueError"):
        account_elsewhere(Fragile(), ["C01"])

    assert account_elsewhere(reference(), ["C04"]) is not None
