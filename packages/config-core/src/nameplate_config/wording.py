"""How messages are phrased: shortened values, bounded lists, nearest names.

Shared by every package of the family so that all errors read alike. Only pure functions from values to text.
"""

import cmath
import dataclasses
import difflib
import enum
import math
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import cast

NAMES_LISTED = 5
"""A message never lists more names than this."""

_LONGEST_VALUE = 80
_LONGEST_REASON = 500
_LONGEST_NAME = 200  # comparing a name takes time that grows with its length; nobody mistypes a longer one


def shown(value: object) -> str:
    """Return `repr(value)`, cut to one short line.

    Example:
        >>> shown([1, 2])
        '[1, 2]'
        >>> len(shown("x" * 1000))
        80
    """
    try:
        text = repr(_shortened(value))
    except Exception:  # noqa: BLE001 - a broken __repr__ must not hide the error that is being reported
        text = f"<{type(value).__name__}>"
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"


def _shortened(value: object) -> object:
    """Return a value of which only the beginning is left: the whole of a hostile one takes seconds to write."""
    if isinstance(value, (str, bytes)):
        return value[:_LONGEST_NAME] if type(value) in {str, bytes} else value
    if type(value) in {list, tuple}:
        begun = [_shortened(item) for item in islice(cast("Iterable[object]", value), _LONGEST_VALUE)]
        return begun if isinstance(value, list) else tuple(begun)
    if type(value) is dict:
        return {_shortened(key): _shortened(item) for key, item in islice(value.items(), _LONGEST_VALUE)}
    return value


def plain(name: str) -> str:
    """Return a name as code would write it if it can be one, else as `shown` shows it.

    Example:
        >>> plain("width"), plain("a key")
        ('width', "'a key'")
    """
    return name if name.isidentifier() and len(name) <= _LONGEST_VALUE else shown(name)


def brief(error: BaseException) -> str:
    """Return what an error says, in at most a few lines and without marks that a terminal would obey.

    Example:
        >>> brief(ValueError("too wide"))
        'too wide'
    """
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - whatever an error's own `__str__` raises
        text = "(it cannot be shown)"
    short = text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
    return "".join(mark if mark.isprintable() or mark == "\n" else ascii(mark)[1:-1] for mark in short)


def reason(error: Exception) -> str:
    """Return why somebody else's code failed: what a `ValueError` says, and of others the name as well.

    Example:
        >>> reason(KeyError("width"))
        "KeyError: 'width'"
    """
    return brief(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {brief(error)}"


def as_code(value: object) -> str:
    """Return the Python expression of a value: `repr`, but also for enum members, infinities and NaN.

    Example:
        >>> as_code([1, (float("inf"),)])
        "[1, (float('inf'),)]"
    """
    if isinstance(value, enum.Enum):
        return f"{type(value).__name__}({value.value!r})"
    if isinstance(value, float) and not math.isfinite(value):
        return f"float({str(value)!r})"
    if isinstance(value, complex) and not cmath.isfinite(value):
        return f"complex({as_code(value.real)}, {as_code(value.imag)})"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        given = ((each.name, getattr(value, each.name)) for each in dataclasses.fields(value) if each.init)
        return f"{type(value).__name__}({', '.join(f'{name}={as_code(item)}' for name, item in given)})"
    if isinstance(value, Path):
        return f"Path({value.as_posix()!r})"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_code(key)}: {as_code(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        inside = ", ".join(as_code(item) for item in value)
        return f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    if isinstance(value, (set, frozenset)) and value:
        inside = "{" + ", ".join(sorted(as_code(item) for item in value)) + "}"
        return inside if isinstance(value, set) else f"frozenset({inside})"
    return repr(value)


def listed(names: Iterable[object], *, limit: int = NAMES_LISTED) -> str:
    """Join names for a message, at most *limit* of them, and count the rest.

    Example:
        >>> listed("abcdefg")
        'a, b, c, d, e and 2 more'
        >>> listed([])
        'none'
    """
    every = [str(name) for name in names]
    if not every:
        return "none"
    rest = f" and {len(every) - limit} more" if len(every) > limit else ""
    return ", ".join(every[:limit]) + rest


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that *name* was most likely meant to be, or None.

    Example:
        >>> nearest("num_lables", ["num_labels", "layers"])
        'num_labels'
        >>> nearest("dropout", ["layers"]) is None
        True
        >>> nearest("Relu", ["elu", "relu"])
        'relu'
    """
    if len(name) > _LONGEST_NAME:
        return None
    names = list(known)
    same = (each for each in names if each.casefold() == name.casefold())
    found = difflib.get_close_matches(name, names, n=1, cutoff=0.75)
    return next(same, found[0] if found else None)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence with the nearest known name, or an empty text.

    Example:
        >>> did_you_mean("num_lables", ["num_labels", "layers"])
        "Did you mean 'num_labels'?"
    """
    near = nearest(name, known)
    return f"Did you mean {near!r}?" if near else ""


def with_article(name: str) -> str:
    """Return a name behind its indefinite article.

    Example:
        >>> with_article("Anchor"), with_article("Block")
        ('an Anchor', 'a Block')
    """
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def sentences(*parts: str) -> str:
    r"""Join the parts of a message that are not empty: what failed, then the others, each indented below.

    Example:
        >>> sentences("it failed", "", "do that")
        'it failed\n  do that'
    """
    return "\n  ".join(part for part in parts if part)
