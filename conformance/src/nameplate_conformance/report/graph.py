"""What a root cause rests on and what it blocks, as a graph: where its boxes and lines go, which a template draws."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nameplate_conformance.law import Law

_WIDTH, _HEIGHT = 52, 24
_ACROSS, _DOWN = 96, 32
_MOST = 10
"""How many laws stand above each other at most; of the others it is only said how many there are."""


@dataclass(frozen=True, slots=True)
class Box:
    """A law in the graph; one without a tone stands for several more.

    Attributes:
        text: Its id, or how many more there are.
        x: Where it begins.
        y: Where its top is.
        tone: What became of it.
    """

    text: str
    x: float
    y: float
    tone: str
    width: float = _WIDTH
    height: float = _HEIGHT


@dataclass(frozen=True, slots=True)
class Graph:
    """Boxes and the lines between them.

    Attributes:
        width: How wide it is.
        height: How high it is.
        boxes: The laws, from what the root rests on to what it blocks last.
        lines: The paths between boxes, as SVG writes them.
        described: The same in words.
    """

    width: float
    height: float
    boxes: Sequence[Box]
    lines: Sequence[str]
    described: str


def graph(root: str, laws: Mapping[str, Law], blocked: Sequence[str], tones: Mapping[str, str]) -> Graph | None:
    """Return the graph around a root cause; None if the law stands alone, or is of another version and unknown.

    Args:
        root: The id of the law that fails by itself.
        laws: Every law by its id, each after all that it needs.
        blocked: The laws that it blocks, in that order.
        tones: What became of each law.
    """
    columns = _columns(root, laws, blocked) if root in laws else []
    if len(columns) <= 1:
        return None
    tallest = max(map(_rows, columns))
    boxes = [box for number, column in enumerate(columns) for box in _stacked(number, column, tallest, tones)]
    placed = {box.text: box for box in boxes}
    lines = [
        _line(placed[need], box) for box in boxes if box.text in laws for need in laws[box.text].needs if need in placed
    ]
    rests = ", ".join(laws[root].needs)
    words = (f"{root} rests on {rests}" if rests else "", f"it blocks {', '.join(blocked)}" if blocked else "")
    width = (len(columns) - 1) * _ACROSS + _WIDTH + 2
    return Graph(width, tallest * _DOWN, boxes, lines, "; ".join(filter(None, words)))


def _columns(root: str, laws: Mapping[str, Law], blocked: Sequence[str]) -> list[list[str]]:
    """Return the laws in columns: what the root needs, the root, and what it blocks by how far that is away."""
    depth = {root: 0}
    for each in blocked:
        near = [depth[need] for need in laws[each].needs if need in depth]
        depth[each] = 1 + max(near, default=0)
    columns = [[each for each, far in depth.items() if far == step] for step in range(max(depth.values()) + 1)]
    needed = [need for need in laws[root].needs if need in laws]
    return [needed, *columns] if needed else columns


def _rows(column: Sequence[str]) -> int:
    return min(len(column), _MOST)


def _stacked(number: int, column: Sequence[str], tallest: int, tones: Mapping[str, str]) -> list[Box]:
    shown = list(column) if len(column) <= _MOST else list(column[: _MOST - 1])
    top = (tallest - _rows(column)) * _DOWN / 2 + (_DOWN - _HEIGHT) / 2
    boxes = [
        Box(each, number * _ACROSS + 1, top + row * _DOWN, tones.get(each, "none")) for row, each in enumerate(shown)
    ]
    if len(shown) < len(column):
        more = f"+{len(column) - len(shown)}"
        boxes.append(Box(more, number * _ACROSS + 1, top + len(shown) * _DOWN, ""))
    return boxes


def _line(start: Box, end: Box) -> str:
    x1, y1 = start.x + start.width, start.y + start.height / 2
    x2, y2 = end.x, end.y + end.height / 2
    middle = (x1 + x2) / 2
    return f"M{x1:g} {y1:g}C{middle:g} {y1:g} {middle:g} {y2:g} {x2:g} {y2:g}"
