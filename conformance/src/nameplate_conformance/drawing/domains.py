"""What a field may be: a small tree of choices, read from its annotation, its default and its marks.

Every choice has its simplest value first, and nothing in the tree is unbounded. `strategies` draws from it at random,
`coverage` goes through it in order, `anchors` cuts it down to what makes small models.
"""

import collections.abc
import dataclasses
import enum
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, Literal, Union

from hypothesis.strategies import SearchStrategy

from nameplate_config import MISSING, ConfigError, DType, Field, OnlyWhen, PreTrainedConfig, Tiny, fields
from nameplate_conformance.drawing import candidates

Kwargs = dict[str, Any]

_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence)
_DICTS = (dict, OrderedDict, collections.abc.Mapping)
_DTYPE = typing.get_args(DType)[1]
_DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True, slots=True)
class Few:
    """One of a few values, the simplest first."""

    values: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Either:
    """A value of one of several kinds, the simplest kind first."""

    members: "Sequence[Domain]"


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence or set of values of one kind."""

    make: Callable[[Iterable[Any]], Any]
    element: "Domain"
    low: int
    high: int
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Pairs:
    """A dict, each of its keys and of its values of one kind."""

    make: Callable[[Iterable[Any]], Any]
    key: "Domain"
    value: "Domain"
    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Row:
    """A tuple with a kind of value for each place."""

    places: "Sequence[Domain]"


@dataclass(frozen=True, slots=True)
class Whole:
    """An object built from fields of its own: a config, a dataclass, a named tuple. It may hold its own kind."""

    kind: Any
    exotic: bool

    def parts(self) -> "dict[str, Domain]":
        """Return what each of its fields may be."""
        return parts_of(self.kind, Reader(self.exotic))

    def build(self, values: Mapping[str, Any]) -> Any:
        """Return the object; arguments that would have no effect are left out.

        Raises:
            ConfigError: If a config class refuses the values.
        """
        if issubclass(self.kind, PreTrainedConfig):
            return self.kind(**effective(self.kind, values))
        return self.kind(**values)


@dataclass(frozen=True, slots=True)
class Given:
    """Whatever a strategy of the architecture's own draws."""

    strategy: SearchStrategy[Any]


Domain = Few | Either | Items | Pairs | Row | Whole | Given
"""What a field may be."""

NOTHING = Few(())
"""What a field may be whose annotation nobody can make a value of."""


