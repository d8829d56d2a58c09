"""`PreTrainedConfig`: the base class of every config, and the metaclass that finishes its construction.

Only the life of an instance belongs here: building, assigning, comparing, turning into a dict, saving and
loading. What a class declares is `_fields`, what a value may be `_codec`, what a file may be `strict_json`.
"""

import copy
import json
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, dataclass_transform, overload

from nameplate_config._arguments import ANYTHING, DERIVED, arguments, check_unknown, restored, stored
from nameplate_config._fields import Field, Schema, problems_error, schema_of
from nameplate_config._scalars import InvalidValueError, Site
from nameplate_config._source import Source, open_source, split_options
from nameplate_config.errors import ConfigError, NameplateError, Problem, UnknownOptionError
from nameplate_config.files import make_folder, replace_file
from nameplate_config.record import CONFIG_NAME, mirror_bytes, read_config_values
from nameplate_config.strict_json import readable_text
from nameplate_config.typing import JSONValue, StrPath
from nameplate_config.wording import as_code, did_you_mean, nearest, sentences, shown


class _Alias:
    """A second name for a field, from `attribute_map`."""

    def __init__(self, target: str) -> None:
        self._target = target

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else getattr(instance, self._target)

    def __set__(self, instance: Any, value: Any) -> None:
        setattr(instance, self._target, value)


