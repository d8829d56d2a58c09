"""A path or a repository, decided once: what lies in a folder, and what is said when it is not there."""

import copy
import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import (
    HUB_OPTIONS,
    ConfigFileError,
    PreTrainedConfig,
    Source,
    SourceNotFoundError,
    UnknownOptionError,
    UnsafePathError,
    open_source,
    split_options,
)
from nameplate_config.record import record_metadata, seal


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


@pytest.mark.parametrize("options", [{"revision": "main"}, {"subfolder": "encoder"}, {"token": False}], ids=str)
def test_an_opened_source_takes_no_options(options: dict[str, Any], checkpoint: Path):
    """An option for a source that is open already would be ignored, so it is refused."""
    with pytest.raises(UnknownOptionError) as caught:
        Block.from_pretrained(open_source(checkpoint), **options)

    (name,) = options
    assert str(caught.value) == (
        f"{name!r} has no effect on {str(checkpoint)!r}, which is open already. Give it to open_source."
    )


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
    monkeypatch.setattr("nameplate_config._source.open_repository", pytest.fail)
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


def test_a_file_is_no_folder(checkpoint: Path):
    """Where a checkpoint is asked for, the path of a file is refused with the advice to name its folder."""
    with pytest.raises(SourceNotFoundError) as caught:
        open_source(checkpoint / "config.json")

    assert str(caught.value) == (f"{str(checkpoint / 'config.json')!r} is a file. Give the folder that holds it.")


# ---- one file


@pytest.mark.parametrize("kind", [str, Path], ids=["text", "path"])
@pytest.mark.parametrize("name", ["config.json", "a config.txt"])
def test_a_file_is_read_as_the_config(kind: type, name: str, checkpoint: Path):
    """The path of a file, whatever it is called, is that of the config."""
    (checkpoint / "config.json").rename(checkpoint / name)
    config = Block.from_pretrained(kind(checkpoint / name))

    assert (config.width, config.name_or_path) == (16, str(checkpoint / name))
    assert Block.get_config_dict(kind(checkpoint / name)) == ({"width": 16}, {})


def test_a_file_is_read_with_overrides(checkpoint: Path):
    """Options of the Hub do nothing to a file, and fields may get another value than the file's."""
    assert Block.from_pretrained("checkpoint/config.json", revision="v1", width=3).width == 3
    assert checkpoint.is_dir()


def test_a_file_in_the_home_folder_is_read(checkpoint: Path, monkeypatch: pytest.MonkeyPatch):
    """A tilde stands for the home folder."""
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    monkeypatch.setenv("USERPROFILE", str(checkpoint.parent))

    assert Block.from_pretrained("~/checkpoint/config.json").width == 16


def test_a_file_is_that_and_no_other(checkpoint: Path):
    """A file that is named is read whatever lies beside it: no record of weights takes its place."""
    stale = (checkpoint / "config.json").read_bytes()
    metadata = record_metadata('{"width": 32}', stale)
    header = json.dumps({"__metadata__": metadata}, separators=(",", ":")).encode()
    (checkpoint / "model.safetensors").write_bytes(seal(struct.pack("<Q", len(header)) + header)[0])

    assert Block.from_pretrained(checkpoint).width == 32
    assert Block.from_pretrained(checkpoint / "config.json").width == 16


@pytest.mark.parametrize(
    ("data", "code"), [(b"width: 16", "syntax"), (b"[1]", "wrong-root"), (b"\xff\xfe", "not-utf-8")], ids=str
)
def test_a_file_that_is_no_config_is_named(data: bytes, code: str, checkpoint: Path):
    """A file that is not the JSON of a config is an error of that file."""
    (checkpoint / "notes").write_bytes(data)
    with pytest.raises(ConfigFileError) as caught:
        Block.from_pretrained(checkpoint / "notes")

    assert caught.value.code == code
    assert str(checkpoint / "notes") in str(caught.value)