@dataclass(frozen=True, slots=True)
class Reader:
    """Reads annotations.

    Attributes:
        exotic: Whether values count that are fit for a config but for no model.
    """

    exotic: bool = False

    def field(self, field: Field) -> Domain:
        """Return what one field may be."""
        if field.annotation is not Any:
            return self.read(field.annotation, field.default)
        if isinstance(field.default, bool):  # a bare parameter: only its default says what it may be
            return Few((False, True))
        if self.exotic and type(field.default) in {int, float, str}:
            return self.read(type(field.default), field.default)
        if field.required:
            return NOTHING
        return Few(candidates.lengths(field.fresh_default()) if self.exotic else (field.fresh_default(),))

    def read(self, annotation: Any, default: Any = MISSING, marks: Sequence[Any] = ()) -> Domain:
        """Return what an annotation describes, within the bounds that *marks* set."""
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.read(arguments[0], default, (*arguments[1:], *marks))
        for mark in marks:
            if isinstance(mark, Tiny):
                return Few(mark.values)
        if origin is Literal:
            return Few(arguments)
        if origin in {Union, types.UnionType}:
            ordered = sorted(arguments, key=lambda each: each is not type(None))
            return Either([self.read(each, _of_type(default, each), marks) for each in ordered])
        if origin in _LISTS:
            return self._sequence(origin, arguments, default, marks)
        if origin in _DICTS:
            return self._mapping(origin, arguments, default, marks)
        named = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
        if named is not None and not isinstance(annotation, enum.EnumMeta):  # NewType, or a `type` statement
            return self.read(named, default, marks)
        return self._plain(annotation, default, marks)

    def _sequence(self, kind: Any, arguments: tuple[Any, ...], default: Any, marks: Sequence[Any]) -> Domain:
        if kind is tuple and not (len(arguments) == 2 and arguments[1] is ...):  # noqa: PLR2004 - tuple[T, ...]
            return Row([self.read(each) for each in arguments if each != ()])
        low, high = candidates.sizes(marks, default, least=self._least(arguments[0]), exotic=self.exotic)
        element = self.read(arguments[0])
        if kind is collections.abc.Sequence:
            return Either([Items(list, element, low, high), Items(tuple, element, low, high)])
        return Items(kind, element, low, high, unique=kind in {set, frozenset})

    def _mapping(self, kind: Any, arguments: tuple[Any, ...], default: Any, marks: Sequence[Any]) -> Domain:
        low, high = candidates.sizes(marks, default, least=self._least(arguments[1]), exotic=self.exotic)
        known = candidates.keys(arguments[0], default, exotic=self.exotic)
        key = Few(known) if known else self.read(arguments[0])
        one = next(iter(default.values()), MISSING) if isinstance(default, dict) else MISSING
        make = OrderedDict if kind is OrderedDict else dict
        return Pairs(make, key, self.read(arguments[1], one), low, high)

    def _least(self, element: Any) -> int:
        """Return how many elements there are at least: none where they may hold their own kind again."""
        return 0 if self.exotic or is_object(element) else 1

    def _plain(self, annotation: Any, default: Any, marks: Sequence[Any]) -> Domain:
        few = self._few(annotation, default, marks)
        if few is not None:
            return Few(few)
        if annotation is type(None) or annotation is None:
            return Few((None,))
        if is_object(annotation):
            whole = Whole(annotation, self.exotic)
            return whole if default in (MISSING, None) else Either([whole, Few((default,))])
        if annotation in {list, dict} and self.exotic:
            one = Few(candidates.anything(MISSING, exotic=True))
            return Items(list, one, 0, 2) if annotation is list else Pairs(dict, Few(["a", "b"]), one, 0, 2)
        if default is not MISSING:
            return Few((default,))
        return Few((annotation(),)) if annotation in {*_LISTS[:-1], *_DICTS[:-1]} else NOTHING

    def _few(self, annotation: Any, default: Any, marks: Sequence[Any]) -> Sequence[Any] | None:
        """Return the values of a simple type; None for any other."""
        if annotation is Any or annotation is object:
            return candidates.anything(default, exotic=self.exotic)
        if annotation is bool:
            return (False, True)
        if annotation in {int, float}:
            return candidates.numbers(annotation, default, marks, exotic=self.exotic)
        if annotation is str and _DTYPE in marks:
            return [*_DTYPES, *([default] if isinstance(default, str) and default not in _DTYPES else [])]
        simple: dict[Any, Callable[[], Sequence[Any]]] = {
            complex: lambda: candidates.complexes(default),
            str: lambda: candidates.texts(default, marks, exotic=self.exotic),
            bytes: lambda: candidates.byte_strings(default, marks),
        }
        if annotation in simple:
            return simple[annotation]()
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return list(annotation)
        is_path = isinstance(annotation, type) and issubclass(annotation, PurePath)
        return candidates.paths(annotation, default) if is_path else None


def parts_of(kind: Any, reader: Reader) -> dict[str, Domain]:
    """Return what each field of a config class, a dataclass or a named tuple may be."""
    if issubclass(kind, PreTrainedConfig):
        return {each.name: reader.field(each) for each in fields(kind)}
    hints = typing.get_type_hints(kind, include_extras=True)
    defaults: dict[str, Any]
    if dataclasses.is_dataclass(kind):
        defaults = {each.name: _default_of(each) for each in dataclasses.fields(kind) if each.init}
    else:
        defaults = {name: kind._field_defaults.get(name, MISSING) for name in kind._fields}
    return {name: reader.read(hints.get(name, Any), each) for name, each in defaults.items()}


def effective(config_class: type[PreTrainedConfig], kwargs: Mapping[str, Any]) -> Kwargs:
    """Return the arguments without those that have no effect beside the others (`OnlyWhen`)."""
    declared = fields(config_class)
    everything = {each.name: each.default for each in declared} | dict(kwargs)
    inert = {
        each.name for each in declared for mark in conditions(each) if everything.get(mark.field) not in mark.values
    }
    return {name: value for name, value in kwargs.items() if name not in inert}


def conditions(field: Field) -> list[OnlyWhen]:
    """Return under which conditions a field has an effect, all of which must hold."""
    return [mark for mark in field.marks if isinstance(mark, OnlyWhen)]


def is_accepted(config_class: type[PreTrainedConfig], kwargs: Kwargs) -> bool:
    """Whether a config can be built from the arguments."""
    try:
        config_class(**kwargs)
    except ConfigError:
        return False
    return True


def is_object(annotation: Any) -> bool:
    """Whether values are configs, dataclasses or named tuples, built from fields of their own."""
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None:
        return False
    if issubclass(annotation, PreTrainedConfig):
        return annotation is not PreTrainedConfig
    return dataclasses.is_dataclass(annotation) or (issubclass(annotation, tuple) and hasattr(annotation, "_fields"))


def _default_of(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return MISSING if each.default is dataclasses.MISSING else each.default


def _of_type(default: Any, annotation: Any) -> Any:
    """Return the default if it belongs to this member of a union."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    kind = typing.get_origin(annotation) or annotation
    return default if isinstance(kind, type) and kind is not Any and isinstance(default, kind) else MISSING
