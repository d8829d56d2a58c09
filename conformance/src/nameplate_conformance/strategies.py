"""From the typed fields of a config class to hypothesis strategies that draw small, valid arguments.

Keyword arguments are drawn, not configs: a counterexample then prints as a call that can be pasted. Every choice has
its simplest value first, which is where hypothesis shrinks to. Nothing unbounded is ever drawn.
"""

import enum
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from hypothesis import strategies as st

from nameplate_config import MISSING, ConfigError, Field, OnlyWhen, PreTrainedConfig, Tiny, fields
from nameplate_conformance.architecture import Architecture

Kwargs = dict[str, Any]

_SMALL_INTS = (1, 2, 3)
_SMALL_FLOATS = (0.0, 0.5, 1.0)


def config_kwargs(architecture: Architecture) -> st.SearchStrategy[Kwargs]:
    """Return a strategy of keyword arguments that the config class accepts."""
    config_class = architecture.config_class
    return unchecked_kwargs(architecture).filter(lambda kwargs: is_accepted(config_class, kwargs))


def unchecked_kwargs(architecture: Architecture) -> st.SearchStrategy[Kwargs]:
    """Return a strategy of keyword arguments as the annotations describe them; the config may still refuse some.

    Fields are drawn independently of each other. One that has no effect for the values drawn (`OnlyWhen`) is left out.
    """
    declared = fields(architecture.config_class)
    drawn = {each.name: architecture.fields.get(each.name, field_values(each)) for each in declared}
    return st.fixed_dictionaries(drawn).map(lambda kwargs: _without_inert(declared, kwargs))


def is_accepted(config_class: type[PreTrainedConfig], kwargs: Kwargs) -> bool:
    """Whether a config can be built from the arguments."""
    try:
        config_class(**kwargs)
    except ConfigError:
        return False
    return True


def field_values(field: Field) -> st.SearchStrategy[Any]:
    """Return a strategy of small values for one field, judged by its annotation and its default."""
    if field.annotation is Any:  # a bare parameter: only its default says what it may be
        return st.booleans() if isinstance(field.default, bool) else st.just(field.fresh_default())
    return _values(field.annotation, field.default)


def _values(annotation: Any, default: Any) -> st.SearchStrategy[Any]:
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _marked(arguments[0], arguments[1:], default)
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin in {Union, types.UnionType}:
        return st.one_of([_values(each, _of_type(default, each)) for each in sorted(arguments, key=_none_first)])
    if origin in {list, tuple}:
        return _sequence(origin, arguments, default)
    if isinstance(annotation, type):
        return _plain(annotation, default)
    return st.just(default)


def _marked(annotation: Any, marks: Sequence[Any], default: Any) -> st.SearchStrategy[Any]:
    for mark in marks:
        if isinstance(mark, Tiny):
            return st.sampled_from(mark.values)
    if annotation in {int, float}:
        return st.sampled_from(_numbers(annotation, default, marks))
    return _values(annotation, default)


def _sequence(kind: type, arguments: tuple[Any, ...], default: Any) -> st.SearchStrategy[Any]:
    if kind is tuple and not (len(arguments) == 2 and arguments[1] is ...):  # noqa: PLR2004 - tuple[T, ...]
        return st.tuples(*(_values(each, MISSING) for each in arguments))
    element = _values(arguments[0], MISSING)
    length = len(default) if isinstance(default, (list, tuple)) and default else 1
    drawn = st.lists(element, min_size=min(1, length), max_size=min(2, length))
    return drawn.map(tuple) if kind is tuple else drawn


def _plain(annotation: type, default: Any) -> st.SearchStrategy[Any]:
    if annotation is type(None):
        return st.none()
    if annotation is bool:
        return st.booleans()
    if issubclass(annotation, enum.Enum):
        return st.sampled_from(annotation)
    if annotation in {int, float}:
        return st.sampled_from(_numbers(annotation, default, ()))
    if default is MISSING:
        return st.just("") if annotation is str else st.builds(annotation)
    return st.just(default)


def _numbers(kind: type, default: Any, marks: Sequence[Any]) -> list[Any]:
    """Return a few numbers within the bounds, smallest first, the default among them."""
    low = max((b for mark in marks for b in _attributes(mark, "ge", "gt")), default=None)
    candidates: list[Any] = [] if default is MISSING else [default]
    candidates += _SMALL_INTS if kind is int else _SMALL_FLOATS
    if low is not None:
        candidates += [low, low + 1, low + 2] if kind is int else [float(low), low + 0.5]
    candidates += [mark.multiple_of * factor for mark in marks if hasattr(mark, "multiple_of") for factor in (1, 2)]
    return sorted({kind(each) for each in candidates if all(_within(each, mark) for mark in marks)})


def _attributes(mark: Any, *names: str) -> list[Any]:
    return [value for name in names if (value := getattr(mark, name, None)) is not None]


def _within(value: Any, mark: Any) -> bool:
    return (
        all(value >= bound for bound in _attributes(mark, "ge"))
        and all(value > bound for bound in _attributes(mark, "gt"))
        and all(value <= bound for bound in _attributes(mark, "le"))
        and all(value < bound for bound in _attributes(mark, "lt"))
        and all(value % step == 0 for step in _attributes(mark, "multiple_of"))
    )


def _of_type(default: Any, annotation: Any) -> Any:
    return default if isinstance(annotation, type) and isinstance(default, annotation) else MISSING


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
