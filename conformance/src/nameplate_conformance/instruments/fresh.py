"""Asking a fresh interpreter: what it imports, and what it makes of the packages that are installed for it.

An answer is remembered, since starting a process costs more than most laws do.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from nameplate_conformance.law import broken

GROUP = "nameplate.architectures"
"""The group of entry points by which packages announce architectures."""

NO_PACKAGES = """
import os
os.environ["NAMEPLATE_PLUGINS"] = ""
"""
"""Lines after which a process believes no installed package that announces something."""

_PATIENCE = 300
"""Seconds that a process may take; importing torch alone can take twenty of them."""

_PRELUDE = """
import json, sys
def said(ask):
    try:
        ask()
    except Exception as error:
        return [type(error).__name__, str(error)]
    return ["", ""]
"""


def ask(code: str, *paths: Path) -> Any:
    """Run lines of code that set `answer` in a fresh interpreter that imports from where this one does; return it.

    Args:
        code: The lines. They may call ``said(ask)`` for the type and the text of the error that *ask* raises.
        *paths: Folders from which it imports before all others.

    Raises:
        LawBrokenError: If the lines raise something, or do not end.
    """
    path = [*map(str, paths), *sys.path]
    lines = [_PRELUDE, f"sys.path[:] = {path!r}", code, "print(json.dumps(answer))"]
    command = [sys.executable, "-c", "\n".join(lines)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE)  # noqa: S603 - our own lines
    except subprocess.TimeoutExpired:
        broken(f"a fresh process does not end within {_PATIENCE} seconds")
    if done.returncode:
        broken(f"a fresh process fails: {done.stderr.strip()[-500:]}")
    return json.loads(done.stdout.splitlines()[-1])


def importable(value: type) -> bool:
    """Whether a module that can be found holds a class under its name, so that another process could import it."""
    home, top = sys.modules.get(value.__module__), value.__module__.partition(".")[0]
    if top == "__main__" or getattr(home, value.__qualname__, None) is not value:
        return False
    return any(finder.find_spec(top, None) is not None for finder in sys.meta_path)  # whatever was imported by hand


def place(value: type) -> str:
    """Return the text ``"module:Class"`` of a class."""
    return f"{value.__module__}:{value.__qualname__}"


def is_announced(model_type: str) -> bool:
    """Whether an installed package announces a name."""
    return bool(entry_points(group=GROUP, name=model_type))


def install(folder: Path, distribution: str, announced: Mapping[str, str], modules: Mapping[str, str]) -> None:
    """Lay version 1.0 of a distribution into a folder, as an installer would.

    Args:
        folder: What stands for ``site-packages``.
        distribution: The distribution's name.
        announced: The object that each announced name stands for, as ``"module:Name"``.
        modules: The text of each module by its name.
    """
    metadata = folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir()
    points = "".join(f"{name} = {target}\n" for name, target in announced.items())
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[{GROUP}]\n{points}", encoding="utf-8")
    for module, text in modules.items():
        (folder / f"{module}.py").write_text(text, encoding="utf-8")
