"""`RemoteCode`: the files that a checkpoint's classes need, read once into memory, and their hash."""

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Unpack, cast

from nameplate_auto._remote.closure import Closure
from nameplate_auto._remote.references import Reference, at_home, chosen_reference, read_references
from nameplate_auto._remote.syntax import Facts
from nameplate_auto.errors import RemoteCodeError
from nameplate_config import (
    Source,
    SourceNotFoundError,
    UnknownOptionError,
    open_repository,
    open_source,
    read_config_values,
)
from nameplate_config.code import MOST_BYTES, digest_of
from nameplate_config.files import read_file
from nameplate_config.typing import HubOptions, StrPath
from nameplate_config.wording import shown

_IN_ANOTHER = ("subfolder", "revision", "force_download")
"""Options of a source that say nothing of another repository."""


@dataclass(frozen=True, slots=True)
class RemoteCode:
    """Code that a checkpoint brings, as it was when it was read. Nothing of it was run.

    Attributes:
        name: How the caller called the checkpoint.
        repository: The id of the repository that holds the code, or None for a local folder.
        commit: The commit of that repository.
        place: The folder or repository that messages name.
        files: The bytes of each file by its path, with slashes.
        digest: ``"sha256:"`` and 64 hexadecimal digits, over the paths and bytes of all files.
        pinned: Whether the caller named the commit itself: the code cannot change under the same call.
        facts: What the modules among the files say of others.
    """

    name: str
    repository: str | None
    commit: str | None
    place: str
    files: Mapping[str, bytes] = field(repr=False)
    digest: str
    pinned: bool
    facts: Mapping[str, Facts] = field(repr=False)

    @property
    def size(self) -> int:
        """The size of all files in bytes."""
        return sum(map(len, self.files.values()))


def read_remote_code(
    source: StrPath | Source,
    *,
    auto_class: str | None = None,
    code_revision: str | None = None,
    **options: Unpack[HubOptions],
) -> RemoteCode:
    """Read the code that a checkpoint brings, without running anything of it: to look at it, or to pin it.

    Args:
        source: A folder, or the id of a repository.
        auto_class: The Auto class that the code is for; by default the first that `auto_map` names.
        code_revision: The branch, tag or commit of the code, if it is not that of the checkpoint.
        **options: See `HubOptions`.

    Raises:
        RemoteCodeError: If the checkpoint brings no code, or code that is not whole.
        SourceNotFoundError: If there is no such folder, repository or config.
        HubError: If the Hub refused or could not be reached.
    """
    opened = open_source(source, allow_file=False, **options)
    values, where = read_config_values(opened)
    if not values.get("auto_map"):
        message = f"{where} has no auto_map: the checkpoint brings no code."
        raise RemoteCodeError(message)
    references = at_home(read_references(values, where), opened.repository)
    first = chosen_reference(references, auto_class or next(iter(references), "AutoConfig"), where)
    return collect_code(opened, first, references.values(), code_revision=code_revision)


def collect_code(
    source: Source, wanted: Reference, references: Iterable[Reference], *, code_revision: str | None
) -> RemoteCode:
    """Read the code of one class, and of all others that lie in the same repository.

    Config and model share their files that way, and so the identity of their classes.

    Raises:
        RemoteCodeError: If the code is not whole.
        UnknownOptionError: If there is a *code_revision* of a folder.
        HubError: If the Hub refused or could not be reached.
    """
    home = _home(source, wanted, code_revision)
    together = [each for each in references if each.repository == wanted.repository]
    closure = Closure(together, _Files(home))
    revision = code_revision or ((home.options or {}).get("revision") if wanted.repository is None else None)
    return RemoteCode(
        name=source.name,
        repository=home.repository,
        commit=home.commit,
        place=str(home.folder) if home.folder is not None else cast("str", home.repository),
        files=MappingProxyType(closure.files),
        digest=digest_of(closure.files),
        pinned=home.folder is not None or revision == home.commit,
        facts=MappingProxyType(closure.facts),
    )


def _home(source: Source, wanted: Reference, code_revision: str | None) -> Source:
    """Return the source that holds the code."""
    if wanted.repository is not None:
        options = cast("HubOptions", {k: v for k, v in (source.options or {}).items() if k not in _IN_ANOTHER})
        return _at(wanted.repository, options, code_revision)
    if code_revision is None:
        return source
    if source.repository is None:
        message = f"code_revision={shown(code_revision)} has no effect on the folder {source.name!r}. Leave it out."
        raise UnknownOptionError(message)
    return _at(source.repository, source.options or {}, code_revision)


def _at(repository: str, options: HubOptions, revision: str | None) -> Source:
    if revision is not None:
        options = {**options, "revision": revision}
    return open_repository(repository, **options)


class _Files:
    """The files of the place that holds the code."""

    def __init__(self, home: Source) -> None:
        self._home = home

    def read(self, path: str) -> bytes | None:
        """Return the bytes of a file, or None if there is none.

        Raises:
            HubError: If there may be one that is not in the cache: code is not run without a part of it.
        """
        folder, _, name = path.rpartition("/")
        source = self._home.below(folder)
        if source is None:
            return None
        found = source.find(name, largest=MOST_BYTES)
        if found is None and self._home.folder is None:
            with suppress(SourceNotFoundError):  # raises something else if it is only not in the cache
                source.path(name)
        if found is None or not (self._home.folder is None or _lies_inside(self._home.folder, found)):
            return None
        return read_file(found, limit=MOST_BYTES, too_large=RemoteCodeError)

    def where(self, path: str) -> str:
        """Return how messages name a file."""
        return self._home.where(path)


def _lies_inside(folder: Path, path: Path) -> bool:
    """Whether a file of a folder is in it, or where the Hub's cache keeps what its own links mean.

    Raises:
        RemoteCodeError: If it is a link that leads elsewhere.
    """
    top, real = Path(os.path.realpath(folder)), Path(os.path.realpath(path))  # resolve() raises at links in a circle
    cached = top.parent.name == "snapshots" and real.is_relative_to(top.parent.parent / "blobs")
    if cached or real.is_relative_to(top):
        return real.is_file()
    message = f"{str(path)!r} is a link that leads out of the folder, so it is not read as code. Put the file there."
    raise RemoteCodeError(message)
