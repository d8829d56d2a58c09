"""What a config is given, by a caller as keywords or by a file, and what of it `__init__` takes.

Here values get their fields' own names, lose what merely follows from others, and are restored to their
types. Building the instance belongs to `_config`.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from nameplate_config._codec import Anything
from nameplate_config._fields import Schema, problems_error
from nameplate_config._scalars import InvalidValueError, Site
from nameplate_config.errors import Problem
from nameplate_config.wording import nearest, shown

ANYTHING = Anything()
"""The codec of what no field declares."""

DERIVED = "label2id"
"""The key of a file that follows from `id2label`."""


def stored(schema: Schema, model_type: str, values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return *values* under the fields' own names, without what follows from the class or from others."""
    given = schema.canonical(values, where)
    problem = None
    if model_type and given.pop("model_type", model_type) != model_type:
        found = shown(values["model_type"])
        problem = Problem("model_type", repr(model_type), found, "Load it with AutoConfig instead.")
    elif DERIVED in given and DERIVED not in schema.fields:
        label2id = given.pop(DERIVED)
        problem = _disagreement(given, label2id) if label2id is not None else None
    if problem is not None:
        raise problems_error(schema.owner, [problem], where=where)
    return given


def _disagreement(given: dict[str, Any], label2id: Any) -> Problem | None:
    """Set `id2label` from *label2id* if it is not given; say what is wrong if the two are not inverse."""
    if not isinstance(label2id, Mapping) or any(type(index) is not int for index in label2id.values()):
        return Problem(DERIVED, "a dict from a str to an int", shown(label2id))
    if given.get("id2label") is None:
        given["id2label"] = {index: label for label, index in label2id.items()}
    labels = given["id2label"]
    if not isinstance(labels, Mapping):
        return None  # its own problem
    by_index = {str(index): label for index, label in labels.items()}
    every = {label for label in by_index.values() if isinstance(label, str)}
    if every == label2id.keys() and all(by_index.get(str(i)) == label for label, i in label2id.items()):
        return None
    return Problem(DERIVED, "the inverse of id2label", shown(label2id), "Remove it: it is derived.")


def check_unknown(schema: Schema, unknown: list[str]) -> None:
    """Refuse names that are no fields, unless the class takes `**kwargs`; then say which look misspelt."""
    if not schema.open:
        schema.refuse_unknown(unknown)
    for name in unknown:
        near = nearest(name, schema.known_names())
        if near is not None:
            message = f"{schema.owner} has no field {name!r}; it is kept as an extra. Did you mean {near!r}?"
            warnings.warn(message, stacklevel=4)


def restored(schema: Schema, name: str, value: Any) -> Any:
    """Return a value of a file as what it was before it was saved; one that does not fit is left as it is."""
    codec = schema.fields[name].codec if name in schema.fields else ANYTHING
    try:
        return codec.convert(value, Site(name, from_file=True))
    except InvalidValueError:
        return value


def arguments(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outermost `__init__` can take of *values*, and its defaults, by parameter."""
    defaults = {name: schema.fields[name] for name in schema.own if not schema.fields[name].required}
    given = {name: field.fresh_default() for name, field in defaults.items()}
    given |= {name: value for name, value in values.items() if schema.open or name in schema.own}
    given.pop("self", None)
    return {schema.parameters.get(name, name): value for name, value in given.items()}
