"""Files are replaced in one step, read within a budget, and never outside of their folder."""

import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event, Thread

import pytest

from nameplate_config import ConfigFileError, NameplateError, SourceNotFoundError, UnsafePathError
from nameplate_config.files import (
    Draft,
    drafted_name,
    flush_folder,
    locked,
    make_folder,
    member,
    open_regular,
    read_file,
    replace_file,
)

IN_MEMORY = Path("/dev", "shm")

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="FIFOs, links and modes are those of POSIX")


def names_in(folder: Path) -> list[str]:
    """Return the names of everything in a folder, hidden files included."""
    return sorted(entry.name for entry in folder.iterdir())


# ---- replacing


def test_a_new_file_has_its_chunks(tmp_path: Path):
    """The chunks of every kind of buffer are written one after the other."""
    replace_file(tmp_path / "file", [b"a", b"", bytearray(b"b"), memoryview(b"cd")])

    assert (tmp_path / "file").read_bytes() == b"abcd"
    assert names_in(tmp_path) == ["file"]


def test_a_reader_sees_the_old_file_until_the_end(tmp_path: Path):
    """While the new file is being written, the old one is what everybody reads."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    seen = []

    def chunks() -> Iterator[bytes]:
        for chunk in (b"n", b"e", b"w"):
            yield chunk
            seen.append(path.read_bytes())

    replace_file(path, chunks())

    assert (seen, path.read_bytes()) == ([b"old"] * 3, b"new")


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt(), GeneratorExit()], ids=repr)
def test_a_failure_leaves_the_old_file_and_no_litter(error: BaseException, tmp_path: Path):
    """Whatever interrupts the writing, the old file is whole and nothing else is left in the folder."""
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def chunks() -> Iterator[bytes]:
        yield b"half"
        raise error

    with pytest.raises(type(error)) as caught:
        replace_file(path, chunks())

    assert caught.value is error
    assert (names_in(tmp_path), path.read_bytes()) == (["file"], b"old")


def test_a_failure_before_the_first_file_leaves_nothing(tmp_path: Path):
    """Where there was no file, a failure leaves none."""
    with pytest.raises(ZeroDivisionError):
        replace_file(tmp_path / "file", (1 // 0 for _ in "a"))

    assert names_in(tmp_path) == []


def test_a_missing_folder_is_reported_by_the_system(tmp_path: Path):
    """Writing into a folder that is not there is the system's error."""
    with pytest.raises(FileNotFoundError):
        replace_file(tmp_path / "missing" / "file", [b"a"])


def test_a_folder_is_not_replaced(tmp_path: Path):
    """A folder in the place of the file stays, without litter beside it."""
    (tmp_path / "file").mkdir()
    with pytest.raises(OSError, match="file"):
        replace_file(tmp_path / "file", [b"a"])

    assert names_in(tmp_path) == ["file"]


@ON_POSIX
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)])
def test_permissions_follow_the_umask(umask: int, mode: int, tmp_path: Path):
    """A written file has the permissions that the process gives to any new file."""
    before = os.umask(umask)
    try:
        replace_file(tmp_path / "file", [b"a"])
    finally:
        os.umask(before)

    assert (tmp_path / "file").stat().st_mode & 0o777 == mode


@ON_POSIX
def test_the_target_of_a_link_is_left_alone(tmp_path: Path):
    """Replacing a link, as a Hub cache has them, puts a file in its place and keeps what it pointed to."""
    (tmp_path / "blob").write_bytes(b"shared")
    (tmp_path / "file").symlink_to("blob")
    replace_file(tmp_path / "file", [b"new"])

    assert ((tmp_path / "blob").read_bytes(), (tmp_path / "file").read_bytes()) == (b"shared", b"new")
    assert not (tmp_path / "file").is_symlink()


def test_flushing_needs_a_folder(tmp_path: Path):
    """A folder can be flushed; one that is missing cannot."""
    flush_folder(tmp_path)

    with pytest.raises(FileNotFoundError):
        flush_folder(tmp_path / "missing")


# ---- drafts


def test_a_draft_is_called_after_its_file(tmp_path: Path):
    """While it is written, a draft is a hidden file whose name tells what it is for; then it is gone."""
    with Draft(tmp_path, "a.b") as draft:
        (name,) = names_in(tmp_path)
        draft.write(b"1")

    assert drafted_name(name) == "a.b"
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("name", ["a", ".a.tmp", ".a.0123456789ag.tmp", ".a.0123456789ab.tmp2", "..0123456789ab.tmp"])
def test_other_files_are_no_drafts(name: str):
    """A file that is not called as drafts are is none."""
    assert drafted_name(name) is None


