"""The engine that sees every system call: threads and children included, whatever language made it."""

import os
import platform
import signal
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from nameplate_conformance.faults import ptrace
from nameplate_conformance.faults.fault import Call, Fault, Trace
from nameplate_conformance.faults.forks import Ending, Fork
from nameplate_conformance.faults.signatures import CURRENT, RINGS, SIGNATURES, Signature

_LONGEST_PATH = 4096
_MOST_PIECES = 1024  # IOV_MAX
_PIECE = struct.Struct("=2Q")
_SHARED, _SHARED_OR_PRIVATE, _PROT_WRITE = 1, 3, 2
_FICLONE = frozenset({0x40049409, 0x4020940D})
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


def run_traced(
    work: Callable[[], str | None],
    folder: Path,
    fault: Fault | None = None,
    at: int = 0,
    committed: Callable[[BaseException], bool] = lambda _: False,
    *,
    watch: Callable[[Call], object] = lambda _: None,
) -> tuple[Trace, Ending]:
    """Run a function in a process of its own and let a fault befall the *at*-th change that it makes in a folder.

    Args:
        work: What the process does.
        folder: What is watched, with all below it.
        fault: What befalls it, or None to look on.
        at: Counted from 0, over all its threads.
        committed: Whether an error that it raised says that it was done all the same.
        watch: Is told of each change, while the process stands still.
    """

    def begin() -> None:
        ptrace.call(ptrace.TRACE_ME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)

    fork = Fork(work, committed=committed, first=begin)
    tracer = _Tracer(fork.process, Path(os.path.realpath(folder)), fault, at, watch)
    trace = tracer.run()
    return trace, fork.ending(trace.ended_by)


