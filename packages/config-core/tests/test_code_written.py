"""Code is written into a checkpoint folder and nowhere else, all of it or none, and works there."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from nameplate_config import UnsafePathError
from nameplate_config.code import SourceFiles, drafted_code, source_files

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="links are those of POSIX")

Define = Callable[..., type]


def write_code(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write code into a checkpoint folder, as a save does."""
    folder.mkdir(exist_ok=True)
    with drafted_code(folder, files) as publish:
        publish()


def run(code: str, *arguments: str | Path, stdin: str | None = None) -> str:
    """Return what another process prints that runs code, isolated from this one."""
    command = [sys.executable, "-I", "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# ---- writing


def test_files_are_written_into_their_folders(tmp_path: Path):
    """Each file is written where its path says, and folders are made."""
    write_code(tmp_path, {"top.py": b"1", "a/b.py": b"2", "a/c/__init__.py": b""})

    written = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert written == {"top.py": b"1", "a/b.py": b"2", "a/c/__init__.py": b""}


def test_only_what_changed_is_written(tmp_path: Path):
    """A file with the same bytes is left alone; a shorter, longer or other one is replaced."""
    files = {f"{name}.py": b"12" for name in "abcd"}
    for name, data in zip("abcd", (b"12", b"1", b"123", b"21"), strict=True):
        (tmp_path / f"{name}.py").write_bytes(data)
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    write_code(tmp_path, files)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files
    assert (tmp_path / "a.py").stat().st_ino == before["a.py"]


@pytest.mark.parametrize(
    "name", ["../a.py", "a/../../b.py", "/a.py", "a//b.py", "C:/a.py", "a\\b.py", "a\0.py"], ids=repr
)
def test_nothing_is_written_outside(name: str, tmp_path: Path):
    """A path that leads out of the folder is refused."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    with pytest.raises(UnsafePathError):
        write_code(folder, {name: b""})

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@ON_POSIX
def test_a_linked_folder_is_not_written_through(tmp_path: Path):
    """A link among the folders of a checkpoint could lead anywhere, so it is refused."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError) as caught:
        write_code(folder, {"models/a.py": b""})

    assert str(caught.value) == (
        f"{str(folder / 'models')!r} is a link, so 'models/a.py' could leave the folder. Remove the link."
    )
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path):
    """Where a folder is needed and a file lies, nothing is written."""
    (tmp_path / "models").write_text("")
    with pytest.raises(UnsafePathError, match="is not a folder"):
        write_code(tmp_path, {"models/a.py": b""})


def test_a_folder_in_the_place_of_a_file_is_refused(tmp_path: Path):
    """Where a file is needed and a folder lies, the folder is named, and nothing is written."""
    (tmp_path / "b.py").mkdir()
    with pytest.raises(UnsafePathError) as caught:
        write_code(tmp_path, {"a.py": b"", "b.py": b""})

    assert str(caught.value) == (
        f"{str(tmp_path / 'b.py')!r} is a folder, and code of that name is to be saved.\n  Remove the folder."
    )
    assert [path.name for path in tmp_path.iterdir()] == ["b.py"]


def test_nothing_changes_until_it_is_published(tmp_path: Path):
    """What was prepared and not published leaves no trace."""
    (tmp_path / "a.py").write_text("old")
    with drafted_code(tmp_path, {"a.py": b"new", "b.py": b"new"}):
        assert (tmp_path / "a.py").read_text() == "old"

    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"a.py": "old"}


def test_no_file_of_the_checkpoint_is_written(tmp_path: Path):
    """Code with the name of a file of the checkpoint itself is a mistake of ours."""
    with pytest.raises(AssertionError, match=r"config\.json"):
        write_code(tmp_path, {"config.json": b"{}"})


# ---- the copy works


LOAD = """
import importlib, importlib.machinery, importlib.util, sys
from pathlib import Path
folder, reference = Path(sys.argv[1]), sys.argv[2]
sys.dont_write_bytecode = True
init = folder / "__init__.py"
if init.is_file():
    spec = importlib.util.spec_from_file_location("copied", init, submodule_search_locations=[str(folder)])
else:
    spec = importlib.machinery.ModuleSpec("copied", None, is_package=True)
    spec.submodule_search_locations.append(str(folder))
root = sys.modules["copied"] = importlib.util.module_from_spec(spec)
if spec.loader:
    spec.loader.exec_module(root)
module, _, name = reference.rpartition(".")
cls = getattr(importlib.import_module(f"copied.{module}"), name)
assert "pkg" not in sys.modules
print(cls.__module__, cls().value(), cls.total)
"""

