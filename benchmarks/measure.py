"""Measuring Python programs as whole processes, several in turn, so that a drifting machine hits all of them alike.

Every sample is a fresh process. The figures are the operating system's own (CPU seconds, peak resident memory) and,
where a program times itself, the number that it prints last. Medians are quoted; the spread says how noisy the
machine was.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

ROUNDS = 9
"""Samples of each program. At least seven are needed for a median that one slow sample cannot move."""

_KIB = 1024


@dataclass(frozen=True, slots=True)
class Sample:
    """One run of a program.

    Attributes:
        wall: Seconds from start to end.
        cpu: Seconds of processor time.
        memory: Peak resident memory, in bytes.
        answer: The number that the program printed last, or NaN.
    """

    wall: float
    cpu: float
    memory: float
    answer: float


@dataclass(frozen=True, slots=True)
class Figures:
    """The samples of one program.

    Attributes:
        samples: In the order they were taken.
    """

    samples: Sequence[Sample]

    def median(self, figure: str) -> float:
        """Return the median of a figure: ``wall``, ``cpu``, ``memory`` or ``answer``."""
        return median(getattr(sample, figure) for sample in self.samples)

    def spread(self, figure: str) -> float:
        """Return the range from the smallest to the largest sample as a share of the median: the noise."""
        values = [getattr(sample, figure) for sample in self.samples]
        return (max(values) - min(values)) / median(values)


def run(program: str) -> Sample:
    """Run a program in a fresh interpreter and return what it cost.

    Raises:
        RuntimeError: If it fails; the message ends with what it wrote to its standard error.
    """
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        started = time.perf_counter()
        process = subprocess.Popen([sys.executable, "-c", program], stdout=output, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        if process.returncode:
            message = f"a benchmark failed:\n{program}\n{errors.read().decode()[-2000:]}"
            raise RuntimeError(message)
        lines = output.read().split()
    answer = float(lines[-1]) if lines else float("nan")
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB, answer)


def compare(programs: Mapping[str, str], *, rounds: int = ROUNDS) -> dict[str, Figures]:
    """Run every program once to warm the page cache, then all of them in turn, *rounds* times."""
    for program in programs.values():
        run(program)
    samples: dict[str, list[Sample]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            samples[name].append(run(program))
    return {name: Figures(taken) for name, taken in samples.items()}
