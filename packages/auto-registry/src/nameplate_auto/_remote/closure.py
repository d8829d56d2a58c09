"""Which files the classes of a repository need: their modules, and all that these import relatively, at any depth.

The folder of the checkpoint is the root of the package. Nothing is imported: the source is parsed, and a file that
nothing asks for is not read.
"""

from collections.abc import Iterable
from typing import Protocol

from nameplate_auto._remote.references import Reference, is_module_name
from nameplate_auto._remote.syntax import Facts, RelativeImport, read_facts
from nameplate_auto.errors import RemoteCodeError
from nameplate_config.code import (
    MOST_BYTES,
    MOST_DATA_FILES,
    MOST_FILES,
    MOST_UNITS,
    is_of_checkpoint,
    units,
)
from nameplate_config.wording import sentences

MOST_ABSENT = 1_000
"""The most files that are asked for in vain: each may be a request to the Hub."""

_Name = tuple[str, ...]

_INIT = "__init__.py"


class Files(Protocol):
    """The files of a repository, by their paths with slashes."""

    def read(self, path: str, /) -> bytes | None:
        """Return the bytes of a file, or None if there is none."""
        ...

    def where(self, path: str, /) -> str:
        """Return how messages name a file."""
        ...


class Closure:
    """The files that classes need, read once.

    Attributes:
        files: The bytes of each by its path in the folder, with slashes.
        facts: What each of them says that is a module.
    """

    def __init__(self, references: Iterable[Reference], files: Files) -> None:
        """Collect the files.

        Args:
            references: The classes.
            files: The files of their repository.

        Raises:
            RemoteCodeError: If a file is missing or no Python, leads out of the repository, or it is all too much.
        """
        self._files = files
        self._absent: set[str] = set()
        self._waiting: list[tuple[_Name, str]] = []
        self._size = self._units = self._data_files = 0
        self.files: dict[str, bytes] = {}
        self.facts: dict[str, Facts] = {}
        for reference in references:
            self._start(reference)
        while self._waiting:
            name, path = self._waiting.pop()
            self._take_parents(name)
            for each in self.facts[path].relative:
                self._follow(name, path, each)
            self._take_data(path)
        self.files = dict(sorted(self.files.items()))
        self._refuse_twins()

    def _start(self, reference: Reference) -> None:
        path = self._module(reference.module)
        if path is None:
            missing = "/".join(reference.module) + ".py"
            message = f"{self._files.where(missing)} does not exist, but auto_map names {str(reference)!r}."
            raise RemoteCodeError(message)
        if not self.facts[path].bound & {reference.name, "*"}:
            message = (
                f"{self._files.where(path)} defines no class {reference.name!r}, but auto_map names {str(reference)!r}."
            )
            raise RemoteCodeError(message)

    def _take_parents(self, name: _Name) -> None:
        """Take the packages that Python runs on the way to a module; the root's own only where it is named."""
        for depth in range(1, len(name)):
            self._package(name[:depth])

    def _follow(self, name: _Name, path: str, wanted: RelativeImport) -> None:
        """Take what a relative import needs."""
        package = name if path.rpartition("/")[2] == _INIT else name[:-1]
        if wanted.level - 1 > len(package):
            self._refuse(path, wanted, "leads out of the folder of the checkpoint")
            return
        target = (*package[: len(package) - wanted.level + 1], *wanted.module)
        found = self._module(target) if target else None
        if found is not None and found.rpartition("/")[2] != _INIT:
            return
        bound = self.facts[found].bound if found else frozenset()
        names = self.facts[found].exports if found and wanted.names == ("*",) else wanted.names
        for each in names:
            if each in bound or self._module((*target, each)) or (found or self._package(target)):
                continue
            expected = "/".join([*target, each] if not wanted.module else target) + ".py"
            self._refuse(path, wanted, f"needs {self._files.where(expected)}, which does not exist")

    def _refuse(self, path: str, wanted: RelativeImport, reason: str) -> None:
        """Refuse an import that nothing can satisfy, unless its module is made to do without."""
        if wanted.guarded:
            return
        dotted = "." * wanted.level + ".".join(wanted.module)
        message = f"{self._files.where(path)}:{wanted.line} imports from {dotted!r}, which {reason}."
        raise RemoteCodeError(message)

    def _take_data(self, path: str) -> None:
        folder = path.rpartition("/")[0]
        for name in self.facts[path].data:
            data = "/".join(filter(None, [folder, name]))
            if not is_of_checkpoint(data) and data not in self.files and self._take(data):
                self._data_files += 1
        if self._data_files > MOST_DATA_FILES:
            raise _too_large(self._data_files, "data files")

    # ---- reading

    def _module(self, name: _Name) -> str | None:
        """Return the path of a module's file, once it was read, or None."""
        if name and name[-1] == "__init__":  # `from .__init__ import name` runs a package's file under its own name
            return self._package(name[:-1])
        if not all(map(is_module_name, name)):
            return None
        path = "/".join(name) + ".py"
        if name and self._take(path):
            self._look_into(name, path)
            return path
        return self._package(name)

    def _package(self, name: _Name) -> str | None:
        path = "/".join([*name, _INIT])
        if not self._take(path):
            return None
        self._look_into(name, path)
        return path

    def _take(self, path: str) -> bool:
        """Read a file, unless it was read; returns whether it is there."""
        if path in self.files or path in self._absent:
            return path in self.files
        data = self._files.read(path)
        if data is None:
            self._absent.add(path)
            if len(self._absent) > MOST_ABSENT:
                message = f"the code names more than {MOST_ABSENT:,} files that do not exist."
                raise RemoteCodeError(message)
            return False
        self.files[path] = data
        self._size += len(data)
        if len(self.files) > MOST_FILES:
            raise _too_large(len(self.files), "files")
        if self._size > MOST_BYTES:
            raise _too_large(self._size, "bytes")
        return True

    def _look_into(self, name: _Name, path: str) -> None:
        if path in self.facts:
            return
        self._units += units(self.files[path])
        if self._units > MOST_UNITS:
            raise _too_large(self._units, "words and marks")
        self.facts[path] = read_facts(self.files[path], self._files.where(path))
        self._waiting.append((name, path))

    def _refuse_twins(self) -> None:
        """Refuse names that would be one file on another system, or one module here."""
        seen: dict[str, str] = {}
        for path in self.files:
            module = path.removesuffix(f"/{_INIT}") + ".py"
            if module != path and module in self.files:
                message = f"{self._files.where(path)} and {module!r} are both there for one module. Keep one of them."
                raise RemoteCodeError(message)
        for path in self.files:
            other = seen.setdefault(path.casefold(), path)
            if other != path:
                message = (
                    f"{self._files.where(path)} and {other!r} differ only in case, so they are one file elsewhere."
                )
                raise RemoteCodeError(message)


def _too_large(number: int, what: str) -> RemoteCodeError:
    return RemoteCodeError(
        sentences(
            f"the code is {number:,} {what}, or more.",
            f"At most {MOST_FILES} files, {MOST_DATA_FILES} of data, with {MOST_BYTES:,} bytes in all "
            f"and {MOST_UNITS:,} words and marks are read. Publish it as a package that is installed.",
        )
    )
