"""One law being tried on examples: which ones, in which order, and what becomes of those that break it.

Covering rows come first, each judged as it is; then drawn ones, which hypothesis makes small. What a verdict means
for other laws is `runner`.
"""

import errno
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from hypothesis.database import ExampleDatabase
from hypothesis.errors import Flaky, HypothesisException, Unsatisfiable

from nameplate_config.wording import brief, did_you_mean, listed, sentences
from nameplate_conformance.architecture import Architecture, auto_classes
from nameplate_conformance.drawing.coverage import minimised, rows
from nameplate_conformance.drawing.strategies import Kwargs, config_kwargs
from nameplate_conformance.errors import ConformanceError, LawBrokenError, NotApplicableError
from nameplate_conformance.judging.admission import in_force
from nameplate_conformance.judging.case import Case, simplest_kwargs
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.deadline import OverrunError, within
from nameplate_conformance.judging.isolation import isolated, saved_without_code
from nameplate_conformance.judging.profiles import Profile
from nameplate_conformance.law import LEVELS, Evidence, Law, Scope
from nameplate_conformance.result import Result, Status

_NO_HEAD = ""
_CONFIG_LEVEL = LEVELS.index("config")
_SEEDS = 4
_LEAST = 5
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_ENDINGS = (SystemExit, pytest.skip.Exception, pytest.fail.Exception, pytest.exit.Exception)
"""What ends a process or a test. Raised by a model it must end neither the run nor, as a skip, the test."""


