"""`AutoClass`: from a config, or the config file of a checkpoint, to the model class for one task.

This is the whole mechanism; each task is a subclass of one line, and so is a user's own. Models are seen through the
`Loadable` protocol alone: this package imports neither torch nor any model.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, NoReturn, Protocol, cast, overload

from nameplate_auto._config_file import ConfigFile, Reading
from nameplate_auto._heads import candidates_for, check_model, is_config_class, is_own_model, no_model
from nameplate_auto._registry import Registry
from nameplate_auto.errors import RegistryError, UnknownArchitectureError
from nameplate_config import (
    NameplateError,
    PreTrainedConfig,
    Source,
    UnknownOptionError,
    argument_names,
    open_source,
    split_options,
)
from nameplate_config.typing import StrPath
from nameplate_config.wording import shown

if TYPE_CHECKING:
    from typing_extensions import TypeVar

    from nameplate_auto._remote import Trust

    Model = TypeVar("Model", default=Any)
else:
    from typing import TypeVar

    Model = TypeVar("Model")

Decorated = TypeVar("Decorated", bound=type[Any])

OF_A_LOAD = frozenset(
    {
        "allow_missing",
        "allow_unexpected",
        "config",
        "device",
        "device_map",
        "device_mesh",
        "dtype",
        "engine",
        "ignore_mismatched_sizes",
        "keep_in_fp32",
        "key_mapping",
        "memory",
        "output_loading_info",
        "plan",
        "state_dict",
        "strict",
        "timeout",
        "torch_dtype",
        "use_safetensors",
        "variant",
        "verify",
    }
)
"""Arguments that say how to load the weights, also where a config has a field of that name, as all have `dtype`.

