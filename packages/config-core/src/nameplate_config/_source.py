"""Where a checkpoint comes from: a local folder, one file or a repository on the Hub, decided once.

Like `_publish`, this module imports huggingface_hub, and only when a repository is named. What the files mean
belongs elsewhere.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, Unpack, cast

from nameplate_config.errors import HubError, SourceNotFoundError, UnknownOptionError, UnsafePathError
from nameplate_config.files import member
from nameplate_config.typing import HubOptions, StrPath
from nameplate_config.wording import did_you_mean, listed, sentences, shown

_REPOSITORY = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")

# What HTTP calls its answers, in numbers since its names take a millisecond to import.
_REFUSED = frozenset({401, 403})  # nobody, or somebody who may not
_NOT_FOUND = 404
_BUSY = frozenset({408, 429})
_SERVER_ERROR = 500  # and all above: it is the Hub that failed

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
        options: How its files are fetched.
        file: The one file that was named instead of a folder: a config, and nothing beside it.
    """

    name: str
    folder: Path | None
    repository: str | None = None
    commit: str | None = None
    options: HubOptions | None = None
    file: Path | None = None

    def where(self, filename: str) -> str:
        """Return how messages name one of its files."""
        if self.file is not None:
            return str(self.file)
        if self.folder is not None:
            return str(self.folder / filename)
        subfolder = (self.options or {}).get("subfolder", "")
        return "/".join(filter(None, [f"{self.name}@{(self.commit or 'main')[:12]}", subfolder, filename]))

    def below(self, folder: str) -> "Source | None":
        """Return the source of a folder inside this one, or None if it is local and has no such folder.

        Args:
            folder: Its path, with slashes; an empty one is that of this source.

        Raises:
            SourceNotFoundError: If the source is one file.
            UnsafePathError: If a part of the path is no plain name.
        """
        if self.file is not None:
            raise _no_folder(self.file)
        if not folder:
            return self
        inside = Path()
        for part in folder.split("/"):
            inside = member(inside, part)
        if self.folder is not None:
            path = self.folder / inside
            return replace(self, folder=path) if path.is_dir() else None
        options = self.options or {}
        parts = [options.get("subfolder", ""), inside.as_posix()]
        return replace(self, options={**options, "subfolder": "/".join(filter(None, parts))})

    def find(self, filename: str, *, largest: int | None = None) -> Path | None:
        """Return the local path of a file, downloaded if need be, or None if the source does not have it.

        Where the Hub is not to be asked, only what the cache holds counts.

        Args:
            filename: The plain name of the file.
            largest: The most bytes that are downloaded. The Hub is asked for the size first then.

        Raises:
            SourceNotFoundError: If the source is one file.
            UnsafePathError: If the name is no plain file name.
            HubError: If the Hub cannot be asked, or the file on it is larger.
        """
        if self.file is not None:
            raise _no_folder(self.file)
        if self.folder is not None:
            path = member(self.folder, filename)
            return path if os.path.lexists(path) else None
        return _download(self, filename, largest)

    def table(self, filename: str) -> tuple[dict[str, Any], int] | None:
        """Return the parsed header of a safetensors file in a repository, and the file's size in bytes.

        Only the header is transferred, and nothing if the cache holds the file. None if the repository does not
        have it.

        Raises:
            UnsafePathError: If the name is no plain file name.
            HubError: If the Hub cannot be asked.
        """
        return _remote_table(self, filename)

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
        if self.folder is None:
            raise _absent_from_repository(self, filename)
        names = sorted(entry.name for entry in self.folder.iterdir() if not entry.name.startswith("."))
        there = f"The folder holds: {listed(names)}."
        message = sentences(f"{self.where(filename)} does not exist.", there)
        raise SourceNotFoundError(message)


