"""Machines that a law lets loose: hypothesis draws what is done, and of a history that breaks the law few steps remain.

Hypothesis could make a history small as well, but takes hundreds of attempts, each of which saves and loads. Here
steps are left out one after another, as long as the law stays broken.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, ClassVar, NamedTuple
from zlib import crc32

import hypothesis
from hypothesis import HealthCheck, Phase, Verbosity, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.bits import every_tensor
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import Evidence, broken

_LEAST, _TENSORS = 3, 300


class Step(NamedTuple):
    """Something that was done.

    Attributes:
        rule: The name of the rule.
        values: What was drawn for it.
    """

    rule: str
    values: Mapping[str, Any]


class HistoryMachine(RuleBasedStateMachine):
    """A machine that remembers what was done to it.

    A rule begins with `note`, and says with `complain` that the law does not hold.

    Attributes:
        case: What is judged.
        evidence: Counts what is compared.
    """

    case: ClassVar[Case]
    evidence: ClassVar[Evidence]
    latest: ClassVar[list[Step]] = []
    """The steps of the machine that was made last."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        type(self).latest = self.steps = list[Step]()

    def note(self, rule: str, text: str, **values: Any) -> None:
        """Remember a step: how it is done again, and how a message calls it."""
        self.steps.append(Step(rule, values))
        self.texts.append(text)

    @property
    def when(self) -> str:
        """After which steps, as messages begin."""
        return f"after {', '.join(self.texts) or 'nothing'}: "

    def complain(self, wrong: str) -> None:
        """Say that the law does not hold, and after which steps."""
        broken(f"{self.when}{wrong}")

    def look(self) -> None:
        """Compare everything with what it should be; an invariant does the same."""
        raise NotImplementedError


def enough(case: Case, histories: int) -> int:
    """Return how many histories to judge: fewer of a model with many tensors, which takes longer at each step."""
    return max(_LEAST, min(histories, _TENSORS // max(1, len(every_tensor(case.model())))))


def judge_histories(machine: type[HistoryMachine], case: Case, *, histories: int, steps: int, **body: Any) -> None:
    """Let hypothesis draw histories, others for every case, and judge each.

    Args:
        machine: What it is done to.
        case: Decides what is drawn.
        histories: How many, of a small model; see `enough`.
        steps: How long each is.
        **body: Attributes of the machine beside its case.

    Raises:
        LawBrokenError: If one broke the law; the message names the steps that are needed for that.
    """
    made: type[HistoryMachine] = type(machine.__name__, (machine,), {"case": case, **body})
    hypothesis.seed(crc32(f"{case.kwargs} {case.seed}".encode()))(made)
    try:
        run_state_machine_as_test(made, settings=_settings(enough(case, histories), steps), _min_steps=steps)  # type: ignore[no-untyped-call]
    except Exception as error:  # noqa: BLE001 - raised again, of a shorter history
        shorter = _shortened(made, list(made.latest), type(error))
        raise (shorter or error) from None


def _settings(histories: int, steps: int) -> settings:
    return settings(
        max_examples=histories,
        stateful_step_count=steps,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        report_multiple_bugs=False,
        print_blob=False,
        verbosity=Verbosity.quiet,
        suppress_health_check=list(HealthCheck),
    )


def _shortened(machine: type[HistoryMachine], steps: list[Step], kind: type[Exception]) -> Exception | None:
    """Leave out every step without which the law is broken all the same; return what the last history raised."""
    found: Exception | None = None
    for place in reversed(range(len(steps))):
        fewer = steps[:place] + steps[place + 1 :]
        error = _replayed(machine, fewer)
        if isinstance(error, kind):
            steps, found = fewer, error
    return found


def _replayed(machine: Callable[[], HistoryMachine], steps: list[Step]) -> Exception | None:
    """Do these steps and return what they raise; a step that is not possible is no history."""
    made = machine()
    try:
        for step in steps:
            getattr(made, step.rule)(**step.values)
            made.look()
    except LawBrokenError as error:
        return error
    except Exception as error:  # noqa: BLE001 - as the law itself may end
        return error
    finally:
        with suppress(Exception):
            made.teardown()
    return None
