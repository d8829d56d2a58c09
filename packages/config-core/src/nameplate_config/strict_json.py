"""Strict JSON, both ways: what a config file may be made of, within a budget, and one canonical text.

Stricter than `json` where leniency loses data or time: duplicate keys, `NaN` literals, byte order marks, deep
nesting and endless digits are refused. Knows nothing of configs.
"""

import json
import math
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from nameplate_config.errors import ConfigFileError, NameplateError
from nameplate_config.wording import shown

LARGEST_CONFIG = 4 << 20
"""A config file has at most this many bytes; one with the 21,841 labels of ImageNet-22k has 2.1 million."""

DEEPEST = 64
"""Lists and objects nest at most this deep."""

LONGEST_INTEGER = 20
"""An integer has at most this many digits; 64-bit ones have 19."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How much a file may hold, so that reading it takes less than a second and 64 MiB.

    Attributes:
        keys: Keys in one object.
        values: Values, lists and objects in the whole file.
        objects: Objects in the whole file. Each may become a config, which costs as much as a hundred values.
    """

    keys: int = 50_000
    values: int = 100_000
    objects: int = 5_000


CONFIG_BUDGET = Budget()
"""What a config file may hold."""

_NO_MARKS = bytes(byte for byte in range(256) if byte not in b"[{,:0123456789")
_CONTAINERS = frozenset({dict, list})
_ZEROS = bytes.maketrans(b"123456789", b"000000000")
_TEXT_PATTERN = r'"[^"\\]*+(?:\\(?s:.)[^"\\]*+)*+"?'  # possessive, so that a long text costs no memory
_WORD_OR_TEXT = re.compile(rf"{_TEXT_PATTERN}|[-+.\w]++")
_MARK_OR_TEXT = re.compile(rf"{_TEXT_PATTERN}|[\[\]{{}},]")
_TOO_LONG = b"0" * (LONGEST_INTEGER + 1)


def parse_object(
    data: bytes,
    *,
    where: str,
    error: type[NameplateError] = ConfigFileError,
    budget: Budget = CONFIG_BUDGET,
    values: bool = True,
) -> dict[str, Any]:
    """Parse the bytes of a JSON file whose root is an object.

    Args:
        data: The whole file, UTF-8.
        where: How messages name the file.
        error: The error to raise; its `code` says which rule was broken.
        budget: How much the file may hold.
        values: Whether to look at numbers and depth. A caller that expects a table, and goes through each of its
            values anyway, saves most of the time without.

    Raises:
        ConfigFileError: If the bytes are no such JSON, or exceed a budget of this module.

    Example:
        >>> parse_object(b'{"layers": [1, 2]}', where="config.json")
        {'layers': [1, 2]}
    """
    try:
        return _parsed(data, budget, values=values)
    except _RefusedError as problem:
        refusal = error(f"{where} {problem}.")
        refusal.code = problem.code
        raise refusal from problem.__cause__


def _parsed(data: bytes, budget: Budget, *, values: bool) -> dict[str, Any]:
    text = _decoded(data)
    marks = data.translate(None, _NO_MARKS)  # one look at the whole file, and the rest of the questions at little
    if not _surely_within(marks, budget):
        _check_amount(text, budget)
    try:
        root = _looked_at(text, marks, budget) if values else _reader(budget.keys, objects=True).decode(text)
    except RecursionError:
        _check_amount(text, budget)
        raise
    except json.JSONDecodeError as problem:
        _check_amount(text, budget)  # what nests without end is called so, even if it ends in the middle
        message = f"is not valid JSON: {problem.msg} at line {problem.lineno}, column {problem.colno}"
        raise _RefusedError(message, "syntax") from problem
    except _LiteralError as problem:
        message = f"{problem}{_line_of(text, problem.literal)}"
        raise _RefusedError(message, problem.code) from None
    except ValueError as problem:  # Python's own limit on digits
        message = f"holds an integer of too many digits; at most {LONGEST_INTEGER} are read"
        raise _RefusedError(message, "long-integer") from problem
    if not isinstance(root, dict):
        message = f"must hold a JSON object, found {shown(root)}"
        raise _RefusedError(message, "wrong-root")
    return root


