"""Anchors: small values for fields that say nothing of size, found by building models.

``hidden_size: int = 768`` does not say what a small model has. Nobody can guess: half of the small numbers fit no other
field. So where the default values make a model that is not small, others are tried: models are built on the meta
device, which costs no memory, and the small ones are run once. Fields with a Tiny mark or a strategy are left alone.
"""

import copy
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import chain, combinations, product
from typing import Any, Union

import torch
from hypothesis.strategies import SearchStrategy

from nameplate_config import MISSING, Field, Tiny, fields
from nameplate_config.wording import did_you_mean, listed, sentences, shown
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.drawing import candidates
from nameplate_conformance.drawing.domains import Domain, Few, Given, Kwargs, Reader, effective, parts_of
from nameplate_conformance.drawing.remembered import once_per_architecture
from nameplate_conformance.drawing.representatives import representatives
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.judging.deadline import OverrunError, within
from nameplate_conformance.judging.isolation import isolated

MOST_PARAMETERS = 200_000
"""A model with fewer is small."""

_LADDER = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 256, 512, 1024)
_MODEST = 64
_PATIENCE = 20.0
_MOST_BUILT = 400
_VALUES = 3


@dataclass(frozen=True, slots=True)
class Anchors:
    """What was decided about the fields of one architecture that say nothing of size.

    Attributes:
        values: What each such field may be, the smallest first. A field whose small values fit nothing is not here.
        built: How many models were built to find out.
        reason: Why nothing could be decided; empty if it could, or if there was nothing to decide.
    """

    values: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    built: int = 0
    reason: str = ""


def domains_of(architecture: Architecture, *, exotic: bool = False) -> dict[str, Domain]:
    """Return what each field of an architecture's config may be.

    Args:
        architecture: Whose config.
        exotic: Let values count that are fit for a config but for no model.

    Returns:
        The domains by the names of the fields: the architecture's own strategies, then anchors, then the annotations.
    """
    found = _declared(architecture, exotic=exotic)
    if not exotic:
        found |= {name: Few(values) for name, values in anchors_of(architecture).values.items()}
    return found


@once_per_architecture
def anchors_of(architecture: Architecture) -> Anchors:
    """Return the anchors of an architecture; none if it has no model, or if every field speaks for itself."""
    loose = {
        each.name: _rungs(each) for each in fields(architecture.config_class) if each.name not in architecture.fields
    }
    loose = {name: rungs for name, rungs in loose.items() if rungs}
    if not loose or not architecture.models:
        return Anchors()
    return _Search(architecture, loose).decide()


def _declared(architecture: Architecture, *, exotic: bool) -> dict[str, Domain]:
    given = architecture.fields
    read = parts_of(architecture.config_class, Reader(exotic))
    for name, strategy in given.items():
        _refuse_no_field(name, strategy, read)
    return {name: Given(given[name]) if name in given else domain for name, domain in read.items()}


def _refuse_no_field(name: str, strategy: Any, read: Mapping[str, Domain]) -> None:
    if name not in read:
        way_out = did_you_mean(name, read) or f"Its fields are {listed(read)}."
        message = sentences(f"the Architecture's `fields` name {name!r}, which the config does not have.", way_out)
        raise ConformanceError(message)
    if not isinstance(strategy, SearchStrategy):
        message = sentences(
            f"the Architecture's `fields` have {shown(strategy)} for {name!r}; expected a strategy.",
            f"For it alone, write `st.just({shown(strategy)})`.",
        )
        raise ConformanceError(message)


def _rungs(each: Field) -> list[Any]:
    """Return what a field could be, from small to large; nothing if it is no size, or says itself what is small."""
    annotation = type(each.default) if each.annotation is typing.Any else each.annotation
    numbers = _numbers(annotation, each.default)
    if numbers is not None:
        return numbers
    return _lengths(annotation, each.default)


