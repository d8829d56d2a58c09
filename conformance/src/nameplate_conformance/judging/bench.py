"""Judging for somebody else: loading architectures by their references, and single cells as somebody orders them.

The bench knows nothing of other cells. Which of them is next, and what becomes of those that need a failed one, is
`schedule`; processes are `workers`.
"""

import os
import sys
import warnings
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nameplate_config import NameplateError
from nameplate_config.wording import brief
from nameplate_conformance.records.circumstances import Subject, subject_of

if TYPE_CHECKING:
    from nameplate_conformance.architecture import Architecture
    from nameplate_conformance.judging.runner import Runner
    from nameplate_conformance.result import Result

POLICY = "policy"
"""The word that stands for the trust policy in the user's ``trust.toml``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How everything is judged, in values that JSON has.

    Attributes:
        profile: The name of the profile.
        seed: Decides which examples are drawn; None draws the same ones every time.
        store: The folder in which failures are kept; empty keeps none.
        trust: Which code that folders and repositories bring may run: whether any, the digests of what, or the word
            `POLICY`.
        revision: The branch, tag or commit of repositories.
        path: Where modules are looked for.
    """

    profile: str = "dev"
    seed: int | None = None
    store: str = ""
    trust: bool | str | list[str] = False
    revision: str | None = None
    path: list[str] = field(default_factory=lambda: here_too(sys.path))

    def as_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Loaded:
    """What became of a reference.

    Attributes:
        subject: The architecture that was found; None if there is none to judge.
        notes: What was said while it was loaded.
        failure: Why it cannot be loaded; empty if it was.
    """

    subject: Subject | None = None
    notes: tuple[str, ...] = ()
    failure: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the values by name."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Loaded":
        """Return what `as_json` was called on."""
        subject = values["subject"]
        return cls(Subject(**subject) if subject else None, tuple(values["notes"]), values["failure"])


def here_too(path: list[str]) -> list[str]:
    """Return a search path for modules that ends with the current folder, if that is not in it anyway.

    A program on the PATH does not look there, and ``my_module:ARCHITECTURE`` lies there as a rule.
    """
    here = os.getcwd()  # noqa: PTH109 - as text
    return [*path] if {"", here} & set(path) else [*path, here]


def look_here_too() -> None:
    """Let this process find modules that lie in the current folder, as ``python -m`` would."""
    sys.path[:] = here_too(sys.path)


@dataclass
class Bench:
    """Loads architectures and judges single cells, in this process.

    Attributes:
        terms: How.
    """

    terms: Terms
    _architectures: dict[str, "Architecture"] = field(default_factory=dict)
    _runner: "Runner | None" = None

    def prepare(self) -> None:
        """Look for modules where the terms say, and import what every cell needs."""
        sys.path[:] = self.terms.path
        from nameplate_conformance.law import all_laws  # noqa: PLC0415 - torch takes seconds

        all_laws()

    def load(self, text: str) -> Loaded:
        """Load the architecture that a text names.

        Whatever it raises is an answer, not the end: there may be others to judge.
        """
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                subject = subject_of(self._architecture(text))
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a module does at import
                return Loaded(failure=_explained(error))
        ours = (str(each.message) for each in caught if each.category.__module__.startswith("nameplate_"))
        return Loaded(subject, tuple(dict.fromkeys(ours)))

    def judge(self, text: str, law_id: str, device: str) -> "Result":
        """Judge one cell, whatever became of those that it needs.

        Raises:
            NameplateError: If the architecture cannot be loaded, which it could before.
        """
        from nameplate_conformance.judging.cell import Cell  # noqa: PLC0415
        from nameplate_conformance.law import all_laws  # noqa: PLC0415 - torch takes seconds

        return self.runner.attempt(Cell(self._architecture(text), all_laws()[law_id], device))

    @property
    def trouble(self) -> str:
        """Why a failure could not be kept; empty if every one was."""
        return self.runner.store.trouble if self.runner.store is not None else ""

    @property
    def runner(self) -> "Runner":
        """What judges."""
        from nameplate_conformance.judging.runner import Runner  # noqa: PLC0415 - torch takes seconds
        from nameplate_conformance.records.store import Store  # noqa: PLC0415

        if self._runner is None:
            store = Store(Path(self.terms.store)) if self.terms.store else None
            self._runner = Runner(profile=self.terms.profile, seed=self.terms.seed, store=store)
        return self._runner

    def _architecture(self, text: str) -> "Architecture":
        from nameplate_conformance.judging.references import HUB, named  # noqa: PLC0415 - only whoever loads one

        if text not in self._architectures:
            trust = trusted(self.terms.trust)
            revision = self.terms.revision if text.startswith(HUB) and "@" not in text else None
            found = named(text, trust_remote_code=trust, revision=revision)
            self._architectures |= {text: found, found.reference: found}
        return self._architectures[text]


def trusted(granted: Any) -> Any:
    """Return what an Auto class takes: the user's policy for the word `POLICY`, and everything else as it is."""
    from nameplate_auto import TrustPolicy  # noqa: PLC0415 - only for code that a checkpoint brings

    return TrustPolicy.from_file() if granted == POLICY else granted


def _explained(error: BaseException) -> str:
    return str(error) if isinstance(error, NameplateError) else f"{type(error).__name__}: {brief(error)}"
