"""How ranks that load or save together agree, and fail together.

An operation is a row of phases. In each, every rank leaves its answer on the board, the leader reads all of them and
leaves the verdict, and every rank reads that. The board is the key-value store of the process group, not one of its
collectives: so a wait has an end, whoever is missing has a name, and nothing stands in the way of nccl.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Literal, NoReturn, Self

from torch import distributed
from torch.distributed import distributed_c10d

from nameplate_config.wording import sentences
from nameplate_model._distributed.assembly import Assembly
from nameplate_model._distributed.board import Board
from nameplate_model._distributed.comparing import Lines, differing, digest_of, outline, told_apart
from nameplate_model._distributed.verdict import JSON, Answer, error_of, told
from nameplate_model._distributed.wording import disagreement
from nameplate_model.errors import CheckpointError, MissingRankError, RanksDisagreeError

A_WHILE = 600.0
"""Seconds that a rank waits for the others where nobody says how long, or says what is no time."""


def together(ranks: Sequence[int], what: str, *, timeout: float) -> "Team":
    """Begin what some ranks do together; it ends with the `with` block that this is for.

    The block ends in the same way on every rank. An error that it raises on one is raised on all, of one class and
    with one text; on a rank that failed, its cause is the original. `KeyboardInterrupt` and what is like it go
    through, and are an error on the other ranks.

    Args:
        ranks: The global ranks that take part, sorted; the first leads. On each of them the same.
        what: A verb for messages, such as ``"load"``.
        timeout: Seconds that a rank waits for the others in each phase.

    Raises:
        CheckpointError: If there are several ranks and no process group.

    Example:
        >>> with together([0], "load", timeout=5.0) as team:
        ...     team.agree(version="1")
        ...     print(team.share("alone"), team.gather(team.number), team.leads)
        alone [0] True
    """
    group = tuple(ranks)
    if len(group) == 1:
        return Team(group, group[0], what)
    if not (distributed.is_available() and distributed.is_initialized()):
        message = sentences(
            f"{len(group)} ranks cannot {what} together without a process group",
            "Start them with torchrun, and call torch.distributed.init_process_group() first.",
        )
        raise CheckpointError(message)
    rank = distributed.get_rank()
    digest = hashlib.sha256(",".join(map(str, group)).encode()).hexdigest()[:16]
    board = Board(distributed_c10d._get_default_store(), f"nameplate/{digest}/")  # noqa: SLF001 - torch has no other
    return Team(group, rank, what, Assembly(board, group, rank, timeout))


class Team:
    """Some ranks while they do something together. Made by `together`.

    Every method is a phase: all ranks call the same ones in the same order, and what one of them raises, all raise.

    Attributes:
        ranks: The global ranks that take part, sorted.
        rank: This one.
        number: Its place in `ranks`.
        size: How many they are.
        leads: Whether this rank is the first.
    """

    def __init__(self, ranks: tuple[int, ...], rank: int, what: str, assembly: Assembly | None = None) -> None:
        self.ranks = ranks
        self.rank = rank
        self.number = ranks.index(rank)
        self.size = len(ranks)
        self.leads = rank == ranks[0]
        self._what = what
        self._assembly = assembly
        self._over: Exception | None = None

    def agree(self, **facts: str | Lines) -> None:
        """Go on when all ranks have come and say the same.

        Args:
            **facts: What must be equal, under a name for the message: a text, or lines of which the message shows
                those that differ.

        Raises:
            RanksDisagreeError: If a fact differs, or what the ranks do.
            MissingRankError: If a rank does not come.
        """
        if self._assembly is None:
            return
        texts = {name: fact for name, fact in facts.items() if isinstance(fact, str)}
        lists = {name: fact for name, fact in facts.items() if not isinstance(fact, str)}
        digests = {name: digest_of(lines) for name, lines in lists.items()}
        answer: Answer = {"what": self._what, "step": "agree", "facts": texts, "digests": digests}
        apart = self._pass(self._assembly, answer)
        if apart:
            self._tell_apart({name: lists[name] for name in apart})

    def _tell_apart(self, lists: Mapping[str, Lines]) -> NoReturn:
        """Raise on every rank in what lists differ."""
        outlines = self.share({name: outline(lines) for name, lines in lists.items()} if self.leads else None)
        found = self.gather({name: differing(lines, outlines[name]) for name, lines in lists.items()})
        said = ""
        if self.leads:
            others = {
                name: {rank: each[name] for rank, each in zip(self.ranks[1:], found[1:], strict=True)} for name in lists
            }
            facts = [(name.replace("_", " "), told_apart(lists[name], others[name], self.rank)) for name in lists]
            said = disagreement(self._what, facts)
        raise RanksDisagreeError(self.share(said))

    def share(self, value: JSON | None) -> JSON:
        """Return what the leader gives, on every rank.

        Args:
            value: What JSON can hold. Only the leader's counts.

        Raises:
            RanksDisagreeError: If a rank does something else.
            MissingRankError: If a rank does not come.
        """
        if self._assembly is None:
            return value
        given = value if self.leads else None
        return self._pass(self._assembly, {"what": self._what, "step": "share", "value": given})

    def gather(self, value: JSON) -> list[JSON]:
        """Return on the leader what every rank gives, in the order of `ranks`; on the others an empty list.

        Args:
            value: What JSON can hold.

        Raises:
            RanksDisagreeError: If a rank does something else.
            MissingRankError: If a rank does not come.
        """
        if self._assembly is None:
            return [value]
        self._pass(self._assembly, {"what": self._what, "step": "gather", "value": value})
        return [self._assembly.answers[rank].get("value") for rank in self.ranks] if self.leads else []

    def __enter__(self) -> Self:
        if self._assembly is not None:
            self._assembly.begin()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> Literal[False]:
        if self._assembly is None or (self._over and error):
            return False
        if error is None:
            self._pass(self._assembly, {"what": self._what, "step": "end"})
        elif isinstance(error, Exception):
            self._pass(self._assembly, {"what": self._what, "step": "end", "error": told(error)}, error)
        else:
            with suppress(MissingRankError):  # if the store is gone, the others know it
                self._assembly.leave({"what": self._what, "step": "end", "error": told(error)})
        return False

    def _pass(self, assembly: Assembly, answer: Answer, original: Exception | None = None) -> JSON:
        """Go through one phase; return the value of its verdict, or raise its error, which ends the operation."""
        if self._over:
            raise self._over
        try:
            verdict = assembly.hold(answer, last=answer["step"] == "end")
        except MissingRankError as error:
            self._over = error
            raise
        if "error" not in verdict:
            return verdict.get("value")
        if original and verdict["error"].get("alike"):
            self._over = original
            return None  # from where it goes on by itself
        self._over = error_of(verdict["error"], original)
        raise self._over from original
