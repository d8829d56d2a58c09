"""What fields a config class has: collected once per class from annotations and from `__init__` signatures.

A `Schema` answers every question about names: which there are, what each accepts and defaults to, what an
alias stands for, and under which name a value must be handed to `__init__`. Values themselves belong to
`_config`.
"""

import dataclasses
import inspect
import json
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

from nameplate_config._codec import codec_for, codec_like
from nameplate_config._scalars import Codec, InvalidValueError, Site
from nameplate_config._unions import OptionalCodec
from nameplate_config.errors import ConfigError, ConfigFileError, Problem, UnknownOptionError
from nameplate_config.typing import OnlyWhen
from nameplate_config.wording import did_you_mean, sentences, shown

_IMMUTABLE = (type(None), bool, int, float, str)

DERIVED_ARGUMENTS = ("num_labels", "label2id", "torch_dtype")
"""What every config takes that is no field: another name, or another form, of one that is."""

DERIVED = frozenset({"model_type", "config_version", *DERIVED_ARGUMENTS})
"""Keys of a file that are no fields: they follow from the class or from a field."""


class _Missing:
    """The default of a field that has none."""

    def __repr__(self) -> str:
        return "<required>"


MISSING = _Missing()


class FieldDescriptor:
    """A descriptor of a base class that stands where the default of a field would."""

    default: Any = None


