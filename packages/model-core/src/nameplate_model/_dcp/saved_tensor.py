"""A tensor that `torch.save` has put somewhere into a file: found without torch, so that a part of it can be read.

What lies there is an archive: a pickle that says what the tensor is like, and its bytes, which are never packed. The
pickle is read as plain records, and no code in it runs.
"""

import io
import struct
import zipfile
from collections.abc import Collection, Sequence
from math import prod
from pathlib import Path
from typing import IO, Any, NamedTuple

import torch

from nameplate_config.wording import brief, sentences, shown
from nameplate_model._dcp.records import Name, Outside, Record, RecordsError, read_records
from nameplate_model._files import Held, Stored, WeightFile
from nameplate_model._header import Header
from nameplate_model._pickled import KINDS, STORAGES, TENSOR_NAMES
from nameplate_model.errors import CheckpointError, CorruptFileError

MAGIC = b"PK\3\4"
"""What an archive begins with."""

_UNTYPED = "torch.storage UntypedStorage"
_TENSOR, _NEWER_TENSOR = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_tensor_v3"
_LARGEST_DIRECTORY = 64 << 10
"""Of one tensor, in bytes; it takes 500."""

_LARGEST_PICKLE = 64 << 10
"""Of one tensor, in bytes; it takes 200."""

_END = struct.Struct("<4s8xLL2x")
_LOCAL = struct.Struct("<4s22xHH")


class PackedFile(WeightFile):
    """A file of torch DCP: saved tensors one behind the other, and nothing in it that says where."""

    def __init__(self, path: Path, digest: str) -> None:
        """Open a file.

        Args:
            path: Where it is.
            digest: That of the metadata of its folder, by which ranks tell whether they see the same.

        Raises:
            SourceNotFoundError: If there is no such file, or it is no regular one.
        """
        self._digest_of_metadata = digest
        super().__init__(path)

    def verify(self, names: Collection[str] | None = None) -> None:  # noqa: ARG002 - of none
        """Raise an error: nothing says what its bytes were.

        Raises:
            CheckpointError: Always.
        """
        message = (
            f"{self.where} holds no checksums, so it cannot be verified. "
            "Save the model with save_pretrained, which writes them, or load it with verify='structure'."
        )
        raise CheckpointError(message)

    def _read_header(self, file: IO[bytes]) -> Header:  # noqa: ARG002 - there is none
        return Header({}, {".metadata": self._digest_of_metadata}, {}, ours=False)


class Saved(NamedTuple):
    """A tensor that `torch.save` has put into a file, not yet looked at.

    Attributes:
        file: The file.
        offset: Where its archive begins.
        length: How many bytes the archive has.
        name: What it is a piece of, for messages.
        dtype: The type that its elements must have.
        shape: The sizes that it must have.
    """

    file: PackedFile
    offset: int
    length: int
    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    def opened(self) -> Stored | Held:
        """Find its bytes.

        Returns:
            The tensor in its file; in memory if its elements are not in the order of their indices there.

        Raises:
            CorruptFileError: If what lies there is no such tensor.
        """
        try:
            return self._found()
        except RecordsError as error:
            why = f"it asks for {shown(str(error))}, of which no tensor is made" if error.hostile else str(error)
            raise _corrupt(self, why) from error
        except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, ValueError, LookupError) as error:
            raise _corrupt(self, brief(error)) from error
        except (TypeError, AttributeError, struct.error, RuntimeError) as error:
            raise _corrupt(self, "it is none that torch writes") from error

    def _found(self) -> Stored | Held:
        window = io.BufferedReader(_Window(self.file, self.offset, self.length), 4096)
        _check_directory(window)
        with zipfile.ZipFile(window) as archive:
            entry = next(each for each in archive.infolist() if each.filename.endswith("/data.pkl"))
            if entry.compress_type or entry.file_size > _LARGEST_PICKLE:
                raise ValueError(entry.filename)
            root = entry.filename.removesuffix("data.pkl")
            laid = _laid(read_records(archive.read(entry), TENSOR_NAMES))
            if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") != b"little":
                message = "its numbers are stored with their highest byte first"
                raise ValueError(message)
            memory = archive.getinfo(f"{root}data/{laid.key}")
        window.seek(memory.header_offset)
        _, name, extra = _LOCAL.unpack(window.read(_LOCAL.size))
        begin = memory.header_offset + _LOCAL.size + name + extra
        if memory.compress_type or memory.file_size != memory.compress_size or begin + memory.file_size > self.length:
            raise ValueError(memory.filename)
        return self._tensor(laid, self.offset + begin, memory.file_size)

    def _tensor(self, laid: "_Laid", begin: int, size: int) -> Stored | Held:
        if laid.dtype != self.dtype or laid.shape != self.shape:
            message = f"it has the shape {laid.shape} of {laid.dtype}, and not {self.shape} of {self.dtype}"
            raise ValueError(message)
        width, steps = self.dtype.itemsize, zip(laid.strides, self.shape, strict=True)
        reach = sum(step * (count - 1) for step, count in steps) + 1 if prod(self.shape) else 0
        first = begin + laid.first * width
        if first + reach * width > begin + size or prod(self.shape) > reach:
            message = f"its shape {self.shape} with the strides {laid.strides} does not fit {size:,} bytes"
            raise ValueError(message)
        if _in_order(self.shape, laid.strides):
            return Stored(self.dtype, self.shape, first, first + reach * width, self.file, self.name)
        memory = bytearray(reach * width)
        self.file.read_into(memoryview(memory), first)
        return Held.of(torch.frombuffer(memory, dtype=self.dtype).as_strided(self.shape, laid.strides))


