"""Safe access to the files of one checkpoint folder: read within a budget, replace in one step, one save at a time.

The only place in the family that opens a checkpoint file for reading its bytes, or writes one. Knows nothing
of what the bytes mean.
"""

import errno
import os
import re
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PureWindowsPath
from typing import IO, Self

from nameplate_config.errors import NameplateError, SourceNotFoundError, UnsafePathError
from nameplate_config.typing import StrPath
from nameplate_config.wording import listed, sentences, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

_PLAIN_NAME = re.compile(r"\w(?:[\w.-]*\w)?", re.ASCII)
"""A file name in which nobody could see anything else, on any system; those of checkpoints are of this kind."""

Buffer = bytes | bytearray | memoryview
"""What a `Draft` takes; nothing is copied on the way."""

_LONGEST_WRITE = 1 << 30
"""Linux writes at most 2 GiB - 4 KiB in one call; one GiB at a time stays clear of it everywhere."""

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MODERN = 1 << 32  # what `sys.maxsize` exceeds where sizes of files have 64 bits


def member(folder: Path, name: str) -> Path:
    """Return the path of the file *name* directly inside *folder*.

    Args:
        folder: The folder that the file must belong to.
        name: A plain file name. It may come from an untrusted file.

    Raises:
        UnsafePathError: If the name is a path, a drive, empty, or holds a NUL: it could leave the folder.

    Example:
        >>> member(Path("checkpoint"), "config.json").as_posix()
        'checkpoint/config.json'
    """
    if _PLAIN_NAME.fullmatch(name):
        return folder / name
    windows = PureWindowsPath(name)  # the stricter of the two grammars: it knows both slashes and drives
    # Windows drops dots and blanks at the end of a name, so that ".. " is the parent folder.
    if not name.strip(". ") or "\0" in name or windows.name != name or windows.drive:
        message = f"{shown(name)} is not a plain file name, so it could leave the folder {str(folder)!r}."
        raise UnsafePathError(message)
    return folder / name


def open_regular(path: Path) -> IO[bytes]:
    """Open a file for reading, but only a regular one: never a FIFO that blocks or an endless device.

    Links are followed: a Hub cache is made of them.

    Raises:
        SourceNotFoundError: If there is no such file, or it is no regular file.
    """
    try:
        # Without O_NONBLOCK, opening a FIFO nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        raise SourceNotFoundError(_absent(path)) from None
    except OSError as error:
        message = f"{str(path)!r} cannot be opened: {error.strerror}."
        raise SourceNotFoundError(message) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = f"{str(path)!r} is not a regular file."
        raise SourceNotFoundError(message)
    return os.fdopen(descriptor, "rb")


def read_file(path: Path, *, limit: int, too_large: Callable[[str], NameplateError]) -> bytes:
    """Read a whole file of at most *limit* bytes.

    Args:
        path: The file.
        limit: The largest size accepted, in bytes; nothing is read from a larger file.
        too_large: Makes the error to raise for a larger one.

    Raises:
        SourceNotFoundError: If the file is absent or not a regular file.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > limit:
            message = f"{str(path)!r} has {size:,} bytes; at most {limit:,} are read."
            raise too_large(message)
        return file.read(size)  # a buffer of the limit would cost more than most files


def folder_of(folder: StrPath) -> Path:
    """Return the path of a folder to save into; ``~`` is the home of the user.

    Args:
        folder: What a user gave as the path.

    Raises:
        UnsafePathError: If it is empty, or no path at all.

    Example:
        >>> folder_of("checkpoint").as_posix()
        'checkpoint'
    """
    text = os.fspath(folder)
    if not text or "\0" in text:
        message = f"{shown(text)} is no path, so nothing can be saved there. Give the path of a folder."
        raise UnsafePathError(message)
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        message = f"{shown(text)} begins with a home that is not known. Give the path of a folder."
        raise UnsafePathError(message) from error


def make_folder(folder: Path) -> None:
    """Create *folder* and its parents if they are missing.

    Raises:
        UnsafePathError: If the path, or a parent of it, is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        message = f"{str(folder)!r} is not a folder, so nothing can be saved into it. Give the path of a folder."
        raise UnsafePathError(message) from error


