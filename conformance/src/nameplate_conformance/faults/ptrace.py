"""ptrace(2) through ctypes: stop another process at its system calls, read their arguments, change what they do.

Reading is the same on every machine (`PTRACE_GET_SYSCALL_INFO`, Linux 5.3). Changing goes through the registers,
whose places only x86-64 and aarch64 are known here.
"""

import ctypes
import errno
import os
import platform
import signal
import struct
import sys
from dataclasses import dataclass
from functools import cache

TRACE_ME = 0
RESUME_TO_CALL = 24
"""PTRACE_SYSCALL: let it run to the next system call's beginning or end."""

ALL_THREADS = 0x40000000
"""__WALL: wait for threads too."""

CALL_STOP = 0x80
"""Added to SIGTRAP where a stop is at a system call (PTRACE_O_TRACESYSGOOD)."""

_SET_OPTIONS, _GET_REGISTERS, _SET_REGISTERS, _GET_CALL = 0x4200, 0x4204, 0x4205, 0x420E
_GOOD, _FORK, _VFORK, _CLONE, _DIE_WITH_TRACER = 0x1, 0x2, 0x4, 0x8, 0x100000
_GENERAL, _CALL_NUMBER = 1, 0x404  # NT_PRSTATUS, NT_ARM_SYSTEM_CALL
_ENTRY, _EXIT = 1, 2
_WORD = struct.Struct("=Q")
_INFO = struct.Struct("=B3xI2Q7Q")
_NO_CALL = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Machine:
    """Where a kind of machine keeps what a call is made of.

    Attributes:
        audit: The number by which the kernel tells the kinds apart.
        registers: How many there are.
        arguments: Which of them hold a call's arguments.
        answer: Which holds what it returns.
        number: Which holds its number, or None where that is a set of its own.
    """

    audit: int
    registers: int
    arguments: tuple[int, ...]
    answer: int
    number: int | None


_MACHINES = {
    "x86_64": Machine(0xC000003E, 27, (14, 13, 12, 7, 9, 8), 10, 15),
    "aarch64": Machine(0xC00000B7, 34, (0, 1, 2, 3, 4, 5), 0, None),
}


class _Piece(ctypes.Structure):
    """struct iovec."""

    _fields_ = (("base", ctypes.c_void_p), ("length", ctypes.c_size_t))


@dataclass(frozen=True, slots=True)
class CallStop:
    """A process or thread that stands at a system call.

    Attributes:
        at_entry: Whether the call has not begun; otherwise it is over.
        number: The call's number; only at its entry.
        arguments: Its six arguments; only at its entry.
    """

    at_entry: bool
    number: int = 0
    arguments: tuple[int, ...] = ()


def unsupported() -> str | None:
    """Return why system calls cannot be traced here, or None if they can.

    A process is traced to find out: containers may forbid it.
    """
    if sys.platform != "linux":
        return f"unsupported: ptrace is used on Linux only, this is {sys.platform}"
    if platform.machine() not in _MACHINES or sys.maxsize < 2**32:
        return f"unsupported: the registers of {platform.machine()} are not known, only {', '.join(_MACHINES)}"
    try:
        _try_out()
    except OSError as error:
        return f"ptrace is not permitted here: {error}"
    return None


def call(request: int, thread: int, address: int = 0, data: int = 0) -> int:
    """Call ptrace.

    Raises:
        OSError: If it fails; `ProcessLookupError` where the thread is gone.
    """
    answer = _ptrace()(request, thread, address, data)
    if answer == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return answer


def follow(process: int) -> None:
    """Follow a stopped process into its threads and children, and end all of them when this process ends."""
    call(_SET_OPTIONS, process, 0, _GOOD | _FORK | _VFORK | _CLONE | _DIE_WITH_TRACER)


def call_stop(thread: int) -> CallStop | None:
    """Return the system call at which a thread stands, or None if it speaks another machine's language."""
    buffer = ctypes.create_string_buffer(_INFO.size)
    call(_GET_CALL, thread, _INFO.size, ctypes.addressof(buffer))
    kind, audit, _, _, number, *arguments = _INFO.unpack(buffer.raw)
    if audit != _machine().audit or kind not in {_ENTRY, _EXIT}:
        return None
    if kind == _EXIT:
        return CallStop(at_entry=False)
    return CallStop(at_entry=True, number=number, arguments=tuple(arguments))


def skip_call(thread: int) -> None:
    """Let a thread that stands at the entry of a call not do it. It must be given an answer at the exit."""
    place = _machine().number
    if place is not None:
        _change(thread, place, _NO_CALL)
        return
    nothing = ctypes.c_int(-1)
    piece = _Piece(ctypes.addressof(nothing), ctypes.sizeof(nothing))
    call(_SET_REGISTERS, thread, _CALL_NUMBER, ctypes.addressof(piece))


def set_answer(thread: int, answer: int) -> None:
    """Change what a call has returned; an error is its negative number."""
    _change(thread, _machine().answer, answer % 2**64)


def set_argument(thread: int, place: int, value: int) -> None:
    """Change an argument of a call that has not begun."""
    _change(thread, _machine().arguments[place], value)


def read_memory(thread: int, address: int, size: int) -> bytes:
    """Return up to *size* bytes from the memory of a stopped thread."""
    memory = os.open(f"/proc/{thread}/mem", os.O_RDONLY)
    try:
        return os.pread(memory, size, address)
    finally:
        os.close(memory)


def write_memory(thread: int, address: int, data: bytes) -> None:
    """Change the memory of a stopped thread."""
    memory = os.open(f"/proc/{thread}/mem", os.O_WRONLY)
    try:
        os.pwrite(memory, data, address)
    finally:
        os.close(memory)


def _change(thread: int, place: int, value: int) -> None:
    buffer = ctypes.create_string_buffer(_machine().registers * _WORD.size)
    piece = _Piece(ctypes.addressof(buffer), len(buffer))
    call(_GET_REGISTERS, thread, _GENERAL, ctypes.addressof(piece))
    _WORD.pack_into(buffer, place * _WORD.size, value)
    call(_SET_REGISTERS, thread, _GENERAL, ctypes.addressof(piece))


@cache
def _machine() -> Machine:
    return _MACHINES[platform.machine()]


@cache
def _ptrace() -> "ctypes._NamedFuncPointer":
    function = ctypes.CDLL(None, use_errno=True).ptrace
    function.restype = ctypes.c_long
    function.argtypes = (ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p)
    return function


def _try_out() -> None:
    """Trace a process that does nothing, to the entry of its last system call."""
    child = os.fork()
    if not child:
        try:
            call(TRACE_ME, 0)
            os.kill(os.getpid(), signal.SIGSTOP)
        finally:
            os._exit(0)
    try:
        _, status = os.waitpid(child, ALL_THREADS)
        if not os.WIFSTOPPED(status):
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))
        follow(child)
        call(RESUME_TO_CALL, child)
        os.waitpid(child, ALL_THREADS)
        if call_stop(child) is None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    finally:
        _end(child)


def _end(child: int) -> None:
    try:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, ALL_THREADS)
    except (ProcessLookupError, ChildProcessError):
        return
