"""`Registration`: what stands under a name, and where it came from. Lazy values are checked and imported here."""

import importlib
import sys
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

from nameplate_auto._provenance import distribution_of, file_of, line_of, module_of, summary_of, title_of
from nameplate_auto.errors import BrokenPluginError
from nameplate_config.wording import listed, sentences


@dataclass(frozen=True, slots=True)
class Registration:
    """What stands under a name, and where it came from.

    Attributes:
        value: The object, or the text ``"package.module:Name"`` of one that is not imported yet.
        origin: Who put it there, for people.
        target: The text that a value was imported from.
        name: The name that it has with whoever announces it, where that is not the name asked for.
        announced_by: Name and version of the distribution that announces it.
        plain: Whether a text is the value itself, not the place of one.

    Example:
        >>> half = Registration("fractions:Fraction", "the documentation")
        >>> half.lazy, half.module, half.line
        (True, 'fractions', None)
        >>> half.load().__name__
        'Fraction'
    """

    value: Any
    origin: str
    target: str = field(default="", compare=False, repr=False)
    name: Any = field(default=None, compare=False, repr=False)
    announced_by: str = field(default="", compare=False, repr=False)
    plain: bool = field(default=False, compare=False, repr=False)

    @property
    def lazy(self) -> bool:
        """Whether the object, or one of several, has still to be imported."""
        return not self.plain and any(isinstance(each, str) for each in _several(self.value))

    @property
    def module(self) -> str:
        """The module that defines the object, or the class that it is of; of several objects the first one's."""
        first = _several(self.value)[0]
        return first.partition(":")[0] if isinstance(first, str) and not self.plain else module_of(first)

    @property
    def file(self) -> str | None:
        """The file of that module, or None if it has none or cannot be found without importing anything."""
        return file_of(self.module)

    @property
    def line(self) -> int | None:
        """The line on which the object is defined, or None if it is not imported or that cannot be told."""
        return None if self.lazy else line_of(_several(self.value)[0])

    @property
    def doc(self) -> str:
        """The first line of the object's docstring, empty if it is not imported."""
        return "" if self.lazy else summary_of(_several(self.value)[0])

    @property
    def distribution(self) -> str | None:
        """Name and version of the installed distribution that announces or holds the object, or None."""
        return self.announced_by or distribution_of(self.module)

    def load(self) -> Any:
        """Return the object, or the several that it is, importing what has to be.

        Raises:
            BrokenPluginError: If the import fails.
        """
        if not self.lazy:
            return self.value
        objects = tuple(self._imported(each) if isinstance(each, str) else each for each in _several(self.value))
        return objects if isinstance(self.value, tuple) else objects[0]

    def _imported(self, text: str) -> Any:
        module, _, attributes = text.partition(":")
        try:
            return reduce(getattr, attributes.split("."), importlib.import_module(module))
        except (Exception, SystemExit) as error:  # whatever it does at import
            message = sentences(
                f"{text!r}, registered by {self.origin}, cannot be loaded: {type(error).__name__}: {error}.",
                "Repair or uninstall that package; everything else keeps working.",
            )
            raise BrokenPluginError(message) from error

    def loaded(self, value: Any) -> "Registration":
        """Return the registration of what this lazy one was imported as."""
        target = self.value if isinstance(self.value, str) else ""
        return Registration(value, self.origin, target, self.name, self.announced_by)

    def is_same(self, other: "Registration") -> bool:
        """Whether both stand for one object, or for the same ones, as far as that can be told without an import."""
        if self.plain:
            return token_of(self.value) == token_of(other.value)
        mine, theirs = _parts(self), _parts(other)
        return (
            isinstance(self.value, tuple) == isinstance(other.value, tuple)
            and len(mine) == len(theirs)
            and all(map(_is_one, mine, theirs))
        )

    def whereabouts(self) -> str:
        """Say in which file the object is and which distribution installed it."""
        file, distribution = self.file, self.distribution
        where = f"in {file}" if file else "in no file that can be found"
        return f"{self.origin} is {where}, of {distribution or 'no installed distribution'}."


def of_value(value: Any, *, plain: bool = False) -> Registration:
    """Return the registration of what somebody registers here.

    Args:
        value: The object or its lazy text.
        plain: Whether a text is the value itself.
    """
    titles = (repr(each) if isinstance(each, str) else title_of(each) for each in _several(value))
    return Registration(value, listed(titles), plain=plain)


def token_of(value: object) -> object:
    """Return what identifies a value as long as it is alive: of a text the text, else the very object."""
    return value if type(value) is str else id(value)


def _parts(entry: Registration) -> list[tuple[Any, str]]:
    """Return the objects that an entry stands for, each with the text that it was imported from."""
    return [(each, entry.target) for each in _several(entry.value)]


def _several(value: Any) -> tuple[Any, ...]:
    """Return the objects that a value stands for: those in a tuple, else itself."""
    return value if isinstance(value, tuple) and value else (value,)


def _is_one(mine: tuple[Any, str], theirs: tuple[Any, str]) -> bool:
    """Whether two objects, each with the text that it was imported from, are one; either may be such a text."""
    (one, text), (other, other_text) = mine, theirs
    if one is other:
        return True
    if isinstance(one, str) and isinstance(other, str):
        return one == other
    if isinstance(one, str):
        return one == other_text or stands_for(one, other)
    return isinstance(other, str) and (text == other or stands_for(other, one))


def stands_for(text: str, value: object) -> bool:
    """Whether a lazy text stands for an object: by identity if its module is imported, and until then by name.

    Example:
        >>> import os
        >>> stands_for("os:path", os.path), stands_for("os:sep", os.path)
        (True, False)
    """
    module, _, attributes = text.partition(":")
    try:
        return reduce(getattr, attributes.split("."), sys.modules.get(module)) is value
    except Exception:  # noqa: BLE001 - whatever a module's own look-up does; perhaps it is being imported, and this is the decorator of the class
        return (getattr(value, "__module__", None), getattr(value, "__qualname__", None)) == (module, attributes)


def names_an_object(text: str) -> bool:
    """Whether a text has the form ``"package.module:Name"``.

    Example:
        >>> names_an_object("kites.models:Kite"), names_an_object("kites.models.Kite")
        (True, False)
    """
    parts = text.split(":")
    return len(parts) == len(("module", "name")) and all(_is_dotted(part) for part in parts)


def _is_dotted(text: str) -> bool:
    return all(part.isidentifier() for part in text.split("."))
