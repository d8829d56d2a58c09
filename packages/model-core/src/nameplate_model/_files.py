"""One weight file, opened: its header has been checked, its tensors not yet read.

Also `Held`, a tensor that comes from memory instead, so that a loader need not care.
"""

import os
import weakref
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from nameplate_config.files import open_regular
from nameplate_model._boxes import Box, runs
from nameplate_model._header import LENGTH, Entry, Header, corrupt, header_length, parse_header
from nameplate_model._mounts import lies_behind_network
from nameplate_model._pages import map_pages
from nameplate_model._sums import hashing_for
from nameplate_model.errors import CheckpointError, CorruptFileError

_FIRST_READ = 64 << 10
"""Bytes that are read at once: the header of most files, and one call of the system."""

_PIECE = 1 << 20
"""Bytes that are read at once to be hashed: a mapping would end the process where the file has become shorter."""


class Stored(NamedTuple):
    """A tensor in a file.

    Attributes:
        dtype: The type of its elements.
        shape: Its size along each axis.
        begin: Where its bytes begin in the file.
        end: Where they end.
        file: The file.
        name: Its name there.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int
    file: "WeightFile"
    name: str

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.end - self.begin

    def part(self, box: Box) -> "Stored | None":
        """Return a box of it as a tensor that is stored by itself, or None if it lies in several places."""
        places = list(islice(runs(box, self.shape), 2))
        if len(places) > 1:
            return None
        first, count = places[0] if places else (0, 0)
        begin, width = self.begin, self.dtype.itemsize
        return self._replace(shape=box.sizes, begin=begin + first * width, end=begin + (first + count) * width)

    def mapped(self) -> torch.Tensor:
        """Return a view of the mapped file; writing to it copies pages and never changes the file."""
        count = (self.end - self.begin) // self.dtype.itemsize
        flat = torch.frombuffer(self.file.pages, dtype=self.dtype, count=count, offset=self.begin)
        return flat if len(self.shape) == 1 else flat.view(self.shape)


class Held(NamedTuple):
    """A tensor in memory.

    Attributes:
        dtype: The type of its elements.
        shape: Its size along each axis.
        tensor: The tensor.
        lent: Whether it belongs to somebody else, so that a model must not share its memory.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    tensor: torch.Tensor
    lent: bool = False

    @classmethod
    def of(cls, tensor: torch.Tensor, *, lent: bool = False) -> "Held":
        """Return a tensor as one of a checkpoint."""
        return cls(tensor.dtype, tuple(tensor.shape), tensor.detach(), lent)

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.tensor.numel() * self.tensor.element_size()

    def take(self, box: Box | None = None) -> torch.Tensor:
        """Return the tensor, or a copy if it is lent; of a box always a copy, so that the rest can be freed."""
        if box is not None and box.sizes != self.shape:
            return self.tensor[box.slices].clone(memory_format=torch.contiguous_format)
        return self.tensor.clone() if self.lent else self.tensor


