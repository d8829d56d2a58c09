"""In what long lists of ranks differ, such as their tensors or the lines of their configs.

While all is well, ranks compare one digest. Only when it differs, the leader tells a short digest of each of its lines,
the others answer with the first lines that they have and it has not, and it makes of them what all say.
"""

import hashlib
from collections.abc import Mapping, Sequence
from typing import Final, TypedDict

from nameplate_model._distributed.wording import by_value, first_apart, named, shown_from

Lines = Sequence[str]

_SHORT: Final = 8
"""Hexadecimal digits that stand for a line."""


class Differing(TypedDict):
    """In what the lines of a rank differ from those of the leader; what JSON can hold.

    Attributes:
        more: The first line that the leader lacks, and how many there are. The text is empty if there is none.
        less: The place of the first of the leader's lines that this rank lacks, and how many there are; -1 if none.
        same: Whether the lines are the same, in the same order.
    """

    more: tuple[str, int]
    less: tuple[int, int]
    same: bool


def digest_of(lines: Lines) -> str:
    """Return what two lists of lines share only if they are the same."""
    return hashlib.sha256("\n".join(lines).encode(errors="surrogatepass")).hexdigest()[:16]


def outline(lines: Lines) -> str:
    """Return the short digests of lines, one after the other."""
    return "".join(map(_short, lines))


def differing(lines: Lines, leading: str) -> Differing:
    """Return in what lines differ from those of the leader.

    Args:
        lines: Of this rank.
        leading: The outline of the leader's.

    Example:
        >>> differing(["b", "d"], outline(["a", "b", "c"]))
        {'more': ('d', 1), 'less': (0, 2), 'same': False}
    """
    theirs = [leading[at : at + _SHORT] for at in range(0, len(leading), _SHORT)]
    ours = outline(lines)
    known, own = set(theirs), {_short(line) for line in lines}
    more = [line for line in lines if _short(line) not in known]
    less = [place for place, short in enumerate(theirs) if short not in own]
    return {
        "more": (more[0] if more else "", len(more)),
        "less": (less[0] if less else -1, len(less)),
        "same": ours == leading,
    }


def told_apart(lines: Lines, found: Mapping[int, Differing], leader: int) -> str:
    """Return who has which lines, for a message.

    Args:
        lines: Of the leader.
        found: In what those of each other rank differ.
        leader: Its rank.

    Example:
        >>> told_apart(["a", "b"], {1: differing(["a", "c"], outline(["a", "b"]))}, 0)
        "rank 0 has 'b', rank 1 has 'c'"
    """
    apart = {rank: each for rank, each in found.items() if not each["same"]}
    alike = [leader, *(rank for rank, each in found.items() if each["same"])]
    lacked = [(place, count) for place, count in (each["less"] for each in apart.values()) if count]
    place, count = min(lacked, default=(-1, 0))
    if not count and not any(each["more"][1] for each in apart.values()):
        return f"{named(sorted(apart))} and {named(sorted(alike))} have the same in another order"
    views = dict.fromkeys(alike, (lines[place] if count else "", count))
    views |= {rank: (each["more"][0], each["more"][1]) for rank, each in apart.items()}
    begin = first_apart([line for line, count in views.values() if count])
    return by_value({rank: _view(*views[rank], begin) for rank in sorted(views)}, str, "have")


def _view(line: str, count: int, begin: int) -> str:
    if not count:
        return "nothing that the others lack"
    return shown_from(begin, line) + (f" and {count - 1} more" if count > 1 else "")


def _short(line: str) -> str:
    return hashlib.sha256(line.encode(errors="surrogatepass")).hexdigest()[:_SHORT]