def open_source(source: StrPath | Source, *, allow_file: bool = False, **options: Unpack[HubOptions]) -> Source:
    """Decide whether *source* is a folder or a repository, and fix the commit of a repository.

    An existing path is a folder. What looks like a path (absolute, starting with a dot or `~`, a `Path`) is
    never looked up on the Hub.

    Args:
        source: A folder, the id of a repository, or a source that is open already.
        allow_file: Whether it may be the path of a file as well, which is then the config.
        **options: See `HubOptions`; None is the same as not given.

    Raises:
        SourceNotFoundError: If there is no such folder and the text cannot be a repository's id, or if the path
            is that of a file and may not be.
        HubError: If the Hub refused or could not be reached.
        UnknownOptionError: If an option is none of `HubOptions`, or the source is open already.
    """
    for option, value in options.items():
        if option not in HUB_OPTIONS:
            message = sentences(f"{option!r} is no option of a source.", did_you_mean(option, HUB_OPTIONS))
            raise UnknownOptionError(message)
        if isinstance(source, Source) and value is not None:
            message = f"{option!r} has no effect on {source.name!r}, which is open already. Give it to open_source."
            raise UnknownOptionError(message)
    if isinstance(source, Source):
        return source
    text = os.fspath(source)
    if not text:
        message = "the source is an empty text. Give a folder or the id of a repository."
        raise SourceNotFoundError(message)
    path = Path(text).expanduser()
    if path.exists() or isinstance(source, os.PathLike) or not _REPOSITORY.fullmatch(text):
        return _local_source(text, path, options.get("subfolder") or "", allow_file=allow_file)
    return open_repository(text, **options)


