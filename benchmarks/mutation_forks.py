"""Work in a fork that may end any way: it may hang, or kill itself, or try to write where it must not.

A fork starts with everything that this process has imported, which saves the seconds that importing torch takes.
"""

import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Tell = Callable[[dict[str, Any]], None]
"""Sends something to the process that has forked."""

_CHECKOUT = str(Path(__file__).resolve().parents[1])
_CHANGES = {"open", "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.truncate", "shutil.rmtree"}
_MOST_MEMORY = 12 << 30
_PAUSE = 0.05
_CHUNK = 1 << 20


@dataclass(slots=True)
class Ended:
    """What became of a fork.

    Attributes:
        told: What it has sent.
        finished: Whether it came to its end by itself.
        overran: Whether it was killed because it took too long.
    """

    told: list[dict[str, Any]] = field(default_factory=list)
    finished: bool = False
    overran: bool = False


def forked(work: Callable[[Tell], None], *, limit: float) -> Ended:
    """Do some work in a fork and return what it has sent; whatever it has started is killed with it.

    Args:
        work: Is given a function that sends.
        limit: Seconds after which it is killed.
    """
    readable, writable = os.pipe()
    child = os.fork()
    if not child:
        os.close(readable)
        _work(work, writable)
    os.close(writable)
    try:
        return _listened(child, readable, time.monotonic() + limit)
    finally:
        os.close(readable)


def _work(work: Callable[[Tell], None], writable: int) -> None:
    """Do the work and end this process, whatever happens."""
    try:
        os.setsid()
        quiet = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(quiet, standard)
        resource.setrlimit(resource.RLIMIT_DATA, (_MOST_MEMORY, _MOST_MEMORY))
        sys.addaudithook(_refuse_changes)
        work(lambda what: _send(writable, what))
        _send(writable, {"finished": True})
    except BaseException as error:  # noqa: BLE001 - it is told, and the process ends
        _send(writable, {"raised": f"{type(error).__name__}: {error}"[:500]})
    finally:
        os._exit(0)


def _send(writable: int, what: dict[str, Any]) -> None:
    text = memoryview(json.dumps(what).encode() + b"\n")
    while text:
        text = text[os.write(writable, text) :]


def _refuse_changes(event: str, arguments: tuple[Any, ...]) -> None:
    """Keep code that was changed at random from changing the files that it was made from."""
    if event not in _CHANGES or (event == "open" and not _writes(arguments)):
        return
    if any(isinstance(path, str) and path.startswith(_CHECKOUT + os.sep) for path in arguments[:2]):
        message = f"a mutant would change the checkout: {event} {arguments}"
        raise PermissionError(message)


def _writes(arguments: tuple[Any, ...]) -> bool:
    flags = arguments[2]
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def _listened(child: int, readable: int, until: float) -> Ended:
    """Collect what a fork sends until it says that it is done, or ends, or overruns."""
    ended, received, alive = Ended(), bytearray(), True
    while alive and not ended.finished and not ended.overran:
        alive = os.waitpid(child, os.WNOHANG)[0] == 0  # asked first, so that nothing that it sent is missed
        while select.select([readable], [], [], _PAUSE if alive else 0)[0]:
            chunk = os.read(readable, _CHUNK)
            received += chunk
            if not chunk or time.monotonic() > until:
                break
        *lines, rest = received.split(b"\n")
        received = bytearray(rest)
        ended.told += [json.loads(line) for line in lines]
        ended.finished = any("finished" in what for what in ended.told[-1:])
        ended.overran = time.monotonic() > until
    with suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    if alive:
        os.waitpid(child, 0)
    return ended
