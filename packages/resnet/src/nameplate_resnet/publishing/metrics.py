"""What was measured of a model: the record, and `metrics.json` beside a checkpoint, which a training leaves.

Measuring is `evaluation`, showing is `card`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from nameplate_config import Problem, Source
from nameplate_config.files import read_file
from nameplate_config.strict_json import parse_object
from nameplate_config.wording import plain, sentences, shown
from nameplate_resnet.publishing.errors import PublishingError

METRICS_NAME = "metrics.json"
"""The file beside a checkpoint that says what was measured of it."""

_TASK = "image-classification"
_LARGEST = 64 << 10
_EXAMPLE = '{"dataset": {"name": "digits", "split": "test"}, "metrics": {"accuracy": 0.97}}'


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Some numbers that were measured, and on what.

    Attributes:
        task: What the model does, as the Hub calls it.
        dataset: The name of the data.
        split: Which part of it; empty if it has none.
        values: Each number by its name.

    Example:
        >>> Metrics(dataset="digits", split="test", values={"accuracy": 0.97}).as_file()["dataset"]
        {'name': 'digits', 'split': 'test'}
    """

    task: str = _TASK
    dataset: str
    split: str = ""
    values: Mapping[str, float]

    def as_file(self) -> dict[str, Any]:
        """Return what `metrics.json` says."""
        where = {"name": self.dataset, **({"split": self.split} if self.split else {})}
        return {"task": self.task, "dataset": where, "metrics": dict(self.values)}

    def as_model_index(self, model: str) -> list[dict[str, Any]]:
        """Return the same as the card of a model says it, in the words of the Hub."""
        kind = "-".join(self.dataset.lower().split())
        where = {"type": kind, "name": self.dataset, **({"split": self.split} if self.split else {})}
        measured = [{"type": name, "name": name, "value": value} for name, value in self.values.items()]
        return [{"name": model, "results": [{"task": {"type": self.task}, "dataset": where, "metrics": measured}]}]


def read_metrics(source: Source) -> Metrics | None:
    """Return what `metrics.json` beside a checkpoint says, or None if there is no such file.

    Args:
        source: The place of the checkpoint, as `nameplate_config.open_source` answers it.

    Raises:
        PublishingError: If the file is no such record; names every key that is wrong.
    """
    path = source.find(METRICS_NAME, largest=_LARGEST)
    if path is None:
        return None
    where = source.where(METRICS_NAME)
    data = read_file(path, limit=_LARGEST, too_large=PublishingError)
    values = parse_object(data, where=where, error=PublishingError)
    problems = list(_wrong(values))
    if problems:
        message = sentences(f"{where} says not what was measured.", *map(str, problems), f"Write it like {_EXAMPLE}")
        raise PublishingError(message)
    dataset = values["dataset"]
    return Metrics(
        task=values.get("task", _TASK),
        dataset=dataset["name"],
        split=dataset.get("split", ""),
        values={name: float(value) for name, value in values["metrics"].items()},
    )


def _wrong(values: Mapping[str, Any]) -> Iterator[Problem]:
    dataset, metrics = values.get("dataset"), values.get("metrics")
    if not _is_line(values.get("task", "")):
        yield Problem("task", "a text", shown(values["task"]))
    # What else is said of the data is of no concern here.
    said = [dataset.get("name") or None, dataset.get("split", "")] if isinstance(dataset, dict) else [None]
    if not all(map(_is_line, said)):
        yield Problem("dataset", "the name of the data, and its split", shown(dataset))
    if not isinstance(metrics, dict) or not metrics:
        yield Problem("metrics", "at least one number by its name", shown(metrics))
        return
    for name, value in metrics.items():
        if not name or not _is_line(name):
            yield Problem("metrics", "names of one line", shown(name))
        if type(value) not in (int, float) or not math.isfinite(value):
            yield Problem(f"metrics.{plain(name)}", "a number", shown(value))


def _is_line(value: object) -> bool:
    """Whether a value is a text that a card can show in one line."""
    return isinstance(value, str) and value.isprintable()
