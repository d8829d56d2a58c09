"""The skeleton of a package: what it is made of, that it conforms, and what it refuses."""

import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from click.testing import CliRunner

from nameplate_conformance import ConformanceError, check
from nameplate_conformance.cli import main
from nameplate_conformance.scaffold import Names, write_skeleton


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Provide a skeleton that can be imported, as if it were installed."""
    write_skeleton("My-arch.v2", tmp_path / "p")
    monkeypatch.syspath_prepend(str(tmp_path / "p" / "src"))
    yield tmp_path / "p"
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_arch_v2"]:
        del sys.modules[name]


def test_a_new_package_conforms(package: Path):
    """The architecture of a new package breaks no law up to level 3, and its declaration is where it is announced."""
    points = tomllib.loads((package / "pyproject.toml").read_text())["project"]["entry-points"]
    module, _, name = points["nameplate.conformance"]["my_arch_v2"].partition(":")
    report = check(getattr(import_module(module), name), profile="glance", level=3)

    assert report.passed, [(each.law, each.message) for each in report.results if each.message]
    assert report.level == 3


@pytest.mark.usefixtures("package")
def test_a_new_package_announces_its_classes():
    """Each class that the package announces to the registry can be imported."""
    announced = import_module("my_arch_v2.architecture").ARCHITECTURE
    found = [getattr(import_module(text.partition(":")[0]), text.partition(":")[2]) for text in announced.values()]

    assert [each.__name__ for each in found] == ["MyArchV2Config", "MyArchV2Model"]
    assert import_module("my_arch_v2").MyArchV2Model is found[1]


def test_a_folder_with_files_is_left_alone(tmp_path: Path):
    """Nothing is written into a folder that is not empty."""
    (tmp_path / "mine.txt").write_text("mine")

    with pytest.raises(ConformanceError, match="is not empty, so nothing was written"):
        write_skeleton("my-arch", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


@pytest.mark.parametrize("name", ["", "1st", "my arch", "class", "json", "-x", "../up", "my-arch\n"])
def test_what_is_no_name_of_a_package_is_refused(name: str, tmp_path: Path):
    """A name that Python cannot import is refused before anything is written."""
    with pytest.raises(ConformanceError, match="cannot be the name of a package"):
        write_skeleton(name, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_name_that_would_hide_an_installed_package_is_refused(tmp_path: Path):
    """A package called like one that is installed would be imported in its place."""
    with pytest.raises(ConformanceError, match="a module 'nameplate_auto' is installed already"):
        write_skeleton("nameplate-auto", tmp_path / "new")


def test_names_follow_from_one(tmp_path: Path):
    """Module, model_type and classes are named after the distribution; the command says what it wrote."""
    outcome = CliRunner().invoke(main, ["new", "my-arch", str(tmp_path / "new")])

    assert outcome.exit_code == 0, outcome.output
    assert (Names("my-arch").module, Names("my-arch").prefix) == ("my_arch", "MyArch")
    assert f"wrote {tmp_path / 'new' / 'src' / 'my_arch' / 'modeling.py'}" in outcome.output
    assert outcome.output.splitlines()[-1].endswith("nameplate-conformance run my_arch")


def test_new_without_a_good_name_exits_with_two(tmp_path: Path):
    """A name that is none is refused with a sentence, and exit code 2."""
    outcome = CliRunner().invoke(main, ["new", "1st", str(tmp_path / "new")])

    assert outcome.exit_code == 2
    assert "cannot be the name of a package" in outcome.output
