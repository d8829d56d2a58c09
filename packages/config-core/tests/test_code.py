"""The source of classes is collected with all that it needs, in the layout of its package."""

import os
import sys
from collections.abc import Callable, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from nameplate_config import SourceCodeError
from nameplate_config.code import source_files

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="links are those of POSIX")

Define = Callable[..., type]


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the text files of a tree."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


# ---- one folder


def test_a_file_without_relative_imports_is_copied_alone(define: Define):
    """A module that imports nothing relatively is one file, and the reference names it as Transformers does."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": "import json\nclass A: pass\n", "pkg/b.py": ""})
    found = source_files(cls)

    assert (found.references[0], dict(found.files)) == ("a.A", {"a.py": b"import json\nclass A: pass\n"})


def test_a_module_without_a_package_is_copied_alone(define: Define):
    """A file at the top level needs no package."""
    found = source_files(define({"single.py": "import os, json\nclass A: pass\n"}, "single.A"))

    assert (found.references[0], list(found.files)) == ("single.A", ["single.py"])


def test_bytes_are_copied_as_they_are(define: Define, tmp_path: Path):
    """Line ends, a byte order mark and comments stay."""
    data = b"\xef\xbb\xbf# \xc3\xa9\r\nclass A: pass\r\n"
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "marked.py").write_bytes(data)

    assert source_files(define({}, "marked.A")).files == {"marked.py": data}


def test_the_files_cannot_be_changed(define: Define):
    """What was read once is a record: its mapping is read-only."""
    found = source_files(define({"single.py": "class A: pass"}, "single.A"))

    with pytest.raises(TypeError):
        found.files["other.py"] = b""  # type: ignore[index]


@pytest.mark.parametrize(
    "statement",
    [
        "from . import b",
        "from . import b as c",
        "from .b import B",
        "from .b import *",
        "def f():\n    from .b import B",
        "def f():\n    from . import b",
        "try:\n    from .b import B\nexcept ImportError:\n    B = None",
        "try:\n    B = missing\nexcept NameError:\n    from .b import B",
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .b import B",
        "class C:\n    from .b import B",
        "async def f():\n    from .b import B",
    ],
)
def test_every_relative_import_is_followed(statement: str, define: Define):
    """Wherever a relative import stands, and however it is written, the file is copied."""
    cls = define(
        {"pkg/__init__.py": "", "pkg/a.py": f"{statement}\nclass A: pass", "pkg/b.py": "B = 1", "pkg/other.py": ""}
    )
    found = source_files(cls)

    assert (found.references[0], list(found.files)) == ("a.A", ["a.py", "b.py"])


def test_imports_are_followed_to_the_end(define: Define):
    """What an imported file imports is copied as well, also in a circle."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "from .b import B\nclass A: pass",
            "pkg/b.py": "from .c import C\nB = 1",
            "pkg/c.py": "def f():\n    from .a import A\nC = 1",
        }
    )

    assert list(source_files(cls).files) == ["a.py", "b.py", "c.py"]


def test_the_init_of_the_root_is_left_out(define: Define):
    """The root's own `__init__` is not copied, so that what it imports does not matter."""
    cls = define(
        {
            "pkg/__init__.py": "import pkg.other\nfrom .a import A\nfrom . import b",
            "pkg/a.py": "from . import b\nfrom .b import B\nclass A: pass",
            "pkg/b.py": "B = 1",
            "pkg/other.py": "",
        }
    )

    assert list(source_files(cls).files) == ["a.py", "b.py"]


@pytest.mark.parametrize("statement", ["from . import VERSION", "from . import *", "from . import b, VERSION"])
def test_the_init_of_the_root_is_copied_for_its_names(statement: str, define: Define):
    """Where a name is imported from the root itself, its `__init__` is copied with all that it imports."""
    cls = define(
        {
            "pkg/__init__.py": "from .b import VERSION",
            "pkg/a.py": f"{statement}\nclass A: pass",
            "pkg/b.py": "VERSION = 1",
        }
    )
    found = source_files(cls)

    assert (found.references[0], list(found.files)) == ("a.A", ["__init__.py", "a.py", "b.py"])


def test_a_name_that_hides_a_file_comes_from_the_package(define: Define):
    """A function that the `__init__` binds to the name of a file is what Python imports, so both are copied."""
    cls = define(
        {
            "pkg/__init__.py": "from .b import b",
            "pkg/a.py": "from . import b\nclass A: pass",
            "pkg/b.py": "def b(): pass",
        }
    )

    assert list(source_files(cls).files) == ["__init__.py", "a.py", "b.py"]


