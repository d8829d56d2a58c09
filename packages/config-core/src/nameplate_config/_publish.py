"""Publishing files in a repository on the Hub, all of them in one commit.

Like `_source`, this module imports huggingface_hub, and only when something is published.
"""

import re
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Unpack

from nameplate_config._source import hub_error
from nameplate_config.errors import SourceNotFoundError, UnknownOptionError
from nameplate_config.typing import PublishOptions
from nameplate_config.wording import did_you_mean, sentences, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

_NOTHING: Mapping[str, bytes] = MappingProxyType({})
_OPTIONS = frozenset(PublishOptions.__annotations__)


def publish(
    repository: str,
    files: Mapping[str, bytes | Path],
    message: str,
    once: Mapping[str, bytes] = _NOTHING,
    instead_of: str = "",
    /,
    **options: Unpack[PublishOptions],
) -> str:
    """Put files into a repository of models in one commit; a reader sees none of them or all.

    Args:
        repository: Its id, created if there is none.
        files: The bytes of each file by its path in the repository, or where it lies. Such a file is read from
            the disk piece by piece, and large ones are stored as the Hub stores them.
        message: What the commit says if the options do not.
        once: Files that are added only if the repository has none of that name, such as a card that its owners edit.
        instead_of: A regular expression. What it matches in the repository, and is not put into it, is removed.
        **options: See `PublishOptions`.

    Returns:
        The address of the commit.

    Raises:
        HubError: If the Hub refused or could not be reached.
        SourceNotFoundError: If the id is none, or the repository may not be written to.
        UnknownOptionError: If an option is none of `PublishOptions`.
    """
    check_options(options)
    import huggingface_hub  # noqa: PLC0415 - only when something is published

    hub = huggingface_hub.HfApi(token=options.get("token"))
    revision = options.get("revision")
    try:
        created = hub.create_repo(repository, private=options.get("private"), exist_ok=True)
        if revision is not None and not revision.startswith("refs/"):  # those of pull requests are there already
            hub.create_branch(created.repo_id, branch=revision, exist_ok=True)
        parent, there = _look(hub, created.repo_id, revision) if once or instead_of else (None, frozenset())
        added = {**{path: data for path, data in once.items() if path not in there}, **files}
        gone = sorted(path for path in there - added.keys() if instead_of and re.fullmatch(instead_of, path))
        commit = hub.create_commit(
            created.repo_id,
            operations=[
                *(huggingface_hub.CommitOperationAdd(path, data) for path, data in added.items()),
                *(huggingface_hub.CommitOperationDelete(path, is_folder=False) for path in gone),
            ],
            commit_message=options.get("commit_message") or message,
            revision=revision,
            create_pr=options.get("create_pr", False),
            parent_commit=parent,
        )
    except Exception as error:
        raise _refusal(repository, revision or "main", error) from error
    return str(commit.commit_url)


def _look(hub: "HfApi", name: str, revision: str | None) -> tuple[str | None, AbstractSet[str]]:
    """Return the commit that a branch points to, and the paths of its files."""
    info = hub.model_info(name, revision=revision)
    return info.sha, {each.rfilename for each in info.siblings or ()}


def model_card(text: str, **data: Any) -> bytes:
    """Return the bytes of a `README.md` that the Hub shows as the card of a model.

    Args:
        text: What it says, in Markdown.
        **data: What the Hub makes of it, see `huggingface_hub.ModelCardData`.

    Example:
        >>> print(model_card("# A model", library_name="nameplate", tags=["resnet"]).decode())
        ---
        library_name: nameplate
        tags:
        - resnet
        ---
        <BLANKLINE>
        # A model
        <BLANKLINE>
    """
    import huggingface_hub  # noqa: PLC0415 - as above

    card = huggingface_hub.ModelCard(f"---\n{huggingface_hub.ModelCardData(**data).to_yaml()}\n---\n\n{text}\n")
    return str(card).encode()


def check_options(options: Iterable[str]) -> None:
    """Raise `UnknownOptionError`, with the nearest name that exists, for the first name that is no option."""
    for option in options:
        if option not in _OPTIONS:
            message = sentences(f"{option!r} is no option of publishing.", did_you_mean(option, _OPTIONS))
            raise UnknownOptionError(message)


def check_repository_id(repository: str) -> None:
    """Refuse what no repository on the Hub can be called.

    Raises:
        SourceNotFoundError: If the Hub would not take it as an id.
    """
    from huggingface_hub.errors import HFValidationError  # noqa: PLC0415 - only when something is published
    from huggingface_hub.utils import validate_repo_id  # noqa: PLC0415 - as above

    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise _no_id(repository) from error


def _no_id(name: str) -> SourceNotFoundError:
    return SourceNotFoundError(f"no repository can be called {shown(name)}. Give an id such as 'user/name'.")


def _refusal(name: str, revision: str, error: Exception) -> Exception:
    """Return our error for one that happened while publishing."""
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError  # noqa: PLC0415 - as above

    if isinstance(error, HFValidationError):
        return _no_id(name)
    if isinstance(error, RepositoryNotFoundError):
        return SourceNotFoundError(
            sentences(
                f"there is no repository {name!r} on the Hub that you may write to.",
                "Check the spelling, or log in with `hf auth login`, or give a token that may write.",
            )
        )
    return hub_error(name, revision, error)
