"""Worker processes, each of which judges one cell after another for a supervisor that survives whatever they do.

An architecture may end its process, crash it or never return. Then its worker is replaced, and the one cell that was
being judged has a verdict that says how it ended. Everything here is about processes; what they are asked next is
`schedule`.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self

from nameplate_config.wording import sentences
from nameplate_conformance.instruments.folders import remove_folders_of
from nameplate_conformance.judging.bench import Loaded, Terms
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.judging.worker_process import READY
from nameplate_conformance.result import Status

if TYPE_CHECKING:
    from nameplate_conformance.judging.cell import Cell
    from nameplate_conformance.judging.schedule import Schedule

ENVIRONMENT = {"CUBLAS_WORKSPACE_CONFIG": ":4096:8", "MKL_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""What has to be said before torch starts, for sums to be the same every time."""

_LIMIT = 3
"""How many times the patience with one example a cell may take until its worker is killed."""

_KEPT = 16_384
"""How many bytes of what a worker writes to standard error are kept."""

_LAST_LINES = 3
_TRACE = "(most recent call first)"
_GRACE = 0.5
_START = 600.0
_LONGEST_WAIT = 3600.0


@dataclass(eq=False)
class Worker:
    """One process, and the threads that listen to it.

    Attributes:
        terms: How it judges.
        events: Where each answer of it goes, and None when it has ended.
        scratch: The folder for whatever it leaves lying about.
        task: What it has been asked; None if nothing.
        ready: Whether it has imported what it needs to judge.
        deadline: When it should have answered, in seconds of `time.monotonic`.
        overdue: Whether it has not.
    """

    terms: Terms
    events: "queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]]"
    scratch: str
    task: Any = None
    ready: bool = False
    deadline: float = float("inf")
    overdue: bool = False
    _said: bytearray = field(default_factory=bytearray)

    def __post_init__(self) -> None:
        """Start the process."""
        command = [sys.executable, "-P", "-c", "from nameplate_conformance.judging.worker_process import main; main()"]
        here = {"TMPDIR": self.scratch, "HYPOTHESIS_STORAGE_DIRECTORY": os.path.join(self.scratch, "hypothesis")}  # noqa: PTH118 - as text
        pipe, env = subprocess.PIPE, os.environ | ENVIRONMENT | here
        # A session of its own: neither does Ctrl-C reach it, nor what is done to it and its children anybody else.
        self.process = subprocess.Popen(  # noqa: S603 - our own module
            command, stdin=pipe, stdout=pipe, stderr=pipe, env=env, start_new_session=True
        )
        listeners = [threading.Thread(target=each, daemon=True) for each in (self._hear, self._overhear)]
        for each in listeners:
            each.start()
        self._attendant = threading.Thread(target=self._attend, args=(listeners,), daemon=True)
        self._attendant.start()
        self.tell(self.terms.as_json())

    def tell(self, question: Mapping[str, Any]) -> bool:
        """Send a question; return whether there was somebody to read it."""
        try:
            _pipe(self.process.stdin).write(json.dumps(question).encode() + b"\n")
            _pipe(self.process.stdin).flush()
        except (OSError, ValueError):  # nobody reads it, or the pipe is closed already
            return False
        return True

    def _hear(self) -> None:
        for line in _pipe(self.process.stdout):
            self.events.put((self, json.loads(line)))

    def _overhear(self) -> None:
        """Keep the end of what it writes, and let it never wait for a reader."""
        while said := os.read(_pipe(self.process.stderr).fileno(), _KEPT):
            self._said += said
            del self._said[:-_KEPT]

    def _attend(self, listeners: Iterable[threading.Thread]) -> None:
        """Wait for the end of the process, and let none of its children outlive it."""
        if hasattr(os, "waitid"):
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)
            self.kill()  # while the number of the process cannot be given to another one
        self.process.wait()
        remove_folders_of(self.process.pid)
        for each in listeners:
            each.join(_GRACE)
        for pipe in (self.process.stdin, self.process.stdout, self.process.stderr):
            with suppress(OSError):  # of a question that nobody has read
                _pipe(pipe).close()
        self.events.put((self, None))

    def kill(self) -> None:
        """End the process and its children at once."""
        with suppress(OSError):
            if hasattr(os, "killpg"):
                os.killpg(self.process.pid, signal.SIGKILL)
            else:
                self.process.kill()

    def end(self) -> None:
        """End the process and its children, and return when they are gone."""
        self.kill()
        self._attendant.join()

    def interrupt(self) -> None:
        """End a process that should have answered, after it has said where it is."""
        self.overdue = True
        if hasattr(signal, "SIGUSR1"):
            self.process.send_signal(signal.SIGUSR1)  # answered also by code that never returns to Python
            time.sleep(_GRACE)
        self.kill()

    def last_words(self) -> str:
        """Return where the process was when it ended, or the last lines that it wrote."""
        lines = [line.strip() for line in bytes(self._said).decode(errors="replace").splitlines() if line.strip()]
        traces = [number for number, line in enumerate(lines) if _TRACE in line and not line.startswith("Thread")]
        if traces:
            begun = lines[traces[-1] + 1 :]
            return "It was in:\n" + "\n".join(line for line in begun[:_LAST_LINES] if line.startswith("File "))
        return "It said last:\n" + "\n".join(lines[-_LAST_LINES:]) if lines else ""


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "every standard stream of a worker is a pipe"
    return pipe


