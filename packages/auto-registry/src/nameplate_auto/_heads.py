"""Which model classes serve a config class for a task: those registered, and those that a package announces.

Also what may be registered, and what to say where there is none. Loading is the business of `_auto_class`.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

from nameplate_auto._config_mapping import CONFIG_MAPPING
from nameplate_auto._plugins import announced_for
from nameplate_auto._registration import Registration
from nameplate_auto._registry import Registry
from nameplate_auto.errors import InconsistentRegistrationError, UnknownArchitectureError
from nameplate_config import PreTrainedConfig
from nameplate_config.wording import listed, sentences, shown


class Head(Protocol):
    """What is asked of an Auto class here."""

    __name__: str
    model_mapping: Registry[type[PreTrainedConfig], Any]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The model classes that serve a config class for a task.

    Attributes:
        config_class: The config class that they are registered for; perhaps a base of the one in question.
        registration: Where they came from; its value is one class or text, or several.
    """

    config_class: type[Any]
    registration: Registration

    def chosen(self, architectures: object) -> type[Any]:
        """Return the first class that a config's `architectures` name, else the first. Only that one is imported.

        Raises:
            BrokenPluginError: If it cannot be imported.
            InconsistentRegistrationError: If it is built from another config class.
        """
        value = self.registration.value
        every = tuple(value) if isinstance(value, (list, tuple)) else (value,)
        by_name = {_name(each): each for each in reversed(every)}
        wanted = architectures if isinstance(architectures, (list, tuple)) else ()
        known = (by_name[name] for name in wanted if isinstance(name, str) and name in by_name)
        model_class = replace(self.registration, value=next(known, every[0])).load()
        check_model(self.config_class, model_class)
        return model_class


def _name(value: Any) -> str:
    """Return the name of a class, or of the one that a lazy text stands for."""
    return value.rpartition(":")[2] if isinstance(value, str) else value.__name__


def candidates_for(head: Head, config_class: type[Any], *, inherited: bool = True) -> Candidates | None:
    """Return the model classes for the configs of a class, or None; nothing is imported that serves others.

    Args:
        head: The Auto class of the task.
        config_class: The class of the configs.
        inherited: Whether those of its nearest base class serve it as well.
    """
    for each in _lineage(config_class) if inherited else (config_class,):
        if each in head.model_mapping:
            return Candidates(each, head.model_mapping.find(each))
        announced = announced_for(each, head.__name__)
        if announced is not None:
            return Candidates(each, announced)
    return None


def _lineage(config_class: type[Any]) -> Iterator[type[Any]]:
    yield from (each for each in config_class.__mro__ if is_config_class(each))


# ---- what may be registered


def is_config_class(value: Any) -> bool:
    """Whether something is a config class, of this family or like one."""
    if not isinstance(value, type):
        return False
    return issubclass(value, PreTrainedConfig) or (hasattr(value, "model_type") and hasattr(value, "from_dict"))


def is_own_model(model_class: type[Any]) -> bool:
    """Whether a model class is one of this family, or at least built from a config of this family."""
    own = getattr(model_class, "config_class", None)
    return hasattr(model_class, "plan_load") or (isinstance(own, type) and issubclass(own, PreTrainedConfig))


def check_model(config_class: Any, value: Any) -> None:
    """Refuse what cannot be the model class of a config class, or several of which one cannot.

    Raises:
        InconsistentRegistrationError: If so.
    """
    if not is_config_class(config_class):
        message = f"models are registered for a config class, found {shown(config_class)}."
        raise InconsistentRegistrationError(message)
    if isinstance(value, (list, tuple)):
        if not value:
            message = f"no model class is given for {config_class.__name__}."
            raise InconsistentRegistrationError(message)
        for each in value:
            check_model(config_class, each)
    elif not isinstance(value, str):  # a text is checked when it is imported
        _check_one(config_class, value)


def _check_one(config_class: type[Any], value: Any) -> None:
    own = getattr(value, "config_class", None)
    if not isinstance(value, type) or not isinstance(own, type):
        message = f"{shown(value)} has no config_class, so it cannot be registered as a model class."
        raise InconsistentRegistrationError(message)
    is_theirs = not issubclass(config_class, PreTrainedConfig) and not is_own_model(value)
    if not is_theirs and not issubclass(config_class, own):  # others register models that name a neighbouring config
        message = sentences(
            f"{value.__name__} is built from {own.__name__}, but it is being registered for {config_class.__name__}.",
            _two_of_one_name(own, config_class) or "Register it for its own config class.",
        )
        raise InconsistentRegistrationError(message)


def _two_of_one_name(registered: type[Any], asked: type[Any]) -> str:
    """Return a sentence that tells two classes of one name apart, else an empty text."""
    if registered.__name__ != asked.__name__:
        return ""
    return (
        f"One is {registered.__module__}.{registered.__qualname__}, the other {asked.__module__}.{asked.__qualname__}; "
        "classes are matched by identity, never by name."
    )


# ---- what to say where there is none


def no_model(
    head: Head, heads: Iterable[Head], config_class: type[Any], brought: Collection[str] = ()
) -> UnknownArchitectureError:
    """Return the error about a config that a task has no model for; no model is imported for it.

    Args:
        head: The Auto class of the task.
        heads: Every Auto class.
        config_class: The class of the config.
        brought: The Auto classes for which the checkpoint brings code.
    """
    others = [each.__name__ for each in heads if each is not head and candidates_for(each, config_class) is not None]
    name = config_class.model_type
    known = f"model_type {name!r}" if name in CONFIG_MAPPING else "This config class"
    namesakes = (_two_of_one_name(each, config_class) for each in head.model_mapping.names())
    message = sentences(
        f"{head.__name__} has no model class for {config_class.__name__}.",
        f"{known} has one for: {listed(others)}.",
        next(filter(None, namesakes), ""),
        f"The checkpoint brings code for: {listed(brought)}." if brought else "",
        f"Register one with {head.__name__}.register({config_class.__name__}, YourModel).",
    )
    return UnknownArchitectureError(message)
