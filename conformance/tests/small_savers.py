"""Programs whose saves are swept: each of the careless ones has one fault that the harness must find.

Run as `small_savers.py SAVER ENGINE`, it prints what a sweep found. A state is a number, written into three files.
"""

import json
import mmap
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.faults import FAULTS, Sweep, sweep
from nameplate_conformance.faults.patcher import run_patched
from nameplate_conformance.faults.tracer import run_traced

NAMES = ("a", "b", "c")
SIZE = 64

ENGINES = {"traced": run_traced, "patched": run_patched}


class CommittedError(Exception):
    """The new state is there, though the save has failed."""


def judge(folder: Path) -> str:
    """Return the number of which all files consist."""
    if not folder.joinpath("state").exists():
        contents = [folder.joinpath(name).read_bytes() for name in NAMES]
    else:
        contents = [folder.joinpath("state").read_bytes()]
    if any(len(each) != SIZE for each in contents):
        message = "a file is torn"
        raise ValueError(message)
    return str(sorted({value for each in contents for value in each}))


def write(path: Path, data: bytes) -> None:
    """Write a whole file, however much of it the system takes at once, and wait for the disk."""
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(file, left) :]
        os.fsync(file)
    finally:
        os.close(file)


def flush(folder: Path) -> None:
    """Wait until the disk has the names in a folder."""
    file = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(file)
    finally:
        os.close(file)


def replace(folder: Path, data: bytes) -> None:
    """Replace the one file that is the state; on failure, remove the draft."""
    draft = folder / ".state.tmp"
    try:
        write(draft, data)
        os.replace(draft, folder / "state")  # noqa: PTH105 - the name that the portable engine reports
    except OSError:
        draft.unlink(missing_ok=True)
        raise


def careful(folder: Path, data: bytes) -> None:
    """Replace in one step, and say so where only the last flush fails."""
    replace(folder, data)
    try:
        flush(folder)
    except OSError as error:
        raise CommittedError from error


def forgets_the_folder(folder: Path, data: bytes) -> None:
    """Replace in one step, and do not wait until the disk has the name."""
    replace(folder, data)


def forgets_the_file(folder: Path, data: bytes) -> None:
    """Wait until the disk has the name, and not what it names."""
    draft = folder / ".state.tmp"
    file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.write(file, data)
    os.close(file)
    os.replace(draft, folder / "state")  # noqa: PTH105
    flush(folder)


def in_place(folder: Path, data: bytes) -> None:
    """Write into the files that are there."""
    for name in NAMES:
        write(folder / name, data)


def in_threads(folder: Path, data: bytes) -> None:
    """Write into the files that are there, all at once; errors of threads are lost."""
    threads = [threading.Thread(target=write, args=(folder / name, data)) for name in NAMES]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_a_child(folder: Path, data: bytes) -> None:
    """Let a process of its own write."""
    child = os.fork()
    if not child:
        try:
            in_place(folder, data)
        finally:
            os._exit(0)
    os.waitpid(child, 0)


