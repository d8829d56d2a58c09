"""Measuring Python programs as whole processes, several in turn, so that a drifting machine hits all of them alike.

Every sample is a fresh process. The figures are the operating system's own (CPU seconds, peak resident memory) and,
where a program times itself, what it prints last: a number, or a JSON object of several. Medians are quoted; the
spread says how noisy the machine was.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
        answers: The numbers that the program printed last, if it printed several, by name.
    """

    wall: float
    cpu: float
    memory: float
    answer: float
    answers: Mapping[str, float] = field(default_factory=dict)

    def figure(self, name: str) -> float:
        """Return a figure: ``wall``, ``cpu``, ``memory``, ``answer`` or one of the answers."""
        return self.answers[name] if name in self.answers else getattr(self, name)


@dataclass(frozen=True, slots=True)
class Figures:
    """The samples of one program.

    Attributes:
        samples: In the order they were taken.
    """

    samples: Sequence[Sample]

    def answered(self, name: str) -> bool:
        """Return whether every sample has an answer of this name."""
        return all(name in sample.answers for sample in self.samples)

    def median(self, figure: str) -> float:
        """Return the median of a figure: ``wall``, ``cpu``, ``memory``, ``answer`` or one of the answers."""
        return median(sample.figure(figure) for sample in self.samples)

    def spread(self, figure: str) -> float:
        """Return the range from the smallest to the largest sample as a share of the median: the noise."""
        values = [sample.figure(figure) for sample in self.samples]
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
        lines = output.read().splitlines()
    printed = json.loads(lines[-1]) if lines else float("nan")
    answer, answers = (float("nan"), printed) if isinstance(printed, dict) else (float(printed), {})
    return Sample(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _KIB, answer, answers)


def compare(programs: Mapping[str, str], *, rounds: int = ROUNDS) -> dict[str, Figures]:
    """Run every program once to warm the page cache, then all of them in turn, *rounds* times."""
    for program in programs.values():
        run(program)
    samples: dict[str, list[Sample]] = {name: [] for name in programs}
    for _ in range(rounds):
        for name, program in programs.items():
            samples[name].append(run(program))
    return {name: Figures(taken) for name, taken in samples.items()}
