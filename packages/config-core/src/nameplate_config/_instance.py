"""The life of a config in memory: how it is built, assigned to, copied, frozen, compared and shown.

`ConfigMeta` finishes construction when the outermost `__init__` has returned; `ConfigInstance` is what the
metaclass makes. What a config looks like outside of memory is `_config`, what a class declares `_fields`, what a
value may be `_codec`.
"""

import copy
import dataclasses
import json
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

from nameplate_config._arguments import Tried, arguments, check_unknown, restored, stored
from nameplate_config._containers import ANYTHING
from nameplate_config._dtype import DTypeName
from nameplate_config._fields import DERIVED_ARGUMENTS, Field, Schema, problems_error, schema_for, schema_of
from nameplate_config._freeze import Freezable, frozen
from nameplate_config._labels import LABELS, counted_by, disagreements, inverse, unnamed
from nameplate_config._migrations import check_steps
from nameplate_config._numbered import as_labels
from nameplate_config._scalars import InvalidValueError, Site
from nameplate_config.errors import ConfigError, FrozenConfigError, NameplateError, Problem, UnknownOptionError
from nameplate_config.typing import JSONValue
from nameplate_config.wording import as_code, did_you_mean, nearest, reason, sentences, shown

_ATOMS = frozenset({type(None), bool, int, float, str, DTypeName})
"""The types of values that cannot change."""

_GIVEN_TWICE = re.compile(r"multiple values for (?:keyword )?argument '(\w+)'")


