"""Who decides whether code of a checkpoint may run: the caller, with what they pass or own. Never the checkpoint.

Nothing is asked for interactively, and nothing that a repository says counts.
"""

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from nameplate_auto._remote.repository_code import RemoteCode
from nameplate_auto.errors import RemoteCodeError, RemoteCodeRefusedError, TrustFileError
from nameplate_config.files import read_file
from nameplate_config.typing import StrPath
from nameplate_config.wording import did_you_mean, listed, sentences, shown

SWITCH = "NAMEPLATE_REMOTE_CODE"
"""The environment variable that forbids code of checkpoints whatever a program says; its one value is ``never``."""

_FILE = "NAMEPLATE_TRUST_FILE"
_PIN = re.compile(r"sha256:[0-9a-f]{64}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_LARGEST = 1 << 20
_SHOWN_FILES = 5


@dataclass(frozen=True, slots=True)
class TrustRule:
    """Code that may run. What is None is not asked about, but a repository's name alone never suffices.

    Attributes:
        repository: The id of a repository on the Hub.
        revision: One of its commits, 40 hexadecimal digits.
        sha256: The digest of the code, ``"sha256:…"`` as refusals name it.

    Raises:
        TrustFileError: If it names neither a commit of a repository nor a digest, or one that can be none.
    """

    repository: str | None = None
    revision: str | None = None
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _matches(_PIN, self.sha256):
            message = f"sha256 is {shown(self.sha256)}; expected 'sha256:' and 64 hexadecimal digits."
            raise TrustFileError(message)
        if self.revision is not None and not _matches(_COMMIT, self.revision):
            message = (
                f"revision is {shown(self.revision)}; expected a commit of 40 hexadecimal digits, which cannot move."
            )
            raise TrustFileError(message)
        if self.repository is not None and not isinstance(self.repository, str):
            message = f"repository is {shown(self.repository)}; expected the id of a repository."
            raise TrustFileError(message)
        if self.sha256 is None and (self.repository is None or self.revision is None):
            message = (
                "a rule names neither a sha256 nor a commit of a repository. A name alone never suffices for code."
            )
            raise TrustFileError(message)

    def allows(self, code: RemoteCode) -> bool:
        """Whether this rule lets code run."""
        return (
            self.repository in (None, code.repository)
            and self.revision in (None, code.commit)
            and self.sha256 in (None, code.digest)
        )


@dataclass(frozen=True, slots=True)
class TrustPolicy:
    """Which code of checkpoints may run: what one of its rules names, nothing else.

    Attributes:
        rules: The rules.

    Example:
        >>> policy = TrustPolicy((TrustRule(sha256="sha256:" + 64 * "0"),))
        >>> len(policy.rules)
        1
    """

    rules: tuple[TrustRule, ...] = ()

    @classmethod
    def from_file(cls, path: StrPath | None = None) -> Self:
        """Read a policy from a ``trust.toml`` that the user owns; without one there, nothing is allowed.

        Each ``[[allow]]`` of the file is a `TrustRule`::

            [[allow]]
            repository = "org/name"
            revision = "0123456789012345678901234567890123456789"
            sha256 = "sha256:..."

        Args:
            path: The file. By default what ``NAMEPLATE_TRUST_FILE`` names, else ``nameplate/trust.toml`` in
                ``XDG_CONFIG_HOME`` or ``~/.config``.

        Raises:
            TrustFileError: If somebody else may write the file, or it is no such file.
        """
        file = Path(path) if path is not None else default_trust_file()
        if path is None and not file.exists():
            return cls()
        import tomllib  # noqa: PLC0415 - only when a file is read

        _refuse_strangers(file)
        data = read_file(file, limit=_LARGEST, too_large=TrustFileError)
        try:
            values = tomllib.loads(data.decode())
        except (ValueError, RecursionError) as error:  # also of numbers with too many digits
            message = f"{str(file)!r} is no TOML: {error}."
            raise TrustFileError(message) from error
        return cls(tuple(_rules(values, file)))

    def allows(self, code: RemoteCode) -> bool:
        """Whether code may run. Subclasses may decide otherwise."""
        return any(rule.allows(code) for rule in self.rules)


Trust = bool | str | tuple[str, ...] | list[str] | TrustPolicy | None
"""What may be passed as `trust_remote_code`: whether, or the digests of what, or a policy."""


def default_trust_file() -> Path:
    """Return where a user's ``trust.toml`` is looked for."""
    named = os.environ.get(_FILE)
    if named:
        return Path(named)
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "nameplate" / "trust.toml"


def check_trust(trust: Trust) -> bool:
    """Return whether a value of `trust_remote_code` may allow anything at all.

    Raises:
        RemoteCodeError: If it is no such value.
    """
    pins = (trust,) if isinstance(trust, str) else trust
    if isinstance(pins, (tuple, list)):
        if pins and all(_matches(_PIN, pin) for pin in pins):
            return True
    elif trust is None or isinstance(trust, (bool, TrustPolicy)):
        return trust is True or isinstance(trust, TrustPolicy)
    message = sentences(
        f"trust_remote_code is {shown(trust)}.",
        "Expected False, True, the digest 'sha256:...' of the code (64 hexadecimal digits), several, or a TrustPolicy.",
    )
    raise RemoteCodeError(message)


def forbidden() -> bool:
    """Whether the environment forbids all code of checkpoints.

    Raises:
        RemoteCodeError: If the variable says something else than ``never``: what was meant is not guessed.
    """
    value = os.environ.get(SWITCH, "")
    if value not in ("", "never"):
        message = f"the environment variable {SWITCH} is {shown(value)}; the one value that it may have is 'never'."
        raise RemoteCodeError(message)
    return value == "never"


def check_approved(code: RemoteCode, trust: Trust) -> None:
    """Do nothing if code may run.

    Raises:
        RemoteCodeRefusedError: If it may not. The message says what it is, and how to allow exactly that.
    """
    if not forbidden() and _allowed(code, trust):
        return
    raise RemoteCodeRefusedError(_refusal(code, trust), code=code)


def _allowed(code: RemoteCode, trust: Trust) -> bool:
    if isinstance(trust, TrustPolicy):
        return trust.allows(code) is True
    if isinstance(trust, (str, tuple, list)):
        return code.digest in ([trust] if isinstance(trust, str) else trust)
    return trust is True


def _refusal(code: RemoteCode, trust: Trust) -> str:
    of = f"{code.place!r}" + (f" at commit {code.commit}" if code.commit else "")
    largest = sorted(code.files, key=lambda path: (not path.endswith(".py"), path))
    files = ", ".join(f"{path} ({len(code.files[path]):,})" for path in largest[:_SHOWN_FILES])
    more = f" and {len(largest) - _SHOWN_FILES} more" if len(largest) > _SHOWN_FILES else ""
    return sentences(
        refused(code.name, trust),
        f"The code is {_counted(len(largest))} of {code.size:,} bytes in {of}: {files}{more}.",
        _way_out(code, trust),
    )


def refused(name: str, trust: Trust) -> str:
    """Return the sentence with which every refusal of code begins."""
    return f"{name!r} can only be loaded with code that it brings, and {_why(trust)}. Nothing of it was run."


def _why(trust: Trust) -> str:
    if forbidden():
        return f"{SWITCH}=never forbids that"
    if isinstance(trust, TrustPolicy):
        return "no rule of the TrustPolicy allows it"
    if isinstance(trust, (str, tuple, list)):
        return f"its digest is not {listed([trust] if isinstance(trust, str) else trust)}"
    return "nobody allowed that"


def _way_out(code: RemoteCode, trust: Trust) -> str:
    if forbidden():
        return "Install the package that defines the architecture, or unset the variable."
    if isinstance(trust, TrustPolicy):
        where = f'repository = "{code.repository}"\nrevision = "{code.commit}"\n' if code.repository else ""
        return f'If you have read it and trust it, add to the trust.toml:\n[[allow]]\n{where}sha256 = "{code.digest}"'
    return f'If you have read it and trust it: trust_remote_code="{code.digest}"'


def _counted(files: int) -> str:
    return "1 file" if files == 1 else f"{files} files"


def _matches(pattern: re.Pattern[str], value: object) -> bool:
    return isinstance(value, str) and pattern.fullmatch(value) is not None


def _refuse_strangers(file: Path) -> None:
    """Refuse a file that somebody else could have written."""
    try:
        found = file.stat()
    except (OSError, ValueError) as error:  # of a NUL in the path
        why = getattr(error, "strerror", error)
        message = f"{str(file)!r} cannot be read: {why}."
        raise TrustFileError(message) from error
    if not hasattr(os, "geteuid"):  # Windows keeps others out of a home by other means
        return
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        message = sentences(
            f"{str(file)!r} may be written by somebody else, so what it allows may not be what you allow.",
            f"Own it, and take the right to write from others: chmod go-w {str(file)!r}.",
        )
        raise TrustFileError(message)


_KEYS = tuple(each.name for each in fields(TrustRule))


def _rules(values: Mapping[str, Any], file: Path) -> list[TrustRule]:
    allow = values.get("allow", [])
    unknown = [key for key in values if key != "allow"]
    if unknown or not isinstance(allow, list) or not all(isinstance(each, dict) for each in allow):
        found = f"the key {shown(unknown[0])}" if unknown else f"allow = {shown(allow)}"
        message = f"{str(file)!r} has {found}; expected [[allow]] tables and nothing else."
        raise TrustFileError(message)
    rules = []
    for number, each in enumerate(allow, 1):
        for key in each:
            if key not in _KEYS:
                message = sentences(
                    f"{str(file)!r}: [[allow]] number {number} has the key {shown(key)}.",
                    did_you_mean(key, _KEYS) or f"It may have: {listed(_KEYS)}.",
                )
                raise TrustFileError(message)
        try:
            rules.append(TrustRule(**each))
        except TrustFileError as error:
            message = f"{str(file)!r}: [[allow]] number {number}: {error}"
            raise TrustFileError(message) from error
    return rules
