"""Two tensors that differ, drawn: before, after and the difference as small pictures, with their figures beside.

The colours can be told apart by colour-blind people: blue to yellow (cividis) for values, blue and orange on white for
differences. What is no finite number has a pattern of its own, since no colour could stand for it.
"""

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nameplate_conformance.records.apart import Apart

Colour = tuple[int, int, int]
Tile = Sequence[Sequence[Colour]]
"""The pixels of one value, row by row."""

_CIVIDIS = ("00224e", "123570", "3b496c", "575d6d", "707173", "8a8678", "a59c74", "c3b369", "e1cc55", "fee838")
_BLACK, _WHITE, _SAME = (0, 0, 0), (255, 255, 255), (240, 240, 240)
_SMALLER, _LARGER = (0, 114, 178), (213, 94, 0)
_WORTH_A_PICTURE = 6
_MIDDLE = 0.5
_FAINTEST = 0.25  # a difference of one bit must not look like none

_PATTERNS = {
    "nan": ("#...#...", ".#...#..", "..#...#.", "...#...#", "#...#...", ".#...#..", "..#...#.", "...#...#"),
    "inf": ("########", "###..###", "###..###", "#......#", "#......#", "###..###", "###..###", "########"),
    "-inf": ("########", "########", "########", "#......#", "#......#", "########", "########", "########"),
    "bits": ("........", "........", "........", "...##...", "...##...", "........", "........", "........"),
}
_PIXELS = len(_PATTERNS["nan"])
"""How many pixels wide and high a value is drawn; the page shows them larger or smaller."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture of a grid of values.

    Attributes:
        title: What it shows.
        source: The picture itself, as a ``data:`` address.
        described: What it shows, for those who do not see it.
        low: What the one end of its scale stands for.
        high: What the other end stands for.
        scale: The name of its scale.
    """

    title: str
    source: str
    described: str
    low: str
    high: str
    scale: str


@dataclass(frozen=True, slots=True)
class Place:
    """One value that differs: where it is, and what it was and is."""

    index: str
    before: str
    after: str
    difference: str