def test_values_that_do_not_fit_name_the_file(checkpoint: Path):
    """A file whose values do not fit the fields is named."""
    (checkpoint / "other.json").write_text('{"width": "wide"}')
    with pytest.raises(ConfigFileError) as caught:
        Block.from_pretrained(checkpoint / "other.json")

    assert str(checkpoint / "other.json") in str(caught.value)


def test_a_file_has_no_subfolder(checkpoint: Path):
    """A file and a subfolder contradict each other."""
    with pytest.raises(SourceNotFoundError) as caught:
        Block.from_pretrained(checkpoint / "config.json", subfolder="encoder")

    assert str(caught.value) == (
        f"{str(checkpoint / 'config.json')!r} is a file, so it has no subfolder 'encoder'. Give one of them."
    )


def test_a_file_in_place_of_a_subfolder_is_refused(checkpoint: Path):
    """A subfolder that is a file is no config: the source was a folder."""
    with pytest.raises(SourceNotFoundError, match=r"is a file\. Give the folder that holds it\."):
        Block.from_pretrained(checkpoint, subfolder="config.json")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no FIFOs")
def test_what_is_no_regular_file_is_refused(checkpoint: Path):
    """A FIFO would block for ever, so it is not read."""
    os.mkfifo(checkpoint / "pipe")
    with pytest.raises(SourceNotFoundError) as caught:
        Block.from_pretrained(checkpoint / "pipe")

    assert str(caught.value) == f"{str(checkpoint / 'pipe')!r} is not a regular file."


def test_a_file_holds_nothing_else(checkpoint: Path):
    """A source that is one file has no weights: `find` and `path` say to give the folder."""
    opened = open_source(checkpoint / "config.json", allow_file=True)

    assert (opened.folder, opened.file) == (None, checkpoint / "config.json")
    assert opened.where("model.safetensors") == str(checkpoint / "config.json")
    for look in (opened.find, opened.path):
        with pytest.raises(SourceNotFoundError, match=r"is a file\. Give the folder that holds it\."):
            look("model.safetensors")


def test_a_folder_may_be_given_where_a_file_may(checkpoint: Path):
    """Where a file is allowed, folders are what they are elsewhere."""
    assert open_source(checkpoint, allow_file=True) == open_source(checkpoint)
    with pytest.raises(SourceNotFoundError, match="there is no folder"):
        open_source(checkpoint / "absent.json", allow_file=True)


# ---- where a config comes from


def test_a_config_knows_its_folder(checkpoint: Path):
    """`name_or_path` is what the caller called the source; a folder has no commit."""
    config = Block.from_pretrained("checkpoint")
    opened = Block.from_pretrained(open_source(checkpoint))

    assert (config.name_or_path, config.commit_hash) == ("checkpoint", None)
    assert (opened.name_or_path, opened.commit_hash) == (str(checkpoint), None)


def test_a_config_that_was_not_loaded_comes_from_nowhere():
    """A config from a constructor or a dict has no place."""
    for config in (Block(), Block.from_dict({"width": 3})):
        assert (config.name_or_path, config.commit_hash) == ("", None)


@pytest.mark.parametrize(
    "duplicate",
    [
        lambda config: config.copy(),
        lambda config: config.copy(width=3),
        copy.copy,
        copy.deepcopy,
        lambda config: copy.deepcopy(config.freeze()),
        lambda config: pickle.loads(pickle.dumps(config)),
    ],
    ids=["copy()", "copy(width=3)", "copy.copy", "copy.deepcopy", "frozen", "pickle"],
)
def test_a_copy_knows_where_it_comes_from(duplicate: Callable[[Block], Block], checkpoint: Path):
    """A copy comes from the place of the original."""
    commit = "0123456789abcdef" * 2 + "01234567"
    config = Block.from_pretrained(Source("org/name", checkpoint, None, commit))
    own = duplicate(config)

    assert own is not config
    assert (own.name_or_path, own.commit_hash) == ("org/name", commit)


