"""The bridge to Transformers, in both directions; needs ``pip install "nameplate-auto[transformers]"``.

`publish` shows Transformers the architectures that are known here, `adopt` shows the Auto classes here those that
Transformers knows. Both can be taken back. Only this module knows Transformers, and only its functions import it.
"""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, ClassVar, Self
from weakref import WeakSet

from nameplate_auto._auto_class import AutoClass, auto_classes
from nameplate_auto._config_mapping import CONFIG_MAPPING
from nameplate_auto._heads import candidates_for
from nameplate_auto._registration import Registration
from nameplate_auto._registry import Registry
from nameplate_auto.errors import BridgeError, UnknownModelTypeError
from nameplate_config import NameplateError, UnknownOptionError
from nameplate_config.wording import did_you_mean, listed, reason, sentences, shown

__all__ = ["Adoption", "Publication", "adopt", "publish"]

_lock = threading.RLock()


class _Table:
    """One mapping of Transformers: the names of its own classes, and the classes that were registered with it.

    Args:
        mapping: Its `CONFIG_MAPPING`, or the mapping of one of its Auto classes.
        named: The attribute that holds the names.
    """

    def __init__(self, mapping: Any, named: str) -> None:
        self.mapping = mapping
        self.named: Mapping[str, Any] = getattr(mapping, named)
        self.added: dict[Any, Any] = mapping._extra_content  # noqa: SLF001 - nothing public tells who has a name


@dataclass(frozen=True, slots=True)
class _Theirs:
    """What the bridge uses of Transformers.

    Attributes:
        package: Transformers itself.
        origin: How messages name it.
        configs: From model types to config classes.
        module_of: Returns the name of the module of a model type, below ``transformers.models``.
        on_top: The names that can be had from Transformers itself.
    """

    package: Any
    origin: str
    configs: _Table
    module_of: Callable[[str], str]
    on_top: frozenset[str]

    def owner(self, model_type: str) -> Any:
        """Return who has a model type: a class that was registered, the name of one of its own, or None."""
        return self.configs.added.get(model_type) or self.configs.named.get(model_type)

    def models(self, auto_class: str) -> _Table | None:
        """Return the table of the Auto class of that name, from config classes to model classes, if there is one."""
        mapping = getattr(getattr(self.package, auto_class, None), "_model_mapping", None)
        return None if mapping is None else _Table(mapping, "_model_mapping")

    def lazy(self, model_type: str, class_name: str) -> str:
        """Return the text that names a class of an architecture, of which nothing is imported."""
        on_top = class_name in self.on_top
        return f"{'transformers' if on_top else f'transformers.models.{self.module_of(model_type)}'}:{class_name}"


def _theirs() -> _Theirs:
    try:
        import transformers  # noqa: PLC0415 - only when somebody crosses the bridge
        from transformers.models.auto import configuration_auto  # noqa: PLC0415 - as above

        origin = f"Transformers {transformers.__version__}"
        configs = _Table(configuration_auto.CONFIG_MAPPING, "_mapping")
        module_of = configuration_auto.model_type_to_module_name
        on_top = frozenset(getattr(transformers, "__all__", ()))
        return _Theirs(transformers, origin, configs, module_of, on_top)
    except ImportError as error:
        message = sentences(
            f"the bridge to Transformers cannot import it: {reason(error)}",
            'Install it with: pip install "nameplate-auto[transformers]"',
        )
        raise BridgeError(message) from error
    except AttributeError as error:
        message = sentences(
            f"the installed Transformers does not keep its classes where the bridge looks for them: {reason(error)}",
            "Install a version from 5.17 on and below 6.",
        )
        raise BridgeError(message) from error


class _Scope(ABC):
    """What was changed in one call, and how it is taken back."""

    @abstractmethod
    def withdraw(self) -> None:
        """Take back what the call changed; a second time does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.withdraw()


# ---- ours, for Transformers

_ABSENT: Any = object()

_published: WeakSet[type[Any]] = WeakSet()
"""The config classes that Transformers has from here, so that they do not come back as its own."""

_NOISE = frozenset(
    {
        "_commit_hash",
        "_from_auto",
        "_from_pipeline",
        "adapter_kwargs",
        "code_revision",
        "low_cpu_mem_usage",
        "name_or_path",
        "trust_remote_code",
        "weights_only",
    }
)
"""What Transformers' Auto classes pass on to every model class, and what means nothing to one that is registered."""


