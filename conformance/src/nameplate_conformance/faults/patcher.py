"""The engine for places where ptrace may not be used: it sees the changes that go through Python's `os`, no others.

The functions of `os` are replaced inside the process that is to suffer: in one of its own, `run_patched`, or for the
length of a block in this one, `patched`. What a library writes without them, and what the built-in `open` writes, stays
unseen; a saver that writes through `os` alone is seen completely.
"""

import itertools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from nameplate_conformance.faults.fault import Call, Fault, Trace
from nameplate_conformance.faults.forks import Ending, Fork

try:
    import fcntl
except ImportError:  # Windows, where descriptors have no paths either
    fcntl = None

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

Watch = Callable[[Call], object]
"""Is told of each change, once it is made."""


def _blink(_: Call) -> None:
    return


def run_patched(
    work: Callable[[], str | None],
    folder: Path,
    fault: Fault | None = None,
    at: int = 0,
    committed: Callable[[BaseException], bool] = lambda _: False,
    *,
    watch: Watch = _blink,
) -> tuple[Trace, Ending]:
    """Do what `run_traced` does, for changes that go through `os`.

    Args:
        work: What the process does.
        folder: What is watched, with all below it.
        fault: What befalls it, or None to look on.
        at: Counted from 0, over all its threads.
        committed: Whether an error that it raised says that it was done all the same.
        watch: Is told of each change, in the new process.
    """
    reader, writer = os.pipe()
    tell = os.write  # as it is before it is replaced

    def say(*words: str) -> None:
        tell(writer, ("\t".join(words) + "\n").encode())

    patcher = _Patcher(folder, fault, at, say, watch)
    fork = Fork(work, committed=committed, first=patcher.patch)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8") as pipe:  # to its end, so that the process never waits
        lines = [line.rstrip("\n").split("\t") for line in pipe]
    _, status = os.waitpid(fork.process, 0)
    calls = tuple(Call(line[0], tuple(line[2:]), int(line[1])) for line in lines if len(line) > 1)
    failed = tuple(line[0] for line in lines if len(line) == 1)
    ended_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return Trace(calls, failed, ended_by, "whatever does not go through os"), fork.ending(ended_by)


@contextmanager
def patched(folder: Path, fault: Fault | None = None, at: int = 0, *, watch: Watch = _blink) -> Iterator[list[str]]:
    """Let an error befall a change that this very process makes in a folder, or look on; in all its threads.

    Args:
        folder: What is watched, with all below it.
        fault: An error, or None to look on.
        at: Which change fails, counted from 0.
        watch: Is told of each change.

    Yields:
        The names of the calls that were made to fail, as they are.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     seen = []
        ...     with patched(Path(folder), watch=seen.append):
        ...         os.mkdir(os.path.join(folder, "a"))
        >>> print(*seen)
        mkdir(a)
    """
    assert fault is None or not fault.ends_it, f"{fault} would end this process"
    failed: list[str] = []

    def say(name: str, *call: str) -> None:
        if not call:
            failed.append(name)

    patcher = _Patcher(folder, fault, at, say, watch)
    patcher.patch()
    try:
        yield failed
    finally:
        patcher.restore()


class _Patcher:
    """Replaces the functions of `os` in its own process.

    Args:
        folder: What is watched.
        fault: What befalls a change, or None.
        at: Which change.
        say: Hears the name, the size and the paths of each change before it is made, and the name of a failed one.
        watch: Hears of each change when it is made.
    """

    def __init__(self, folder: Path, fault: Fault | None, at: int, say: Callable[..., None], watch: Watch) -> None:
        self._folder = Path(os.path.realpath(folder))
        self._fault = fault
        self._at = at
        self._count = itertools.count()
        self._say = say
        self._watch = watch
        self._originals: dict[str, Callable[..., Any]] = {}

    def patch(self) -> None:
        """Replace them all."""
        for name in (*_BY_DESCRIPTOR, *_BY_PATH):
            if hasattr(os, name):
                self._originals[name] = getattr(os, name)
                setattr(os, name, self._mortal(name, getattr(os, name)))

    def restore(self) -> None:
        """Put back what was there."""
        for name, function in self._originals.items():
            setattr(os, name, function)

    def _mortal(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            paths = self._watched(name, arguments, keywords)
            if not paths:
                return function(*arguments, **keywords)
            place = next(self._count)
            size = _size_of(arguments[_WRITES[name]]) if name in _WRITES else 0
            self._say(name, str(size), *paths)
            answer = self._befallen(place, name, function, arguments, keywords)
            self._watch(Call(name, tuple(paths), size))
            return answer

        return call

    def _befallen(self, place: int, name: str, function: Callable[..., Any], arguments: Any, keywords: Any) -> Any:
        if self._fault is None or place < self._at:
            return function(*arguments, **keywords)
        if place > self._at:
            return self._later(self._fault, name, function, arguments, keywords)
        return self._struck(self._fault, name, function, arguments, keywords)

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
        if fcntl is not None and hasattr(fcntl, "F_GETPATH"):
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
