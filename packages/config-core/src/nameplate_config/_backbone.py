"""Which stages a backbone answers: `out_features` by name and `out_indices` by number, which always agree.

A config that serves a backbone derives from `BackboneConfigMixin`. The models, and what they answer, belong to the
packages that import torch.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from nameplate_config._config import PreTrainedConfig
from nameplate_config._fields import FieldDescriptor
from nameplate_config.errors import ConfigError, Problem
from nameplate_config.typing import Tiny
from nameplate_config.wording import did_you_mean, listed, shown

_NAMES = "out_features"
_NUMBERS = "out_indices"


class _NoStages:
    """Stands where a class says the names of its stages; what an instance sets counts instead."""

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        if config is None:
            return self
        name = type(config).__name__
        message = f"{name} does not say its stages. Add a property stage_names that returns their names in order."
        raise ConfigError(message)


class _Names(FieldDescriptor):
    """`out_features`: the names that were given, or those of the given numbers, or the last one."""

    def __init__(self, default: Any = None) -> None:
        self.default = default

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        if config is None:
            return self
        given = vars(config)[_NAMES]
        stages = tuple(config.stage_names) if given is None else ()
        return given if given is not None else tuple(stages[index] for index in config.out_indices)

    def __set__(self, config: Any, value: Any) -> None:
        vars(config)[_NAMES] = value


class _Numbers(FieldDescriptor):
    """`out_indices`: the numbers that were given, or those of the given names, or the last one."""

    def __init__(self, default: Any = None) -> None:
        self.default = default

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        if config is None:
            return self
        given, names = vars(config)[_NUMBERS], vars(config)[_NAMES]
        if given is not None:
            return given
        stages = tuple(config.stage_names)
        return (len(stages) - 1,) if names is None else tuple(stages.index(name) for name in names)

    def __set__(self, config: Any, value: Any) -> None:
        vars(config)[_NUMBERS] = value


class BackboneConfigMixin(PreTrainedConfig):
    """A config whose model can answer the feature maps of several of its stages.

    A subclass says `stage_names`, as a property or by setting it in its `__init__`. Either of the two fields may
    be given, the other one follows; both may be if they mean the same stages. Without either, the last stage is
    meant. Assigning one, or loading with another one, replaces what the other said; None leaves it to the other.

    Attributes:
        stage_names: The names of all stages, the first one first. It is not saved.
        out_features: The names of the stages that are answered, in their order.
        out_indices: Their numbers, which may count from the end; kept as they were given.

    Example:
        >>> class TowerConfig(BackboneConfigMixin):
        ...     depth: int = 3
        ...     @property
        ...     def stage_names(self):
        ...         return tuple(f"floor{number}" for number in range(self.depth))
        >>> config = TowerConfig(out_indices=(0, -1))
        >>> config.out_features, config.out_indices
        (('floor0', 'floor2'), (0, -1))
        >>> config.out_features = ("floor1",)
        >>> config.out_indices
        (1,)
    """

    _rivals: ClassVar[Mapping[str, str]] = {_NAMES: _NUMBERS, _NUMBERS: _NAMES}
    _derived_keys: ClassVar[frozenset[str]] = frozenset({"stage_names"})

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for name, kind in ((_NAMES, _Names), (_NUMBERS, _Numbers)):
            default = cls.__dict__.get(name)
            if name in cls.__dict__ and not hasattr(default, "__get__"):  # of a class that says another default
                setattr(cls, name, kind(default))

    if TYPE_CHECKING:
        out_features: tuple[str, ...] | None = None
        out_indices: tuple[int, ...] | None = None

        @property
        def stage_names(self) -> Sequence[str]:
            """Return the names of all stages."""
            ...
    else:
        stage_names = _NoStages()
        out_features: Annotated[tuple[str, ...] | None, Tiny(None)] = _Names()
        out_indices: Annotated[tuple[int, ...] | None, Tiny(None, (-1,), (0, -1))] = _Numbers()

    def _meant(self) -> Mapping[str, Any]:
        return {**vars(self), _NAMES: self.out_features, _NUMBERS: self.out_indices}

    def _comparable(self) -> str:
        meant = {_NAMES: list(self.out_features or ()), _NUMBERS: list(self.out_indices or ())}
        return json.dumps({**self._encoded(), **meant}, sort_keys=True)

    def validate_out_stages(self) -> Iterator[Problem]:
        """Refuse stages that do not exist, come twice, are out of order, or differ between the two fields."""
        names = cast("tuple[str, ...] | None", vars(self)[_NAMES])
        numbers = cast("tuple[int, ...] | None", vars(self)[_NUMBERS])
        if names is None and numbers is None:
            return
        stages = tuple(self.stage_names)
        problems = [] if names is None else list(_wrong_names(names, stages))
        problems += [] if numbers is None else list(_wrong_numbers(numbers, stages))
        yield from problems
        if names is None or numbers is None or problems:
            return
        meant = tuple(stages[number] for number in numbers)
        if names != meant:
            hint = f"Give one of {_NAMES} and {_NUMBERS}: the other follows."
            yield Problem(_NAMES, f"{shown(meant)}, which {_NUMBERS} means", shown(names), hint)


def _wrong_names(names: tuple[str, ...], stages: tuple[str, ...]) -> Iterator[Problem]:
    unknown = [name for name in names if name not in stages]
    for name in unknown:
        hint = did_you_mean(name, stages)
        yield Problem(_NAMES, f"only stages of the network: {listed(stages, limit=20)}", shown(name), hint)
    if not unknown:
        yield from _wrong_order(_NAMES, names, [stages.index(name) for name in names])


def _wrong_numbers(numbers: tuple[int, ...], stages: tuple[str, ...]) -> Iterator[Problem]:
    beyond = [number for number in numbers if not -len(stages) <= number < len(stages)]
    for number in beyond:
        yield Problem(_NUMBERS, f"numbers from {-len(stages)} to {len(stages) - 1}", str(number))
    if not beyond:
        yield from _wrong_order(_NUMBERS, numbers, [number % len(stages) for number in numbers])


def _wrong_order(field: str, given: Sequence[object], places: Sequence[int]) -> Iterator[Problem]:
    """Yield what is wrong with stages whose places in the network are known."""
    if not places:
        yield Problem(field, "at least one stage", shown(tuple(given)))
    if len(set(places)) < len(places):
        yield Problem(field, "each stage once", shown(tuple(given)))
    elif sorted(places) != list(places):
        order = tuple(name for _, name in sorted(zip(places, given, strict=True), key=lambda pair: pair[0]))
        yield Problem(field, f"the order of the network, {shown(order)}", shown(tuple(given)))