def test_a_published_draft_stays(tmp_path: Path):
    """A draft that got its name keeps it when its context ends, and knows that it has it."""
    with Draft(tmp_path, "file") as draft:
        draft.write(b"0123456789")
        draft.write_at(2, b"ab")
        draft.write(b"!")
        draft.finish()
        before = draft.published
        draft.publish(tmp_path / "other")

    assert (before, draft.published) == (False, True)
    assert (tmp_path / "other").read_bytes() == b"01ab456789!"
    assert names_in(tmp_path) == ["other"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems are not asked to reserve room")
def test_a_lent_draft_has_its_room_before_anything_is_written(tmp_path: Path):
    """The file system has set aside what the parts of a draft are going to take, in whatever order they come."""
    with Draft(tmp_path, "file") as draft:
        draft.lend(1 << 20, b"token")
        seen = (tmp_path / draft.name).stat()
        draft.take_back()
        draft.finish()

    assert (seen.st_size, seen.st_blocks * 512 >= 1 << 20) == (1 << 20, True)


@pytest.mark.skipif(not IN_MEMORY.is_dir(), reason="needs a file system in memory, which refuses at once")
def test_a_draft_that_has_no_room_is_not_lent():
    """More than the file system has is an error before anyone joins, and leaves nothing behind."""
    with TemporaryDirectory(dir=IN_MEMORY) as folder:
        whole = os.statvfs(folder)
        with Draft(Path(folder), "file") as draft, pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            draft.lend(2 * whole.f_blocks * whole.f_frsize, b"token")

        assert names_in(Path(folder)) == []


# ---- taking turns


@ON_POSIX
def test_a_locked_folder_is_entered_by_one_at_a_time(tmp_path: Path):
    """A thread that asks for a locked folder waits until the other is done."""
    steps: list[str] = []
    inside = Event()

    def second() -> None:
        inside.wait()
        with locked(tmp_path) as held:
            steps.append(f"second {held}")

    thread = Thread(target=second)
    thread.start()
    with locked(tmp_path) as held:
        inside.set()
        thread.join(0.1)
        steps.append(f"first {held}")
    thread.join()

    assert steps == ["first True", "second True"]


@ON_POSIX
def test_a_lock_ends_though_a_forked_process_lives(tmp_path: Path):
    """A process that was forked under the lock, as data loaders are, does not keep others out."""
    with locked(tmp_path):
        child = os.fork()
        if not child:
            signal.pause()
            os._exit(0)
    try:
        with locked(tmp_path) as held:
            assert held
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@ON_POSIX
def test_a_folder_that_cannot_be_locked_is_entered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """Where the file system has no locks, work goes on, and knows that it is not alone."""

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", refuse)
    with locked(tmp_path) as held:
        assert not held


def test_a_missing_folder_is_not_locked(tmp_path: Path):
    """A folder that is not there is the system's error."""
    with pytest.raises(FileNotFoundError), locked(tmp_path / "missing"):
        pytest.fail("it is not there")


# ---- folders


def test_a_folder_is_made_with_its_parents(tmp_path: Path):
    """A missing folder and its parents are made; an existing one is accepted."""
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")

    assert (tmp_path / "a" / "b").is_dir()


@pytest.mark.parametrize("name", ["file", "file/below"])
def test_a_file_is_no_folder(name: str, tmp_path: Path):
    """A path that is a file, or leads through one, is refused with the way out."""
    (tmp_path / "file").write_text("")
    with pytest.raises(UnsafePathError) as caught:
        make_folder(tmp_path / name)

    assert str(caught.value) == (
        f"{str(tmp_path / name)!r} is not a folder, so nothing can be saved into it. Give the path of a folder."
    )


# ---- reading


def test_a_file_is_read_up_to_its_budget(tmp_path: Path):
    """A file of exactly the budget is read whole."""
    (tmp_path / "file").write_bytes(b"abcd")

    assert read_file(tmp_path / "file", limit=4, too_large=ConfigFileError) == b"abcd"


@pytest.mark.parametrize("error", [ConfigFileError, NameplateError])
def test_a_larger_file_is_refused(error: type[NameplateError], tmp_path: Path):
    """A file larger than the budget is the error that the caller chose, with both sizes."""
    (tmp_path / "file").write_bytes(b"x" * 5000)
    with pytest.raises(error) as caught:
        read_file(tmp_path / "file", limit=4999, too_large=error)

    assert str(caught.value) == f"{str(tmp_path / 'file')!r} has 5,000 bytes; at most 4,999 are read."


@ON_POSIX
def test_links_are_followed(tmp_path: Path):
    """A link to a regular file is read: a Hub cache is made of them."""
    (tmp_path / "blob").write_bytes(b"abc")
    (tmp_path / "file").symlink_to("blob")

    assert read_file(tmp_path / "file", limit=9, too_large=ConfigFileError) == b"abc"


def test_a_missing_file_says_what_is_there(tmp_path: Path):
    """A file that is absent is reported with at most five of its visible neighbours."""
    for name in ("a", "b", "c", "d", "e", "f", ".hidden"):
        (tmp_path / name).touch()
    with pytest.raises(SourceNotFoundError) as caught:
        open_regular(tmp_path / "config.json")

    assert str(caught.value) == (
        f"there is no 'config.json' in {str(tmp_path)!r}.\n  The folder holds: a, b, c, d, e and 1 more."
    )


def test_a_missing_folder_is_named(tmp_path: Path):
    """A file in a folder that is absent is reported with the folder."""
    with pytest.raises(SourceNotFoundError) as caught:
        open_regular(tmp_path / "missing" / "config.json")

    assert str(caught.value) == (f"there is no folder {str(tmp_path / 'missing')!r}, so no 'config.json' in it.")


@ON_POSIX
def test_a_broken_link_is_a_missing_file(tmp_path: Path):
    """A link whose target is gone is reported as absent."""
    (tmp_path / "file").symlink_to("gone")
    with pytest.raises(SourceNotFoundError) as caught:
        open_regular(tmp_path / "file")

    assert str(caught.value) == f"'file' in {str(tmp_path)!r} is a link to 'gone', which does not exist."


@ON_POSIX
def test_a_link_to_itself_is_refused(tmp_path: Path):
    """A link that leads nowhere is reported in the system's words."""
    (tmp_path / "file").symlink_to("file")
    with pytest.raises(SourceNotFoundError) as caught:
        open_regular(tmp_path / "file")

    assert str(caught.value).startswith(f"{str(tmp_path / 'file')!r} cannot be opened: ")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    "name",
    [
        ".",
        pytest.param("/dev/zero", marks=pytest.mark.skipif(not Path("/dev/zero").exists(), reason="no device")),
    ],
)
def test_only_regular_files_are_read(name: str, tmp_path: Path):
    """A folder or an endless device is no regular file."""
    with pytest.raises(SourceNotFoundError) as caught:
        read_file(tmp_path / name, limit=9, too_large=ConfigFileError)

    assert str(caught.value) == f"{str(tmp_path / name)!r} is not a regular file."


