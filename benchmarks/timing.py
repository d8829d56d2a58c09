"""Timing one operation inside a process that does nothing else."""

import time
from collections.abc import Callable, Mapping
from statistics import median

Operation = Callable[[], object]
"""What is timed; its result is thrown away."""

SLOW = 1.0
"""Seconds. An operation that takes longer is not repeated."""

_BATCHES = 7
_TOGETHER = 0.2
"""Seconds that all batches of an operation take together, unless one call takes longer than its share."""


def milliseconds(operation: Operation) -> float:
    """Return how long a call takes, warm: the median of seven batches, or one call if it is slow."""
    operation()
    once = _seconds(operation, 1)
    if once > SLOW:
        return 1000 * once
    calls = max(1, round(_TOGETHER / _BATCHES / once))
    return 1000 * median(_seconds(operation, calls) / calls for _ in range(_BATCHES))


def milliseconds_each(operations: Mapping[str, Operation]) -> dict[str, float]:
    """Return how long each operation takes."""
    return {name: milliseconds(operation) for name, operation in operations.items()}


def _seconds(operation: Operation, calls: int) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        operation()
    return time.perf_counter() - started
