"""Codecs of single values: what a field may hold that JSON writes without brackets, and how it comes back.

Here too is what every codec needs: the site of a value and the refusal. Containers, unions and the way from
an annotation to its codec belong to `_codec`.
"""

import enum
import math
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple, Protocol

from nameplate_config.errors import Problem
from nameplate_config.typing import JSONValue
from nameplate_config.wording import did_you_mean, listed, shown

FLOAT_TAG = "__float__"
"""JSON has no infinities and no NaN; Transformers writes ``{"__float__": "Infinity"}``, and so do we."""

MOST_PROBLEMS = 100
"""A container is not searched further after this many: a hostile file has half a million."""

_SPECIAL_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


class InvalidValueError(Exception):
    """Raised by a codec for a value that it refuses, with the problems found. Never leaves this package."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


class Site(NamedTuple):
    """Where in a config a value stands, and whether it was just read from JSON."""

    field: str
    from_file: bool = False
    keys: tuple[object, ...] = ()

    @property
    def path(self) -> str:
        """How code would write it; put together only for a message."""
        return self.field + "".join(f"[{shown(key)}]" for key in self.keys)

    def item(self, key: object) -> "Site":
        """Return the site of one entry of the container at this site."""
        return Site(self.field, self.from_file, (*self.keys, key))

    def refuse(self, expected: str, value: object, hint: str = "") -> InvalidValueError:
        """Return the error that says what this site expected instead of *value*."""
        return InvalidValueError(Problem(self.path, expected, shown(value), hint))


class Codec(Protocol):
    """What every kind of annotation can do."""

    @property
    def expected(self) -> str:
        """What the codec accepts, in words."""
        ...

    def convert(self, value: Any, site: Site) -> Any:
        """Return the config's own copy of *value*; raise `InvalidValueError` if it does not belong here."""
        ...

    def encode(self, value: Any) -> JSONValue:
        """Return *value* as fresh JSON that shares nothing with it."""
        ...


@dataclass(frozen=True, slots=True)
class Scalar:
    """`bool`, `int`, `str` and `None`: exactly that type, and the same in JSON."""

    kind: type
    expected: str

    def convert(self, value: Any, site: Site) -> Any:
        if type(value) is self.kind:
            return value
        if isinstance(value, self.kind) and not isinstance(value, (bool, enum.Enum)):
            return self.kind(value)  # a subclass such as numpy.str_ would not survive the file
        raise site.refuse(self.expected, value)

    def encode(self, value: Any) -> JSONValue:
        return value


@dataclass(frozen=True, slots=True)
class Float:
    """`float`, with integers accepted and the three values that JSON lacks written with a tag."""

    expected: str = "a float"

    def convert(self, value: Any, site: Site) -> float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with suppress(OverflowError):  # an integer beyond the largest float
                return float(value)
        if site.from_file and is_tagged_float(value):
            return _SPECIAL_FLOATS[value[FLOAT_TAG]]
        raise site.refuse(self.expected, value)

    def encode(self, value: float) -> JSONValue:
        return encode_float(value)


def is_tagged_float(value: Any) -> bool:
    """Whether *value* is what `encode_float` makes of an infinity or NaN."""
    return isinstance(value, dict) and any(value == {FLOAT_TAG: name} for name in _SPECIAL_FLOATS)


def encode_float(value: float) -> JSONValue:
    """Return *value* as JSON, tagged if it is not finite."""
    if math.isfinite(value):
        return value
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {FLOAT_TAG: name}


@dataclass(frozen=True, slots=True)
class Choice:
    """`Literal`: one of a few values."""

    choices: tuple[Any, ...]

    @property
    def expected(self) -> str:
        return "one of " + listed([repr(choice) for choice in self.choices], limit=12)

    def convert(self, value: Any, site: Site) -> Any:
        for choice in self.choices:
            if type(choice) is type(value) and choice == value:
                return choice
        names = [choice for choice in self.choices if isinstance(choice, str)]
        raise site.refuse(self.expected, value, did_you_mean(value, names) if isinstance(value, str) else "")

    def encode(self, value: Any) -> JSONValue:
        return value


@dataclass(frozen=True, slots=True)
class Enumeration:
    """An `Enum`: a member, or the value of one; in JSON its value."""

    kind: type[enum.Enum]

    @property
    def expected(self) -> str:
        return f"a {self.kind.__name__}: " + listed([repr(each.value) for each in self.kind], limit=12)

    def convert(self, value: Any, site: Site) -> enum.Enum:
        try:
            return self.kind(value)
        except ValueError:
            raise site.refuse(self.expected, value) from None

    def encode(self, value: enum.Enum) -> JSONValue:
        return value.value


@dataclass(frozen=True, slots=True)
class PathCodec:
    """A `pathlib.Path`, in JSON its text with forward slashes."""

    kind: type[PurePath]
    expected: str = "a path"

    def convert(self, value: Any, site: Site) -> PurePath:
        if isinstance(value, (str, PurePath)):
            return self.kind(value)
        raise site.refuse(self.expected, value)

    def encode(self, value: PurePath) -> JSONValue:
        return value.as_posix()