class Alias:
    """A second name for a field, from `attribute_map`."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else getattr(instance, self._target)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self._target, value)


@dataclass_transform(kw_only_default=True, field_specifiers=(dataclasses.field,))
class ConfigMeta(type):
    """Finishes a config when the outermost `__init__` has returned, wherever it called `super().__init__`."""

    model_type: str
    config_version: int
    root: ClassVar[type]

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        cls._schema_cache: Schema | None = None
        for alias, target in namespace.get("attribute_map", {}).items():
            if alias not in namespace:
                setattr(cls, alias, Alias(target))
        check_steps(cls)

    if not TYPE_CHECKING:  # for a type checker a class is called with its own fields

        def __call__(cls, *args: Any, **kwargs: Any) -> Any:
            """Build a config from keyword arguments."""
            if args:
                message = f"{cls.__name__} takes keyword arguments only, found {shown(args[0])} without a name."
                raise UnknownOptionError(message)
            return cls._build(kwargs)

    @property
    def _schema(cls) -> Schema:
        # Looked up in the class itself, never inherited; built on first use, when forward references resolve.
        schema = cls.__dict__["_schema_cache"]
        if schema is None:
            schema = schema_of(cls, ConfigMeta.root)
            cls._schema_cache = schema
        return schema


@dataclass(slots=True)
class State:
    """What a config knows about itself besides its values.

    Attributes:
        extras: The keys of a file that no field knows, and their values.
        frozen: Whether it may no longer be changed.
        given: The fields that somebody set.
        origin: Where it was loaded from, and the commit.
        ready: Whether its construction is finished.
    """

    extras: dict[str, Any] = dataclasses.field(default_factory=dict)
    frozen: bool = False
    given: frozenset[str] = frozenset()
    origin: tuple[str, str | None] = ("", None)
    ready: bool = False


def state_of(config: "ConfigInstance") -> State:
    """Return what a config knows about itself, to be changed by this package alone."""
    return config._nameplate  # noqa: SLF001 - this is its door


def meant_by(config: "ConfigInstance") -> dict[str, Any]:
    """Return the values of a config as they are compared, the keys that no field knows included."""
    return {**config._meant(), **state_of(config).extras}  # noqa: SLF001 - as above


class ConfigInstance(Freezable, metaclass=ConfigMeta):
    """A config as an object: its values in `__dict__`, the keys that no field knows apart from them."""

    __slots__ = ("__dict__", "__weakref__", "_nameplate")

    model_type: ClassVar[str] = ""
    config_version: ClassVar[int] = 1
    attribute_map: ClassVar[dict[str, str]] = {}

    # Fields that say the same in two ways, each with the other one, which a value of the first replaces; and keys that
    # a file may have although they follow from fields.
    _rivals: ClassVar[Mapping[str, str]] = {}
    _derived_keys: ClassVar[frozenset[str]] = frozenset()

    _nameplate: ClassVar[State]  # of the instance, but a type checker must not take it for a field

    def __init__(self, **kwargs: Any) -> None:
        schema = self._declared
        derived = {}
        for name, value in kwargs.items():
            field = schema.field_name(name)
            if field in schema.fields:
                self.__dict__[field] = value
            elif name in DERIVED_ARGUMENTS:
                derived[name] = value
            else:
                self._nameplate.extras[name] = value
        for name, value in derived.items():  # after the labels that they may agree with
            setattr(self, name, value)

    @property
    def _declared(self) -> Schema:
        return schema_for(type(self))

    # ---- building

    @classmethod
    def _empty(cls) -> Self:
        config = cls.__new__(cls)
        object.__setattr__(config, "_nameplate", State())
        return config

    @classmethod
    def _build(cls, values: Mapping[str, Any], *, from_file: bool = False, where: str = "") -> Self:
        schema = schema_for(cls)
        given = stored(schema, cls.model_type, values, where=where, from_file=from_file) if values else {}
        for name in cls._rivals.keys() & given.keys():  # what is given replaces what a class says by default
            if given[name] is not None and schema.fields[cls._rivals[name]].default is not None:
                given = {cls._rivals[name]: None, **given}
        unknown = given.keys() - schema.fields.keys()
        if unknown and not from_file:
            check_unknown(schema, [name for name in given if name in unknown])
        tried: Tried = {}
        if from_file and schema.plain:  # an `__init__` expects what it was given when it was saved
            given, tried = restored(schema, given)
        config = cls._empty()
        if schema.plain and not schema.lacks(given):  # else `_finish` says so, along with every other problem
            config._initialise(given, tried, from_file=from_file, where=where)  # noqa: SLF001 - our own instance
        config._finish(given, tried, from_file=from_file, where=where)  # noqa: SLF001 - our own instance
        return config

    def _initialise(self, supplied: Mapping[str, Any], tried: Tried, *, from_file: bool, where: str) -> None:
        """Run the class's own `__init__`; what it raises because of its arguments becomes a `ConfigError`."""
        try:
            self._call_init(arguments(self._declared, supplied), from_file=from_file, where=where)
        except NameplateError:
            raise
        except Exception as error:
            if not (from_file or isinstance(error, ValueError)):
                raise
            # names the value that is wrong, if it can
            self._finish(supplied, tried, from_file=from_file, where=where)
            problem = Problem("__init__", "", hint=reason(error))
            raise problems_error(type(self).__name__, [problem], where=where) from error

    def _call_init(self, given: dict[str, Any], *, from_file: bool, where: str) -> None:
        """Call `__init__`, without the arguments that it passes on with values of its own."""
        fixed: dict[str, Any] = {}
        while True:
            try:
                self.__init__(**given)  # type: ignore[misc]
                break
            except TypeError as error:
                twice = _GIVEN_TWICE.search(str(error))
                if not from_file or twice is None or twice.group(1) not in given:
                    raise
                fixed[twice.group(1)] = given.pop(twice.group(1))
        for name, value in fixed.items():
            field = self._declared.fields.get(self._declared.field_name(name))
            own = self.__dict__.get(name)
            if field is not None and json.dumps(field.codec.encode(own)) != json.dumps(field.codec.encode(value)):
                problem = Problem(name, f"{shown(own)}, which the __init__ of the class passes on", shown(value))
                raise problems_error(type(self).__name__, [problem], where=where)

    def _finish(self, supplied: Mapping[str, Any], tried: Tried, *, from_file: bool, where: str) -> None:
        """Fill in what no `__init__` set, convert everything, and report every problem at once.

        What was tried before `__init__` ran and is still the same object is not tried again: a nested config that
        was restored is the config's own already, and trying one twice would take twice as long for each level.
        """
        schema, values = self._declared, self.__dict__
        problems: list[Problem] = []
        for name, field in schema.fields.items():
            given = values[name] if name in values else supplied.get(name, field.default)
            if given is field.default:
                if field.required:
                    problems.append(Problem(name, f"{field.codec.expected}, and it has no default"))
                else:
                    values[name] = field.fresh_default()
            elif name in tried and given is supplied[name] and (tried[name] or isinstance(given, ConfigInstance)):
                values[name] = given
                problems += tried[name]
            else:
                try:
                    values[name] = field.convert(given, from_file=from_file)
                except InvalidValueError as error:
                    problems += error.problems
        if self._nameplate.extras or supplied.keys() - schema.fields.keys():
            problems += self._take_extras(supplied, from_file=from_file)
        problems = problems or list(self._conflicts(from_file=from_file))
        if problems:
            raise problems_error(type(self).__name__, problems, where=where)
        self._nameplate.given = frozenset(supplied).intersection(schema.fields)
        self._nameplate.ready = True

    def _take_extras(self, supplied: Mapping[str, Any], *, from_file: bool) -> list[Problem]:
        """Keep what no field takes, also where a plain `__init__` forgot to pass it on."""
        problems: list[Problem] = []
        for name, value in {**supplied, **self._nameplate.extras}.items():
            if name in self._declared.fields:
                continue
            # A plain __init__ may have taken the argument and set an attribute of that name, which counts.
            kept = self.__dict__.pop(name, value)
            try:
                self._nameplate.extras[name] = ANYTHING.convert(kept, Site(name, from_file))
            except InvalidValueError as error:
                problems += error.problems
        return problems

    def _conflicts(self, *, from_file: bool = False) -> Iterator[Problem]:
        schema = self._declared
        for field in schema.conditional:
            yield from field.conflicts(self.__dict__)
        yield from disagreements(schema, self.__dict__)
        for hook in schema.hooks:
            path = hook.removeprefix("validate_")
            try:
                yield from getattr(self, hook)() or ()
            except ConfigError as error:
                yield from error.problems or (Problem(path, "", hint=reason(error)),)
            except Exception as error:
                if not (from_file or isinstance(error, ValueError)):
                    raise
                yield Problem(path, "", hint=reason(error))

    # ---- assigning

    if not TYPE_CHECKING:  # a type checker would take every misspelt attribute for an extra

        def __setattr__(self, name: str, value: Any) -> None:
            cls = type(self)
            if name.startswith("_") or not self._nameplate.ready:
                if callable(getattr(ConfigMeta.root, name, None)):
                    message = (
                        f"{cls.__name__}.{name} is a method of every config and cannot be assigned. Use another name."
                    )
                    raise UnknownOptionError(message)
                object.__setattr__(self, name, value)
                return
            self._refuse_if_frozen(name)
            field = self._declared.fields.get(name)
            if field is not None:
                self._assign(field, value)
            elif hasattr(getattr(cls, name, None), "__set__"):  # an alias, a label property, a property of the class
                object.__setattr__(self, name, value)
            elif name in self.__dict__:
                self.__dict__[name] = value
            else:
                self._assign_extra(name, value)

    def __delattr__(self, name: str) -> None:
        if self._nameplate.ready and name in self._nameplate.extras and not self._nameplate.frozen:
            del self._nameplate.extras[name]
        elif self._nameplate.ready and (self._nameplate.frozen or self._declared.knows(name)):
            what = "is frozen" if self._nameplate.frozen else f"must have {name!r}"
            message = f"{type(self).__name__} {what}: the attribute cannot be deleted."
            raise FrozenConfigError(message) if self._nameplate.frozen else ConfigError(message)
        else:
            object.__delattr__(self, name)

    def _refuse_if_frozen(self, name: str) -> None:
        if self._nameplate.frozen:
            message = f"{type(self).__name__} is frozen. Change a copy: config.copy({name}=...)."
            raise FrozenConfigError(message)

    def _assign(self, field: Field, value: Any) -> None:
        before = dict(self.__dict__)
        try:
            self._put(field, value)
            problems = list(self._conflicts())
        except InvalidValueError as error:
            raise problems_error(type(self).__name__, list(error.problems)) from None
        except BaseException:
            self._restore(before)
            raise
        if problems:
            self._restore(before)
            raise problems_error(type(self).__name__, problems)
        self._nameplate.given = self._nameplate.given | {field.name}

    def _put(self, field: Field, value: Any) -> None:
        schema, values = self._declared, self.__dict__
        converted = field.convert(value)
        if field.name == counted_by(schema) and converted != values[field.name] and unnamed(schema, values):
            values[LABELS] = None  # labels that only count are counted anew
        rival = self._rivals.get(field.name)
        if rival is not None and converted is not None:
            values[rival] = None
        values[field.name] = converted

    def _restore(self, before: dict[str, Any]) -> None:
        self.__dict__.clear()
        self.__dict__.update(before)

    def _assign_extra(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            message = f"{type(self).__name__}.{name} is part of the class and cannot be assigned."
            raise UnknownOptionError(message)
        near = nearest(name, self._declared.known_names())
        if near is not None and name not in self._nameplate.extras:
            message = f"{type(self).__name__} has no field {name!r}; it is kept as an extra. Did you mean {near!r}?"
            warnings.warn(message, stacklevel=3)
        try:
            self._nameplate.extras[name] = ANYTHING.convert(value, Site(name))
        except InvalidValueError as error:
            raise problems_error(type(self).__name__, list(error.problems)) from None

    if not TYPE_CHECKING:  # as above

        def __getattr__(self, name: str) -> Any:
            # Reached only for names that neither the instance nor the class has.
            if not name.startswith("_") and name in self._nameplate.extras:
                return self._nameplate.extras[name]
            # Transformers' Auto classes ask for these. No attributes of the class: files have keys of these names.
            if name == "_name_or_path":
                return self._nameplate.origin[0]
            if name == "sub_configs":
                return {}
            known = [*self._declared.known_names(), *self._nameplate.extras] if not name.startswith("_") else []
            message = sentences(f"{type(self).__name__} has no field {name!r}.", did_you_mean(name, known))
            raise AttributeError(message, name=name, obj=self)

    def __iter__(self) -> Iterator[str]:
        """Yield the names of everything that a file would hold, except the identity of the class."""
        yield from self._encoded()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and (self._declared.knows(name) or name in self._nameplate.extras)

    # ---- copying

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # no two configs share a value

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        own = self._cloned()
        memo[id(self)] = own
        return own.freeze() if self._nameplate.frozen else own

    def _cloned(self) -> Self:
        """Return a copy that is not frozen: every value converted, which copies it, and no `__init__` run."""
        own = self.__new__(type(self))
        fields, values, state = self._declared.fields, own.__dict__, self._nameplate
        for name, value in self.__dict__.items():
            if type(value) in _ATOMS:
                values[name] = value
            else:
                values[name] = fields[name].convert(value) if name in fields else copy.deepcopy(value)
        extras = ANYTHING.convert(state.extras, Site("")) if state.extras else {}
        object.__setattr__(own, "_nameplate", State(extras, given=state.given, origin=state.origin, ready=state.ready))
        return own

    def freeze(self) -> Self:
        """Make the config, and every list, dict, set and config inside it, unchangeable; return it.

        A frozen config can be hashed. `copy` returns one that is not frozen.

        Example:
            >>> from nameplate_config import PreTrainedConfig
            >>> class BlockConfig(PreTrainedConfig):
            ...     width: int = 8
            >>> config = BlockConfig().freeze()
            >>> {config: "small"}[BlockConfig().freeze()]
            'small'
            >>> config.width = 16
            Traceback (most recent call last):
            ...
            nameplate_config.FrozenConfigError: BlockConfig is frozen. Change a copy: config.copy(width=...).
        """
        with suppress(ConfigError):  # of too many labels, which nobody can have then
            getattr(self, LABELS)  # those of a config without labels are made when they are asked for
        self.__dict__.update({name: frozen(each) for name, each in vars(self).items()})
        self._nameplate.extras = frozen(self._nameplate.extras)
        self._nameplate.frozen = True
        return self

    # ---- comparing and showing

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._comparable() == other._comparable()

    def __hash__(self) -> int:
        if not self._nameplate.frozen:
            message = f"{type(self).__name__} can be hashed only when it is frozen: config.freeze()."
            raise TypeError(message)
        return hash((type(self), self._comparable()))

    def _meant(self) -> Mapping[str, Any]:
        """Return the values of the fields as they are compared."""
        return vars(self)

    def _comparable(self) -> str:
        # As text, because 1, 1.0 and True are equal, and so are 0.0 and -0.0.
        return json.dumps(self._encoded(), sort_keys=True)

    def __repr__(self) -> str:
        fields = self._declared.fields
        if self._nameplate.extras:  # which are refused as arguments
            changed = {name: fields[name].codec.encode(self.__dict__[name]) for name in self._changed()}
            return f"{type(self).__name__}.from_dict({as_code({**changed, **self._encoded_extras()})})"
        shown_values = (f"{name}={as_code(self.__dict__[name])}" for name in self._changed())
        return f"{type(self).__name__}({', '.join(shown_values)})"

    def _changed(self) -> Iterator[str]:
        """Yield the fields whose values are not their defaults."""
        for field in self._declared.fields.values():
            if field.name == LABELS and field.inherited:
                changed = not unnamed(self._declared, self.__dict__)
            else:
                changed = field.required or not field.is_default(self.__dict__[field.name])
            if changed:
                yield field.name

    # ---- what is stored

    def _encoded(self) -> dict[str, JSONValue]:
        """Return what a file must hold: the class's own fields, the common ones that are set, and the extras."""
        schema, values = self._declared, self.__dict__
        own: dict[str, JSONValue] = {}
        for name, field in schema.fields.items():
            value = values[name]
            if field.inherited and (unnamed(schema, values) if name == LABELS else value == field.default):
                continue
            own[name] = field.codec.encode(value)
            if name == LABELS and field.inherited:
                derived: dict[str, JSONValue] = {**inverse(as_labels(value))}
                own.setdefault("label2id", derived)
        return {**own, **self._encoded_extras()} if self._nameplate.extras else own

    def _encoded_extras(self) -> dict[str, JSONValue]:
        return {name: ANYTHING.encode(value) for name, value in self._nameplate.extras.items()}
