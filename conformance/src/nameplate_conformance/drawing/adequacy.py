"""Whether the examples reach what the fields of a config declare: what no example reaches, no law judges."""

import enum
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Union

from nameplate_config import Field, Tiny
from nameplate_conformance.drawing.candidates import STILL_SHORT, limits, within

_SIZED = (str, bytes, list, tuple)
"""What can be of any length: a set or a dict may lack elements or keys for it."""


@dataclass(frozen=True, slots=True)
class Promise:
    """Something that an annotation declares and an example should therefore have.

    Attributes:
        text: What, in words.
        kept: Whether a value is an example of it.
    """

    text: str
    kept: Callable[[Any], bool]


def unreached(field: Field, seen: Sequence[Any], *, given: bool = False) -> Iterator[str]:
    """Yield what a field declares and no example has.

    Args:
        field: The field.
        seen: The values that it has in the examples.
        given: Whether the architecture has a strategy of its own for it, which then decides about sizes and bounds.

    Yields:
        What is missing, in words.

    Example:
        >>> from nameplate_config import PreTrainedConfig, fields
        >>> class BlockConfig(PreTrainedConfig):
        ...     act: Literal["relu", "gelu"] = "relu"
        >>> list(unreached(fields(BlockConfig)[0], ["relu", "relu"]))
        ["act is never 'gelu'"]
    """
    missing = [each.text for each in promises(field.annotation, given=given) if not any(map(each.kept, seen))]
    yield from (f"{field.name} {text}" for text in missing)
    alike = len({repr(value) for value in seen}) == 1
    if not missing and alike and not (has_one_value(field.annotation) or _is_left_alone(field)):
        yield f"{field.name} is always {seen[0]!r}"
    if not missing and not seen:
        yield f"{field.name} has no value that anybody knows of"


def promises(annotation: Any, marks: tuple[Any, ...] = (), *, given: bool = False) -> list[Promise]:
    """Return what an annotation declares: each choice, and, unless a strategy is given, each Tiny value and bound."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return promises(arguments[0], (*arguments[1:], *marks), given=given)
    tiny = [value for mark in marks if isinstance(mark, Tiny) for value in mark.values]
    if tiny:
        return [] if given else _values(tiny)
    if origin in {Union, types.UnionType}:
        return [promise for each in arguments for promise in promises(each, marks, given=given)]
    if annotation is type(None):
        return _values([None])
    if origin is Literal:
        return _values(arguments)
    if annotation is bool:
        return _values([False, True])
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return _values(annotation)
    return [] if given else [*_bounds(annotation, marks), *_lengths(origin or annotation, marks)]


def has_one_value(annotation: Any) -> bool:
    """Whether an annotation allows one value only; ``Tiny(None)`` says that a field is left to follow from others."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        bounds = [(limits(mark, "ge"), limits(mark, "le")) for mark in arguments[1:]]
        low, high = [each for one, _ in bounds for each in one], [each for _, one in bounds for each in one]
        closed = bool(low and high) and max(low) == min(high)
        return closed or any(isinstance(mark, Tiny) and mark.values == (None,) for mark in arguments[1:])
    if origin is Literal:
        return len(arguments) == 1
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return len(annotation) == 1
    return annotation is type(None) or (origin is tuple and arguments in {(), ((),)})


def _is_left_alone(field: Field) -> bool:
    """Whether the one Tiny value of a field is its default: then no law can judge another, and it says so."""
    return any(isinstance(mark, Tiny) and repr(mark.values) == repr((field.default,)) for mark in field.marks)


def values_by_field(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return the values that each field has in some rows of arguments."""
    found: dict[str, list[Any]] = {}
    for row in rows:
        for name, value in row.items():
            found.setdefault(name, []).append(value)
    return found


def _values(values: Iterable[Any]) -> list[Promise]:
    written = {repr(value): f"is never {value!r}" for value in values}
    return [Promise(text, lambda value, one=one: repr(value) == one) for one, text in written.items()]


def _bounds(annotation: Any, marks: Sequence[Any]) -> list[Promise]:
    """Return the bounds of a number that the number may have; for an integer, its neighbour where it may not."""
    if annotation not in {int, float}:
        return []
    step = 1 if annotation is int else 0
    bounds = [limit for mark in marks for limit in limits(mark, "ge", "le")]
    bounds += [limit + step for mark in marks for limit in limits(mark, "gt")]
    bounds += [limit - step for mark in marks for limit in limits(mark, "lt")]
    allowed = [
        annotation(each) for each in bounds if annotation in {int, float} and all(within(each, m) for m in marks)
    ]
    return _values(allowed)


def _lengths(kind: Any, marks: Sequence[Any]) -> list[Promise]:
    if kind not in _SIZED:
        return []
    lengths = [limit for mark in marks for limit in limits(mark, "min_length", "max_length") if limit <= STILL_SHORT]
    return [
        Promise(f"never has the length {each}", lambda value, each=each: isinstance(value, kind) and len(value) == each)
        for each in dict.fromkeys(lengths)
    ]
