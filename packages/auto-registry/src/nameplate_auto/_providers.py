"""`Provider`: who is asked for names that nobody registered, and what is remembered of the values that it gave."""

from collections.abc import Hashable, Iterable, Iterator
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from nameplate_auto._registration import Registration
from nameplate_auto.errors import RegistryError

K = TypeVar("K")


class Provider(Protocol[K]):
    """Knows names that nobody registered, such as those that installed packages announce.

    Example:
        >>> from nameplate_auto import Registration, Registry
        >>> class Dates:
        ...     def find(self, name: str) -> Registration | None:
        ...         return Registration("datetime:date", "the calendar") if name == "date" else None
        ...     def names(self) -> list[str]:
        ...         return ["date"]
        >>> Registry("kind", providers=[Dates()])["date"].__name__
        'date'
    """

    def find(self, name: K, /) -> Registration | None:
        """Return what stands under a name, lazy where that saves an import, or None."""
        ...

    def names(self) -> Iterable[K]:
        """Return the names; imports nothing. One that is not listed may still be found."""
        ...


@runtime_checkable
class Announcer(Protocol):
    """A provider that can answer more without loading anything."""

    def knows(self, name: Any, /) -> bool:
        """Whether a name would be found."""
        ...

    def rival(self, name: Any, new: Registration, /) -> str | None:
        """Say who announces a name, if that is something else than what is being registered."""
        ...

    def offers(self, name: Any, known: Registration, /) -> bool:
        """Whether a name still stands for what it stood for when its value was read."""
        ...

    def refresh(self) -> None:
        """Forget what was read."""
        ...


class Provided(Generic[K]):
    """The providers of a registry, in the order in which they are asked, and the values that they gave.

    Args:
        providers: Those to begin with.
    """

    def __init__(self, providers: Iterable[Provider[K]] = ()) -> None:
        self.providers: tuple[Provider[K], ...] = tuple(providers)
        self._given: dict[int, tuple[object, dict[K, tuple[Provider[K], Registration]]]] = {}

    def find(self, name: K) -> tuple[Provider[K], Registration] | None:
        """Return the first provider that knows a name, and what it says."""
        for provider in self.providers:
            found = provider.find(name)
            if found is not None:
                return provider, found
        return None

    def knows(self, name: K) -> bool:
        """Whether a name would be found; asks a provider to find it only if that cannot be told otherwise."""
        return any(_knows(provider, name) for provider in self.providers)

    def names(self) -> Iterator[K]:
        """Yield the names of every provider, some perhaps twice."""
        for provider in self.providers:
            yield from provider.names()

    def rival(self, name: K, new: Registration) -> str | None:
        """Say who else provides a name that is being registered, or None."""
        rivals = (_rival(provider, name, new) for provider in self.providers)
        return next(filter(None, rivals), None)

    def refresh(self) -> None:
        """Let every provider that remembers anything forget it."""
        for provider in self.providers:
            if isinstance(provider, Announcer):
                provider.refresh()

    # ---- values that were given

    def remember(self, name: K, provider: Provider[K], given: Registration, value: object) -> None:
        """Keep in mind under which name a value was given; it is kept alive, as its module keeps it."""
        names = self._given.setdefault(id(value), (value, {}))[1]
        if given.name is not None and given.name != name:
            names.setdefault(given.name, (provider, given))
        names[name] = (provider, given)

    def names_of(self, value: object) -> Iterator[K]:
        """Yield the names under which a value was given and still would be."""
        for name, (provider, given) in dict(self._given.get(id(value), (None, {}))[1]).items():
            if self._still(name, provider, given):
                yield name

    def _still(self, name: K, provider: Provider[K], given: Registration) -> bool:
        for each in self.providers:
            if each is provider:
                return _offers(provider, name, given)
            if _knows(each, name):
                return False  # one that is asked earlier has learnt the name since
        return False


def _knows(provider: Provider[K], name: K) -> bool:
    if isinstance(provider, Announcer):
        return provider.knows(name)
    return _lists(provider, name) or provider.find(name) is not None


def _lists(provider: Provider[Any], name: Hashable) -> bool:
    return name in provider.names()


def _offers(provider: Provider[K], name: K, given: Registration) -> bool:
    if isinstance(provider, Announcer):
        return provider.offers(name, given)
    return _lists(provider, name) or provider.find(name) == given


def _rival(provider: Provider[K], name: K, new: Registration) -> str | None:
    if isinstance(provider, Announcer):
        return provider.rival(name, new)
    if not _lists(provider, name):
        return None
    try:
        found = provider.find(name)
    except RegistryError:
        return "a package that cannot be loaded"
    return None if found is None or found.is_same(new) else found.origin