def split_options(kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Split keyword arguments into the options of a source and the rest."""
    options = {name: value for name, value in kwargs.items() if name in HUB_OPTIONS}
    return options, {name: value for name, value in kwargs.items() if name not in HUB_OPTIONS}


def _local_source(name: str, path: Path, subfolder: str, *, allow_file: bool) -> Source:
    folder = path
    for part in _parts(subfolder):
        folder = member(folder, part)
    if folder.is_dir():
        return Source(name, folder)
    if allow_file and path.exists() and not path.is_dir():
        if folder == path:
            return Source(name, None, file=path)
        message = f"{str(path)!r} is a file, so it has no subfolder {subfolder!r}. Give one of them."
        raise SourceNotFoundError(message)
    raise _no_folder(folder)


def _parts(subfolder: str) -> list[str]:
    if not isinstance(subfolder, str):
        message = f"subfolder must be a text, found {shown(subfolder)}. Give its path inside the source, with slashes."
        raise UnknownOptionError(message)
    if subfolder.startswith("/"):
        message = f"the subfolder {shown(subfolder)} is absolute. Give its path inside the source."
        raise UnsafePathError(message)
    return [part for part in subfolder.split("/") if part]


def _no_folder(folder: Path) -> SourceNotFoundError:
    """Return the error about a path that is no folder, with the way to one."""
    if folder.exists():
        return SourceNotFoundError(f"{str(folder)!r} is a file. Give the folder that holds it.")
    parent = next((each for each in folder.parents if each.is_dir()), Path())
    names = sorted(entry.name for entry in parent.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    message = sentences(
        f"there is no folder {str(folder)!r}.",
        did_you_mean(folder.name, names) or f"Folders in {str(parent)!r}: {listed(names)}.",
    )
    return SourceNotFoundError(message)


def open_repository(name: str, **options: Unpack[HubOptions]) -> Source:
    """Fix the commit of a repository on the Hub, whatever folder there is of that name.

    Args:
        name: The id of the repository.
        **options: See `HubOptions`; None is the same as not given.

    Raises:
        SourceNotFoundError: If there is no such repository or revision.
        HubError: If the Hub refused or could not be reached.
    """
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named

    options = cast("HubOptions", {name: value for name, value in options.items() if value is not None})
    revision = options.get("revision", "main")
    parts = [member(Path(), part).name for part in _parts(options.get("subfolder", ""))]
    if "cache_dir" in options:
        options["cache_dir"] = Path(options["cache_dir"]).expanduser()
    hub = huggingface_hub.HfApi(token=options.get("token"))
    # The look-up below has no time-out of its own: a Hub that never answers would be waited for without end.
    cast("Any", hub).repo_info = partial(hub.repo_info, timeout=huggingface_hub.constants.HF_HUB_ETAG_TIMEOUT)
    try:
        # Remembers what a branch points to, and falls back on that where the Hub cannot be reached.
        resolved = hub.resolve_revision(
            name,
            revision=revision,
            cache_dir=cast("Any", options.get("cache_dir")),
            local_files_only=options.get("local_files_only", False),
        )
    except Exception as error:
        raise hub_error(name, revision, error) from error
    commit = resolved.resolved
    if not _COMMIT.fullmatch(commit):  # what a crash has left of the note in the cache
        message = sentences(
            f"revision {revision!r} of {name!r} stands for {shown(commit)}, which is no commit.",
            "Load it once online: the cache then holds the right one.",
        )
        raise HubError(message)
    return Source(name, None, name, commit, {**options, "subfolder": "/".join(parts)})


def hub_error(name: str, revision: str, error: Exception) -> Exception:
    """Return our error for one of huggingface_hub, or of what it is built on."""
    from huggingface_hub.errors import (  # noqa: PLC0415 - only when a repository is named
        GatedRepoError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
        RevisionResolutionError,
    )

    if isinstance(error, RevisionNotFoundError):
        return SourceNotFoundError(f"the repository {name!r} has no revision {revision!r}.")
    if isinstance(error, GatedRepoError):
        return HubError(
            sentences(
                f"the repository {name!r} is gated: only who was granted access may read its files.",
                "Ask for access on its page on the Hub, then log in with `hf auth login`, or give a token that has it.",
            )
        )
    if isinstance(error, RepositoryNotFoundError):
        folder = "" if Path(name).exists() else f"no folder {name!r} here and "
        return SourceNotFoundError(
            sentences(
                f"there is {folder}no repository {name!r} on the Hub that you may read.",
                "Check the spelling, or give a token if the repository is private.",
            )
        )
    if isinstance(error, HFValidationError):
        return SourceNotFoundError(f"there is no folder {name!r}, and no repository can have that name.")
    if isinstance(error, RevisionResolutionError):
        return _not_cached(f"revision {revision!r} of {name!r}", error.__cause__)
    if isinstance(error, OSError) and error.errno is not None:  # of the system; those of the Hub have no number
        return HubError(
            sentences(
                f"what the Hub has of {name!r} cannot be put into the cache: {error}.",
                "Make room, or the folder writable, or give another one as cache_dir.",
            )
        )
    if type(error) is ValueError and isinstance(error.__cause__, Exception):
        error = error.__cause__  # a forced download only says that it failed
    return HubError(sentences(f"the Hub could not be asked about {name!r}: {_reason(error)}", _way_out(error)))


def _way_out(error: Exception) -> str:
    """Return what may help, unless the client's own message says it."""
    from huggingface_hub.errors import LocalTokenNotFoundError, OfflineModeIsEnabled  # noqa: PLC0415 - as above

    status = _status(error)
    if status in _REFUSED:
        return "Log in with `hf auth login`, or give a token that may do this."
    if status == _NOT_FOUND:  # without the reason that a Hub gives
        return "If the environment sets HF_ENDPOINT, see whether a Hub is there."
    if status is None and isinstance(error, (LocalTokenNotFoundError, OfflineModeIsEnabled, ValueError)):
        return ""
    return "Try again later." if status is None or status in _BUSY or status >= _SERVER_ERROR else ""


def _not_cached(what: str, cause: BaseException | None) -> HubError:
    """Return the error about something that only the Hub could give, which was not asked or did not answer."""
    from huggingface_hub.errors import OfflineModeIsEnabled  # noqa: PLC0415 - only when a repository is named

    if cause is None or isinstance(cause, OfflineModeIsEnabled):
        message = f"{what} is not in the cache, and the Hub is not asked."
        return HubError(sentences(message, "Load it once online, or give a local folder."))
    message = f"{what} is not in the cache, and the Hub does not give it: {_reason(cause)}"
    return HubError(sentences(message, "Try again later, or give a local folder."))


def _reason(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def _status(error: BaseException | None) -> int | None:
    """Return what the Hub answered, if it is the answer that is the error."""
    return getattr(getattr(error, "response", None), "status_code", None)


def _download(source: Source, filename: str, largest: int | None) -> Path | None:
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named
    from huggingface_hub.errors import LocalEntryNotFoundError, RemoteEntryNotFoundError  # noqa: PLC0415

    member(Path(), filename)
    options = cast("dict[str, Any]", {**(source.options or {}), "revision": source.commit})
    cached = None if options.get("force_download") else _cached(source, filename)
    if cached is False:
        return None  # a commit never gets another file, but the client would ask each time
    fetch = partial(huggingface_hub.hf_hub_download, cast("str", source.repository), filename, **options)
    try:
        if largest is None or cached is not None:
            return Path(fetch())
        size = cast("huggingface_hub.DryRunFileInfo", fetch(dry_run=True)).file_size
        if size is None or size <= largest:
            return Path(fetch())
    except RemoteEntryNotFoundError:
        return None
    except LocalEntryNotFoundError as error:
        if _is_offline(source):
            return None
        cause = error.__cause__
        if isinstance(cause, Exception) and (_status(cause) or _SERVER_ERROR) < _SERVER_ERROR:
            raise hub_error(source.name, source.commit or "main", cause) from error
        raise _not_cached(source.where(filename), cause) from error
    except Exception as error:
        raise hub_error(source.name, source.commit or "main", error) from error
    message = f"{source.where(filename)} has {size:,} bytes; at most {largest:,} are read, so it is not downloaded."
    raise HubError(message)


def _remote_table(source: Source, filename: str) -> tuple[dict[str, Any], int] | None:
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named
    from huggingface_hub.errors import RemoteEntryNotFoundError  # noqa: PLC0415

    options = source.options or {}
    cached = None if options.get("force_download") else _cached(source, member(Path(), filename).name)
    if cached is False:
        return None
    if cached is None and _is_offline(source):
        raise _not_cached(source.where(filename), None)
    try:
        if cached is not None:
            found, size = huggingface_hub.parse_local_safetensors_file_metadata(cached), cached.stat().st_size
        else:
            found, size = _fetch_table(source, filename)
    except RemoteEntryNotFoundError:
        return None
    except Exception as error:
        raise hub_error(source.name, source.commit or "main", error) from error
    tensors = {
        name: {"dtype": each.dtype, "shape": list(each.shape), "data_offsets": list(each.data_offsets)}
        for name, each in found.tensors.items()
    }
    return {"__metadata__": found.metadata, **tensors}, size


def _fetch_table(source: Source, filename: str) -> tuple[Any, int]:
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named

    repository, token = cast("str", source.repository), (source.options or {}).get("token")
    path = _path_in_repository(source, filename)
    hub = huggingface_hub.HfApi(token=token)
    url = huggingface_hub.hf_hub_url(repository, path, revision=source.commit, endpoint=hub.endpoint)
    size = huggingface_hub.get_hf_file_metadata(url, token=token).size
    return hub.parse_safetensors_file_metadata(repository, path, revision=source.commit), size or 0


def _is_offline(source: Source) -> bool:
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named

    return bool((source.options or {}).get("local_files_only")) or huggingface_hub.is_offline_mode()


def _cached(source: Source, filename: str) -> Path | Literal[False] | None:
    """Return where the cache holds a file, or False if it remembers that the commit does not have it."""
    import huggingface_hub  # noqa: PLC0415 - only when a repository is named

    found = huggingface_hub.try_to_load_from_cache(
        cast("str", source.repository),
        _path_in_repository(source, filename),
        cache_dir=cast("Any", (source.options or {}).get("cache_dir")),
        revision=source.commit,
    )
    if found is huggingface_hub._CACHED_NO_EXIST:  # noqa: SLF001 - documented for exactly this comparison
        return False
    return Path(found) if isinstance(found, str) else None


def _path_in_repository(source: Source, filename: str) -> str:
    return "/".join(filter(None, [(source.options or {}).get("subfolder", ""), filename]))


def _absent_from_repository(source: Source, filename: str) -> Exception:
    if _is_offline(source) and _cached(source, filename) is None:
        return _not_cached(source.where(filename), None)
    return SourceNotFoundError(f"{source.where(filename)} does not exist.")