@dataclass_transform(kw_only_default=True)
class ConfigMeta(type):
    """Finishes a config when the outermost `__init__` has returned, wherever it called `super().__init__`."""

    model_type: str

    def __init__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> None:
        super().__init__(name, bases, namespace)
        cls._schema_cache: Schema | None = None
        for alias, target in namespace.get("attribute_map", {}).items():
            if alias not in namespace:
                setattr(cls, alias, _Alias(target))

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Build a config from keyword arguments."""
        if args:
            message = f"{cls.__name__} takes keyword arguments only, found {shown(args[0])} without a name."
            raise UnknownOptionError(message)
        return cls._build(kwargs, from_file=False, where="")

    @property
    def _schema(cls) -> Schema:
        # Looked up in the class itself, never inherited; built on first use, when forward references resolve.
        schema = cls.__dict__["_schema_cache"]
        if schema is None:
            schema = schema_of(cls, PreTrainedConfig)
            cls._schema_cache = schema
        return schema

    def _build(cls, values: Mapping[str, Any], *, from_file: bool, where: str) -> Any:
        schema = cls._schema
        values = stored(schema, cls.model_type, values, where)
        unknown = [name for name in values if name not in schema.fields]
        if unknown and not from_file:
            check_unknown(schema, unknown)
        if from_file and (schema.own or schema.open):  # an `__init__` expects what it was given when it was saved
            values = {name: restored(schema, name, value) for name, value in values.items()}
        config = cls.__new__(cls)  # pyrefly: ignore[no-matching-overload]  # the class's, not the metaclass's
        object.__setattr__(config, "_extras", {})
        object.__setattr__(config, "_ready", False)
        if not schema.lacks(values):  # else `_finish` says so, along with every other problem
            config._initialise(values, from_file=from_file, where=where)  # noqa: SLF001 - our own instance
        config._finish(values, from_file=from_file, where=where)  # noqa: SLF001 - our own instance
        return config


class PreTrainedConfig(metaclass=ConfigMeta):
    """The values that an architecture is built from, typed, checked, and the same after every round trip.

    Write one with annotated fields, or with a plain `__init__` whose parameters become the fields. Arguments
    are keyword-only and copied: the config shares no list or dict with its caller, its class or another
    config. Values are checked against the annotations when the outermost `__init__` has finished and whenever
    an attribute is assigned. Methods called ``validate_*`` check what spans several fields: they yield
    `Problem` records or raise `ValueError`.

    Attributes:
        model_type: The name under which the architecture is registered; written into every file.
        attribute_map: Other names for fields, ``{alias: field}``. Files hold the field's own name.
        architectures: The model classes that the weights beside this config were saved from.
        auto_map: Where the repository's own code for Auto classes lies, ``{"AutoModel": "module.Class"}``.
        dtype: The floating dtype of the weights as text, such as ``"bfloat16"``.
        id2label: The label of each class index, for models that classify.

    Example:
        >>> class BlockConfig(PreTrainedConfig):
        ...     model_type = "block"
        ...     layers: tuple[int, ...] = (2, 2)
        ...     width: int = 8
        >>> config = BlockConfig(layers=[3, 4])
        >>> config
        BlockConfig(layers=(3, 4))
        >>> BlockConfig.from_dict(config.to_dict()) == config
        True
    """

    __slots__ = ("__dict__", "__weakref__", "_extras", "_ready")

    model_type: ClassVar[str] = ""
    attribute_map: ClassVar[dict[str, str]] = {}

    architectures: list[str] | None = None
    auto_map: dict[str, Any] | None = None
    dtype: str | None = None
    id2label: dict[int, str] | None = None

    _extras: dict[str, Any]
    _ready: bool

    def __init__(self, **kwargs: Any) -> None:
        for name, value in kwargs.items():
            field = self._declared.field_name(name)
            if field in self._declared.fields:
                self.__dict__[field] = value
            else:
                self._extras[name] = value

    @property
    def label2id(self) -> dict[str, int] | None:
        """The class index of each label: the inverse of `id2label`, whichever of the two is set."""
        return None if self.id2label is None else {label: index for index, label in self.id2label.items()}

    @label2id.setter
    def label2id(self, value: Mapping[str, int] | None) -> None:
        self.id2label = None if value is None else {index: label for label, index in value.items()}

    @property
    def _declared(self) -> Schema:
        return type(self)._schema  # noqa: SLF001 - of our own metaclass

    # ---- building and assigning

    def _initialise(self, supplied: Mapping[str, Any], *, from_file: bool, where: str) -> None:
        """Run the class's own `__init__`; what it raises because of its arguments becomes a `ConfigError`."""
        try:
            self.__init__(**arguments(self._declared, supplied))  # type: ignore[misc]
        except NameplateError:
            raise
        except Exception as error:
            if not (from_file or isinstance(error, ValueError)):
                raise
            self._finish(supplied, from_file=from_file, where=where)  # names the value that is wrong, if it can
            reason = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
            problem = Problem("__init__", "", hint=reason)
            raise problems_error(type(self).__name__, [problem], where=where) from error

    def _finish(self, supplied: Mapping[str, Any], *, from_file: bool, where: str) -> None:
        """Fill in what no `__init__` set, convert everything, and report every problem at once."""
        schema = self._declared
        values = self.__dict__
        problems: list[Problem] = []
        for name, field in schema.fields.items():
            given = values.get(name, supplied.get(name, field.default))
            if given is field.default:
                if field.required:
                    problems.append(Problem(name, f"{field.codec.expected}, and it has no default"))
                else:
                    values[name] = field.fresh_default()
                continue
            try:
                values[name] = field.convert(given, from_file=from_file)
            except InvalidValueError as error:
                problems += error.problems
        problems += self._take_extras(supplied, from_file=from_file)
        problems = problems or list(self._conflicts())
        if problems:
            raise problems_error(type(self).__name__, problems, where=where)
        object.__setattr__(self, "_ready", True)

    def _take_extras(self, supplied: Mapping[str, Any], *, from_file: bool) -> list[Problem]:
        """Keep what no field takes, also where a plain `__init__` forgot to pass it on."""
        problems: list[Problem] = []
        for name, value in {**supplied, **self._extras}.items():
            if name in self._declared.fields:
                continue
            # A plain __init__ may have taken the argument and set an attribute of that name, which counts.
            kept = self.__dict__.pop(name, value)
            try:
                self._extras[name] = ANYTHING.convert(kept, Site(name, from_file))
            except InvalidValueError as error:
                problems += error.problems
        return problems

    def _conflicts(self) -> Iterator[Problem]:
        for field in self._declared.fields.values():
            yield from field.conflicts(self.__dict__)
        names = dict.fromkeys(name for each in reversed(type(self).__mro__) for name in vars(each))
        hooks = [name for name in names if name.startswith("validate_") and name not in self._declared.fields]
        for hook in hooks:
            path = hook.removeprefix("validate_")
            try:
                yield from getattr(self, hook)() or ()
            except ConfigError as error:
                yield from error.problems or (Problem(path, "", hint=str(error)),)
            except ValueError as error:
                yield Problem(path, "", hint=str(error))

    def __setattr__(self, name: str, value: Any) -> None:
        cls = type(self)
        if name.startswith("_") or not self._ready or isinstance(getattr(cls, name, None), (_Alias, property)):
            object.__setattr__(self, name, value)
        elif name in cls._schema.fields:
            self._assign(cls._schema.fields[name], value)
        elif name in self.__dict__:
            self.__dict__[name] = value
        else:
            self._assign_extra(name, value)

    def _assign(self, field: Field, value: Any) -> None:
        before = self.__dict__[field.name]
        try:
            self.__dict__[field.name] = field.convert(value)
            problems = list(self._conflicts())
        except InvalidValueError as error:
            raise problems_error(type(self).__name__, list(error.problems)) from None
        except BaseException:
            self.__dict__[field.name] = before
            raise
        if problems:
            self.__dict__[field.name] = before
            raise problems_error(type(self).__name__, problems)

    def _assign_extra(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            message = f"{type(self).__name__}.{name} is part of the class and cannot be assigned."
            raise UnknownOptionError(message)
        near = nearest(name, self._declared.known_names())
        if near is not None and name not in self._extras:
            message = f"{type(self).__name__} has no field {name!r}; it is kept as an extra. Did you mean {near!r}?"
            warnings.warn(message, stacklevel=3)
        try:
            self._extras[name] = ANYTHING.convert(value, Site(name))
        except InvalidValueError as error:
            raise problems_error(type(self).__name__, list(error.problems)) from None

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that neither the instance nor the class has.
        if not name.startswith("_") and name in self._extras:
            return self._extras[name]
        known = [*self._declared.known_names(), *self._extras] if not name.startswith("_") else []
        message = sentences(f"{type(self).__name__} has no field {name!r}.", did_you_mean(name, known))
        raise AttributeError(message, name=name, obj=self)

    def __copy__(self) -> Self:
        return copy.deepcopy(self)  # no two configs share a value

    # ---- comparing and showing

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        # As text, because 1, 1.0 and True are equal, and so are 0.0 and -0.0.
        return json.dumps(self._encoded(), sort_keys=True) == json.dumps(other._encoded(), sort_keys=True)

    __hash__ = None  # type: ignore[assignment]  # values may change

    def __repr__(self) -> str:
        if self._extras:  # which are refused as arguments
            return f"{type(self).__name__}.from_dict({as_code(self.to_diff_dict())})"
        changed = (f"{name}={as_code(self.__dict__[name])}" for name in self._changed())
        return f"{type(self).__name__}({', '.join(changed)})"

    def _changed(self) -> Iterator[str]:
        for field in self._declared.fields.values():
            encode = field.codec.encode
            value = self.__dict__[field.name]
            if field.required or json.dumps(encode(value)) != json.dumps(encode(field.default)):
                yield field.name

    # ---- dicts and files

    def to_dict(self) -> dict[str, Any]:
        """Return everything that a file must hold, as fresh JSON-ready values: the caller may change them.

        Complete for the class's own fields, defaults included, so that a checkpoint keeps its meaning when a
        default changes. Fields that every config has appear only if they are set.
        """
        identity = {"model_type": self.model_type} if self.model_type else {}
        return {**identity, **self._encoded()}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return only what differs from the class's defaults, for display, as fresh JSON-ready values."""
        fields = self._declared.fields
        changed = {name: fields[name].codec.encode(self.__dict__[name]) for name in self._changed()}
        identity = {"model_type": self.model_type} if self.model_type else {}
        return {**identity, **changed, **self._encoded_extras()}

    def to_json_string(self) -> str:
        """Return the canonical text of the config file: its keys sorted, dicts inside in their own order.

        Raises:
            ConfigError: If a container was changed in place and no longer fits its field.
            ConfigFileError: If the text would exceed a budget of `strict_json` and could not be read back.
        """
        problems = list(self._declared.problems(self.__dict__)) or list(self._conflicts())
        if problems:
            raise problems_error(type(self).__name__, problems)
        values = self.to_dict()
        where = f"the config file of {type(self).__name__}"
        return readable_text({name: values[name] for name in sorted(values)}, where=where)

    def _encoded(self) -> dict[str, JSONValue]:
        fields = self._declared.fields.values()
        own = {
            field.name: field.codec.encode(self.__dict__[field.name])
            for field in fields
            if not (field.inherited and self.__dict__[field.name] == field.default)
        }
        if self.id2label is not None:
            derived: dict[str, JSONValue] = {label: index for index, label in self.id2label.items()}
            own.setdefault(DERIVED, derived)
        return {**own, **self._encoded_extras()}

    def _encoded_extras(self) -> dict[str, JSONValue]:
        return {name: ANYTHING.encode(value) for name, value in self._extras.items()}

    @overload
    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, return_unused_kwargs: Literal[True], **overrides: Any
    ) -> tuple[Self, dict[str, Any]]: ...

    @overload
    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, return_unused_kwargs: Literal[False] = False, **overrides: Any
    ) -> Self: ...

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Build a config from the contents of a config file.

        Args:
            values: What the file holds; copied, never changed. Keys that are no fields are kept.
            return_unused_kwargs: Return ``(config, unused)`` with the overrides that name no field.
            **overrides: Fields, or keys of *values*, that get another value.

        Raises:
            ConfigError: If values do not fit their fields, or the file is of another `model_type`.
            UnknownOptionError: If an override names no field and unused ones are not returned.
        """
        config, unused = cls._read(values, overrides, "")
        if return_unused_kwargs:
            return config, unused
        cls._schema.refuse_unknown(list(unused))
        return config

    @classmethod
    def _read(cls, values: Mapping[str, Any], overrides: dict[str, Any], where: str) -> tuple[Self, dict[str, Any]]:
        given = stored(cls._schema, cls.model_type, values, where)
        names = {*given, *values, DERIVED}
        known = {name: value for name, value in overrides.items() if cls._schema.knows(name) or name in names}
        unused = {name: value for name, value in overrides.items() if name not in known}
        given |= stored(cls._schema, cls.model_type, known, "")
        return cls._build(given, from_file=True, where=where), unused

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, return_unused_kwargs: Literal[True], **kwargs: Any
    ) -> tuple[Self, dict[str, Any]]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, return_unused_kwargs: Literal[False] = False, **kwargs: Any
    ) -> Self: ...

    @classmethod
    def from_pretrained(
        cls, source: StrPath | Source, *, return_unused_kwargs: bool = False, **kwargs: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Load the config of a checkpoint folder or of a repository on the Hub.

        Args:
            source: A folder, or the id of a repository.
            return_unused_kwargs: Return ``(config, unused)`` with the arguments that name no field.
            **kwargs: The options of `HubOptions`, and fields that get another value than the file's.

        Raises:
            SourceNotFoundError: If there is no such folder, repository or config file.
            ConfigFileError: If the file is not the JSON of a config.
            ConfigError: If its values do not fit the fields.
            UnknownOptionError: If an argument is neither an option nor a field, and is not to be returned.

        Example:
            >>> import tempfile
            >>> class BlockConfig(PreTrainedConfig):
            ...     model_type = "block"
            ...     width: int = 8
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     BlockConfig(width=16).save_pretrained(folder)
            ...     BlockConfig.from_pretrained(folder)
            BlockConfig(width=16)
        """
        options, overrides = split_options(kwargs)
        values, where = read_config_values(open_source(source, **options))
        config, unused = cls._read(values, overrides, where)
        if return_unused_kwargs:
            return config, unused
        cls._schema.refuse_unknown(list(unused))
        return config

    def save_pretrained(self, folder: StrPath) -> None:
        """Write `config.json` into *folder*, created if needed: the old file or the new, never a mix.

        Raises:
            UnsafePathError: If the path is a file.
            OSError: If the system cannot write; the old file is untouched.
        """
        target = Path(folder)
        make_folder(target)
        replace_file(target / CONFIG_NAME, [mirror_bytes(target, self.to_json_string())])