class Draft:
    """A file that is being written, invisible beside those of its folder until it takes its name.

    Used as a context, it removes itself unless it was published. Permissions follow the umask.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Draft(Path(folder), "note") as draft:
        ...     draft.write(b"0ld news")
        ...     draft.write_at(0, b"O")
        ...     draft.finish()
        ...     draft.publish(Path(folder, "note"))
        ...     Path(folder, "note").read_text()
        'Old news'
    """

    def __init__(self, folder: Path, name: str) -> None:
        """Create an empty file in *folder*, called after *name* in a way that `drafted_name` knows."""
        self._path = folder / f".{name}.{secrets.token_hex(6)}.tmp"
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        self._exists = True
        self._published = False

    @property
    def name(self) -> str:
        """The name of the hidden file, under which others find it; see `JoinedDraft`."""
        return self._path.name

    @property
    def published(self) -> bool:
        """Whether it has its name."""
        return self._published

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.discard()

    def write(self, chunk: Buffer) -> None:
        """Add bytes at the end."""
        rest = memoryview(chunk).cast("B")
        while rest:
            rest = rest[os.write(self._descriptor, rest[:_LONGEST_WRITE]) :]

    def write_at(self, offset: int, chunk: Buffer) -> None:
        """Write bytes over others; the end stays where it is."""
        _write_at(self._descriptor, offset, chunk)

    def lend(self, size: int, token: bytes) -> None:
        """Give the file its size and what tells it from any other, and close it until `take_back`.

        Where the file system can, it sets the room aside: a disk that is too full is known at once, and parts that come
        in any order lie side by side.

        Args:
            size: How large it is going to be, in bytes.
            token: What others find at its beginning when they join.
        """
        os.ftruncate(self._descriptor, size)
        _set_room_aside(self._descriptor, size)
        self.write_at(0, token)
        self.set_aside()

    def set_aside(self) -> None:
        """Close the file until `take_back`: a process may only have so many open."""
        self._close()

    def take_back(self) -> None:
        """Open the file again."""
        if self._descriptor < 0:
            self._descriptor = os.open(self._path, os.O_RDWR | getattr(os, "O_BINARY", 0))

    def flush(self) -> None:
        """Bring to the disk what has been written."""
        os.fsync(self._descriptor)

    def finish(self) -> None:
        """Bring everything to the disk and close the file."""
        self.flush()
        self._close()

    def publish(self, path: Path) -> None:
        """Give the finished file its name in one step; the folder is not yet flushed."""
        os.replace(self._path, path)  # noqa: PTH105 - the calls of `os` are what tests of crashes count
        self._published = True
        self._exists = False

    def discard(self) -> None:
        """Close the file, and remove it unless it was published."""
        with suppress(OSError):
            self._close()
        if self._exists:
            self._exists = False
            with suppress(OSError):
                os.unlink(self._path)  # noqa: PTH108 - as above

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)


class JoinedDraft:
    """A draft that another process has lent, into which this one writes a part of the bytes.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder, Draft(Path(folder), "note") as draft:
        ...     draft.lend(8, b"token")
        ...     with JoinedDraft(Path(folder, draft.name)) as joined:
        ...         found = bytes(joined.read_at(0, 5))
        ...         joined.write_at(4, b"news")
        ...     draft.take_back()
        ...     draft.write_at(0, b"Old ")
        ...     draft.finish()
        ...     draft.publish(Path(folder, "note"))
        ...     found, Path(folder, "note").read_text()
        (b'token', 'Old news')
    """

    def __init__(self, path: Path) -> None:
        """Open the draft.

        Raises:
            OSError: If it is not there, or cannot be opened.
        """
        self._descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None:
                self.flush()
        finally:
            os.close(self._descriptor)

    def flush(self) -> None:
        """Bring to the disk what has been written, by whomever."""
        os.fsync(self._descriptor)

    @property
    def descriptor(self) -> int:
        """What the system calls the open file."""
        return self._descriptor

    def read_at(self, offset: int, size: int) -> bytearray:
        """Return bytes of the file; fewer at its end."""
        found = bytearray(size)
        rest = memoryview(found)
        while rest:
            count = _read_at(self._descriptor, offset, rest)
            if not count:
                return found[: size - len(rest)]
            rest, offset = rest[count:], offset + count
        return found

    def write_at(self, offset: int, chunk: Buffer) -> None:
        """Write bytes to their place."""
        _write_at(self._descriptor, offset, chunk)

    def can_lock(self) -> bool:
        """Return whether `locked_at` keeps other processes out: not every system and file system can do that."""
        try:
            with self.locked_at(0, 1):
                return True
        except OSError:
            return False

    @contextmanager
    def locked_at(self, offset: int, size: int) -> Iterator[None]:
        """Keep other processes that ask for these bytes out of them; wait until they are done.

        Raises:
            OSError: If the system or the file system cannot do that.
        """
        if fcntl is None:
            message = "this system has no locks on parts of a file"
            raise OSError(message)
        fcntl.lockf(self._descriptor, fcntl.LOCK_EX, size, offset)
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN, size, offset)


