"""What a registry says when it refuses or warns. Texts only; who is refused is decided elsewhere."""

import sys
import warnings
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any

from nameplate_auto._registration import Registration
from nameplate_auto._slots import Alias
from nameplate_auto.errors import DuplicateRegistrationError, RegistryError, UnknownModelTypeError
from nameplate_config.wording import did_you_mean, listed, sentences, shown

_COMPARED = 30  # names that are compared with a misspelt one; each takes about ten microseconds
_PASSED_ON = frozenset({"nameplate_auto", "nameplate_config", "_collections_abc", "contextlib"})


def plain(name: object) -> str:
    """Return a name as a list shows it: of a class its own."""
    return name.__name__ if isinstance(name, type) else str(name)


def _shown(name: object) -> str:
    return name.__name__ if isinstance(name, type) else shown(name)


def unknown(kind: str, name: object, known: Sequence[object]) -> UnknownModelTypeError:
    """Return the error about a name that nothing stands under."""
    names = [each if type(each) is str else plain(each) for each in known]  # a call for each text takes longer
    message = sentences(
        f"{kind} {_shown(name)} is not registered.",
        suggestion(plain(name), names) or f"Registered: {listed(names)}.",
    )
    return UnknownModelTypeError(message)


def suggestion(name: str, known: Sequence[str]) -> str:
    """Return a sentence with the nearest of many sorted names, or an empty text; compares a bounded number of them.

    Example:
        >>> suggestion("kitten_417", sorted(f"mitten_{number}" for number in range(1000)))
        "Did you mean 'mitten_417'?"
    """
    if len(known) <= _COMPARED:
        return did_you_mean(name, known)
    place, each = bisect_left(known, name), _COMPARED // 3
    by_beginning = known[max(0, place - each) : place + each]
    by_end = [other for other in known if other.endswith(name[-3:])]  # where the beginning is misspelt
    by_end.sort(key=lambda other: abs(len(other) - len(name)))
    return did_you_mean(name, dict.fromkeys([*by_beginning, *by_end[:each]]))


def only_announced(kind: str, name: object) -> UnknownModelTypeError:
    """Return the error about a name that cannot be removed, as nobody registered it."""
    message = sentences(
        f"{kind} {_shown(name)} is announced by an installed package; nobody registered it here.",
        "Register another value under the name, which then wins, or uninstall that package.",
    )
    return UnknownModelTypeError(message)


def nothing_left(kind: str) -> UnknownModelTypeError:
    """Return the error about taking out any entry where there is none."""
    return UnknownModelTypeError(f"no {kind} is registered here, so there is none to take out.")


def duplicate(kind: str, name: object, old: Registration | Alias[Any], new: Registration) -> DuplicateRegistrationError:
    """Return the error about a name that is taken, with the whereabouts of both owners."""
    if isinstance(old, Alias):
        message = sentences(
            f"{kind} {_shown(name)} is an alias of {_shown(old.target)}; {new.origin} asks for it.",
            "Choose another name, unregister the alias, or pass exist_ok=True to replace it.",
        )
        return DuplicateRegistrationError(message)
    message = sentences(
        f"{kind} {_shown(name)} is already registered by {old.origin}; {new.origin} asks for it.",
        old.whereabouts(),
        new.whereabouts(),
        "Choose another name, unregister the first one, or pass exist_ok=True to replace it.",
    )
    return DuplicateRegistrationError(message)


def no_object(kind: str, name: object, text: str) -> RegistryError:
    """Return the error about a lazy text that can name nothing."""
    module, _, attribute = text.rpartition(".")
    example = f"{module}:{attribute}" if ":" not in text and module and attribute.isidentifier() else ""
    message = sentences(
        f"{kind} {_shown(name)} is to stand for {shown(text)}, which names nothing that could be imported.",
        f"Did you mean {shown(example)}?" if example else "Expected a text such as 'package.module:Name'.",
    )
    return RegistryError(message)


def no_alias(kind: str, old: object, new: object, why: str) -> DuplicateRegistrationError:
    """Return the error about an alias that cannot be."""
    message = sentences(f"{kind} {_shown(old)} cannot become an alias of {_shown(new)}: {why}.", "Choose another name.")
    return DuplicateRegistrationError(message)


def no_pickle(kind: str) -> RegistryError:
    """Return the error about a registry that no other process has."""
    message = sentences(
        f"the registry of {kind} entries belongs to this process and has no name that another one could find it by.",
        'Pass home="package.module:NAME" where it is made, or send names and values instead.',
    )
    return RegistryError(message)


def warn_of_rival(kind: str, name: object, new: Registration, rival: str) -> None:
    """Warn that what is being registered hides what somebody announces."""
    message = sentences(
        f"{kind} {_shown(name)} stands for {new.origin} now, not for what {rival} announces.",
        "Pass exist_ok=True if that is meant.",
    )
    warnings.warn(message, stacklevel=level_of_the_caller())


def warn_of_alias(kind: str, name: object, alias: Alias[Any]) -> None:
    """Warn that a name is out of use."""
    message = sentences(f"{kind} {_shown(name)} is deprecated; use {_shown(alias.target)}.", alias.deprecated)
    warnings.warn(message, FutureWarning, stacklevel=level_of_the_caller())


def level_of_the_caller() -> int:
    """Return how many frames above its caller the first one is that belongs to nobody on the way."""
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 - inspect.currentframe is the same, but may be None
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _PASSED_ON:
        level, frame = level + 1, frame.f_back
    return level
