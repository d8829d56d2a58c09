"""Auto classes: from a config to the model class for one task.

`AutoClass` is the whole mechanism; each task is a subclass of one line, and so is a user's own. Models are seen
through the `Loadable` protocol alone: this package imports neither torch nor any model.
"""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NoReturn, Protocol, TypeVar, cast, overload

from nameplate_auto._auto_config import CONFIG_MAPPING, AutoConfig
from nameplate_auto._plugins import announced_class
from nameplate_auto._registry import Registry
from nameplate_auto.errors import InconsistentRegistrationError, RegistryError, UnknownArchitectureError
from nameplate_config import PreTrainedConfig, Source, open_source, split_options
from nameplate_config.typing import StrPath
from nameplate_config.wording import listed, sentences, shown


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


ModelClass = type[Any]
Decorated = TypeVar("Decorated", bound=type[Any])


def _check_model(config_class: Any, value: Any) -> None:
    if not isinstance(config_class, type) or not issubclass(config_class, PreTrainedConfig):
        message = f"models are registered for a config class, found {shown(config_class)}."
        raise InconsistentRegistrationError(message)
    own = getattr(value, "config_class", None)
    if not isinstance(value, type) or own is None:
        message = f"{shown(value)} has no config_class, so it cannot be registered as a model class."
        raise InconsistentRegistrationError(message)
    if not issubclass(config_class, own):
        message = sentences(
            f"{value.__name__} is built from {own.__name__}, but it is being registered for {config_class.__name__}.",
            "Register it for its own config class.",
        )
        raise InconsistentRegistrationError(message)


_FOR_THE_MODEL = ("dtype",)
"""Fields of every config that an argument of `from_pretrained` does not mean: it says how to load the weights."""