class _Laid(NamedTuple):
    """How a tensor lies in the memory that was saved with it.

    Attributes:
        key: What the memory is called.
        dtype: The type of its elements.
        first: The place of its first element.
        shape: Its size along each axis.
        strides: How far apart neighbours along each axis are, in elements.
    """

    key: str
    dtype: torch.dtype
    first: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def _corrupt(saved: Saved, why: str) -> CorruptFileError:
    message = sentences(
        f"{saved.file.where}: what lies at byte {saved.offset:,} is not the saved piece of {shown(saved.name)}: "
        f"{why.removesuffix('.')}.",
        "It may be damaged, or of another save. Restore the folder from its origin, or save again.",
    )
    return CorruptFileError(message)


def _laid(record: Any) -> _Laid:
    if not isinstance(record, Record) or record.made_of not in {_TENSOR, _NEWER_TENSOR}:
        message = f"it is {shown(record)}"
        raise ValueError(message)
    memory, first, shape, strides, *rest = record.arguments
    if not isinstance(memory, Outside):
        raise TypeError
    kind, storage, key, _, _ = memory.told
    if kind != "storage" or not isinstance(storage, Name) or not isinstance(key, str):
        raise TypeError
    named = rest[2] if record.made_of == _NEWER_TENSOR else storage
    if not isinstance(named, Name):
        raise TypeError
    dtype = STORAGES[named.text] if named.text != _UNTYPED and named is storage else KINDS[named.text]
    if not all(type(each) is int and each >= 0 for each in (first, *shape, *strides)) or len(shape) != len(strides):
        raise ValueError
    return _Laid(key, dtype, first, tuple(shape), tuple(strides))


def _in_order(shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether elements lie as their indices count; the stride of an axis of one says nothing."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides), strict=True):
        if size > 1 and stride != step:
            return False
        step *= max(size, 1)
    return True


def _check_directory(window: IO[bytes]) -> None:
    """Refuse an archive whose directory is larger than that of a tensor: reading it takes ten times its size."""
    window.seek(-_END.size, io.SEEK_END)
    mark, size, _ = _END.unpack(window.read(_END.size))
    if mark != b"PK\5\6" or size > _LARGEST_DIRECTORY:
        message = "an archive that torch does not write"
        raise ValueError(message)


class _Window(io.RawIOBase):
    """A part of a file as a file of its own."""

    def __init__(self, file: WeightFile, begin: int, size: int) -> None:
        super().__init__()
        self._file, self._begin, self._size, self._at = file, begin, size, 0

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a place in the part."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            message = "it is too short for an archive"
            raise ValueError(message)
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer as far as the part goes."""
        view = memoryview(buffer).cast("B")
        count = max(0, min(len(view), self._size - self._at))
        self._file.read_into(view[:count], self._begin + self._at)
        self._at += count
        return count
