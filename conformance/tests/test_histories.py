"""A machine that a law lets loose: what it finds is told with the steps that it takes, and no others."""

from typing import ClassVar

import pytest
import torch
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from nameplate_conformance import LawBrokenError
from nameplate_conformance.instruments.histories import HistoryMachine, judge_histories
from nameplate_conformance.judging.case import Case, simplest_kwargs
from nameplate_conformance.law import Evidence
from nameplate_conformance.zoo import reference


class Purse(HistoryMachine):
    """Holds so much, and tears when it holds too much."""

    most: ClassVar[int]

    def __init__(self) -> None:
        super().__init__()
        self.held = 0

    @rule(number=st.sampled_from([1, 5]))
    def put(self, number: int) -> None:
        """Put something in."""
        self.note("put", f"put {number}", number=number)
        self.held += number

    @rule()
    def shake(self) -> None:
        """Shake it, which changes nothing."""
        self.note("shake", "shake")

    @invariant()
    def look(self) -> None:
        """It is whole."""
        self.evidence.count("looks")
        if self.held > self.most:
            self.complain("it is torn")


@pytest.fixture(scope="module")
def case() -> Case:
    """Return a small case."""
    architecture = reference()
    return Case(architecture, "AutoModel", simplest_kwargs(architecture), torch.device("cpu"))


def test_a_history_is_told_with_the_steps_it_takes(case: Case):
    """Steps without which the law is broken all the same are left out of the message."""
    with pytest.raises(LawBrokenError) as caught:
        judge_histories(Purse, case, histories=10, steps=12, most=4, evidence=Evidence())

    assert str(caught.value) in {"after put 5: it is torn", f"after {', '.join(['put 1'] * 5)}: it is torn"}


def test_histories_without_a_fault_are_counted(case: Case):
    """Where nothing is wrong, each history is as long as it should be, and the same ones are drawn again."""
    found = []
    for _ in range(2):
        evidence = Evidence()
        judge_histories(Purse, case, histories=4, steps=6, most=1000, evidence=evidence)
        found.append(evidence.counts["looks"])

    assert found[0] == found[1] >= 4 * 6
