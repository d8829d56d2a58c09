"""How messages name ranks, and show in what they differ."""

from collections.abc import Callable, Mapping, Sequence

from nameplate_config.wording import NAMES_LISTED, listed, sentences, shown

_BEFORE = 20
"""Letters that a message shows of what two long texts share, before that in which they differ."""


def named(ranks: Sequence[int]) -> str:
    """Return how a message names ranks.

    Args:
        ranks: At least one.

    Example:
        >>> named([1]), named([1, 3]), named(range(8))
        ('rank 1', 'ranks 1 and 3', 'ranks 0, 1, 2, 3, 4 and 3 more')
    """
    if len(ranks) == 1:
        return f"rank {ranks[0]}"
    if len(ranks) > NAMES_LISTED:
        return f"ranks {listed(ranks)}"
    return f"ranks {', '.join(map(str, ranks[:-1]))} and {ranks[-1]}"


def by_value(seen: Mapping[int, str], show: Callable[[str], str], verb: str) -> str:
    """Return who sees what: ``"ranks 0 and 2 have 'a', rank 1 has 'b'"``.

    Args:
        seen: What each rank sees.
        show: How a message shows that.
        verb: ``"have"``, ``"are at"`` or ``"want to"``.
    """
    ranks: dict[str, list[int]] = {}
    for rank, value in seen.items():
        ranks.setdefault(value, []).append(rank)
    one = {"have": "has", "are at": "is at", "want to": "wants to"}[verb]
    who = [f"{named(these)} {one if len(these) == 1 else verb} {show(value)}" for value, these in ranks.items()]
    return listed(who)


def first_apart(texts: Sequence[str]) -> int:
    """Return from where texts should be shown, so that a short view of each shows in what it differs."""
    if len(set(texts)) < 2:  # noqa: PLR2004 - one has nothing to differ from
        return 0
    shortest = min(map(len, texts))
    alike = next((at for at, letters in enumerate(zip(*texts, strict=False)) if len(set(letters)) > 1), shortest)
    return alike - _BEFORE if alike > _BEFORE + _BEFORE else 0


def shown_from(begin: int, text: str) -> str:
    """Return a short view of a text from some place on."""
    return ("…" if begin else "") + shown(text[begin:].strip())


def disagreement(what: str, facts: Sequence[tuple[str, str]]) -> str:
    """Return the message that ranks do not agree.

    Args:
        what: On what they want to do together, such as ``"load"``.
        facts: The name of each thing on which they do not, and who has what.
    """
    return sentences(
        f"the ranks cannot {what} together: they do not agree on the {listed(name for name, _ in facts)}",
        *(f"{name}: {text}" for name, text in facts[:NAMES_LISTED]),
        "Give every rank the same arguments, the same files and the same versions.",
    )
