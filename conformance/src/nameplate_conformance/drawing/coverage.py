"""Rows: the few arguments of a config that go through everything which its fields can be, before chance has its say.

Each choice, each bound and each length comes up at least once, and so does each pair of choices of two fields as far as
the number of rows allows. Random examples alone would miss a branch now and then, and then a law would pass by luck.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from nameplate_config import ConfigError, fields
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.drawing.anchors import domains_of
from nameplate_conformance.drawing.domains import Kwargs, conditions, effective, is_accepted
from nameplate_conformance.drawing.remembered import once_per_architecture
from nameplate_conformance.drawing.representatives import representatives

MOST_ROWS = 40
"""How many rows there are at most; the most important come first."""

_MOST_VALUES = 20
_PAIRED = 3

_Choice = tuple[str, int]
"""A field, and the place of a value among those that stand for it."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """The rows of an architecture, and what they leave out.

    Attributes:
        rows: Arguments that the config class accepts, the simplest first.
        values: What stands for each field, the simplest first.
        refused: How many rows the config class refused, so that others were tried in their place.
        missed: The fields and values that are in no row, because the config class refuses them or the rows ran out.
    """

    rows: tuple[Kwargs, ...]
    values: Mapping[str, tuple[Any, ...]]
    refused: int
    missed: tuple[tuple[str, Any], ...]


def rows(architecture: Architecture, *, exotic: bool = False) -> list[Kwargs]:
    """Return arguments that go through every choice, bound and pair of choices, the same ones each time.

    The first is the simplest, the second has every field at its other end; the more rows follow, the more pairs of
    values have been together.

    Args:
        architecture: Whose config.
        exotic: Let fields have values that are fit for a config but for no model.

    Returns:
        Copies, which may be changed; none if nothing that the annotations describe is accepted.

    Example:
        >>> from typing import Literal
        >>> from nameplate_config import PreTrainedConfig
        >>> class BlockConfig(PreTrainedConfig):
        ...     act: Literal["relu", "gelu", "silu"] = "relu"
        ...     bias: bool = True
        >>> for row in rows(Architecture(config=BlockConfig)):
        ...     print(row)
        {'act': 'relu', 'bias': False}
        {'act': 'silu', 'bias': True}
        {'act': 'gelu', 'bias': False}
        {'act': 'relu', 'bias': True}
        {'act': 'gelu', 'bias': True}
        {'act': 'silu', 'bias': False}
    """
    return copy.deepcopy(list(coverage_of(architecture, exotic=exotic).rows))


@once_per_architecture
def coverage_of(architecture: Architecture, *, exotic: bool = False) -> Coverage:
    """Return the rows of an architecture, and what is not in them. They are shared: do not change them."""
    values = {
        name: tuple(representatives(domain)[:_MOST_VALUES])
        for name, domain in domains_of(architecture, exotic=exotic).items()
    }
    covering = _Covering(architecture, values)
    covering.run()
    return Coverage(tuple(covering.rows), values, covering.refused, tuple(covering.missed()))


def minimised(architecture: Architecture, kwargs: Kwargs, fails: Callable[[Kwargs], bool]) -> Kwargs:
    """Return arguments that still fail and are simpler: each field goes to the simplest value that it can.

    Args:
        architecture: Whose config.
        kwargs: Arguments that fail.
        fails: Whether arguments fail. It is asked about arguments that the config class accepts.

    Returns:
        The arguments after no change of one field makes them simpler.
    """
    values = coverage_of(architecture).values
    best, improved = dict(kwargs), True
    while improved:
        improved = False
        for name in values:
            simpler = _simplest_failing(architecture, best, name, values[name], fails)
            if simpler is not None:
                best, improved = simpler, True
    return best


def _simplest_failing(
    architecture: Architecture,
    kwargs: Kwargs,
    name: str,
    values: Sequence[Any],
    fails: Callable[[Kwargs], bool],
) -> Kwargs | None:
    """Return failing arguments in which one field has a simpler value; None if it has the simplest already."""
    if name not in kwargs:
        return None
    config_class, now = architecture.config_class, repr(kwargs[name])
    for value in values:
        if repr(value) == now:
            return None
        changed = effective(config_class, architecture.constrained(copy.deepcopy({**kwargs, name: value})))
        if repr(changed) != repr(kwargs) and is_accepted(config_class, changed) and fails(copy.deepcopy(changed)):
            return changed
    return None


@dataclass
class _Covering:
    """The search for rows: greedy, so that each next row has as much as it can of what no row has had.

    Attributes:
        architecture: Whose config.
        values: What stands for each field, the simplest first.
    """

    architecture: Architecture
    values: Mapping[str, tuple[Any, ...]]
    rows: list[Kwargs] = field(default_factory=list)
    refused: int = 0
    _single: dict[_Choice, None] = field(default_factory=dict)
    _paired: dict[frozenset[_Choice], None] = field(default_factory=dict)
    _never: dict[_Choice, None] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def run(self) -> None:
        """Fill the rows."""
        if not all(self.values.values()):
            return
        self._single = {(name, place): None for name, values in self.values.items() for place in range(len(values))}
        self._paired = dict.fromkeys(self._pairs())
        self._add(dict.fromkeys(self.values, 0), {})
        self._add({name: len(values) - 1 for name, values in self.values.items()}, {})
        while len(self.rows) < MOST_ROWS and (self._single or self._paired):
            self._cover(frozenset([next(iter(self._single))]) if self._single else next(iter(self._paired)))

    def missed(self) -> Iterator[tuple[str, Any]]:
        """Yield the fields and values that are in no row."""
        for name, place in (*self._never, *self._single):
            yield name, self.values[name][place]

    def _pairs(self) -> Iterator[frozenset[_Choice]]:
        few = {name: _spread(len(values)) for name, values in self.values.items()}
        for one, other in combinations(few, 2):
            yield from (frozenset([(one, this), (other, that)]) for this in few[one] for that in few[other])

    def _cover(self, wanted: frozenset[_Choice]) -> None:
        """Add a row with what is wanted, or note that there is none."""
        fixed = self._fixed(dict(wanted))
        if fixed is not None:
            self._add(self._filled(fixed), fixed)
        self._paired.pop(wanted, None)
        for choice in wanted & self._single.keys() if len(wanted) == 1 else ():
            del self._single[choice]
            self._never[choice] = None

    def _fixed(self, wanted: dict[str, int]) -> dict[str, int] | None:
        """Return what must be so that the wanted values have an effect; None if they cannot."""
        waiting = list(wanted)
        marks = {each.name: conditions(each) for each in fields(self.architecture.config_class)}
        while waiting:
            for mark in marks.get(waiting.pop(), ()):
                choices = [place for place, value in enumerate(self.values.get(mark.field, ())) if value in mark.values]
                if mark.field not in wanted and choices:
                    wanted[mark.field] = choices[0]
                    waiting.append(mark.field)
                elif wanted.get(mark.field) not in choices:
                    return None
        return wanted

    def _filled(self, fixed: Mapping[str, int]) -> dict[str, int]:
        """Return a value for every field: those fixed, and for each other one that which is newest beside them."""
        chosen = dict(fixed)
        for name, values in self.values.items():
            if name not in chosen:
                chosen[name] = max(range(len(values)), key=lambda place: (self._news(chosen, (name, place)), -place))
        return chosen

    def _news(self, chosen: Mapping[str, int], choice: _Choice) -> int:
        single = len(chosen) + 1 if choice in self._single else 0
        return single + sum(frozenset([choice, other]) in self._paired for other in chosen.items())

    def _add(self, chosen: dict[str, int], fixed: Mapping[str, int]) -> None:
        row = self._row(chosen)
        if not self._accepts(row):
            self.refused += 1
            repaired = next((each for each in self._repairs(chosen, fixed) if self._accepts(self._row(each))), None)
            if repaired is None:
                return
            row = self._row(repaired)
        self._note(row)

    def _note(self, row: Kwargs) -> None:
        written = repr(row)
        if written in self._seen:
            return
        self._seen.add(written)
        self.rows.append(row)
        places = {
            name: {repr(value): place for place, value in enumerate(self.values[name])}
            for name in row
            if name in self.values
        }
        has = [(name, places[name][repr(row[name])]) for name in places if repr(row[name]) in places[name]]
        for choice in has:
            self._single.pop(choice, None)
            self._never.pop(choice, None)
        for pair in combinations(has, 2):
            self._paired.pop(frozenset(pair), None)

    def _repairs(self, chosen: Mapping[str, int], fixed: Mapping[str, int]) -> Iterator[dict[str, int]]:
        """Yield what to try in place of a refused row: simpler in one field, then in more and more; then any."""
        free = [name for name in chosen if name not in fixed]
        yield from ({**chosen, name: 0} for name in reversed(free) if chosen[name])
        simpler = dict(chosen)
        for name in reversed(free):
            if simpler[name]:
                simpler[name] = 0
                yield dict(simpler)
        for name in free:
            yield from ({**simpler, name: place} for place in range(1, len(self.values[name])))

    def _row(self, chosen: Mapping[str, int]) -> Kwargs:
        kwargs = copy.deepcopy({name: values[chosen[name]] for name, values in self.values.items()})
        return effective(self.architecture.config_class, self.architecture.constrained(kwargs))

    def _accepts(self, row: Kwargs) -> bool:
        """Whether the config class takes a row. One that it trips over is for the laws to see."""
        try:
            self.architecture.config_class(**row)
        except ConfigError:
            return False
        except Exception:  # noqa: BLE001 - whatever a constructor raises
            return True
        return True


def _spread(number: int) -> list[int]:
    """Return the places of a few of so many values: the first, the last, and one between."""
    return sorted({0, number // 2, number - 1})[:_PAIRED]