def _looked_at(text: str, marks: bytes, budget: Budget) -> Any:
    """Return what a text says, every number and the depth of every list looked at."""
    # Hooks cost as much as parsing, so each is set only where there may be something for it to find.
    long_integers = _TOO_LONG in marks.translate(_ZEROS)
    root = _reader(budget.keys, numbers=True, long_integers=long_integers).decode(text)
    keys, depth = _extent(root, budget.keys)
    if depth > DEEPEST:
        _check_amount(text, budget)
    if keys != marks.count(b":"):  # a key may stand twice, unless texts have colons
        root = _reader(budget.keys, numbers=True, long_integers=long_integers, objects=True).decode(text)
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
    return _text(value, 0) + "\n"


def readable_text(value: dict[str, Any], *, where: str) -> str:
    """Return the canonical text of a config, made sure that `parse_object` would accept it.

    Raises:
        ConfigFileError: If the text exceeds a budget of this module.
    """
    try:
        text = canonical_text(value)
        if not _surely_within(text.encode().translate(None, _NO_MARKS), CONFIG_BUDGET):
            _check_amount(text, CONFIG_BUDGET)
    except _RefusedError as problem:
        message = f"{where} {problem}."
        raise ConfigFileError(message, code=problem.code) from None
    if len(text) > LARGEST_CONFIG:
        message = f"{where} would have {len(text):,} bytes; at most {LARGEST_CONFIG:,} are read."
        raise ConfigFileError(message, code="too-large")
    return text


# ---- writing

_FLAT = frozenset({type(None), bool, int, float, str})


def _text(value: Any, depth: int) -> str:
    """Return the text of a value whose opening bracket is indented *depth* steps.

    The same text as ``json.dumps(value, indent=2)``, which does not use the C encoder. Here it encodes each
    container that holds no other.
    """
    if not value or not isinstance(value, (dict, list)):
        return _encoder(", ").encode(value)
    if depth >= DEEPEST:
        message = f"nests lists and objects more than {DEEPEST} deep"
        raise _RefusedError(message, "too-deep")
    line = "\n" + "  " * (depth + 1)
    if isinstance(value, list):
        opening, closing, items = "[", "]", value
    else:
        opening, closing, items = "{", "}", value.values()
        if len(value) > CONFIG_BUDGET.keys:
            message = _too_many_keys(len(value), CONFIG_BUDGET.keys)
            raise _RefusedError(message, "too-many-keys")
    if _FLAT.issuperset(map(type, items)):
        body = _encoder("," + line).encode(value)[1:-1]
    elif isinstance(value, list):
        body = ("," + line).join(_text(item, depth + 1) for item in value)
    else:
        quote = _encoder(", ").encode
        body = ("," + line).join(f"{quote(key)}: {_text(item, depth + 1)}" for key, item in value.items())
    return f"{opening}{line}{body}{line[:-2]}{closing}"


@lru_cache(maxsize=DEEPEST + 1)
def _encoder(separator: str) -> json.JSONEncoder:
    return json.JSONEncoder(allow_nan=False, separators=(separator, ": "))


# ---- reading