@dataclass
class Crew:
    """The workers of one run. Inside a ``with`` block they exist, after it they do not.

    Attributes:
        terms: How they judge.
        size: How many there may be.
        limit: Seconds that a cell may take; not given, a multiple of the profile's patience with one example.
        trouble: Why a failure could not be kept; empty if every one was.
    """

    terms: Terms
    size: int = 1
    limit: float = 0.0
    trouble: str = ""
    _workers: list[Worker] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Set the limit."""
        self.limit = self.limit or PROFILES[self.terms.profile].patience * _LIMIT
        self._events: queue.SimpleQueue[tuple[Worker, dict[str, Any] | None]] = queue.SimpleQueue()

    def __enter__(self) -> Self:
        """Start the first worker, which then imports torch beside whatever its supervisor imports."""
        self._scratch = tempfile.TemporaryDirectory(prefix="conformance-", ignore_cleanup_errors=True)
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every worker, whatever it is doing."""
        for worker in self._workers:
            worker.end()
        self._scratch.cleanup()

    def load(self, texts: Iterable[str]) -> dict[str, Loaded]:
        """Let a worker load architectures, and return what became of each by its text."""
        found: dict[str, Loaded] = {}
        for text in texts:
            self._ask(text, {"load": text})
            _, answer = self._heard()
            found[text] = Loaded(failure=answer) if isinstance(answer, str) else Loaded.from_json(answer)
        return found

    def judge(
        self, schedule: "Schedule", texts: Mapping[str, str], *, begun: Callable[["Cell"], None] = lambda _: None
    ) -> None:
        """Judge every cell of a schedule.

        Args:
            schedule: Says which cell is next, and is told what was found.
            texts: By which text a worker finds an architecture, by its label.
            begun: Called with each cell when a worker begins to judge it.
        """
        from nameplate_conformance.records.journal import result_from_json  # noqa: PLC0415 - while the first worker starts

        while True:
            while len(self._busy()) < self.size and (cell := schedule.take()) is not None:
                begun(cell)
                label, law_id, device = cell.key
                self._ask(cell, {"judge": texts[label], "law": law_id, "device": device})
            if not self._busy():
                return
            cell, answer = self._heard()
            if isinstance(answer, str):
                schedule.finish(cell, cell.result(Status.ERROR, message=answer))
            else:
                self.trouble = answer["trouble"] or self.trouble
                schedule.finish(cell, result_from_json(answer["result"]))

    def _start(self) -> Worker:
        self._workers.append(Worker(self.terms, self._events, self._scratch.name))
        return self._workers[-1]

    def _busy(self) -> list[Worker]:
        return [worker for worker in self._workers if worker.task is not None]

    def _ask(self, task: Any, question: Mapping[str, Any]) -> None:
        """Give a task to a worker that has none, or to a new one."""
        worker = next((each for each in self._workers if each.task is None), None) or self._start()
        while not worker.tell(question):  # it ended while nobody asked it anything, which is nobody's fault now
            self._workers.remove(worker)
            worker = self._start()
        worker.task, worker.deadline = task, time.monotonic() + (self.limit if worker.ready else _START)

    def _heard(self) -> tuple[Any, Any]:
        """Wait for one task to end; return it with its answer, or with a sentence on how its worker ended."""
        while True:
            try:
                soonest = min(worker.deadline for worker in self._busy())
                worker, answer = self._events.get(timeout=min(max(0.0, soonest - time.monotonic()), _LONGEST_WAIT))
            except queue.Empty:
                for worker in self._busy():
                    if worker.deadline <= time.monotonic():
                        worker.interrupt()
                        worker.deadline = float("inf")
                continue
            if answer == READY:
                worker.ready, worker.deadline = True, time.monotonic() + self.limit
                continue
            if worker.overdue and answer is not None:
                continue  # being asked where it is has woken it up, too late
            if answer is None and worker in self._workers:
                self._workers.remove(worker)
            task, worker.task = worker.task, None
            if task is not None:
                return task, self._ending(worker) if answer is None else answer

    def _ending(self, worker: Worker) -> str:
        code = worker.process.returncode
        if worker.overdue:
            how = f"it did not end within {self.limit:g} seconds, so its process was killed"
        elif code == -signal.SIGKILL:
            how = "its process was killed by SIGKILL, as the system does where memory runs out"
        elif code < 0:
            how = f"its process was killed by {signal.Signals(-code).name}"
        else:
            how = f"it ended its process with exit code {code}"
        return sentences(f"{how}.", worker.last_words())