class WeightFile:
    """A safetensors file.

    Attributes:
        path: Where it is.
        where: How messages name it.
        size: Its size in bytes.
        header: What it says of itself, checked.
    """

    def __init__(self, path: Path) -> None:
        """Open a file and check its header.

        Raises:
            SourceNotFoundError: If there is no such file, or it is no regular one.
            CorruptFileError: If it is torn, or no safetensors file.
        """
        self.path = path
        self.where = repr(str(path))
        with open_regular(path) as file:
            self._identity = _identity(os.fstat(file.fileno()))
            self.size = self._identity[-1]
            self.header: Header = self._read_header(file)
            self._descriptor = os.dup(file.fileno())
        self._closing = weakref.finalize(self, os.close, self._descriptor)

    @property
    def tensors(self) -> Iterator[tuple[str, Stored]]:
        """Every tensor with its name."""
        return ((name, self.stored(name, entry)) for name, entry in self.header.entries.items())

    def stored(self, name: str, entry: Entry) -> Stored:
        """Return an entry of the header as a tensor of this file."""
        return Stored(*entry, self, name)

    @cached_property
    def remote(self) -> bool:
        """Whether it lies behind a network."""
        with self._opened() as descriptor:
            return lies_behind_network(descriptor)

    @cached_property
    def pages(self) -> Any:
        """The mapped file: private, so that what is written to it is nobody else's."""
        with self._opened() as descriptor:
            try:
                return map_pages(descriptor, self.size)
            except OSError as error:
                message = f"{self.where} cannot be mapped: {error.strerror}. Pass memory='copy' to read it instead."
                raise CheckpointError(message) from error

    def close(self) -> None:
        """Give the descriptor back; what is mapped stays so, and the file is opened again if it is needed."""
        self._closing()

    def check_unchanged(self) -> None:
        """Refuse the file if its path has come to mean another one: for those who open it by its path.

        Raises:
            CorruptFileError: If it has been replaced, changed or removed.
        """
        with open_regular(self.path) as file:
            self._check_identity(os.fstat(file.fileno()))

    def read_into(self, buffer: memoryview, begin: int) -> None:
        """Fill *buffer* with the bytes that start at *begin*. Threads may do so at once.

        Raises:
            CorruptFileError: If the file has become shorter, or the system cannot read it.
        """
        self.read_each([(buffer, begin)])

    def read_each(self, places: Iterable[tuple[memoryview, int]]) -> None:
        """Fill several buffers, each with the bytes from a place on; the file is opened once, if at all.

        Raises:
            CorruptFileError: If the file has become shorter, or the system cannot read it.
        """
        with self._opened() as descriptor:
            for buffer, begin in places:
                self._fill(descriptor, buffer, begin)

    def _fill(self, descriptor: int, buffer: memoryview, begin: int) -> None:
        while buffer:
            try:
                count = _read_at(descriptor, buffer, begin)
            except OSError as error:
                message = f"{self.where} cannot be read at byte {begin:,}: {error.strerror}."
                raise CorruptFileError(message) from error
            if not count:
                raise corrupt(self.where, f"it ends at byte {begin:,}")
            buffer, begin = buffer[count:], begin + count

    def verify(self, names: Collection[str] | None = None) -> None:
        """Compare every tensor with its checksum, byte for byte.

        Args:
            names: Those of the tensors that are looked at, if not all are.

        Raises:
            CorruptFileError: If one differs; names it.
            CheckpointError: If the file has no checksums.
        """
        digests = self.header.digests
        for name, entry in self.header.entries.items():
            if names is not None and name not in names:
                continue
            expected = digests.get(name)
            if expected is None:
                message = (
                    f"{self.where} holds no checksum of {name!r}, so it cannot be verified. "
                    "Save the model with save_pretrained, which writes them, or load it with verify='structure'."
                )
                raise CheckpointError(message)
            if self._digest(entry)[: len(expected)] != expected:
                message = (
                    f"{self.where}: the bytes of {name!r} are not those that were saved, as their checksum tells. "
                    "Restore the file from its origin, or save the model again."
                )
                raise CorruptFileError(message)

    def _digest(self, entry: Entry) -> str:
        digest = hashing_for(self.header.digests_key)
        piece = memoryview(bytearray(min(_PIECE, entry.end - entry.begin)))
        for begin in range(entry.begin, entry.end, _PIECE):
            part = piece[: entry.end - begin]
            self.read_into(part, begin)
            digest.update(part)
        return digest.hexdigest()

    def _read_header(self, file: IO[bytes]) -> Header:
        start = file.read(min(_FIRST_READ, self.size))
        length = header_length(start[: LENGTH.size], self.size, self.where)
        table = start[LENGTH.size : LENGTH.size + length]
        table += file.read(length - len(table))
        return parse_header(table, self.size, self.where)

    @contextmanager
    def _opened(self) -> Iterator[int]:
        """Provide a descriptor of the very file whose header was read."""
        if self._closing.alive:
            yield self._descriptor
            return
        with open_regular(self.path) as file:
            self._check_identity(os.fstat(file.fileno()))
            yield file.fileno()

    def _check_identity(self, status: os.stat_result) -> None:
        if _identity(status) != self._identity:
            message = f"{self.where} was replaced while it was being loaded. Load it again."
            raise CorruptFileError(message)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_mtime_ns, status.st_size


def _read_at(descriptor: int, buffer: memoryview, begin: int) -> int:
    if hasattr(os, "preadv"):
        return os.preadv(descriptor, [buffer], begin)
    os.lseek(descriptor, begin, os.SEEK_SET)  # Windows; nobody else reads through this descriptor there
    data = os.read(descriptor, len(buffer))
    buffer[: len(data)] = data
    return len(data)