class _RefusedError(Exception):
    """What is wrong with a file, without its name."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


class _LiteralError(_RefusedError):
    """What is wrong with one number or constant, whose line is found out only now."""

    def __init__(self, message: str, code: str, literal: str) -> None:
        super().__init__(message, code)
        self.literal = literal


class _Reader(json.JSONDecoder):
    """A decoder that refuses what `json` would quietly repair."""

    def __init__(self, most_keys: int, *, numbers: bool, long_integers: bool, objects: bool) -> None:
        super().__init__(
            object_pairs_hook=self._object if objects else None,
            parse_constant=self._constant,
            parse_float=self._float if numbers else None,
            parse_int=self._integer if long_integers else None,
        )
        self._most_keys = most_keys

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        result = dict(pairs)
        if len(pairs) > self._most_keys:
            message = _too_many_keys(len(pairs), self._most_keys)
            raise _RefusedError(message, "too-many-keys")
        if len(result) != len(pairs):
            seen: set[str] = set()
            twice = next(key for key, _ in pairs if key in seen or seen.add(key))
            message = f"has the key {shown(twice)} twice in one object; keep one of them"
            raise _RefusedError(message, "duplicate-key")
        return result

    def _constant(self, name: str) -> NoReturn:
        message = f'holds the literal {name}, which JSON lacks; write {{"__float__": "{name}"}}'
        raise _LiteralError(message, "no-number", name)

    def _float(self, digits: str) -> float:
        value = float(digits)
        if math.isinf(value):
            message = f"holds the number {shown(digits)}, which is beyond the largest float"
            raise _LiteralError(message, "no-number", digits)
        return value

    def _integer(self, digits: str) -> int:
        count = len(digits.lstrip("-"))
        if count > LONGEST_INTEGER:
            message = f"holds an integer of {count:,} digits; at most {LONGEST_INTEGER} are read"
            raise _LiteralError(message, "long-integer", digits)
        return int(digits)


@lru_cache(maxsize=8)
def _reader(most_keys: int, *, numbers: bool = False, long_integers: bool = False, objects: bool = False) -> _Reader:
    return _Reader(most_keys, numbers=numbers, long_integers=long_integers, objects=objects)


def _extent(root: Any, most_keys: int) -> tuple[int, int]:
    """Return the number of keys in all objects, each of which stood before one colon of the text, and the depth."""
    keys, depth, level = 0, 0, [root] if type(root) in _CONTAINERS else []
    while level:
        depth += 1
        below: list[Any] = []
        for value in level:
            items = value
            if type(value) is dict:
                keys += len(value)
                if len(value) > most_keys:
                    message = _too_many_keys(len(value), most_keys)
                    raise _RefusedError(message, "too-many-keys")
                items = value.values()
            if not _CONTAINERS.isdisjoint(map(type, items)):
                below += (each for each in items if type(each) in _CONTAINERS)
        level = below
    return keys, depth


def _too_many_keys(found: int, limit: int) -> str:
    return f"has an object of {found:,} keys; at most {limit:,} are read"


def _decoded(data: bytes) -> str:
    if data.startswith(b"\xef\xbb\xbf"):
        message = "starts with a byte order mark; save it as UTF-8 without one"
        raise _RefusedError(message, "byte-order-mark")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"is not UTF-8: byte {error.start} is {data[error.start]:#04x}"
        raise _RefusedError(message, "not-utf-8") from error


def _surely_within(marks: bytes, budget: Budget) -> bool:
    """Whether a file holds no more than the budget, even if every bracket and comma inside of its texts counted."""
    objects = marks.count(b"{")
    return objects <= budget.objects and objects + marks.count(b"[") + marks.count(b",") <= budget.values


def _check_amount(text: str, budget: Budget) -> None:
    """Count brackets and commas before parsing: the parser itself recurses, and builds whatever it reads."""
    depth = values = objects = 0
    for match in _MARK_OR_TEXT.finditer(text):
        mark = text[match.start()]
        if mark == '"':
            continue
        if mark in "]}":
            depth -= 1
            if depth < 0:  # no JSON: the parser will say where
                return
            continue
        values += 1
        if mark != ",":
            depth += 1
            objects += mark == "{"
        if values > budget.values or objects > budget.objects or depth > DEEPEST:
            raise _too_much(depth, values, budget, line=text.count("\n", 0, match.start()) + 1)


def _too_much(depth: int, values: int, budget: Budget, *, line: int) -> _RefusedError:
    if depth > DEEPEST:
        return _RefusedError(f"nests lists and objects more than {DEEPEST} deep at line {line}", "too-deep")
    what = f"{budget.values:,} values" if values > budget.values else f"{budget.objects:,} objects"
    return _RefusedError(f"holds more than {what}, the last of them at line {line}", "too-many-values")


def _line_of(text: str, literal: str) -> str:
    """Say where a number or constant stands; the first occurrence outside of texts is the one that was read."""
    for match in _WORD_OR_TEXT.finditer(text):
        if match.group() == literal:
            return f" (line {text.count(chr(10), 0, match.start()) + 1})"
    return ""
