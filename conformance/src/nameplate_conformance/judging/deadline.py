"""Giving up on code that does not end: an endless loop in a constructor or a `forward` must not stop the run.

A loop in Python is interrupted. Code that waits outside Python is not; only the supervisor of a worker process can
end that.
"""

import ctypes
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_AGAIN = 5.0
"""Seconds until the next attempt, if the first one was lost in code that swallows whatever is raised."""

_AT_ONCE = 1e-6
"""How long a timer still runs whose time is up: one of no seconds would be none."""


class OverrunError(BaseException):
    """An example did not end in time. No `Exception`, so that nobody takes it for a failure of their own."""


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Raise `OverrunError` inside the block if it takes longer than *seconds*."""
    main = threading.current_thread() is threading.main_thread()
    with _alarm(seconds) if main and hasattr(signal, "setitimer") else _timer(seconds):
        yield


@contextmanager
def _alarm(seconds: float) -> Iterator[None]:
    """Be interrupted by the operating system. A timer that somebody else has set goes on afterwards.

    The time inside the block counts for it, too: a block around many others ends when it should.
    """

    def ring(_number: int, _frame: FrameType | None) -> None:
        raise OverrunError

    before = signal.signal(signal.SIGALRM, ring)
    started = time.monotonic()
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, _AGAIN)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - started), _AT_ONCE), interval)


@contextmanager
def _timer(seconds: float) -> Iterator[None]:
    """Be interrupted by another thread, where there is no alarm or this is not the main thread."""
    target = ctypes.c_ulong(threading.get_ident())
    ended = threading.Event()

    def ring() -> None:
        if not ended.is_set():
            ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(OverrunError))

    timer = threading.Timer(seconds, ring)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        ended.set()
        timer.cancel()
