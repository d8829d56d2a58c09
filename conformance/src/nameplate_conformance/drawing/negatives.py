"""Values that a field must refuse, derived from its annotation: the opposite of `strategies`.

Only values are made that no reading of the annotation accepts, neither in code nor from a file. An annotation that
says nothing, such as `Any`, has none.
"""

import collections.abc
import dataclasses
import enum
import itertools
import json
import math
import types
import typing
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import PurePath
from typing import Any, Literal, Union

from nameplate_config import DType, PreTrainedConfig, fields
from nameplate_conformance.drawing.candidates import limits
from nameplate_conformance.drawing.domains import Kwargs, Reader, conditions, effective
from nameplate_conformance.drawing.representatives import representatives

_TEXT = "no such value"
_NEITHER_TEXT_NOR_BYTES = 0.5
_SEQUENCES = (list, tuple, set, frozenset, collections.abc.Sequence)
_MAPPINGS = (dict, OrderedDict, collections.abc.Mapping)
_DTYPE = typing.get_args(DType)[1]
_SAMPLES: dict[Any, Any] = {bool: True, int: 1, float: 0.5, str: "x"}


def wrong_values(annotation: Any) -> Iterator[Any]:
    """Yield values that a field with an annotation must refuse."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        inner = [_TEXT, _NEITHER_TEXT_NOR_BYTES] if _DTYPE in arguments else list(wrong_values(arguments[0]))
        yield from inner
        for mark in arguments[1:]:
            yield from _out_of_bounds(arguments[0], mark)
        if arguments[0] is float:
            yield from _beyond(arguments[1:])
    elif origin is Literal:
        yield _TEXT
    elif origin in {Union, types.UnionType}:
        yield from _wrong_for_all(arguments)
    elif origin in _SEQUENCES:
        yield from _wrong_sequences(origin, arguments)
    elif origin in _MAPPINGS:
        yield _TEXT
        key = _SAMPLES.get(arguments[0])
        if isinstance(key, (str, int)):
            yield from ({key: wrong} for wrong in _first(arguments[1]))
    elif isinstance(annotation, type):
        yield from _wrong_plain(annotation)


def wrong_together(config_class: type[PreTrainedConfig], kwargs: Kwargs) -> Iterator[tuple[str, Kwargs]]:
    """Yield arguments of which each is right and one has no effect beside another: what `OnlyWhen` forbids.

    Args:
        config_class: The class that must refuse them.
        kwargs: Arguments that it accepts, of which the others are taken.

    Yields:
        The name of the field without an effect, and the arguments.

    Example:
        >>> from typing import Annotated
        >>> from nameplate_config import OnlyWhen
        >>> class BlockConfig(PreTrainedConfig):
        ...     kind: Literal["plain", "grouped"] = "plain"
        ...     groups: Annotated[int, OnlyWhen("kind", "grouped")] = 1
        >>> next(wrong_together(BlockConfig, {}))
        ('groups', {'kind': 'plain', 'groups': 2})
    """
    declared = {each.name: each for each in fields(config_class)}
    for each in declared.values():
        for mark in conditions(each):
            others = representatives(Reader().field(declared[mark.field])) if mark.field in declared else []
            without = [value for value in others if value not in mark.values][:1]
            effects = [value for value in representatives(Reader().field(each)) if value != each.default][:1]
            for other, effect in itertools.product(without, effects):
                rest = effective(config_class, {**kwargs, mark.field: other})
                yield each.name, {**rest, each.name: effect}


def is_json(value: Any) -> bool:
    """Whether a file could hold a value."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _wrong_plain(annotation: type) -> Iterator[Any]:
    if annotation is str or annotation is bytes or issubclass(annotation, PurePath):
        yield _NEITHER_TEXT_NOR_BYTES
    elif annotation in {bool, int, float, complex, *_SEQUENCES, *_MAPPINGS} or issubclass(annotation, enum.Enum):
        yield _TEXT
    elif issubclass(annotation, PreTrainedConfig):
        yield _TEXT
        yield from _wrong_configs(annotation)
    elif dataclasses.is_dataclass(annotation):
        yield _TEXT
        yield {"no_such_field": 1}
    elif issubclass(annotation, tuple):
        yield _TEXT
        yield [None] * (len(getattr(annotation, "_fields", ())) + 1)


def _wrong_configs(kind: type[PreTrainedConfig]) -> Iterator[Any]:
    if kind.model_type:
        yield {"model_type": _TEXT}
    names = {each.name: _first(each.annotation) for each in fields(kind) if not each.holds_config}
    yield from ({name: wrong} for name, every in names.items() for wrong in every)


def _wrong_sequences(origin: Any, arguments: Sequence[Any]) -> Iterator[Any]:
    yield _TEXT
    if origin is tuple and not (len(arguments) == 2 and arguments[1] is ...):  # noqa: PLR2004 - tuple[T, ...]
        length = 0 if arguments == ((),) else len(arguments)
        yield [None] * (length + 1)
    elif origin in {list, tuple}:
        yield from ([wrong] for wrong in _first(arguments[0]))


def _wrong_for_all(members: Sequence[Any]) -> Iterator[Any]:
    """Yield what is wrong for each member of a union: None is nobody's wrong value, and never one here."""
    others = [each for each in members if each is not type(None)]
    rest = [{repr(wrong) for wrong in wrong_values(each)} for each in others[1:]]
    yield from (wrong for wrong in wrong_values(others[0]) if all(repr(wrong) in each for each in rest))


def _first(annotation: Any) -> list[Any]:
    """Return one wrong value, if there is any; the values of config classes that hold themselves have no end."""
    return list(itertools.islice(wrong_values(annotation), 1))


def _out_of_bounds(annotation: Any, mark: Any) -> Iterator[Any]:
    yield from (limit - 1 for limit in limits(mark, "ge"))
    yield from limits(mark, "gt", "lt")
    yield from (limit + 1 for limit in limits(mark, "le"))
    yield from (
        step * 1.5 if isinstance(step, float) else step + 1 for step in limits(mark, "multiple_of") if step != 1
    )
    for limit in limits(mark, "min_length"):
        yield from _of_length(annotation, limit - 1)
    for limit in limits(mark, "max_length"):
        yield from _of_length(annotation, limit + 1)


def _beyond(marks: Sequence[Any]) -> Iterator[float]:
    """Yield the special floats that are not between bounds; NaN is never."""
    low = any(limits(mark, "ge", "gt") for mark in marks)
    high = any(limits(mark, "le", "lt") for mark in marks)
    yield from [-math.inf] * low + [math.inf] * high + [math.nan] * (low or high)


def _of_length(annotation: Any, length: int) -> Iterator[Any]:
    """Yield a text, byte string or list that is wrong in nothing but its length."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if length < 0:
        return
    if annotation is str:
        yield "x" * length
    elif annotation is bytes:
        yield b"x" * length
    elif (origin is list or (origin is tuple and arguments[-1] is ...)) and arguments[0] in _SAMPLES:
        yield [_SAMPLES[arguments[0]]] * length