`torch_dtype` is the name that `dtype` once had.
"""

_MOST_TRIES = 20
"""How often a load starts anew because somebody saved another config meanwhile."""


class Loadable(Protocol):
    """What an Auto class asks of a model class."""

    config_class: ClassVar[Any]

    @classmethod
    def from_pretrained(cls, source: Source, /, **kwargs: Any) -> Any:
        """Return a model with the weights of a checkpoint."""
        ...

    @classmethod
    def from_config(cls, config: Any, /) -> Any:
        """Return a model with freshly initialised weights."""
        ...


class AutoClass(Generic[Model]):
    """Finds the model class for one task by the config of a checkpoint. Subclass it for a task of your own.

    ``AutoClass[CountingModel]`` tells type checkers what `from_pretrained` returns; without it they expect anything.

    Example:
        >>> class AutoModelForCounting(AutoClass):
        ...     '''Models that count objects.'''
        >>> AutoModelForCounting.model_mapping
        <Registry of 0 AutoModelForCounting entries>
    """

    model_mapping: ClassVar[Registry[type[PreTrainedConfig], Any]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        found = "<locals>" not in cls.__qualname__  # by a pickle
        home = f"{cls.__module__}:{cls.__qualname__}.model_mapping" if found else ""
        cls.model_mapping = Registry(cls.__name__, check=check_model, home=home)

    def __new__(cls, *_: Any, **__: Any) -> NoReturn:
        """Refuse: Auto classes only have class methods."""
        message = f"{cls.__name__} is not instantiated; call from_pretrained(source) or from_config(config)."
        raise RegistryError(message)

    # ---- registering

    @overload
    @classmethod
    def register(
        cls, config_class: type[PreTrainedConfig], *, exist_ok: bool = False
    ) -> Callable[[Decorated], Decorated]: ...

    @overload
    @classmethod
    def register(
        cls,
        config_class: type[PreTrainedConfig],
        model_class: type[Model] | str | Sequence[type[Model] | str],
        *,
        exist_ok: bool = False,
    ) -> None: ...

    @classmethod
    def register(
        cls,
        config_class: type[PreTrainedConfig],
        model_class: type[Model] | str | Sequence[type[Model] | str] | None = None,
        *,
        exist_ok: bool = False,
    ) -> Callable[[Decorated], Decorated] | None:
        """Register the model class of a config class for this task; without a model class, decorate one.

        Args:
            config_class: The class of the configs.
            model_class: A class, a lazy ``"package.module:Class"``, or several of them: then a config's
                `architectures` choose, and without those the first is taken.
            exist_ok: Whether to replace what is registered.

        Raises:
            DuplicateRegistrationError: If another model class is registered and *exist_ok* is false.
            InconsistentRegistrationError: If the model is built from another config class.
        """
        if model_class is None:
            return cls.model_mapping.register(config_class, exist_ok=exist_ok)
        several = isinstance(model_class, Sequence) and not isinstance(model_class, str)
        every = tuple(model_class) if several else (model_class,)
        value = every[0] if len(every) == 1 else every  # a list of one is that one
        cls.model_mapping.register(config_class, value, exist_ok=exist_ok)
        return None

    @classmethod
    def unregister(cls, config_class: type[PreTrainedConfig]) -> None:
        """Remove the explicit registration of a config class.

        Raises:
            UnknownModelTypeError: If there is none.
        """
        cls.model_mapping.unregister(config_class)

    # ---- the class

    @classmethod
    def model_class(cls, config: PreTrainedConfig) -> type[Model]:
        """Return the model class for a config: that of its own class, else of its nearest base class.

        Where several are registered, the first that the config's `architectures` name, else the first.
        For a config whose class a checkpoint brought, also the class that it brought for this task.

        Raises:
            UnknownArchitectureError: If there is none.
        """
        config_class = type(config)
        if not is_config_class(config_class):
            message = f"{cls.__name__} finds a model class by a config, found {shown(config)}."
            raise UnknownArchitectureError(message)
        own = candidates_for(cls, config_class, inherited=False)
        found = own.chosen(getattr(config, "architectures", None)) if own else _brought_with(cls, config)
        if found is not None:
            return found
        return cls.model_class_of(config_class, getattr(config, "architectures", None))

    @classmethod
    def model_class_of(
        cls, config_class: type[PreTrainedConfig], architectures: Sequence[str] | None = None
    ) -> type[Model]:
        """Return the registered model class for the configs of a class.

        Args:
            config_class: The class of the configs.
            architectures: Names of classes; of several that are registered, the first that they name is returned.

        Raises:
            UnknownArchitectureError: If there is none.
        """
        found = candidates_for(cls, config_class)
        if found is None:
            raise no_model(cls, auto_classes(AutoClass), config_class)
        return cast("type[Model]", found.chosen(architectures))

    # ---- models

    @classmethod
    def from_config(cls, config: PreTrainedConfig, *, trust_remote_code: "Trust" = None, **changes: Any) -> Model:
        """Return a model with freshly initialised weights.

        Args:
            config: What to build it from.
            trust_remote_code: Without effect, as callers of Transformers pass it: where a config's class came
                from a checkpoint, its code was approved then.
            **changes: Fields that get another value, in a copy of the config.

        Raises:
            UnknownArchitectureError: If no model class is registered for the config.
            UnknownOptionError: If a change names no field.
        """
        del trust_remote_code
        if changes:
            config = _changed(config, changes)
        model_class = cls.model_class(config)
        if is_own_model(model_class):
            return cast("Model", cast("Loadable", model_class).from_config(config))
        from nameplate_auto._duck import new_model_of  # noqa: PLC0415 - only for classes of others

        return cast("Model", new_model_of(model_class, config))

    @overload
    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source | None,
        *,
        output_loading_info: Literal[True],
        model_type: str | None = None,
        trust_remote_code: "Trust" = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> tuple[Model, Any]: ...

    @overload
    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source | None,
        *,
        output_loading_info: Literal[False] = False,
        model_type: str | None = None,
        trust_remote_code: "Trust" = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> Model: ...

    @classmethod
    def from_pretrained(
        cls,
        source: StrPath | Source | None,
        *,
        model_type: str | None = None,
        trust_remote_code: "Trust" = None,
        code_revision: str | None = None,
        **kwargs: Any,
    ) -> Model | tuple[Model, Any]:
        """Load the model of a checkpoint: config, class and weights.

        Registered classes come first and need no trust. Classes that the checkpoint brings serve where nothing is
        registered for its config, or nothing for this task.

        Args:
            source: A folder, or the id of a repository. None if *config* and *state_dict* are given.
            model_type: The registered name of what it is, whatever the file says.
            trust_remote_code: Which code of the checkpoint may run.
            code_revision: The revision of that code, where it lies in another repository.
            **kwargs: The options of the model class's own `from_pretrained`, of `HubOptions`, and fields of the
                config that get another value than the file's. An option goes before a field of the same name; give
                such a field in *config*, the config to build from instead of the checkpoint's.

        Raises:
            UnknownModelTypeError: If the checkpoint's `model_type` is absent or not registered.
            UnknownArchitectureError: If no model class is registered for its config.
            RemoteCodeError: If only code from its repository could load it, and may not run.
            UnknownOptionError: If an argument is neither an option nor a field.
            NameplateError: Whatever else the config or the model class refuses.
        """
        options, rest = split_options(kwargs)
        config = rest.pop("config", None)
        if source is None and config is None:
            message = f"{cls.__name__}.from_pretrained needs a source, or None together with config= and state_dict=."
            raise UnknownOptionError(message)
        reading = Reading(model_type, trust_remote_code, code_revision, rest.get("variant"))
        opened = None if source is None else open_source(source, **options)
        if config is not None:
            _refuse_beside_config(cls, model_type=model_type, code_revision=code_revision)
            return cast("Model", _load(cls.model_class(config), opened, config, rest))
        return cast("Model", _load_settled(cls, cast("Source", opened), reading, rest))


def _refuse_beside_config(cls: type[AutoClass[Any]], **arguments: str | None) -> None:
    for name, value in arguments.items():
        if value is not None:
            message = f"{cls.__name__}.from_pretrained reads no config if it is given, so {name} has no effect."
            raise UnknownOptionError(message)


def _load_settled(cls: type[AutoClass[Any]], source: Source, reading: Reading, kwargs: dict[str, Any]) -> Any:
    """Load the model of a checkpoint, with the config of one and the same save."""
    for _ in range(_MOST_TRIES):
        file = ConfigFile.of(source, reading)
        try:
            config_class, model_class = _classes(cls, file, kwargs.get("architectures"))
            if _reads_the_file(model_class, config_class, file):
                return cast("Loadable", model_class).from_pretrained(source, **kwargs)
            fields = argument_names(config_class) if issubclass(config_class, PreTrainedConfig) else list(kwargs)
            overrides = {name: value for name, value in kwargs.items() if name in fields and name not in OF_A_LOAD}
            config, unused = file.read_as(config_class, overrides)
            rest = {name: value for name, value in kwargs.items() if name not in overrides}
            loaded = _load(model_class, source, config, {**rest, **unused})
        except NameplateError:
            if file.is_unchanged():
                raise
        else:
            if file.is_unchanged():
                return loaded
    message = f"{source.name!r} is being saved again and again. Load it when that is done."
    raise RegistryError(message)


def _classes(cls: type[AutoClass[Any]], file: ConfigFile, architectures: Any) -> tuple[type[Any], type[Any]]:
    """Return the classes of config and model for the config file of a checkpoint, those that are registered first."""
    names = file.values.get("architectures") if architectures is None else architectures
    config_class = file.local_class()
    if config_class is not None:
        found = candidates_for(cls, config_class)
        if found is not None:
            return config_class, found.chosen(names)
        if not file.auto_map.get(cls.__name__) or file.reading.model_type is not None:
            raise no_model(cls, auto_classes(AutoClass), config_class, file.auto_map)
    return _classes_it_brings(cls, file, config_class, names)


def _classes_it_brings(
    cls: type[AutoClass[Any]], file: ConfigFile, config_class: type[Any] | None, architectures: Any
) -> tuple[type[Any], type[Any]]:
    """Return the classes that a checkpoint brings.

    Its config class may have a registered model, as one derived from a registered config class has. Where it brings
    a model class only, that one's own config class counts, else the registered one.
    """
    has_model = bool(file.auto_map.get(cls.__name__))
    if not file.auto_map.get("AutoConfig"):
        if not has_model:
            raise file.unknown()
        model_class = file.remote_class(cls.__name__)
        config_class = getattr(model_class, "config_class", None) or config_class
        if config_class is None:
            raise file.unknown()
        return config_class, model_class
    config_class = file.remote_class("AutoConfig")
    found = candidates_for(cls, config_class, inherited=not has_model)
    if found is not None:
        return config_class, found.chosen(architectures)
    if not has_model:
        raise no_model(cls, auto_classes(AutoClass), config_class, file.auto_map)
    return config_class, file.remote_class(cls.__name__, beside=config_class)


def _reads_the_file(model_class: type[Any], config_class: type[Any], file: ConfigFile) -> bool:
    """Whether a model class, left alone, reads the config as the very class that was found.

    Then it is left alone: it sees to it by itself that config and weights are of one save.
    """
    reads = hasattr(model_class, "plan_load") and model_class.config_class is config_class
    return reads and file.says_it_all(config_class)


def _load(model_class: type[Any], source: Source | None, config: Any, kwargs: dict[str, Any]) -> Any:
    if is_own_model(model_class):
        return cast("Any", model_class).from_pretrained(source, config=config, **kwargs)
    if source is None:
        message = f"{model_class.__name__} is no class of Nameplate, so it is loaded from a source, not from None."
        raise UnknownOptionError(message)
    from nameplate_auto._duck import model_of  # noqa: PLC0415 - only for classes of others

    return model_of(model_class, source, config, kwargs)


def _brought_with(cls: type[AutoClass[Any]], config: Any) -> type[Any] | None:
    """Return the class for this task from the code that a config's class came from, if it came from a checkpoint."""
    auto_map = getattr(config, "auto_map", None)
    if not isinstance(auto_map, dict) or cls.__name__ not in auto_map:
        return None
    from nameplate_auto._remote import sibling_class  # noqa: PLC0415 - only for configs that came with code

    return sibling_class(type(config), {"auto_map": auto_map}, cls.__name__)


def _changed(config: Any, changes: dict[str, Any]) -> Any:
    if not {"dtype", "torch_dtype"}.isdisjoint(changes):
        message = "a fresh model has torch's default dtype. Call .to(dtype) on it."
        raise UnknownOptionError(message)
    if not isinstance(config, PreTrainedConfig):
        message = f"{type(config).__name__} is no config of Nameplate; change it before the model is built from it."
        raise UnknownOptionError(message)
    return config.copy(**changes)


def auto_classes(base: type[AutoClass[Any]]) -> list[type[AutoClass[Any]]]:
    """Return every Auto class that is derived from one, at any depth."""
    found: list[type[AutoClass[Any]]] = []
    for each in base.__subclasses__():
        found += [each, *auto_classes(each)]
    return found


def _refuse_the_base(config_class: Any, _value: Any) -> None:
    message = f"AutoClass is the base of Auto classes; register {shown(config_class)} with one, such as AutoModel."
    raise RegistryError(message)


AutoClass.model_mapping = Registry("AutoClass", check=_refuse_the_base)
