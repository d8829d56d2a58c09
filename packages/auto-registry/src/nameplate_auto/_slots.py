"""`Slots`: what was put under each name by hand, and under which names a value was put, never out of step.

Reading takes no lock. Writing takes one that all tables share: it is held for a few instructions, and never while
somebody else's code runs other than the hash of a name.
"""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from nameplate_auto._registration import Registration, token_of

K = TypeVar("K")

_lock = threading.RLock()
if hasattr(os, "register_at_fork"):  # a child that is forked while another thread writes could else never write
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@dataclass(slots=True)
class Alias(Generic[K]):
    """Another spelling of a name.

    Attributes:
        target: The name that it stands for, perhaps an alias itself.
        deprecated: Why it should not be used any more, if so.
        warned: Whether somebody was told.
    """

    target: K
    deprecated: str = ""
    warned: bool = field(default=False, compare=False)


class Slots(Generic[K]):
    """A table of registrations and aliases by name, with its inverse; it keeps the values alive that it identifies."""

    def __init__(self) -> None:
        self._table: dict[K, Registration | Alias[K]] = {}
        self._names: dict[object, dict[K, None]] = {}

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Let nobody else write inside a ``with`` block."""
        with _lock:
            yield

    def get(self, name: K) -> Registration | Alias[K] | None:
        """Return what was put under a name, or None."""
        return self._table.get(name)

    def swap(self, name: K, new: Registration | Alias[K] | None) -> Registration | Alias[K] | None:
        """Put something under a name, or nothing, and return what was there."""
        with _lock:
            old = self._table.get(name)
            if isinstance(old, Registration):
                self._forget(name, old)
            if new is None:
                self._table.pop(name, None)
                return old
            self._table[name] = new
            if isinstance(new, Registration):
                self._names.setdefault(token_of(new.value), {})[name] = None
            return old

    def _forget(self, name: K, old: Registration) -> None:
        token = token_of(old.value)
        names = self._names[token]
        del names[name]
        if not names:
            del self._names[token]

    def registered(self) -> dict[K, Registration]:
        """Return every registration by name, in the order in which the names were taken."""
        with _lock:
            return {name: slot for name, slot in self._table.items() if isinstance(slot, Registration)}

    def aliases(self) -> dict[K, Alias[K]]:
        """Return every alias by name."""
        with _lock:
            return {name: slot for name, slot in self._table.items() if isinstance(slot, Alias)}

    def names_of(self, value: object) -> list[K]:
        """Return the names that a value was put under, in time that does not grow with the table."""
        with _lock:
            return list(self._names.get(token_of(value), ()))