@dataclass(frozen=True, slots=True)
class Field:
    """One declared field of a config class.

    Attributes:
        name: Its name in the instance and in the file (never an alias).
        annotation: What the class wrote, `Annotated` marks included; `Any` for a bare parameter.
        default: The default value, or `MISSING`. A container here is the class's own: do not change it.
        marks: The extras of `Annotated`: bounds, `Tiny`, `OnlyWhen`.
        inherited: Whether every config has it (`architectures`, `dtype`, …). It is saved only if set.
    """

    name: str
    annotation: Any
    default: Any
    marks: tuple[Any, ...]
    inherited: bool
    codec: Codec
    sites: tuple[Site, Site] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", (Site(self.name), Site(self.name, from_file=True)))

    @property
    def holds_config(self) -> bool:
        """Whether the value is a config, if it is anything."""
        codec = self.codec.inner if isinstance(self.codec, OptionalCodec) else self.codec
        return codec.holds_config

    @property
    def required(self) -> bool:
        """Whether a value must be given."""
        return self.default is MISSING

    def convert(self, value: Any, *, from_file: bool = False) -> Any:
        """Return the config's own copy of *value*, or raise with the problems found."""
        return self.codec.convert(value, self.sites[from_file])

    def changed(self, before: Any, changes: Mapping[str, Any]) -> Any:
        """Return the nested config that stood before, or its JSON, with some of its fields changed."""
        codec = self.codec.inner if isinstance(self.codec, OptionalCodec) else self.codec
        if before is MISSING or before is None:
            return self.convert(changes)
        return codec.changed(before, changes, Site(self.name))

    def is_default(self, value: Any) -> bool:
        """Whether a value is what the field has if nothing is said; 1 is neither 1.0 nor True."""
        if value is self.default:
            return True
        if type(value) is type(self.default) and isinstance(value, (int, str)):
            return bool(value == self.default)
        one, other = (json.dumps(self.codec.encode(each), sort_keys=True) for each in (value, self.default))
        return one == other

    def fresh_default(self) -> Any:
        """Return the default; a container is copied, so that no two configs share one."""
        return self.default if isinstance(self.default, _IMMUTABLE) else self.convert(self.default)

    def conflicts(self, values: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield a problem for each `OnlyWhen` mark that the values of a config violate."""
        value = values[self.name]
        for mark in self.marks:
            if isinstance(mark, OnlyWhen) and values[mark.field] not in mark.values and value != self.default:
                allowed = " or ".join(repr(each) for each in mark.values)
                yield Problem(
                    self.name,
                    f"{self.default!r} while {mark.field} is {values[mark.field]!r}",
                    shown(value),
                    f"It has an effect only when {mark.field} is {allowed}",
                )


@dataclass(frozen=True)
class Schema:
    """Everything about the names of one config class.

    Attributes:
        owner: The name of the class, for messages.
        fields: Every declared field by name, base classes first.
        aliases: Other names of fields, from `attribute_map`.
        parameters: The name under which `__init__`, or one that it calls with its `**kwargs`, takes a field.
        own: The fields that the outermost `__init__` itself takes by name.
        open: Whether that `__init__` takes `**kwargs`.
        plain: Whether the class, or one that it extends, has an `__init__` of its own.
        hooks: The names of its ``validate_*`` methods.
        reserved: What the class defines besides fields, and a file may therefore not name.
    """

    owner: str
    fields: dict[str, Field]
    aliases: dict[str, str]
    parameters: dict[str, str]
    own: frozenset[str]
    open: bool
    plain: bool
    hooks: tuple[str, ...]
    reserved: frozenset[str]

    @cached_property
    def conditional(self) -> tuple[Field, ...]:
        """The fields that may differ from their defaults only under a condition."""
        return tuple(each for each in self.fields.values() if any(isinstance(mark, OnlyWhen) for mark in each.marks))

    def field_name(self, name: str) -> str:
        """Return the name that *name* is an alias of, or *name* itself."""
        return self.aliases.get(name, name)

    def knows(self, name: str) -> bool:
        """Whether *name* is a field, the alias of one, or what one follows from."""
        return self.field_name(name) in self.fields or name in DERIVED_ARGUMENTS

    def known_names(self) -> list[str]:
        """Return the names of fields and aliases, and what fields follow from."""
        return list(dict.fromkeys([*self.fields, *self.aliases, *DERIVED_ARGUMENTS]))

    def lacks(self, values: Mapping[str, Any]) -> bool:
        """Whether a call of the outermost `__init__` with *values* would miss a parameter."""
        return any(self.fields[name].required and name not in values for name in self.own)

    def problems(self, values: Mapping[str, Any]) -> Iterator[Problem]:
        """Yield what is wrong with the values of a config, whose containers may have been changed in place."""
        for name, field in self.fields.items():
            value = values[name]
            if isinstance(value, _IMMUTABLE):
                continue  # as it was when it was set
            try:
                field.convert(value)
            except InvalidValueError as error:
                yield from error.problems

    def canonical(self, values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
        """Return *values* under the fields' own names.

        Raises:
            ConfigError: If a field and its alias are both given and differ.
        """
        result: dict[str, Any] = {}
        for name, value in values.items():
            field = self.field_name(name)
            if field in result and result[field] != value:
                problem = Problem(field, "one value", f"{shown(result[field])} and, as {name!r}, {shown(value)}")
                raise problems_error(self.owner, [problem], where=where)
            result[field] = value
        return result

    def refuse_unknown(self, names: list[str]) -> None:
        """Raise for the first name that is no field.

        Raises:
            UnknownOptionError: With the nearest name that exists.
        """
        for name in names:
            if not self.knows(name):
                known = [field.name for field in self.fields.values() if not field.inherited]
                message = sentences(
                    f"{self.owner} has no field {name!r}.",
                    did_you_mean(name, self.known_names()) or f"Its fields are: {', '.join(known[:12]) or 'none'}.",
                )
                raise UnknownOptionError(message)


def problems_error(owner: str, problems: list[Problem], *, where: str = "", code: str = "wrong-value") -> ConfigError:
    """Return one error that lists the problems, at most five in words and all of them in `.problems`.

    Args:
        owner: The class, or whatever the problems are in.
        problems: What is wrong.
        where: The file that the values come from, if they do; the error is then a `ConfigFileError`.
        code: Which rule the file broke.
    """
    place = f" in {where}" if where else ""
    count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
    lines = [str(problem) for problem in problems[:5]]
    rest = f"and {len(problems) - 5} more" if len(problems) > 5 else ""  # noqa: PLR2004 - as listed above
    message = sentences(f"{owner}{place}: {count}.", *lines, rest)
    return ConfigFileError(message, tuple(problems), code=code) if where else ConfigError(message, tuple(problems))


def schema_of(cls: type, root: type) -> Schema:
    """Build the schema of a config class.

    Args:
        cls: The class.
        root: The base class of all configs; its own fields count as inherited.

    Raises:
        ConfigError: If an annotation has no codec, a default does not fit its own annotation, or an
            `OnlyWhen` names no field.
    """
    lineage = [each for each in reversed(cls.__mro__) if issubclass(each, root)]
    aliases: dict[str, str] = {}
    for each in lineage:
        aliases |= each.__dict__.get("attribute_map", {})
    fields: dict[str, Field] = {}
    parameters: dict[str, str] = {}
    own: dict[str, str] = {}
    takes_any = plain = False
    for each in lineage:
        fields |= _annotated_fields(each, fields, inherited=each is root)
        fields |= _redefined_defaults(each, fields)
        if each is not root and "__init__" in each.__dict__:
            signature = inspect.signature(each.__dict__["__init__"])
            fields |= _parameter_fields(each, signature, aliases, fields)
            own = {aliases.get(name, name): name for name in _named(signature)}
            takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
            parameters = {**parameters, **own} if takes_any else own
            plain = True
    _check_conditions(cls, fields)
    defined = list(dict.fromkeys(name for each in reversed(cls.__mro__) for name in vars(each)))
    hooks = tuple(name for name in defined if name.startswith("validate_") and name not in fields)
    reserved = frozenset(defined) - fields.keys() - aliases.keys() - DERIVED
    return Schema(cls.__name__, fields, aliases, parameters, frozenset(own), takes_any, plain, hooks, reserved)


def schema_for(config_class: Any) -> Schema:
    """Return the schema of a config class, which builds it once."""
    schema: Schema = config_class._schema  # noqa: SLF001 - of the metaclass, which needs this module
    return schema


def _named(signature: inspect.Signature) -> dict[str, inspect.Parameter]:
    named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
    return {name: p for name, p in list(signature.parameters.items())[1:] if p.kind in named}


def _annotated_fields(cls: type, declared: Mapping[str, Field], *, inherited: bool) -> dict[str, Field]:
    scope = _scope(cls, vars(sys.modules[cls.__module__]) if cls.__module__ in sys.modules else {})
    found: dict[str, Field] = {}
    for name, annotation in inspect.get_annotations(cls).items():
        if name.startswith("_") or _is_class_variable(annotation):
            continue
        resolved = _resolved(cls, name, annotation, scope)
        before = declared[name].default if name in declared else MISSING
        default = _default(cls.__dict__.get(name, before))
        found[name] = _field(cls, name, resolved, default, inherited=inherited)
    return found


def _redefined_defaults(cls: type, declared: Mapping[str, Field]) -> dict[str, Field]:
    """A class attribute without an annotation gives the field of a base class another default."""
    annotated = inspect.get_annotations(cls)
    names = [name for name in cls.__dict__ if name in declared and name not in annotated]
    values = {name: _default(cls.__dict__[name]) for name in names}
    return {
        name: _field(cls, name, _known_annotation(declared[name]), value, inherited=False)
        for name, value in values.items()
        if not hasattr(value, "__get__")  # a property or method is not a default
    }


def _known_annotation(field: Field) -> Any:
    """Return what the field was annotated with, or None if it was a bare parameter."""
    return None if field.annotation is Any else field.annotation


def _check_conditions(cls: type, fields: Mapping[str, Field]) -> None:
    for field in fields.values():
        for mark in field.marks:
            if isinstance(mark, OnlyWhen) and mark.field not in fields:
                message = f"{cls.__name__}.{field.name}: OnlyWhen names {mark.field!r}, which is no field."
                raise ConfigError(sentences(message, did_you_mean(mark.field, fields)))


def _parameter_fields(
    cls: type, signature: inspect.Signature, aliases: Mapping[str, str], declared: Mapping[str, Field]
) -> dict[str, Field]:
    scope = _scope(cls, cls.__dict__["__init__"].__globals__)
    found: dict[str, Field] = {}
    for parameter in _named(signature).values():
        name = aliases.get(parameter.name, parameter.name)
        default = MISSING if parameter.default is parameter.empty else parameter.default
        annotation: Any = None
        if parameter.annotation is not parameter.empty:
            annotation = _resolved(cls, name, parameter.annotation, scope)
        elif name in declared:
            annotation = _known_annotation(declared[name])
        found[name] = _field(cls, name, annotation, default, inherited=False)
    return found


def _field(cls: type, name: str, annotation: Any, default: Any, *, inherited: bool) -> Field:
    try:
        codec = codec_like(default) if annotation is None else codec_for(annotation)
        own = default if default is MISSING else codec.convert(default, Site(name))
    except TypeError as error:
        message = f"{cls.__name__}.{name}: {error}. Use types that a config file can carry, or a ClassVar."
        raise ConfigError(message) from error
    except InvalidValueError as error:
        place = f"the default of {cls.__name__}.{name}"
        raise problems_error(place, list(error.problems)) from None
    marks = typing.get_args(annotation)[1:] if typing.get_origin(annotation) is typing.Annotated else ()
    return Field(name, Any if annotation is None else annotation, own, marks, inherited, codec)


_Scope = tuple[dict[str, Any], dict[str, Any]]
"""The global and the local names that the annotations of a class may use."""


def _scope(cls: type, namespace: Mapping[str, Any]) -> _Scope:
    # What a class defines, such as a method called `list`, must not shadow what its annotations mean.
    return {cls.__name__: cls, **namespace}, {key: value for key, value in vars(cls).items() if isinstance(value, type)}


def _resolved(cls: type, name: str, annotation: Any, scope: _Scope) -> Any:
    if isinstance(annotation, type) and typing.get_origin(annotation) is None:
        return annotation
    holder = types.SimpleNamespace(__annotations__={name: annotation})
    try:
        return typing.get_type_hints(holder, *scope, include_extras=True)[name]
    except Exception as error:
        message = f"{cls.__name__}.{name}: the annotation {annotation!r} cannot be resolved: {error}."
        raise ConfigError(message) from error


def _is_class_variable(annotation: Any) -> bool:
    if isinstance(annotation, str):  # not resolved: a ClassVar stands nowhere but at the front
        return re.match(r"(\w+\.)?ClassVar\b", annotation) is not None
    return annotation is ClassVar or typing.get_origin(annotation) is ClassVar


def _default(value: Any) -> Any:
    """Read a class attribute as a default; `dataclasses.field` works as it does there."""
    if isinstance(value, FieldDescriptor):
        return value.default
    if not isinstance(value, dataclasses.Field):
        return value
    if value.default is not dataclasses.MISSING:
        return value.default
    factory: Callable[[], Any] | Any = value.default_factory
    return MISSING if factory is dataclasses.MISSING else factory()
