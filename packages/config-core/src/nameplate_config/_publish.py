"""Publishing files in a repository on the Hub, all of them in one commit.

Like `_source`, this module imports huggingface_hub, and only when something is published.
"""

from collections.abc import Mapping
from typing import Unpack

from nameplate_config._source import hub_error
from nameplate_config.errors import UnknownOptionError
from nameplate_config.typing import PublishOptions
from nameplate_config.wording import did_you_mean, sentences

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
        SourceNotFoundError: If the id is none, or the repository may not be seen.
        UnknownOptionError: If an option is none of `PublishOptions`.
    """
    for option in options:
        if option not in _OPTIONS:
            raise UnknownOptionError(
                sentences(f"{option!r} is no option of publishing.", did_you_mean(option, _OPTIONS))
            )
    import huggingface_hub  # noqa: PLC0415 - only when something is published

    hub = huggingface_hub.HfApi(token=options.get("token"))
    revision = options.get("revision")
    try:
        created = hub.create_repo(repository, private=options.get("private"), exist_ok=True)
        if revision is not None:
            hub.create_branch(created.repo_id, branch=revision, exist_ok=True)
        commit = hub.create_commit(
            created.repo_id,
            operations=[huggingface_hub.CommitOperationAdd(path, data) for path, data in files.items()],
            commit_message=options.get("commit_message") or message,
            revision=revision,
            create_pr=options.get("create_pr", False),
        )
    except Exception as error:
        raise hub_error(repository, revision or "main", error) from error
    return str(commit.commit_url)
