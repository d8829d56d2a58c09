"""Where an object comes from: its module, file and line, what it says it is, and the distribution that installed it.

Answers people, in errors and in `Registry.find`; nothing here decides anything. What is not imported stays so: then
the answer is what the import system knows without executing the module or its parents.
"""

import importlib.metadata
import importlib.util
import inspect
import json
import sys
from collections.abc import Collection
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def module_of(value: object) -> str:
    """Return the name of the module that defines a value, or the class that it is of."""
    found = getattr(value, "__module__", None)
    return found if isinstance(found, str) else type(value).__module__


def title_of(value: object) -> str:
    """Return the dotted name of a value, or of the class that it is of.

    Example:
        >>> from fractions import Fraction
        >>> title_of(Fraction), title_of(Fraction(1, 2))
        ('fractions.Fraction', 'fractions.Fraction')
    """
    name = getattr(value, "__qualname__", type(value).__qualname__)
    return f"{module_of(value)}.{name}"


def file_of(module: str) -> str | None:
    """Return the file of a module, which is not imported for it, or None if it has none.

    Example:
        >>> Path(file_of("json.decoder")).name
        'decoder.py'
        >>> file_of("no_such_package.module") is None
        True
    """
    loaded = sys.modules.get(module)
    if loaded is not None:
        return getattr(loaded, "__file__", None)
    spec = _spec(module)
    return spec.origin if spec is not None and spec.has_location else None


def _spec(module: str) -> ModuleSpec | None:
    """Return what the import system knows of a module; `find_spec` alone would import its parents."""
    parent = module.rpartition(".")[0]
    try:
        if not parent or parent in sys.modules:
            return importlib.util.find_spec(module)
        above = _spec(parent)
        if above is None or above.submodule_search_locations is None:
            return None
        return PathFinder.find_spec(module, above.submodule_search_locations)
    except (ImportError, ValueError, AttributeError):
        return None


def line_of(value: object) -> int | None:
    """Return the line on which a class or function begins in its file, or None if that cannot be told."""
    code = getattr(value, "__code__", None)
    if code is not None:
        return code.co_firstlineno
    try:
        return inspect.getsourcelines(value)[1] if isinstance(value, type) else None
    except (OSError, TypeError, SyntaxError):
        return None


def summary_of(value: object) -> str:
    """Return the first line of an object's docstring, or an empty text.

    Example:
        >>> summary_of(int)
        'int([x]) -> integer'
    """
    text = getattr(value, "__doc__", None)
    lines = text.strip().splitlines() if isinstance(text, str) else []
    return lines[0].strip() if lines else ""


@cache
def distribution_of(module: str) -> str | None:
    """Return name and version of the distribution that installed a module, or None if none did.

    Where the distribution is not called like the module, the lists of all files that are installed are read, which
    may take a second: ask only for an error, or for somebody who asks.
    """
    root = module.partition(".")[0]
    if root in sys.stdlib_module_names or root == "__main__":
        return None
    try:
        file = file_of(module) or file_of(root)
        found = _installed(root, file) or _editable(file)
        return " or ".join(sorted({_titled(name) for name in found})) or None
    except Exception:  # noqa: BLE001 - broken metadata of anybody must not hide the error that is being reported
        return None


def _installed(root: str, file: str | None) -> Collection[str]:
    """Return the distributions that brought a top-level module: that of its own name, else whichever list its files."""
    if file is not None and not _lies_among_distributions(Path(file), root):
        return []
    try:
        namesake = importlib.metadata.distribution(root)
    except importlib.metadata.PackageNotFoundError:
        return importlib.metadata.packages_distributions().get(root, ())
    if root in (namesake.read_text("top_level.txt") or "").split() or _lists(namesake, root):
        return [namesake.name]
    return importlib.metadata.packages_distributions().get(root, ())


def _lies_among_distributions(file: Path, root: str) -> bool:
    """Whether metadata of distributions lies in the folder that a top-level module was found in."""
    above = next((each for each in file.parents if each.name == root), file).parent
    return any(above.glob("*.dist-info")) or any(above.glob("*.egg-info"))


def _lists(distribution: importlib.metadata.Distribution, root: str) -> bool:
    return any(each.parts[0] in (root, f"{root}.py") for each in distribution.files or ())


def _editable(file: str | None) -> list[str]:
    """Return the distributions that are installed from the folder that holds a file: their lists do not name it."""
    if file is None:
        return []
    return [each.name for each in importlib.metadata.distributions() if _holds(each, Path(file).resolve())]


def _holds(distribution: importlib.metadata.Distribution, file: Path) -> bool:
    text = distribution.read_text("direct_url.json")
    known: dict[str, Any] = json.loads(text) if text else {}
    if not known.get("dir_info", {}).get("editable"):
        return False
    return file.is_relative_to(Path(unquote(urlsplit(known.get("url", "")).path)).resolve())


def _titled(name: str) -> str:
    return f"{name} {importlib.metadata.version(name)}"
