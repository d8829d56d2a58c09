"""What the type checkers of users say about the public names: two of them read the files in typing_tests.

A line on which a checker must complain ends in a comment for pyrefly, which says itself when one is not needed.
Pyright, of which basedpyright is the build on PyPI, must complain on exactly the same lines.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from workspace import ROOT

FILES = sorted(ROOT.glob("packages/*/typing_tests/*.py"))
MARK = "# pyrefly: ignore["

RIGHT = """
from nameplate_config import PreTrainedConfig


class BlockConfig(PreTrainedConfig):
    width: int = 8


print(BlockConfig(width=3))
"""


def pyrefly(files: Sequence[Path]) -> str:
    """Return what pyrefly, as strict as in this repository, finds; empty if nothing is wrong."""
    command = ["check", "--config", str(ROOT / "pyproject.toml"), "--python-interpreter-path", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", "pyrefly", *command, "--output-format", "min-text", *map(str, files)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode in {0, 1}, done.stderr
    return done.stdout if done.returncode else ""


def pyright(files: Sequence[Path], project: Path) -> list[str]:
    """Return where pyright's errors and the marks differ, sorted.

    Args:
        files: What it reads.
        project: An empty folder, so that nothing but pyright's own standard counts.
    """
    settings = project / "pyrightconfig.json"
    settings.write_text(json.dumps({"typeCheckingMode": "standard"}))
    command = ["--outputjson", "--project", str(settings), "--pythonpath", sys.executable, *map(str, files)]
    done = subprocess.run([sys.executable, "-m", "basedpyright", *command], capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert answer["summary"]["filesAnalyzed"] == len(files), done.stderr
    found = {
        (Path(each["file"]).resolve(), each["range"]["start"]["line"] + 1): each["message"]
        for each in answer["generalDiagnostics"]
        if each["severity"] == "error"
    }
    marked = {(file.resolve(), line) for file in files for line in marked_lines(file)}
    return sorted(
        f"{file}:{line}: {found.get((file, line), 'nothing is wrong here')}" for file, line in found.keys() ^ marked
    )


def marked_lines(file: Path) -> list[int]:
    """Return the lines on which a checker must complain."""
    lines = enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
    return [number for number, line in lines if MARK in line]


def test_every_layer_is_checked() -> None:
    """The packages that others build on say what a checker sees of them, right and wrong."""
    assert {file.parts[-3] for file in FILES} >= {"config-core", "model-core", "auto-registry"}
    assert all(marked_lines(file) for file in FILES)


def test_pyrefly_agrees() -> None:
    """Pyrefly finds the errors that are marked, and no others."""
    assert pyrefly(FILES) == ""


def test_pyright_agrees(tmp_path: Path) -> None:
    """Pyright finds the errors that are marked, and no others."""
    assert pyright(FILES, tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("width=3", "wdith=3"),
        ("width=3", "width='wide'"),
        ("width: int = 8", "width: int = 'wide'"),
        ("width=3))", "width=3))  # pyrefly: ignore[bad-argument-type]"),
    ],
)
def test_a_wrong_file_is_found_wrong(old: str, new: str, tmp_path: Path) -> None:
    """Both checkers see an error without a mark, and a mark without an error."""
    file = tmp_path / "check_wrong.py"
    assert old in RIGHT
    file.write_text(RIGHT.replace(old, new))
    assert "check_wrong.py" in pyrefly([file])
    assert len(pyright([file], tmp_path)) == 1


@pytest.mark.parametrize("last", ["width=3))", "width='wide'))  # pyrefly: ignore[bad-argument-type]"])
def test_a_right_file_is_found_right(last: str, tmp_path: Path) -> None:
    """Both checkers are content with what is right, and with an error that is marked."""
    file = tmp_path / "check_right.py"
    file.write_text(RIGHT.replace("width=3))", last))

    assert (pyrefly([file]), pyright([file], tmp_path)) == ("", [])
