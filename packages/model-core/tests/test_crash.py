"""Whatever kills a save, and whenever, and whoever loads meanwhile: it is the checkpoint from before or the new one."""

import itertools
import os
import random
import runpy
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import SourceNotFoundError
from nameplate_model import CheckpointError, _model

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked and killed")

PROGRAM = Path(__file__).with_name("saving_process.py")
KILLS = 25


@pytest.fixture(scope="module")
def program() -> dict[str, Any]:
    """Return what the program defines."""
    return runpy.run_path(str(PROGRAM))


@pytest.fixture(scope="module")
def level_in(program: dict[str, Any]) -> Callable[[Path], int]:
    """Return the function that says which whole state a folder holds."""
    return program["level_in"]


def stops(base: Path, *kinds: str) -> list[Path]:
    """Let a save be stopped before each of its calls, in a folder for each, and return the folders in order."""
    subprocess.run([sys.executable, PROGRAM, "stopped", base, *kinds], check=True)
    return sorted(base.iterdir(), key=lambda folder: int(folder.name))


KINDS = ("single", "shards")


@pytest.mark.parametrize(
    ("first", "then"), [*itertools.product(KINDS, KINDS), ("single", "foreign"), ("foreign", "shards")]
)
def test_a_save_that_is_stopped_anywhere_leaves_old_or_new(
    then: str, first: str, level_in: Callable[[Path], int], tmp_path: Path
):
    """Before each call that changes a file a save may end: what is left is whole, old up to one point, then new."""
    levels = [level_in(folder) for folder in stops(tmp_path, then, first)]

    assert levels == sorted(levels)
    assert {1, 2} == set(levels)
    assert len(levels) > 10


@pytest.mark.parametrize("then", KINDS)
def test_a_first_save_that_is_stopped_leaves_nothing_or_all(then: str, level_in: Callable[[Path], int], tmp_path: Path):
    """In a new folder there is no checkpoint up to one point, and a whole one from there."""
    levels = []
    for folder in stops(tmp_path, then):
        try:
            levels.append(level_in(folder))
        except SourceNotFoundError:
            levels.append(0)

    assert levels == sorted(levels)
    assert {0, 2} == set(levels)


@pytest.mark.parametrize(("first", "then"), [("single", "shards"), ("shards", "single")])
def test_a_save_heals_what_a_stopped_one_left(then: str, first: str, program: dict[str, Any], tmp_path: Path):
    """Wherever the one before was stopped, the next save leaves its own state, and nothing else."""
    program["state"](3).save_pretrained(tmp_path / "alone")
    names = {path.name for path in (tmp_path / "alone").iterdir()}
    for folder in stops(tmp_path / "stopped", then, first):
        program["state"](3).save_pretrained(folder)

        assert program["level_in"](folder) == 3
        assert {path.name for path in folder.iterdir()} == names


def test_a_save_that_is_killed_leaves_old_or_new(
    program: dict[str, Any], level_in: Callable[[Path], int], tmp_path: Path
):
    """A process that saves two states in turn is killed again and again; each time one of the two is there, whole."""
    program["state"](1).save_pretrained(tmp_path)
    levels, drafts = [], 0
    chance = random.Random(0)  # noqa: S311 - only moments are drawn
    with subprocess.Popen(
        [sys.executable, PROGRAM, "killed", tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        for _ in range(KILLS):
            process.stdin.write("next\n")
            process.stdin.flush()
            victim = int(process.stdout.readline())
            time.sleep(chance.uniform(0, 0.03))
            os.kill(victim, signal.SIGKILL)
            assert process.stdout.readline() == "dead\n"
            levels.append(level_in(tmp_path))
            drafts += len(list(tmp_path.glob(".model.*.tmp")))
        process.stdin.close()

    assert set(levels) <= {1, 2}
    assert len(levels) == KILLS
    assert 0 < drafts <= 2 * KILLS  # so some were killed in the middle, and the next save took their drafts away


# ---- somebody else saves


@pytest.fixture
def save_between(program: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], None]:
    """Return a function after which so many loads find state 2 saved between their reading of config and weights."""

    def arrange(times: int) -> None:
        left = iter(reversed(range(times)))
        real = _model.open_weights

        def open_weights(*arguments: Any) -> Any:
            number = next(left, None)
            if number is not None:
                program["state"](2 + number % 2).save_pretrained(tmp_path)
            return real(*arguments)

        monkeypatch.setattr(_model, "open_weights", open_weights)

    return arrange


@pytest.mark.parametrize("times", [1, 3])
def test_a_load_during_a_save_is_of_one_state(
    times: int, save_between: Callable[[int], None], program: dict[str, Any], tmp_path: Path
):
    """Where a save comes between the reading of config and weights, the load starts anew."""
    program["state"](1).save_pretrained(tmp_path)
    save_between(times)

    assert program["level_in"](tmp_path) == 2


def test_a_load_does_not_try_for_ever(save_between: Callable[[int], None], program: dict[str, Any], tmp_path: Path):
    """Where every try finds another save, the load gives up with an error."""
    program["state"](1).save_pretrained(tmp_path)
    save_between(1000)
    with pytest.raises(CheckpointError) as caught:
        program["level_in"](tmp_path)

    assert str(caught.value) == f"'{tmp_path}' is being saved again and again. Load it when that is done."
