"""From the typed fields of a config class to hypothesis strategies that draw small, valid arguments.

Keyword arguments are drawn, not configs: a counterexample then prints as a call that can be pasted. Every choice has
its simplest value first, which is where hypothesis shrinks to. Nothing unbounded is ever drawn.
"""

import collections.abc
import copy
import dataclasses
import enum
import types
import typing
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import PurePath
from typing import Any, Literal, Union

from hypothesis import strategies as st

from nameplate_config import MISSING, ConfigError, DType, Field, OnlyWhen, PreTrainedConfig, Tiny, fields
from nameplate_conformance import candidates
from nameplate_conformance.architecture import Architecture

Kwargs = dict[str, Any]

_LISTS = (list, tuple, set, frozenset, collections.abc.Sequence)
_DICTS = (dict, OrderedDict, collections.abc.Mapping)
_DTYPE = typing.get_args(DType)[1]
_DTYPES = ("float32", "bfloat16")


def config_kwargs(architecture: Architecture, *, exotic: bool = False) -> st.SearchStrategy[Kwargs]:
    """Return a strategy of keyword arguments that the config class accepts.

    Args:
        architecture: Whose config.
        exotic: Draw, in some of the examples, values that are fit for a config but for no model.
    """
    config_class = architecture.config_class
    usual = unchecked_kwargs(architecture).filter(lambda kwargs: is_accepted(config_class, kwargs))
    if not exotic:
        return usual
    strange = _kwargs(config_class, architecture.fields, Drawer(exotic=True))
    return usual | strange.filter(lambda kwargs: is_accepted(config_class, kwargs))


def unchecked_kwargs(architecture: Architecture) -> st.SearchStrategy[Kwargs]:
    """Return a strategy of keyword arguments as the annotations describe them; the config may still refuse some.

    Fields are drawn independently of each other. One that has no effect for the values drawn (`OnlyWhen`) is left out.
    """
    return _kwargs(architecture.config_class, architecture.fields, Drawer())


def is_accepted(config_class: type[PreTrainedConfig], kwargs: Kwargs) -> bool:
    """Whether a config can be built from the arguments."""
    try:
        config_class(**kwargs)
    except ConfigError:
        return False
    return True


def field_values(field: Field) -> st.SearchStrategy[Any]:
    """Return a strategy of small values for one field, judged by its annotation and its default."""
    return Drawer().field(field)


@dataclass(frozen=True, slots=True)
class Drawer:
    """Turns annotations into strategies.

    Attributes:
        exotic: Whether values are drawn that no model is built for.
    """

    exotic: bool = False

    def field(self, field: Field) -> st.SearchStrategy[Any]:
        """Return a strategy for one field."""
        if field.annotation is not Any:
            return self.values(field.annotation, field.default)
        if isinstance(field.default, bool):  # a bare parameter: only its default says what it may be
            return st.booleans()
        if self.exotic and type(field.default) in {int, float, str}:
            return self.values(type(field.default), field.default)
        return st.just(field.fresh_default())

    def values(self, annotation: Any, default: Any = MISSING, marks: Sequence[Any] = ()) -> st.SearchStrategy[Any]:
        """Return a strategy for an annotation, with the bounds that *marks* set."""
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is typing.Annotated:
            return self.values(arguments[0], default, (*arguments[1:], *marks))
        for mark in marks:
            if isinstance(mark, Tiny):
                return st.sampled_from(mark.values)
        if origin is Literal:
            return st.sampled_from(arguments)
        if origin in {Union, types.UnionType}:
            ordered = sorted(arguments, key=_none_first)
            return st.one_of([self.values(each, _of_type(default, each), marks) for each in ordered])
        if origin in _LISTS:
            return self._sequence(origin, arguments, default, marks)
        if origin in _DICTS:
            return self._mapping(origin, arguments, default, marks)
        named = getattr(annotation, "__supertype__", None) or getattr(annotation, "__value__", None)
        if named is not None and not isinstance(annotation, enum.EnumMeta):  # NewType, or a `type` statement
            return self.values(named, default, marks)
        return self._plain(annotation, default, marks)

    def _sequence(
        self, kind: Any, arguments: tuple[Any, ...], default: Any, marks: Sequence[Any]
    ) -> st.SearchStrategy[Any]:
        if kind is tuple and not (len(arguments) == 2 and arguments[1] is ...):  # noqa: PLR2004 - tuple[T, ...]
            return st.tuples(*(self.values(each) for each in arguments if each != ()))
        low, high = candidates.sizes(marks, default, least=self._least(arguments[0]))
        drawn = st.lists(self.values(arguments[0]), min_size=low, max_size=high, unique=kind in {set, frozenset})
        if kind is collections.abc.Sequence:
            return drawn | drawn.map(tuple)
        return drawn if kind is list else drawn.map(kind)

    def _mapping(
        self, kind: Any, arguments: tuple[Any, ...], default: Any, marks: Sequence[Any]
    ) -> st.SearchStrategy[Any]:
        low, high = candidates.sizes(marks, default, least=self._least(arguments[1]))
        known = candidates.keys(arguments[0], default, exotic=self.exotic)
        key = st.sampled_from(known) if known else self.values(arguments[0])
        one = next(iter(default.values()), MISSING) if isinstance(default, dict) else MISSING
        pairs = st.tuples(key, self.values(arguments[1], one))
        drawn = st.lists(pairs, min_size=low, max_size=high, unique_by=lambda pair: pair[0])
        return drawn.map(OrderedDict if kind is OrderedDict else dict)

    def _least(self, element: Any) -> int:
        """Return how many elements there are at least: none where they may hold their own kind again."""
        return 0 if self.exotic or _is_object(element) else 1

    def _plain(self, annotation: Any, default: Any, marks: Sequence[Any]) -> st.SearchStrategy[Any]:
        few = self._few(annotation, default, marks)
        if few is not None:
            return st.sampled_from(few)
        if annotation is type(None) or annotation is None:
            return st.none()
        if _is_object(annotation):
            whole = _objects(annotation, self.exotic)
            return whole if default in (MISSING, None) else whole | st.just(default).map(copy.deepcopy)
        if default is not MISSING:
            return st.just(default)
        return st.builds(annotation) if isinstance(annotation, type) else st.nothing()

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