def test_the_init_can_be_imported_by_its_file_name(define: Define):
    """`from .__init__ import` is a plain module for Python, and the same file."""
    cls = define({"pkg/__init__.py": "VERSION = 1", "pkg/a.py": "from .__init__ import VERSION\nclass A: pass"})

    assert list(source_files(cls).files) == ["__init__.py", "a.py"]


def test_what_nothing_names_is_not_copied(define: Define):
    """Only modules are copied, not what lies beside them."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": "class A: pass", "pkg/data.json": "{}", "pkg/a.pyi": ""})

    assert list(source_files(cls).files) == ["a.py"]


def test_source_comes_before_its_compiled_twin(define: Define):
    """A module that is compiled as well is copied as source."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "def f():\n    from .b import B\nclass A: pass",
            "pkg/b.py": "",
            f"pkg/b{EXTENSION_SUFFIXES[0]}": "",
        }
    )

    assert list(source_files(cls).files) == ["a.py", "b.py"]


@ON_POSIX
def test_links_are_read_through(define: Define, tmp_path: Path):
    """A linked file or folder is copied under the name of the link."""
    write(tmp_path / "real", {"x.py": "from .sub.y import Y\nclass A: pass", "z/y.py": "Y = 1"})
    (tmp_path / "code" / "pkg").mkdir(parents=True)
    (tmp_path / "code" / "pkg" / "a.py").symlink_to(tmp_path / "real" / "x.py")
    (tmp_path / "code" / "pkg" / "sub").symlink_to(tmp_path / "real" / "z")

    assert list(source_files(define({})).files) == ["a.py", "sub/y.py"]


# ---- several folders


def test_the_root_is_the_smallest_folder_that_holds_all(define: Define):
    """The layout is copied from the smallest common package on, with the packages below it."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/models/__init__.py": "",
            "pkg/models/resnet/__init__.py": "from . import names",
            "pkg/models/resnet/names.py": "",
            "pkg/models/resnet/configuration.py": "from ..parts.block import Block\nclass XConfig: pass",
            "pkg/models/parts/__init__.py": "",
            "pkg/models/parts/block.py": "Block = 1",
        },
        "pkg.models.resnet.configuration.XConfig",
    )
    found = source_files(cls)

    assert found.references[0] == "resnet.configuration.XConfig"
    assert list(found.files) == [
        "parts/__init__.py",
        "parts/block.py",
        "resnet/__init__.py",
        "resnet/configuration.py",
        "resnet/names.py",
    ]


def test_an_init_below_the_root_can_move_the_root_up(define: Define):
    """What the `__init__` of a package on the way imports counts, and so do the packages that are on the way then."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/top.py": "TOP = 1",
            "pkg/models/__init__.py": "from ..top import TOP",
            "pkg/models/resnet/__init__.py": "from ..other import OTHER",
            "pkg/models/other.py": "OTHER = 1",
            "pkg/models/resnet/a.py": "from .b.c import C\nfrom ..other import OTHER\nclass A: pass",
            "pkg/models/resnet/b/__init__.py": "",
            "pkg/models/resnet/b/c.py": "C = 1",
        },
        "pkg.models.resnet.a.A",
    )
    assert source_files(cls).references[0] == "resnet.a.A"

    write(Path(sys.path[0]), {"pkg/models/resnet/b/__init__.py": "def f():\n    from ....top import TOP"})
    found = source_files(cls)

    assert found.references[0] == "models.resnet.a.A"
    assert [name for name in found.files if name.endswith("__init__.py")] == [
        "models/__init__.py",
        "models/resnet/__init__.py",
        "models/resnet/b/__init__.py",
    ]


def test_a_class_of_a_package_itself_keeps_the_name_of_the_package(define: Define):
    """A class defined in an `__init__` is found under the name of its package, one level below the root."""
    cls = define({"pkg/__init__.py": "from .b import B\nclass A: pass", "pkg/b.py": "B = 1"}, "pkg.A")
    found = source_files(cls)

    assert (found.references[0], list(found.files)) == ("pkg.A", ["pkg/__init__.py", "pkg/b.py"])


