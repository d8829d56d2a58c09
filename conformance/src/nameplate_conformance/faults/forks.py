"""Work in a process of its own, and what became of it: what it returned, what it raised, or what ended it.

Processes are forked, because importing torch takes longer than a hundred saves. That is safe only while this process
has one thread, and has computed nothing with several.
"""

import json
import os
import signal
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from nameplate_conformance.errors import ConformanceError

PATIENCE = 20
"""Seconds after which a process that does not come to an end counts as hung."""

_LONGEST = 4000  # of a text that comes back: a pipe holds it, so nobody waits for the other


@dataclass(frozen=True, slots=True)
class Ending:
    """What became of a piece of work.

    Attributes:
        answer: What it returned, a text; None if it did not come to that.
        raised: What it raised: the name of the class, and the message.
        committed: Whether that error says that the work was done all the same.
        ended_by: The name of the signal that ended the process, or an empty text.
    """

    answer: str | None = None
    raised: str = ""
    committed: bool = False
    ended_by: str = ""

    @property
    def sentence(self) -> str:
        """All of it in a few words."""
        return self.raised or (self.ended_by and f"ended by {self.ended_by}") or f"{self.answer}"


def require_one_thread() -> None:
    """Require that this process may be forked.

    Raises:
        ConformanceError: If it has several threads: a copy would lack all but one of them, and wait for ever.
    """
    if not hasattr(os, "fork"):
        message = "faults need os.fork, which this system lacks: unsupported."
        raise ConformanceError(message)
    names = [each.name for each in threading.enumerate()]
    if len(names) > 1:
        message = f"a process is forked for each fault, which needs one thread; found {', '.join(names)}."
        raise ConformanceError(message)


class Fork:
    """A process that runs a function and reports through a pipe.

    Args:
        work: What it does; returns a text.
        committed: Whether an error that it raised says that it was done all the same.
        first: Runs in the new process before.
    """

    def __init__(
        self,
        work: Callable[[], str | None],
        *,
        committed: Callable[[BaseException], bool] = lambda _: False,
        first: Callable[[], object] = lambda: None,
    ) -> None:
        self._reader, writer = os.pipe()
        self.process = os.fork()
        if not self.process:
            os.close(self._reader)
            _live(work, committed, first, writer)
        os.close(writer)

    def ending(self, ended_by: int) -> Ending:
        """Read what it reported, once it has ended by a signal, or by none (0)."""
        with os.fdopen(self._reader, encoding="utf-8") as pipe:
            text = pipe.read()
        told: dict[str, Any] = json.loads(text) if text else {}
        return Ending(**told, ended_by=signal.Signals(ended_by).name if ended_by else "")


class Assistant:
    """A process that does one of several pieces of work whenever it is asked, and is replaced when it dies.

    It spares a fork where nothing is to befall the work. Use it as a context manager.

    Args:
        works: What it can do, by name; each returns a text.
    """

    def __init__(self, works: Mapping[str, Callable[[], str | None]]) -> None:
        self._works = works
        self._start()

    def __enter__(self) -> "Assistant":
        return self

    def __exit__(self, *_: object) -> None:
        self._dismiss()

    def ask(self, work: str) -> Ending:
        """Let it do something and return what became of it."""
        os.write(self._orders, f"{work}\n".encode())
        told = self._answers.readline()
        if told:
            return Ending(**json.loads(told))
        status = self._dismiss()
        self._start()
        return Ending(ended_by=_name_of_end(status))

    def _start(self) -> None:
        orders, self._orders = os.pipe()
        answers, writer = os.pipe()
        self._process = os.fork()
        if not self._process:
            os.close(self._orders)
            os.close(answers)
            _serve(self._works, orders, writer)
        os.close(orders)
        os.close(writer)
        self._answers = os.fdopen(answers, encoding="utf-8")

    def _dismiss(self) -> int:
        os.close(self._orders)
        self._answers.close()
        return os.waitpid(self._process, 0)[1]


def _serve(works: Mapping[str, Callable[[], str | None]], orders: int, writer: int) -> None:
    """Be an assistant, until nobody can give orders any more."""
    try:
        _begin()
        with os.fdopen(orders, encoding="utf-8") as lines:
            for line in lines:
                signal.alarm(PATIENCE)
                told = _told(works[line.strip()], lambda _: False)
                signal.alarm(0)
                os.write(writer, f"{json.dumps(told)}\n".encode())
    finally:
        os._exit(0)


def _name_of_end(status: int) -> str:
    return signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else "itself"


def _begin() -> None:
    """Make the first steps of a new process: a group of its own, silence, and a clock that can end it."""
    os.setpgid(0, 0)  # so that its threads and children can be waited for, and nobody else's
    quiet = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(quiet, descriptor)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)


def _told(work: Callable[[], str | None], committed: Callable[[BaseException], bool]) -> dict[str, object]:
    try:
        return {"answer": work()}
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is the result
        return {"raised": f"{type(error).__name__}: {error}"[:_LONGEST], "committed": committed(error)}


def _live(
    work: Callable[[], str | None],
    committed: Callable[[BaseException], bool],
    first: Callable[[], object],
    writer: int,
) -> None:
    """Be the new process of a fork, from its beginning to its end."""
    try:
        _begin()
        signal.alarm(PATIENCE)
        first()
        me = os.getpid()
        told = _told(work, committed)
        if os.getpid() == me:  # and not a child of the work that has come here by mistake
            os.write(writer, json.dumps(told).encode())
    finally:
        os._exit(0)