class _PublishedModel:
    """Stands for a model class in a table of Transformers; the class itself is imported when a model is asked for."""

    auto_class: ClassVar[type[AutoClass[Any]]]
    config_class: ClassVar[type[Any]]

    @classmethod
    def from_pretrained(cls, source: Any, *args: Any, **kwargs: Any) -> Any:
        """Load a model through the Auto class of the same name here."""
        _refuse_positional(cls, args)
        options = _meant(kwargs)
        revision = options.get("revision")
        if revision is not None:  # Transformers has resolved it; ask for the very commit
            options["revision"] = getattr(revision, "resolved", revision)
        return cls.auto_class.from_pretrained(source, **options)

    @classmethod
    def _from_config(cls, config: Any, *args: Any, **kwargs: Any) -> Any:
        """Build a model through the Auto class of the same name here."""
        _refuse_positional(cls, args)
        options = _meant(kwargs)
        dtype = options.pop("dtype", None)
        if options:
            names = listed(map(repr, options))
            message = f"{cls.auto_class.__name__}.from_config of {cls.__name__} has no option {names}."
            raise UnknownOptionError(message)
        model = cls.auto_class.from_config(config)
        return model if dtype in (None, "auto") else model.to(dtype)


def _refuse_positional(cls: type[_PublishedModel], args: tuple[Any, ...]) -> None:
    if args:
        message = f"{cls.__name__} takes options by name, found {shown(args[0])} behind the source."
        raise UnknownOptionError(message)


