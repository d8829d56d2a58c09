"""The values that stand for a field: each choice, each bound and each length of what it may be, the simplest first."""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any, assert_never

from hypothesis import HealthCheck, Phase, find, given, settings
from hypothesis.errors import NoSuchExample, Unsatisfiable
from hypothesis.strategies import SearchStrategy

from nameplate_config import ConfigError
from nameplate_conformance.drawing.domains import Domain, Either, Few, Given, Items, Pairs, Row, Whole

_DRAWS = 15
_DEEPEST = 2
_MOST_OF_A_WHOLE = 6


def representatives(domain: Domain, *, depth: int = 0) -> list[Any]:
    """Return values that stand for everything which a field may be.

    Args:
        domain: What the field may be.
        depth: How many objects it is inside of; an object may hold its own kind, and too deep inside there is none.

    Returns:
        The simplest value first, the other end last; nothing if there is no value. What can be changed is shared.

    Example:
        >>> from nameplate_conformance.drawing.domains import Few, Items, Row
        >>> representatives(Items(list, Few([1, 2]), low=1, high=2))
        [[1], [2], [2, 1]]
        >>> representatives(Row([Few([1, 2]), Few(["a", "b"])]))
        [(1, 'a'), (1, 'b'), (2, 'a'), (2, 'b')]
    """
    match domain:
        case Few():
            found = list(domain.values)
        case Given():
            found = _drawn(domain.strategy)
        case Either():
            found = [value for each in domain.members for value in representatives(each, depth=depth)]
        case Row():
            found = [tuple(row) for row in _rows([representatives(each, depth=depth) for each in domain.places])]
        case Items():
            elements = representatives(domain.element, depth=depth)
            found = [domain.make(each) for each in _sequences(elements, domain.low, domain.high, unique=domain.unique)]
        case Pairs():
            found = [domain.make(each) for each in _pairs(domain, depth)]
        case Whole():
            found = _wholes(domain, depth)
        case _:
            assert_never(domain)
    return distinct(found)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Return values without those that are written like one before; not all of them can be compared or hashed."""
    return list({repr(value): value for value in values}.values())


def _rows(places: Sequence[Sequence[Any]]) -> list[list[Any]]:
    """Return rows in which each place has each of its values, neighbours alike in the first and the last alone."""
    if not all(places):
        return []
    longest = max(map(len, places), default=1)
    mixed = [
        [values[(number + place) % len(values)] for place, values in enumerate(places)] for number in range(longest)
    ]
    return [[values[0] for values in places], *mixed, [values[-1] for values in places]]


def _sequences(elements: Sequence[Any], low: int, high: int, *, unique: bool) -> list[list[Any]]:
    """Return the shortest sequence, one for each element, and the longest with as many different ones as it can."""
    most = min(high, len(elements)) if unique or not elements else high
    if most < low:
        return []
    if not most:
        return [[]]
    alike = [_alike(elements, start, max(low, 1), unique=unique) for start in range(len(elements))]
    longest = [elements[-1 - place % len(elements)] for place in range(most)]
    return [_alike(elements, 0, low, unique=unique), *alike, longest]


def _alike(elements: Sequence[Any], start: int, length: int, *, unique: bool) -> list[Any]:
    return [elements[(start + place * unique) % len(elements)] for place in range(length)]


def _pairs(domain: Pairs, depth: int) -> list[list[tuple[Any, Any]]]:
    keys, values = representatives(domain.key, depth=depth), representatives(domain.value, depth=depth)
    if not values:
        return [] if domain.low else [[]]
    chosen = _sequences(keys, domain.low, domain.high, unique=True)
    simplest = [[(key, values[0]) for key in each] for each in chosen[:-1]]
    one = chosen[-1][: max(domain.low, 1)]
    varied = [[(key, value) for key in one] for value in values]
    longest = [[(key, values[-1 - place % len(values)]) for place, key in enumerate(each)] for each in chosen[-1:]]
    return [*simplest, *varied, *longest]


def _wholes(domain: Whole, depth: int) -> list[Any]:
    if depth >= _DEEPEST:
        return []
    parts = {name: representatives(each, depth=depth + 1) for name, each in domain.parts().items()}
    rows = _rows(list(parts.values()))
    built = [
        _built(domain, dict(zip(parts, row, strict=True)))
        for row in distinct([*rows[: _MOST_OF_A_WHOLE - 1], *rows[-1:]])
    ]
    return [value for each in built for value in each]


def _built(domain: Whole, values: Mapping[str, Any]) -> list[Any]:
    try:
        return [domain.build(values)]
    except ConfigError:
        return []


@lru_cache(maxsize=256)
def _drawn(strategy: SearchStrategy[Any]) -> list[Any]:
    """Return what a strategy draws, the same values each time, the simplest first."""
    found: list[Any] = []

    @_quiet(Phase.generate)
    @given(strategy)
    def collect(value: Any) -> None:
        found.append(value)

    try:
        simplest = find(strategy, lambda _: True, settings=_quiet(Phase.generate, Phase.shrink))
        collect()
    except (NoSuchExample, Unsatisfiable):
        return []
    return [simplest, *found]


def _quiet(*phases: Phase) -> settings:
    checks = list(HealthCheck)
    return settings(
        database=None, deadline=None, max_examples=_DRAWS, derandomize=True, phases=phases, suppress_health_check=checks
    )
