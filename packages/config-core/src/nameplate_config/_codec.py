"""From an annotation to a codec: what a field accepts, how it looks in JSON, how it comes back.

`codec_for` compiles an annotation once per class. A codec *converts* (checks a value and returns the config's
own copy, never the caller's object) and *encodes* (returns fresh JSON). Conversion accepts a value and, if it
was read from a file, its JSON form alike, which is how a file comes back as the types that went in. The codecs
themselves live in the rooms named after what they hold; how fields are collected belongs to `_fields`.
"""

import collections.abc
import dataclasses
import enum
import math
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal, TypeVar, Union

from nameplate_config._containers import ANYTHING, INTEGER, TEXT, Collection, MappingCodec, OrderedCodec, Record
from nameplate_config._dtype import DTypeCodec, DTypeMark, dtype_codec
from nameplate_config._numbered import LabelsCodec, LabelsMark
from nameplate_config._records import CustomCodec, DataclassCodec, NamedTupleCodec
from nameplate_config._scalars import (
    Bytes,
    Choice,
    Codec,
    Complex,
    Enumeration,
    Float,
    InvalidValueError,
    JSONSchema,
    PathCodec,
    Scalar,
    Site,
)
from nameplate_config._unions import Bound, Bounded, OptionalCodec, UnionCodec
from nameplate_config.errors import ConfigError
from nameplate_config.typing import JSONValue
from nameplate_config.wording import NAMES_LISTED, listed, sentences

_NONE = Scalar(type(None), "None", "null")
_BUILT_IN: dict[Any, Codec] = {
    bool: Scalar(bool, "a bool", "boolean"),
    int: INTEGER,
    str: TEXT,
    None: _NONE,
    type(None): _NONE,
    float: Float(),
    complex: Complex(),
    bytes: Bytes(),
    Any: ANYTHING,
    list: Collection(list, ANYTHING),
    tuple: Collection(tuple, ANYTHING),
    set: Collection(set, ANYTHING),
    frozenset: Collection(frozenset, ANYTHING),
    dict: MappingCodec(TEXT, ANYTHING),
    OrderedDict: OrderedCodec(MappingCodec(TEXT, ANYTHING)),
}
_MARKED: dict[type, Codec] = {DTypeMark: DTypeCodec(), LabelsMark: LabelsCodec()}
_KEYS = (Scalar, type(INTEGER), Float, Choice, Enumeration, PathCodec)

CodecFactory = Callable[[Any], Codec | None]
"""Builds the codec of an annotation that this module does not know, or returns None."""

_factories: list[CodecFactory] = [dtype_codec]
_custom: dict[type, CustomCodec] = {}
_records: dict[type, Codec] = {}


def extend_codecs(factory: CodecFactory) -> None:
    """Let *factory* be asked for the codec of annotations that are not built in."""
    _factories.append(factory)


def register_codec(
    kind: type, *, to_json: Callable[[Any], Any], from_json: Callable[[Any], Any], schema: JSONSchema | None = None
) -> None:
    """Let fields hold values of a class that JSON does not know.

    A field annotated with the class, alone or inside of a container or union, is written and read by the two
    functions. Each value is written and read once when it is set, so a pair that loses something fails there.

    Args:
        kind: The class; values of a subclass are refused.
        to_json: Makes JSON of a value.
        from_json: Makes a value of that JSON. Whatever it raises means that the JSON is wrong.
        schema: The JSON Schema of what *to_json* returns; anything is accepted if not given.

    Raises:
        ConfigError: If the class has a codec already.

    Example:
        >>> from nameplate_config import PreTrainedConfig
        >>> register_codec(slice, to_json=lambda s: [s.start, s.stop, s.step], from_json=lambda v: slice(*v))
        >>> class CropConfig(PreTrainedConfig):
        ...     rows: slice = slice(0, 224, 1)
        >>> CropConfig.from_dict({"rows": [16, 240, 2]}).rows
        slice(16, 240, 2)
    """
    if kind in _custom or kind in _BUILT_IN:
        message = f"{kind.__name__} has a codec already. A file must mean one thing: register one codec for a class."
        raise ConfigError(message)
    _custom[kind] = CustomCodec(kind, to_json, from_json, dict(schema or {}))


def encode_value(value: Any, annotation: Any) -> JSONValue:
    """Return the JSON of one value, as the file of a config with a field of that annotation would hold it.

    Args:
        value: The value.
        annotation: What a field that holds it would be annotated with.

    Raises:
        ConfigError: If the value does not fit the annotation, or no codec knows the annotation.

    Example:
        >>> encode_value((1, float("inf")), tuple[float, ...])
        [1.0, {'__float__': 'Infinity'}]
    """
    codec, site = _codec_and_site(annotation, from_file=False)
    try:
        return codec.encode(codec.convert(value, site))
    except InvalidValueError as error:
        raise _unfit(error) from None


