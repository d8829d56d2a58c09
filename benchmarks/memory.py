"""What a process holds in memory, as Linux counts it; for programs that measure themselves.

Pages of a mapped file belong to the page cache and cost nothing of their own, so a load is judged by its private
memory. Its peak is judged whole, mapped pages included: the system has to find room for them at that moment.
"""

import re
from pathlib import Path

_OWN = Path("/proc/self")
_KIB = 1024


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
    found = re.search(rf"^{name}:\s*(\d+) kB$", (_OWN / file).read_text(), re.MULTILINE)
    assert found, f"/proc/self/{file} has no {name}"
    return int(found[1]) * _KIB