def _numbers(annotation: Any, default: Any, marks: tuple[Any, ...] = ()) -> list[Any] | None:
    """Return the rungs of an integer, or of one that may be missing; None for whatever else it is."""
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _numbers(arguments[0], default, (*arguments[1:], *marks))
    if origin in {Union, types.UnionType} and set(arguments) == {int, type(None)}:
        rest = _numbers(int, MISSING if default is None else default, marks)
        return [None, *rest] if rest else None
    if annotation is not int or any(isinstance(mark, Tiny) for mark in marks):
        return None
    usual = candidates.numbers(int, default, marks)
    high = max(usual, default=0)
    return sorted(
        {*usual, *(rung for rung in _LADDER if rung <= high and all(candidates.within(rung, m) for m in marks))}
    )


def _lengths(annotation: Any, default: Any) -> list[Any]:
    """Return the rungs of a sequence of integers: as long as the default, and of small numbers."""
    if typing.get_origin(annotation) is typing.Annotated:
        annotation = typing.get_args(annotation)[0]
    kind, arguments = typing.get_origin(annotation) or annotation, typing.get_args(annotation)
    whole = isinstance(default, (list, tuple)) and default and all(type(each) is int for each in default)
    if kind not in {list, tuple} or not whole or set(arguments) - {int, ...}:
        return []
    small = [[rung] * len(default) for rung in (1, 2, 4, 8, 16)]
    mixed = [[1 + place % 2 for place in range(len(default))]]
    return [kind(each) for each in [*small[:1], *mixed, *small[1:]]] + [kind(default)]


def _height(rung: Any) -> int:
    """Return the largest number in a rung."""
    if rung is None:
        return 0
    return rung if isinstance(rung, int) else max(rung)


