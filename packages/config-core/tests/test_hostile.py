"""Hundreds of bad config files, each refused with one error of ours, at once and in little memory.

The files lie in `hostile/<code>`, what their messages must say in `hostile/expected.json`. Those that are too
large to be kept are recipes in `hostile/large.json`. `hostile/reader.py` reads each in a process of its own.
"""

import importlib.util
import json
import os
import subprocess
import sys
import types
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import FILE_CODES, ConfigFileError, SourceNotFoundError

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each file is read in a fork")

FOLDER = Path(__file__).with_name("hostile")
READER = FOLDER / "reader.py"
FILES: dict[str, dict[str, Any]] = json.loads((FOLDER / "expected.json").read_text("utf-8"))
RECIPES: dict[str, dict[str, Any]] = json.loads((FOLDER / "large.json").read_text("utf-8"))

MOST_SECONDS = 1.0
"""The time of a processor that a file may take."""

MOST_BYTES = 64 << 20
"""The memory that a file may take above that of the process."""

LONGEST_MESSAGE = 4000
ONLY_LARGE = {"too-large", "too-many-keys", "too-many-values"}

Read = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server() -> Iterator[subprocess.Popen[str]]:
    """Start the process that reads the files of this module."""
    command = [sys.executable, str(READER)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        assert process.stdin is not None
        process.stdin.close()


@pytest.fixture
def read(server, tmp_path) -> Read:
    """Return what asks the server what comes of the bytes of a file."""

    def answer(data: bytes | None, target: str = "HostileTarget") -> dict[str, Any]:
        if data is not None:
            (tmp_path / "config.json").write_bytes(data)
        server.stdin.write(json.dumps({"path": str(tmp_path), "target": target}) + "\n")
        server.stdin.flush()
        return {**json.loads(server.stdout.readline()), "file": str(tmp_path / "config.json")}

    return answer


@pytest.fixture(scope="module")
def reader() -> Any:
    """Import the module of the targets."""
    spec = importlib.util.spec_from_file_location("hostile_reader", READER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def expanded(recipe: dict[str, Any]) -> bytes:
    """Return the bytes of a large file; a `#` in a counted unit is its number."""
    unit, times = recipe["unit"], recipe["times"]
    units = (unit.replace("#", str(number)) for number in range(times)) if recipe.get("counted") else [unit * times]
    # A surrogate in a recipe is a byte that is no UTF-8.
    return "".join([recipe["prefix"], *units, recipe["suffix"]]).encode("utf-8", "surrogateescape")


def check(outcome: dict[str, Any], code: str, says: str) -> None:
    """Make sure that a file was refused as it should be."""
    assert (outcome["error"], outcome.get("code")) == ("ConfigFileError", code), outcome
    message = outcome["message"]
    assert outcome["file"] in message
    assert says in message
    assert len(message) <= LONGEST_MESSAGE
    assert message.replace("\n", "").isprintable()
    assert outcome["assigned"] == []
    assert not outcome["shadowed"]
    assert outcome["seconds"] <= MOST_SECONDS
    assert outcome["bytes"] <= MOST_BYTES


@pytest.mark.parametrize("name", FILES)
def test_a_bad_file_is_refused(read: Read, name: str):
    """A bad file raises one error with its code, its name, and the key or the line."""
    expected = FILES[name]
    outcome = read((FOLDER / name).read_bytes(), expected.get("target", "HostileTarget"))

    check(outcome, name.partition("/")[0], expected["says"])


@pytest.mark.parametrize("name", RECIPES)
def test_a_large_bad_file_is_refused(read: Read, name: str):
    """A bad file of up to many megabytes is refused as fast as any other."""
    recipe = RECIPES[name]
    outcome = read(expanded(recipe), recipe.get("target", "HostileTarget"))

    check(outcome, name.partition("/")[0], recipe["says"])


# ---- what is no hostile file


def test_a_good_file_comes_back(reader, tmp_path):
    """A file with every field, lone surrogates and keys that look dangerous is read and saved the same."""
    data = (FOLDER / "valid.json").read_bytes()
    (tmp_path / "config.json").write_bytes(data)

    config = reader.HostileTarget.from_pretrained(tmp_path)
    config.save_pretrained(tmp_path / "saved")

    assert (tmp_path / "saved" / "config.json").read_bytes() == data
    assert reader.HostileTarget.from_pretrained(tmp_path / "saved") == config
    assert (config.title, config.mro) == ("\ud800", "kept")
    assert config._declared.fields.keys() - json.loads(data).keys() == set()


def test_the_check_fails_for_a_good_file(read: Read):
    """The check fails for a file that is read."""
    outcome = read((FOLDER / "valid.json").read_bytes())

    assert outcome["error"] == ""
    with pytest.raises(AssertionError):
        check(outcome, "wrong-value", "")


@pytest.mark.parametrize(
    "change",
    [
        {"error": "ValueError"},
        {"error": "killed by signal 14"},
        {"code": "syntax"},
        {"message": "width: expected an int"},
        {"message": "x/config.json: no"},
        {"message": "x/config.json width" + "x" * LONGEST_MESSAGE},
        {"message": "x/config.json width \x1b[2J"},
        {"message": "x/config.json width \ud800"},
        {"assigned": ["to_dict"]},
        {"shadowed": True},
        {"seconds": 1.1},
        {"bytes": 65 << 20},
    ],
)
def test_the_check_sees_everything(change: dict[str, Any]):
    """The check fails if any one thing about a refusal is wrong."""
    good = {
        "error": "ConfigFileError",
        "code": "wrong-value",
        "message": "x/config.json: width",
        "file": "x/config.json",
    }
    good |= {"assigned": [], "shadowed": False, "seconds": 0.1, "bytes": 0}
    check(good, "wrong-value", "width")

    with pytest.raises(AssertionError):
        check({**good, **change}, "wrong-value", "width")


# ---- what is no file


def test_an_absent_file_is_no_config(read: Read):
    """A folder without a config is a source that was not found."""
    assert read(None)["error"] == "SourceNotFoundError"


@pytest.mark.parametrize("kind", ["fifo", "folder", "dangling link", "link to itself", "device"])
def test_only_a_regular_file_is_read(read: Read, tmp_path, kind: str):
    """A FIFO, a folder, a device or a link to nothing is refused at once, and nothing is read from it."""
    path = tmp_path / "config.json"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to({"dangling link": "nowhere", "link to itself": "config.json", "device": "/dev/zero"}[kind])

    outcome = read(None)

    assert outcome["error"] == SourceNotFoundError.__name__
    assert str(tmp_path) in outcome["message"]
    assert "config.json" in outcome["message"]
    assert outcome["seconds"] <= MOST_SECONDS
    assert outcome["bytes"] <= MOST_BYTES


def test_the_name_of_a_dtype_imports_nothing(reader, tmp_path, monkeypatch):
    """A file cannot make torch look up, and so import, what the file names."""
    asked: list[str] = []
    torch = types.ModuleType("torch")
    torch.__getattr__ = asked.append  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "torch", torch)
    (tmp_path / "config.json").write_text('{"config_version": 3, "dtype": "_inductor"}')

    with pytest.raises(ConfigFileError):
        reader.HostileTarget.from_pretrained(tmp_path)

    assert asked == []


# ---- the corpus


def test_every_code_has_files():
    """Each rule has several files that break it; a rule about amounts has only large ones."""
    small = Counter(name.partition("/")[0] for name in FILES)
    every = small + Counter(name.partition("/")[0] for name in RECIPES)

    assert every.keys() == FILE_CODES.keys()
    assert min(every.values()) >= 4
    assert FILE_CODES.keys() - small.keys() == ONLY_LARGE
    assert sum(every.values()) >= 150


def test_every_file_is_expected():
    """The index names the files that are there, no more and no fewer."""
    there = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.json")}

    assert there == FILES.keys()


def test_no_two_files_are_alike():
    """Each file is there for a reason of its own."""
    contents = Counter(((FOLDER / name).read_bytes(), FILES[name].get("target")) for name in FILES)

    assert [data for data, times in contents.items() if times > 1] == []
