"""`PreTrainedConfig`: the base class of every config, and the metaclass that finishes its construction.

Only the life of an instance belongs here: building, assigning, comparing, turning into a dict, saving, loading.
What a class declares is `_fields`, what a value may be is `_codec`, what a file may be is `_json`.
"""

import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar, Self, dataclass_transform

from nameplate_config._codec import Anything, Codec, InvalidValueError, Site, extend_codecs
from nameplate_config._fields import Field, Schema, has_own_init, problems_error, schema_of
from nameplate_config.strict_json import canonical_text, parse_object
from nameplate_config._source import HUB_OPTIONS, Source, open_source
from nameplate_config.errors import ConfigError, Problem, UnknownOptionError
from nameplate_config.files import make_folder, replace_file
from nameplate_config.record import CONFIG_NAME, mirror_bytes, read_config
from nameplate_config.typing import JSONValue, StrPath
from nameplate_config.wording import did_you_mean, nearest, sentences, shown

_ANYTHING = Anything()


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
        values = schema.canonical(values)
        unknown = [name for name in values if name not in schema.fields]
        if unknown and not from_file:
            _check_unknown(schema, unknown)
        config = cls.__new__(cls)
        object.__setattr__(config, "_extras", {})
        object.__setattr__(config, "_ready", False)
        config.__init__(**_arguments(cls, schema, values))
        config._finish(values, from_file=from_file, where=where)  # noqa: SLF001 - our own instance
        return config


def _check_unknown(schema: Schema, unknown: list[str]) -> None:
    """Refuse names that are no fields, unless the class takes `**kwargs`; then only say which look misspelt."""
    if not schema.open:
        schema.refuse_unknown(unknown)
    for name in unknown:
        near = nearest(name, schema.known_names())
        if near is not None:
            message = f"{schema.owner} has no field {name!r}; it is kept as an extra. Did you mean {near!r}?"
            warnings.warn(message, stacklevel=4)