@dataclass
class _Search:
    """Finds anchors: first the smallest model that works, then other values around it that work too.

    Attributes:
        architecture: Whose models are built.
        rungs: What each field could be, from small to large.
    """

    architecture: Architecture
    rungs: Mapping[str, list[Any]]
    built: int = 0
    _sizes: dict[str, int | None] = field(default_factory=dict)
    _answers: dict[str, bool] = field(default_factory=dict)
    _rest: Kwargs = field(default_factory=dict)

    def decide(self) -> Anchors:
        """Return the anchors, if models with the default values are not small."""
        others = {
            name: each for name, each in _declared(self.architecture, exotic=False).items() if name not in self.rungs
        }
        self._rest = {name: simplest for name, domain in others.items() for simplest in representatives(domain)[:1]}
        size = self._size({name: self._default(name) for name in self.rungs})
        if size is None or size < MOST_PARAMETERS:  # what does not build is for the laws to see
            return Anchors(built=self.built)
        low = self._smallest()
        if low is None:
            return Anchors(built=self.built, reason=f"no model of fewer than {MOST_PARAMETERS:,} parameters was found")
        return Anchors({name: tuple(found) for name, found in self._around(low).items()}, self.built)

    def _default(self, name: str) -> Any:
        default = next(each.default for each in fields(self.architecture.config_class) if each.name == name)
        return self.rungs[name][-1] if default is MISSING else default

    def _smallest(self) -> Kwargs | None:
        """Return the smallest values with which a model works; None if they are not found."""
        defaults = {name: self._default(name) for name in self.rungs}
        for level in _LADDER:
            low = {name: self._at(level, name, defaults[name]) for name in self.rungs}
            if self._works(low):
                return self._descended(low, self._works)
        low = self._descended(defaults, lambda values: self._size(values) is not None)
        higher = (low | {name: rung} for name in low for rung in self._above(name, low))
        return next((each for each in chain([low], higher) if self._works(each)), None)

    def _at(self, level: int, name: str, default: Any) -> Any:
        """Return the default, or what is no larger than a level."""
        rungs = self.rungs[name]
        lower = [rung for rung in rungs[: rungs.index(default) + 1] if _height(rung) <= level]
        return lower[-1] if lower else rungs[0]

    def _descended(self, values: Kwargs, fits: Callable[[Kwargs], bool]) -> Kwargs:
        """Return values after each field has gone to the smallest that fits the others."""
        while True:
            before = dict(values)
            for name, rungs in self.rungs.items():
                lower = rungs[: rungs.index(values[name])]
                values = values | {name: next((each for each in lower if fits(values | {name: each})), values[name])}
            if values == before:
                return values

    def _around(self, low: Kwargs) -> dict[str, list[Any]]:
        """Return a few values for each field that work together, those of *low* first."""
        lifted: set[str] = set()
        while True:
            values = {name: self._near(name, low) for name in self.rungs}
            alone = next((name for name in values if len(values[name]) == 1 and name not in lifted), None)
            if alone is None:
                return self._compatible(low, values)
            lifted.add(alone)
            low = self._lifted(alone, low)

    def _near(self, name: str, low: Kwargs) -> list[Any]:
        others = [rung for rung in self._above(name, low)[:6] if self._works(low | {name: rung})]
        return [low[name], *others[: _VALUES - 1]]

    def _lifted(self, name: str, low: Kwargs) -> Kwargs:
        """Return values in which another field is larger, so that this one can have a second value; else the same."""
        for rung in self._above(name, low)[:2]:
            for other in low.keys() - {name}:
                for higher in self._above(other, low)[:4]:
                    lifted = low | {other: higher}
                    if self._works(lifted | {name: rung}) and self._works(lifted):
                        return lifted
        return low

    def _compatible(self, low: Kwargs, values: dict[str, list[Any]]) -> dict[str, list[Any]]:
        """Leave out values that do not work together."""
        for one, other in combinations(values, 2):
            for this, that in product(values[one][1:], values[other][1:]):
                if this in values[one] and that in values[other] and not self._works(low | {one: this, other: that}):
                    name, worse = (one, this) if len(values[one]) > len(values[other]) else (other, that)
                    values[name].remove(worse)
        return values

    def _above(self, name: str, values: Kwargs) -> list[Any]:
        rungs = self.rungs[name]
        return rungs[rungs.index(values[name]) + 1 :]

    def _works(self, values: Kwargs) -> bool:
        """Whether models are small, can be built, and answer."""
        key = repr(values)
        if key not in self._answers:
            modest = all(_height(rung) <= _MODEST for rung in values.values())
            size = 0 if modest else self._size(values)  # what is modest can be built at once
            if size is not None and size < MOST_PARAMETERS:
                size = self._try(values, "cpu", answering=True)
            self._answers[key] = size is not None and size < MOST_PARAMETERS
        return self._answers[key]

    def _size(self, values: Kwargs) -> int | None:
        """Return the number of parameters of the largest model; None if one cannot be built."""
        key = repr(values)
        if key not in self._sizes:
            self._sizes[key] = self._try(values, "meta" if self.architecture.tags.builds_on_meta else "cpu")
        return self._sizes[key]

    def _try(self, values: Kwargs, device: str, *, answering: bool = False) -> int | None:
        if self.built >= _MOST_BUILT:
            return None
        self.built += 1
        kwargs = self.architecture.constrained(copy.deepcopy({**self._rest, **values}))
        try:
            with isolated(), within(_PATIENCE), torch.no_grad():
                config = self.architecture.config_class(**effective(self.architecture.config_class, kwargs))
                return max(self._built(head, config, device, answering=answering) for head in self.architecture.models)
        except (Exception, OverrunError):  # noqa: BLE001 - whatever an architecture raises, these values are not its anchors
            return None

    def _built(self, head: str, config: Any, device: str, *, answering: bool) -> int:
        with torch.device(device):
            model = self.architecture.model_class(head)(config).eval()
        if answering:
            model(**self.architecture.make_inputs(model))
        return sum(parameter.numel() for parameter in model.parameters())
