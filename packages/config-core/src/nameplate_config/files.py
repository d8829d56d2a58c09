"""Safe access to the files of one checkpoint folder: read within a budget, replace in one step, stay inside.

The only place in the family that opens a checkpoint file for reading its bytes, or writes one. Knows nothing
of what the bytes mean.
"""

import os
import secrets
import stat
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path, PureWindowsPath
from typing import IO

from nameplate_config.errors import NameplateError, SourceNotFoundError, UnsafePathError
from nameplate_config.wording import listed, sentences, shown

Buffer = bytes | bytearray | memoryview
"""What `replace_file` writes; nothing is copied on the way."""

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


def replace_file(path: Path, chunks: Iterable[Buffer]) -> None:
    """Write a file so that a reader, a crash or a power loss sees the old content or the new, never a mix.

    The bytes go to a temporary file in the same folder, which is flushed to the disk and then renamed over
    *path*; the folder is flushed last. Permissions follow the umask. A failure removes the temporary file.

    Raises:
        OSError: Whatever the system reports: no space, no permission. The old file is untouched.
    """
    draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
        try:
            for chunk in chunks:
                _write_all(descriptor, chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        draft.replace(path)
    except BaseException:
        with suppress(OSError):
            draft.unlink()
        raise
    flush_folder(path.parent)


def flush_folder(folder: Path) -> None:
    """Make renames and removals inside *folder* survive a power loss, where the system can promise that."""
    if os.name == "nt":  # Windows cannot open a folder; its renames are journalled
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, chunk: Buffer) -> None:
    rest = memoryview(chunk).cast("B")
    while rest:
        rest = rest[os.write(descriptor, rest[:_LONGEST_WRITE]) :]


def _absent(path: Path) -> str:
    folder = path.parent
    if not folder.is_dir():
        return f"there is no folder {str(folder)!r}, so no {path.name!r} in it."
    if os.path.lexists(path):
        return f"{path.name!r} in {str(folder)!r} is a link to {str(path.readlink())!r}, which does not exist."
    there = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    return sentences(f"there is no {path.name!r} in {str(folder)!r}.", f"The folder holds: {listed(there)}.")
