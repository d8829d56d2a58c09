"""From an annotation to a codec: what a field accepts, how it looks in JSON, how it comes back.

`codec_for` compiles an annotation once per class. A codec *converts* (checks a value and returns the config's
own copy, never the caller's object) and *encodes* (returns fresh JSON). Conversion accepts a value and, if it
was read from a file, its JSON form alike, which is how a file comes back as the types that went in. One class
per kind of annotation, those of single values in `_scalars`; how fields are collected belongs to `_fields`.
"""

import enum
import json
import math
import types
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union

from nameplate_config._scalars import (
    MOST_PROBLEMS,
    Choice,
    Codec,
    Enumeration,
    Float,
    InvalidValueError,
    PathCodec,
    Scalar,
    Site,
    encode_float,
    is_tagged_float,
)
from nameplate_config.errors import Problem
from nameplate_config.typing import JSONValue
from nameplate_config.wording import listed, shown


@dataclass(frozen=True, slots=True)
class Collection:
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
        elements = _each(value, repeat(self.element), site)
        try:
            return self.kind(elements)
        except TypeError:  # an element that no set can hold
            raise site.refuse(self.expected, value) from None

    def encode(self, value: Any) -> JSONValue:
        encoded = [self.element.encode(item) for item in value]
        # A set has no order, but the file must not depend on the hash seed.
        return sorted(encoded, key=repr) if self.kind in {set, frozenset} else encoded


@dataclass(frozen=True, slots=True)
class Record:
    """`tuple[A, B, C]`: one codec per position."""

    elements: tuple[Codec, ...]

    @property
    def expected(self) -> str:
        return f"a tuple of {len(self.elements)}"

    def convert(self, value: Any, site: Site) -> tuple[Any, ...]:
        if not isinstance(value, (list, tuple)) or len(value) != len(self.elements):
            raise site.refuse(self.expected, value)
        return tuple(_each(value, self.elements, site))

    def encode(self, value: tuple[Any, ...]) -> JSONValue:
        return [codec.encode(item) for codec, item in zip(self.elements, value, strict=True)]


@dataclass(frozen=True, slots=True)
class MappingCodec:
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
        problems: list[Problem] = []
        result: dict[Any, Any] = {}
        for key, item in value.items():
            at = site.item(key)
            try:
                result[self._converted_key(key, at)] = self.value.convert(item, at)
            except InvalidValueError as error:
                problems += error.problems
            if len(problems) >= MOST_PROBLEMS:
                break
        if problems:
            raise InvalidValueError(*problems)
        return result

    def _converted_key(self, key: Any, site: Site) -> Any:
        """Convert a key; one that is no text is written as its JSON, in exactly one way."""
        if site.from_file and isinstance(key, str) and self.key is not _TEXT:
            with suppress(ValueError, RecursionError, InvalidValueError):
                converted = self.key.convert(json.loads(key), site)
                if self._key_text(converted) == key:
                    return converted
        return self.key.convert(key, site)

    def _key_text(self, key: Any) -> str:
        encoded = self.key.encode(key)
        if type(encoded) is int:
            return str(encoded)  # as below, but there may be thousands
        return encoded if isinstance(encoded, str) else json.dumps(encoded)

    def encode(self, value: dict[Any, Any]) -> JSONValue:
        return {self._key_text(key): self.value.encode(item) for key, item in value.items()}


@dataclass(frozen=True, slots=True)
class UnionCodec:
    """`A | B`: the first member whose type is exactly the value's, else the first that accepts it.

    A value that would come back from a file as that of another member, such as a `Path` where a `str` may
    stand too, is refused.
    """

    members: tuple[Codec, ...]

    @property
    def expected(self) -> str:
        return " or ".join(dict.fromkeys(member.expected for member in self.members))

    def convert(self, value: Any, site: Site) -> Any:
        converted = self._chosen(value, site)
        if not site.from_file:
            again = self._chosen(self.encode(converted), Site("", from_file=True))
            if type(again) is not type(converted):
                hint = f"A file would give it back as {type(again).__name__}, not {type(converted).__name__}."
                raise site.refuse(self.expected, value, hint)
        return converted

    def _chosen(self, value: Any, site: Site) -> Any:
        accepted: list[Any] = []
        refusals: list[InvalidValueError] = []
        for member in self.members:
            try:
                converted = member.convert(value, site)
            except InvalidValueError as error:
                refusals.append(error)
                continue
            if type(converted) is type(value):
                return converted
            accepted.append(converted)
        if accepted:
            return accepted[0]
        deepest = max((error.problems[0] for error in refusals), key=lambda problem: len(problem.path))
        if deepest.path != site.path:  # a container of the right kind with a wrong element: name the element
            raise InvalidValueError(deepest)
        raise site.refuse(self.expected, value)

    def encode(self, value: Any) -> JSONValue:
        for member in self.members:
            try:
                if type(member.convert(value, Site(""))) is type(value):
                    return member.encode(value)
            except InvalidValueError:
                continue
        message = f"{shown(value)} is none of: {self.expected}"
        raise AssertionError(message)


