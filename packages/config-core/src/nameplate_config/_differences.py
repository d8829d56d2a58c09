"""What differs between two configs, path by path."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from nameplate_config._containers import ANYTHING
from nameplate_config._fields import MISSING, Field
from nameplate_config._scalars import Codec, Site


def differences(
    here: tuple[Mapping[str, Field], Mapping[str, Any]], there: tuple[Mapping[str, Field], Mapping[str, Any]]
) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """Yield the name of each value that differs, and copies of both; `MISSING` for one that is not there.

    Args:
        here: The fields of one config, and its values with the keys that no field knows.
        there: Those of the other.
    """
    for name in {**here[1], **there[1]}:
        one, other = (_side(fields, values, name) for fields, values in (here, there))
        if one[0] != other[0]:
            yield name, (one[1], other[1])


def _side(fields: Mapping[str, Field], values: Mapping[str, Any], name: str) -> tuple[str, Any]:
    """Return a value as text, which tells 1 from 1.0, and a copy of it."""
    if name not in values:
        return "", MISSING
    codec: Codec = fields[name].codec if name in fields else ANYTHING
    return json.dumps(codec.encode(values[name]), sort_keys=True), codec.convert(values[name], Site(name))
