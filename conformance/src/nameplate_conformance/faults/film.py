"""A film of a save: what the folder held after each change.

From it follows what a crash at any moment would have left, without another save: what `kill -9` leaves is the frame of
that moment, what a torn write leaves is half of the way to the next one, and what a power failure leaves is in
`power_loss`. The films are of small checkpoints: every file is read after every change.
"""

import os
import pickle
import stat
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from nameplate_conformance.faults.fault import Call
from nameplate_conformance.faults.patcher import patched

Held = Mapping[str, bytes]
"""The regular files of a folder: what is in each, by its path."""


@dataclass(frozen=True, slots=True)
class Frame:
    """What a folder holds at one moment.

    Attributes:
        call: The change that has just been made, None at the beginning and at the end.
        names: The number of the file under each path. A file that is renamed keeps its number, no other file gets it.
        contents: What is in each file, by its number.
    """

    call: Call | None
    names: Mapping[str, int]
    contents: Mapping[int, bytes]

    @property
    def held(self) -> dict[str, bytes]:
        """What is in each file, by its path."""
        return {path: self.contents[number] for path, number in self.names.items()}


@dataclass(frozen=True, slots=True)
class Film:
    """What a folder held from the beginning of a save to its end.

    Attributes:
        frames: The first is what was there before, the next ones follow a change each.
        unseen: The paths that changed though no change of them was seen.
    """

    frames: Sequence[Frame]
    unseen: tuple[str, ...] = ()

    @property
    def calls(self) -> list[Call]:
        """The changes in their order."""
        return [frame.call for frame in self.frames if frame.call is not None]

    def killed(self) -> Iterator[tuple[str, Held]]:
        """Yield what `kill -9` before each change leaves, and half of what each write writes, with a sentence."""
        for number, call in enumerate(self.calls):
            before, after = self.frames[number], self.frames[number + 1]
            yield f"killed before change {number}, {call}", before.held
            if call.writes:
                yield f"killed in the middle of change {number}, {call}", _halfway(before, after)


class Recorder:
    """Films a folder.

    Args:
        folder: What is filmed, with all below it.
        spool: Where the frames are kept if another process makes them; None if this one does.
    """

    def __init__(self, folder: Path, spool: Path | None = None) -> None:
        self._folder = folder
        self._spool = spool
        self._lock = threading.Lock()
        self._numbers: dict[int, int] = {}
        self._next = 0
        self._last: Mapping[int, bytes] = {}
        self._frames: list[Frame] = []
        self.note(None)

    def note(self, call: Call | None) -> None:
        """Take a picture after a change."""
        with self._lock:
            frame = self._frame(call)
            if self._spool is None:
                self._frames.append(frame)
            else:
                with self._spool.open("ab") as file:
                    pickle.dump(frame, file)

    def film(self) -> Film:
        """Take the last picture and return all of them."""
        self.note(None)
        *frames, end = self._frames if self._spool is None else list(_read(self._spool))
        return Film(frames, _unseen([*frames, end]))

    def _frame(self, call: Call | None) -> Frame:
        names: dict[str, int] = {}
        contents: dict[int, bytes] = {}
        numbers: dict[int, int] = {}
        for path, node, data in _scan(self._folder):
            if node not in numbers:
                numbers[node] = self._numbers.get(node, self._next)
                self._next += numbers[node] == self._next
            names[path] = numbers[node]
            known = self._last.get(numbers[node])
            contents[numbers[node]] = data if known is None or known != data else known  # kept once in all frames
        self._numbers, self._last = numbers, contents  # the system gives the number of a lost file to a new one
        return Frame(call, names, contents)


def filmed(work: Callable[[], object], folder: Path) -> Film:
    """Do something in this process and return a film of what it did to a folder through Python's `os`.

    Args:
        work: What is done.
        folder: What is filmed.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as name:
        ...     folder = Path(name)
        ...     draft = folder / "draft"
        ...     film = filmed(lambda: (os.close(os.open(draft, os.O_CREAT)), os.rename(draft, folder / "a")), folder)
        >>> [list(frame.names) for frame in film.frames]
        [[], ['draft'], ['a']]
    """
    recorder = Recorder(folder)
    with patched(folder, watch=recorder.note):
        work()
    return recorder.film()


def lay_out(folder: Path, held: Held) -> None:
    """Let a folder hold these files and no others. Those that were there are replaced, for they may be mapped."""
    for path, _, _ in list(_entries(folder)):
        path.unlink()
    for name, data in held.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def apart(one: bytes, other: bytes) -> tuple[int, int]:
    """Return where two texts of bytes begin to differ, and where the longer one ends or they agree again.

    Example:
        >>> apart(b"abcd", b"axyd"), apart(b"ab", b"abcd"), apart(b"ab", b"ab")
        ((1, 3), (2, 4), (2, 2))
    """
    end = max(len(one), len(other))
    begin = _agreed(one, other)
    if len(one) == len(other) and begin < end:
        end -= _agreed(one[::-1], other[::-1])
    return begin, end


def _agreed(one: bytes, other: bytes) -> int:
    """Return how many of the first bytes agree, comparing halves: a loop over bytes would take long."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        if one[low:middle] == other[low:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def half(before: bytes, after: bytes) -> bytes:
    """Return what a file holds when half of what is to change has changed."""
    begin, end = apart(before, after)
    middle = (begin + end) // 2
    return after[:middle] + before[middle:]


def _halfway(before: Frame, after: Frame) -> Held:
    held = before.held
    for path, number in after.names.items():
        if before.names.get(path) == number:
            held[path] = half(held[path], after.contents[number])
    return held


def _entries(folder: Path) -> Iterator[tuple[Path, str, os.stat_result]]:
    for root, _, names in os.walk(folder):
        for name in sorted(names):
            path = Path(root, name)
            with suppress(FileNotFoundError):  # another thread removes it
                found = path.lstat()
                if stat.S_ISREG(found.st_mode):
                    yield path, path.relative_to(folder).as_posix(), found


def _scan(folder: Path) -> Iterator[tuple[str, int, bytes]]:
    for path, name, found in _entries(folder):
        with suppress(FileNotFoundError):
            yield name, found.st_ino, path.read_bytes()


def _read(spool: Path) -> Iterator[Frame]:
    with spool.open("rb") as file:
        while file.peek(1):
            yield pickle.load(file)  # noqa: S301 - a process of ours has written it


def _unseen(frames: Sequence[Frame]) -> tuple[str, ...]:
    named = {path for frame in frames if frame.call for path in frame.call.paths}
    changed = {path for before, after in pairwise(frames) for path, _ in before.held.items() ^ after.held.items()}
    return tuple(sorted(changed - named))