def decode_value(value: JSONValue, annotation: Any) -> Any:
    """Return the value that `encode_value` made JSON of.

    Args:
        value: The JSON.
        annotation: The annotation that it was made with.

    Raises:
        ConfigError: If the JSON does not fit the annotation, or no codec knows the annotation.

    Example:
        >>> decode_value([1.0, {"__float__": "Infinity"}], tuple[float, ...])
        (1.0, inf)
    """
    codec, site = _codec_and_site(annotation, from_file=True)
    try:
        return codec.convert(value, site)
    except InvalidValueError as error:
        raise _unfit(error) from None


def _codec_and_site(annotation: Any, *, from_file: bool) -> tuple[Codec, Site]:
    try:
        return codec_for(annotation), Site("value", from_file)
    except TypeError as error:
        message = f"{error}. Give the class one with `register_codec`."
        raise ConfigError(message) from error


def _unfit(error: InvalidValueError) -> ConfigError:
    message = sentences("the value does not fit its annotation.", *map(str, error.problems[:NAMES_LISTED]))
    return ConfigError(message, error.problems)


@dataclass(frozen=True, slots=True)
class Likely(Codec):
    """No annotation, but a default that shows the type: restored as that, though anything may be given."""

    kind: type
    inner: Codec

    @property
    def expected(self) -> str:
        return ANYTHING.expected

    def convert(self, value: Any, site: Site) -> Any:
        try:  # read it as a file would be read: what is kept now must be what comes back
            return self.inner.convert(value, Site(site.field, from_file=True, keys=site.keys))
        except InvalidValueError:
            return ANYTHING.convert(value, site)

    def encode(self, value: Any) -> JSONValue:
        return (self.inner if isinstance(value, self.kind) else ANYTHING).encode(value)

    def schema(self) -> JSONSchema:
        return {}


def codec_for(annotation: Any) -> Codec:
    """Return the codec of an annotation.

    Raises:
        TypeError: If no codec knows the annotation.
    """
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _annotated(arguments[0], arguments[1:])
    if origin is Literal:
        return _choice(arguments)
    if origin in {Union, types.UnionType}:
        return _union(arguments)
    if origin is not None:
        return _container(origin, arguments, annotation)
    if isinstance(annotation, TypeVar) or annotation is object:
        return ANYTHING
    named = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
    if named is not None and not isinstance(annotation, enum.EnumMeta):  # NewType, or a `type` statement
        return codec_for(named)
    return _class_codec(annotation)


def codec_like(default: Any) -> Codec:
    """Return the codec of a field that has no annotation, judged by its default value."""
    kind = type(default)
    if isinstance(default, PurePath):
        return Likely(PurePath, PathCodec(Path if isinstance(default, Path) else PurePath))
    if kind is dict and default and all(type(key) is int for key in default):
        return Likely(dict, MappingCodec(INTEGER, ANYTHING))
    if default is None or kind in {bool, int, float, str, list, dict} or kind.__name__ == "_Missing":
        return ANYTHING
    try:
        return Likely(kind, codec_for(kind))
    except TypeError:
        return ANYTHING


def _annotated(annotation: Any, marks: Sequence[Any]) -> Codec:
    marked = [_MARKED[type(mark)] for mark in marks if type(mark) in _MARKED]
    inner = marked[0] if marked else codec_for(annotation)
    bounds = tuple(bound for mark in marks for bound in _bounds_of(mark))
    return Bounded(inner, bounds) if bounds else inner


def _union(members: tuple[Any, ...]) -> Codec:
    others = [each for each in members if each is not type(None)]
    if len(others) == 1:
        return OptionalCodec(codec_for(others[0]))
    codec = UnionCodec({_label(each): codec_for(each) for each in others})
    return codec if len(others) == len(members) else OptionalCodec(codec)


def _label(annotation: Any) -> str:
    """Return the name by which a file tells the member of a union."""
    plain = isinstance(annotation, type) and typing.get_origin(annotation) is None
    return annotation.__name__ if plain else str(annotation).replace("typing.", "")


