"""A path or a repository, decided once: what lies in a folder, and what is said when it is not there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from nameplate_config import (
    HUB_OPTIONS,
    PreTrainedConfig,
    Source,
    SourceNotFoundError,
    UnknownOptionError,
    UnsafePathError,
    open_source,
    split_options,
)


class Block(PreTrainedConfig):
    """A config to be found."""

    width: int = 8


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder with a config, in the current one."""
    monkeypatch.chdir(tmp_path)
    Block(width=16).save_pretrained("checkpoint")
    return tmp_path / "checkpoint"


# ---- folders


@pytest.mark.parametrize(
    "source", ["checkpoint", "./checkpoint", "checkpoint/", "../{parent}/checkpoint", Path("checkpoint")], ids=str
)
def test_an_existing_folder_is_opened(source: str | Path, checkpoint: Path):
    """A folder is a folder however its path is written, and whether it looks like a repository or not."""
    if isinstance(source, str):
        source = source.format(parent=checkpoint.parent.name)
    opened = open_source(source)

    assert (opened.repository, opened.commit) == (None, None)
    assert opened.path("config.json").samefile(checkpoint / "config.json")


def test_an_absolute_path_is_opened(checkpoint: Path):
    """An absolute path, as text or object, is a folder."""
    assert open_source(str(checkpoint)).folder == open_source(checkpoint).folder == checkpoint


