"""`ModelOutput`: the base of what models answer, a dict and a dataclass at once.

The entries lie in the dict and nowhere else; an attribute is a view of its entry, so the two cannot differ. What torch
needs to know of such a class, to take it apart and put it together, is told here too.
"""

import dataclasses
import inspect
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping
from functools import partial
from itertools import chain
from typing import Any, ClassVar, Self, overload

import torch
from torch import Tensor
from torch.utils import _pytree as pytree  # the only way to tell torch.export of a class; Transformers takes it too

from nameplate_config.wording import did_you_mean, listed, sentences, shown
from nameplate_model.errors import OutputDefinitionError, UnknownEntryError


class Entry:
    """An attribute that reads and writes the entry of its name.

    To `dataclasses` it looks like a plain default, as its documentation of descriptors says.

    Args:
        name: The name of the entry.
        default: The default of the field, or `dataclasses.MISSING`.
    """

    __slots__ = ("default", "name")

    def __init__(self, name: str, default: Any) -> None:
        self.name = name
        self.default = default

    def __get__(self, output: "ModelOutput | None", owner: type | None = None) -> Any:
        if output is not None:
            return output.get(self.name)
        if self.default is dataclasses.MISSING:
            raise AttributeError(self.name)  # by which `dataclasses` learns that there is no default
        return self.default

    def __set__(self, output: "ModelOutput", value: Any) -> None:
        ModelOutput.__setattr__(output, self.name, value)  # for frozen dataclasses, which go around `__setattr__`

    def __delete__(self, output: "ModelOutput") -> None:
        output.pop(self.name, None)


class ModelOutput(dict[str, Any]):
    """The base of what models answer: declared as a dataclass, and a dict of the fields that are not None.

    Where the two disagree:

    - **Entries.** The keys are the names of the fields whose value is not None, always in the order of the fields,
      whatever was assigned first. A field that is None is no entry, and an entry that is taken away is None.
    - **Names.** No other entry or attribute can be set, nor a field that is called like a method of dicts.
    - **Iteration** is a dict's: over the keys. `to_tuple` gives the values; so does a number or a slice as key.
    - **Equality.** Outputs are equal if they are of one class and have equal entries, tensors if they have the same
      dtype, device, shape and values. The answer is a bool. A plain dict equals an output with the same entries.
    - **Construction.** Beside the fields, a constructor takes all entries at once as its only argument: a mapping, or
      pairs. `torch.nn.DataParallel` and accelerate make outputs like that. A mapping is taken for the entries if its
      keys are all names of fields.

    Outputs are pytrees to torch: `torch.compile`, `torch.export` and `torch.func` look inside. To read back an exported
    program that answers one, import the module of its class first. Python's `copy`, `pickle`, `match` and `dataclasses`
    know them too, but `dataclasses.asdict` copies tensors, which torch refuses for those on the way to a loss.

    Raises:
        OutputDefinitionError: If a subclass is no dataclass, or a field of it cannot be an entry.
        UnknownEntryError: If an entry is set or read that is no field, or read that is None.

    Example:
        >>> import torch
        >>> from dataclasses import dataclass
        >>> @dataclass
        ... class Scores(ModelOutput):
        ...     loss: torch.Tensor | None = None
        ...     logits: torch.Tensor | None = None
        >>> answer = Scores(logits=torch.zeros(2))
        >>> answer.logits is answer["logits"] is answer[0], answer.loss
        (True, None)
        >>> answer.loss = torch.tensor(0.5)
        >>> list(answer)
        ['loss', 'logits']
        >>> loss, logits = answer.to_tuple()
    """

    _later: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """The names of the entries in their order, each with those behind it."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own = [name for name, kind in inspect.get_annotations(cls).items() if _is_field(name, kind)]
        defaults = {name: cls.__dict__.get(name, dataclasses.MISSING) for name in own}
        _check(cls, defaults)
        for name, default in defaults.items():
            setattr(cls, name, Entry(name, default))
        names = list(dict.fromkeys(chain(cls._later, own)))
        cls._later = {name: tuple(names[place + 1 :]) for place, name in enumerate(names)}
        for method in ("__eq__", "__repr__"):
            if method not in cls.__dict__:  # else `dataclasses` makes one that knows nothing of tensors
                setattr(cls, method, getattr(cls, method))
        _register(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        message = f"{type(self).__name__} is no dataclass. Write @dataclass above it, and its fields with their types."
        raise OutputDefinitionError(message)

    def __post_init__(self) -> None:
        """Take the only argument for all entries if it is not a value."""
        if len(self) == 1:
            only = self.get(next(iter(self._later)))
            if only is not None and not isinstance(only, Tensor):
                entries = _entries_of(only, self._later)
                if entries is not None:
                    self.clear()
                    self.update(entries)

    # ---- entries

    def __setattr__(self, name: str, value: Any) -> None:
        later = self._later.get(name)
        if later is None:
            raise _unknown(self, name)
        if value is None:
            self.pop(name, None)
            return
        if name not in self:
            for each in later:
                if each in self:  # the new entry belongs in between
                    _put_in_order(self, {**self, name: value})
                    return
        dict.__setitem__(self, name, value)

    def __setitem__(self, name: str, value: Any) -> None:
        if not isinstance(name, str):
            raise _unknown(self, name)
        setattr(self, name, value)

    @overload
    def __getitem__(self, key: str | int) -> Any: ...

    @overload
    def __getitem__(self, key: slice) -> tuple[Any, ...]: ...

    def __getitem__(self, key: str | int | slice) -> Any:
        """Return an entry by its name, or what is at a place of `to_tuple`."""
        if isinstance(key, (int, slice)):
            return self.to_tuple()[key]
        return dict.__getitem__(self, key)

    def __missing__(self, key: Any) -> Any:
        raise _missing(self, key)

    def to_tuple(self) -> tuple[Any, ...]:
        """Return the values of the entries, without those that are None."""
        return tuple(self.values())

    # ---- what a dict would do without asking

    def update(self, *entries: Any, **more: Any) -> None:
        """Set several entries: all of them, or none if one is unknown."""
        given = dict(*entries, **more)
        for name in given:
            if name not in self._later:
                raise _unknown(self, name)
        for name, value in given.items():
            self[name] = value

    def __ior__(self, entries: Any) -> Self:  # type: ignore[override]
        self.update(entries)
        return self

    def setdefault(self, name: str, default: Any = None) -> Any:
        """Return an entry, which becomes *default* if it is None."""
        if name not in self:
            self[name] = default
        return self.get(name)

    def copy(self) -> Self:
        """Return an output with the same values."""
        return _rebuilt(type(self), self)

    # ---- what `dataclasses` would do without tensors in mind

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, dict) or (isinstance(other, ModelOutput) and type(other) is not type(self)):
            return NotImplemented if not isinstance(other, dict) else False
        return _equal(dict(self), dict(other))

    def __ne__(self, other: object) -> bool:
        return not self == other

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in self.items())})"

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _rebuilt, (type(self), dict(self))


# ---- entries


def _is_field(name: str, kind: Any) -> bool:
    return not name.startswith("_") and "ClassVar" not in str(kind)


def _check(cls: type[ModelOutput], defaults: Mapping[str, Any]) -> None:
    """Refuse fields that could be no entries."""
    for name, default in defaults.items():
        what = f"{cls.__name__}.{name} cannot be an entry"
        if isinstance(default, dataclasses.Field):
            message = sentences(f"{what}: it is given by dataclasses.field().", f"Write `{name}: ... = None`.")
            raise OutputDefinitionError(message)
        if name not in cls._later and hasattr(ModelOutput, name):
            message = sentences(f"{what}: every output has a method {name!r}.", "Call the field something else.")
            raise OutputDefinitionError(message)


def _entries_of(value: Any, names: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the entries that the only argument of a constructor stands for, or None if it is the first field."""
    if isinstance(value, (list, tuple)):
        return dict(value) if value and all(_is_entry(each, names) for each in value) else None
    if isinstance(value, (Iterator, ItemsView)):
        try:
            return dict(value)
        except (TypeError, ValueError) as error:
            message = f"An output is made of pairs of a name and a value; {shown(value)} gave something else."
            raise UnknownEntryError(message) from error
    if isinstance(value, Mapping):
        return dict(value) if value and all(name in names for name in value) else None
    return None


