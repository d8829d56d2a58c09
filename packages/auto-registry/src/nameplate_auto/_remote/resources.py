"""The data files of approved code, for `importlib.resources`: read from memory, like the code itself."""

from collections.abc import Iterator, Mapping
from importlib.resources.abc import Traversable, TraversableResources
from io import BytesIO, TextIOWrapper
from typing import IO, Any

_Files = Mapping[str, bytes]


class Resources(TraversableResources):
    """The data files of one package."""

    def __init__(self, files: _Files, folder: str) -> None:
        self._files = files
        self._folder = folder

    def files(self) -> Traversable:
        """Return its folder."""
        return _Path(self._files, self._folder)


class _Path(Traversable):
    """A file or folder of approved code."""

    def __init__(self, files: _Files, path: str) -> None:
        self._files = files
        self._path = path

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self._path.rpartition("/")[2]

    def is_file(self) -> bool:
        """Whether it is a file."""
        return self._path in self._files

    def is_dir(self) -> bool:
        """Whether it is a folder."""
        return not self._path or any(each.startswith(f"{self._path}/") for each in self._files)

    def iterdir(self) -> Iterator[Traversable]:
        """Yield what a folder holds."""
        start = f"{self._path}/" if self._path else ""
        names = {each.removeprefix(start).partition("/")[0] for each in self._files if each.startswith(start)}
        yield from (_Path(self._files, start + name) for name in sorted(names))

    def joinpath(self, *descendants: Any) -> "_Path":
        """Return what lies below."""
        parts = [self._path, *map(str, descendants)]
        return _Path(self._files, "/".join(filter(None, parts)))

    __truediv__ = joinpath

    def open(self, mode: str = "r", *args: Any, **kwargs: Any) -> IO[Any]:
        """Open a file for reading."""
        stream = BytesIO(self.read_bytes())
        return stream if "b" in mode else TextIOWrapper(stream, *args, **kwargs)

    def read_bytes(self) -> bytes:
        """Return what a file holds."""
        if self._path not in self._files:
            raise FileNotFoundError(self._path)
        return self._files[self._path]

    def read_text(self, encoding: str | None = None) -> str:
        """Return what a file holds, as text."""
        return self.read_bytes().decode(encoding or "utf-8")
