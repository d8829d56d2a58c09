"""What the leader of ranks makes of their answers, and the one error that it becomes on each of them.

Only functions from values to values: an answer and a verdict are what JSON can hold. `assembly.py` carries them.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NotRequired, TypeAlias, TypedDict

from nameplate_config import NameplateError
from nameplate_config.wording import NAMES_LISTED, brief, sentences
from nameplate_model._distributed.wording import by_value, disagreement, first_apart, named, shown_from
from nameplate_model.errors import CheckpointError, MissingRankError, RanksDisagreeError

JSON: TypeAlias = Any
"""A value that JSON can hold."""


class Told(TypedDict):
    """An error as JSON.

    Attributes:
        classes: The places of its class and of those above it in our tree, the nearest first.
        text: What it says.
        alike: Whether all ranks raised just this, each by itself.
    """

    classes: list[str]
    text: str
    alike: NotRequired[bool]


class Answer(TypedDict):
    """What one rank says in a phase.

    Attributes:
        what: What it does, such as ``"load"``.
        step: The kind of the phase.
        facts: On which all must agree.
        digests: Of long lists on which all must agree; where they differ, the verdict has the names as its value.
        value: For the leader.
        error: What ended the operation on this rank.
        left: Whether it does not wait for the verdict.
    """

    what: str
    step: str
    facts: NotRequired[dict[str, str]]
    digests: NotRequired[dict[str, str]]
    value: NotRequired[JSON]
    error: NotRequired[Told]
    left: NotRequired[bool]


class Verdict(TypedDict):
    """What is said of the answers to one phase.

    Attributes:
        value: For all.
        error: That all raise.
        leaderless: Whether another rank says it, since the leader did not come.
    """

    value: NotRequired[JSON]
    error: NotRequired[Told]
    leaderless: NotRequired[bool]


def verdict_on(answers: Mapping[int, Answer], ranks: Sequence[int], waited: str) -> Verdict:
    """Return what comes of the answers to one phase.

    Args:
        answers: By the rank that gave each.
        ranks: All that should have answered, the leader first.
        waited: Where and how long the others waited for those that did not, as the end of a sentence.
    """
    failed = {rank: answer["error"] for rank, answer in answers.items() if "error" in answer}
    missing = [rank for rank in ranks if rank not in answers]
    if missing:
        return {"error": _missing(missing, waited, _failures(failed))}
    if failed:
        return {"error": _failed(failed, ranks)}
    apart = _apart(answers)
    if apart:
        return {"error": _told(RanksDisagreeError, apart)}
    leading = answers[ranks[0]]
    if "digests" in leading:
        every = [answer.get("digests", {}) for answer in answers.values()]
        return {
            "value": [name for name in leading["digests"] if any(each.get(name) != every[0][name] for each in every)]
        }
    return {"value": leading.get("value")}


def departure(rank: int, answer: Answer) -> Verdict:
    """Return the verdict of a leader that goes without reading any answer.

    Args:
        rank: The leader.
        answer: With the error that it goes for.
    """
    error = answer.get("error")
    assert error is not None
    return {"error": {"classes": error["classes"], "text": _failures({rank: error})}}


def _missing(missing: Sequence[int], waited: str, failures: str) -> Told:
    message = sentences(
        f"{named(missing)} did not come {waited}",
        failures,
        "See how it ended or what it does instead; timeout= says how many seconds the others wait for it."
        if len(missing) == 1
        else "See how they ended or what they do instead; timeout= says how many seconds the others wait for them.",
    )
    return _told(MissingRankError, message)


def _failed(failed: Mapping[int, Told], ranks: Sequence[int]) -> Told:
    every = list(failed.values())
    if len(failed) == len(ranks) and all(told == every[0] for told in every):
        return {**every[0], "alike": True}
    shared = [place for place in every[0]["classes"] if all(place in told["classes"] for told in every)]
    return {"classes": shared or [_place(CheckpointError)], "text": _failures(failed)}


def _failures(failed: Mapping[int, Told]) -> str:
    """Return what ranks raised, each text once behind the ranks that it is from; empty if none did."""
    texts: dict[str, list[int]] = {}
    for rank, told in failed.items():
        texts.setdefault(told["text"], []).append(rank)
    lines = [f"{named(ranks)}: {text}" for text, ranks in texts.items()]
    rest = [f"and {len(lines) - NAMES_LISTED} more"] if len(lines) > NAMES_LISTED else []
    return "\n".join([*lines[:NAMES_LISTED], *rest])


def _apart(answers: Mapping[int, Answer]) -> str:
    """Return in what answers differ: what the ranks do, at which phase they are, or what they see; else nothing."""
    doing = {rank: answer["what"] for rank, answer in answers.items()}
    if _differ(doing):
        message = f"the ranks do not do the same: {by_value(doing, str, 'want to')}"
        return sentences(message, "Call the same function on every rank, in the same order.")
    what = next(iter(doing.values()))
    steps = {rank: answer["step"] for rank, answer in answers.items()}
    if _differ(steps):
        message = f"the ranks cannot {what} together: they are at different steps of it"
        return sentences(message, by_value(steps, str, "are at"), "Give every rank the same arguments.")
    facts = list(_facts_apart(answers))
    return disagreement(what, facts) if facts else ""


def _facts_apart(answers: Mapping[int, Answer]) -> Iterator[tuple[str, str]]:
    names = dict.fromkeys(name for answer in answers.values() for name in answer.get("facts", {}))
    for name in names:
        seen = {rank: answer.get("facts", {}).get(name, "") for rank, answer in answers.items()}
        if _differ(seen):
            begin = first_apart([*seen.values()])
            yield name.replace("_", " "), by_value(seen, partial(shown_from, begin), "have")


def _differ(seen: Mapping[int, str]) -> bool:
    return len(set(seen.values())) > 1


def told(error: BaseException) -> Told:
    """Return an error as JSON."""
    classes = [_place(above) for above in type(error).__mro__ if _is_ours(above)]
    text = str(error) if isinstance(error, NameplateError) else f"{type(error).__name__}: {brief(error)}"
    return {"classes": classes or [_place(CheckpointError)], "text": text.removesuffix(": ")}


def _told(kind: type[NameplateError], text: str) -> Told:
    return {"classes": [_place(above) for above in kind.__mro__ if _is_ours(above)], "text": text}


def _is_ours(kind: type) -> bool:
    return issubclass(kind, NameplateError) and kind is not NameplateError


def _place(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def error_of(told_error: Told, original: Exception | None = None) -> NameplateError:
    """Return the error that was told: of the nearest of its classes that this process knows.

    Args:
        told_error: By whoever raised it, or by the leader for all.
        original: What this rank raised itself. An error of the same class has its attributes.
    """
    known = {_place(kind): kind for kind in _below(NameplateError)}
    for place in told_error["classes"]:
        kind = known.get(place)
        if kind is None:
            continue
        try:
            error = kind(told_error["text"])
        except TypeError:  # a class of somebody else, which takes more than a text
            continue
        if type(original) is kind:
            vars(error).update(vars(original))
        return error
    return CheckpointError(told_error["text"])


def _below(kind: type[NameplateError]) -> Iterator[type[NameplateError]]:
    for below in kind.__subclasses__():
        yield below
        yield from _below(below)