def test_a_change_does_not_move_a_config(checkpoint: Path):
    """A config that is updated still comes from where it was loaded."""
    config = Block.from_pretrained(checkpoint)
    config.update({"width": 3})

    assert config.name_or_path == str(checkpoint)


def test_where_a_config_comes_from_is_not_part_of_it(checkpoint: Path, tmp_path: Path):
    """The place is not compared, shown, saved or handed on by a dict."""
    config = Block.from_pretrained(checkpoint)
    config.save_pretrained(tmp_path / "other")

    assert (config, repr(config), config.to_dict()) == (Block(width=16), repr(Block(width=16)), {"width": 16})
    assert (tmp_path / "other" / "config.json").read_bytes() == (checkpoint / "config.json").read_bytes()
    assert Block.from_dict(config.to_dict()).name_or_path == ""
    assert config.name_or_path == str(checkpoint)


def test_where_a_config_comes_from_cannot_be_assigned(checkpoint: Path):
    """The place is a fact, not a setting."""
    config = Block.from_pretrained(checkpoint)
    with pytest.raises(AttributeError):
        config.name_or_path = "elsewhere"  # type: ignore[misc]
    with pytest.raises(AttributeError):
        config.commit_hash = "0"  # type: ignore[misc]

    assert config.to_dict() == {"width": 16}


# ---- the values alone


def test_the_values_of_a_file_are_those_of_its_json(checkpoint: Path):
    """`get_config_dict` gives what the file holds, unknown keys and wrong values included, and what is no option."""
    text = '{"width": "wide", "other": [1.0], "model_type": "kite"}'
    (checkpoint / "sub").mkdir()
    (checkpoint / "sub" / "config.json").write_text(text)
    values, unused = Block.get_config_dict(checkpoint, subfolder="sub", revision="main", width=3, revison="v1")

    assert values == {"width": "wide", "other": [1.0], "model_type": "kite"}
    assert unused == {"width": 3, "revison": "v1"}


def test_the_values_are_read_anew(checkpoint: Path):
    """Whoever changes the values that `get_config_dict` gave changes nobody else's."""
    Block.get_config_dict(checkpoint)[0]["width"] = 3

    assert Block.get_config_dict(open_source(checkpoint)) == ({"width": 16}, {})


def test_the_values_of_no_config_are_an_error(checkpoint: Path):
    """`get_config_dict` raises what `from_pretrained` raises."""
    (checkpoint / "config.json").write_text("[1]")
    with pytest.raises(ConfigFileError):
        Block.get_config_dict(checkpoint)
    (checkpoint / "config.json").unlink()
    with pytest.raises(SourceNotFoundError):
        Block.get_config_dict(checkpoint)


# ---- subfolders


@pytest.mark.parametrize("subfolder", ["encoder/base", "encoder/base/"])
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


def test_an_option_that_is_none_is_not_given(checkpoint: Path):
    """None stands for the default, as callers of Transformers pass it, also beside a source that is open."""
    source = open_source(checkpoint, subfolder=None, revision=None)  # type: ignore[arg-type]

    assert source == open_source(checkpoint) == open_source(source, token=None)  # type: ignore[arg-type]


def test_a_subfolder_that_is_no_text_is_refused(checkpoint: Path):
    """A path of another type is an error of ours, here and for a repository."""
    for source in (checkpoint, "org/name"):
        with pytest.raises(UnknownOptionError, match=r"subfolder must be a text, found 3\. Give its path"):
            open_source(source, subfolder=3)  # type: ignore[arg-type]


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


@pytest.mark.parametrize("subfolder", ["/", "/etc", "//inside"])
def test_an_absolute_subfolder_is_refused(subfolder: str, tmp_path: Path):
    """A subfolder lies inside its source; one that begins at the root of the file system is no such path."""
    with pytest.raises(UnsafePathError, match=r"is absolute\. Give its path inside the source\."):
        open_source(tmp_path, subfolder=subfolder)
