"""A program that saves two states in turn and dies on the way; `test_crash.py` runs it and looks at what is left.

It forks its victims, because importing torch takes longer than all of their saves together.
"""

import itertools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nameplate_config import ForeignFormat, PreTrainedConfig
from nameplate_model import PreTrainedModel

SURVIVED = 17
"""The exit code of a victim that came to the end of its save."""

WATCHED = ("write", "pwrite", "fsync", "replace", "unlink")
"""The functions of `os` before each call of which a victim may die."""


FOREIGN = ForeignFormat(
    "foreign",
    lambda values: "height" in values,
    lambda values: {"level": values["height"]},
    lambda values: {"height": values["level"]},
    {r"^layers\.": "blocks."},
)
"""Another library's words for a state."""


class StateConfig(PreTrainedConfig):
    """Says which state it belongs to."""

    model_type = "state"
    foreign_formats = (FOREIGN,)
    level: int = 0


class State(PreTrainedModel):
    """Several tensors that all have one value, so that any mix of two states can be seen."""

    config_class = StateConfig
    foreign_key_mapping = {r"^blocks\.": "layers."}

    def __init__(self, config: StateConfig) -> None:
        super().__init__(config)
        self.layers = nn.ModuleList([nn.Linear(64, 64) for _ in range(4)])
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.fill_(config.level)


def state(level: int) -> State:
    """Return the model all of whose values are *level*."""
    return State(StateConfig(level=level))


def level_in(folder: Path) -> int:
    """Return the level of the state in a folder, which must be whole: config and every tensor agree."""
    loaded = State.from_pretrained(folder)
    levels = {value for parameter in loaded.parameters() for value in parameter.unique().tolist()}
    assert levels == {loaded.config.level}
    return loaded.config.level


def die_before(count: int) -> None:
    """Let this process end before the *count*-th call of a watched function, as if its machine had stopped."""
    calls = itertools.count(1)

    def mortal(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **keywords: Any) -> Any:
            if next(calls) == count:
                os._exit(1)
            return function(*arguments, **keywords)

        return call

    for name in WATCHED:
        setattr(os, name, mortal(getattr(os, name)))


def fork(work: Callable[[], None]) -> int:
    """Run *work* in a process of its own and return its id; the process ends with it."""
    victim = os.fork()
    if not victim:
        work()
        os._exit(SURVIVED)
    return victim


KINDS: dict[str, dict[str, Any]] = {
    "single": {},
    "shards": {"max_shard_size": "20KB"},
    "foreign": {"layout": "foreign"},
}
"""How each kind of checkpoint is saved."""


def stop_everywhere(base: Path, then: str, first: str | None) -> None:
    """Fill `base/1`, `base/2`, …: each is what a save of state 2 leaves that ends before its first, second, … call.

    Args:
        base: Where to.
        then: What kind of checkpoint the save makes.
        first: What kind is there before, of state 1, or None.
    """
    for count in itertools.count(1):
        folder = base / str(count)
        folder.mkdir(parents=True)
        if first is not None:
            state(1).save_pretrained(folder, **KINDS[first])

        def save(count: int = count, folder: Path = folder) -> None:
            model = state(2)
            die_before(count)
            model.save_pretrained(folder, **KINDS[then])

        _, status = os.waitpid(fork(save), 0)
        if os.waitstatus_to_exitcode(status) == SURVIVED:
            return


def save_for_ever(folder: Path) -> None:
    """Save states 1 and 2 in turn, and say so before the first."""
    models = [state(1), state(2)]
    sys.stdout.write(f"{os.getpid()}\n")
    sys.stdout.flush()
    for model in itertools.cycle(models):
        model.save_pretrained(folder)


def be_killed(folder: Path) -> None:
    """For each line on stdin, start a victim that saves until somebody kills it; say on stdout when it is dead."""
    for _ in sys.stdin:
        os.waitpid(fork(lambda: save_for_ever(folder)), 0)
        sys.stdout.write("dead\n")
        sys.stdout.flush()


if __name__ == "__main__":
    torch.set_num_threads(1)
    if sys.argv[1] == "killed":
        be_killed(Path(sys.argv[2]))
    else:
        stop_everywhere(Path(sys.argv[2]), sys.argv[3], sys.argv[4] if len(sys.argv) > 4 else None)
