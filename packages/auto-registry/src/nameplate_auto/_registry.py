"""`Registry`: names and what they stand for. Knows nothing of configs, models or plugins.

An entry is a value or a lazy text ``"package.module:Name"`` that is imported when somebody asks for that very name.
A registry may have a fallback, asked for names that nobody registered; explicit registrations always win over it.
"""

import importlib
import threading
from collections.abc import Callable, Iterable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar, cast, overload

from nameplate_auto.errors import BrokenPluginError, DuplicateRegistrationError, UnknownModelTypeError
from nameplate_config.wording import did_you_mean, listed, sentences, shown

K = TypeVar("K")
V = TypeVar("V")
Decorated = TypeVar("Decorated")


_DECORATED: Any = object()
"""Stands for a value that is still to be decorated; None may be a value."""


@dataclass(frozen=True, slots=True)
class Registration:
    """What stands under a name, and where it came from.

    Attributes:
        value: The object, or the text ``"package.module:Name"`` of one that is not imported yet.
        origin: Who put it there, for people.
    """

    value: Any
    origin: str

    @property
    def lazy(self) -> bool:
        """Whether the object has still to be imported."""
        return isinstance(self.value, str)

    def load(self) -> Any:
        """Return the object, importing it if need be.

        Raises:
            BrokenPluginError: If the import fails.
        """
        if not self.lazy:
            return self.value
        module, _, attribute = self.value.partition(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except Exception as error:
            message = sentences(
                f"{self.value!r}, registered by {self.origin}, cannot be loaded: {type(error).__name__}: {error}.",
                "Repair or uninstall that package; everything else keeps working.",
            )
            raise BrokenPluginError(message) from error


class Registry(MutableMapping[K, V], Generic[K, V]):
    """A thread-safe mapping from names to values that may still have to be imported.

    Reading behaves as in a dict: ``registry[name]``, ``name in registry``, ``len``, iteration over the names. Only
    reading a value imports anything.

    Args:
        kind: What a name is called in messages, such as ``"model_type"``.
        fallback: Asked for a name that is not registered; returns its registration or None.
        listing: Returns the names that the fallback knows.
        check: Called with ``(name, value)`` before a value is registered and after a lazy one was imported; raises
            if they contradict each other.

    Example:
        >>> shapes = Registry("shape")
        >>> shapes.register("circle", "decimal:Decimal")
        >>> "circle" in shapes, shapes.names()
        (True, ['circle'])
        >>> shapes["circle"].__name__
        'Decimal'
    """

    def __init__(
        self,
        kind: str,
        *,
        fallback: Callable[[K], Registration | None] = lambda _: None,
        listing: Callable[[], Iterable[K]] = tuple,
        check: Callable[[K, Any], None] = lambda _name, _value: None,
    ) -> None:
        self._kind = kind
        self._fallback = fallback
        self._listing = listing
        self._check = check
        self._entries: dict[K, Registration] = {}
        self._lock = threading.RLock()

    # ---- writing

    @overload
    def register(self, name: K, *, exist_ok: bool = False) -> Callable[[Decorated], Decorated]: ...

    @overload
    def register(self, name: K, value: V | str, *, exist_ok: bool = False) -> None: ...

    def register(
        self, name: K, value: V | str = _DECORATED, *, exist_ok: bool = False
    ) -> Callable[[Decorated], Decorated] | None:
        """Register a value, or a lazy ``"package.module:Name"``, under a name; without a value, decorate one.

        Registering the same value again does nothing.

        Args:
            name: The name.
            value: What it stands for.
            exist_ok: Whether to replace a value that is already registered.

        Raises:
            DuplicateRegistrationError: If the name stands for something else and *exist_ok* is false.
            RegistryError: If the name and the value contradict each other. Nothing is changed then.
        """
        if value is _DECORATED:
            return lambda decorated: self._register_decorated(name, decorated, exist_ok=exist_ok)
        if not isinstance(value, str):
            self._check(name, value)
        new = Registration(value, _described(value))
        with self._lock:
            old = self._entries.get(name)
            if old is not None and _same(old, new):
                return None
            if old is not None and not exist_ok:
                message = sentences(
                    f"{self._kind} {_shown_key(name)} is already registered by {old.origin}; {new.origin} asks for it.",
                    "Choose another name, unregister the first one, or pass exist_ok=True to replace it.",
                )
                raise DuplicateRegistrationError(message)
            self._entries[name] = new
        return None

    def _register_decorated(self, name: K, value: Decorated, *, exist_ok: bool) -> Decorated:
        self.register(name, cast("V", value), exist_ok=exist_ok)
        return value

    def unregister(self, name: K) -> None:
        """Remove an explicit registration; what the fallback knows stays known.

        Raises:
            UnknownModelTypeError: If nothing was registered explicitly under the name.
        """
        with self._lock:
            if name in self._entries:
                del self._entries[name]
                return
        raise self._only_announced(name) if name in self else self._unknown(name)

    def clear(self) -> None:
        """Remove every explicit registration; what the fallback knows stays known."""
        with self._lock:
            self._entries.clear()

    @contextmanager
    def override(self, name: K, value: V | str) -> Iterator[None]:
        """Let *name* stand for *value* inside a ``with`` block, then restore what it stood for before."""
        with self._lock:
            before = self._entries.get(name)
            self.register(name, value, exist_ok=True)
        try:
            yield
        finally:
            with self._lock:
                self._entries.pop(name, None)
                if before is not None:
                    self._entries[name] = before

    def __setitem__(self, name: K, value: V) -> None:
        self.register(name, value)

    def __delitem__(self, name: K) -> None:
        self.unregister(name)

    # ---- reading

    def find(self, name: K) -> Registration:
        """Return what stands under a name and where it came from, without importing it.

        Raises:
            UnknownModelTypeError: If nothing does.
        """
        with self._lock:
            entry = self._entries.get(name)
        entry = entry or self._fallback(name)
        if entry is None:
            raise self._unknown(name)
        return entry

    def __getitem__(self, name: K) -> V:
        entry = self.find(name)
        value = entry.load()
        if entry.lazy:
            self._check(name, value)
            with self._lock:
                if self._entries.get(name) is entry:  # nobody replaced it meanwhile
                    self._entries[name] = Registration(value, entry.origin)
        return cast("V", value)

    def __contains__(self, name: object) -> bool:
        key = cast("K", name)
        with self._lock:
            known = key in self._entries
        return known or key in self._listing() or self._fallback(key) is not None

    def names(self) -> list[K]:
        """Return every known name, sorted where names are texts; imports nothing."""
        with self._lock:
            own = list(self._entries)
        every = list(dict.fromkeys([*own, *self._listing()]))
        return sorted(every, key=str)

    def name_of(self, value: V) -> K | None:
        """Return the name under which a value was explicitly registered, by identity, or None."""
        with self._lock:
            entries = list(self._entries.items())
        return next((name for name, entry in entries if entry.value is value), None)

    def __iter__(self) -> Iterator[K]:
        return iter(self.names())

    def __len__(self) -> int:
        return len(self.names())

    def __repr__(self) -> str:
        return f"<Registry of {len(self._entries)} {self._kind} entries>"

    def _unknown(self, name: K) -> UnknownModelTypeError:
        names = [_plain(each) for each in self.names()]
        message = sentences(
            f"{self._kind} {_shown_key(name)} is not registered.",
            did_you_mean(_plain(name), names) or f"Registered: {listed(names)}.",
        )
        return UnknownModelTypeError(message)

    def _only_announced(self, name: K) -> UnknownModelTypeError:
        message = sentences(
            f"{self._kind} {_shown_key(name)} is announced by an installed package; nobody registered it here.",
            "Register another value under the name, which then wins, or uninstall that package.",
        )
        return UnknownModelTypeError(message)


def _same(old: Registration, new: Registration) -> bool:
    """Whether two registrations stand for one thing, also where the older text has been imported since."""
    return old.value is new.value or old.value == new.value or (new.lazy and old.origin == new.origin)


def _plain(name: object) -> str:
    return name.__name__ if isinstance(name, type) else str(name)


def _shown_key(name: object) -> str:
    return name.__name__ if isinstance(name, type) else shown(name)


def _described(value: object) -> str:
    """Say where a value is defined, so that two owners of one name can be told apart."""
    if isinstance(value, str):
        return repr(value)
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{getattr(value, '__module__', '?')}.{name}"
