"""The engine for places where ptrace may not be used: it sees the changes that go through Python's `os`, no others.

The functions of `os` are replaced inside the process that is to suffer. What a library writes without them, and what
the built-in `open` writes, stays unseen; a saver that writes through `os` alone is seen completely.
"""

import fcntl
import itertools
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from nameplate_conformance.faults.fault import Call, Fault, Trace
from nameplate_conformance.faults.forks import Ending, Fork

_WRITES = {"write": 1, "pwrite": 1, "writev": 1, "pwritev": 1, "sendfile": 3, "copy_file_range": 2}
"""Which argument holds what is written, or how much of it."""

_BY_DESCRIPTOR = {
    **dict.fromkeys(("write", "pwrite", "writev", "pwritev", "sendfile", "ftruncate", "posix_fallocate"), 0),
    **dict.fromkeys(("fsync", "fdatasync", "fchmod", "fchown"), 0),
    "copy_file_range": 1,
}
_BY_PATH = {
    **dict.fromkeys(("open", "unlink", "remove", "mkdir", "rmdir", "chmod", "chown", "truncate", "utime"), (0,)),
    **dict.fromkeys(("rename", "replace", "link"), (0, 1)),
    "symlink": (1,),
}
_CHANGES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
_LONGEST_PATH = 1024


def run_patched(
    work: Callable[[], str | None],
    folder: Path,
    fault: Fault | None = None,
    at: int = 0,
    committed: Callable[[BaseException], bool] = lambda _: False,
) -> tuple[Trace, Ending]:
    """Do what `run_traced` does, for changes that go through `os`.

    Args:
        work: What the process does.
        folder: What is watched, with all below it.
        fault: What befalls it, or None to look on.
        at: Counted from 0, over all its threads.
        committed: Whether an error that it raised says that it was done all the same.
    """
    reader, writer = os.pipe()
    patcher = _Patcher(Path(os.path.realpath(folder)), fault, at, writer)
    fork = Fork(work, committed=committed, first=patcher.patch)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:  # to its end, so that the process never waits
        lines = [line.rstrip("\n").split("\t") for line in pipe]
    _, status = os.waitpid(fork.process, 0)
    calls = tuple(Call(line[0], tuple(line[2:]), int(line[1])) for line in lines if len(line) > 1)
    failed = tuple(line[0] for line in lines if len(line) == 1)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Trace(calls, failed, ended_by, "whatever does not go through os"), fork.ending(ended_by)


class _Patcher:
    """Replaces the functions of `os` in its own process."""

    def __init__(self, folder: Path, fault: Fault | None, at: int, writer: int) -> None:
        self._folder = folder
        self._fault = fault
        self._at = at
        self._writer = writer
        self._count = itertools.count()
        self._tell = os.write  # as it is before it is replaced

    def patch(self) -> None:
        """Replace them all, from here to the end of the process."""
        for name in (*_BY_DESCRIPTOR, *_BY_PATH):
            if hasattr(os, name):
                setattr(os, name, self._mortal(name, getattr(os, name)))

    def _mortal(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            paths = self._watched(name, arguments, keywords)
            if not paths:
                return function(*arguments, **keywords)
            place = next(self._count)
            size = _size_of(arguments[_WRITES[name]]) if name in _WRITES else 0
            self._say(name, str(size), *paths)
            if self._fault is None or place < self._at:
                return function(*arguments, **keywords)
            if place > self._at:
                return self._later(self._fault, name, function, arguments, keywords)
            return self._struck(self._fault, name, function, arguments, keywords)

        return call

    def _later(self, fault: Fault, name: str, function: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        if fault.befalls_later(name):
            self._fail(name, fault)
        return function(*arguments, **keywords)

    def _struck(self, fault: Fault, name: str, function: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        if fault.kind == "error":
            self._fail(name, fault)
        if fault.only_writes and name in _WRITES:
            place = _WRITES[name]
            half = _half(arguments[place])
            answer = function(*arguments[:place], half, *arguments[place + 1 :], **keywords)
            if fault.kind == "short":
                return answer
        if fault.ends_it:
            os.killpg(0, signal.SIGKILL)
        return function(*arguments, **keywords)

    def _fail(self, name: str, fault: Fault) -> NoReturn:
        self._say(name)
        raise OSError(fault.number, os.strerror(fault.number))

    def _say(self, *words: str) -> None:
        self._tell(self._writer, ("\t".join(words) + "\n").encode())

    def _watched(self, name: str, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> list[str]:
        if name == "open" and not (keywords.get("flags") or arguments[1]) & _CHANGES:
            return []
        if name in _BY_DESCRIPTOR:
            found = [_path_of(arguments[_BY_DESCRIPTOR[name]])]
        else:
            bases = [keywords.get(each, keywords.get("dir_fd")) for each in ("src_dir_fd", "dst_dir_fd")]
            places = _BY_PATH[name]
            found = [_path_at(arguments[each], base) for each, base in zip(places, bases, strict=False)]
        inside = [each for each in found if each is not None and each.is_relative_to(self._folder)]
        return list(dict.fromkeys(each.relative_to(self._folder).as_posix() for each in inside))


def _path_of(descriptor: Any) -> Path | None:
    """Return what a descriptor stands for, on Linux and on macOS."""
    number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
    try:
        if hasattr(fcntl, "F_GETPATH"):
            text = os.fsdecode(fcntl.fcntl(number, fcntl.F_GETPATH, bytes(_LONGEST_PATH)).rstrip(b"\0"))
        else:
            text = str(Path(f"/proc/self/fd/{number}").readlink()).removesuffix(" (deleted)")
    except OSError:
        return None
    return Path(text) if text.startswith("/") else None


def _path_at(path: Any, base: int | None) -> Path | None:
    if isinstance(path, int):
        return _path_of(path)
    folder = Path.cwd() if base is None else _path_of(base)
    if folder is None:
        return None
    whole = Path(os.path.normpath(folder / os.fsdecode(path)))
    return whole.parent.resolve() / whole.name


def _size_of(written: Any) -> int:
    if isinstance(written, int):
        return written
    return sum(memoryview(each).nbytes for each in written) if isinstance(written, list) else memoryview(written).nbytes


def _half(written: Any) -> Any:
    """Return the first half of what is to be written: a number of bytes, a buffer, or the buffers of a list."""
    if isinstance(written, int):
        return written // 2
    if not isinstance(written, list):
        return memoryview(written).cast("B")[: _size_of(written) // 2]
    left = _size_of(written) // 2
    halves: list[memoryview] = []
    for each in written:
        piece = memoryview(each).cast("B")[:left]
        halves.append(piece)
        left -= len(piece)
    return halves