class _Tracer:
    """Follows one process through its life."""

    def __init__(
        self, process: int, folder: Path, fault: Fault | None, at: int, watch: Callable[[Call], object]
    ) -> None:
        self._process = process
        self._folder = folder
        self._fault = fault
        self._at = at
        self._watch = watch
        self._begun: dict[int, Call] = {}  # the change that each thread is making
        self._signatures = SIGNATURES[platform.machine()]
        self._calls: list[Call] = []
        self._failed: list[str] = []
        self._answers: dict[int, int] = {}  # what a skipped call of a thread is going to return
        self._doomed: set[int] = set()  # threads whose torn write is the last thing they do
        self._borrowed: dict[int, tuple[int, bytes]] = {}  # memory that is put back at the end of a thread's call
        self._known = {process}
        self._blind = ""

    def run(self) -> Trace:
        """Let it live to its end."""
        _, status = os.waitpid(self._process, ptrace.ALL_THREADS)
        if os.WIFSTOPPED(status):
            ptrace.follow(self._process)
            _resume(self._process, 0)
        end = status
        while True:
            try:
                thread, status = os.waitpid(-self._process, ptrace.ALL_THREADS)
            except ChildProcessError:
                break
            if os.WIFSTOPPED(status):
                self._stopped(thread, status)
            elif thread == self._process:
                end = status
                self._kill()  # whatever it has left behind
        ended_by = os.WTERMSIG(end) if os.WIFSIGNALED(end) else 0
        return Trace(tuple(self._calls), tuple(self._failed), ended_by, self._blind)

    def _stopped(self, thread: int, status: int) -> None:
        reason, event = os.WSTOPSIG(status), status >> 16
        try:
            if reason == signal.SIGTRAP | ptrace.CALL_STOP:
                self._at_call(thread)
                reason = 0
            elif event or (reason == signal.SIGSTOP and thread not in self._known):
                reason = 0  # a new thread, or the news of one
            self._known.add(thread)
            _resume(thread, reason)
        except ProcessLookupError:
            return  # killed meanwhile

    def _at_call(self, thread: int) -> None:
        stop = ptrace.call_stop(thread)
        if stop is None:
            self._blind = "a call of another kind of machine"
        elif stop.at_entry:
            self._at_entry(thread, stop.number, stop.arguments)
        else:
            self._at_exit(thread)

    def _at_exit(self, thread: int) -> None:
        if thread in self._begun:
            self._watch(self._begun.pop(thread))
        if thread in self._doomed:
            self._kill()
        elif thread in self._borrowed:
            ptrace.write_memory(thread, *self._borrowed.pop(thread))
        elif thread in self._answers:
            ptrace.set_answer(thread, self._answers.pop(thread))

    def _at_entry(self, thread: int, number: int, arguments: tuple[int, ...]) -> None:
        if number in RINGS:
            self._blind = "io_uring"
        signature = self._signatures.get(number)
        paths = self._watched(signature, thread, arguments) if signature else ()
        if signature is None or not paths:
            return
        size = _size(signature, thread, arguments)
        place = len(self._calls)
        self._begun[thread] = Call(signature.name, paths, size)
        self._calls.append(self._begun[thread])
        if self._fault is None or place < self._at:
            return
        if place == self._at:
            self._strike(self._fault, signature, thread, arguments)
        elif self._fault.befalls_later(signature.name):
            self._fail(signature.name, thread, self._fault.number)

    def _strike(self, fault: Fault, signature: Signature, thread: int, arguments: tuple[int, ...]) -> None:
        if fault.kind == "error":
            self._fail(signature.name, thread, fault.number)
        elif fault.kind == "kill" or (fault.kind == "torn" and not signature.writes):
            self._kill()
        elif signature.writes:
            self._halve(signature, thread, arguments)
            if fault.kind == "torn":
                self._doomed.add(thread)

    def _halve(self, signature: Signature, thread: int, arguments: tuple[int, ...]) -> None:
        """Let a write get only half of its bytes: of a list of buffers, those that hold them."""
        if signature.vector is None:
            assert signature.size is not None
            ptrace.set_argument(thread, signature.size, arguments[signature.size] // 2)
            return
        pieces = _pieces(signature.vector, thread, arguments)
        left = sum(length for _, length in pieces) // 2
        kept = bytearray()
        for address, length in pieces:
            kept += _PIECE.pack(address, min(left, length))
            left -= min(left, length)
        address = arguments[signature.vector]
        self._borrowed[thread] = address, ptrace.read_memory(thread, address, len(kept))
        ptrace.write_memory(thread, address, bytes(kept))

    def _fail(self, name: str, thread: int, number: int) -> None:
        ptrace.skip_call(thread)
        self._answers[thread] = -number
        self._failed.append(name)

    def _kill(self) -> None:
        """End it, with all its threads and children."""
        with suppress(ProcessLookupError):
            os.killpg(self._process, signal.SIGKILL)

    def _watched(self, signature: Signature, thread: int, arguments: tuple[int, ...]) -> tuple[str, ...]:
        """Return which paths in the folder a call is going to change."""
        if not _changes(signature, thread, arguments):
            return ()
        found = [_path_of(thread, arguments[each]) for each in signature.descriptors]
        found += [_path_at(thread, base, arguments, each) for base, each in signature.paths]
        inside = [each for each in found if each is not None and each.is_relative_to(self._folder)]
        return tuple(dict.fromkeys(each.relative_to(self._folder).as_posix() for each in inside))


def _changes(signature: Signature, thread: int, arguments: tuple[int, ...]) -> bool:
    """Whether a call that may change something does, by its flags."""
    match signature.only_if:
        case "opened to change":
            return bool(arguments[1 if signature.name == "open" else 2] & _CHANGES)
        case "described to change":
            return bool(int.from_bytes(ptrace.read_memory(thread, arguments[2], 8), "little") & _CHANGES)
        case "mapped to change":
            return bool(arguments[2] & _PROT_WRITE) and arguments[3] & 0xF in {_SHARED, _SHARED_OR_PRIVATE}
        case "cloned":
            return arguments[1] in _FICLONE
    return True


def _path_of(thread: int, descriptor: int) -> Path | None:
    """Return what a descriptor of another process stands for, or None if that is no file."""
    number = descriptor & 0xFFFFFFFF
    try:
        path = str(Path(f"/proc/{thread}/fd/{number}").readlink())
    except OSError:
        return None
    return Path(path.removesuffix(" (deleted)")) if path.startswith("/") else None


def _path_at(thread: int, base: int | None, arguments: tuple[int, ...], place: int) -> Path | None:
    """Return the path that an argument points at; a link at its end is not followed."""
    if not arguments[place]:
        return None
    text = os.fsdecode(ptrace.read_memory(thread, arguments[place], _LONGEST_PATH).partition(b"\0")[0])
    folder = _working_folder(thread) if base is CURRENT else _base(thread, arguments[base])
    if folder is None or not text:
        return folder
    whole = Path(os.path.normpath(folder / text))
    return whole.parent.resolve() / whole.name


def _base(thread: int, descriptor: int) -> Path | None:
    signed = (descriptor & 0xFFFFFFFF) - (descriptor >> 31 & 1) * 2**32
    return _working_folder(thread) if signed < 0 else _path_of(thread, descriptor)


def _working_folder(thread: int) -> Path:
    return Path(f"/proc/{thread}/cwd").readlink()


def _size(signature: Signature, thread: int, arguments: tuple[int, ...]) -> int:
    if signature.vector is not None:
        return sum(length for _, length in _pieces(signature.vector, thread, arguments))
    return arguments[signature.size] if signature.size is not None else 0


def _pieces(place: int, thread: int, arguments: tuple[int, ...]) -> list[tuple[int, int]]:
    count = min(arguments[place + 1], _MOST_PIECES)
    return list(_PIECE.iter_unpack(ptrace.read_memory(thread, arguments[place], count * _PIECE.size)))


def _resume(thread: int, deliver: int) -> None:
    ptrace.call(ptrace.RESUME_TO_CALL, thread, 0, deliver)
