"""What a power failure may leave follows from a film of the save: all of it, each only once, and nothing else."""

import os
from pathlib import Path

from nameplate_conformance.faults.fault import Call
from nameplate_conformance.faults.film import Film, Frame, filmed, half, lay_out
from nameplate_conformance.faults.power_loss import losses

OLD, NEW = b"old text", b"new text"


def step(call: str, *paths: str, **held: tuple[int, bytes]) -> Frame:
    """Return what a folder holds after a call; each file is a number and its content."""
    names = {name: number for name, (number, _) in held.items()}
    return Frame(Call(call, paths) if call else None, names, dict(held.values()))


def left(*frames: Frame) -> list[dict[str, bytes]]:
    """Return what may be left when the last of these changes has been made."""
    return [dict(each.held) for each in losses(Film(frames)) if each.finished]


def test_what_was_flushed_stays():
    """A file that was flushed after its last change, in a folder that was flushed, is there in every case."""
    frames = [
        step("", a=(0, OLD)),
        step("write", "draft", a=(0, OLD), draft=(1, NEW)),
        step("fsync", "draft", a=(0, OLD), draft=(1, NEW)),
        step("rename", "draft", "a", a=(1, NEW)),
        step("fsync", ".", a=(1, NEW)),
    ]

    assert left(*frames) == [{"a": NEW}]


def test_a_name_that_was_not_flushed_may_be_missing():
    """Without a flush of the folder, a rename may have come to the disk, or not, or the draft not even that far."""
    frames = [
        step("", a=(0, OLD)),
        step("write", "draft", a=(0, OLD), draft=(1, NEW)),
        step("fsync", "draft", a=(0, OLD), draft=(1, NEW)),
        step("rename", "draft", "a", a=(1, NEW)),
    ]

    assert left(*frames) == [{"a": OLD}, {"a": OLD, "draft": NEW}, {"a": NEW}]


def test_renames_may_come_to_the_disk_in_another_order():
    """Of two renames, the second may be there without the first."""
    frames = [
        step("", a=(0, OLD), b=(1, OLD), x=(2, NEW), y=(3, NEW)),
        step("rename", "x", "a", a=(2, NEW), b=(1, OLD), y=(3, NEW)),
        step("rename", "y", "b", a=(2, NEW), b=(3, NEW)),
    ]

    assert {"a": OLD, "b": NEW, "x": NEW} in left(*frames)


def test_what_was_not_flushed_is_lost_zeroed_or_torn():
    """A write over a file that was not flushed leaves what was there, zeros, half, or all of it."""
    frames = [step("", a=(0, OLD)), step("write", "a", a=(0, NEW))]

    assert left(*frames) == [{"a": NEW}, {"a": OLD}, {"a": b"\0\0\0 text"}, {"a": b"nld text"}]


def test_a_folder_below_is_flushed_by_itself():
    """Flushing a folder says nothing of the names in another."""
    frames = [
        step("", a=(0, OLD)),
        Frame(Call("rename", ("a", "below/a")), {"below/a": 0}, {0: OLD}),
        Frame(Call("fsync", (".",)), {"below/a": 0}, {0: OLD}),
    ]

    assert left(*frames) == [{"a": OLD}, {"below/a": OLD}]


def test_half_of_a_change_is_half_of_what_differs():
    """A torn write has written the first half of what it was to change, whether or not the file grows by it."""
    assert half(b"", b"abcd") == b"ab"
    assert half(b"axxd", b"abcd") == b"abxd"
    assert half(b"abcd", b"") == b"cd"


def test_a_film_shows_what_a_kill_leaves(tmp_path: Path):
    """Before each change there is what the changes before it left, and in the middle of a write half of it."""
    path = tmp_path / "a"

    def work() -> None:
        file = os.open(path, os.O_CREAT | os.O_WRONLY)
        os.write(file, b"text")
        os.close(file)

    film = filmed(work, tmp_path)

    assert film.unseen == ()
    assert [dict(held) for _, held in film.killed()] == [{}, {"a": b""}, {"a": b"te"}]
    assert film.frames[-1].held == {"a": b"text"}


def test_a_film_says_what_it_did_not_see_change(tmp_path: Path):
    """A file that is written without `os` is named, for nobody saw when it changed."""
    film = filmed(lambda: (tmp_path / "a").write_text("text"), tmp_path)

    assert film.unseen == ("a",)


def test_a_number_that_the_system_gives_again_is_another_file(tmp_path: Path):
    """A file that is removed and one that is made in its place are two files, also where the system numbers them so."""
    path = tmp_path / "a"

    def work() -> None:
        for _ in range(3):
            os.close(os.open(path, os.O_CREAT))
            os.unlink(path)  # noqa: PTH108 - the calls of `os` are filmed

    numbers = [frame.names["a"] for frame in filmed(work, tmp_path).frames if frame.names]

    assert numbers == [0, 1, 2]


def test_what_is_laid_out_is_all_there_is(tmp_path: Path):
    """Files that do not belong are removed, and those that do are new ones: somebody may have mapped the old."""
    (tmp_path / "a").write_bytes(OLD)
    (tmp_path / "b").write_bytes(OLD)
    with (tmp_path / "a").open("rb") as mapped:
        lay_out(tmp_path, {"a": NEW, "below/c": NEW})

        assert mapped.read() == OLD
    assert {path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*") if path.is_file()} == {"a", "below/c"}