def test_the_home_folder_is_expanded(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """A tilde stands for the home folder."""
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    monkeypatch.setenv("USERPROFILE", str(checkpoint.parent))

    assert open_source("~/checkpoint").folder == checkpoint


def test_a_folder_wins_over_a_repository(checkpoint: Path):
    """A name that could be a repository's is a folder if there is one, and the Hub is not asked."""
    (checkpoint.parent / "org").mkdir()
    checkpoint.rename(checkpoint.parent / "org" / "name")

    assert Block.from_pretrained("org/name").width == 16


def test_an_opened_source_is_passed_on(checkpoint: Path):
    """A source that is already open is returned as it is."""
    opened = open_source(checkpoint)

    assert open_source(opened) is opened
    assert Block.from_pretrained(opened).width == 16


def test_a_missing_folder_lists_its_neighbours(checkpoint: Path):
    """A folder that is absent is reported with the folders beside it."""
    for name in ("other", ".hidden"):
        (checkpoint.parent / name).mkdir()
    (checkpoint.parent / "file").touch()
    with pytest.raises(SourceNotFoundError) as caught:
        open_source("./zzz")

    assert str(caught.value) == "there is no folder 'zzz'.\n  Folders in '.': checkpoint, other."


def test_a_misspelt_folder_is_recognised(checkpoint: Path):
    """A folder that is absent is reported with the one that was probably meant."""
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(checkpoint.parent / "chekpoint")

    assert str(caught.value) == (
        f"there is no folder {str(checkpoint.parent / 'chekpoint')!r}.\n  Did you mean 'checkpoint'?"
    )


@pytest.mark.parametrize("source", ["/no/such", "./zzz", "../zzz", "~/zzz", "a/b/c", "a b", ".zzz", "é/name", "a\0b"])
def test_what_looks_like_a_path_never_asks_the_hub(source: str, monkeypatch: pytest.MonkeyPatch):
    """A text that is no repository's name is a folder that is absent, without any look-up."""
    monkeypatch.setattr("nameplate_config._source._open_repository", pytest.fail)
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(source)

    assert str(caught.value).startswith(f"there is no folder {str(Path(source).expanduser())!r}.")


def test_an_empty_text_is_no_source():
    """An empty text does not stand for the current folder."""
    with pytest.raises(SourceNotFoundError) as caught:
        open_source("")

    assert str(caught.value) == "the source is an empty text. Give a folder or the id of a repository."


def test_a_path_object_never_asks_the_hub(checkpoint: Path):
    """A `Path` is a folder, also where its text could be a repository's name."""
    del checkpoint
    with pytest.raises(SourceNotFoundError) as caught:
        Block.from_pretrained(Path("org/name"))

    assert str(caught.value) == f"there is no folder {str(Path('org/name'))!r}.\n  Folders in '.': checkpoint."


def test_a_file_is_no_source(checkpoint: Path):
    """The path of a file is refused with the advice to name its folder."""
    with pytest.raises(SourceNotFoundError) as caught:
        Block.from_pretrained(checkpoint / "config.json")

    assert str(caught.value) == (f"{str(checkpoint / 'config.json')!r} is a file. Give the folder that holds it.")


# ---- subfolders


@pytest.mark.parametrize("subfolder", ["encoder/base", "encoder/base/", "/encoder/base"])
def test_a_subfolder_is_opened(subfolder: str, checkpoint: Path):
    """The checkpoint may lie in a folder below the source."""
    Block(width=32).save_pretrained(checkpoint / "encoder" / "base")

    assert Block.from_pretrained(checkpoint, subfolder=subfolder).width == 32


def test_a_missing_subfolder_is_named(checkpoint: Path):
    """A subfolder that is absent is reported with those that are there."""
    (checkpoint / "encoder").mkdir()
    with pytest.raises(SourceNotFoundError) as caught:
        Block.from_pretrained(checkpoint, subfolder="encodr")

    assert str(caught.value) == (f"there is no folder {str(checkpoint / 'encodr')!r}.\n  Did you mean 'encoder'?")


@pytest.mark.parametrize("subfolder", ["..", "a/../..", "..\\a", "C:"])
@pytest.mark.parametrize("source", ["checkpoint", "org/name"])
def test_a_subfolder_stays_inside(source: str, subfolder: str, checkpoint: Path):
    """A subfolder that would leave its source, a folder or a repository, is refused before any look-up."""
    del checkpoint
    with pytest.raises(UnsafePathError, match="is not a plain file name, so it could leave the folder"):
        Block.from_pretrained(source, subfolder=subfolder)


# ---- files


def test_a_file_is_found_or_not(checkpoint: Path):
    """`find` gives the path of a file that is there and None for one that is not."""
    opened = open_source(checkpoint)

    assert opened.find("config.json") == checkpoint / "config.json"
    assert opened.find("model.safetensors") is None


def test_a_broken_link_is_found(checkpoint: Path):
    """A link whose target is gone is there: reading it is what must fail, not a search elsewhere."""
    (checkpoint / "link").symlink_to("gone")

    assert open_source(checkpoint).find("link") == checkpoint / "link"


def test_a_missing_file_lists_the_others(checkpoint: Path):
    """`path` reports a file that is absent with those that are there."""
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(checkpoint).path("model.safetensors")

    assert str(caught.value) == (
        f"{checkpoint / 'model.safetensors'} does not exist.\n  The folder holds: config.json."
    )


@pytest.mark.parametrize("source", [Source("a", Path("a")), Source("a", None, "org/name", "0" * 40)], ids=str)
@pytest.mark.parametrize("name", ["../config.json", "/etc/passwd", "a/b", ""])
def test_files_stay_inside(source: Source, name: str):
    """A file name that would leave the source is refused, for a repository before it is asked."""
    with pytest.raises(UnsafePathError) as caught:
        source.find(name)

    assert "is not a plain file name, so it could leave the folder" in str(caught.value)


def test_places_are_named():
    """A file of a folder is named by its path, one of a repository by commit and subfolder."""
    commit = "0123456789abcdef" * 2 + "01234567"

    assert Source("a", Path("a")).where("x") == str(Path("a") / "x")
    assert Source("org/name", None, "org/name", commit).where("x") == "org/name@0123456789ab/x"
    assert Source("org/name", None, "org/name").where("x") == "org/name@main/x"
    assert Source("n", None, "n", commit, {"subfolder": "a/b"}).where("x") == "n@0123456789ab/a/b/x"


# ---- options


def test_an_unknown_option_is_refused(checkpoint: Path):
    """An option that no source has is an error with the nearest name."""
    with pytest.raises(UnknownOptionError) as caught:
        open_source(checkpoint, revison="main")

    assert str(caught.value) == "'revison' is no option of a source.\n  Did you mean 'revision'?"


def test_options_of_the_hub_do_nothing_to_a_folder(checkpoint: Path):
    """The options of the Hub are accepted for a folder."""
    assert Block.from_pretrained(checkpoint, revision="v1", token=False, local_files_only=True).width == 16


def test_options_are_told_from_fields():
    """`split_options` separates the options of a source from everything else."""
    assert split_options({"revision": "main", "width": 3, "token": False}) == (
        {"revision": "main", "token": False},
        {"width": 3},
    )
    assert sorted(HUB_OPTIONS) == [
        "cache_dir",
        "force_download",
        "local_files_only",
        "revision",
        "subfolder",
        "token",
    ]


def test_a_folder_needs_no_hub(checkpoint: Path):
    """Importing the package and loading from a folder imports neither huggingface_hub nor torch."""
    code = (
        "import sys; from nameplate_config import PreTrainedConfig\n"
        "PreTrainedConfig.from_pretrained(sys.argv[1])\n"
        "print(sorted({'torch', 'huggingface_hub'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, checkpoint], capture_output=True, text=True, check=True, env={**os.environ}
    )

    assert done.stdout == "[]\n"
