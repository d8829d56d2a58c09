"""Where examples keep their files: folders that go with the example, and with a process that was killed over one."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_MEMORY = Path("/dev/shm")  # noqa: S108 - the folders in it are made by tempfile


@contextmanager
def example_folder(*, large: bool = False) -> Iterator[Path]:
    """Provide an empty folder for one example; in memory where there is such a place, unless it will be *large*.

    Every save waits for the disk, and laws save thousands of times.
    """
    memory = None if large or not os.access(_MEMORY, os.W_OK) else _MEMORY
    with tempfile.TemporaryDirectory(prefix=_prefix(os.getpid()), dir=memory) as folder:
        yield Path(folder)


def remove_folders_of(process: int) -> None:
    """Remove what a process that was killed has left in memory, which nobody would give back before a restart."""
    for folder in _MEMORY.glob(f"{_prefix(process)}*"):
        shutil.rmtree(folder, ignore_errors=True)


def _prefix(process: int) -> str:
    return f"conformance-{process}-"
