"""Codecs of single values: what a field may hold that JSON writes without brackets, and how it comes back.

Here too is what every codec shares: its interface, the site of a value and the refusal. Containers, records,
unions and the way from an annotation to its codec have rooms of their own.
"""

import base64
import binascii
import enum
import math
from abc import ABC, abstractmethod
from array import array
from collections.abc import Collection as Values
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, NamedTuple

from nameplate_config.errors import Problem
from nameplate_config.strict_json import LONGEST_INTEGER
from nameplate_config.typing import JSONValue
from nameplate_config.wording import did_you_mean, listed, plain, shown, with_article

FLOAT_TAG = "__float__"
"""JSON has no infinities and no NaN; Transformers writes ``{"__float__": "Infinity"}``, and so do we."""

MOST_PROBLEMS = 100
"""A container is not searched further after this many: a hostile file has half a million."""

LARGEST_INTEGER = 10**LONGEST_INTEGER - 1
"""The largest integer that a file may hold."""

JSONSchema = dict[str, Any]
"""A schema of draft 2020-12, or a part of one."""

SPECIAL_FLOATS = {"Infinity": math.inf, "-Infinity": -math.inf, "NaN": math.nan}


class InvalidValueError(Exception):
    """Raised by a codec for a value that it refuses, with the problems found. Never leaves this package."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__(*problems)
        self.problems = problems


class Attribute(str):
    """The name of an attribute, among the keys of a site."""

    __slots__ = ()


def _attribute_path(name: str) -> str:
    text = plain(name)
    return f".{name}" if text == name else f"[{text}]"


class Site(NamedTuple):
    """Where in a config a value stands, and whether it was just read from JSON."""

    field: str
    from_file: bool = False
    keys: tuple[object, ...] = ()

    @property
    def path(self) -> str:
        """How code would write it; put together only for a message."""
        steps = (_attribute_path(key) if isinstance(key, Attribute) else f"[{shown(key)}]" for key in self.keys)
        return plain(self.field) + "".join(steps) if self.field else "".join(steps)

    def item(self, key: object) -> "Site":
        """Return the site of one entry of the container at this site."""
        return Site(self.field, self.from_file, (*self.keys, key))

    def attribute(self, name: str) -> "Site":
        """Return the site of one attribute of the object at this site."""
        return self.item(Attribute(name))

    def refuse(self, expected: str, value: object, hint: str = "") -> InvalidValueError:
        """Return the error that says what this site expected instead of *value*."""
        return InvalidValueError(Problem(self.path, expected, shown(value), hint))


class Codec(ABC):
    """What every kind of annotation can do.

    Attributes:
        holds_config: Whether its values are configs.
        transparent: Whether each of its values is its own JSON.
    """

    __slots__ = ()

    holds_config = False
    transparent = False

    @property
    @abstractmethod
    def expected(self) -> str:
        """What the codec accepts, in words."""

    @abstractmethod
    def convert(self, value: Any, site: Site) -> Any:
        """Return the config's own copy of *value*; raise `InvalidValueError` if it does not belong here."""

    @abstractmethod
    def encode(self, value: Any) -> JSONValue:
        """Return *value* as fresh JSON that shares nothing with it."""

    @abstractmethod
    def schema(self) -> JSONSchema:
        """Return the JSON Schema of what `encode` writes and `convert` accepts from a file."""

    def changed(self, before: Any, changes: Any, site: Site) -> Any:  # noqa: ARG002 - only configs have parts
        """Return the value that stood before, or its JSON, with parts of it changed."""
        return self.convert(changes, site)

    def claims(self, value: Any) -> bool:  # noqa: ARG002 - only configs say whose they are
        """Whether a dict says that it is a value of this codec."""
        return False

    def keeps(self, values: Values[Any]) -> bool:  # noqa: ARG002 - the answer of a codec that cannot tell
        """Whether each of *values* converts to itself and is its own JSON, judged without looking at them singly.

        A container of a thousand such values is converted a hundred times faster. False if in doubt.
        """
        return False


