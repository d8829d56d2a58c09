"""Data files that code reads beside itself are copied with it: those that it names, and no others."""

import ast
import string
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nameplate_config import SourceCodeError
from nameplate_config.code import MOST_DATA_FILES, data_names, is_of_checkpoint, source_files

Define = Callable[..., type]

READER = "from importlib.resources import files\nclass A:\n    text = files(__package__) / {!r}\n"


# ---- which names count


@pytest.mark.parametrize(
    "name", ["labels.txt", "a/b/c.json", "v1.2.csv", "x.tsv", "x.yaml", "x.yml", "x.toml", "_.npy", "0-a/b.c.txt"]
)
def test_a_plain_relative_name_counts(name: str):
    """A text that is a relative path with an ending of data is taken for a file."""
    assert data_names(ast.parse(f"x = {name!r}")) == [name]


@pytest.mark.parametrize(
    "text",
    [
        "../labels.txt", "/labels.txt", "a/../b.txt", "./a.txt", "a//b.txt", "a\\b.txt", "C:/a.txt", ".a.txt",
        "a/.b.txt", "a.py", "a.bin", "a.safetensors", "a.TXT", "labels", "txt", ".txt", "see a.txt", "a.txt\n",
        "a.txt\0", "é.txt", "", "a" * 200 + ".txt",
    ],
)  # fmt: skip
def test_other_texts_do_not(text: str):
    """A path that could lead elsewhere, another ending, or a sentence names no data."""
    assert data_names(ast.parse(f"x = {text!r}")) == []


def test_names_are_found_anywhere_and_once():
    """Arguments, defaults, docstrings, parts of f-strings and annotations count alike; bytes do not."""
    source = """
'c.txt'
def f(a='b.txt', b=b'no.txt'):
    'a.txt'
    return g('b.txt')(f'd.txt{a}')
"""

    assert data_names(ast.parse(source)) == ["a.txt", "b.txt", "c.txt", "d.txt"]


@given(st.lists(st.text(alphabet="ab/..\\ :\0é_-", max_size=8), max_size=4), st.sampled_from(["", ".txt", ".json"]))
@example(["..", ".."], ".txt")
def test_no_name_leaves_the_folder(parts: list[str], ending: str):
    """Whatever a module says, a name that counts lies below its folder and looks the same on every system."""
    for name in data_names(ast.parse(f"x = {'/'.join(parts) + ending!r}")):
        assert set(name) <= {*string.ascii_letters, *string.digits, *"_.-/"}
        assert all(part and not part.startswith(".") for part in name.split("/"))


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("config.json", True),
        ("generation_config.json", True),
        ("model.safetensors.index.json", True),
        ("model.safetensors.index.fp16.json", True),
        ("labels.json", False),
        ("my_config.json", False),
        ("deep/config.json", False),
        ("index.json", False),
    ],
)
def test_files_of_the_checkpoint_are_no_data(path: str, expected: bool):
    """Configs and indices that lie where a checkpoint has them belong to it."""
    assert is_of_checkpoint(path) is expected


# ---- what is copied


def test_data_is_copied_to_its_place(define: Define):
    """A file beside the module, or below, goes with it, whatever reads it."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "from .deep import b\ndef f(): return get_data(__package__, 'x/t.csv')\nclass A: pass",
            "pkg/x/t.csv": "1,2",
            "pkg/deep/__init__.py": "NAMES = 'names.yml'",
            "pkg/deep/b.py": "LABELS = 'labels.json', 'names.yml'",
            "pkg/deep/labels.json": "[]",
            "pkg/deep/names.yml": "a: 1",
            "pkg/labels.json": "of nobody",
        }
    )

    assert dict(source_files(cls).files) == {
        name.removeprefix("pkg/"): (Path(sys.path[0]) / name).read_bytes()
        for name in (
            "pkg/a.py", "pkg/deep/__init__.py", "pkg/deep/b.py", "pkg/deep/labels.json", "pkg/deep/names.yml",
            "pkg/x/t.csv",
        )
    }  # fmt: skip


def test_a_name_of_nothing_is_no_error(define: Define):
    """A text that names no file, or a folder, stands for itself."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": READER.format("labels.txt"), "pkg/labels.txt/x": ""})

    assert list(source_files(cls).files) == ["a.py"]


def test_a_file_of_a_checkpoint_is_left_out(define: Define):
    """A `config.json` beside the module would take the place of the checkpoint's own; one below does not."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "X = 'config.json', 'sub/config.json'\nclass A: pass",
            "pkg/config.json": "{}",
            "pkg/sub/config.json": "{}",
        }
    )

    assert list(source_files(cls).files) == ["a.py", "sub/config.json"]


def test_fifty_data_files_are_copied(define: Define):
    """The budget is fifty data files; one more names the line that asks for it."""
    names = [f"d{number:02}.txt" for number in range(MOST_DATA_FILES + 1)]
    cls = define({"pkg/__init__.py": "", "pkg/a.py": "class A: pass", **{f"pkg/{name}": "" for name in names}})
    file = Path(str(sys.modules["pkg.a"].__file__))
    file.write_text(f"class A: pass\nX = {names[:-1]}")
    assert len(source_files(cls).files) == MOST_DATA_FILES + 1

    file.write_text(f"class A: pass\nX = {names[:-1]}\nY = {names[-1]!r}")
    last = str(file.with_name("d50.txt"))
    with pytest.raises(SourceCodeError) as caught:
        source_files(cls)
    assert str(caught.value).splitlines()[1] == (
        f"  {file}:3: with {last!r}, which this line needs, it would be more than 50 data files."
    )


def test_data_counts_as_much_as_source(define: Define):
    """Modules and data have one budget of four MiB."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": READER.format("big.txt")})
    file = Path(str(sys.modules["pkg.a"].__file__))
    big = file.with_name("big.txt")
    big.write_bytes(b"x" * ((4 << 20) - file.stat().st_size))
    assert len(source_files(cls).files) == 2

    big.write_bytes(b"x" * ((4 << 20) - file.stat().st_size + 1))
    with pytest.raises(SourceCodeError, match=r"a\.py:3: with .*big\.txt'.* more than 4 MiB of source\."):
        source_files(cls)

    big.write_bytes(b"x" * ((4 << 20) + 1))
    with pytest.raises(SourceCodeError, match=r"big\.txt' has 4,194,305 bytes; at most 4,194,304 are read\."):
        source_files(cls)