def test_a_class_shown_under_its_package_starts_there(define: Define):
    """A class whose `__module__` was set to the package that exports it is copied from that package on."""
    cls = define(
        {"pkg/__init__.py": "from .b import A\nA.__module__ = 'pkg'", "pkg/b.py": "class A: pass"},
        "pkg.A",
    )
    found = source_files(cls)

    assert (found.references[0], list(found.files)) == ("pkg.A", ["pkg/__init__.py", "pkg/b.py"])


def test_packages_without_init_are_packages(define: Define):
    """A namespace package is a folder; there is no `__init__` to copy."""
    cls = define(
        {
            "pkg/models/a.py": "from .deep.b import B\nfrom .deep import c\nfrom ..d import D\nclass A: pass",
            "pkg/models/deep/b.py": "B = 1",
            "pkg/models/deep/c.py": "",
            "pkg/d.py": "D = 1",
        },
        "pkg.models.a.A",
    )

    assert list(source_files(cls).files) == ["d.py", "models/a.py", "models/deep/b.py", "models/deep/c.py"]


def test_a_package_that_was_not_imported_yet_is_found(define: Define):
    """Where nothing was imported yet, the folders say where a package lies."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "def f():\n    from .x.y import Y, z\nclass A: pass",
            "pkg/x/__init__.py": "",
            "pkg/x/y/__init__.py": "Y = 1",
            "pkg/x/y/z.py": "",
        }
    )

    assert list(source_files(cls).files) == ["a.py", "x/__init__.py", "x/y/__init__.py", "x/y/z.py"]


def test_a_star_takes_the_modules_that_a_package_lists(define: Define):
    """`import *` imports the modules in `__all__`, so they are copied."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "from .sub import *\nclass A: pass",
            "pkg/sub/__init__.py": "__all__ = ['b', 'NAME']\nNAME = 1",
            "pkg/sub/b.py": "",
            "pkg/sub/other.py": "",
        }
    )

    assert list(source_files(cls).files) == ["a.py", "sub/__init__.py", "sub/b.py"]


# ---- several classes


MODEL = {
    "pkg/__init__.py": "",
    "pkg/configs/__init__.py": "",
    "pkg/configs/block.py": "class XConfig: pass",
    "pkg/nets/block.py": "from ..configs.block import XConfig\nclass X: pass\nclass Y: pass",
}


def test_several_classes_have_one_root(define: Define):
    """Classes of which one alone would lie at the root are found where all of them have a place."""
    model = define(MODEL, "pkg.nets.block.X")
    config = sys.modules["pkg.configs.block"].XConfig
    found = source_files(model, config)

    assert source_files(config).references == ("block.XConfig",)
    assert found.references == ("nets.block.X", "configs.block.XConfig")
    assert list(found.files) == ["configs/__init__.py", "configs/block.py", "nets/block.py"]


def test_the_order_of_classes_is_that_of_their_references(define: Define):
    """References come in the order of the classes, and the files are the same in any."""
    model = define(MODEL, "pkg.nets.block.X")
    classes = (sys.modules["pkg.configs.block"].XConfig, sys.modules["pkg.nets.block"].Y, model)

    assert source_files(*classes).references == ("configs.block.XConfig", "nets.block.Y", "nets.block.X")
    assert source_files(*classes).files == source_files(*reversed(classes)).files


def test_a_class_of_the_package_itself_moves_the_root_up_for_all(define: Define):
    """If one class is defined in an `__init__`, the others keep the name of its package too."""
    package = define({"pkg/__init__.py": "from .b import B\nclass A: pass", "pkg/b.py": "class B: pass"}, "pkg.A")
    found = source_files(sys.modules["pkg.b"].B, package)

    assert (found.references, list(found.files)) == (("pkg.b.B", "pkg.A"), ["pkg/__init__.py", "pkg/b.py"])


def test_classes_of_two_packages_are_refused(define: Define):
    """A copy of both would define one of them twice, so the packages are named, and the way out."""
    config = define({"other/__init__.py": "", "other/a.py": "class XConfig: pass"}, "other.a.XConfig")
    model = define(MODEL, "pkg.nets.block.X")
    with pytest.raises(SourceCodeError) as caught:
        source_files(model, config)

    assert str(caught.value) == (
        "the code of X, XConfig cannot be saved beside a checkpoint.\n"
        "  X is defined in 'pkg.nets.block', and XConfig in 'other.a'.\n"
        "  Define both in one package, or register only the one whose code is to be copied."
    )
