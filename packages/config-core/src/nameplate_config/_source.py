"""Where a checkpoint comes from: a local folder or a repository on the Hub, decided once.

The only module that imports huggingface_hub, and only when a repository is named. What the files mean belongs
elsewhere.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack, cast

from nameplate_config.errors import HubError, SourceNotFoundError, UnknownOptionError
from nameplate_config.files import member
from nameplate_config.typing import HubOptions, StrPath
from nameplate_config.wording import did_you_mean, listed, sentences

_REPOSITORY = re.compile(r"[\w][\w.-]*(/[\w][\w.-]*)?")
_COMMIT = re.compile(r"[0-9a-f]{40}")

HUB_OPTIONS = frozenset(HubOptions.__annotations__)
"""The names of the options that `HubOptions` declares."""


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint's place, resolved: every file asked of it comes from the same folder or the same commit.

    Attributes:
        name: How the caller called it.
        folder: The local folder, or None for a repository.
        repository: The repository's id on the Hub, or None for a folder.
        commit: The commit that a repository was resolved to.
    """

    name: str
    folder: Path | None
    repository: str | None = None
    commit: str | None = None
    options: HubOptions | None = None

    def where(self, filename: str) -> str:
        """Return how messages name one of its files."""
        if self.folder is not None:
            return str(self.folder / filename)
        return f"{self.name}@{(self.commit or 'main')[:12]}/{filename}"

    def find(self, filename: str) -> Path | None:
        """Return the local path of a file, downloaded if need be, or None if the source does not have it.

        Raises:
            UnsafePathError: If the name is no plain file name.
            HubError: If the Hub cannot be asked.
        """
        if self.folder is not None:
            path = member(self.folder, filename)
            return path if os.path.lexists(path) else None
        return _download(self, filename)

    def path(self, filename: str) -> Path:
        """Return the local path of a file that must be there.

        Raises:
            SourceNotFoundError: If the source does not have the file.
            UnsafePathError: If the name is no plain file name.
            HubError: If the Hub cannot be asked.
        """
        found = self.find(filename)
        if found is not None:
            return found
        there = ""
        if self.folder is not None:
            names = sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith("."))
            there = f"The folder holds: {listed(names)}."
        message = sentences(f"{self.where(filename)} does not exist.", there)
        raise SourceNotFoundError(message)


def open_source(source: StrPath | Source, **options: Unpack[HubOptions]) -> Source:
    """Decide whether *source* is a folder or a repository, and fix the commit of a repository.

    An existing path is a folder. What looks like a path (absolute, starting with a dot or `~`, a `Path`) is never
    looked up on the Hub.

    Raises:
        SourceNotFoundError: If there is no such folder and the text cannot be a repository's id.
        HubError: If the Hub refused or could not be reached.
        UnknownOptionError: If an option is none of `HubOptions`.
    """
    if isinstance(source, Source):
        return source
    for option in options:
        if option not in HUB_OPTIONS:
            message = sentences(f"{option!r} is no option of a source.", did_you_mean(option, HUB_OPTIONS))
            raise UnknownOptionError(message)
    text = os.fspath(source)
    path = Path(text).expanduser()
    if path.exists() or isinstance(source, os.PathLike) or not _REPOSITORY.fullmatch(text):
        return Source(text, _local_folder(path, options.get("subfolder", "")))
    return _open_repository(text, options)


def _local_folder(path: Path, subfolder: str) -> Path:
    folder = path
    for part in filter(None, subfolder.split("/")):
        folder = member(folder, part)
    if folder.is_dir():
        return folder
    if folder.exists():
        message = f"{str(folder)!r} is a file. Give the folder that holds it."
        raise SourceNotFoundError(message)
    parent = next((each for each in folder.parents if each.is_dir()), Path())
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    message = sentences(
        f"there is no folder {str(folder)!r}.",
        did_you_mean(folder.name, names) or f"Folders in {str(parent)!r}: {listed(names)}.",
    )
    raise SourceNotFoundError(message)


def _open_repository(name: str, options: HubOptions) -> Source:
    revision = options.get("revision", "main")
    if _COMMIT.fullmatch(revision) or options.get("local_files_only"):
        return Source(name, None, name, revision, options)
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named
    from huggingface_hub.errors import HfHubHTTPError  # noqa: PLC0415

    try:
        info = huggingface_hub.HfApi(token=options.get("token")).model_info(name, revision=revision)
    except HfHubHTTPError as error:
        raise _not_on_hub(name, revision, error) from error
    except (OSError, huggingface_hub.errors.OfflineModeIsEnabled):
        # Offline or unreachable: the cache may still know what the branch pointed to.
        return Source(name, None, name, revision, {**options, "local_files_only": True})
    return Source(name, None, name, info.sha, options)


def _not_on_hub(name: str, revision: str, error: Exception) -> Exception:
    from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError  # noqa: PLC0415

    reason = str(error).strip().splitlines()[0]
    if isinstance(error, RevisionNotFoundError):
        return SourceNotFoundError(f"the repository {name!r} has no revision {revision!r}.")
    if isinstance(error, RepositoryNotFoundError):
        return SourceNotFoundError(
            sentences(
                f"there is no folder {name!r} here and no repository {name!r} on the Hub that you may read.",
                "Check the spelling, or give a token if the repository is private or gated.",
            )
        )
    return HubError(f"the Hub could not be asked about {name!r}: {reason}")


def _download(source: Source, filename: str) -> Path | None:
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named
    from huggingface_hub.errors import (  # noqa: PLC0415
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RemoteEntryNotFoundError,
    )

    member(Path(), filename)
    options = cast("dict[str, Any]", {**(source.options or {}), "revision": source.commit})
    try:
        return Path(huggingface_hub.hf_hub_download(cast("str", source.repository), filename, **options))
    except RemoteEntryNotFoundError:
        return None
    except LocalEntryNotFoundError as error:
        message = sentences(
            f"{source.where(filename)} is not in the cache, and the Hub is not asked or not reachable.",
            "Load it once online, or give a local folder.",
        )
        raise HubError(message) from error
    except HfHubHTTPError as error:
        raise _not_on_hub(source.name, source.commit or "main", error) from error
