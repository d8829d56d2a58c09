"""Codecs of containers: lists, tuples, sets, dicts, and whatever JSON carries without an annotation.

Each looks at its elements together first: a thousand labels are a dict of texts, and are copied as one.
"""

import json
from collections import OrderedDict
from collections.abc import Collection as Values
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from itertools import repeat
from typing import Any

from nameplate_config._scalars import (
    LARGEST_INTEGER,
    MOST_PROBLEMS,
    Codec,
    Float,
    Integer,
    InvalidValueError,
    JSONSchema,
    Scalar,
    Site,
    encode_float,
    is_tagged_float,
)
from nameplate_config.errors import Problem
from nameplate_config.strict_json import LONGEST_INTEGER
from nameplate_config.typing import JSONValue

TEXT = Scalar(str, "a str", "string")
INTEGER = Integer()

_LONGEST_KEY = 64  # of what is no text: a special float is the longest

_INTEGER_KEY = f"^(?:0|-?[1-9][0-9]{{0,{LONGEST_INTEGER - 1}}})$"


@dataclass(frozen=True, slots=True)
class Collection(Codec):
    """`list[T]`, `tuple[T, ...]`, `set[T]` and `frozenset[T]`: a list in JSON, the right type when read."""

    kind: type
    element: Codec

    @property
    def expected(self) -> str:
        return f"a {self.kind.__name__} of which each is {self.element.expected}"

    def convert(self, value: Any, site: Site) -> Any:
        accepted = (list, tuple) if self.kind in {list, tuple} else (set, frozenset)
        if not isinstance(value, (*accepted, list, tuple) if site.from_file else accepted):
            expected = f"a {self.kind.__name__}"
            raise site.refuse(expected, value)
        elements = value if self.element.keeps(value) else each_converted(value, repeat(self.element), site)
        try:
            result = self.kind(elements)
        except TypeError:  # an element that no set can hold
            raise site.refuse(self.expected, value) from None
        if len(result) < len(value):
            expected = f"a {self.kind.__name__}, in which nothing stands twice"
            raise site.refuse(expected, value)
        return result

    def encode(self, value: Any) -> JSONValue:
        same = self.element.transparent or self.element.keeps(value)
        encoded = list(value) if same else [self.element.encode(item) for item in value]
        # A set has no order, but the file must not depend on the hash seed.
        return sorted(encoded, key=repr) if self.kind in {set, frozenset} else encoded

    def schema(self) -> JSONSchema:
        schema: JSONSchema = {"type": "array", "items": self.element.schema()}
        return schema if self.kind in {list, tuple} else {**schema, "uniqueItems": True}


@dataclass(frozen=True, slots=True)
class Record(Codec):
    """`tuple[A, B, C]`: one codec per position."""

    elements: tuple[Codec, ...]

    @property
    def expected(self) -> str:
        return f"a tuple of {len(self.elements)}"

    def convert(self, value: Any, site: Site) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(self.elements):
            raise site.refuse(self.expected, value)
        return tuple(each_converted(value, self.elements, site))

    def encode(self, value: tuple[Any, ...]) -> JSONValue:
        return [codec.encode(item) for codec, item in zip(self.elements, value, strict=True)]

    def schema(self) -> JSONSchema:
        if not self.elements:
            return {"type": "array", "maxItems": 0}
        each = [codec.schema() for codec in self.elements]
        return {"type": "array", "prefixItems": each, "items": False, "minItems": len(each)}


@dataclass(frozen=True, slots=True)
class MappingCodec(Codec):
    """`dict[K, V]`: order is kept, and keys that JSON turns into text come back as what they were."""

    key: Codec
    value: Codec

    @property
    def expected(self) -> str:
        return f"a dict from {self.key.expected} to {self.value.expected}"

    def convert(self, value: Any, site: Site) -> dict[Any, Any]:
        if not isinstance(value, Mapping):
            expected = "a dict"
            raise site.refuse(expected, value)
        if self.value.keeps(value.values()):
            if self.key.keeps(value):
                return dict(value)
            numbers = integer_keys(value) if site.from_file and self.key is INTEGER else None
            if numbers is not None:
                return dict(zip(numbers, value.values(), strict=True))
        return self._converted(value, site)

    def _converted(self, value: Mapping[Any, Any], site: Site) -> dict[Any, Any]:
        problems: list[Problem] = []
        result: dict[Any, Any] = {}
        for key, item in value.items():
            at = site.item(key)
            try:
                converted = self._converted_key(key, at)
                if converted in result:
                    expected = "one entry for each key"
                    raise at.refuse(expected, key)
                result[converted] = self.value.convert(item, at)
            except InvalidValueError as error:
                problems += error.problems
            if len(problems) >= MOST_PROBLEMS:
                break
        if problems:
            raise InvalidValueError(*problems)
        return result

    def _converted_key(self, key: Any, site: Site) -> Any:
        """Convert a key; one that is no text is written as its JSON, in exactly one way."""
        if site.from_file and isinstance(key, str) and self.key is not TEXT and len(key) <= _LONGEST_KEY:
            with suppress(ValueError, RecursionError, InvalidValueError):
                converted = self.key.convert(json.loads(key), site)
                if self._key_text(converted) == key:
                    return converted
        return self.key.convert(key, site)

    def _key_text(self, key: Any) -> str:
        encoded = self.key.encode(key)
        return encoded if isinstance(encoded, str) else json.dumps(encoded)

    def encode(self, value: dict[Any, Any]) -> JSONValue:
        if self.key is INTEGER:
            consecutive = list(value) == list(range(len(value)))
            keys: Iterable[str] = decimals(len(value)) if consecutive else map(str, value)
        else:
            keys = value if self.key is TEXT else map(self._key_text, value)
        if self.value.transparent or self.value.keeps(value.values()):
            return dict(zip(keys, value.values(), strict=True))
        return dict(zip(keys, map(self.value.encode, value.values()), strict=True))

    def schema(self) -> JSONSchema:
        schema: JSONSchema = {"type": "object", "additionalProperties": self.value.schema()}
        if self.key is INTEGER:
            schema["propertyNames"] = {"pattern": _INTEGER_KEY}
        elif self.key is not TEXT:
            schema["propertyNames"] = _key_schema(self.key.schema())
        return schema


