"""What each rank of a mesh would read of a checkpoint, and keep: arithmetic on shapes, for a mesh that need not exist.

Nothing here touches a file or a tensor. Ranks are worked out when they are asked for, tensors that are alike once.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import compress
from math import prod
from statistics import median_low
from typing import Any, Literal, NamedTuple, overload

import torch

from nameplate_model._boxes import Box, Cut, box_of, overlap, runs, whole

Figure = Literal["bytes", "reads", "files", "kept", "replicated"]
"""What can be said of every rank as a number."""

_FIGURES: tuple[Figure, ...] = ("bytes", "reads", "files", "kept", "replicated")


class RankReads(NamedTuple):
    """What one rank would do in a load.

    Attributes:
        rank: Its number.
        coordinate: Where it is in the mesh.
        bytes: The bytes that it reads of tensors.
        reads: In how many contiguous runs these lie, each tensor by itself.
        files: The number of files that they lie in.
        memory: The bytes that it keeps, by the name of their dtype.
        replicated: The bytes of what it keeps that other ranks keep as well.
    """

    rank: int
    coordinate: tuple[int, ...]
    bytes: int
    reads: int
    files: int
    memory: Mapping[str, int]
    replicated: int

    @property
    def kept(self) -> int:
        """The bytes that it keeps, of all dtypes."""
        return sum(self.memory.values())


class Spread(NamedTuple):
    """How a figure differs among ranks.

    Attributes:
        least: The smallest.
        median: The middle one.
        most: The largest.
    """

    least: int
    median: int
    most: int

    def __str__(self) -> str:
        if self.least == self.most:
            return f"{self.most:,}"
        return f"{self.least:,} to {self.most:,} (median {self.median:,})"


class Kind(NamedTuple):
    """Tensors for which every rank does the same.

    Attributes:
        shape: The size along each axis.
        cuts: How each dimension of the mesh cuts it.
        stored: Its dtype in the file.
        kept: Its dtype in the model.
        parts: Which boxes of it lie in which files. Of a tensor in memory there are none.
    """

    shape: tuple[int, ...]
    cuts: tuple[Cut | None, ...]
    stored: torch.dtype
    kept: torch.dtype
    parts: tuple[tuple[Box, int], ...]


@dataclass(frozen=True)
class MeshReads(Sequence[RankReads]):
    """What the ranks of a mesh would read, one after the other, the last dimension of the mesh running fastest.

    Attributes:
        sizes: The number of ranks along each dimension of the mesh, by its name.
        kinds: The tensors, with how many there are of each kind.
        headers: The bytes of the header of each file; every rank reads all of them.
        reads_whole: Whether ranks read whole tensors and cut them afterwards, as where a model loads in its own way.
        numbers: The number of each rank, if they do not count from 0.
    """

    sizes: Mapping[str, int]
    kinds: Mapping[Kind, int]
    headers: tuple[int, ...] = ()
    reads_whole: bool = False
    numbers: tuple[int, ...] = ()

    def __len__(self) -> int:
        return prod(self.sizes.values())

    @overload
    def __getitem__(self, index: int) -> RankReads: ...

    @overload
    def __getitem__(self, index: slice) -> list[RankReads]: ...

    def __getitem__(self, index: int | slice) -> RankReads | list[RankReads]:
        """Return one rank, or several."""
        numbers = range(len(self))[index]
        return self._rank(numbers) if isinstance(numbers, int) else [self._rank(each) for each in numbers]

    def spread(self, figure: Figure) -> Spread:
        """Return how a figure differs among the ranks.

        Args:
            figure: The name of an attribute of `RankReads`.
        """
        found = sorted(getattr(each, figure) for each in self._every)
        return Spread(found[0], median_low(found), found[-1])

    @property
    def stored(self) -> int:
        """The bytes of all that is loaded, as it is stored."""
        return sum(prod(kind.shape) * kind.stored.itemsize * count for kind, count in self.kinds.items())

    @property
    def total(self) -> int:
        """The bytes of tensors that all ranks read together."""
        return sum(each.bytes for each in self._every)

    @property
    def ratio(self) -> float:
        """How often each byte of the checkpoint is read."""
        return self.total / self.stored if self.stored else 0.0

    @property
    def header_bytes(self) -> int:
        """The bytes of headers that all ranks read together."""
        return sum(self.headers) * len(self)

    def __str__(self) -> str:
        mesh = ", ".join(f"{name}: {size}" for name, size in self.sizes.items())
        each = {figure: self.spread(figure) for figure in _FIGURES}
        lines = (
            f"{len(self):,} ranks ({mesh}) together read {self.total:,} bytes, {self.ratio:.2f} times what is loaded.",
            f"read by each: {each['bytes']} bytes, in {each['reads']} runs, of {each['files']} files",
            f"kept by each: {each['kept']} bytes, of which others keep, too: {each['replicated']}",
            f"headers: {sum(self.headers):,} bytes of {len(self.headers):,} files, read by each",
        )
        return "\n  ".join(lines)

    @cached_property
    def _every(self) -> list[RankReads]:
        return list(self)

    def _coordinate(self, index: int) -> tuple[int, ...]:
        found: list[int] = []
        for size in reversed(list(self.sizes.values())):
            index, place = divmod(index, size)
            found.append(place)
        return tuple(reversed(found))

    def _rank(self, index: int) -> RankReads:
        coordinate, sizes = self._coordinate(index), list(self.sizes.values())
        number = self.numbers[index] if self.numbers else index
        size = reads = replicated = 0
        files: set[int] = set()
        memory: Counter[str] = Counter()
        for kind, count in self.kinds.items():
            box = box_of(kind.shape, kind.cuts, sizes, coordinate)
            held = box.numel * kind.kept.itemsize * count
            memory[str(kind.kept).removeprefix("torch.")] += held
            if any(compress((each > 1 for each in sizes), (cut is None for cut in kind.cuts))):
                replicated += held
            wanted = whole(kind.shape) if self.reads_whole else box
            for elements, pieces, file in _lying(wanted, kind.parts):
                size += elements * kind.stored.itemsize * count
                reads += pieces * count
                files.add(file)
        return RankReads(number, coordinate, size, reads, len(files), dict(memory), replicated)


def _lying(box: Box, parts: Iterable[tuple[Box, int]]) -> Iterator[tuple[int, int, int]]:
    """Yield how many elements of a box lie in which file, and in how many runs."""
    for part, file in parts:
        common = overlap(part, box) if box.sizes else part  # a tensor without axes is all or nothing
        if common is None:
            continue
        inside = tuple(here - there for here, there in zip(common.offsets, part.offsets, strict=True))
        _, length = next(runs(Box(inside, common.sizes), part.sizes))
        yield common.numel, common.numel // length, file


def kinds_of(tensors: Iterable[tuple[Any, torch.dtype, tuple[Cut | None, ...]]]) -> Counter[Kind]:
    """Return the kinds of the tensors of a checkpoint.

    Args:
        tensors: Each tensor as the checkpoint holds it, the dtype that it gets, and how it is cut.
    """
    files: dict[int, int] = {}
    kinds: Counter[Kind] = Counter()
    for stored, kept, cuts in tensors:
        parts = tuple((box, files.setdefault(id(file), len(files))) for box, file in _parts(stored))
        kinds[Kind(tuple(stored.shape), cuts, stored.dtype, kept, parts)] += 1
    return kinds


def _parts(stored: Any) -> Iterator[tuple[Box, object]]:
    """Yield which boxes of a tensor lie in which file."""
    pieces = getattr(stored, "pieces", None)
    if pieces is not None:
        for piece in pieces:
            yield piece.box, getattr(piece.stored, "file", piece.stored)
    elif getattr(stored, "file", None) is not None:
        yield whole(stored.shape), stored.file
