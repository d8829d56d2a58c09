"""Safe access to the files of one checkpoint folder: read within a budget, replace in one step, one save at a time.

The only place in the family that opens a checkpoint file for reading its bytes, or writes one. Knows nothing
of what the bytes mean.
"""

import os
import re
import secrets
import stat
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
        if not hasattr(os, "pwrite"):  # Windows
            os.lseek(self._descriptor, offset, os.SEEK_SET)
            self.write(chunk)
            os.lseek(self._descriptor, 0, os.SEEK_END)
            return
        rest = memoryview(chunk).cast("B")
        while rest:
            written = os.pwrite(self._descriptor, rest, offset)
            rest, offset = rest[written:], offset + written

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