@lru_cache(maxsize=16)
def decimals(count: int) -> list[str]:
    """Return the texts of the first integers, which are the keys of most labels; not to be changed."""
    return list(map(str, range(count)))


def integer_keys(value: Mapping[Any, Any]) -> Sequence[int] | None:
    """Return the integers that the keys of a JSON object stand for; None unless each is a plain decimal number."""
    if list(value) == decimals(len(value)):
        return range(len(value))
    try:
        line = f",{','.join(value)},"
        numbers = list(map(int, value))
    except (TypeError, ValueError):
        return None
    # Digits alone, and none begins with a zero but the zero itself: found out without a loop, unless one is negative.
    plain = line.replace(",", "").isdigit() and line.isascii() and line.count(",0") == line.count(",0,")
    return numbers if (plain or list(map(str, numbers)) == list(value)) and INTEGER.keeps(numbers) else None


def _key_schema(schema: JSONSchema) -> JSONSchema:
    """Return the schema of the texts that stand for keys of a schema."""
    if "enum" in schema:
        return {"enum": [each if isinstance(each, str) else json.dumps(each) for each in schema["enum"]]}
    texts: dict[str, JSONSchema] = {
        "string": schema,
        "integer": {"pattern": _INTEGER_KEY},
        "boolean": {"enum": ["true", "false"]},
    }
    return texts.get(schema.get("type", ""), {})


@dataclass(frozen=True, slots=True)
class OrderedCodec(Codec):
    """`OrderedDict[K, V]`: a list of pairs in JSON, so that no tool that sorts keys can lose the order."""

    plain: MappingCodec

    @property
    def expected(self) -> str:
        return f"an ordered dict from {self.plain.key.expected} to {self.plain.value.expected}"

    def convert(self, value: Any, site: Site) -> OrderedDict[Any, Any]:
        if site.from_file and isinstance(value, list):
            pairs = each_converted(value, repeat(Record((self.plain.key, self.plain.value))), site)
            result = OrderedDict(pairs)
            if len(result) == len(pairs):
                return result
            expected = "one pair for each key"
            raise site.refuse(expected, value)
        return OrderedDict(self.plain.convert(value, site))

    def encode(self, value: OrderedDict[Any, Any]) -> JSONValue:
        key, item = self.plain.key, self.plain.value
        return [[key.encode(each), item.encode(value[each])] for each in value]

    def schema(self) -> JSONSchema:
        pairs = {"type": "array", "items": Record((self.plain.key, self.plain.value)).schema()}
        return {"anyOf": [pairs, self.plain.schema()]}


@dataclass(frozen=True, slots=True)
class Anything(Codec):
    """No annotation, or `Any`: whatever JSON can carry without changing it. A tuple becomes a list."""

    expected = "a value that JSON can carry (None, bool, int, float, str, list, dict with str keys)"

    def convert(self, value: Any, site: Site) -> Any:
        kind = type(value)
        if value is None or kind in {bool, str, float}:
            return value
        if kind is int:
            return INTEGER.convert(value, site)
        if isinstance(value, (list, tuple)):
            return list(value) if self.keeps(value) else each_converted(value, repeat(self), site)
        if isinstance(value, dict):
            if is_tagged_float(value):  # given in code, it would come back as that float
                return Float().convert(value, site)
            return _ANY_DICT.convert(value, site)
        hint = "Annotate the field with its type so that it can be restored."
        raise site.refuse(self.expected, value, hint)

    def encode(self, value: Any) -> JSONValue:
        if isinstance(value, float):
            return encode_float(value)
        if isinstance(value, list):
            return list(value) if self.keeps(value) else [self.encode(item) for item in value]
        if isinstance(value, dict):
            return _ANY_DICT.encode(value)
        return value

    def schema(self) -> JSONSchema:
        return {}

    def keeps(self, values: Values[Any]) -> bool:
        """Whether there is no container, no special float and no endless integer among them."""
        kinds = set(map(type, values))
        if not kinds <= {type(None), bool, str, int, float}:
            return False
        if int in kinds and any(abs(each) > LARGEST_INTEGER for each in values if type(each) is int):
            return False
        return float not in kinds or all(abs(each) < float("inf") for each in values if type(each) is float)


ANYTHING = Anything()
_ANY_DICT = MappingCodec(TEXT, ANYTHING)


def each_converted(values: Iterable[Any], codecs: Iterable[Codec], site: Site) -> list[Any]:
    """Convert every element and report the problems of as many as a person would read, not only of the first."""
    problems: list[Problem] = []
    results: list[Any] = []
    for position, (value, codec) in enumerate(zip(values, codecs, strict=False)):
        try:
            results.append(codec.convert(value, site.item(position)))
        except InvalidValueError as error:
            problems += error.problems
        if len(problems) >= MOST_PROBLEMS:
            break
    if problems:
        raise InvalidValueError(*problems)
    return results


def identical(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types all the way down; NaN is identical to NaN."""
    if type(one) is not type(other):
        return False
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(identical, one, other))
    if isinstance(one, dict):
        return list(one) == list(other) and all(identical(one[key], other[key]) for key in one)
    return bool(one == other) or (isinstance(one, float) and one != one and other != other)  # noqa: PLR0124
