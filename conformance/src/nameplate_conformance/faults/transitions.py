"""The ways from one checkpoint to the next in which a save may go wrong, for any saver.

All states are of one small model: blocks of 2 KiB and a head, every value of which is the state's level. So whatever
is mixed of two states shows.
"""

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from nameplate_conformance.faults.fault import FAULTS, Fault
from nameplate_conformance.faults.sweep import Engine, Sweep, sweep

BLOCK = (16, 32)
"""The shape of a block, in float32: 2 KiB."""

_TWO_BLOCKS, _FOUR_BLOCKS = 4096, 8192


@dataclass(frozen=True, slots=True)
class State:
    """What is saved, and how.

    Attributes:
        level: The value of every weight.
        blocks: How many blocks the model has.
        labels: How many outputs its head has; other labels mean other shapes.
        setting: A value of the config that changes no shape.
        largest_shard: The most bytes in a shard; all in one file if None.
        variant: The variant it is saved as.
    """

    level: int
    blocks: int = 11
    labels: int = 10
    setting: int = 0
    largest_shard: int | None = None
    variant: str | None = None

    @property
    def text(self) -> str:
        """What a saver must say of it, see `Saver.seen`."""
        return f"levels [{float(self.level)}], {self.labels} labels, setting {self.setting}"


class Saver(Protocol):
    """Saves and loads states in a way that is to be swept."""

    nothing: tuple[type[Exception], ...]
    """What `seen` raises where there is no checkpoint at all."""

    def save(self, folder: Path, state: State) -> None:
        """Save a state over whatever the folder holds."""

    def seen(self, folder: Path, variant: str | None) -> str:
        """Load what the folder holds and return its `State.text`: all levels, and what its config says."""

    def committed(self, error: BaseException) -> bool:
        """Return whether an error of `save` says that the new state is there all the same."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A state and the one that is saved over it.

    Attributes:
        name: How reports call it.
        old: What is there, or None if the folder is empty.
        new: What is saved over it.
        files: How many weight files the new state has.
        foreign: Whether another saver has written the old state.
    """

    name: str
    old: State | None
    new: State
    files: int = 1
    foreign: bool = False

    @property
    def expected(self) -> str:
        """What a judge must say in the end."""
        if self.new.variant is None or self.old is None:
            return self.new.text
        return f"default: {self.old.text}; variant: {self.new.text}"


_SINGLE, _SHARDED = State(1), State(1, largest_shard=_TWO_BLOCKS)
_NEW_SINGLE, _NEW_SHARDED = State(2), State(2, largest_shard=_TWO_BLOCKS)

TRANSITIONS = (
    Transition("single → single", _SINGLE, _NEW_SINGLE),
    Transition("single → 6 shards", _SINGLE, _NEW_SHARDED, 6),
    Transition("6 shards → single", _SHARDED, _NEW_SINGLE),
    Transition("6 shards → 6 shards", _SHARDED, _NEW_SHARDED, 6),
    Transition(
        "7 shards → 4 shards",
        State(1, blocks=13, largest_shard=_TWO_BLOCKS),
        State(2, blocks=13, largest_shard=_FOUR_BLOCKS),
        4,
    ),
    Transition("other labels, single", _SINGLE, State(2, labels=20)),
    Transition("other labels, 6 shards", _SHARDED, State(2, labels=20, largest_shard=_TWO_BLOCKS), 6),
    Transition("other setting, single", _SINGLE, State(2, setting=1)),
    Transition("other setting, 6 shards", _SHARDED, State(2, setting=1, largest_shard=_TWO_BLOCKS), 6),
    Transition("variant beside default", _SINGLE, State(2, variant="ema"), 2),
    Transition("foreign single → single", _SINGLE, _NEW_SINGLE, 1, foreign=True),
    Transition("foreign single → 6 shards", _SINGLE, _NEW_SHARDED, 6, foreign=True),
    Transition("foreign 6 shards → single", _SHARDED, _NEW_SINGLE, 1, foreign=True),
    Transition("foreign 6 shards → 6 shards", _SHARDED, _NEW_SHARDED, 6, foreign=True),
    Transition("first save, single", None, _NEW_SINGLE),
    Transition("first save, 6 shards", None, _NEW_SHARDED, 6),
    Transition("unchanged, single", _NEW_SINGLE, _NEW_SINGLE),
    Transition("unchanged, 6 shards", _NEW_SHARDED, _NEW_SHARDED, 6),
)
"""The transitions that every saver should survive."""


def sweep_transition(
    saver: Saver,
    transition: Transition,
    *,
    foreign: Path | None = None,
    faults: Sequence[Fault] = FAULTS,
    points: int | None = None,
    again: bool = False,
    engine: Engine | None = None,
) -> Sweep:
    """Let every fault befall one transition.

    Args:
        saver: Whose saves are swept.
        transition: From which state to which.
        foreign: A folder that holds what another saver made of the old state, for a foreign transition.
        faults: See `sweep`.
        points: See `sweep`.
        again: See `sweep`.
        engine: See `sweep`.
    """

    def prepare(folder: Path) -> None:
        if transition.foreign:
            assert foreign is not None, "a foreign transition starts from a folder that another saver wrote"
            shutil.copytree(foreign, folder, dirs_exist_ok=True)
        elif transition.old is not None:
            saver.save(folder, transition.old)

    def judge(folder: Path) -> str:
        if transition.new.variant is None:
            return saver.seen(folder, None)
        return f"default: {saver.seen(folder, None)}; variant: {_seen_if_there(saver, folder, transition.new.variant)}"

    found = sweep(
        prepare,
        lambda folder: saver.save(folder, transition.new),
        judge,
        faults=faults,
        points=points,
        committed=saver.committed,
        again=again,
        engine=engine,
    )
    return replace(found, unsaved="" if found.holds == transition.expected else found.holds)


def _seen_if_there(saver: Saver, folder: Path, variant: str) -> str:
    try:
        return saver.seen(folder, variant)
    except saver.nothing:
        return "nothing"