@dataclass(frozen=True, slots=True)
class Scalar(Codec):
    """`bool`, `str` and `None`: exactly that type, and the same in JSON."""

    transparent = True

    kind: type
    name: str
    json_type: str

    @property
    def expected(self) -> str:
        return self.name

    def convert(self, value: Any, site: Site) -> Any:
        if type(value) is self.kind:
            return value
        if isinstance(value, self.kind) and not isinstance(value, enum.Enum):
            return self.kind(value)  # a subclass such as numpy.str_ would not survive the file
        raise site.refuse(self.expected, value)

    def encode(self, value: Any) -> JSONValue:
        return value

    def schema(self) -> JSONSchema:
        return {"type": self.json_type}

    def keeps(self, values: Values[Any]) -> bool:
        return {self.kind}.issuperset(map(type, values))


@dataclass(frozen=True, slots=True)
class Integer(Codec):
    """`int`, as long as a file may hold it; from a file also a number such as 1.0, which JSON cannot tell from 1."""

    expected = "an int"
    transparent = True

    def convert(self, value: Any, site: Site) -> int:
        whole = site.from_file and type(value) is float and float(value).is_integer()
        if not whole and (not isinstance(value, int) or isinstance(value, (bool, enum.Enum))):
            raise site.refuse(self.expected, value)
        value = int(value)
        if abs(value) > LARGEST_INTEGER:
            expected = f"an int of at most {LONGEST_INTEGER} digits"
            raise site.refuse(expected, value)
        return value

    def encode(self, value: int) -> JSONValue:
        return value

    def schema(self) -> JSONSchema:
        return {"type": "integer", "minimum": -LARGEST_INTEGER, "maximum": LARGEST_INTEGER}

    def keeps(self, values: Values[Any]) -> bool:
        if not {int}.issuperset(map(type, values)):
            return False
        try:
            array("q", values)  # the quickest way to ask whether each has at most 64 bits
        except OverflowError:
            return bool(min(values) >= -LARGEST_INTEGER and max(values) <= LARGEST_INTEGER)
        return True


@dataclass(frozen=True, slots=True)
class Float(Codec):
    """`float`, with integers accepted and the three values that JSON lacks written with a tag."""

    expected = "a float"

    def convert(self, value: Any, site: Site) -> float:
        if type(value) is float:
            return value
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            with suppress(OverflowError):  # an integer beyond the largest float
                return float(value)
        if site.from_file and is_tagged_float(value):
            return SPECIAL_FLOATS[value[FLOAT_TAG]]
        raise site.refuse(self.expected, value)

    def encode(self, value: float) -> JSONValue:
        return encode_float(value)

    def schema(self) -> JSONSchema:
        return {"anyOf": [{"type": "number"}, tagged_float(SPECIAL_FLOATS)]}

    def keeps(self, values: Values[Any]) -> bool:
        return {float}.issuperset(map(type, values)) and all(map(math.isfinite, values))


def is_tagged_float(value: Any) -> bool:
    """Whether *value* is what `encode_float` makes of an infinity or NaN."""
    if not isinstance(value, dict) or len(value) != 1:
        return False
    name = value.get(FLOAT_TAG)
    return isinstance(name, str) and name in SPECIAL_FLOATS


def encode_float(value: float) -> JSONValue:
    """Return *value* as JSON, tagged if it is not finite."""
    if math.isfinite(value):
        return value
    name = "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    return {FLOAT_TAG: name}


