"""From what the fields of a config class may be to hypothesis strategies that draw small, valid arguments.

Keyword arguments are drawn, not configs: a counterexample then prints as a call that can be pasted. Every choice has
its simplest value first, which is where hypothesis shrinks to. Nothing unbounded is ever drawn.
"""

import copy
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, assert_never

from hypothesis import strategies as st

from nameplate_config import Field, PreTrainedConfig
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.drawing.anchors import domains_of
from nameplate_conformance.drawing.domains import (
    Domain,
    Either,
    Few,
    Given,
    Items,
    Kwargs,
    Pairs,
    Reader,
    Row,
    Whole,
    effective,
    is_accepted,
)

_ATOMS = (type(None), bool, int, float, complex, str, bytes)


def config_kwargs(architecture: Architecture, *, exotic: bool = False) -> st.SearchStrategy[Kwargs]:
    """Return a strategy of keyword arguments that the config class accepts.

    Args:
        architecture: Whose config.
        exotic: Draw, in some of the examples, values that are fit for a config but for no model.

    Returns:
        The strategy; it shrinks to the simplest arguments.
    """
    usual = unchecked_kwargs(architecture)
    every = usual | unchecked_kwargs(architecture, exotic=True) if exotic else usual
    return every.filter(lambda kwargs: is_accepted(architecture.config_class, kwargs))


def unchecked_kwargs(architecture: Architecture, *, exotic: bool = False) -> st.SearchStrategy[Kwargs]:
    """Return a strategy of keyword arguments as the annotations describe them; the config may still refuse some.

    Fields are drawn independently of each other, then the architecture's `constrain` has its say, then a field that
    has no effect beside the others (`OnlyWhen`) is left out.

    Args:
        architecture: Whose config.
        exotic: Draw values that are fit for a config but for no model.

    Returns:
        The strategy.
    """
    drawn = _each(domains_of(architecture, exotic=exotic))
    return drawn.map(lambda kwargs: effective(architecture.config_class, architecture.constrained(kwargs)))


def field_values(field: Field) -> st.SearchStrategy[Any]:
    """Return a strategy of small values for one field, judged by its annotation and its default."""
    return strategy_of(Reader().field(field))


def strategy_of(domain: Domain) -> st.SearchStrategy[Any]:
    """Return a strategy of what a field may be.

    Args:
        domain: What it may be.

    Returns:
        The strategy; it draws nothing if the domain is empty.

    Example:
        >>> from nameplate_conformance.drawing.domains import Few
        >>> strategy_of(Few([4, 8]))
        sampled_from([4, 8])
    """
    match domain:
        case Given():
            return domain.strategy
        case Few():
            return _one_of(domain)
        case Either():
            return st.one_of([strategy_of(each) for each in domain.members])
        case Row():
            return st.tuples(*(strategy_of(each) for each in domain.places))
        case Whole():
            return _objects(domain.kind, domain.exotic)
        case Items():
            element = strategy_of(domain.element)
            drawn = st.lists(element, min_size=domain.low, max_size=domain.high, unique=domain.unique)
            return drawn if domain.make is list else drawn.map(domain.make)
        case Pairs():
            pairs = st.tuples(strategy_of(domain.key), strategy_of(domain.value))
            listed = st.lists(pairs, min_size=domain.low, max_size=domain.high, unique_by=lambda pair: pair[0])
            return listed.map(domain.make)
        case _:
            assert_never(domain)


def _one_of(few: Few) -> st.SearchStrategy[Any]:
    if not few.values:
        return st.nothing()
    drawn = st.sampled_from(few.values)
    if all(isinstance(value, _ATOMS) for value in few.values):
        return drawn
    return drawn.map(copy.deepcopy)  # an example may change what it was given


def _each(domains: Mapping[str, Domain]) -> st.SearchStrategy[Kwargs]:
    drawn = st.fixed_dictionaries({name: strategy_of(domain) for name, domain in domains.items()})
    return drawn.map(lambda values: {name: values[name] for name in domains})  # drawn in any order of the keys


@lru_cache(maxsize=256)
def _objects(kind: type, exotic: bool) -> st.SearchStrategy[Any]:
    """Return a strategy of objects with fields of their own; deferred, because they may hold their own kind."""
    return st.deferred(lambda: _built(Whole(kind, exotic)))


def _built(whole: Whole) -> st.SearchStrategy[Any]:
    drawn = _each(whole.parts())
    if issubclass(whole.kind, PreTrainedConfig):
        drawn = drawn.map(lambda values: effective(whole.kind, values))
        drawn = drawn.filter(lambda values: is_accepted(whole.kind, values))
    return drawn.map(whole.build)