def _set_room_aside(descriptor: int, size: int) -> None:
    """Let the file system reserve what a file is going to have, if it knows how.

    `os.posix_fallocate` would go on where it does not: the C library then writes into each block of the file.
    """
    import ctypes  # noqa: PLC0415 - only those who share a file need it

    if sys.platform != "linux" or sys.maxsize < _MODERN or not size:
        return
    fallocate = getattr(ctypes.CDLL(None, use_errno=True), "fallocate", None)
    if fallocate is None:
        return
    fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
    if fallocate(descriptor, 0, 0, size) and ctypes.get_errno() in _NO_ROOM:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _write_at(descriptor: int, offset: int, chunk: Buffer) -> None:
    rest = memoryview(chunk).cast("B")
    if not hasattr(os, "pwrite"):  # Windows
        os.lseek(descriptor, offset, os.SEEK_SET)
        while rest:
            rest = rest[os.write(descriptor, rest[:_LONGEST_WRITE]) :]
        os.lseek(descriptor, 0, os.SEEK_END)
        return
    while rest:
        written = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def _read_at(descriptor: int, offset: int, buffer: memoryview) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], offset)
    os.lseek(descriptor, offset, os.SEEK_SET)  # Windows, and macOS of old
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)


_DRAFT = re.compile(r"\.(.+)\.[0-9a-f]{12}\.tmp")


def drafted_name(name: str) -> str | None:
    """Return what the draft of the name *name* is called after, or None if it is no draft.

    Example:
        >>> drafted_name(".config.json.0123456789ab.tmp"), drafted_name("config.json")
        ('config.json', None)
    """
    found = _DRAFT.fullmatch(name)
    return found and found[1]


def replace_file(path: Path, chunks: Iterable[Buffer]) -> None:
    """Write a file so that a reader, a crash or a power loss sees the old content or the new, never a mix.

    The bytes go to a draft in the same folder, which is flushed to the disk and then renamed over *path*; the
    folder is flushed last. Permissions follow the umask. A failure removes the draft.

    Raises:
        OSError: Whatever the system reports: no space, no permission. The old file is untouched.
    """
    with Draft(path.parent, path.name) as draft:
        for chunk in chunks:
            draft.write(chunk)
        draft.finish()
        draft.publish(path)
    flush_folder(path.parent)


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Keep others that ask for this lock out of a folder, processes and threads alike; wait until they are done.

    Yields:
        Whether the folder is locked: not every system and file system can do that.

    Raises:
        OSError: If the folder cannot be opened.
    """
    if fcntl is None:
        yield False
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            held = True
        except OSError:
            held = False
        try:
            yield held
        finally:
            if held:  # closing is not enough: a process that was forked meanwhile has the descriptor too
                fcntl.flock(descriptor, fcntl.LOCK_UN)
    finally:
        os.close(descriptor)


def flush_folder(folder: Path) -> None:
    """Make renames and removals inside *folder* survive a power loss, where the system can promise that."""
    if os.name == "nt":  # Windows cannot open a folder; its renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _absent(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}, so no {path.name!r} in it."
    with suppress(OSError):  # it is no link, or somebody who saves has put a file there since
        return f"{path.name!r} in {str(folder)!r} is a link to {str(path.readlink())!r}, which does not exist."
    there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return sentences(f"there is no {path.name!r} in {str(folder)!r}.", f"The folder holds: {listed(there)}.")
