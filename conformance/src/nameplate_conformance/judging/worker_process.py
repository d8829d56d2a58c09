"""What a worker process runs: a bench, asked and answering over two pipes, one line of JSON each.

Started by `workers`. The pipes are what the process got as its standard input and output; an architecture that
prints, or reads, gets others.
"""

import ctypes
import faulthandler
import json
import os
import signal
import sys
from collections.abc import Iterator
from typing import Any, TextIO

READY = {"ready": True}
"""What is answered first, without a question: from now on the time counts."""

_DIE_WITH_PARENT = 1
"""What Linux calls PR_SET_PDEATHSIG."""


def main() -> None:
    """Answer until nobody asks any more."""
    questions, answers = _taken_pipes()
    _prepare()  # before anything that could crash
    from nameplate_conformance.judging.bench import Bench, Terms  # noqa: PLC0415

    bench: Bench | None = None
    for question in _asked(questions):
        if bench is None:
            bench = Bench(Terms(**question))
            bench.prepare()
            _say(answers, READY)
        else:
            _say(answers, _answer(bench, question))


def _say(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + "\n")
    answers.flush()


def _taken_pipes() -> tuple[TextIO, TextIO]:
    """Keep standard input and output for ourselves, and leave nothing and standard error in their places."""
    questions = os.fdopen(os.dup(0), encoding="utf-8")
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return questions, answers


def _prepare() -> None:
    """See to it that a crash says where, and that nobody is left behind if the supervisor is killed."""
    faulthandler.enable()
    if hasattr(faulthandler, "register"):
        faulthandler.register(signal.SIGUSR1)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)


def _asked(questions: TextIO) -> Iterator[dict[str, Any]]:
    while line := questions.readline():
        yield json.loads(line)


def _answer(bench: Any, question: dict[str, Any]) -> dict[str, Any]:
    from nameplate_conformance.records.journal import result_to_json  # noqa: PLC0415

    if "load" in question:
        return bench.load(question["load"]).as_json()
    result = bench.judge(question["judge"], question["law"], question["device"])
    return {"result": result_to_json(result), "trouble": bench.trouble}
