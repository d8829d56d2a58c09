"""What a small run judged and found, as plain values that two runs can be compared by."""

import atexit
import base64
import json
import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, lru_cache
from typing import Any, cast

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.instruments.fresh import importable
from nameplate_conformance.judging.case import Case
from nameplate_conformance.judging.cell import Cell
from nameplate_conformance.judging.profiles import Profile
from nameplate_conformance.judging.runner import HOST
from nameplate_conformance.judging.trial import Trial
from nameplate_conformance.law import Evidence, all_laws, broken

Account = list[dict[str, Any]]
"""For each law: the examples that were judged, what was found, and what was compared."""

_FEW = Profile(name="account", examples=6, rows=3)
_SEED = 7

_LISTENING = """
import base64, json, os, pickle, sys, traceback
sys.path[:] = {path!r}
answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
os.dup2(2, 1)  # what a model prints is no answer
for line in sys.stdin:
    packed, law_ids = json.loads(line)
    try:
        from nameplate_conformance.instruments.account import account_of
        said = [account_of(pickle.loads(base64.b64decode(packed)), law_ids), ""]
    except Exception:
        said = [None, traceback.format_exc()]
    print(json.dumps(said), file=answers, flush=True)
"""
"""What the other process does: it answers each line with a line."""


def account_of(architecture: Architecture, law_ids: Sequence[str]) -> Account:
    """Judge an architecture by a few laws under a fixed seed and return what there is to say of it.

    Args:
        architecture: What is judged.
        law_ids: The laws, which should be cheap.
    """
    return [_entry(architecture, law_id) for law_id in law_ids]


def _entry(architecture: Architecture, law_id: str) -> dict[str, Any]:
    judged = all_laws()[law_id]
    examples: list[str] = []

    def noting(case: Case, evidence: Evidence) -> None:
        examples.append(f"{case.head}({case.kwargs!r}) with seed {case.seed}")
        judged.check(case, evidence)

    result = Trial(Cell(architecture, replace(judged, check=noting), HOST), _FEW, _SEED).result()
    return {
        "law": law_id,
        "examples": examples,
        "verdict": [result.status.value, result.message, result.counterexample, result.seed],
        "evidence": dict(result.evidence),
    }


def difference(one: Account, other: Account) -> str:
    """Return where two accounts of the same laws differ first; empty if they do not.

    Example:
        >>> difference([{"law": "M01", "examples": ["a", "b"]}], [{"law": "M01", "examples": ["a", "c"]}])
        "examples of M01: 'b' then 'c'"
    """
    for before, after in zip(one, other, strict=True):
        for key, value in before.items():
            if value != after[key]:
                return f"{key} of {before['law']}: {' then '.join(map(repr, _apart(value, after[key])))}"
    return ""


def _apart(one: Any, other: Any) -> tuple[Any, Any]:
    """Return two values that differ, or of two lists the first items that do."""
    if isinstance(one, list):
        return next(((a, b) for a, b in zip(one, other, strict=False) if a != b), (len(one), len(other)))
    return one, other


def account_elsewhere(architecture: Architecture, law_ids: Sequence[str]) -> Account | None:
    """Return the account that another process gives, in which texts have other hashes; None if it cannot get there.

    A class that a function made, or a strategy with a lambda, is known to this process alone.

    Args:
        architecture: What is judged.
        law_ids: The laws.

    Raises:
        LawBrokenError: If the other process fails.
    """
    classes = (architecture.config_class, *map(architecture.model_class, architecture.models))
    if not all(map(importable, classes)):
        return None
    try:
        packed = base64.b64encode(pickle.dumps(architecture)).decode()
    except (AttributeError, TypeError, pickle.PicklingError):
        return None
    return _answer(packed, tuple(law_ids))


@lru_cache(maxsize=64)
def _answer(packed: str, law_ids: tuple[str, ...]) -> Account:
    """Ask the other process; its answer is remembered, because the same architecture is judged for many mutants."""
    process = _other_process()
    try:
        said = _exchange(process, json.dumps([packed, law_ids]))
    except BaseException:
        process.kill()  # it may be in the middle of an answer, which nobody will read
        _other_process.cache_clear()
        raise
    if said[1]:
        broken(f"another process fails: {said[1].strip()[-500:]}")
    return cast("Account", said[0])


def _exchange(process: "subprocess.Popen[str]", question: str) -> tuple[Any, str]:
    assert process.stdin is not None
    assert process.stdout is not None
    print(question, file=process.stdin, flush=True)
    answer = process.stdout.readline()
    if not answer:
        broken(f"another process ended with code {process.wait()}")
    found, failure = json.loads(answer)
    return found, failure


@cache
def _other_process() -> "subprocess.Popen[str]":
    """Return a process that lives as long as this one: to start one takes seconds, to ask it next to nothing."""
    another = "2" if os.environ.get("PYTHONHASHSEED") == "1" else "1"
    environment = {**os.environ, "PYTHONHASHSEED": another, "NAMEPLATE_PLUGINS": ""}
    process = subprocess.Popen(  # noqa: S603 - our own lines
        [sys.executable, "-c", _LISTENING.format(path=sys.path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
        text=True,
    )
    atexit.register(_end, process, os.getpid())
    return process


def _end(process: "subprocess.Popen[str]", owner: int) -> None:
    if os.getpid() == owner:  # a fork of ours must not end what we still ask
        process.kill()
        process.communicate()