EVERY_STYLE = {
    "pkg/__init__.py": "from .models.resnet.configuration import XConfig\nNAME = 'not copied'",
    "pkg/unrelated.py": "",
    "pkg/models/__init__.py": "from .constants import TEN\nHUNDRED = TEN * 10",
    "pkg/models/constants.py": "TEN = 10",
    "pkg/models/base.py": "class Base:\n    total = 1000",
    "pkg/models/parts/__init__.py": "__all__ = ['listed', 'FOUR']\nFOUR = 4",
    "pkg/models/parts/listed.py": "FIVE = 5",
    "pkg/models/parts/deep/__init__.py": "",
    "pkg/models/parts/deep/block.py": "from ... import HUNDRED\nfrom ..listed import FIVE as NUMBER\nSIX = NUMBER + 1",
    "pkg/models/plain/seven.py": "SEVEN = 7",
    "pkg/models/resnet/__init__.py": "",
    "pkg/models/resnet/one.py": "ONE = 1",
    "pkg/models/resnet/two.py": "TWO = 2",
    "pkg/models/resnet/lazy.py": "from __future__ import annotations\nLAZY = 20",
    "pkg/models/resnet/typed.py": "Typed = int",
    "pkg/models/resnet/configuration.py": """
from __future__ import annotations
import json
from typing import TYPE_CHECKING
from . import one
from . import two as second
from .. import base, HUNDRED
from ..parts import *
from ..parts.deep.block import SIX
from ..plain.seven import SEVEN
if TYPE_CHECKING:
    from .typed import Typed
try:
    from .missing_name import nothing
except ImportError:
    nothing = 0

class XConfig(base.Base):
    def value(self) -> Typed:
        from .lazy import LAZY
        from .. import constants
        return [one.ONE, second.TWO, FOUR, listed.FIVE, SIX, SEVEN, constants.TEN, LAZY, HUNDRED]
""",
    "pkg/models/resnet/missing_name.py": "raise ImportError",
}


def copied(found: SourceFiles, folder: Path) -> str:
    """Return what a process prints that imports a copy under another name."""
    write_code(folder, found.files)
    return run(LOAD, folder, found.references[0])


def test_a_copied_layout_works_elsewhere(define: Define, tmp_path: Path):
    """A copy that uses every style of relative import, imported under another name, gives a class that works."""
    files = source_files(define(EVERY_STYLE, "pkg.models.resnet.configuration.XConfig"))

    assert copied(files, tmp_path / "checkpoint") == (
        "copied.resnet.configuration [1, 2, 4, 5, 6, 7, 10, 20, 100] 1000\n"
    )
    assert set(files.files) == {
        name.removeprefix("pkg/models/") for name in EVERY_STYLE if name.startswith("pkg/models/")
    }


def test_a_copied_folder_works_elsewhere(define: Define, tmp_path: Path):
    """A flat copy without an `__init__` of its root, imported under another name, gives a class that works."""
    files = source_files(
        define(
            {
                "pkg/__init__.py": "from .a import A",
                "pkg/a.py": "from . import b\nfrom .c import C\nclass A:\n    total = C\n    value = lambda self: b.B",
                "pkg/b.py": "B = 1",
                "pkg/c.py": "C = 2",
            }
        )
    )

    assert copied(files, tmp_path / "checkpoint") == "copied.a 1 2\n"


def test_a_copied_package_works_elsewhere(define: Define, tmp_path: Path):
    """A class defined in an `__init__` works below the root of the copy."""
    files = source_files(
        define(
            {
                "pkg/__init__.py": "from .b import B\nclass A:\n    total = B\n    def value(self): return B",
                "pkg/b.py": "B = 3",
            },
            "pkg.A",
        )
    )
    write_code(tmp_path / "checkpoint", files.files)
    assert run(LOAD.replace('assert "pkg"', 'assert "other"'), tmp_path / "checkpoint", "pkg.A") == "copied.pkg 3 3\n"
