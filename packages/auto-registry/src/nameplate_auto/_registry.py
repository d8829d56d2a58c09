"""`Registry`: names and what they stand for. Knows nothing of configs, models or packages.

An entry is a value or a lazy text ``"package.module:Name"`` that is imported when somebody asks for that very name.
A registry may have providers, asked in their order for names that nobody registered; explicit registrations win.
"""

import fnmatch
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from contextlib import contextmanager, suppress
from typing import Any, Generic, Self, TypeVar, cast, overload

from nameplate_auto import _refusals as refusals
from nameplate_auto._providers import Provided, Provider
from nameplate_auto._registration import Registration, names_an_object, of_value, stands_for
from nameplate_auto._slots import Alias, Slots
from nameplate_auto.errors import DuplicateRegistrationError, UnknownModelTypeError

K = TypeVar("K")
V = TypeVar("V")
Decorated = TypeVar("Decorated")


_ABSENT: Any = object()
"""Stands for a value that is not given; None may be one."""

_GONE: Any = object()
"""Stands for a value that another thread took out."""


class Registry(MutableMapping[K, V], Generic[K, V]):
    """A thread-safe mapping from names to values that may still have to be imported.

    Reading behaves as in a dict: ``registry[name]``, ``name in registry``, ``len``, iteration over the names. Only
    reading a value imports anything. An alias, and a name with that of its distribution in front, are other spellings
    of a name: they are contained and can be read, but a name is listed and counted once.

    Args:
        kind: What a name is called in messages, such as ``"model_type"``.
        providers: Asked in their order for a name that nobody registered.
        check: Called with ``(name, value)`` before a value is registered and after a lazy one was imported; raises
            if they contradict each other.
        check_name: Called with a name before anything is registered under it; raises if it can be none.
        lazy: Whether a text stands for an object to be imported; if not, a text is a value like any other.
        home: The place of the registry, ``"package.module:NAME"``, by which a pickle finds it in another process.

    Example:
        >>> shapes = Registry("shape")
        >>> shapes.register("circle", "decimal:Decimal")
        >>> "circle" in shapes, shapes.names()
        (True, ['circle'])
        >>> shapes["circle"].__name__
        'Decimal'
        >>> shapes.name_of(shapes["circle"])
        'circle'
    """

    def __init__(
        self,
        kind: str,
        *,
        providers: Iterable[Provider[K]] = (),
        check: Callable[[K, Any], None] = lambda _name, _value: None,
        check_name: Callable[[K], None] = lambda _name: None,
        lazy: bool = True,
        home: str = "",
    ) -> None:
        self._kind = kind
        self._check = check
        self._check_name = check_name
        self._lazy = lazy
        self._home = home
        self._slots: Slots[K] = Slots()
        self._provided: Provided[K] = Provided(providers)

    # ---- writing

    @overload
    def register(self, name: K, *, exist_ok: bool = False) -> Callable[[Decorated], Decorated]: ...

    @overload
    def register(self, name: K, value: V | str, *, exist_ok: bool = False) -> None: ...

    def register(
        self, name: K, value: V | str = _ABSENT, *, exist_ok: bool = False
    ) -> Callable[[Decorated], Decorated] | None:
        """Register a value, or a lazy ``"package.module:Name"``, under a name; without a value, decorate one.

        Registering the same value again does nothing. What is registered goes before what an installed package
        announces under the name, with a warning that names both unless they are the same or *exist_ok* is true.

        Args:
            name: The name.
            value: What it stands for.
            exist_ok: Whether to replace a value that is already registered.

        Raises:
            DuplicateRegistrationError: If the name stands for something else and *exist_ok* is false.
            RegistryError: If the name and the value contradict each other. Nothing is changed then.
        """
        if value is _ABSENT:
            return lambda decorated: self._decorate(name, decorated, exist_ok=exist_ok)
        self._put(name, self._new(name, value), exist_ok=exist_ok)
        return None

    def _decorate(self, name: K, value: Decorated, *, exist_ok: bool) -> Decorated:
        self.register(name, cast("V", value), exist_ok=exist_ok)
        return value

    def _new(self, name: K, value: Any) -> Registration:
        self._check_name(name)
        for each in value if isinstance(value, tuple) else (value,):
            if self._lazy and isinstance(each, str) and not names_an_object(each):
                raise refusals.no_object(self._kind, name, each)
        if not (self._lazy and isinstance(value, str)):
            self._check(name, value)
        return of_value(value, plain=not self._lazy)

    def _put(self, name: K, new: Registration, *, exist_ok: bool) -> None:
        while True:
            old = self._slots.get(name)
            is_same = isinstance(old, Registration) and old.is_same(new)  # may import, so no lock is held
            after = new if old is None or exist_ok else old
            if isinstance(old, Registration) and is_same:
                after = old.loaded(new.value) if old.lazy and not new.lazy else old
            with self._slots.writing():
                if self._slots.get(name) is old:  # else another thread was faster
                    if after is not old:
                        self._slots.swap(name, after)
                    break
        if after is old and not is_same:
            raise refusals.duplicate(self._kind, name, cast("Registration", old), new)
        if old is None and not exist_ok:
            self._warn_of_rivals(name, new)

    def _warn_of_rivals(self, name: K, new: Registration) -> None:
        rival = self._provided.rival(name, new)
        if rival is None:
            return
        try:
            refusals.warn_of_rival(self._kind, name, new, rival)
        except Warning:  # where warnings are errors, this one refuses the registration
            with self._slots.writing():
                if self._slots.get(name) is new:
                    self._slots.swap(name, None)
            raise

    def unregister(self, name: K) -> None:
        """Remove an explicit registration or an alias; what a provider knows stays known.

        Raises:
            UnknownModelTypeError: If nothing was registered explicitly under the name.
        """
        if self._slots.swap(name, None) is None:
            raise self._absent(name)

    def clear(self) -> None:
        """Remove every explicit registration and alias; what a provider knows stays known."""
        with self._slots.writing():
            for name in [*self._slots.registered(), *self._slots.aliases()]:
                self._slots.swap(name, None)

    @contextmanager
    def override(self, name: K, value: V | str) -> Iterator[None]:
        """Let *name* stand for *value* inside a ``with`` block, then restore what it stood for before.

        It does so for every thread, and without a warning: a block says that it is meant.
        """
        before = self._slots.swap(name, self._new(name, value))
        try:
            yield
        finally:
            self._slots.swap(name, before)

    def alias(self, old: K, new: K, *, deprecated: str = "") -> None:
        """Let *old* be another spelling of *new*.

        Args:
            old: The other spelling, which nothing may stand under.
            new: A name that is known; perhaps an alias itself.
            deprecated: Why or since when *old* should not be used: the first read then warns and names *new*.

        Raises:
            UnknownModelTypeError: If *new* is not known.
            DuplicateRegistrationError: If *old* is taken, or the same as *new*.

        Example:
            >>> numbers = Registry("number")
            >>> numbers.register("fraction", "fractions:Fraction")
            >>> numbers.alias("ratio", "fraction")
            >>> numbers["ratio"].__name__, "ratio" in numbers, numbers.names()
            ('Fraction', True, ['fraction'])
        """
        self._check_name(old)
        if old == new:
            raise refusals.no_alias(self._kind, old, new, "it is the same name")
        if new not in self:
            raise self._unknown(new)
        wanted, is_announced = Alias(new, deprecated), self._provided.knows(old)
        with self._slots.writing():
            present = self._slots.get(old)
            if present == wanted:
                return
            is_free = present is None and not is_announced
            if is_free:
                self._slots.swap(old, wanted)
        if not is_free:
            raise refusals.no_alias(self._kind, old, new, f"it stands for {self._owner(old)} already")

    def aliases(self) -> dict[K, K]:
        """Return the name that each alias stands for."""
        return {name: alias.target for name, alias in self._slots.aliases().items()}

    def add_provider(self, provider: Provider[K]) -> None:
        """Ask one more provider, after those that are asked already; a second time does nothing."""
        with self._slots.writing():
            if not any(each is provider for each in self._provided.providers):
                self._provided.providers += (provider,)

    def remove_provider(self, provider: Provider[K]) -> None:
        """Ask a provider no longer; one that is not asked is no error."""
        with self._slots.writing():
            kept = (each for each in self._provided.providers if each is not provider)
            self._provided.providers = tuple(kept)

    def refresh(self) -> None:
        """Let the providers look again: at packages that were installed or replaced while the program runs."""
        self._provided.refresh()

    def __setitem__(self, name: K, value: V) -> None:
        self.register(name, value)

    def __delitem__(self, name: K) -> None:
        self.unregister(name)

    def pop(self, name: K, default: Any = _ABSENT) -> Any:
        """Take an explicit registration out and return its value, or *default* if the name is not known.

        Raises:
            UnknownModelTypeError: If only a provider knows the name, or nobody does and there is no *default*.
        """
        while (slot := self._slots.get(name)) is not None:
            value = self[name]
            with self._slots.writing():
                now = self._slots.get(name)
                if now is slot or (isinstance(now, Registration) and now.value is value):
                    self._slots.swap(name, None)
                    return value
        if default is _ABSENT or self._provided.knows(name):
            raise self._absent(name)
        return default

    def popitem(self) -> tuple[K, V]:
        """Take out what was registered last and return it with its name; what a provider knows stays.

        Raises:
            UnknownModelTypeError: If nothing is registered explicitly.
        """
        for name in reversed(self._slots.registered()):
            value = self.pop(name, _GONE)
            if value is not _GONE:  # else another thread took it
                return name, value
        raise refusals.nothing_left(self._kind)

    def update(self, other: Any = (), /, **more: Any) -> None:
        """Register every entry of a mapping, or of pairs; of a registry what was registered, without importing it."""
        if isinstance(other, Registry):
            for name, entry in other.registered().items():
                self._check_name(name)
                if not entry.lazy:
                    self._check(name, entry.value)
                self._put(name, entry, exist_ok=False)
            other = ()
        super().update(other, **more)

    def setdefault(self, name: K, default: V = _ABSENT) -> V:
        """Return the value under a name, having registered *default* if nothing was.

        Threads that race all return the value of the one that was first.
        """
        if name not in self and default is not _ABSENT:
            with suppress(DuplicateRegistrationError):
                self.register(name, default)
        return self[name]

    # ---- reading

    def find(self, name: K) -> Registration:
        """Return what stands under a name and where it came from, without importing it.

        Raises:
            UnknownModelTypeError: If nothing does.
            DuplicateRegistrationError: If two packages announce the name.
        """
        target, entry, _ = self._resolved(name)
        if entry is not None:
            return entry
        found = self._provided.find(target)
        if found is None:
            raise self._unknown(name)
        return found[1]

    def _resolved(self, name: K) -> tuple[K, Registration | None, list[tuple[K, Alias[K]]]]:
        """Return the name at the end of the aliases, what was registered under it, and the aliases on the way."""
        passed: list[tuple[K, Alias[K]]] = []
        slot = self._slots.get(name)
        while isinstance(slot, Alias) and slot.target not in [each for each, _ in passed]:
            passed.append((name, slot))
            name = slot.target
            slot = self._slots.get(name)
        return name, slot if isinstance(slot, Registration) else None, passed

    def __getitem__(self, name: K) -> V:
        target, entry, passed = self._resolved(name)
        for each, alias in passed:
            self._warn_once(each, alias)
        if entry is None:
            return self._given(name, target)
        value = entry.load()
        return cast("V", self._settled(target, entry, value) if entry.lazy else value)

    def _given(self, name: K, target: K) -> V:
        """Return the value that a provider has under a name."""
        found = self._provided.find(target)
        if found is None:
            raise self._unknown(name)
        provider, given = found
        value = given.load()
        self._check(target if given.name is None else given.name, value)
        with self._slots.writing():
            self._provided.remember(target, provider, given, value)
        return cast("V", value)

    def _settled(self, name: K, entry: Registration, value: Any) -> Any:
        """Put what a lazy entry was imported as in its place, unless somebody replaced it meanwhile."""
        self._check(name, value)
        with self._slots.writing():
            now = self._slots.get(name)
            if now is entry:
                self._slots.swap(name, entry.loaded(value))
            elif isinstance(now, Registration) and now.target == entry.value:
                return now.value  # another thread imported it first
        return value

    def _warn_once(self, name: K, alias: Alias[K]) -> None:
        with self._slots.writing():
            first = bool(alias.deprecated) and not alias.warned
            alias.warned = alias.warned or first
        if not first:
            return
        try:
            refusals.warn_of_alias(self._kind, name, alias)
        except Warning:  # where warnings are errors, it is one every time
            alias.warned = False
            raise

    def __contains__(self, name: object) -> bool:
        target, entry, _ = self._resolved(cast("K", name))
        return entry is not None or self._provided.knows(target)

    def names(self, pattern: str = "*") -> list[K]:
        """Return every known name that matches a pattern, sorted; imports nothing.

        Args:
            pattern: Letters, ``*``, ``?`` and ``[…]`` as in the names of files; of a class its name is compared.

        Example:
            >>> numbers = Registry("number", lazy=False)
            >>> numbers.update({"pi": "3.14", "phi": "1.62", "e": "2.72"})
            >>> numbers.names("p*")
            ['phi', 'pi']
        """
        every = sorted(dict.fromkeys([*self._slots.registered(), *self._provided.names()]), key=str)
        if pattern == "*":
            return every
        matches = re.compile(fnmatch.translate(pattern)).match
        return [name for name in every if matches(refusals.plain(name))]

    def registered(self) -> dict[K, Registration]:
        """Return what was registered explicitly, in that order and without aliases; imports nothing."""
        return self._slots.registered()

    def name_of(self, value: V) -> K | None:
        """Return the name that a value was registered or announced under, by identity, or None.

        Of several names the first in the alphabet. An announced value is known once it was read here.
        """
        names = [*self._slots.names_of(value), *self._names_by_text(value)] or self._names_given(value)
        return min(names, key=str, default=None)

    def _names_by_text(self, value: object) -> list[K]:
        """Return the names whose lazy text stands for a value that somebody else imported."""
        text = f"{getattr(value, '__module__', '')}:{getattr(value, '__qualname__', '')}"
        if not self._lazy or isinstance(value, str) or not stands_for(text, value):
            return []
        return self._slots.names_of(text)

    def _names_given(self, value: object) -> list[K]:
        """Return the name that a provider gave a value under: its own one if that is enough to find it."""
        return [name for name in self._provided.names_of(value) if self._slots.get(name) is None][:1]

    def __iter__(self) -> Iterator[K]:
        return iter(self.names())

    def __len__(self) -> int:
        return len({*self._slots.registered(), *self._provided.names()})

    def __repr__(self) -> str:
        return f"<Registry of {len(self._slots.registered())} {self._kind} entries>"

    def _unknown(self, name: K) -> UnknownModelTypeError:
        return refusals.unknown(self._kind, name, self.names())

    def _absent(self, name: K) -> UnknownModelTypeError:
        is_announced = self._provided.knows(name)
        return refusals.only_announced(self._kind, name) if is_announced else self._unknown(name)

    def _owner(self, name: K) -> str:
        """Say what stands under a name that is taken, without loading anything."""
        slot = self._slots.get(name)
        if isinstance(slot, Alias):
            return f"{refusals.plain(slot.target)!r}"
        return "what an installed package announces" if slot is None else slot.origin

    # ---- copies

    def copy(self) -> "Registry[K, V]":
        """Return a registry of its own with the same entries, aliases and providers; imports nothing."""
        new: Registry[K, V] = Registry(
            self._kind,
            providers=self._provided.providers,
            check=self._check,
            check_name=self._check_name,
            lazy=self._lazy,
        )
        with self._slots.writing():
            for name, slot in [*self._slots.registered().items(), *self._slots.aliases().items()]:
                new._slots.swap(name, slot)
        return new

    __copy__ = copy

    def __deepcopy__(self, _memo: dict[int, Any]) -> "Registry[K, V]":
        """Return what a pickle would restore, or else a copy: what is registered is shared, not copied."""
        return self if self._home else self.copy()

    def __or__(self, other: Mapping[K, V]) -> "Registry[K, V]":
        """Return a copy with the entries of another mapping; a name of both must stand for the same."""
        new = self.copy()
        new.update(other)
        return new

    def __ior__(self, other: Mapping[K, V]) -> Self:
        self.update(other)
        return self

    def __reduce__(self) -> tuple[Callable[[Registration], Any], tuple[Registration]]:
        """Pickle as the registry at the same place in the other process."""
        if not self._home:
            raise refusals.no_pickle(self._kind)
        return Registration.load, (Registration(self._home, "a pickle"),)
