"""A few small values of the simple types, within the bounds of a field: what strategies draw from.

Every list has its simplest value first. *Exotic* values are those that a file loses easily: infinities, NaN, the
negative zero, an integer beyond 64 bits, text beyond ASCII. They are for laws that build no model.
"""

import math
from collections.abc import Iterable, Sequence
from pathlib import PurePath
from typing import Any

from nameplate_config import MISSING

_SMALL_INTS = (1, 2, 3)
_SMALL_FLOATS = (0.0, 0.5, 1.0)
_STILL_SMALL = 64
_FEW = 4
STILL_SHORT = 64
"""The longest text or list that is worth drawing because a bound is there."""

_EXOTIC_INTS = (0, -1, 2**63)
_EXOTIC_FLOATS = (-0.0, float("inf"), float("-inf"), float("nan"))
_EXOTIC_TEXTS = ("", "1", 'é "\n\u2028')
_EXOTIC_ANYTHING: tuple[Any, ...] = (None, True, 1, 1.0, "text", [1, {"a": None}], {"b": [float("inf")], "a": {}})


def numbers(kind: type, default: Any, marks: Sequence[Any], *, exotic: bool = False) -> list[Any]:
    """Return a few numbers within the bounds, smallest first: the default, the bounds, and small ones.

    An upper bound that would make a large model is there only among the *exotic*.
    """
    low, high = _bound(marks, "ge", "gt"), _bound(marks, "le", "lt")
    found: list[Any] = [] if default is MISSING else [default]
    found += _SMALL_INTS if kind is int else _SMALL_FLOATS
    if low is not None:
        found += [low, low + 1, low + 2] if kind is int else [low, low + 0.5]
    if high is not None and (exotic or kind is float or high <= _STILL_SMALL):
        found += [high, high - 1] if kind is int else [high, high - 0.5]
    if kind is float and low is not None and high is not None:
        found.append((low + high) / 2)
    found += _multiples(low, high, [step for mark in marks for step in limits(mark, "multiple_of")])
    strange = _strange(kind, low, high) if exotic else ()
    usual = sorted({kind(each) for each in found if all(within(each, mark) for mark in marks)})
    return [*usual, *(each for each in strange if all(within(each, mark) for mark in marks))]


def _bound(marks: Sequence[Any], included: str, excluded: str) -> Any:
    """Return the tightest of the bounds on one side; None if there is none."""
    found = [limit for mark in marks for limit in limits(mark, included, excluded)]
    tightest = max if included == "ge" else min
    return tightest(found, default=None)


def _multiples(low: Any, high: Any, steps: Sequence[Any]) -> list[Any]:
    """Return the first few multiples of every step above the lower bound, else the last ones below the upper bound."""
    if not steps:
        return []
    step = math.lcm(*steps) if all(isinstance(each, int) for each in steps) else max(steps)
    last = math.inf if high is None else math.floor(high / step) - 2
    first = min(1, last) if low is None else math.ceil(low / step)
    return [step * (first + number) for number in range(3)]


def _strange(kind: type, low: Any, high: Any) -> list[Any]:
    """Return what a file loses easily; for a float with bounds, also what is as near to them as a float can be."""
    if kind is int:
        return list(_EXOTIC_INTS)
    above = [] if low is None else [math.nextafter(low, math.inf)]
    below = [] if high is None else [math.nextafter(high, -math.inf)]
    return [*above, *below, *_EXOTIC_FLOATS]


def complexes(default: Any) -> list[complex]:
    """Return a few complex numbers."""
    return [0j, 0.5 - 1j, *([] if default is MISSING else [complex(default)])]


def texts(default: Any, marks: Sequence[Any], *, exotic: bool = False) -> list[str]:
    """Return the default, or what can stand for any text; of an allowed length."""
    usual = [default] if isinstance(default, str) else [""]
    strange = _EXOTIC_TEXTS if exotic else ()
    return _of_allowed_length([*usual, *strange], "x", marks)