def _container(origin: Any, arguments: tuple[Any, ...], annotation: Any) -> Codec:
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):  # noqa: PLR2004 - tuple[T, ...]
        return Record(() if arguments == ((),) else tuple(codec_for(each) for each in arguments))
    if origin in {list, tuple, set, frozenset}:
        return Collection(origin, codec_for(arguments[0]))
    if origin in {dict, OrderedDict, collections.abc.Mapping}:
        plain = MappingCodec(_key_codec(arguments[0]), codec_for(arguments[1]))
        return OrderedCodec(plain) if origin is OrderedDict else plain
    if origin is collections.abc.Sequence:
        element = codec_for(arguments[0])
        return UnionCodec({"list": Collection(list, element), "tuple": Collection(tuple, element)})
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
    if isinstance(plain, _KEYS):
        return codec
    message = f"no codec for dict keys that are {annotation!r}"
    raise TypeError(message)


def _class_codec(annotation: Any) -> Codec:
    if annotation is None or annotation is Any or (isinstance(annotation, type) and annotation in _BUILT_IN):
        return _BUILT_IN[annotation]
    for factory in _factories:
        codec = factory(annotation)
        if codec is not None:
            return codec
    if isinstance(annotation, type):
        if annotation in _custom:
            return _custom[annotation]
        if issubclass(annotation, enum.Enum):
            return _enumeration(annotation)
        if issubclass(annotation, PurePath):
            return PathCodec(annotation)
        if dataclasses.is_dataclass(annotation) or (issubclass(annotation, tuple) and hasattr(annotation, "_fields")):
            return _record(annotation)
    message = f"no codec for the annotation {annotation!r}"
    raise TypeError(message)


def _record(kind: type[Any]) -> Codec:
    """Return the codec of a dataclass or named tuple, whose fields may hold its own kind."""
    if kind in _records:
        return _records[kind]
    hints = typing.get_type_hints(kind, include_extras=True)
    codec: DataclassCodec | NamedTupleCodec
    if dataclasses.is_dataclass(kind):
        _refuse_init_only(kind)
        codec, names = DataclassCodec(kind), [each.name for each in dataclasses.fields(kind) if each.init]
    else:
        codec, names = NamedTupleCodec(kind), kind._fields
    _records[kind] = codec
    try:
        codec.elements.update({name: codec_for(hints.get(name, Any)) for name in names})
    except TypeError:
        del _records[kind]
        raise
    return codec


def _refuse_init_only(kind: type[Any]) -> None:
    for name, each in getattr(kind, "__dataclass_fields__", {}).items():
        if isinstance(each.type, dataclasses.InitVar) or "InitVar" in str(each.type):
            message = f"no codec for {kind.__name__}: its argument {name!r} is an InitVar, which it does not keep"
            raise TypeError(message)


def _bounds_of(mark: Any) -> list[Bound]:
    """Read an annotated_types mark by its attributes, which is how that package asks to be recognised."""
    bounds = []
    for attribute, (words, test, keywords) in _TESTS.items():
        limit = getattr(mark, attribute, None)
        if limit is not None and not (attribute == "min_length" and limit == 0):
            step = limit if attribute == "multiple_of" else None
            written = dict.fromkeys(keywords, limit) if isinstance(limit, (int, float)) else {}
            bounds.append(Bound(words.format(limit), _against(test, limit), written, step))
    predicate = getattr(mark, "func", None)
    if callable(predicate) and type(mark).__module__.partition(".")[0] == "annotated_types":
        name = getattr(predicate, "__name__", repr(predicate))
        negated = type(mark).__name__ == "Not"
        words = f"{'not ' if negated else ''}such that {name} holds"
        bounds.append(Bound(words, _negated(predicate) if negated else predicate, {}))
    return bounds


_TESTS: Mapping[str, tuple[str, Callable[[Any, Any], bool], tuple[str, ...]]] = {
    "ge": ("at least {}", lambda value, limit: value >= limit, ("minimum",)),
    "gt": ("more than {}", lambda value, limit: value > limit, ("exclusiveMinimum",)),
    "le": ("at most {}", lambda value, limit: value <= limit, ("maximum",)),
    "lt": ("less than {}", lambda value, limit: value < limit, ("exclusiveMaximum",)),
    "multiple_of": ("a multiple of {}", lambda value, limit: value % limit == 0, ("multipleOf",)),
    "min_length": (
        "at least {} long",
        lambda value, limit: len(value) >= limit,
        ("minLength", "minItems", "minProperties"),
    ),
    "max_length": (
        "at most {} long",
        lambda value, limit: len(value) <= limit,
        ("maxLength", "maxItems", "maxProperties"),
    ),
}
"""Each bound of annotated_types: how messages say it, how it is tested, the keywords of JSON Schema that say it."""


def _against(test: Callable[[Any, Any], bool], limit: Any) -> Callable[[Any], bool]:
    return lambda value: test(value, limit)


def _negated(predicate: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: not predicate(value)
