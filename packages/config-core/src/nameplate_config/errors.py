"""The error tree of the family: what can go wrong, drawn once.

    NameplateError                                 the one root; `except NameplateError` catches all of ours
    ├─ SourceNotFoundError (FileNotFoundError)     a folder, repository or file that is not there
    ├─ HubError            (OSError)               the Hub refused, or could not be reached
    ├─ UnsafePathError     (ValueError)            a file name that would leave its folder
    ├─ UnknownOptionError  (TypeError)             a keyword that nobody takes
    ├─ FrozenConfigError   (AttributeError)        a change of what was frozen
    ├─ SourceCodeError     (ValueError)            source that cannot be copied beside a checkpoint
    └─ ConfigError         (ValueError)            values that a config cannot hold; `.problems` has them all
       └─ ConfigFileError                          a config file that cannot be read as one

`nameplate_model.errors`, `nameplate_auto.errors` and `nameplate_conformance.errors` grow their branches from
the same root. Every class is also the builtin that Transformers raises in that place, so ported `except`
clauses keep working.

A message says what failed, where (file, key), what was expected and found, and the way out. It lists at most
five names. Only the classes and the record of one problem belong in this room; phrasing lives in `wording`.
"""

from dataclasses import dataclass
from types import MappingProxyType


class NameplateError(Exception):
    """Anything that this family of libraries refuses to do.

    Attributes:
        code: Which rule a file broke, one of `FILE_CODES`; empty for errors that are not about a file.
    """

    code: str = ""


class SourceNotFoundError(NameplateError, FileNotFoundError):
    """A folder, repository or file is absent: says what was asked for, looked for, and is there instead."""


class HubError(NameplateError, OSError):
    """The Hub refused or could not be reached; the error of huggingface_hub is the `__cause__`."""


class UnsafePathError(NameplateError, ValueError):
    """A file name, read from data or given by the caller, would leave the folder that it belongs to."""


class UnknownOptionError(NameplateError, TypeError):
    """A keyword argument that neither the function nor the config knows."""


class FrozenConfigError(NameplateError, AttributeError):
    """An attempt to change a frozen config, or a list, dict or set inside it."""


class SourceCodeError(NameplateError, ValueError):
    """Source code that could not be found or run again beside a checkpoint; says the file and the line."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong with one value of a config.

    Attributes:
        path: Where, as it would be written in code: ``layers[2]``.
        expected: What would have been right, in words; empty if the hint says it all.
        found: The offending value as `repr` shows it, shortened; empty if there was no value.
        hint: The way out, a whole sentence, or empty.
    """

    path: str
    expected: str
    found: str = ""
    hint: str = ""

    def __str__(self) -> str:
        found = f", found {self.found}" if self.found else ""
        expected = f"expected {self.expected}{found}" if self.expected else ""
        return f"{self.path}: " + ". ".join(part for part in (expected, self.hint) if part)


class ConfigError(NameplateError, ValueError):
    """Values that a config cannot hold.

    Attributes:
        problems: Every problem found, not only the first, in the order of the fields; of one container the
            first hundred.
    """

    def __init__(self, message: str, problems: tuple[Problem, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems


class ConfigFileError(ConfigError):
    """A config file that cannot be read: broken JSON, a budget exceeded, values that do not fit.

    Attributes:
        code: Which rule the file broke, one of `FILE_CODES`.
    """

    def __init__(self, message: str, problems: tuple[Problem, ...] = (), *, code: str = "wrong-value") -> None:
        super().__init__(message, problems)
        self.code = code


FILE_CODES = MappingProxyType(
    {
        "too-large": "more bytes than `strict_json.LARGEST_CONFIG`",
        "not-utf-8": "bytes that are no UTF-8",
        "byte-order-mark": "a byte order mark before the text",
        "syntax": "no JSON",
        "wrong-root": "JSON, but no object",
        "duplicate-key": "a key twice in one object",
        "no-number": "`NaN`, `Infinity`, or a number beyond the largest float",
        "long-integer": "an integer of more digits than `strict_json.LONGEST_INTEGER`",
        "too-deep": "deeper nesting than `strict_json.DEEPEST`",
        "too-many-keys": "an object with more keys than the budget",
        "too-many-values": "more values than the budget",
        "reserved-key": "a key that is the name of something the config class defines, such as a method",
        "wrong-model-type": "the config of another architecture",
        "wrong-version": "a `config_version` that is newer than the class, or no version",
        "failed-migration": "an old file that a migration of the class could not read",
        "failed-conversion": "a file of another library that a foreign format of the class could not read",
        "wrong-value": "values that do not fit their fields; `problems` lists them",
    }
)
"""Every `code` of an error about a file, and what was found."""


for _error in (
    NameplateError,
    SourceNotFoundError,
    HubError,
    UnsafePathError,
    UnknownOptionError,
    FrozenConfigError,
    SourceCodeError,
    ConfigError,
    ConfigFileError,
):
    _error.__module__ = "nameplate_config"  # tracebacks show the name that users import
