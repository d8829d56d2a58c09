"""Publishing files in a repository on the Hub, all of them in one commit.

Like `_source`, this module imports huggingface_hub, and only when something is published.
"""

from collections.abc import Iterable, Mapping
from typing import Unpack

from nameplate_config._source import hub_error
from nameplate_config.errors import SourceNotFoundError, UnknownOptionError
from nameplate_config.typing import PublishOptions
from nameplate_config.wording import did_you_mean, sentences, shown

_OPTIONS = frozenset(PublishOptions.__annotations__)


def publish(repository: str, files: Mapping[str, bytes], message: str, **options: Unpack[PublishOptions]) -> str:
    """Put files into a repository of models in one commit; a reader sees none of them or all.

    Args:
        repository: Its id, created if there is none.
        files: The bytes of each file by its path in the repository.
        message: What the commit says if the options do not.
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
        commit = hub.create_commit(
            created.repo_id,
            operations=[huggingface_hub.CommitOperationAdd(path, data) for path, data in files.items()],
            commit_message=options.get("commit_message") or message,
            revision=revision,
            create_pr=options.get("create_pr", False),
        )
    except Exception as error:
        raise _refusal(repository, revision or "main", error) from error
    return str(commit.commit_url)


def check_options(options: Iterable[str]) -> None:
    """Raise `UnknownOptionError`, with the nearest name that exists, for the first name that is no option."""
    for option in options:
        if option not in _OPTIONS:
            message = sentences(f"{option!r} is no option of publishing.", did_you_mean(option, _OPTIONS))
            raise UnknownOptionError(message)


def _refusal(name: str, revision: str, error: Exception) -> Exception:
    """Return our error for one that happened while publishing."""
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError  # noqa: PLC0415 - as above

    if isinstance(error, HFValidationError):
        return SourceNotFoundError(f"no repository can be called {shown(name)}. Give an id such as 'user/name'.")
    if isinstance(error, RepositoryNotFoundError):
        return SourceNotFoundError(
            sentences(
                f"there is no repository {name!r} on the Hub that you may write to.",
                "Check the spelling, or log in with `hf auth login`, or give a token that may write.",
            )
        )
    return hub_error(name, revision, error)
