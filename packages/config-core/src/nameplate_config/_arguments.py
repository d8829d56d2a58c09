"""What a config is given, by a caller as keywords or by a file, and what of it `__init__` takes.

Here values get their fields' own names, lose what merely follows from others, and are restored to their
types. Building the instance belongs to `_instance`.
"""

import warnings
from collections.abc import Mapping
from typing import Any

from nameplate_config._containers import ANYTHING
from nameplate_config._fields import Schema, problems_error
from nameplate_config._labels import settle
from nameplate_config._scalars import InvalidValueError, Site
from nameplate_config.errors import Problem
from nameplate_config.wording import nearest, shown


def stored(
    schema: Schema, model_type: str, values: Mapping[str, Any], *, where: str = "", from_file: bool = False
) -> dict[str, Any]:
    """Return *values* under the fields' own names, without what follows from the class or from others.

    Raises:
        ConfigError: If the values are of another architecture, or two of them contradict each other.
    """
    given = schema.canonical(values, where)
    if model_type and given.pop("model_type", model_type) != model_type:
        found = shown(values["model_type"])
        problem = Problem("model_type", repr(model_type), found, "Load it with AutoConfig instead.")
        raise problems_error(schema.owner, [problem], where=where, code="wrong-model-type")
    if "torch_dtype" in given and "torch_dtype" not in schema.fields:
        torch_dtype = given.pop("torch_dtype")  # what Transformers called `dtype` before version 5
        if given.get("dtype") is None:
            given["dtype"] = torch_dtype
    problem = settle(schema, given, where=where, from_file=from_file)
    if problem is not None:
        raise problems_error(schema.owner, [problem], where=where)
    return given


def check_unknown(schema: Schema, unknown: list[str]) -> None:
    """Refuse names that are no fields, unless the class takes `**kwargs`; then say which look misspelt."""
    if not schema.open:
        schema.refuse_unknown(unknown)
    for name in unknown:
        near = nearest(name, schema.known_names())
        if near is not None:
            message = f"{schema.owner} has no field {name!r}; it is kept as an extra. Did you mean {near!r}?"
            warnings.warn(message, stacklevel=4)


Tried = Mapping[str, tuple[Problem, ...]]
"""What is wrong with each value of a file that was restored before `__init__` ran; nothing with those that fit."""


def restored(schema: Schema, values: Mapping[str, Any]) -> tuple[dict[str, Any], Tried]:
    """Return values of a file as what they were before they were saved, and what is wrong with each.

    One that does not fit is left as it is: it will be reported along with every other problem.
    """
    result = dict(values)
    problems: dict[str, tuple[Problem, ...]] = {}
    for name, value in values.items():
        codec = schema.fields[name].codec if name in schema.fields else ANYTHING
        try:
            result[name] = codec.convert(value, Site(name, from_file=True))
            problems[name] = ()
        except InvalidValueError as error:
            problems[name] = error.problems
    return result, problems


def arguments(schema: Schema, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the outermost `__init__` can take of *values*, and its defaults, by parameter."""
    defaults = {name: schema.fields[name] for name in schema.own if not schema.fields[name].required}
    given = {name: field.fresh_default() for name, field in defaults.items()}
    given |= {name: value for name, value in values.items() if schema.open or name in schema.own}
    given.pop("self", None)
    return {schema.parameters.get(name, name): value for name, value in given.items()}