@ON_POSIX
def test_a_fifo_is_refused_without_waiting(tmp_path: Path):
    """A FIFO that nobody writes to is refused at once."""
    os.mkfifo(tmp_path / "config.json")
    code = (
        "import sys; from nameplate_config import PreTrainedConfig, SourceNotFoundError\n"
        "try: PreTrainedConfig.from_pretrained(sys.argv[1])\n"
        "except SourceNotFoundError as error: print(error, end='')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path], capture_output=True, text=True, timeout=30, check=True
    )

    assert done.stdout == f"{str(tmp_path / 'config.json')!r} is not a regular file."


# ---- staying inside


@pytest.mark.parametrize("name", ["config.json", "model-00001-of-00002.safetensors", ".hidden", "a..b", "é", "a b"])
def test_a_plain_name_is_a_member(name: str):
    """A plain file name is the path of a file directly inside the folder."""
    assert member(Path("folder"), name) == Path("folder") / name


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "...",
        ".. ",
        " ..",
        " ",
        "/",
        "/etc/passwd",
        "../config.json",
        "a/../../b",
        "a/b",
        "./a",
        "a/",
        "//host/share",
        "..\\config.json",
        "a\\b",
        "\\\\host\\share",
        "\\a",
        "C:",
        "C:a",
        "C:\\a",
        "C:/a",
        "a\0b",
        "\0",
    ],
    ids=repr,
)
def test_nothing_leaves_the_folder(name: str):
    """A name that is a path, a drive or nothing, on any system, is refused."""
    with pytest.raises(UnsafePathError) as caught:
        member(Path("folder"), name)

    assert str(caught.value) == f"{name!r} is not a plain file name, so it could leave the folder 'folder'."


def test_a_refused_name_is_shortened():
    """An endless name does not make an endless message."""
    with pytest.raises(UnsafePathError) as caught:
        member(Path("folder"), "../" * 1000)

    assert len(str(caught.value)) < 200


def test_a_file_that_appears_and_goes_is_read_or_missed_by_one_error(tmp_path: Path):
    """While somebody puts a file there and takes it away, each read gives the file or says that it is not there."""
    path, stop = tmp_path / "index.json", threading.Event()

    def flicker() -> None:
        while not stop.is_set():
            path.write_bytes(b"{}")
            path.unlink()

    thread = threading.Thread(target=flicker)
    thread.start()
    found = set()
    try:
        for _ in range(3000):
            try:
                found.add(read_file(path, limit=10, too_large=SourceNotFoundError))
            except SourceNotFoundError as error:
                found.add(type(error).__name__)
    finally:
        stop.set()
        thread.join()

    assert found <= {b"{}", b"", "SourceNotFoundError"}