def _arguments(cls: type, schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outermost `__init__` can take of *values*, under its own parameter names."""
    if not has_own_init(cls, PreTrainedConfig):
        return {}
    taken = {schema.parameters.get(name, name): value for name, value in values.items()}
    if schema.open:
        return taken
    names = set(schema.parameters.values())
    return {name: value for name, value in taken.items() if name in names}


class PreTrainedConfig(metaclass=ConfigMeta):
    """The values that an architecture is built from, typed, checked, and the same after every round trip.

    Write one with annotated fields, or with a plain `__init__` whose parameters become the fields. Arguments are
    keyword-only and copied: the config shares no list or dict with its caller, its class or another config.
    Values are checked against the annotations when the outermost `__init__` has finished and whenever an
    attribute is assigned. Methods called ``validate_*`` check what spans several fields: they yield `Problem`
    records or raise `ValueError`.

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
            field = type(self)._schema.field_name(name)
            if field in type(self)._schema.fields:
                self.__dict__[field] = value
            else:
                self._extras[name] = value

    # ---- building and assigning

    def _finish(self, supplied: Mapping[str, Any], *, from_file: bool, where: str) -> None:
        """Fill in what no `__init__` set, convert everything, and report every problem at once."""
        schema = type(self)._schema
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
            if name in type(self)._schema.fields:
                continue
            # A plain __init__ may have consumed the argument and set an attribute of that name: that value counts.
            kept = self.__dict__.pop(name, value)
            try:
                self._extras[name] = _ANYTHING.convert(kept, Site(name, from_file))
            except InvalidValueError as error:
                problems += error.problems
        return problems

    def _conflicts(self) -> Iterator[Problem]:
        for field in type(self)._schema.fields.values():
            yield from field.conflicts(self.__dict__)
        hooks = dict.fromkeys(name for each in reversed(type(self).__mro__) for name in vars(each))
        for hook in (name for name in hooks if name.startswith("validate_")):
            try:
                yield from getattr(self, hook)() or ()
            except ConfigError as error:
                yield from error.problems
            except ValueError as error:
                yield Problem(hook.removeprefix("validate_"), str(error))

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
        except InvalidValueError as error:
            raise problems_error(type(self).__name__, list(error.problems)) from None
        problems = list(self._conflicts())
        if problems:
            self.__dict__[field.name] = before
            raise problems_error(type(self).__name__, problems)

    def _assign_extra(self, name: str, value: Any) -> None:
        if hasattr(type(self), name):
            message = f"{type(self).__name__}.{name} is part of the class and cannot be assigned."
            raise UnknownOptionError(message)
        near = nearest(name, type(self)._schema.known_names())
        if near is not None and name not in self._extras:
            message = f"{type(self).__name__} has no field {name!r}; it is kept as an extra. Did you mean {near!r}?"
            warnings.warn(message, stacklevel=3)
        try:
            self._extras[name] = _ANYTHING.convert(value, Site(name))
        except InvalidValueError as error:
            raise problems_error(type(self).__name__, list(error.problems)) from None

    def __getattr__(self, name: str) -> Any:
        # Reached only for names that neither the instance nor the class has.
        if not name.startswith("_") and name in self._extras:
            return self._extras[name]
        known = [*type(self)._schema.known_names(), *self._extras] if not name.startswith("_") else []
        message = sentences(f"{type(self).__name__} has no field {name!r}.", did_you_mean(name, known))
        raise AttributeError(message, name=name, obj=self)

    # ---- comparing and showing

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return self._encoded() == other._encoded()

    __hash__ = None  # type: ignore[assignment]  # values may change

    def __repr__(self) -> str:
        changed = (f"{name}={self.__dict__[name]!r}" for name in self._changed())
        extras = (f"{name}={value!r}" for name, value in self._extras.items())
        return f"{type(self).__name__}({', '.join([*changed, *extras])})"

    def _changed(self) -> Iterator[str]:
        for field in type(self)._schema.fields.values():
            encode = field.codec.encode
            value = self.__dict__[field.name]
            if field.required or encode(value) != encode(field.default):
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
        fields = type(self)._schema.fields
        changed = {name: fields[name].codec.encode(self.__dict__[name]) for name in self._changed()}
        identity = {"model_type": self.model_type} if self.model_type else {}
        return {**identity, **changed, **self._encoded_extras()}

    def to_json_string(self) -> str:
        """Return the canonical text of the config file: keys sorted, the same for equal configs everywhere."""
        values = self.to_dict()
        return canonical_text({name: values[name] for name in sorted(values)})

    def _encoded(self) -> dict[str, JSONValue]:
        fields = type(self)._schema.fields.values()
        own = {
            field.name: field.codec.encode(self.__dict__[field.name])
            for field in fields
            if not (field.inherited and self.__dict__[field.name] == field.default)
        }
        if self.id2label is not None:
            own["label2id"] = {label: index for index, label in self.id2label.items()}
        return {**own, **self._encoded_extras()}

    def _encoded_extras(self) -> dict[str, JSONValue]:
        return {name: _ANYTHING.encode(value) for name, value in self._extras.items()}

    @classmethod
    def from_dict(
        cls, values: Mapping[str, Any], *, return_unused_kwargs: bool = False, **overrides: Any
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Build a config from the contents of a config file.

        Args:
            values: What the file holds; copied, never changed. Keys that are no fields are kept and saved again.
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
        given = {name: value for name, value in values.items() if name != "model_type"}
        found = values.get("model_type", cls.model_type)
        if cls.model_type and found != cls.model_type:
            problem = Problem("model_type", repr(cls.model_type), shown(found), "Load it with AutoConfig instead.")
            raise problems_error(cls.__name__, [problem], where=where)
        schema = cls._schema
        given = _without_derived(cls, schema.canonical(given), where)
        known = {name: value for name, value in overrides.items() if schema.knows(name) or name in given}
        unused = {name: value for name, value in overrides.items() if name not in known}
        given |= schema.canonical(known)
        return cls._build(given, from_file=True, where=where), unused

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
            UnknownOptionError: If an argument is neither an option nor a field and unused ones are not returned.

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
        """Write `config.json` into *folder*, which is created if needed: the old file or the new, never a mix.

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
    return tuple(field for field in config_class._schema.fields.values() if not field.inherited)  # noqa: SLF001


def read_config_values(source: Source) -> tuple[dict[str, Any], str]:
    """Return the parsed config of a source, and how messages name the place.

    Raises:
        SourceNotFoundError: If the source holds no config.
        ConfigFileError: If the file is not the JSON of a config.
    """
    text = read_config(source)
    return parse_object(text.data, where=text.where), text.where


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


def split_options(kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Split keyword arguments into the options of a source and the rest."""
    options = {name: value for name, value in kwargs.items() if name in HUB_OPTIONS}
    return options, {name: value for name, value in kwargs.items() if name not in HUB_OPTIONS}


def _without_derived(cls: type, given: dict[str, Any], where: str) -> dict[str, Any]:
    """Drop the keys that follow from others, after checking that they agree."""
    label2id = given.pop("label2id", None)
    id2label = given.get("id2label")
    if isinstance(label2id, dict) and isinstance(id2label, dict):
        inverse = {label: int(index) for index, label in id2label.items() if str(index).isdecimal()}
        if inverse != label2id:
            problem = Problem("label2id", "the inverse of id2label", shown(label2id), "Remove it: it is derived.")
            raise problems_error(cls.__name__, [problem], where=where)
    elif isinstance(label2id, dict):
        given["id2label"] = {index: label for label, index in label2id.items()}
    return given


class _NestedConfig:
    """The codec of a field that is itself a config: an instance is copied, a dict is read."""

    def __init__(self, kind: type[PreTrainedConfig]) -> None:
        self._kind = kind
        self.expected = f"a {kind.__name__}"

    def convert(self, value: Any, site: Site) -> PreTrainedConfig:
        if isinstance(value, self._kind):
            value = value.to_dict()
        if not isinstance(value, dict):
            raise site.refuse(self.expected, value)
        try:
            config, _ = self._kind._read(value, {}, "")  # noqa: SLF001 - a config reads its nested ones
        except ConfigError as error:
            raise InvalidValueError(
                *(Problem(f"{site.path}.{p.path}", p.expected, p.found, p.hint) for p in error.problems)
            ) from None
        return config

    def encode(self, value: PreTrainedConfig) -> JSONValue:
        return value.to_dict()


def _nested(annotation: type) -> Codec | None:
    return _NestedConfig(annotation) if issubclass(annotation, PreTrainedConfig) else None


extend_codecs(_nested)
