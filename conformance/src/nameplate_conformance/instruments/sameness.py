"""Whether two values of a config are the same: equal, and of the same types all the way down."""

import dataclasses
from typing import Any

from nameplate_config import PreTrainedConfig


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of the same types all the way down.

    1 is neither 1.0 nor True, 0.0 is not -0.0, NaN is NaN, and a dict has an order.
    """
    if type(one) is not type(other):
        return False
    if isinstance(one, PreTrainedConfig) or (dataclasses.is_dataclass(one) and not isinstance(one, type)):
        return one is other or same(_attributes(one), _attributes(other))
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, dict):
        return same(list(one), list(other)) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, (set, frozenset)):
        return same(sorted(one, key=repr), sorted(other, key=repr))
    if isinstance(one, (float, complex)):
        return repr(one) == repr(other)
    return bool(one == other)


def _attributes(value: Any) -> dict[str, Any]:
    """Return the attributes of an object, which may have slots."""
    if isinstance(value, PreTrainedConfig):
        return {name: each for name, each in vars(value).items() if not name.startswith("_")}
    return {each.name: getattr(value, each.name) for each in dataclasses.fields(value)}