@dataclass(frozen=True, slots=True)
class Bounded:
    """`Annotated[T, Ge(1), …]`: another codec's value, within bounds."""

    inner: Codec
    bounds: tuple["Bound", ...]

    @property
    def expected(self) -> str:
        return " and ".join([self.inner.expected, *(bound.expected for bound in self.bounds)])

    def convert(self, value: Any, site: Site) -> Any:
        converted = self.inner.convert(value, site)
        if self._within(converted):
            return converted
        raise site.refuse(self.expected, value)

    def _within(self, value: Any) -> bool:
        """Whether the bounds hold. None has no size; what cannot be compared is out of bounds."""
        try:
            return value is None or all(bound.holds(value) for bound in self.bounds)
        except TypeError:
            return False

    def encode(self, value: Any) -> JSONValue:
        return self.inner.encode(value)


@dataclass(frozen=True, slots=True)
class Bound:
    """One condition on a value, and how to say it."""

    expected: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True, slots=True)
class Anything:
    """No annotation, or `Any`: whatever JSON can carry without changing it. A tuple becomes a list."""

    expected: str = "a value that JSON can carry (None, bool, int, float, str, list, dict with str keys)"

    def convert(self, value: Any, site: Site) -> Any:
        if value is None or type(value) in {bool, int, str, float}:
            return value
        if isinstance(value, (list, tuple)):
            return _each(value, repeat(self), site)
        if isinstance(value, dict):
            if is_tagged_float(value):  # given in code, it would come back as that float
                return Float().convert(value, site)
            return MappingCodec(_TEXT, self).convert(value, site)
        hint = "Annotate the field with its type so that it can be restored."
        raise site.refuse(self.expected, value, hint)

    def encode(self, value: Any) -> JSONValue:
        if isinstance(value, float):
            return encode_float(value)
        if isinstance(value, list):
            return [self.encode(item) for item in value]
        if isinstance(value, dict):
            return {key: self.encode(item) for key, item in value.items()}
        return value


@dataclass(frozen=True, slots=True)
class Likely:
    """No annotation, but a default that shows the type: restored as that, though anything may be given."""

    kind: type
    inner: Codec

    @property
    def expected(self) -> str:
        return _SCALARS[Any].expected

    def convert(self, value: Any, site: Site) -> Any:
        try:  # read it as a file would be read: what is kept now must be what comes back
            return self.inner.convert(value, Site(site.field, from_file=True, keys=site.keys))
        except InvalidValueError:
            return _SCALARS[Any].convert(value, site)

    def encode(self, value: Any) -> JSONValue:
        return (self.inner if isinstance(value, self.kind) else _SCALARS[Any]).encode(value)


_TEXT = Scalar(str, "a str")
_SCALARS: dict[Any, Codec] = {
    bool: Scalar(bool, "a bool"),
    int: Scalar(int, "an int"),
    str: _TEXT,
    None: Scalar(type(None), "None"),
    type(None): Scalar(type(None), "None"),
    float: Float(),
    Any: Anything(),
}

CodecFactory = Callable[[type], Codec | None]
"""Builds the codec of a class that this module does not know, or returns None."""

_factories: list[CodecFactory] = []


def extend_codecs(factory: CodecFactory) -> None:
    """Let *factory* be asked for the codec of classes that are not built in."""
    _factories.append(factory)


def codec_for(annotation: Any) -> Codec:
    """Return the codec of an annotation.

    Raises:
        TypeError: If no codec knows the annotation.
    """
    if annotation is None or (isinstance(annotation, type) and annotation in _SCALARS) or annotation is Any:
        return _SCALARS[annotation]
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _bounded(codec_for(arguments[0]), arguments[1:])
    if origin is Literal:
        return _choice(arguments)
    if origin in {Union, types.UnionType}:
        return UnionCodec(tuple(codec_for(each) for each in arguments))
    if origin is not None:
        return _container(origin, arguments, annotation)
    if isinstance(annotation, TypeVar) or annotation is object:
        return _SCALARS[Any]
    return _class_codec(annotation)


