"""Strict JSON, both ways: what a config file may be made of, within a budget, and one canonical text.

Stricter than `json` where leniency loses data or time: duplicate keys, `NaN` literals, byte order marks, deep
nesting and endless digits are refused. Knows nothing of configs.
"""

import json
import re
from typing import Any, NoReturn

from nameplate_config.errors import ConfigFileError, NameplateError
from nameplate_config.wording import shown

LARGEST_CONFIG = 1 << 20
"""A config file has at most this many bytes."""

DEEPEST = 64
"""Lists and objects nest at most this deep."""

LONGEST_INTEGER = 20
"""An integer has at most this many digits; 64-bit ones have 19."""

_BRACKET_OR_STRING = re.compile(r'[\[\]{}]|"(?:[^"\\]|\\.)*"?')

MOST_KEYS = 10_000
"""One object has at most this many keys."""


def parse_object(
    data: bytes, *, where: str, error: type[NameplateError] = ConfigFileError, most_keys: int = MOST_KEYS
) -> dict[str, Any]:
    """Parse the bytes of a JSON file whose root is an object.

    Args:
        data: The whole file, UTF-8.
        where: How messages name the file.
        error: The error to raise.
        most_keys: How many keys one object may have.

    Raises:
        ConfigFileError: If the bytes are no such JSON, or exceed a budget of this module.

    Example:
        >>> parse_object(b'{"layers": [1, 2]}', where="config.json")
        {'layers': [1, 2]}
    """
    try:
        text = _decoded(data)
        _check_depth(text)
        root = _Reader(most_keys).decode(text)
    except json.JSONDecodeError as problem:
        message = f"{where} is not valid JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}."
        raise error(message) from problem
    except _RefusedError as problem:
        message = f"{where} {problem}."
        raise error(message) from None
    if not isinstance(root, dict):
        message = f"{where} must hold a JSON object, found {shown(root)}."
        raise error(message)
    return root


def canonical_text(value: Any) -> str:
    r"""Return the one JSON text of a value: two spaces, ASCII, one line feed at the end.

    The order of keys is the caller's; floats are written so that they come back exactly.

    Example:
        >>> print(canonical_text({"b": 1, "a": "é"}), end="")
        {
          "b": 1,
          "a": "\u00e9"
        }
    """
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def readable_text(value: dict[str, Any], *, where: str) -> str:
    """Return the canonical text of a config, made sure that `parse_object` would accept it.

    Raises:
        ConfigFileError: If the text exceeds a budget of this module.
    """
    text = canonical_text(value)
    if len(text) > LARGEST_CONFIG:
        message = f"{where} would have {len(text):,} bytes; at most {LARGEST_CONFIG:,} are read."
        raise ConfigFileError(message)
    parse_object(text.encode(), where=where)
    return text


class _RefusedError(Exception):
    """What is wrong with a file, without its name."""


class _Reader(json.JSONDecoder):
    """A decoder that refuses what `json` would quietly repair."""

    def __init__(self, most_keys: int) -> None:
        super().__init__(object_pairs_hook=self._object, parse_constant=self._constant, parse_int=self._integer)
        self._most_keys = most_keys

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(pairs) > self._most_keys:
            message = f"has an object of {len(pairs):,} keys; at most {self._most_keys:,} are read"
            raise _RefusedError(message)
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            message = f"has the key {shown(twice)} twice in one object; keep one of them"
            raise _RefusedError(message)
        return result

    def _constant(self, name: str) -> NoReturn:
        message = f'holds the literal {name}, which JSON lacks; write {{"__float__": "{name}"}}'
        raise _RefusedError(message)

    def _integer(self, digits: str) -> int:
        count = len(digits.lstrip("-"))
        if count > LONGEST_INTEGER:
            message = f"holds an integer of {count:,} digits; at most {LONGEST_INTEGER} are read"
            raise _RefusedError(message)
        return int(digits)


def _decoded(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        message = "starts with a byte order mark; save it as UTF-8 without one"
        raise _RefusedError(message)
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte {error.start} is {data[error.start]:#04x}"
        raise _RefusedError(message) from error


def _check_depth(text: str) -> None:
    """Count brackets outside strings before parsing: the parser itself recurses."""
    if text.count("[") + text.count("{") <= DEEPEST:  # cannot be nested deeper than it has brackets
        return
    depth = 0
    for match in _BRACKET_OR_STRING.finditer(text):
        mark = match.group()
        depth += (mark in "[{") - (mark in "]}")
        if depth > DEEPEST:
            message = f"nests lists and objects more than {DEEPEST} deep"
            raise _RefusedError(message)