@dataclass
class Trial:
    """One law being tried: collects the evidence and remembers the last example.

    Attributes:
        cell: The law, the architecture and the device.
        profile: How closely to look.
        seed: Decides which examples are drawn; None draws the same ones every time.
        database: Where hypothesis keeps examples that failed; None keeps none.
    """

    cell: Cell
    profile: Profile
    seed: int | None = None
    database: ExampleDatabase | None = None
    evidence: Evidence = field(default_factory=Evidence)
    examples: int = 0
    last: tuple[str, Kwargs | None, int] = (_NO_HEAD, None, 0)
    inapplicable: str = ""
    ends: float = float("inf")
    broke: bool = False

    def result(self) -> Result:
        """Try the law and return what was found."""
        try:
            self._run()
        except LawBrokenError as error:
            return self._failed(str(error), apart=error.apart)
        except OverrunError:
            return self._failed(f"did not end within {self.profile.patience:g} seconds")
        except _ENDINGS as error:  # by a config, while examples were looked for
            return self._failed(_ending(error))
        except (ConformanceError, Flaky, Unsatisfiable, HypothesisException) as error:
            return self._failed(f"{type(error).__name__}: {error}", Status.ERROR)
        except Exception as error:  # noqa: BLE001 - whatever an architecture raises is its verdict, not our crash
            status = Status.ERROR if _is_full(error) else Status.FAIL
            return self._failed(f"raised {type(error).__name__}: {brief(error)}", status)
        if self.inapplicable and not self.evidence.counts:
            return self._found(Status.NOT_APPLICABLE, message=self.inapplicable)
        if not self.evidence.counts:
            return self._found(Status.VACUOUS, message="nothing was compared, so nothing was shown")
        return self._found(Status.PASS)

    def _run(self) -> None:
        architecture, law = self.cell.architecture, self.cell.law
        heads = _heads(architecture) or [_NO_HEAD]
        if law.scope is Scope.ONCE:
            for head in heads:
                with within(self.profile.patience):  # sizes that nobody marked are found by building models
                    simplest = simplest_kwargs(architecture)
                self._example(head, simplest, 0)
            return
        most = self.profile.examples_for(law.cost)
        if self.profile.budget is not None:
            self.ends = time.perf_counter() + self.profile.budget
        exotic = law.level == _CONFIG_LEVEL
        with within(self.profile.patience):
            covering = rows(architecture, exotic=exotic)[: min(self.profile.rows, most)]
        for row, head, seed in zip(covering, cycle(heads), cycle(range(_SEEDS)), strict=False):
            self._row(head, row, seed)
        if most > len(covering):
            drawn = config_kwargs(architecture, exotic=exotic)
            examples = st.tuples(st.sampled_from(heads), drawn, st.integers(0, _SEEDS - 1))
            self._search(examples, most - len(covering))

    def _row(self, head: str, row: Kwargs, seed: int) -> None:
        """Judge a covering row; one that breaks the law is made small field by field, and judged again."""
        try:
            self._example(head, row, seed)
        except Exception as error:
            if self._is_admitted:
                raise
            kind = type(error)

            def still_fails(kwargs: Kwargs) -> bool:
                try:
                    self._example(head, kwargs, seed)
                except kind:
                    return True
                except Exception:  # noqa: BLE001 - another mistake is not a smaller form of this one
                    return False
                return False

            self._example(head, minimised(self.cell.architecture, row, still_fails), seed)
            self.last = (head, row, seed)
            raise  # it fails now and then: the row itself is what has been seen

    def _search(self, drawn: st.SearchStrategy[tuple[str, Kwargs, int]], most: int) -> None:
        derandomize = self.seed is None
        database = None if derandomize else self.database

        @settings(
            max_examples=most,
            database=database,
            deadline=None,
            derandomize=derandomize,
            phases=list(self._phases(database)),
            report_multiple_bugs=False,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        )
        @given(drawn)
        def search(case: tuple[str, Kwargs, int]) -> None:
            if self.broke or self.examples < _LEAST or time.perf_counter() < self.ends:
                self._example(*case)

        # Hypothesis would file examples under the name of the function, which all laws share.
        search.hypothesis.inner_test._hypothesis_internal_add_digest = _digest(str(self.cell))  # type: ignore[attr-defined]  # noqa: SLF001 - what its own pytest plugin sets
        (search if self.seed is None else hypothesis.seed(self.seed)(search))()

    def _phases(self, database: ExampleDatabase | None) -> Iterator[Phase]:
        if database is not None:
            yield Phase.reuse
        yield Phase.generate
        if not self._is_admitted:  # a failure that everybody knows need not be small
            yield Phase.shrink

    @property
    def _is_admitted(self) -> bool:
        return in_force(self.cell.architecture.known, self.cell.law.id) is not None

    def _example(self, head: str, kwargs: Kwargs, seed: int) -> None:
        """Judge one example in a process that is put back as it was.

        A law that does not apply to one config may apply to the next, and is inapplicable if it applied to none.
        """
        self.examples += 1
        self.last = (head, kwargs, seed)
        case = Case(self.cell.architecture, head, kwargs, torch.device(self.cell.device), seed)
        with isolated(), saved_without_code(_classes(case)), within(self.profile.patience):
            try:
                _checked(self.cell.law, case, self.evidence)
            except NotApplicableError as error:
                self.inapplicable = str(error)
            except Exception:
                self.broke = True
                raise

    def _found(self, status: Status, **details: Any) -> Result:
        counts = dict(self.evidence.counts)
        return self.cell.result(status, evidence=counts, examples=self.examples, **details)

    def _failed(self, message: str, status: Status = Status.FAIL, **details: Any) -> Result:
        """Return the result for the last example, which is the smallest."""
        head, kwargs, seed = self.last
        return self._found(status, message=message, kwargs=kwargs, head=head, seed=seed, **details)


def _checked(law: Law, case: Case, evidence: Evidence) -> None:
    try:
        law.check(case, evidence)
    except _ENDINGS as error:
        raise LawBrokenError(_ending(error)) from error


def _ending(error: BaseException) -> str:
    return f"tried to end the process: {type(error).__name__} {brief(error)}".rstrip()


def _heads(architecture: Architecture) -> list[str]:
    """Return the names of the Auto classes that an architecture has models for, all of which must exist."""
    for name in architecture.models:
        if name not in auto_classes():
            architecture.model_class(name)  # whose module may define it
        if name not in auto_classes():
            message = sentences(
                f"the Architecture has a model for {name!r}, which is no Auto class.",
                did_you_mean(name, auto_classes()) or f"There are {listed(auto_classes())}.",
            )
            raise ConformanceError(message)
    return list(architecture.models)


def _classes(case: Case) -> list[type]:
    architecture = case.architecture
    return [architecture.config_class, *map(architecture.model_class, architecture.models)]


def _is_full(error: BaseException | None) -> bool:
    """Whether an error comes from a device without space, which says nothing of the architecture."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
