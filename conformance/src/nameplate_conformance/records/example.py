"""Judging one example again, without drawing any: a failure that was kept, or one that a script spells out."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from nameplate_auto import TrustPolicy
from nameplate_config import ConfigError
from nameplate_config.wording import brief, did_you_mean, sentences
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.judging.case import Case
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.references import named
from nameplate_conformance.judging.runner import present_devices
from nameplate_conformance.judging.trial import Trial
from nameplate_conformance.law import Law, all_laws
from nameplate_conformance.records.encoded import Unread
from nameplate_conformance.records.source import Source
from nameplate_conformance.records.store import FOLDER, Failure, Store
from nameplate_conformance.result import Result, Status

if TYPE_CHECKING:
    from nameplate_conformance.drawing.strategies import Kwargs

_WIDEST = 100
_FIXED = {Status.PASS, Status.NOT_APPLICABLE}


@dataclass(frozen=True, slots=True)
class Example:
    """One example that a law is judged on, spelled out.

    Attributes:
        architecture: What is judged, or the text that names it, as the command line takes it.
        law: The id of the law.
        kwargs: The arguments of the config.
        head: The Auto class whose model is judged; empty for a config alone.
        seed: Decides the weights.
        device: Where the model lives.
        trust_remote_code: Which code that a folder or repository brings may run, as for an Auto class.

    Example:
        >>> example = Example("nameplate_resnet", law="C01", kwargs={"num_labels": 3}, head="AutoModel")
        >>> example.judge().status
        <Status.PASS: 'pass'>
    """

    architecture: Architecture | str
    law: str
    kwargs: Mapping[str, Any] = field(default_factory=dict)
    head: str = ""
    seed: int = 0
    device: str = "cpu"
    trust_remote_code: "bool | str | TrustPolicy" = False

    @property
    def found(self) -> Architecture:
        """What is judged, imported.

        Raises:
            ConformanceError: If nothing has that name, or it cannot be imported.
        """
        if isinstance(self.architecture, Architecture):
            return self.architecture
        return named(self.architecture, trust_remote_code=self.trust_remote_code)

    def case(self) -> Case:
        """Return the example as a law sees it: it builds the config, the model and its inputs.

        Example:
            >>> Example("nameplate_resnet", law="C01", kwargs={"num_labels": 3}).case().config().num_labels
            3
        """
        return Case(self.found, self.head, dict(self.kwargs), torch.device(self.device), self.seed)

    def judge(self) -> Result:
        """Judge the example, whatever the laws say that this one needs, and whatever failure is admitted.

        Returns:
            The verdict. The law is not applicable if the config refuses the arguments, which is a way to mend a
            failure; it is not run on a device that is absent.

        Raises:
            ConformanceError: If there is no such law or architecture, or the architecture has no such head.
        """
        architecture = replace(self.found, known={})
        cell = Cell(architecture, _law(self.law), self.device)
        if self.head and self.head not in architecture.models:
            message = sentences(
                f"{architecture.label} has no head {self.head!r}.", did_you_mean(self.head, architecture.models)
            )
            raise ConformanceError(message)
        if self.device not in present_devices():
            return cell.result(Status.NOT_RUN, message=f"there is no {self.device} device on this machine")
        try:
            architecture.config_class(**self.kwargs)
        except ConfigError as error:
            return cell.result(Status.NOT_APPLICABLE, message=f"the config refuses these arguments: {brief(error)}")
        return _Once(cell, PROFILES["release"], only=(self.head, dict(self.kwargs), self.seed)).result()

    def script(self, comment: str = "") -> str:
        """Return a Python script that judges the example and prints the verdict.

        Args:
            comment: What the script says of itself, in its first line.

        Raises:
            ConformanceError: If a value has no expression that makes it again.
        """
        source = Source()
        kind = source.name(Example)
        given = {name: source.expression(value) for name, value in self.kwargs.items()}
        arguments = [f"{_reference(self.architecture)},", f"law={self.law!r},", *_call("kwargs", given)]
        arguments += [f"head={self.head!r}," if self.head else "", f"seed={self.seed},", f"device={self.device!r},"]
        arguments += [f"trust_remote_code={self.trust_remote_code!r}," if self.trust_remote_code else ""]
        lines = [
            f"# {comment}" if comment else "",
            *source.imports(),
            f"\nexample = {kind}(",
            *(f"    {each}" for each in arguments if each),
            ")",
            "result = example.judge()",
            "print(result.status.value, result.message)",
            "\n# To look at it more closely: example.case().config(), example.case().poisoned()",
        ]
        return "\n".join(line for line in lines if line) + "\n"


Example.__module__ = "nameplate_conformance"


@dataclass
class _Once(Trial):
    """A law being tried on one example that was drawn before.

    Attributes:
        only: The head, the arguments and the seed.
    """

    only: "tuple[str, Kwargs, int]" = ("", {}, 0)

    def _run(self) -> None:
        self._example(*self.only)


def example_of(
    failure: Failure, *, architecture: Architecture | str = "", trust_remote_code: bool | str | TrustPolicy = False
) -> Example:
    """Return the example of a failure that was kept.

    Args:
        failure: The failure.
        architecture: What is judged, or the text that names it, if it is not where it was.
        trust_remote_code: Which code that a folder or repository brings may run.

    Raises:
        ConformanceError: If its architecture cannot be found, or an argument cannot be read any more.
    """
    wanted = architecture or failure.reference
    if not wanted:
        message = sentences(
            f"{failure.title} is of an architecture that only the process which judged it knew.",
            "Say where it is: `replay --arch package.module:NAME`, or `replay(…, architecture=…)`.",
        )
        raise ConformanceError(message)
    example = Example(wanted, failure.record["law"], trust_remote_code=trust_remote_code)
    config_class = example.found.config_class  # imports the classes that arguments may be of
    result = failure.result
    kwargs = dict(result.kwargs or {})
    for name, value in kwargs.items():
        if isinstance(value, Unread):
            message = f"{failure.title}: {name}={value!r} cannot be read with {config_class.__name__} as it is now."
            raise ConformanceError(message)
    return replace(example, kwargs=kwargs, head=result.head, seed=result.seed, device=result.device)


def replay(failure_id: str, *, architecture: Architecture | str = "", store: Store | None = None) -> Result:
    """Judge a failure that was kept again; forget it if it is mended.

    Args:
        failure_id: The six digits that the run printed.
        architecture: What is judged, or the text that names it, if it is not where it was.
        store: Where it was kept; the folder `.conformance` if not given.

    Returns:
        The verdict on the very same example.

    Raises:
        ConformanceError: If no such failure was kept, or its architecture cannot be found.

    Example:
        >>> replay("3f9c1d")
        Traceback (most recent call last):
        nameplate_conformance.ConformanceError: no failure '3f9c1d' is kept in .conformance/failures. ...
    """
    store = store or Store(Path(FOLDER))
    result = example_of(store.failure(failure_id), architecture=architecture).judge()
    if is_fixed(result):
        store.forget(failure_id)
    return result


def is_fixed(result: Result) -> bool:
    """Whether a verdict on an example that failed says that it no longer does."""
    return result.status in _FIXED


def _law(law_id: str) -> Law:
    every = all_laws()
    if law_id not in every:
        message = f"there is no law {law_id!r}; `nameplate-conformance list` shows them."
        raise ConformanceError(message)
    return every[law_id]


def _reference(architecture: Architecture | str) -> str:
    text = architecture.reference if isinstance(architecture, Architecture) else architecture
    return repr(text) if text else "ARCHITECTURE"


def _call(name: str, given: Mapping[str, str]) -> list[str]:
    """Return a dict of expressions as an argument: on one line if it is short."""
    line = f"{name}={{{', '.join(f'{key!r}: {value}' for key, value in given.items())}}},"
    if len(line) <= _WIDEST:
        return [line]
    return [f"{name}={{", *(f"    {key!r}: {value}," for key, value in given.items()), "},"]