def _meant(kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that somebody chose, under the names that they have here."""
    options = {name: value for name, value in kwargs.items() if name not in _NOISE and value is not None}
    if "torch_dtype" in options:
        options.setdefault("dtype", options.pop("torch_dtype"))
    return options


@dataclass(frozen=True, slots=True)
class Publication(_Scope):
    """What one call of `publish` did. As a context manager it takes that back at the end of the block.

    Attributes:
        published: The Auto classes of Transformers that serve each `model_type` from now on, by that name.
        taken: Each `model_type` that Transformers has a class of its own for, and that class: left alone.
        failed: Each `model_type` whose config class could not be imported, and why.
    """

    published: dict[str, tuple[str, ...]]
    taken: dict[str, str]
    failed: dict[str, NameplateError]
    _changes: list[tuple[dict[Any, Any], Any, Any, Any]] = field(repr=False)

    def put(self, table: _Table, key: Any, value: Any) -> bool:
        """Register a class in a table of Transformers; return whether it was not there already."""
        before = table.added.get(key, _ABSENT)
        if before is value:
            return False
        table.mapping.register(key, value, exist_ok=True)
        self._changes.append((table.added, key, value, before))
        return True

    def withdraw(self) -> None:
        """Take back what the call registered, where nobody replaced it since; a second time does nothing."""
        with _lock:
            while self._changes:
                table, key, value, before = self._changes.pop()
                if table.get(key, _ABSENT) is not value:
                    continue
                if before is _ABSENT:
                    del table[key]
                else:
                    table[key] = before


def publish(*, exist_ok: bool = False) -> Publication:
    """Register every architecture that is known here with the Auto classes of Transformers.

    After that ``transformers.AutoConfig.from_pretrained(folder)``, ``AutoModel``, its sisters of the same names and
    what is built on them find our classes. Config classes are imported, those of installed packages included; in
    place of each model class stands a small one, which imports it when a model is asked for. So Transformers' tables
    list the names of our models, and what is loaded is of our classes.

    A name that Transformers has for a class of its own stays its own. What is published already is left as it is;
    for what is registered here later, call it again.

    Args:
        exist_ok: Whether a name that Transformers has goes to our class as well.

    Raises:
        BridgeError: If Transformers is not installed, or in another major version.

    Example:
        >>> from transformers import AutoConfig
        >>> with publish() as publication:
        ...     type(AutoConfig.for_model("nameplate_resnet")).__name__
        'ResnetConfig'
        >>> "AutoModel" in publication.published["nameplate_resnet"]
        True
    """
    theirs = _theirs()
    with _lock:
        publication = Publication({}, {}, {}, [])
        for model_type in CONFIG_MAPPING.names():
            _publish_one(publication, theirs, model_type, exist_ok=exist_ok)
        return publication


def _publish_one(publication: Publication, theirs: _Theirs, model_type: str, *, exist_ok: bool) -> None:
    try:
        if CONFIG_MAPPING.find(model_type).origin == theirs.origin:
            return  # adopted from there
        config_class = CONFIG_MAPPING[model_type]
        heads = _models(theirs, config_class)
    except NameplateError as error:
        publication.failed[model_type] = error
        return
    owner = theirs.owner(model_type)
    if owner not in (None, config_class) and not exist_ok:
        publication.taken[model_type] = owner if isinstance(owner, str) else _named(owner)
        return
    _published.add(config_class)
    done = ["AutoConfig"] if publication.put(theirs.configs, model_type, config_class) else []
    for auto_class, table, value in heads:
        if _is_free(table, config_class, exist_ok=exist_ok):
            publication.put(table, config_class, _stand_in(auto_class, config_class, value))
            done.append(auto_class.__name__)
    if done:
        publication.published[model_type] = tuple(done)


def _models(theirs: _Theirs, config_class: type[Any]) -> list[tuple[type[AutoClass[Any]], _Table, Any]]:
    """Return the Auto classes that have a model for a config class and a table there, and what stands in ours."""
    heads = []
    for auto_class in auto_classes(AutoClass):
        table = theirs.models(auto_class.__name__)
        found = None if table is None else candidates_for(auto_class, config_class)
        if table is not None and found is not None:
            heads.append((auto_class, table, found.registration.value))
    return heads


def _is_free(table: _Table, config_class: type[Any], *, exist_ok: bool) -> bool:
    there = table.added.get(config_class)
    ours = isinstance(there, type) and issubclass(there, _PublishedModel)
    return not ours and (there is None or exist_ok)


def _stand_in(auto_class: type[AutoClass[Any]], config_class: type[Any], value: Any) -> type[_PublishedModel]:
    """Return what stands for a model class; it has that class's name, which pipelines compare."""
    first = value[0] if isinstance(value, (list, tuple)) else value
    module, _, name = first.partition(":") if isinstance(first, str) else (first.__module__, "", first.__name__)
    about = {"__module__": module, "auto_class": auto_class, "config_class": config_class}
    return type(name, (_PublishedModel,), about)


def _named(cls: type[Any]) -> str:
    return f"{cls.__module__}.{cls.__qualname__}"


# ---- theirs, for the Auto classes here


@dataclass(frozen=True, slots=True)
class _Configs:
    """Offers config classes of Transformers to `CONFIG_MAPPING`.

    Attributes:
        theirs: The tables of Transformers.
        only: The model types that are offered, or None for all.
    """

    theirs: _Theirs
    only: frozenset[str] | None

    def names(self) -> Iterable[str]:
        """Return the model types; imports nothing."""
        every = {*self.theirs.configs.named, *self.theirs.configs.added} if self.only is None else self.only
        return [each for each in every if self._owner(each) is not None]

    def find(self, model_type: str) -> Registration | None:
        """Return the class of a model type, lazy if it is one of Transformers' own."""
        owner = self._owner(model_type)
        if owner is None:
            return None
        if not isinstance(owner, str):
            return Registration(owner, self.theirs.origin)
        found = Registration(self.theirs.lazy(model_type, owner), self.theirs.origin)
        is_only_name = sum(each == owner for each in self.theirs.configs.named.values()) == 1
        return found if is_only_name else replace(found, name=found.load().model_type)  # as of "gpt-sw3"

    def _owner(self, model_type: str) -> Any:
        """Return the class of a model type, or its name, or None if it is not offered or came from here."""
        offered = self.only is None or model_type in self.only
        owner = self.theirs.owner(model_type) if offered else None
        return None if owner in _published else owner


@dataclass(frozen=True, slots=True)
class _Models:
    """Offers the model classes of one Auto class of Transformers to the one of the same name here.

    Attributes:
        configs: The config classes that are offered.
        table: Transformers' mapping from config classes to model classes.
    """

    configs: _Configs
    table: _Table

    def names(self) -> Iterable[type[Any]]:
        """Return nothing: to list config classes would import every architecture."""
        return ()

    def find(self, config_class: type[Any]) -> Registration | None:
        """Return the model class, or the classes, for a config class, lazy if they are Transformers' own."""
        model_type = str(getattr(config_class, "model_type", ""))
        offered = self.configs.find(model_type)
        if offered is None or not _is_it(config_class, offered):
            return None
        value = self.table.added.get(config_class) or self.table.named.get(model_type)
        if value is None:
            return None
        theirs = self.configs.theirs
        every = tuple(theirs.lazy(model_type, each) if isinstance(each, str) else each for each in _several(value))
        return Registration(every[0] if len(every) == 1 else every, theirs.origin)


def _several(value: Any) -> tuple[Any, ...]:
    return tuple(each for each in value if each is not None) if isinstance(value, (list, tuple)) else (value,)


def _is_it(config_class: type[Any], offered: Registration) -> bool:
    """Whether a class is the one that is offered: by identity, and without importing another one."""
    if not offered.lazy:
        return offered.value is config_class
    return config_class.__module__.startswith("transformers.") and offered.load() is config_class


class Adoption(_Scope):
    """What one call of `adopt` did. As a context manager it takes that back at the end of the block.

    Attributes:
        model_types: The names that are found in Transformers, sorted.
    """

    def __init__(self, configs: _Configs) -> None:
        self._added: list[tuple[Registry[Any, Any], Any]] = []
        self._configs = configs

    @property
    def model_types(self) -> tuple[str, ...]:
        """The names that are found in Transformers, sorted."""
        return tuple(sorted(self._configs.names()))

    def add(self, registry: Registry[Any, Any], provider: Any) -> None:
        """Let a registry ask Transformers for what nobody registered here."""
        registry.add_provider(provider)
        self._added.append((registry, provider))

    def withdraw(self) -> None:
        """Take back what the call added; what was loaded stays usable. A second time does nothing."""
        with _lock:
            while self._added:
                registry, provider = self._added.pop()
                registry.remove_provider(provider)


def adopt(*model_types: str) -> Adoption:
    """Let the Auto classes here find the architectures of Transformers.

    Those that it has built in and those that were registered with it. Nothing of them is imported until a name is
    asked for, and what is registered or announced here goes before them. Their classes stay their own: a config of
    Transformers is read by its own class, and a model loads by its own `from_pretrained`, except that weights which
    its checkpoint should have and lacks are an error.

    Args:
        *model_types: Which ones; all that there are, and will be, if none is named.

    Raises:
        BridgeError: If Transformers is not installed, or in another major version.
        UnknownModelTypeError: If Transformers does not know one of them.

    Example:
        >>> from nameplate_auto import AutoConfig
        >>> with adopt("resnet"):
        ...     type(AutoConfig.for_model("resnet")).__module__
        'transformers.models.resnet.configuration_resnet'
    """
    theirs = _theirs()
    for model_type in model_types:
        if theirs.owner(model_type) is None:
            known = [*theirs.configs.named, *theirs.configs.added]
            message = sentences(f"{theirs.origin} has no model_type {model_type!r}.", did_you_mean(model_type, known))
            raise UnknownModelTypeError(message)
    configs = _Configs(theirs, frozenset(model_types) or None)
    with _lock:
        adoption = Adoption(configs)
        adoption.add(CONFIG_MAPPING, configs)
        for auto_class in auto_classes(AutoClass):
            table = theirs.models(auto_class.__name__)
            if table is not None:
                adoption.add(auto_class.model_mapping, _Models(configs, table))
        return adoption
