"""`Registry.find`: where a value comes from, said without importing it."""

import importlib
import json
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import DuplicateRegistrationError, Registry

WriteModule = Callable[[str], str]


@pytest.fixture
def numbers() -> Registry[str, Any]:
    """Return an empty registry."""
    return Registry("number")


def install(folder: Path, name: str, files: dict[str, str], **direct_url: Any) -> None:
    """Lay version 1.0 of a distribution, with its list of files, into a folder of the search path."""
    metadata = folder / f"{name.replace('-', '_')}-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "RECORD").write_text("".join(f"{file},,\n" for file in files), encoding="utf-8")
    if direct_url:
        (metadata / "direct_url.json").write_text(json.dumps(direct_url), encoding="utf-8")
    for file, text in files.items():
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()


def test_a_value_says_where_it_is_defined(numbers: Registry[str, Any], write_module: WriteModule) -> None:
    """Module, file, line and the first line of the docstring are those of the class."""
    module = write_module('\n\nclass Number:\n    """A number.\n\n    And more.\n    """\n')
    numbers.register("number", importlib.import_module(module).Number)

    found = numbers.find("number")

    assert (found.module, found.file) == (module, sys.modules[module].__file__)
    assert (found.line, found.doc, found.distribution) == (3, "A number.", None)


def test_a_function_says_where_it_is_defined(numbers: Registry[str, Any]) -> None:
    """What is no class has a line too, if it has code."""
    numbers.register("install", install)

    assert numbers.find("install").line == install.__code__.co_firstlineno


def test_what_has_no_source_has_no_line(numbers: Registry[str, Any]) -> None:
    """A class of the interpreter itself, and a plain object, leave open what cannot be told."""
    numbers.register("int", int)
    numbers.register("half", Fraction(1, 2))

    assert (numbers.find("int").file, numbers.find("int").line) == (None, None)
    assert (numbers.find("half").module, numbers.find("half").line) == ("fractions", None)


def test_a_lazy_value_says_what_is_known_of_it(
    numbers: Registry[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its file is found inside packages that are not imported; line and docstring wait for the import."""
    monkeypatch.syspath_prepend(tmp_path)
    files = {"kites_of_a_test/__init__.py": "", "kites_of_a_test/models/__init__.py": "raise RuntimeError"}
    install(tmp_path, "kites-of-a-test", {**files, "kites_of_a_test/models/kite.py": "class Kite: pass"})
    numbers.register("kite", "kites_of_a_test.models.kite:Kite")

    found = numbers.find("kite")

    assert (found.module, found.file) == (
        "kites_of_a_test.models.kite",
        str(tmp_path / "kites_of_a_test/models/kite.py"),
    )
    assert (found.line, found.doc, found.distribution) == (None, "", "kites-of-a-test 1.0")
    assert "kites_of_a_test" not in sys.modules


def test_an_editable_installation_is_a_distribution_too(
    numbers: Registry[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the list of files does not name the module, the folder that it was installed from does."""
    monkeypatch.syspath_prepend(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "checkout" / "src")
    install(tmp_path / "site", "swans", {}, url=(tmp_path / "checkout").as_uri(), dir_info={"editable": True})
    (tmp_path / "checkout" / "src").mkdir(parents=True)
    (tmp_path / "checkout" / "src" / "swans_of_a_test.py").write_text("class Swan: pass", encoding="utf-8")
    importlib.invalidate_caches()
    numbers.register("swan", "swans_of_a_test:Swan")

    assert numbers.find("swan").distribution == "swans 1.0"


def test_a_duplicate_names_the_distributions_of_both(
    numbers: Registry[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two packages that want one name are told apart by file, distribution and version."""
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("first", "second"):
        install(tmp_path, f"{name}-owner", {f"{name}_owner_of_a_test.py": "class Number: pass"})
    numbers.register("number", "first_owner_of_a_test:Number")

    with pytest.raises(DuplicateRegistrationError) as error:
        numbers.register("number", "second_owner_of_a_test:Number")

    assert str(error.value).splitlines()[1:3] == [
        f"  'first_owner_of_a_test:Number' is in {tmp_path / 'first_owner_of_a_test.py'}, of first-owner 1.0.",
        f"  'second_owner_of_a_test:Number' is in {tmp_path / 'second_owner_of_a_test.py'}, of second-owner 1.0.",
    ]


def test_metadata_that_cannot_be_read_hides_no_error(
    numbers: Registry[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broken distribution beside them does not keep two owners of a name from being told."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "geese_of_a_test.py").write_text("class Goose: pass", encoding="utf-8")
    install(tmp_path, "geese", {}, url=5, dir_info={"editable": True})
    numbers.register("number", "geese_of_a_test:Goose")

    with pytest.raises(DuplicateRegistrationError, match=r"geese_of_a_test\.py, of no installed distribution"):
        numbers.register("number", "geese_of_a_test:Gander")