def pictures(apart: Apart) -> list[Picture]:
    """Return the pictures of two tensors: before and after on one scale, and the difference on its own."""
    finite = [each for each in (*apart.before, *apart.after) if math.isfinite(each)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    span = high - low
    most = apart.largest_difference

    def value(each: float) -> Tile:
        return _wild(each) or _plain(_cividis((each - low) / span if 0 < span < math.inf else _MIDDLE))

    ends = number(low), number(high)
    drawn = [
        Picture(title, _png(map(value, values), apart.columns), f"{title}: {_range(values)}", *ends, scale="values")
        for title, values in (("before", apart.before), ("after", apart.after))
    ]
    told = f"the difference: {apart.differing:,} of {apart.total:,} values differ, by at most {number(most)}"
    changes = _png((_changed(*pair, most) for pair in zip(apart.before, apart.after, strict=True)), apart.columns)
    return [*drawn, Picture("difference", changes, told, number(-most), number(most), scale="changes")]


def worth_drawing(apart: Apart) -> bool:
    """Whether a picture says more than a few numbers do."""
    return len(apart.before) >= _WORTH_A_PICTURE


def places(apart: Apart, most: int = 5) -> list[Place]:
    """Return where the tensors differ most, the worst first."""
    changed = [place for place in range(len(apart.before)) if _unlike(apart.before[place], apart.after[place])]
    size = [math.inf if math.isnan(each) else abs(each) for each in apart.differences]
    return [
        Place(
            f"[{', '.join(map(str, apart.index(place)))}]",
            number(apart.before[place], digits=8),
            number(apart.after[place], digits=8),
            number(apart.differences[place]) if apart.differences[place] else "other bits",
        )
        for place in sorted(changed, key=lambda each: -size[each])[:most]
    ]


def figures(apart: Apart) -> dict[str, str]:
    """Return what can be said of two tensors in figures, by what it is."""
    drawn = " (drawn)" if apart.at else ""
    found = {
        "dtype": apart.dtype,
        "shape": str(list(apart.shape)) if apart.shape else "a single number",
        "differ": f"{apart.differing:,} of {apart.total:,} values",
        "largest difference": number(apart.largest_difference),
        f"before{drawn}": _range(apart.before),
        f"after{drawn}": _range(apart.after),
    }
    if apart.at:
        found["drawn"] = f"{len(apart.before):,} values, each the one of its block that differs most"
    return found


def legend(apart: Apart) -> dict[str, str]:
    """Return what the patterns mean that are in the pictures, each with a picture of itself."""
    every = (*apart.before, *apart.after, *apart.differences)
    there = {
        "not a number": (_PATTERNS["nan"], any(map(math.isnan, every))),
        "infinite": (_PATTERNS["inf"], math.inf in every),
        "minus infinity": (_PATTERNS["-inf"], -math.inf in every),
        "other bits, same value": (_PATTERNS["bits"], _bits_alone(apart)),
    }
    return {text: _png([_pattern(rows)], 1) for text, (rows, drawn) in there.items() if drawn}


def number(value: float, *, digits: int = 4) -> str:
    """Return a number as a page shows it.

    Example:
        >>> number(0.1 + 0.2), number(float("nan")), number(-0.0), number(12.0)
        ('0.3', 'NaN', '-0', '12')
    """
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "∞" if value > 0 else "-∞"
    return f"{value:.{digits}g}"


def _bits_alone(apart: Apart) -> bool:
    pairs = zip(apart.before, apart.after, strict=True)
    return any(before == after and _unlike(before, after) for before, after in pairs)


def _range(values: Sequence[float]) -> str:
    finite = [each for each in values if math.isfinite(each)]
    wild = len(values) - len(finite)
    said = f"{number(min(finite))} to {number(max(finite))}" if finite else ""
    return " and ".join(filter(None, (said, f"{wild:,} not finite" if wild else ""))) or "nothing"


def _unlike(before: float, after: float) -> bool:
    """Whether two values are not the same, a zero of the other sign included."""
    if math.isnan(before) or math.isnan(after):
        return math.isnan(before) is not math.isnan(after)
    return before != after or math.copysign(1, before) != math.copysign(1, after)


def _changed(before: float, after: float, most: float) -> Tile:
    if not _unlike(before, after):
        return _plain(_SAME)
    change = after - before
    if not change:
        return _pattern(_PATTERNS["bits"], _SAME)
    part = 1.0 if not most else _FAINTEST + (1 - _FAINTEST) * abs(change) / most
    return _wild(change) or _plain(_mixed(_WHITE, _LARGER if change > 0 else _SMALLER, part))


def _wild(value: float) -> Tile | None:
    """Return the pattern of a value that no colour can stand for."""
    if math.isfinite(value):
        return None
    return _pattern(_PATTERNS[str(value)])


def _pattern(rows: Sequence[str], paper: Colour = _WHITE) -> Tile:
    return [[_BLACK if mark == "#" else paper for mark in row] for row in rows]


def _plain(colour: Colour) -> Tile:
    return [[colour] * _PIXELS] * _PIXELS


def _cividis(part: float) -> Colour:
    position = part * (len(_CIVIDIS) - 1)
    below = min(int(position), len(_CIVIDIS) - 2)
    one, other = (tuple(bytes.fromhex(_CIVIDIS[each])) for each in (below, below + 1))
    return _mixed((one[0], one[1], one[2]), (other[0], other[1], other[2]), position - below)


def _mixed(one: Colour, other: Colour, part: float) -> Colour:
    red, green, blue = (round(a + (b - a) * part) for a, b in zip(one, other, strict=True))
    return red, green, blue


def _png(tiles: Iterable[Tile], columns: int) -> str:
    """Return tiles, *columns* of them in a row, as the ``data:`` address of a PNG file."""
    lines: list[bytes] = []
    listed = list(tiles)
    for start in range(0, len(listed), columns):
        row = listed[start : start + columns]
        row += [_plain(_WHITE)] * (columns - len(row))
        lines += [bytes(part for tile in row for pixel in tile[y] for part in pixel) for y in range(_PIXELS)]
    size = struct.pack(">IIBBBBB", columns * _PIXELS, len(lines), 8, 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + line for line in lines), 9)
    file = b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", size) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    return "data:image/png;base64," + base64.b64encode(file).decode()


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