def _kwargs(
    config_class: type[PreTrainedConfig], given: Mapping[str, st.SearchStrategy[Any]], drawer: Drawer
) -> st.SearchStrategy[Kwargs]:
    declared = fields(config_class)
    drawn = {each.name: given[each.name] if each.name in given else drawer.field(each) for each in declared}
    return st.fixed_dictionaries(drawn).map(lambda kwargs: _without_inert(declared, kwargs))


@lru_cache(maxsize=256)
def _objects(kind: type, exotic: bool) -> st.SearchStrategy[Any]:
    """Return a strategy of nested configs, dataclasses or named tuples, which may hold their own kind."""
    if issubclass(kind, PreTrainedConfig):
        return st.deferred(lambda: _configs(kind, Drawer(exotic)))
    return st.deferred(lambda: _records(kind, Drawer(exotic)))


def _configs(kind: type[PreTrainedConfig], drawer: Drawer) -> st.SearchStrategy[PreTrainedConfig]:
    accepted = _kwargs(kind, {}, drawer).filter(lambda kwargs: is_accepted(kind, kwargs))
    return accepted.map(lambda kwargs: kind(**kwargs))


def _records(kind: Any, drawer: Drawer) -> st.SearchStrategy[Any]:
    hints = typing.get_type_hints(kind, include_extras=True)
    defaults: dict[str, Any]
    if dataclasses.is_dataclass(kind):
        defaults = {each.name: _default_of(each) for each in dataclasses.fields(kind) if each.init}
    else:
        defaults = {name: kind._field_defaults.get(name, MISSING) for name in kind._fields}
    return st.builds(kind, **{name: drawer.values(hints.get(name, Any), each) for name, each in defaults.items()})


def _default_of(each: dataclasses.Field[Any]) -> Any:
    if each.default_factory is not dataclasses.MISSING:
        return each.default_factory()
    return MISSING if each.default is dataclasses.MISSING else each.default


def _is_object(annotation: Any) -> bool:
    """Whether values are configs, dataclasses or named tuples, built from fields of their own."""
    if not isinstance(annotation, type) or typing.get_origin(annotation) is not None:
        return False
    if issubclass(annotation, PreTrainedConfig):
        return annotation is not PreTrainedConfig
    return dataclasses.is_dataclass(annotation) or (issubclass(annotation, tuple) and hasattr(annotation, "_fields"))


def _of_type(default: Any, annotation: Any) -> Any:
    """Return the default if it belongs to this member of a union."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    kind = typing.get_origin(annotation) or annotation
    return default if isinstance(kind, type) and kind is not Any and isinstance(default, kind) else MISSING


def _none_first(annotation: Any) -> bool:
    return annotation is not type(None)


def _without_inert(declared: Sequence[Field], kwargs: Mapping[str, Any]) -> Kwargs:
    defaults = {each.name: each.default for each in declared}
    kept: Kwargs = {}
    for each in declared:
        conditions = [mark for mark in each.marks if isinstance(mark, OnlyWhen)]
        if all(kwargs.get(mark.field, defaults.get(mark.field)) in mark.values for mark in conditions):
            kept[each.name] = kwargs[each.name]
    return kept
