"""Savers that meet in one folder, and loads between them: what must not be is found."""

import os
from pathlib import Path

import pytest

from nameplate_conformance import ConformanceError
from nameplate_conformance.faults import contend

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="savers are processes of their own")


def put(folder: Path, text: str) -> None:
    """Replace the file that is the state."""
    draft = folder / f"{text}.tmp"
    draft.write_text(text)
    draft.replace(folder / "state")


def read(folder: Path) -> str:
    """Return the state."""
    return (folder / "state").read_text()


def test_savers_that_replace_are_cleared(tmp_path: Path):
    """Where each save is one step, every load sees a state that was saved, and the last of them is there in the end."""
    savers = [lambda folder: put(folder, "a"), lambda folder: put(folder, "b")]
    found = contend(lambda folder: put(folder, "first"), savers, read, base=tmp_path)

    assert found.problems(["first", "a", "b"]) == []
    assert found.last in {"a", "b"}
    assert list(tmp_path.iterdir()) == []


def test_a_saver_that_fails_is_named():
    """An error in a saver's process comes back with its text."""
    found = contend(lambda folder: put(folder, "first"), [lambda folder: (folder / "absent").unlink()], read)

    (problem,) = found.problems(["first"])
    assert problem.startswith("a saver failed: FileNotFoundError: ")


def test_a_state_that_nobody_saved_is_named():
    """What a load saw and nobody saved is a problem, as the judge calls it."""
    found = contend(lambda folder: put(folder, "first"), [lambda folder: put(folder, "mix")], read)

    assert found.problems(["first"]) == ["a load saw what nobody has saved: mix"]


def test_a_load_that_fails_is_named():
    """An error of a load is a problem with its text."""

    def judge(folder: Path) -> str:
        if seen:
            return read(folder)
        seen.append(folder)
        message = "torn"
        raise ValueError(message)

    seen: list[Path] = []
    found = contend(lambda folder: put(folder, "first"), [], judge)

    assert found.problems(["first"]) == ["a load failed: ValueError: torn"]


def test_a_system_without_fork_is_refused(monkeypatch: pytest.MonkeyPatch):
    """Where processes cannot be forked, that is said."""
    monkeypatch.delattr(os, "fork")
    with pytest.raises(ConformanceError) as caught:
        contend(print, [], str)

    assert str(caught.value) == "savers of their own need os.fork, which this system lacks: unsupported."