def _is_entry(value: Any, names: Mapping[str, Any]) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == len(("name", "value")) and _is_name(value[0], names)


def _is_name(value: Any, names: Mapping[str, Any]) -> bool:
    return isinstance(value, str) and value in names


def _put_in_order(output: ModelOutput, entries: Mapping[str, Any]) -> None:
    output.clear()
    for name in output._later:  # noqa: SLF001 - of our own class
        if name in entries:
            dict.__setitem__(output, name, entries[name])


def _rebuilt(cls: type[ModelOutput], entries: Mapping[str, Any]) -> Any:
    """Return an output with the very same entries, whatever they are."""
    output = cls.__new__(cls)
    dict.update(output, entries)
    return output


def _equal(one: Any, other: Any) -> bool:
    """Whether two values are equal, as a bool, also where there are tensors inside."""
    if one is other:
        return True
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        alike = (one.dtype, one.device, one.shape) == (other.dtype, other.device, other.shape)
        return alike and not one.is_meta and torch.equal(one, other)
    if isinstance(one, ModelOutput) or isinstance(other, (ModelOutput, Tensor)) or isinstance(one, Tensor):
        return type(one) is type(other) and bool(one == other)
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(each, other[name]) for name, each in one.items())
    if isinstance(one, (list, tuple)) and type(one) is type(other):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)


def _unknown(output: ModelOutput, name: Any) -> UnknownEntryError:
    known = list(output._later)  # noqa: SLF001 - of our own class
    near = did_you_mean(name, known) if isinstance(name, str) else ""
    text = sentences(f"{type(output).__name__} has no entry {shown(name)}.", near, f"Its entries are {listed(known)}.")
    return UnknownEntryError(text)


def _missing(output: ModelOutput, key: Any) -> UnknownEntryError:
    if not _is_name(key, output._later):  # noqa: SLF001 - of our own class
        return _unknown(output, key)
    there = f"There are {listed(output)}."
    text = sentences(f"This {type(output).__name__} has no {key!r}: it is None, and so no entry.", there)
    return UnknownEntryError(text)


# ---- what torch is told


def _register(cls: type[ModelOutput]) -> None:
    pytree.register_pytree_node(
        cls,
        _taken_apart,
        partial(_put_together, cls),
        serialized_type_name=f"{cls.__module__}.{cls.__qualname__}",
        flatten_with_keys_fn=_taken_apart_by_key,
    )


def _taken_apart(output: ModelOutput) -> tuple[list[Any], list[str]]:
    return list(output.values()), list(output)


def _taken_apart_by_key(output: ModelOutput) -> tuple[list[tuple[Any, Any]], list[str]]:
    return [(pytree.MappingKey(name), value) for name, value in output.items()], list(output)


def _put_together(cls: type[ModelOutput], values: Iterable[Any], names: list[str]) -> ModelOutput:
    """Return an output with any values: torch puts in what is no tensor, also None, and counts on finding it again."""
    output: ModelOutput = _rebuilt(cls, dict(zip(names, values, strict=True)))
    return output