def codec_like(default: Any) -> Codec:
    """Return the codec of a field that has no annotation, judged by its default value."""
    kind = type(default)
    if isinstance(default, (tuple, set, frozenset)):
        return Likely(kind, Collection(kind, _SCALARS[Any]))
    if isinstance(default, enum.Enum):
        return Likely(kind, _enumeration(kind))
    if isinstance(default, PurePath):
        return Likely(PurePath, PathCodec(Path if isinstance(default, Path) else PurePath))
    if isinstance(default, dict) and default and all(type(key) is int for key in default):
        return Likely(dict, MappingCodec(_SCALARS[int], _SCALARS[Any]))
    return _SCALARS[Any]


def _each(values: Iterable[Any], codecs: Iterable[Codec], site: Site) -> list[Any]:
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


def _container(origin: Any, arguments: tuple[Any, ...], annotation: Any) -> Codec:
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):  # noqa: PLR2004 - tuple[T, ...]
        return Record(tuple(codec_for(each) for each in arguments))
    if origin in {list, tuple, set, frozenset}:
        return Collection(origin, codec_for(arguments[0]))
    if origin is dict:
        return MappingCodec(_key_codec(arguments[0]), codec_for(arguments[1]))
    message = f"no codec for the annotation {annotation!r}"
    raise TypeError(message)


def _choice(choices: tuple[Any, ...]) -> Codec:
    if all(_is_json_scalar(choice) for choice in choices):
        return Choice(choices)
    message = f"no codec for the choices {listed(choices)}"
    raise TypeError(message)


def _enumeration(kind: type[enum.Enum]) -> Codec:
    if all(_is_json_scalar(member.value) for member in kind):
        return Enumeration(kind)
    message = f"no codec for {kind.__name__}: JSON has no scalar for each of its values"
    raise TypeError(message)


def _is_json_scalar(value: Any) -> bool:
    return type(value) in {type(None), bool, int, str} or (type(value) is float and math.isfinite(value))


def _key_codec(annotation: Any) -> Codec:
    codec = codec_for(annotation)
    plain = codec.inner if isinstance(codec, Bounded) else codec
    if isinstance(plain, (Scalar, Float, Choice, Enumeration, PathCodec)):
        return codec
    message = f"no codec for dict keys that are {annotation!r}"
    raise TypeError(message)


def _class_codec(annotation: Any) -> Codec:
    if annotation in {list, tuple, set, frozenset}:
        return Collection(annotation, _SCALARS[Any])
    if annotation is dict:
        return MappingCodec(_TEXT, _SCALARS[Any])
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return _enumeration(annotation)
        if issubclass(annotation, PurePath):
            return PathCodec(annotation)
        for factory in _factories:
            codec = factory(annotation)
            if codec is not None:
                return codec
    message = f"no codec for the annotation {annotation!r}"
    raise TypeError(message)


def _bounded(inner: Codec, marks: Sequence[Any]) -> Codec:
    bounds = tuple(bound for mark in marks for bound in _bounds_of(mark))
    return Bounded(inner, bounds) if bounds else inner


def _bounds_of(mark: Any) -> list[Bound]:
    """Read an annotated_types mark by its attributes, which is how that package asks to be recognised."""
    tests: dict[str, tuple[str, Callable[[Any, Any], bool]]] = {
        "ge": ("at least {}", lambda value, limit: value >= limit),
        "gt": ("more than {}", lambda value, limit: value > limit),
        "le": ("at most {}", lambda value, limit: value <= limit),
        "lt": ("less than {}", lambda value, limit: value < limit),
        "multiple_of": ("a multiple of {}", lambda value, limit: value % limit == 0),
        "min_length": ("at least {} long", lambda value, limit: len(value) >= limit),
        "max_length": ("at most {} long", lambda value, limit: len(value) <= limit),
    }
    bounds = []
    for attribute, (words, test) in tests.items():
        limit = getattr(mark, attribute, None)
        if limit is not None and not (attribute == "min_length" and limit == 0):
            bounds.append(Bound(words.format(limit), _against(test, limit)))
    return bounds


def _against(test: Callable[[Any, Any], bool], limit: Any) -> Callable[[Any], bool]:
    return lambda value: test(value, limit)
