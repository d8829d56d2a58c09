"""Containers that cannot be changed, for frozen configs. Each is its builtin in every other respect."""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Any, NoReturn

from nameplate_config.errors import FrozenConfigError


def _refuse(self: Any, *_: Any, **__: Any) -> NoReturn:
    message = f"this {thawed_type(self).__name__} belongs to a frozen config. Change a copy: config.copy(field=...)."
    raise FrozenConfigError(message)


class FrozenList(list[Any]):
    """A list that cannot be changed."""

    append = extend = insert = pop = remove = clear = sort = reverse = _refuse
    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse

    def __reduce__(self) -> Any:
        return type(self), (list(self),)


class FrozenDict(dict[Any, Any]):
    """A dict that cannot be changed."""

    pop = popitem = clear = update = setdefault = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __reduce__(self) -> Any:
        return type(self), (dict(self),)


class FrozenOrderedDict(OrderedDict[Any, Any]):
    """An ordered dict that cannot be changed."""

    def __init__(self, items: Iterable[tuple[Any, Any]]) -> None:
        super().__init__()
        for key, value in items:
            OrderedDict.__setitem__(self, key, value)

    pop = popitem = clear = update = setdefault = move_to_end = _refuse
    __setitem__ = __delitem__ = __ior__ = _refuse

    def __reduce__(self) -> Any:
        return type(self), (list(self.items()),)


class FrozenSet(set[Any]):
    """A set that cannot be changed; not a `frozenset`, which is another type."""

    add = discard = remove = pop = clear = update = _refuse
    difference_update = intersection_update = symmetric_difference_update = _refuse
    __ior__ = __iand__ = __isub__ = __ixor__ = _refuse

    def __reduce__(self) -> Any:
        return type(self), (set(self),)


_THAWED = {FrozenList: list, FrozenDict: dict, FrozenOrderedDict: OrderedDict, FrozenSet: set}


class Freezable:
    """What can be made unchangeable in its place, as configs can."""

    __slots__ = ()

    def freeze(self) -> Any:
        """Make it unchangeable; return it."""
        raise NotImplementedError


def frozen(value: Any) -> Any:
    """Return *value* with every list, dict and set inside it replaced by one that cannot be changed.

    Configs inside it are frozen in their places.

    Objects of other classes are kept: a dataclass that can change still can.
    """
    if isinstance(value, Freezable):
        return value.freeze()
    if isinstance(value, OrderedDict):
        return FrozenOrderedDict((key, frozen(item)) for key, item in value.items())
    if isinstance(value, dict):
        return FrozenDict({key: frozen(item) for key, item in value.items()})
    if isinstance(value, list):
        return FrozenList(map(frozen, value))
    if isinstance(value, tuple):
        each = map(frozen, value)
        return type(value)(*each) if hasattr(value, "_fields") else tuple(each)
    return FrozenSet(value) if type(value) is set else value


def thawed_type(value: Any) -> type:
    """Return the type of a value, of a frozen container that of its builtin."""
    return _THAWED.get(type(value), type(value))