def tagged_float(names: Iterable[str]) -> JSONSchema:
    """Return the schema of the tags of special floats."""
    return {
        "type": "object",
        "properties": {FLOAT_TAG: {"enum": list(names)}},
        "required": [FLOAT_TAG],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Complex(Codec):
    """`complex`, in JSON the list of its real and imaginary part."""

    expected = "a complex"

    def convert(self, value: Any, site: Site) -> complex:
        if isinstance(value, (int, float, complex)) and not isinstance(value, bool):
            with suppress(OverflowError):
                return complex(value)
        if site.from_file and isinstance(value, list) and len(value) == 2:  # noqa: PLR2004 - real and imaginary
            return complex(*(Float().convert(part, site.item(i)) for i, part in enumerate(value)))
        raise site.refuse(self.expected, value)

    def encode(self, value: complex) -> JSONValue:
        return [encode_float(value.real), encode_float(value.imag)]

    def schema(self) -> JSONSchema:
        part = Float().schema()
        pair = {"type": "array", "prefixItems": [part, part], "items": False, "minItems": 2}
        return {"anyOf": [{"type": "number"}, pair]}


@dataclass(frozen=True, slots=True)
class Bytes(Codec):
    """`bytes`, in JSON their base64 text."""

    expected = "bytes"

    def convert(self, value: Any, site: Site) -> bytes:
        if isinstance(value, bytes):
            return bytes(value)
        if site.from_file and isinstance(value, str):
            with suppress(binascii.Error, ValueError):
                return base64.b64decode(value, validate=True)
            expected = "bytes as base64 text"
            raise site.refuse(expected, value)
        raise site.refuse(self.expected, value)

    def encode(self, value: bytes) -> JSONValue:
        return base64.b64encode(value).decode()

    def schema(self) -> JSONSchema:
        groups = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
        return {"type": "string", "contentEncoding": "base64", "pattern": groups}


@dataclass(frozen=True, slots=True)
class Choice(Codec):
    """`Literal`: one of a few values."""

    choices: tuple[Any, ...]

    @property
    def expected(self) -> str:
        return "one of " + listed([repr(choice) for choice in self.choices], limit=12)

    def convert(self, value: Any, site: Site) -> Any:
        for choice in self.choices:
            if choice == value and (type(choice) is type(value) or (site.from_file and _same_number(choice, value))):
                return choice
        names = [choice for choice in self.choices if isinstance(choice, str)]
        raise site.refuse(self.expected, value, did_you_mean(value, names) if isinstance(value, str) else "")

    def encode(self, value: Any) -> JSONValue:
        return value

    def schema(self) -> JSONSchema:
        return {"enum": list(self.choices)}


def _same_number(one: Any, other: Any) -> bool:
    """Whether JSON cannot tell two equal values apart: it has one kind of number."""
    return {type(one), type(other)} <= {int, float}


@dataclass(frozen=True, slots=True)
class Enumeration(Codec):
    """An `Enum`: a member, or the value of one; in JSON its value."""

    kind: type[enum.Enum]

    @property
    def expected(self) -> str:
        return f"{with_article(self.kind.__name__)}: " + listed([repr(each.value) for each in self.kind], limit=12)

    def convert(self, value: Any, site: Site) -> enum.Enum:
        if isinstance(value, self.kind):
            return value
        for each in self.kind:
            if each.value == value and (type(each.value) is type(value) or _same_number(each.value, value)):
                return each
        names = [each.value for each in self.kind if isinstance(each.value, str)]
        raise site.refuse(self.expected, value, did_you_mean(value, names) if isinstance(value, str) else "")

    def encode(self, value: enum.Enum) -> JSONValue:
        return value.value

    def schema(self) -> JSONSchema:
        return {"enum": [each.value for each in self.kind]}


@dataclass(frozen=True, slots=True)
class PathCodec(Codec):
    """A `pathlib.Path`, in JSON its text with forward slashes."""

    kind: type[PurePath]
    expected = "a path"

    def convert(self, value: Any, site: Site) -> PurePath:
        if isinstance(value, (str, PurePath)):
            return self.kind(value)
        raise site.refuse(self.expected, value)

    def encode(self, value: PurePath) -> JSONValue:
        return value.as_posix()

    def schema(self) -> JSONSchema:
        return {"type": "string"}
