"""`PreTrainedConfig`: the base class of every config, and the ways in which a config leaves memory and comes back.

Dicts, texts, files, the Hub, the schema. Its life in memory is `_instance`, what a file may be `strict_json`.
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, Unpack, overload

from nameplate_config._arguments import stored
from nameplate_config._auto_map import code_beside, registered_name
from nameplate_config._code_files import drafted_code
from nameplate_config._differences import differences
from nameplate_config._dtype import DType
from nameplate_config._fields import problems_error, schema_for
from nameplate_config._foreign import ForeignFormat, own_values
from nameplate_config._instance import Alias, ConfigInstance, ConfigMeta, meant_by, state_of
from nameplate_config._json_schema import schema_of_class
from nameplate_config._labels import Count, Inverse, Labels, recount
from nameplate_config._migrations import VERSION, migrated
from nameplate_config._nested_parts import own_part
from nameplate_config._numbered import LabelsMark
from nameplate_config._publish import check_options, publish
from nameplate_config._scalars import InvalidValueError, JSONSchema
from nameplate_config._settings import read_settings
from nameplate_config._source import Source, open_source, split_options
from nameplate_config.errors import ConfigError, ConfigFileError, Problem
from nameplate_config.files import folder_of, locked, make_folder, replace_file
from nameplate_config.record import CONFIG_NAME, mirror_bytes, read_config_values
from nameplate_config.strict_json import readable_text
from nameplate_config.typing import PublishOptions, StrPath
from nameplate_config.wording import shown


class PreTrainedConfig(ConfigInstance):
    """The values that an architecture is built from, typed, checked, and the same after every round trip.

    Write one with annotated fields, or with a plain `__init__` whose parameters become the fields. Arguments
    are keyword-only and copied: the config shares no list or dict with its caller, its class or another
    config. Values are checked against the annotations when the outermost `__init__` has finished and whenever
    an attribute is assigned. Methods called ``validate_*`` check what spans several fields: they yield
    `Problem` records or raise `ValueError`.

    Attributes:
        model_type: The name under which the architecture is registered; written into every file.
        config_version: The version of the fields; `migrates` says how files of older ones are read.
        attribute_map: Other names for fields, ``{alias: field}``. Files hold the field's own name.
        base_config_key: Where the config of a larger model holds this one, if `model_type` does not tell.
        foreign_formats: Kinds of files of other libraries that the class reads as well, told by their keys where
            the `model_type` is not its own.
        architectures: The model classes that the weights beside this config were saved from.
        auto_map: Where the repository's own code for Auto classes lies, ``{"AutoModel": "module.Class"}``.
        dtype: The dtype of the weights by name, such as ``"bfloat16"``; it equals the `torch.dtype`. Also
            called `torch_dtype`.
        id2label: The label of each class index, for models that classify; ``LABEL_0`` and so on if nobody
            named them. `label2id` and `num_labels` follow from it.

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

    base_config_key: ClassVar[str] = ""
    foreign_formats: ClassVar[tuple[ForeignFormat, ...]] = ()

    architectures: list[str] | None = None
    auto_map: dict[str, Any] | None = {}  # noqa: RUF012 - copied for each config, like every default
    dtype: DType | None = None

    if TYPE_CHECKING:
        id2label: dict[int, str] = {}
        label2id: dict[str, int] = {}
        num_labels: int = 2
        torch_dtype: str | None = None
    else:
        id2label: Annotated[dict[int, str] | None, LabelsMark()] = Labels()
        label2id = Inverse()
        num_labels = Count()
        torch_dtype = Alias("dtype")

    # ---- changing

    def copy(self, **changes: Any) -> Self:
        """Return a config with some fields changed, checked as a whole; never frozen.

        Args:
            **changes: Fields or their aliases. A dict for a nested config changes only what it names.

        Raises:
            ConfigError: If a value does not fit.
            UnknownOptionError: If a name is neither a field nor a key of this config.

        Example:
            >>> class BlockConfig(PreTrainedConfig):
            ...     width: int = 8
            >>> BlockConfig().copy(width=16)
            BlockConfig(width=16)
        """
        if not changes:
            return self._cloned()
        config, unused = self._read(self.to_dict(), changes, where="")
        self._declared.refuse_unknown(list(unused))
        state_of(config).origin = self._nameplate.origin
        named = {self._declared.field_name(name) for name in changes}
        state_of(config).given = self._nameplate.given | named.intersection(self._declared.fields)
        return config

    def update(self, values: Mapping[str, Any]) -> None:
        """Change several fields at once: all of them, or none if one does not fit.

        Raises:
            ConfigError: If a value does not fit.
            UnknownOptionError: If a name is neither a field nor a key of this config.
        """
        if not values:
            return
        changed = self.copy(**values)
        self._refuse_if_frozen(next(iter(values)))
        self._restore(vars(changed))
        self._nameplate.extras = state_of(changed).extras
        self._nameplate.given = state_of(changed).given

    def update_from_string(self, text: str) -> None:
        """Change fields as a command line says it: ``"width=16,layers=[2, 2],bias=false"``.

        A value is JSON where its field takes that, and text otherwise.

        Raises:
            ConfigError: If the text cannot be read, or a value does not fit.
            UnknownOptionError: If a name is neither a field nor a key of this config.

        Example:
            >>> class BlockConfig(PreTrainedConfig):
            ...     width: int = 8
            ...     act: str = "relu"
            >>> config = BlockConfig()
            >>> config.update_from_string("width=16,act=gelu")
            >>> config
            BlockConfig(width=16, act='gelu')
        """
        self.update(read_settings(text, self._declared, {**vars(self), **self._nameplate.extras}))

    def diff(self, other: "PreTrainedConfig") -> dict[str, tuple[Any, Any]]:
        """Return what differs, as ``{path: (here, there)}``; a field of a nested config as ``"backbone.width"``.

        The values are copies. A key that one of the two lacks is `MISSING` there.

        Example:
            >>> class BlockConfig(PreTrainedConfig):
            ...     width: int = 8
            ...     depth: int = 2
            >>> BlockConfig(width=16).diff(BlockConfig())
            {'width': (16, 8)}
        """
        found: dict[str, tuple[Any, Any]] = {}
        sides = [(schema_for(type(each)).fields, meant_by(each)) for each in (self, other)]
        for name, (here, there) in differences(*sides):
            if type(here) is type(there) and isinstance(here, PreTrainedConfig):
                found |= {f"{name}.{inner}": pair for inner, pair in here.diff(there).items()}
            else:
                found[name] = (here, there)
        return found

    # ---- dicts and texts

    def to_dict(self) -> dict[str, Any]:
        """Return everything that a file must hold, as fresh JSON-ready values: the caller may change them.

        Complete for the class's own fields, defaults included, so that a checkpoint keeps its meaning when a
        default changes. Fields that every config has appear only if they are set.
        """
        return {**self._identity(), **self._encoded()}

    def to_diff_dict(self) -> dict[str, Any]:
        """Return only what differs from the class's defaults, for display, as fresh JSON-ready values."""
        fields = self._declared.fields
        changed: dict[str, Any] = {}
        for name in self._changed():
            value = self.__dict__[name]
            is_config = fields[name].holds_config and value is not None
            changed[name] = value.to_diff_dict() if is_config else fields[name].codec.encode(value)
        return {**self._identity(), **changed, **self._encoded_extras()}

    def to_json_string(self) -> str:
        """Return the canonical text of the config file: its keys sorted, dicts inside in their own order.

        Raises:
            ConfigError: If a container was changed in place and no longer fits its field.
            ConfigFileError: If the text would exceed a budget of `strict_json` and could not be read back.
        """
        return self._text({})

    def _identity(self) -> dict[str, Any]:
        identity: dict[str, Any] = {"model_type": self.model_type} if self.model_type else {}
        return identity if self.config_version == 1 else {**identity, VERSION: self.config_version}

    def _text(self, more: Mapping[str, Any]) -> str:
        problems = list(self._declared.problems(self.__dict__)) or list(self._conflicts())
        if problems:
            raise problems_error(type(self).__name__, problems)
        values = {**self.to_dict(), **more}
        where = f"the config file of {type(self).__name__}"
        return readable_text({name: values[name] for name in sorted(values)}, where=where)

    @classmethod
    def json_schema(cls) -> JSONSchema:
        """Return a JSON Schema (draft 2020-12) of the files of this class and its present version.

        It accepts every file that the class reads, and rejects the others as far as a schema can tell: it
        knows types, bounds, choices and `OnlyWhen`, but neither ``validate_*`` methods nor predicates.

        Example:
            >>> class BlockConfig(PreTrainedConfig):
            ...     act: Literal["relu", "gelu"] = "relu"
            >>> BlockConfig.json_schema()["properties"]["act"]
            {'enum': ['relu', 'gelu'], 'default': 'relu'}
        """
        return schema_of_class(cls)

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
            **overrides: Fields, or keys of *values*, that get another value. A dict for a nested config
                changes only what it names. *name_or_path*, which Transformers passes, is where the file lies.

        Raises:
            ConfigError: If values do not fit their fields, or the file is of another `model_type`.
            UnknownOptionError: If an override names no field and unused ones are not returned.
        """
        origin = overrides.pop("name_or_path", "")
        config, unused = cls._read(values, overrides, where="")
        state_of(config).origin = (str(origin), None)
        if return_unused_kwargs:
            return config, unused
        schema_for(cls).refuse_unknown(list(unused))
        return config

    @classmethod
    def _read(
        cls, values: Mapping[str, Any], overrides: Mapping[str, Any], *, where: str
    ) -> tuple[Self, dict[str, Any]]:
        schema = schema_for(cls)
        values = own_values(cls, values, where)
        given = cls._settled(values, where)
        if not overrides:
            return cls._build(given, from_file=True, where=where), {}
        names = {*given, *values}
        known = {name: value for name, value in overrides.items() if schema.knows(name) or name in names}
        changes = schema.canonical(known)
        recount(schema, given, changes)
        for name in cls._rivals.keys() & changes.keys():
            if changes[name] is not None and cls._rivals[name] not in changes:
                given[cls._rivals[name]] = None
        changes = cls._written(stored(schema, cls.model_type, changes), given)
        unused = {name: value for name, value in overrides.items() if name not in known}
        return cls._build({**given, **changes}, from_file=True, where=where), unused

    @classmethod
    def _settled(cls, values: Mapping[str, Any], where: str) -> dict[str, Any]:
        """Return what a file says, by the fields of the present version of the class."""
        if not isinstance(values, Mapping) or not all(isinstance(name, str) for name in values):
            message = f"{cls.__name__} is read from a dict with str keys, found {shown(values)}."
            raise ConfigError(message)
        schema = schema_for(cls)
        current = migrated(cls, values, where=where)
        if derived := cls._derived_keys.union(*(each.mirrored for each in cls.foreign_formats)) - schema.fields.keys():
            current = {name: value for name, value in current.items() if name not in derived}
        shadowing = sorted(schema.reserved & current.keys())
        if shadowing:
            hint = "It is the name of something that every config has, such as a method. Rename the key."
            problems = [Problem(name, "no such key", shown(current[name]), hint) for name in shadowing]
            raise problems_error(cls.__name__, problems, where=where, code="reserved-key")
        return stored(schema, cls.model_type, current, where=where, from_file=True)

    @classmethod
    def _written(cls, changes: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
        """Return values given in code as a file would hold them, so that they can join those of one.

        A dict for a nested config changes the one that is given, or else the default.
        """
        problems: list[Problem] = []
        for name, value in changes.items():
            field = schema_for(cls).fields.get(name)
            if field is None:
                continue
            try:
                if field.holds_config and isinstance(value, dict):
                    changes[name] = field.changed(given.get(name, field.default), value)
                else:
                    own = field.convert(value)
                    changes[name] = own if field.holds_config else field.codec.encode(own)
            except InvalidValueError as error:
                problems += error.problems
        if problems:
            raise problems_error(cls.__name__, problems)
        return changes

    # ---- files and the Hub

    @property
    def name_or_path(self) -> str:
        """Where the config was loaded from: the folder, the file, or the repository; empty if it was not."""
        return self._nameplate.origin[0]

    @property
    def commit_hash(self) -> str | None:
        """The commit of the repository that the config was loaded from, or None."""
        return self._nameplate.origin[1]

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
        """Load the config of a checkpoint folder, of a config file, or of a repository on the Hub.

        The config of a larger model may hold this one: then the part with this `model_type` is read.

        Args:
            source: A folder, a JSON file, or the id of a repository.
            return_unused_kwargs: Return ``(config, unused)`` with the arguments that name no field.
            **kwargs: The options of `HubOptions`, and fields that get another value than the file's. A dict
                for a nested config changes only what it names.

        Raises:
            SourceNotFoundError: If there is no such folder, repository or config file.
            ConfigFileError: If the file is not the JSON of a config, or its values do not fit the fields.
            ConfigError: If an override does not fit its field.
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
        if kwargs.pop("_from_auto", False):  # Transformers' Auto classes say so, and name the source again
            kwargs.pop("name_or_path", None)
        options, overrides = split_options(kwargs)
        opened = open_source(source, allow_file=True, **options)
        values, where = read_config_values(opened)
        values, where = own_part(cls, values, where)
        try:
            config, unused = cls._read(values, overrides, where=where)
        except RecursionError:
            message = f"{where} nests deeper than the stack of its caller leaves room for."
            raise ConfigFileError(message, code="too-deep") from None
        state_of(config).origin = (opened.name, opened.commit)
        if return_unused_kwargs:
            return config, unused
        schema_for(cls).refuse_unknown(list(unused))
        return config

    @classmethod
    def get_config_dict(cls, source: StrPath | Source, **kwargs: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the values of a config file as JSON has them, and the arguments that are no `HubOptions`.

        Raises:
            SourceNotFoundError: If there is no such folder, repository or config file.
            ConfigFileError: If the file is not the JSON of a config.
        """
        options, unused = split_options(kwargs)
        return read_config_values(open_source(source, allow_file=True, **options))[0], unused

    @classmethod
    def register_for_auto_class(cls, auto_class: str | type = "AutoConfig") -> None:
        """Let saving copy the source that defines this class, and say in `auto_map` where it lies.

        The files that its module imports relatively are copied too, in the layout of their package, and the data
        files beside them that they name, such as ``"labels.txt"``. A class that came as code needs no registration.

        Args:
            auto_class: The name of the Auto class that is to find it, or the Auto class itself; the last one counts.

        Raises:
            SourceCodeError: If the class has no source file of its own, or it could not run beside a checkpoint.
            UnknownOptionError: If *auto_class* is neither a name nor a class.
        """
        cls._auto_classes = (registered_name(cls, auto_class),)

    def _files(self, folder: Path | None) -> tuple[bytes, Mapping[str, bytes]]:
        """Return the bytes of `config.json`, and the code that goes with it."""
        code = code_beside(self)
        text = self._text({"auto_map": dict(code.auto_map or {})}) if code.files else self.to_json_string()
        return (text.encode() if folder is None else mirror_bytes(folder, text)), code.files

    def save_pretrained(self, folder: StrPath, *, push_to_hub: str = "", **options: Unpack[PublishOptions]) -> None:
        """Write `config.json` into *folder*, created if needed: the old file or the new, never a mix.

        The code of a registered class comes first, each file in one step: new code is there before what needs it.

        Args:
            folder: Where to.
            push_to_hub: The id of a repository to publish it in as well.
            **options: How to publish it, see `PublishOptions`.

        Raises:
            ConfigError: If a container was changed in place and no longer fits its field.
            SourceCodeError: If the class is registered and its code cannot be copied; nothing is written.
            UnsafePathError: If the path is a file, or none.
            OSError: If the system cannot write; the old file is untouched.
        """
        check_options(options)
        target = folder_of(folder)
        make_folder(target)
        data, code = self._files(target)
        # Of a folder that is not locked, a model that is saved into it meanwhile removes the drafts of code as litter.
        with locked(target) if code else nullcontext(), drafted_code(target, code) as publish_code:
            publish_code()
            replace_file(target / CONFIG_NAME, [data])
        if push_to_hub:
            self.push_to_hub(push_to_hub, **options)

    def push_to_hub(self, repository: str, **options: Unpack[PublishOptions]) -> str:
        """Publish the config, and the source of its class if that is registered for it, in one commit.

        Args:
            repository: The id of a repository on the Hub, created if there is none.
            **options: How to publish it, see `PublishOptions`.

        Returns:
            The address of the commit.

        Raises:
            HubError: If the Hub refused or could not be reached.
        """
        data, code = self._files(None)
        return publish(repository, {CONFIG_NAME: data, **code}, "Upload config", **options)


ConfigMeta.root = PreTrainedConfig
