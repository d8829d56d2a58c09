"""Fields set by one line of text, as a command line has it: ``width=16,layers=[2, 2],act=gelu``."""

import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any

from nameplate_config._containers import ANYTHING
from nameplate_config._fields import Schema, problems_error
from nameplate_config._scalars import Codec, InvalidValueError, Site
from nameplate_config.errors import ConfigError, Problem
from nameplate_config.wording import shown

_WORDS = {"true": True, "yes": True, "y": True, "false": False, "no": False, "n": False, "none": None, "null": None}
_BRACKETS = {"[": 1, "{": 1, "(": 1, "]": -1, "}": -1, ")": -1}


def read_settings(text: str, schema: Schema, current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values that a line sets, each as its field takes it.

    Args:
        text: ``name=value`` pairs between commas; commas in brackets and quotes belong to the value.
        schema: The fields.
        current: Their present values, which say what an untyped one is.

    Raises:
        ConfigError: If a pair has no name, or a value does not fit.
        UnknownOptionError: If a name is neither a field nor among the current values.
    """
    result: dict[str, Any] = {}
    problems: list[Problem] = []
    for pair in _pairs(text):
        name, sign, value = (part.strip() for part in pair.partition("="))
        if not (name and sign):
            message = f"{shown(pair)} is no setting: write name=value, and commas between them."
            raise ConfigError(message)
        if name not in current:
            schema.refuse_unknown([name])
        field = schema.fields.get(schema.field_name(name))
        try:
            result[name] = _value(value, ANYTHING if field is None else field.codec, name, current.get(name))
        except InvalidValueError as error:
            problems += error.problems
    if problems:
        raise problems_error(schema.owner, problems)
    return result


def _pairs(text: str) -> Iterator[str]:
    """Yield what stands between the commas that are outside of brackets and quotes."""
    depth, quote, start = 0, "", 0
    for position, mark in enumerate(text):
        if quote:
            quote = "" if mark == quote else quote
        elif mark in "\"'":
            quote = mark
        else:
            depth += _BRACKETS.get(mark, 0)
            if mark == "," and depth == 0:
                yield text[start:position]
                start = position + 1
    if text[start:].strip():
        yield text[start:]


def _value(text: str, codec: Codec, name: str, current: Any) -> Any:
    """Return the value of a field that a text means: as JSON where the field takes it, else the text itself."""
    if codec is ANYTHING and isinstance(current, str):
        return text
    candidates: list[Any] = []
    with suppress(ValueError, RecursionError):
        candidates.append(json.loads(text))
    if text.lower() in _WORDS:
        candidates.append(_WORDS[text.lower()])
    refusal: InvalidValueError | None = None
    for candidate in (*candidates, text):
        try:
            return codec.convert(candidate, Site(name, from_file=True))
        except InvalidValueError as error:
            refusal = refusal or error
    assert refusal is not None
    raise refusal