def trusts_one_write(folder: Path, data: bytes) -> None:
    """Do not look how much was written."""
    file = os.open(folder / ".state.tmp", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.write(file, data)
    os.close(file)
    os.replace(folder / ".state.tmp", folder / "state")  # noqa: PTH105


def lists_buffers(folder: Path, data: bytes) -> None:
    """Write two buffers with one call, and do not look how much was written."""
    file = os.open(folder / "state", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
    os.writev(file, [data[:40], data[40:]])
    os.close(file)


def keeps_quiet(folder: Path, data: bytes) -> None:
    """Tell nobody that it failed."""
    try:
        replace(folder, data)
    except OSError:
        return


def trusts_the_disk(folder: Path, data: bytes) -> None:
    """Tell nobody that the last flush failed."""
    replace(folder, data)
    try:
        flush(folder)
    except OSError:
        return


def leaves_drafts(folder: Path, data: bytes) -> None:
    """Write drafts under names that nobody will find again, and leave them."""
    draft = folder / f".state.{time.monotonic_ns()}.tmp"
    write(draft, data)
    os.replace(draft, folder / "state")  # noqa: PTH105


def raises_late(folder: Path, data: bytes) -> None:
    """Raise an error that does not say that the new state is there."""
    replace(folder, data)
    flush(folder)


def claims_too_much(folder: Path, data: bytes) -> None:
    """Say of every error that the new state is there."""
    try:
        careful(folder, data)
    except OSError as error:
        raise CommittedError from error


def aborts(folder: Path, data: bytes) -> None:
    """Die of an error."""
    try:
        replace(folder, data)
    except OSError:
        os.abort()


def waits(folder: Path, data: bytes) -> None:
    """Wait for ever for better times."""
    try:
        replace(folder, data)
    except OSError:
        signal.setitimer(signal.ITIMER_REAL, 0.02)  # the patience of the harness, made shorter
        while True:
            signal.pause()


def does_nothing(folder: Path, data: bytes) -> None:
    """Save nothing."""


def fails(folder: Path, data: bytes) -> None:  # noqa: ARG001
    """Fail though nothing befalls it."""
    message = "no space for that number"
    raise ValueError(message)


def in_every_way(folder: Path, data: bytes) -> None:
    """Change the folder with every call there is; what is outside is none of our business."""
    write(folder.parent / "elsewhere", data)
    base = os.open(folder, os.O_RDONLY)
    file = os.open("w", os.O_RDWR | os.O_CREAT, 0o666, dir_fd=base)
    source = os.open(folder.parent / "elsewhere", os.O_RDONLY)
    os.write(file, data)
    os.pwrite(file, data, 8)
    os.writev(file, [data, data])
    os.pwritev(file, [data, data], 8)
    os.sendfile(file, source, 0, 8)
    os.copy_file_range(source, file, 8)
    os.ftruncate(file, 4096)
    os.posix_fallocate(file, 0, 4096)
    os.fchmod(file, 0o600)
    os.fdatasync(file)
    mmap.mmap(file, 4096).close()
    os.chdir(folder)
    os.truncate("w", 10)
    os.link("w", "x")
    os.symlink("x", "y")  # noqa: PTH211
    os.rename("x", "z", src_dir_fd=base)
    os.chmod("z", 0o600)  # noqa: PTH101
    os.utime("z")
    os.unlink("z")  # noqa: PTH108
    os.mkdir("d")  # noqa: PTH102
    os.rmdir("d")  # noqa: PTH106
    os.fsync(base)
    replace(folder, data)


SAVERS: dict[str, Callable[[Path, bytes], None]] = {
    each.__name__: each
    for each in (
        careful, forgets_the_folder, forgets_the_file, in_place, in_threads, in_a_child, trusts_one_write,
        lists_buffers, keeps_quiet, trusts_the_disk, leaves_drafts, raises_late, claims_too_much, aborts, waits,
        does_nothing, fails, in_every_way,
    )
}  # fmt: skip

SEVERAL_FILES = (in_place, in_threads, in_a_child)


def swept(saver: Callable[[Path, bytes], None], engine: str, points: int | None) -> Sweep:
    """Sweep a saver that replaces a state of ones by one of twos."""
    first = in_place if saver in SEVERAL_FILES else replace
    return sweep(
        lambda folder: first(folder, bytes([1]) * SIZE),
        lambda folder: saver(folder, bytes([2]) * SIZE),
        judge,
        faults=FAULTS,
        points=points,
        committed=lambda error: isinstance(error, CommittedError),
        again=True,
        engine=ENGINES[engine],
    )


def main(saver: str, engine: str, points: str = "") -> None:
    """Print what a sweep found, or why there was none."""
    try:
        found = swept(SAVERS[saver], engine, int(points) if points else None)
    except ConformanceError as error:
        print(json.dumps({"error": str(error)}))  # noqa: T201 - the caller reads it
        return
    runs = {fault.name: [run for run in found.runs if run.fault == fault.name] for fault in FAULTS}
    print(  # noqa: T201
        json.dumps(
            {
                "calls": [each.name for each in found.calls],
                "problems": {fault: [each for run in of for each in run.problems] for fault, of in runs.items()},
                "places": {fault: [run.at for run in of] for fault, of in runs.items()},
                "raised": [run.raised for run in runs["ENOSPC once"]],
                "text": found.problems,
                "blind": found.blind,
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
