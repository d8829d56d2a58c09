"""What a process holds in memory, as Linux counts it; for programs that measure themselves.

Pages of a mapped file belong to the page cache and cost nothing of their own, so a load is judged by its private
memory. Its peak is judged whole, mapped pages included: the system has to find room for them at that moment.
"""

import re
import threading
from pathlib import Path
from typing import Self

_OWN = Path("/proc/self")
_KIB = 1024
_MOMENT = 0.002


def private() -> dict[str, int]:
    """Return the bytes that only this process holds: ``anonymous`` memory, and all that it has written to."""
    return {"anonymous": _figure("smaps_rollup", "Anonymous"), "dirty": _figure("smaps_rollup", "Private_Dirty")}


def start_peak() -> int:
    """Forget the peak so far, and return the resident bytes from which `peak` grows again."""
    (_OWN / "clear_refs").write_text("5")
    return _figure("status", "VmRSS")


def peak() -> int:
    """Return the most bytes that were resident at once since `start_peak`."""
    return _figure("status", "VmHWM")


def _figure(file: str, name: str) -> int:
    return _found((_OWN / file).read_text(), name)


def _found(text: str, name: str) -> int:
    found = re.search(rf"^{name}:\s*(\d+) kB$", text, re.MULTILINE)
    assert found, f"the system does not tell {name}"
    return int(found[1]) * _KIB


class Watch:
    """Looks at the anonymous memory of this process every two milliseconds, from a thread of its own, in a ``with``.

    Attributes:
        grown: The most bytes above those at the beginning.
        read: Bytes that it has read itself, to look.
    """

    def __init__(self) -> None:
        self.grown = self.read = self._began = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Self:
        self._began = self._held()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _look(self) -> None:
        over = False
        while not over:
            over = self._done.wait(_MOMENT)
            self.grown = max(self.grown, self._held() - self._began)

    def _held(self) -> int:
        text = (_OWN / "status").read_text()
        self.read += len(text)
        return _found(text, "RssAnon")
