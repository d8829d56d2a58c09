"""The labels of a classifier, with Transformers' meaning: `id2label`, and `num_labels` and `label2id` that follow.

Without labels a config has two, `LABEL_0` and `LABEL_1`, unless its class counts them in a field of its own: one
called `num_labels`, or one that `attribute_map` calls so.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from nameplate_config._containers import integer_keys
from nameplate_config._fields import FieldDescriptor, Schema, problems_error, schema_for
from nameplate_config._numbered import Numbered, numbered
from nameplate_config.errors import Problem
from nameplate_config.strict_json import CONFIG_BUDGET
from nameplate_config.wording import listed, shown

LABELS = "id2label"
COUNT = "num_labels"
INVERSE = "label2id"

_COUNT_WITHOUT_LABELS = 2  # Transformers writes no labels for a classifier of two
_MOST_LABELS = CONFIG_BUDGET.keys
_INDEX = re.compile(r"-?[0-9]{1,20}")


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
    if labels is None:
        return _COUNT_WITHOUT_LABELS
    return int(labels) if isinstance(labels, Numbered) else len(labels)


def count_in(schema: Schema, values: Mapping[str, Any]) -> int | None:
    """Return the number of labels that some values set, or None if they set none."""
    found = values.get(counted_by(schema) or COUNT)
    return found if type(found) is int else None


def unnamed(schema: Schema, values: Mapping[str, Any]) -> bool:
    """Whether the labels say nothing: there are none, or those that a config has without any."""
    labels = values.get(LABELS)
    if labels is None:
        return True
    if isinstance(labels, Numbered):
        return labels == _COUNT_WITHOUT_LABELS
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
    if field is None or labels is None or isinstance(labels, Numbered):
        return
    count = values[field]
    if isinstance(count, int) and (len(labels) != count or sorted(labels) != list(range(count))):
        yield Problem(
            LABELS,
            f"one label for each of the {count} classes",
            f"labels for {listed(sorted(labels))}",
            f"Give {field} and {LABELS} together",
        )


class Contradiction(NamedTuple):
    """Two values that say different things: an error in code, a warning in a file.

    Attributes:
        problem: What is wrong.
        instead: What is done if it stood in a file, as Transformers does.
    """

    problem: Problem
    instead: str


def settle(schema: Schema, given: dict[str, Any], *, where: str, from_file: bool) -> Problem | None:
    """Turn `num_labels` and `label2id` into the labels they stand for; return what is wrong with them."""
    if LABELS in given and schema.fields[LABELS].inherited:
        given[LABELS] = _indexed(given[LABELS])
    found: list[Problem | Contradiction | None] = []
    if given.get(INVERSE) is not None and INVERSE not in schema.fields:
        found.append(_from_inverse(given, given[INVERSE]))
    field = counted_by(schema)
    if field is None and given.get(COUNT) is not None:
        found.append(_from_count(given, given[COUNT]))
    elif field is not None and field not in given and isinstance(given.get(LABELS), Mapping):
        given[field] = len(given[LABELS])
    for name in {INVERSE, COUNT} - schema.fields.keys():
        given.pop(name, None)
    for each in found:
        if isinstance(each, Contradiction) and from_file:
            warnings.warn(f"{where or 'The dict'} contradicts itself: {each.instead}", stacklevel=2)
        elif each is not None:
            return each.problem if isinstance(each, Contradiction) else each
    return None


def recount(schema: Schema, labels_of: dict[str, Any], changes: dict[str, Any]) -> None:
    """Let a changed number of labels replace those of a file, and the same number keep them."""
    labels, count = labels_of.get(LABELS), count_in(schema, changes)
    if count is None or not isinstance(labels, Mapping) or not changes.keys().isdisjoint({LABELS, INVERSE}):
        return
    if len(labels) != count:
        del labels_of[LABELS]
    elif counted_by(schema) is None:
        del changes[COUNT]


def _indexed(labels: Any) -> Any:
    """Return labels by integers; tutorials of Transformers count in texts, as its files do."""
    numbers = integer_keys(labels) if isinstance(labels, Mapping) else None
    return labels if numbers is None else dict(zip(numbers, labels.values(), strict=True))


def _from_count(given: dict[str, Any], count: Any) -> Problem | Contradiction | None:
    if type(count) is not int or not 0 <= count <= _MOST_LABELS:
        return Problem(COUNT, f"an int from 0 to {_MOST_LABELS:,}", shown(count))
    labels = given.get(LABELS)
    if isinstance(labels, Mapping) and len(labels) != count:
        given[LABELS] = Numbered(count)
        problem = Problem(COUNT, f"{len(labels)}, the number of labels", shown(count), "Leave it out: it follows.")
        return Contradiction(problem, f"{COUNT} is {count}, which counts; the {len(labels)} labels are dropped.")
    if labels is None:
        given[LABELS] = Numbered(count)
    return None


def _from_inverse(given: dict[str, Any], label2id: Any) -> Problem | Contradiction | None:
    """Set the labels from *label2id* if they are not given; say what is wrong if the two are not inverse."""
    indices = _indices(label2id)
    if indices is None:
        return Problem(INVERSE, "a dict from a str to an int", shown(label2id))
    labels = given.get(LABELS)
    if labels is None:
        given[LABELS] = {index: label for label, index in indices.items()}
        if len(given[LABELS]) < len(label2id):
            return Problem(INVERSE, "another index for each label", shown(label2id))
    elif isinstance(labels, Mapping) and not _agree(labels, indices):
        problem = Problem(INVERSE, f"the inverse of {LABELS}", shown(label2id), "Remove it: it is derived.")
        return Contradiction(problem, f"{INVERSE} is not the inverse of {LABELS}, which counts.")
    return None


def _indices(label2id: Any) -> Mapping[str, int] | None:
    """Return the index of each label; the texts of integers stand for them, as in the tutorials."""
    if not isinstance(label2id, Mapping):
        return None
    kinds = set(map(type, label2id.values()))
    if kinds <= {int}:
        return label2id
    if kinds == {str} and all(map(_INDEX.fullmatch, label2id.values())):
        return {label: int(index) for label, index in label2id.items()}
    return None


def _agree(labels: Mapping[Any, Any], label2id: Mapping[str, int]) -> bool:
    """Whether each label has its index. Two classes may share a label, which then has either index."""
    try:
        if dict(zip(labels.values(), labels, strict=True)) == label2id:
            return True
        named = set(labels.values())
    except TypeError:  # a label that is no text, which is its own problem
        return True
    return named == label2id.keys() and all(labels.get(index) == label for label, index in label2id.items())


class Labels(FieldDescriptor):
    """`id2label`: the labels given, or those that a config has without any."""

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        if config is None:
            return self
        values = vars(config)
        if values.get(LABELS) is None or isinstance(values[LABELS], Numbered):
            count = count_of(schema_for(type(config)), values)
            if count > _MOST_LABELS:
                problem = Problem(LABELS, f"at most {_MOST_LABELS:,} labels", f"{count:,} classes")
                raise problems_error(type(config).__name__, [problem])
            values[LABELS] = numbered(count)  # kept, so that a caller who changes one does not change a copy
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
        if value is None:
            return
        given: dict[str, Any] = {}
        problem = _from_count(given, value)
        if isinstance(problem, Problem):
            raise problems_error(type(config).__name__, [problem])
        if value != count_of(schema, vars(config)):
            setattr(config, LABELS, given[LABELS])


class Inverse:
    """`label2id`: the index of each label."""

    def __get__(self, config: Any, owner: type | None = None) -> Any:
        return self if config is None else inverse(getattr(config, LABELS))

    def __set__(self, config: Any, value: Any) -> None:
        given: dict[str, Any] = {}
        problem = None if value is None else _from_inverse(given, value)
        if isinstance(problem, Problem):
            raise problems_error(type(config).__name__, [problem])
        setattr(config, LABELS, given.get(LABELS))
