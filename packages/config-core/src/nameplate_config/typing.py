"""Types that appear in public signatures, and the marks that a typed field can carry.

Bounds (`Ge`, `Le`, `Gt`, `Lt`, `MultipleOf`, `Len`, `Interval`) come from the `annotated_types` package and
are recognised by their attributes; only what it lacks is defined here.
"""

import os
from dataclasses import dataclass
from typing import Any, TypedDict

JSONValue = None | bool | int | float | str | list["JSONValue"] | dict[str, "JSONValue"]
"""Anything that a JSON file can hold."""

StrPath = str | os.PathLike[str]
"""A path, as text or as an object."""


class HubOptions(TypedDict, total=False):
    """How a repository is fetched from the Hub; without effect on a local folder, except `subfolder`.

    Attributes:
        revision: A branch, tag or commit. It is resolved to a commit once for the whole load.
        subfolder: The folder inside the source that holds the checkpoint, with `/` between its parts.
        cache_dir: Where downloads are kept, instead of the Hub's own cache.
        token: An access token, or whether to use the stored one.
        local_files_only: Use what the cache holds and never the network.
        force_download: Download again what the cache already holds.
    """

    revision: str
    subfolder: str
    cache_dir: StrPath
    token: str | bool
    local_files_only: bool
    force_download: bool


class PublishOptions(TypedDict, total=False):
    """How files are published on the Hub.

    Attributes:
        commit_message: What the commit says.
        private: Whether a repository that is created is private.
        token: An access token, or whether to use the stored one.
        revision: The branch to commit to, created if there is none; the main one if not given.
        create_pr: Propose the commit as a pull request instead.
    """

    commit_message: str
    private: bool
    token: str | bool
    revision: str
    create_pr: bool


@dataclass(frozen=True, slots=True)
class OnlyWhen:
    """Mark a field that may differ from its default only while another field has one of the given values.

    Elsewhere the field would be ignored or contradict the other one, so setting it is an error.
    Property-based tests draw it accordingly.

    Example:
        >>> from typing import Annotated
        >>> from nameplate_config import PreTrainedConfig
        >>> class BlockConfig(PreTrainedConfig):
        ...     kind: str = "plain"
        ...     groups: Annotated[int, OnlyWhen("kind", "grouped")] = 1
        >>> BlockConfig(groups=4)
        Traceback (most recent call last):
        ...
        nameplate_config.ConfigError: BlockConfig: 1 problem.
          groups: expected 1 while kind is 'plain', found 4. It has an effect only when kind is 'grouped'
    """

    field: str
    values: tuple[Any, ...]

    def __init__(self, field: str, *values: Any) -> None:
        object.__setattr__(self, "field", field)
        object.__setattr__(self, "values", values)


@dataclass(frozen=True, slots=True)
class Tiny:
    """Mark the values of a field that make a small model, smallest first.

    Ignored by the config itself. Conformance draws the field from them, so that thousands of models can be
    built in seconds.

    Example:
        >>> from typing import Annotated
        >>> from annotated_types import Ge
        >>> Width = Annotated[int, Ge(1), Tiny(4, 8)]
    """

    values: tuple[Any, ...]

    def __init__(self, *values: Any) -> None:
        object.__setattr__(self, "values", values)
