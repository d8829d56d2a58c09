"""What a power failure may leave of a save: what was flushed, and of the rest whatever the disk has come to.

A file holds what it held when it was last flushed, or all that was written since, or zeros in its place, or half of
it. Names are as they were when their folder was last flushed, or a step on: the renames and removals after that reach
the disk in their order, as on a file system with a journal, but for one of them, which may be missing on another.
Flushing a file does not flush its name. What a drive claims to have flushed, it has.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from nameplate_conformance.faults.film import Film, Frame, Held, apart, half

_FLUSHES = frozenset({"fsync", "fdatasync"})
_HERE = "."


@dataclass(frozen=True, slots=True)
class Loss:
    """What a power failure left.

    Attributes:
        at: How many changes had been made.
        finished: Whether these were all, so that the save had returned.
        held: The files.
    """

    at: int
    finished: bool
    held: Held


@dataclass(frozen=True, slots=True)
class _Step:
    """A change of names: what each path came to stand for, None for nothing; and how many changes had been made."""

    at: int
    names: Mapping[str, int | None]

    @property
    def folders(self) -> frozenset[str]:
        return frozenset(path.rpartition("/")[0] or _HERE for path in self.names)


def losses(film: Film) -> list[Loss]:
    r"""Return everything that a power failure may leave, at any moment of a save and after it, each only once.

    Args:
        film: What was seen of the save.

    Example:
        A file that was written and not flushed is there, or empty, or full of zeros, or half there, or nameless.

        >>> from nameplate_conformance.faults.fault import Call
        >>> empty, full = Frame(None, {}, {}), Frame(Call("write", ("a",), 4), {"a": 0}, {0: b"text"})
        >>> [each.held.get("a") for each in losses(Film([empty, full])) if each.finished]
        [None, b'text', b'', b'\x00\x00\x00\x00', b'te']
    """
    found: dict[tuple[bool, frozenset[tuple[str, bytes]]], Loss] = {}
    last = len(film.frames) - 1
    for at in range(len(film.frames)):
        moment = _Moment(film.frames[: at + 1])
        for held in moment.left():
            found.setdefault((at == last, frozenset(held.items())), Loss(at, at == last, held))
    return list(found.values())


class _Moment:
    """The moment after some changes: what of them is on the disk for certain, and what may be."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._start = frames[0].names
        self._written: dict[int, bytes] = dict(frames[0].contents)
        self._flushed: dict[int, bytes] = dict(frames[0].contents)
        self._certain: list[_Step] = []
        self._pending: list[_Step] = []
        for number in range(1, len(frames)):
            self._add(number, frames[number - 1], frames[number])

    def _add(self, number: int, before: Frame, after: Frame) -> None:
        self._written.update(after.contents)
        paths = sorted({path for path, _ in before.names.items() ^ after.names.items()})
        if paths:
            self._pending.append(_Step(number, {path: after.names.get(path) for path in paths}))
        if after.call is not None and after.call.name in _FLUSHES:
            for path in after.call.paths:
                self._flush(path, after)

    def _flush(self, path: str, frame: Frame) -> None:
        file = frame.names.get(path)
        if file is not None:
            self._flushed[file] = frame.contents[file]
            return
        self._certain += [each for each in self._pending if each.folders <= {path}]
        self._pending = [each for each in self._pending if not each.folders <= {path}]

    def left(self) -> Iterator[Held]:
        """Yield everything that may be on the disk."""
        for reached in range(len(self._pending) + 1):
            names = self._names(self._pending[:reached])
            yield from self._contents(names, alone=reached == len(self._pending))
        for missing in self._pending:
            names = self._names([each for each in self._pending if each is not missing])
            yield self._with(names, self._written)

    def _names(self, reached: Sequence[_Step]) -> dict[str, int]:
        names: dict[str, int | None] = dict(self._start)
        for step in sorted([*self._certain, *reached], key=lambda each: each.at):
            names.update(step.names)
        return {path: file for path, file in names.items() if file is not None}

    def _contents(self, names: Mapping[str, int], *, alone: bool) -> Iterator[Held]:
        """Yield the files with all that was written, without what was not flushed, with zeros instead, with half."""
        unsure = sorted({file for file in names.values() if self._flushed.get(file, b"") != self._written[file]})
        yield self._with(names, self._written)
        for loss in (self._lost, self._zeroed, self._torn):
            if unsure:
                yield self._with(names, {**self._written, **{file: loss(file) for file in unsure}})
        if alone and len(unsure) > 1:
            for file in unsure:
                yield self._with(names, {**self._written, file: self._lost(file)})

    def _with(self, names: Mapping[str, int], contents: Mapping[int, bytes]) -> Held:
        return {path: contents[file] for path, file in names.items()}

    def _lost(self, file: int) -> bytes:
        return self._flushed.get(file, b"")

    def _zeroed(self, file: int) -> bytes:
        written = self._written[file]
        begin, end = apart(self._lost(file), written)
        return written[:begin] + bytes(len(written[begin:end])) + written[end:]

    def _torn(self, file: int) -> bytes:
        return half(self._lost(file), self._written[file])
