"""Values of configs as JSON that says by itself what they are, for files that outlive the run.

A failure's arguments are read where the architecture may not be at hand, so nothing is imported to read them: a value
whose class has not been imported stays `Unread`, shows as it did, and is written again as it was.
"""

import base64
import math
import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import ModuleType
from typing import Any

from nameplate_config import ConfigError, DType, decode_value, encode_value
from nameplate_config.typing import JSONValue
from nameplate_config.wording import as_code, shown

_PLAIN = (type(None), bool, int, str)
_DTYPE_NAME = type(decode_value("float32", DType))


class Unread:
    """A value that was read from a file and whose class is not imported, or has no codec.

    No dataclass: whoever writes values as code would take it for one of theirs, and shows it as its text instead.

    Attributes:
        text: How the value showed.
        json: The JSON that it was read from.
    """

    __slots__ = ("json", "text")

    def __init__(self, text: str, json: Mapping[str, Any]) -> None:
        self.text = text
        self.json = json

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Unread) and (self.text, self.json) == (other.text, other.json)

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return self.text


def encoded(value: Any) -> JSONValue:
    """Return a value as JSON that `decoded` reads without being told what it was.

    Numbers, texts, lists and dicts with text keys are themselves; whatever else there is becomes an object with one
    key between underscores. A value of a class that no codec of `nameplate_config` knows is kept as its text alone.

    Example:
        >>> encoded({"layers": (1, 2), "scale": float("inf")})
        {'layers': {'__tuple__': [1, 2]}, 'scale': {'__float__': 'inf'}}
    """
    kind = type(value)
    if kind in _PLAIN:
        return value
    if isinstance(value, Unread):
        return dict(value.json)
    if kind is list:
        return [encoded(item) for item in value]
    if kind is dict and all(type(key) is str for key in value) and not _is_tagged(value):
        return {key: encoded(item) for key, item in value.items()}
    if kind in _WRITERS:
        return _WRITERS[kind](value)
    return _object(value)


def decoded(value: JSONValue) -> Any:
    """Return the value that `encoded` wrote.

    Raises:
        ConfigError: If it did not write that.

    Example:
        >>> decoded({"layers": {"__tuple__": [1, 2]}})
        {'layers': (1, 2)}
    """
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not _is_tagged(value):
        return {key: decoded(item) for key, item in value.items()}
    ((tag, inside),) = value.items()
    if tag not in _READERS:
        raise _unknown(value)
    try:
        return _READERS[tag](inside)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise _unknown(value) from error


def _unknown(value: object) -> ConfigError:
    message = f"{shown(value)} is no value that a run writes."
    return ConfigError(message)


def _is_tagged(value: Mapping[str, Any]) -> bool:
    return len(value) == 1 and next(iter(value)).startswith("__")


def _write_float(value: float) -> JSONValue:
    return value if math.isfinite(value) else {"__float__": str(value)}


def _pairs(value: Mapping[Any, Any]) -> JSONValue:
    return [[encoded(key), encoded(item)] for key, item in value.items()]


def _read_pairs(pairs: Any) -> list[tuple[Any, Any]]:
    return [(decoded(key), decoded(item)) for key, item in pairs]


def _sorted(value: Any) -> list[JSONValue]:
    return sorted(map(encoded, value), key=repr)  # the file must not depend on the hash seed


_WRITERS: dict[type, Callable[[Any], JSONValue]] = {
    float: _write_float,
    tuple: lambda value: {"__tuple__": [encoded(item) for item in value]},
    set: lambda value: {"__set__": _sorted(value)},
    frozenset: lambda value: {"__frozenset__": _sorted(value)},
    dict: lambda value: {"__dict__": _pairs(value)},
    OrderedDict: lambda value: {"__ordered__": _pairs(value)},
    bytes: lambda value: {"__bytes__": base64.b64encode(value).decode()},
    complex: lambda value: {"__complex__": [_write_float(value.real), _write_float(value.imag)]},
    _DTYPE_NAME: lambda value: {"__dtype__": str(value)},
}
_READERS: dict[str, Callable[[Any], Any]] = {
    "__float__": float,
    "__tuple__": lambda inside: tuple(map(decoded, inside)),
    "__set__": lambda inside: set(map(decoded, inside)),
    "__frozenset__": lambda inside: frozenset(map(decoded, inside)),
    "__dict__": lambda inside: dict(_read_pairs(inside)),
    "__ordered__": lambda inside: OrderedDict(_read_pairs(inside)),
    "__bytes__": lambda inside: base64.b64decode(inside, validate=True),
    "__complex__": lambda inside: complex(*map(decoded, inside)),
    "__dtype__": lambda inside: decode_value(inside, DType),
}


def _object(value: Any) -> JSONValue:
    kind = type(value)
    written: dict[str, JSONValue] = {"class": f"{kind.__module__}:{kind.__qualname__}", "text": as_code(value)}
    with suppress(Exception):  # whatever the class of a value does, its text is worth keeping
        written["value"] = encode_value(value, kind)
    return {"__object__": written}


def _read_object(written: Mapping[str, Any]) -> Any:
    kind, text = _imported(written["class"]), written["text"]
    if kind is not None and "value" in written:
        with suppress(ConfigError):  # the class has changed since: what was written is still worth showing
            return decode_value(written["value"], kind)
    return Unread(text, {"__object__": dict(written)})


def _imported(name: str) -> type | None:
    """Return a class that a codec knows, if it has been imported: what a file says imports nothing."""
    module, _, path = name.partition(":")
    found: Any = sys.modules.get(module)
    for step in path.split("."):
        found = vars(found).get(step) if isinstance(found, (type, ModuleType)) else None
    return found if isinstance(found, type) and _has_codec(found) else None


def _has_codec(kind: type) -> bool:
    try:
        encode_value(None, kind)
    except ConfigError as error:
        return bool(error.problems)  # it is the value that does not fit, not the class
    return True


_READERS["__object__"] = _read_object