def fields(config_class: type[PreTrainedConfig]) -> tuple[Field, ...]:
    """Return the declared fields of a config class, without those that every config has.

    Example:
        >>> class BlockConfig(PreTrainedConfig):
        ...     width: int = 8
        >>> [(field.name, field.default) for field in fields(BlockConfig)]
        [('width', 8)]
    """
    declared = config_class._schema.fields  # noqa: SLF001 - the same room
    return tuple(field for field in declared.values() if not field.inherited)


def config_from_values(
    config_class: type[PreTrainedConfig], values: Mapping[str, Any], *, where: str, overrides: dict[str, Any]
) -> tuple[PreTrainedConfig, dict[str, Any]]:
    """Build a config from the contents of a file that `read_config_values` has read.

    Args:
        config_class: The class of the config.
        values: What the file holds.
        where: How messages name the file.
        overrides: Fields that get another value than the file's.

    Returns:
        The config, and the overrides that name no field.

    Raises:
        ConfigError: If the values do not fit the fields.
    """
    return config_class._read(values, overrides, where)  # noqa: SLF001 - the same room


def refuse_unknown_fields(config_class: type[PreTrainedConfig], names: Iterable[str]) -> None:
    """Raise `UnknownOptionError`, with the nearest name that exists, for the first name that is no field."""
    config_class._schema.refuse_unknown(list(names))  # noqa: SLF001 - the same room
