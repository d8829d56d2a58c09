"""One rank's part in an operation of several: it leaves answers on the board, and the leader among them the verdicts.

The keys, behind what the board puts before them for the ranks that take part:

    at/1           how many operations rank 1 has begun, which is the number of the last. It lives in the store, so
                   a process that is started anew on an old store goes on where the others are
    7/0/1          operation 7, phase 0: the answer of rank 1, which removes it when it has read the verdict
    7/0/verdict    what the leader says; removed when all have come to the next phase, the last one by its last reader
    7/0/coroner    counts those who waited for the leader in vain: the first of them says who is missing
    7/read         counts those who have read the last verdict
"""

import json
import time
from collections.abc import Sequence

from nameplate_model._distributed.board import Board
from nameplate_model._distributed.verdict import Answer, Verdict, departure, verdict_on
from nameplate_model._distributed.wording import named
from nameplate_model.errors import MissingRankError

_GRACE = 10.0
"""Seconds by which a verdict may come later than it should."""


class Assembly:
    """The phases of one operation, seen from one rank.

    Args:
        board: What all of them see.
        ranks: Those that take part, the leader first.
        rank: This one.
        timeout: Seconds that a rank waits for the others in each phase.

    Attributes:
        answers: Those to the last phase by rank, on the leader.
    """

    def __init__(self, board: Board, ranks: Sequence[int], rank: int, timeout: float) -> None:
        self.answers: dict[int, Answer] = {}
        self._board = board
        self._ranks = ranks
        self._rank = rank
        self._leads = rank == ranks[0]
        self._timeout = timeout
        self._operation = 0
        self._phase = 0

    def begin(self) -> None:
        """Take the number of the operation."""
        self._operation = self._board.count(f"at/{self._rank}")

    def hold(self, answer: Answer, *, last: bool) -> Verdict:
        """Go through one phase: leave the answer, and return the verdict when it is there.

        Args:
            answer: Of this rank.
            last: Whether no other phase follows if this one ends well; none does if it ends with an error.

        Raises:
            MissingRankError: If there is no verdict, or the store is gone.
        """
        phase, own = self._phase, self._key(self._phase, self._rank)
        self._board.write(own, json.dumps(answer))
        if self._leads:
            verdict = self._lead(phase, answer)
            self._phase += 1
        else:
            self._phase += 1  # whoever is interrupted while it waits has answered this one
            verdict = self._follow(phase, answer)
        if not verdict.get("leaderless"):
            self._board.erase(own)
        if last or "error" in verdict:
            self._close(phase)
        return verdict

    def leave(self, answer: Answer) -> None:
        """Say why this rank will not wait for any verdict.

        Args:
            answer: With the error that it leaves for.

        Raises:
            MissingRankError: If the store is gone.
        """
        if self._leads:
            self._settle(self._phase, departure(self._rank, answer))
        else:
            self._board.write(self._key(self._phase, self._rank), json.dumps({**answer, "left": True}))
        self._close(self._phase)

    def _lead(self, phase: int, answer: Answer) -> Verdict:
        """Read all answers and leave the verdict, unless the others have missed this rank and left one themselves."""
        if self._board.there([self._key(phase, "verdict")]):
            return self._come_late(phase)
        came: Sequence[int] = self._ranks
        if not self._board.wait([self._key(phase, rank) for rank in came], time.monotonic() + self._timeout):
            came = [rank for rank in came if self._board.there([self._key(phase, rank)])]
        elif phase:
            self._board.erase(self._key(phase - 1, "verdict"))
        self.answers = self._read(phase, came)
        for rank in (rank for rank, each in self.answers.items() if each.get("left")):
            self._board.erase(self._key(phase, rank))
        return self._settle(phase, verdict_on(self.answers, self._ranks, self._waited(phase, answer)))

    def _read(self, phase: int, came: Sequence[int]) -> dict[int, Answer]:
        texts = self._board.read([self._key(phase, rank) for rank in came])
        return {rank: json.loads(text) for rank, text in zip(came, texts, strict=True)}

    def _come_late(self, phase: int) -> Verdict:
        for rank in self._ranks:
            self._board.erase(self._key(phase, rank))  # they left theirs for the case that we read them at that moment
        return self._settle(phase, {})

    def _follow(self, phase: int, answer: Answer) -> Verdict:
        """Wait for the verdict; for as long again if the leader itself came late and waits now."""
        key, leader = self._key(phase, "verdict"), self._key(phase, self._ranks[0])
        if self._board.wait([key], time.monotonic() + self._timeout) or (
            self._board.there([leader]) and self._board.wait([key], time.monotonic() + self._timeout + _GRACE)
        ):
            return json.loads(self._board.read([key])[0])
        return self._mourn(phase, answer)

    def _mourn(self, phase: int, answer: Answer) -> Verdict:
        """Return the verdict that the leader did not come; the first who waited in vain finds out who else did not."""
        leader, waited = self._ranks[0], self._waited(phase, answer)
        if self._board.count(self._key(phase, "coroner")) == 1:
            others = [rank for rank in self._ranks if rank != leader and self._board.there([self._key(phase, rank)])]
            return self._settle(
                phase, {**verdict_on(self._read(phase, others), self._ranks, waited), "leaderless": True}
            )
        key = self._key(phase, "verdict")
        if self._board.wait([key], time.monotonic() + _GRACE):
            return json.loads(self._board.read([key])[0])
        message = f"{named([leader])} did not come {waited}, nor did whoever waited for it first"
        raise MissingRankError(message)

    def _settle(self, phase: int, verdict: Verdict) -> Verdict:
        return json.loads(self._board.settle(self._key(phase, "verdict"), json.dumps(verdict)))

    def _close(self, phase: int) -> None:
        """Remove what the operation leaves, if all others have read it."""
        if self._board.count(f"{self._operation}/read") == len(self._ranks):
            for key in (self._key(at, "verdict") for at in (phase - 1, phase)):
                self._board.erase(key)
            self._board.erase(self._key(phase, "coroner"))
            self._board.erase(f"{self._operation}/read")

    def _waited(self, phase: int, answer: Answer) -> str:
        step = f"phase {phase}: {answer['step']}"
        return f"within {self._timeout:g} seconds to {answer['what']} with the other ranks ({step})"

    def _key(self, phase: int, name: str | int) -> str:
        return f"{self._operation}/{phase}/{name}"
