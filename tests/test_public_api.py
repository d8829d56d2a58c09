"""The public names of each package, written down, so that none comes or goes unnoticed.

Run this file with `--write` to accept the names that stand in the packages now.
"""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LISTS = Path(__file__).with_name("public_api")
REWRITE = "If the change is meant, run `python tests/test_public_api.py --write` and add a change note."
PACKAGES = sorted(
    mark.parent.name
    for pattern in ("packages/*/src/*/py.typed", "conformance/src/*/py.typed")
    for mark in ROOT.glob(pattern)
)


def public_names(package: str) -> list[str]:
    """Return the names that a package offers, in the order of its `__all__`."""
    return list(getattr(importlib.import_module(package), "__all__", ()))


def broken_names(package: str) -> list[str]:
    """Return the names of `__all__` that are listed twice, private or not there."""
    module = importlib.import_module(package)
    names = public_names(package)
    return [name for name in names if names.count(name) > 1 or name.startswith("_") or not hasattr(module, name)]


def text_of(names: list[str]) -> str:
    """Return the file that lists the names, one a line."""
    return "".join(f"{name}\n" for name in sorted(names))


def differences(written: str, names: list[str]) -> list[str]:
    """Return what came (`+`) and what went (`-`) since the list was written."""
    before, after = set(written.split()), set(names)
    return [f"+{name}" for name in sorted(after - before)] + [f"-{name}" for name in sorted(before - after)]


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_are_those_written_down(package: str) -> None:
    """A package offers exactly the names that its list holds."""
    written = (LISTS / f"{package}.txt").read_text(encoding="utf-8")

    assert differences(written, public_names(package)) == [], REWRITE


@pytest.mark.parametrize("package", PACKAGES)
def test_public_names_exist(package: str) -> None:
    """Each name of `__all__` is listed once, has no underscore and can be had from the package."""
    assert public_names(package), f"{package} has no __all__"
    assert broken_names(package) == []


def test_every_list_belongs_to_a_package() -> None:
    """No list outlives its package."""
    assert sorted(path.stem for path in LISTS.iterdir()) == PACKAGES


def test_a_name_that_came_or_went_is_reported() -> None:
    """The comparison shows both directions of a change."""
    assert differences("gone\nkept\n", ["new", "kept"]) == ["+new", "-gone"]


def test_a_broken_list_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The probe reports doubled, private and absent names."""
    module = type(sys)("broken")
    module.kept = module.doubled = module._private = 1
    module.__all__ = ["kept", "doubled", "doubled", "_private", "absent"]
    monkeypatch.setitem(sys.modules, "broken", module)

    assert broken_names("broken") == ["doubled", "doubled", "_private", "absent"]


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit(__doc__)
    LISTS.mkdir(exist_ok=True)
    for each in PACKAGES:
        (LISTS / f"{each}.txt").write_text(text_of(public_names(each)), encoding="utf-8")