class AutoClass:
    """Finds the model class for one task by the config of a checkpoint. Subclass it for a task of your own.

    Example:
        >>> class AutoModelForCounting(AutoClass):
        ...     '''Models that count objects.'''
        >>> AutoModelForCounting.model_mapping
        <Registry of 0 AutoModelForCounting entries>
    """

    model_mapping: ClassVar[Registry[type[PreTrainedConfig], ModelClass]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.model_mapping = Registry(cls.__name__, check=_check_model)

    def __new__(cls) -> NoReturn:
        """Refuse: Auto classes only have class methods."""
        message = f"{cls.__name__} is not instantiated; call from_pretrained(source) or from_config(config)."
        raise RegistryError(message)

    @overload
    @classmethod
    def register(
        cls, config_class: type[PreTrainedConfig], *, exist_ok: bool = False
    ) -> Callable[[Decorated], Decorated]: ...

    @overload
    @classmethod
    def register(
        cls, config_class: type[PreTrainedConfig], model_class: ModelClass | str, *, exist_ok: bool = False
    ) -> None: ...

    @classmethod
    def register(
        cls,
        config_class: type[PreTrainedConfig],
        model_class: ModelClass | str | None = None,
        *,
        exist_ok: bool = False,
    ) -> Callable[[Decorated], Decorated] | None:
        """Register the model class of a config class for this task; without a model class, decorate one.

        Raises:
            DuplicateRegistrationError: If another model class is registered and *exist_ok* is false.
            InconsistentRegistrationError: If the model is built from another config class.
        """
        if model_class is None:
            return cls.model_mapping.register(config_class, exist_ok=exist_ok)
        cls.model_mapping.register(config_class, model_class, exist_ok=exist_ok)
        return None

    @classmethod
    def unregister(cls, config_class: type[PreTrainedConfig]) -> None:
        """Remove the explicit registration of a config class.

        Raises:
            UnknownModelTypeError: If there is none.
        """
        cls.model_mapping.unregister(config_class)

    @classmethod
    def model_class(cls, config: PreTrainedConfig) -> ModelClass:
        """Return the model class for a config: that of its own class, else of its nearest base class.

        Raises:
            UnknownArchitectureError: If there is none.
        """
        if not isinstance(config, PreTrainedConfig):
            message = f"{cls.__name__} finds a model class by a config, found {shown(config)}."
            raise UnknownArchitectureError(message)
        return cls.model_class_of(type(config))

    @classmethod
    def model_class_of(cls, config_class: type[PreTrainedConfig]) -> ModelClass:
        """Return the model class for the configs of a class.

        Raises:
            UnknownArchitectureError: If there is none.
        """
        for each in _lineage(config_class):
            if each in cls.model_mapping:
                return cls.model_mapping[each]
            announced = _announced(each, cls.__name__)
            if announced is not None:
                return announced
        raise _no_model(cls, config_class)

    @classmethod
    def from_config(cls, config: PreTrainedConfig) -> Any:
        """Return a model with freshly initialised weights.

        Raises:
            UnknownArchitectureError: If no model class is registered for the config.
        """
        return cast("Loadable", cls.model_class(config)).from_config(config)

    @classmethod
    def from_pretrained(cls, source: StrPath | Source, *, trust_remote_code: bool = False, **kwargs: Any) -> Any:
        """Load the model of a checkpoint: config, class and weights.

        Args:
            source: A folder, or the id of a repository.
            trust_remote_code: Whether code of the repository may run. A registered class never needs it.
            **kwargs: The options of the model class's own `from_pretrained`, of `HubOptions`, and fields of the
                config that get another value than the file's.

        Raises:
            UnknownModelTypeError: If the checkpoint's `model_type` is absent or not registered.
            UnknownArchitectureError: If no model class is registered for its config.
            NameplateError: Whatever else the config or the model class refuses.
        """
        options, rest = split_options(kwargs)
        opened = open_source(source, **options)
        config = rest.pop("config", None)
        if config is None:
            kept = {name: rest.pop(name) for name in _FOR_THE_MODEL if name in rest}
            config, rest = AutoConfig.from_pretrained(
                opened, return_unused_kwargs=True, trust_remote_code=trust_remote_code, **rest
            )
            rest |= kept
        return cast("Loadable", cls.model_class(config)).from_pretrained(opened, config=config, **rest)


def _lineage(config_class: type) -> Iterator[type[PreTrainedConfig]]:
    yield from (each for each in config_class.__mro__ if issubclass(each, PreTrainedConfig))


def _announced(config_class: type[PreTrainedConfig], auto_class: str) -> ModelClass | None:
    """Return the model that a package announces, if *config_class* is the config that it announces with it."""
    registration = announced_class(config_class.model_type, auto_class) if config_class.model_type else None
    if registration is None:
        return None
    own = announced_class(config_class.model_type, "AutoConfig")
    if own is None or own.load() is not config_class:
        return None
    model_class = registration.load()
    _check_model(config_class, model_class)
    return model_class


def _no_model(auto_class: type[AutoClass], config_class: type[PreTrainedConfig]) -> UnknownArchitectureError:
    others = [each for each in _auto_classes(AutoClass) if each is not auto_class]
    heads = [each.__name__ for each in others if _serves(each, config_class)]
    name = config_class.model_type
    known = f"model_type {name!r}" if name in CONFIG_MAPPING else "This config class"
    message = sentences(
        f"{auto_class.__name__} has no model class for {config_class.__name__}.",
        f"{known} has one for: {listed(heads)}.",
        f"Register one with {auto_class.__name__}.register({config_class.__name__}, YourModel).",
    )
    return UnknownArchitectureError(message)


def _auto_classes(base: type[AutoClass]) -> Iterator[type[AutoClass]]:
    for each in base.__subclasses__():
        yield each
        yield from _auto_classes(each)


def _serves(auto_class: type[AutoClass], config_class: type[PreTrainedConfig]) -> bool:
    """Whether an Auto class has a model for the configs of a class, judged without importing it."""
    return any(
        each in auto_class.model_mapping
        or (each.model_type and announced_class(each.model_type, auto_class.__name__) is not None)
        for each in _lineage(config_class)
    )


def _refuse_the_base(config_class: Any, _value: Any) -> None:
    message = f"AutoClass is the base of Auto classes; register {shown(config_class)} with one, such as AutoModel."
    raise RegistryError(message)


AutoClass.model_mapping = Registry("AutoClass", check=_refuse_the_base)


class AutoModel(AutoClass):
    """The bare architecture, without a head for a task."""


class AutoModelForImageClassification(AutoClass):
    """Models that sort images into classes: they answer with `logits` of shape ``(batch, classes)``."""
