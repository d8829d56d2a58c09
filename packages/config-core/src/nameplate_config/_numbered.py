"""Labels that nobody named: kept as their number, and made only when somebody looks at them.

A file of five hundred bytes can ask for a million of them.
"""

from collections.abc import Mapping
from typing import Any

from nameplate_config._containers import INTEGER, TEXT, MappingCodec
from nameplate_config._scalars import Site
from nameplate_config._unions import OptionalCodec
from nameplate_config.typing import JSONValue


class Numbered(int):
    """The number of labels that nobody named, where the labels would stand."""

    __slots__ = ()


def numbered(count: int) -> dict[int, str]:
    """Return the labels of classes that nobody named."""
    return {index: f"LABEL_{index}" for index in range(count)}


def as_labels(value: Mapping[int, str] | Numbered) -> Mapping[int, str]:
    """Return the labels that a config keeps in one form or the other."""
    return numbered(value) if isinstance(value, Numbered) else value


class LabelsMark:
    """The mark of the field that holds labels."""


class LabelsCodec(OptionalCodec):
    """The codec of labels: a dict from indices to texts, None, or the number of labels that nobody named."""

    def __init__(self) -> None:
        super().__init__(MappingCodec(INTEGER, TEXT))

    def convert(self, value: Any, site: Site) -> Any:
        return value if type(value) is Numbered else super().convert(value, site)

    def encode(self, value: Any) -> JSONValue:
        return super().encode(numbered(value) if type(value) is Numbered else value)