def byte_strings(default: Any, marks: Sequence[Any]) -> list[bytes]:
    """Return a few byte strings of an allowed length, the default among them."""
    usual = [b"", b"\x00\xff", *([default] if isinstance(default, bytes) else [])]
    return _of_allowed_length(usual, b"\x00", marks)


def paths(kind: type[PurePath], default: Any) -> list[PurePath]:
    """Return a few relative paths, the default among them."""
    return [kind("a"), kind("a/b c.txt"), *([kind(default)] if isinstance(default, PurePath) else [])]


def anything(default: Any, *, exotic: bool = False) -> list[Any]:
    """Return values for a field that takes whatever JSON can carry."""
    usual = [None, 1] if default is MISSING else [default]
    return [*usual, *(_EXOTIC_ANYTHING if exotic else ())]


def lengths(default: Any) -> list[Any]:
    """Return a list, tuple or dict as it is, and without what comes after its first; anything else as it is."""
    if isinstance(default, dict):
        return [dict(list(default.items())[:1]), default]
    return [default[:1], default] if isinstance(default, (list, tuple)) else [default]


def keys(annotation: Any, default: Any, *, exotic: bool = False) -> list[Any]:
    """Return keys for a dict: those of the default, as they may have a meaning, else small ones; none if unknown."""
    usual = list(default)[:2] if isinstance(default, dict) and default else []
    if annotation is str:
        return [*(usual or ["a", "b"]), *(_EXOTIC_TEXTS if exotic else ())]
    if annotation is int:
        return [*(usual or [0, 1]), *(_EXOTIC_INTS[1:] if exotic else ())]
    return usual


def sizes(marks: Sequence[Any], default: Any, *, least: int = 1, exotic: bool = False) -> tuple[int, int]:
    """Return the smallest and the largest number of elements to draw: one or two, unless bounds say otherwise.

    Up to a bound of a few elements it goes, and among the *exotic* up to one that is not few.
    """
    usual = len(default) if isinstance(default, (list, tuple, set, frozenset, dict)) and default else 1
    low = max([min(least, usual), *(limit for mark in marks for limit in limits(mark, "min_length"))])
    bound = min((limit for mark in marks for limit in limits(mark, "max_length")), default=None)
    high = max(min(usual, 2), low)
    if bound is None:
        return low, high
    high = bound if bound <= (STILL_SHORT if exotic else _FEW) else min(high, bound)
    return min(low, high), high


def limits(mark: Any, *names: str) -> list[Any]:
    """Return the limits that a mark sets under some names of `annotated_types`."""
    return [value for name in names if (value := getattr(mark, name, None)) is not None]


def within(value: Any, mark: Any) -> bool:
    """Whether a number is within a bound."""
    return (
        all(value >= bound for bound in limits(mark, "ge"))
        and all(value > bound for bound in limits(mark, "gt"))
        and all(value <= bound for bound in limits(mark, "le"))
        and all(value < bound for bound in limits(mark, "lt"))
        and all(_divides(value, step) for step in limits(mark, "multiple_of"))
    )


def _divides(value: Any, step: Any) -> bool:
    return abs(value) != float("inf") and bool(value % step == 0)


def _of_allowed_length(values: Iterable[Any], unit: Any, marks: Sequence[Any]) -> list[Any]:
    """Make each value as long as it must be, or as short."""
    low = max((limit for mark in marks for limit in limits(mark, "min_length")), default=0)
    high = min((limit for mark in marks for limit in limits(mark, "max_length")), default=None)
    fitting = [(value + unit * (low - len(value)))[:high] for value in values]
    if high is not None and high <= STILL_SHORT:
        fitting.append(fitting[0] + unit * (high - len(fitting[0])))
    if low:
        fitting.append(fitting[0][:low])
    return list(dict.fromkeys(fitting))
