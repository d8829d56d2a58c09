"""The labels of a classifier, with Transformers' meaning: `id2label`, and `num_labels` and `label2id` that follow.

Without labels a config has two, `LABEL_0` and `LABEL_1`, unless its class counts them in a field of its own: one
called `num_labels`, or one that `attribute_map` calls so.
"""

import warnings
from collections.abc import Iterator, Mapping
from typing import Any

from nameplate_config._containers import integer_keys
from nameplate_config._fields import FieldDescriptor, Schema, problems_error, schema_for
from nameplate_config.errors import Problem
from nameplate_config.strict_json import CONFIG_BUDGET
from nameplate_config.wording import listed, shown

LABELS = "id2label"
COUNT = "num_labels"
INVERSE = "label2id"

_COUNT_WITHOUT_LABELS = 2  # Transformers writes no labels for a classifier of two
_MOST_LABELS = CONFIG_BUDGET.keys


def numbered(count: int) -> dict[int, str]:
    """Return the labels of classes that nobody named."""
    return {index: f"LABEL_{index}" for index in range(count)}


def counted_by(schema: Schema) -> str | None:
    """Return the field in which a class counts its labels, or None if the labels themselves do."""
    field = schema.field_name(COUNT)
    return field if field in schema.fields else None


def count_of(schema: Schema, values: Mapping[str, Any]) -> int:
    """Return how many labels a config has."""
    field = counted_by(schema)
    if field is not None:
        return int(values[field])
    labels = values.get(LABELS)
    return _COUNT_WITHOUT_LABELS if labels is None else len(labels)


def count_in(schema: Schema, values: Mapping[str, Any]) -> int | None:
    """Return the number of labels that some values set, or None if they set none."""
    found = values.get(counted_by(schema) or COUNT)
    return found if type(found) is int else None


def unnamed(schema: Schema, values: Mapping[str, Any]) -> bool:
    """Whether the labels say nothing: there are none, or those that a config has without any."""
    labels = values.get(LABELS)
    if labels is None:
        return True
    if labels.get(0) != "LABEL_0":  # before making a thousand texts
        return False
    expected = _COUNT_WITHOUT_LABELS if counted_by(schema) is None else count_of(schema, values)
    return len(labels) == expected and labels == numbered(expected)


def inverse(labels: Mapping[int, str]) -> dict[str, int]:
    """Return the index of each label."""
    return dict(zip(labels.values(), labels, strict=True))


def disagreements(schema: Schema, values: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield what is wrong where a class counts its labels and also names them."""
    field, labels = counted_by(schema), values.get(LABELS)
    if field is None or labels is None:
        return
    count = values[field]
    if isinstance(count, int) and (len(labels) != count or sorted(labels) != list(range(count))):
        yield Problem(
            LABELS,
            f"one label for each of the {count} classes",
            f"labels for {listed(sorted(labels))}",
            f"Give {field} and {LABELS} together",
        )


def settle(schema: Schema, given: dict[str, Any], *, where: str) -> Problem | None:
    """Turn `num_labels` and `label2id` into the labels they stand for; return what is wrong with them."""
    problem = None
    if INVERSE in given and INVERSE not in schema.fields:
        label2id = given.pop(INVERSE)
        problem = None if label2id is None else _from_inverse(given, label2id)
    field = counted_by(schema)
    if field is None and COUNT in given:
        return problem or _from_count(given, given.pop(COUNT), where)
    if field is not None and field not in given and isinstance(given.get(LABELS), Mapping):
        given[field] = len(given[LABELS])
    return problem


def _from_count(given: dict[str, Any], count: Any, where: str) -> Problem | None:
    if count is None:
        return None
    if type(count) is not int or not 0 <= count <= _MOST_LABELS:
        return Problem(COUNT, f"an int from 0 to {_MOST_LABELS:,}", shown(count))
    labels = given.get(LABELS)
    if labels is None:
        given[LABELS] = numbered(count)
    elif isinstance(labels, Mapping) and len(labels) != count:
        if not where:
            return Problem(COUNT, f"{len(labels)}, the number of labels", shown(count), "Leave it out: it follows.")
        message = f"{where} says {COUNT}: {count}, but {LABELS} has {len(labels)} labels, which count."
        warnings.warn(message, stacklevel=2)
    return None


def _from_inverse(given: dict[str, Any], label2id: Any) -> Problem | None:
    """Set the labels from *label2id* if they are not given; say what is wrong if the two are not inverse."""
    if not isinstance(label2id, Mapping) or not {int}.issuperset(map(type, label2id.values())):
        return Problem(INVERSE, "a dict from a str to an int", shown(label2id))
    labels = given.get(LABELS)
    if labels is None:
        given[LABELS] = {index: label for label, index in label2id.items()}
    elif isinstance(labels, Mapping):
        numbers = integer_keys(labels)
        if numbers is not None:
            labels = given[LABELS] = dict(zip(numbers, labels.values(), strict=True))
        if inverse_or_none(labels) != label2id and not _agree(labels, label2id):
            return Problem(INVERSE, f"the inverse of {LABELS}", shown(label2id), "Remove it: it is derived.")
    return None


def inverse_or_none(labels: Mapping[Any, Any]) -> dict[Any, Any] | None:
    """Return the inverse of labels that may be anything."""
    try:
        return dict(zip(labels.values(), labels, strict=True))
    except TypeError:
        return None


def _agree(labels: Mapping[Any, Any], label2id: Mapping[str, int]) -> bool:
    """Whether each label has its index. Two classes may share a label, which then has either index."""
    by_index = dict(zip(map(str, labels), labels.values(), strict=True))
    indices = map(str, label2id.values())
    if list(label2id) != list(map(by_index.get, indices)):
        return False
    return len(by_index) == len(label2id) or {each for each in by_index.values() if isinstance(each, str)} == set(
        label2id
    )


class Labels(FieldDescriptor):
    """`id2label`: the labels given, or those that a config has without any."""

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        if config is None:
            return self
        values = vars(config)
        if values.get(LABELS) is None:  # kept, so that a caller who changes one does not change a copy
            values[LABELS] = numbered(count_of(schema_for(type(config)), values))
        return values[LABELS]

    def __set__(self, config: Any, value: Any) -> None:
        vars(config)[LABELS] = value


class Count:
    """`num_labels`: how many labels there are. Setting another number gives the classes numbered labels."""

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        return self if config is None else count_of(schema_for(type(config)), vars(config))

    def __set__(self, config: Any, value: Any) -> None:
        schema = schema_for(type(config))
        field = counted_by(schema)
        if field is not None:
            vars(config)[field] = value
            return
        given: dict[str, Any] = {}
        problem = _from_count(given, value, "")
        if problem is not None:
            raise problems_error(type(config).__name__, [problem])
        if value is not None and value != count_of(schema, vars(config)):
            setattr(config, LABELS, given[LABELS])


class Inverse:
    """`label2id`: the index of each label."""

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        return self if config is None else inverse(getattr(config, LABELS))

    def __set__(self, config: Any, value: Any) -> None:
        given: dict[str, Any] = {}
        problem = None if value is None else _from_inverse(given, value)
        if problem is not None:
            raise problems_error(type(config).__name__, [problem])
        setattr(config, LABELS, given.get(LABELS))
