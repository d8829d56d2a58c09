"""The source of a class is copied with all that it needs, works where it is copied to, or is refused with a reason."""

import importlib
import os
import py_compile
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable, Iterator, Mapping
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from nameplate_config import NameplateError, UnsafePathError
from nameplate_config._code import SourceCodeError, SourceFiles, source_files, write_source_files

ON_POSIX = pytest.mark.skipif(os.name == "nt", reason="links are those of POSIX")

Define = Callable[..., type]


def write(folder: Path, files: Mapping[str, str]) -> None:
    """Write the text files of a tree."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


@pytest.fixture
def clean_imports(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Forget whatever the test imports, and where from."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.fixture
def define(tmp_path: Path, clean_imports: None) -> Define:
    """Return a function that writes files below the folder `code`, and imports the class at `module.Class`."""
    del clean_imports

    def write_and_import(files: Mapping[str, str], reference: str = "pkg.a.A") -> type:
        write(tmp_path / "code", files)
        sys.path.insert(0, str(tmp_path / "code"))
        importlib.invalidate_caches()
        module, _, name = reference.rpartition(".")
        return getattr(importlib.import_module(module), name)

    return write_and_import


def refusal(cls: type) -> str:
    """Return the message with which a class is refused, less its first line, which is always the same."""
    with pytest.raises(SourceCodeError) as caught:
        source_files(cls)
    assert isinstance(caught.value, NameplateError)
    assert isinstance(caught.value, ValueError)
    title, _, rest = str(caught.value).partition("\n  ")
    assert title == f"the code of {cls.__qualname__} cannot be saved beside a checkpoint."
    return rest


# ---- one folder


def test_a_file_without_relative_imports_is_copied_alone(define: Define):
    """A module that imports nothing relatively is one file, and the reference names it as Transformers does."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": "import json\nclass A: pass\n", "pkg/b.py": ""})
    found = source_files(cls)

    assert (found.reference, dict(found.files)) == ("a.A", {"a.py": b"import json\nclass A: pass\n"})


def test_a_module_without_a_package_is_copied_alone(define: Define):
    """A file at the top level needs no package."""
    found = source_files(define({"single.py": "import os, json\nclass A: pass\n"}, "single.A"))

    assert (found.reference, list(found.files)) == ("single.A", ["single.py"])


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

    assert (found.reference, list(found.files)) == ("a.A", ["a.py", "b.py"])


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

    assert (found.reference, list(found.files)) == ("a.A", ["__init__.py", "a.py", "b.py"])


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


def test_data_is_not_copied(define: Define):
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

    assert found.reference == "resnet.configuration.XConfig"
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
    assert source_files(cls).reference == "resnet.a.A"

    write(Path(sys.path[0]), {"pkg/models/resnet/b/__init__.py": "def f():\n    from ....top import TOP"})
    found = source_files(cls)

    assert found.reference == "models.resnet.a.A"
    assert [name for name in found.files if name.endswith("__init__.py")] == [
        "models/__init__.py",
        "models/resnet/__init__.py",
        "models/resnet/b/__init__.py",
    ]


def test_a_class_of_a_package_itself_keeps_the_name_of_the_package(define: Define):
    """A class defined in an `__init__` is found under the name of its package, one level below the root."""
    cls = define({"pkg/__init__.py": "from .b import B\nclass A: pass", "pkg/b.py": "B = 1"}, "pkg.A")
    found = source_files(cls)

    assert (found.reference, list(found.files)) == ("pkg.A", ["pkg/__init__.py", "pkg/b.py"])


def test_a_class_shown_under_its_package_starts_there(define: Define):
    """A class whose `__module__` was set to the package that exports it is copied from that package on."""
    cls = define(
        {"pkg/__init__.py": "from .b import A\nA.__module__ = 'pkg'", "pkg/b.py": "class A: pass"},
        "pkg.A",
    )
    found = source_files(cls)

    assert (found.reference, list(found.files)) == ("pkg.A", ["pkg/__init__.py", "pkg/b.py"])


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


# ---- where a class may be defined


def test_a_class_can_be_copied_by_its_own_decorator(define: Define):
    """While the decorators of a class run its module has no name for it yet, but its definition stands in the file."""
    cls = define(
        {
            "deco.py": (
                "from nameplate_config._code import source_files\n"
                "FOUND = []\n"
                "def keep(cls):\n    FOUND.append(source_files(cls))\n    return cls\n"
                "@keep\nclass A: pass"
            )
        },
        "deco.A",
    )

    assert sys.modules[cls.__module__].FOUND[0].reference == "deco.A"


def test_a_class_made_by_a_call_is_found_by_its_name(define: Define):
    """A class that no statement defines counts if its module knows it by its name."""
    assert source_files(define({"made.py": "A = type('A', (), {})"}, "made.A")).reference == "made.A"


def test_a_class_that_its_module_does_not_name_is_refused(define: Define):
    """A class known under another name could not be found in the copy."""
    cls = define({"made.py": "B = type('A', (), {})"}, "made.B")
    file = sys.modules["made"].__file__

    assert refusal(cls) == (
        f"{file}:1: the module 'made' has no class A.\n  Give the class the name by which its module knows it."
    )


def test_a_local_class_is_refused(define: Define):
    """A class inside a function has no name to import."""
    cls = type(define({"local.py": "\ndef f():\n    class A: pass\n    return A\nB = f()()"}, "local.B"))
    file = sys.modules["local"].__file__

    assert refusal(cls) == (
        f"{file}:3: f.<locals>.A is defined inside a function.\n  Move the class to the top level of its module."
    )


def test_a_nested_class_is_refused(define: Define):
    """A class inside a class is not `module.Class`."""
    cls = define({"nested.py": "class A:\n    class B: pass\nB = A.B"}, "nested.B")
    file = sys.modules["nested"].__file__

    assert refusal(cls) == (
        f"{file}:2: A.B is defined inside another class.\n  Move the class to the top level of its module."
    )


def run(code: str, *arguments: str | Path, stdin: str | None = None) -> str:
    """Return what another process prints that runs code, isolated from this one."""
    command = [sys.executable, "-I", "-W", "error", "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, input=stdin)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


ASK = """
from nameplate_config._code import SourceCodeError, source_files
class A: pass
try: source_files(A)
except SourceCodeError as error: print(error)
"""


def test_a_class_of_a_script_is_refused(tmp_path: Path):
    """A class in the script that runs is named with its line, and the way out."""
    (tmp_path / "script.py").write_text(ASK)
    code = "import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)

    assert done.stdout == (
        "the code of A cannot be saved beside a checkpoint.\n"
        f"  {tmp_path / 'script.py'}:3: A is defined in the script that is being run.\n"
        "  Move the class to a module, and import it from there.\n"
    )
    assert run(code, tmp_path / "script.py") == done.stdout


INTERACTIVE = (
    "the code of A cannot be saved beside a checkpoint.\n"
    "  it was defined interactively.\n"
    "  Define the class in a file, and import it from there.\n"
)


def test_an_interactive_class_is_refused():
    """A class typed into an interpreter or a notebook has no file."""
    assert run(ASK) == INTERACTIVE
    assert run("import sys; exec(sys.stdin.read())", stdin=ASK) == INTERACTIVE


def test_a_class_typed_after_a_script_is_refused(tmp_path: Path):
    """Where the main module has a file, a class that is not in it was typed."""
    (tmp_path / "script.py").write_text(f"exec({ASK!r})")
    done = subprocess.run([sys.executable, tmp_path / "script.py"], capture_output=True, text=True, check=True)

    assert done.stdout == INTERACTIVE


@pytest.mark.parametrize("module", ["builtins", "gone"])
def test_a_class_without_a_file_is_refused(module: str):
    """Builtin classes, and those of modules that exist nowhere, have no source."""
    cls = type("A", (), {"__module__": module})

    assert refusal(cls) == f"its module {module!r} has no source file.\n  Define the class in a file of its own."


def test_a_class_of_a_module_made_at_run_time_is_refused(monkeypatch: pytest.MonkeyPatch):
    """A module that no file defines, such as the one of a doctest, has no source."""
    monkeypatch.setitem(sys.modules, "made_up", types.ModuleType("made_up"))

    assert "has no source file" in refusal(type("A", (), {"__module__": "made_up"}))


@pytest.mark.usefixtures("clean_imports")
def test_a_class_in_an_archive_is_refused(tmp_path: Path):
    """A module imported from a zip has a path, but no file there."""
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as archive:
        archive.writestr("zipped.py", "class A: pass")
    sys.path.insert(0, str(tmp_path / "archive.zip"))
    cls = importlib.import_module("zipped").A

    assert refusal(cls) == (
        f"{str(tmp_path / 'archive.zip' / 'zipped.py')!r} is not a file: its module was imported from an archive, "
        "or moved since.\n  Import the class from an unpacked source file."
    )


@pytest.mark.usefixtures("clean_imports")
def test_a_compiled_class_is_refused(tmp_path: Path):
    """A module of which only the bytecode is there has no source."""
    (tmp_path / "bytes.txt").write_text("class A: pass")
    py_compile.compile(str(tmp_path / "bytes.txt"), str(tmp_path / "compiled.pyc"))
    sys.path.insert(0, str(tmp_path))
    cls = importlib.import_module("compiled").A

    assert refusal(cls) == (
        f"{tmp_path / 'compiled.pyc'}: the module 'compiled' is compiled: there is 'compiled.pyc' and no source.\n"
        "  Import only modules whose source is there."
    )


# ---- imports that would not work in the copy


@pytest.mark.parametrize(
    ("statement", "way_out"),
    [
        ("import pkg", "from .. import ..."),
        ("import pkg as p", "from .. import ..."),
        ("import pkg.b", "from .. import b"),
        ("import json, pkg.b", "from .. import b"),
        ("import pkg.b as c", "from .. import b as c"),
        ("import pkg.models.c", "from . import c"),
        ("import pkg.models", "from .. import models"),
        ("from pkg import b", "from .. import b"),
        ("from pkg.b import B as C, B", "from ..b import B as C, B"),
        ("from pkg.b import *", "from ..b import *"),
        ("from pkg.models import c", "from . import c"),
        ("from pkg.models.c import C", "from .c import C"),
        ("from pkg.other.d import D", "from ..other.d import D"),
    ],
)
def test_the_own_package_by_name_is_refused(statement: str, way_out: str, define: Define):
    """An absolute import of the own package is refused, with the relative import to write instead."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/b.py": "B = 1",
            "pkg/models/__init__.py": "",
            "pkg/models/a.py": f"class A: pass\ndef f():\n    {statement.replace('*', 'B')}",
            "pkg/models/c.py": "C = 1",
        },
        "pkg.models.a.A",
    )
    file = Path(str(sys.modules[cls.__module__].__file__))
    file.write_text(f"class A: pass\n\n{statement}\n")

    assert refusal(cls) == (
        f"{file}:3: '{statement}' imports its own package by name, which is not found beside a checkpoint.\n"
        f"  Write '{way_out}'."
    )


def test_an_import_is_refused_anywhere_in_the_copy(define: Define):
    """An absolute import of the own package is also found in a file that is only imported."""
    cls = define(
        {
            "pkg/__init__.py": "",
            "pkg/a.py": "from .b import c\nclass A: pass",
            "pkg/b.py": "from pkg import c",
            "pkg/c.py": "",
        }
    )

    assert f"{Path('pkg') / 'b.py'}:1: 'from pkg import c' imports its own package by name" in refusal(cls)


def test_other_packages_are_imported_by_name(define: Define):
    """A package that merely begins alike is another one."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": "import pkgother\nclass A: pass", "pkgother.py": ""})

    assert list(source_files(cls).files) == ["a.py"]


@pytest.mark.parametrize(
    ("statement", "way_out"),
    [
        ("import beside", "from . import beside"),
        ("import beside as b", "from . import beside as b"),
        ("from beside import B", "from .beside import B"),
        ("import package.part", "from .package import part"),
        ("from package.part import P", "from .package.part import P"),
        ("import plain.part", "from .plain import part"),
    ],
)
def test_a_file_beside_a_single_one_is_refused(statement: str, way_out: str, define: Define):
    """A module without a package cannot take the files next to it along."""
    cls = define(
        {
            "single.py": f"{statement}\nclass A: pass",
            "beside.py": "B = 1",
            "package/__init__.py": "",
            "package/part.py": "P = 1",
            "plain/part.py": "",
        },
        "single.A",
    )
    file = sys.modules["single"].__file__

    assert refusal(cls) == (
        f"{file}:1: '{statement}' imports a file next to its own, which is not found beside a checkpoint.\n"
        f"  Put both files into a package, and write '{way_out}'."
    )


@pytest.mark.usefixtures("clean_imports")
def test_installed_modules_are_no_siblings(tmp_path: Path):
    """Next to an installed module lie others that are installed as well, and stay absolute imports."""
    write(tmp_path / "site-packages", {"single.py": "import installed\nclass A: pass", "installed.py": ""})
    sys.path.insert(0, str(tmp_path / "site-packages"))
    cls = importlib.import_module("single").A

    assert list(source_files(cls).files) == ["single.py"]


def test_the_standard_library_is_no_sibling(define: Define):
    """A file called like a module of the standard library is not what is imported."""
    cls = define({"single.py": "import json\nclass A: pass", "json.py": ""}, "single.A")

    assert list(source_files(cls).files) == ["single.py"]


LATER = "class A: pass\ndef f():\n    "


@pytest.mark.parametrize(
    ("statement", "expected"),
    [
        ("from .. import x", "'from .. import x' leads out of the package 'pkg'.\n  Write at most 1 dot."),
        ("from ...x import y", "'from ...x import y' leads out of the package 'pkg'.\n  Write at most 1 dot."),
        (
            "from .bo import B",
            (
                "'from .bo import B' names no file.\n"
                "  Expected bo.py or bo/__init__.py in {folder}.\n"
                "  Did you mean 'bob'?"
            ),
        ),
        (
            "from .plain import x",
            "'from .plain import x' names no file.\n  Expected x.py or x/__init__.py in {plain}.",
        ),
        ("from .bob.x import y", "'from .bob.x import y' names no file.\n  Expected a package 'pkg.bob'."),
    ],
)
def test_a_relative_import_of_nothing_is_refused(statement: str, expected: str, define: Define):
    """A relative import that leaves the package, or that no file answers, is refused where it stands."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": LATER + statement, "pkg/bob.py": "", "pkg/plain/y.py": ""})
    file = Path(str(sys.modules["pkg.a"].__file__))
    expected = expected.format(folder=repr(str(file.parent)), plain=repr(str(file.parent / "plain")))

    assert refusal(cls) == f"{file}:3: {expected}"


def test_a_package_without_init_has_no_names(define: Define):
    """A name that a namespace package cannot have names no file, nor does a folder without modules of its own."""
    cls = define({"pkg/a.py": "from . import plain\nclass A: pass", "pkg/plain/y.py": ""})
    folder = sys.modules["pkg.a"].__file__
    assert folder is not None

    assert refusal(cls) == (
        f"{folder}:1: 'from . import plain' names no file.\n"
        f"  Expected plain.py or plain/__init__.py in {str(Path(folder).parent)!r}."
    )


def test_a_folder_without_init_is_not_taken_whole(define: Define):
    """Importing a namespace package itself gives nothing to copy, also where its parent has an `__init__`."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": "from . import plain\nclass A: pass", "pkg/plain/y.py": ""})

    assert ":1: 'from . import plain' names no file." in refusal(cls)


def test_a_relative_import_without_a_package_is_refused(define: Define):
    """A file at the top level has nothing to be relative to."""
    cls = define({"single.py": LATER + "from .b import B", "b.py": ""}, "single.A")
    file = sys.modules["single"].__file__

    assert refusal(cls) == (
        f"{file}:3: 'from .b import B' is a relative import, but its module is in no package.\n  Move it into one."
    )


def test_a_module_whose_package_is_not_imported_is_refused(define: Define):
    """A module that was loaded under a dotted name without its package finds nothing relatively, nor do we."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": LATER + "from . import b", "pkg/b.py": ""})
    del sys.modules["pkg"]

    assert refusal(cls).endswith(":3: 'from . import b' names no file.\n  Expected a package 'pkg'.")


@pytest.mark.parametrize("name", [f"b{EXTENSION_SUFFIXES[0]}", "b.pyc", "b/__init__.pyc"])
def test_a_compiled_file_is_refused(name: str, define: Define):
    """A relative import of a module that has no source is refused where it stands."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": LATER + "from .b import B", f"pkg/{name}": ""})
    file = sys.modules["pkg.a"].__file__

    assert refusal(cls) == (
        f"{file}:3: the module 'pkg.b' is compiled: there is {Path(name).name!r} and no source.\n"
        "  Import only modules whose source is there."
    )


# ---- files that are not what they should be


@pytest.mark.parametrize(
    ("data", "line", "expected"),
    [
        (b"\n# caf\xe9\n", 2, "the file is not UTF-8.\n  Save it in that encoding."),
        (b"# coding: latin-1\nB = '\xe9'\n", 2, "the file is not UTF-8.\n  Save it in that encoding."),
        (b"B = 1\nB = (\n", 2, "the file is not valid Python: '(' was never closed."),
        (b"(" * 5000, 1, "the file is not valid Python: too many nested parentheses."),
    ],
    ids=["bytes", "cookie", "syntax", "nested"],
)
def test_a_broken_file_is_refused(data: bytes, line: int, expected: str, define: Define):
    """What is not Python in UTF-8 is named with its line, and the cause is kept."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": LATER + "from .b import B", "pkg/b.py": ""})
    file = Path(str(sys.modules["pkg.a"].__file__)).with_name("b.py")
    file.write_bytes(data)

    assert refusal(cls) == f"{file}:{line}: {expected}"
    with pytest.raises(SourceCodeError) as caught:
        source_files(cls)
    assert isinstance(caught.value.__cause__, (UnicodeDecodeError, SyntaxError))


@pytest.mark.parametrize("text", ["B = '\0'", "B = " + "-" * 100_000 + "1"], ids=["nul", "deep"])
def test_a_hostile_file_is_refused(text: str, define: Define):
    """A file that breaks the parser is refused like any other that is no Python."""
    cls = define({"pkg/__init__.py": "", "pkg/a.py": LATER + "from .b import B", "pkg/b.py": text})

    assert f"{Path('pkg') / 'b.py'}:1: the file is not valid Python: " in refusal(cls)


def test_two_hundred_files_are_copied(define: Define):
    """The budget is two hundred files; one more names the line that asks for it."""
    files = {f"pkg/m{number}.py": "" for number in range(200)}
    imports = "\n".join(f"    from . import m{number}" for number in range(199))
    cls = define({"pkg/__init__.py": "", "pkg/a.py": f"class A: pass\ndef f():\n{imports}", **files})
    file = Path(str(sys.modules["pkg.a"].__file__))
    assert len(source_files(cls).files) == 200

    file.write_text(f"class A: pass\ndef f():\n{imports}\n    from . import m199")

    last = str(file.with_name("m199.py"))
    assert refusal(cls) == (
        f"{file}:202: with {last!r}, which this line needs, it would be more than 200 files.\n"
        "  Import less from the module of the class, or publish the package and do not copy it."
    )


def test_four_mebibytes_are_copied(define: Define):
    """The budget is four MiB in all; one byte more names the line that asks for it."""
    text = LATER + "from . import b"
    cls = define({"pkg/__init__.py": "", "pkg/a.py": text, "pkg/b.py": ""})
    file = Path(str(sys.modules["pkg.a"].__file__)).with_name("b.py")
    file.write_bytes(b"#" * ((4 << 20) - len(text)))
    assert len(source_files(cls).files) == 2

    file.write_bytes(b"#" * ((4 << 20) - len(text) + 1))
    assert f"a.py:3: with {str(file)!r}, which this line needs, it would be more than 4 MiB of source." in refusal(cls)

    file.write_bytes(b"#" * ((4 << 20) + 1))
    assert refusal(cls) == f"{str(file)!r} has 4,194,305 bytes; at most 4,194,304 are read."


# ---- writing


def test_files_are_written_into_their_folders(tmp_path: Path):
    """Each file is written where its path says, and folders are made."""
    write_source_files(tmp_path, SourceFiles("a.b.C", {"top.py": b"1", "a/b.py": b"2", "a/c/__init__.py": b""}))

    written = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert written == {"top.py": b"1", "a/b.py": b"2", "a/c/__init__.py": b""}


def test_only_what_changed_is_written(tmp_path: Path):
    """A file with the same bytes is left alone; a shorter, longer or other one is replaced."""
    files = SourceFiles("a.A", {f"{name}.py": b"12" for name in "abcd"})
    for name, data in zip("abcd", (b"12", b"1", b"123", b"21"), strict=True):
        (tmp_path / f"{name}.py").write_bytes(data)
    before = {path.name: path.stat().st_ino for path in tmp_path.iterdir()}
    write_source_files(tmp_path, files)

    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == files.files
    assert (tmp_path / "a.py").stat().st_ino == before["a.py"]


@pytest.mark.parametrize(
    "name", ["../a.py", "a/../../b.py", "/a.py", "a//b.py", "C:/a.py", "a\\b.py", "a\0.py"], ids=repr
)
def test_nothing_is_written_outside(name: str, tmp_path: Path):
    """A path that leads out of the folder is refused."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    with pytest.raises(UnsafePathError):
        write_source_files(folder, SourceFiles("a.A", {name: b""}))

    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


@ON_POSIX
def test_a_linked_folder_is_not_written_through(tmp_path: Path):
    """A link among the folders of a checkpoint could lead anywhere, so it is refused."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (folder / "models").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UnsafePathError) as caught:
        write_source_files(folder, SourceFiles("models.a.A", {"models/a.py": b""}))

    assert str(caught.value) == (
        f"{str(folder / 'models')!r} is a link, so 'models/a.py' could leave the folder. Remove the link."
    )
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_refused(tmp_path: Path):
    """Where a folder is needed and a file lies, nothing is written."""
    (tmp_path / "models").write_text("")
    with pytest.raises(UnsafePathError, match="is not a folder"):
        write_source_files(tmp_path, SourceFiles("models.a.A", {"models/a.py": b""}))


def test_only_python_is_written(tmp_path: Path):
    """A record that names a file of the checkpoint itself is a mistake of ours."""
    with pytest.raises(AssertionError, match=r"config\.json"):
        write_source_files(tmp_path, SourceFiles("a.A", {"config.json": b"{}"}))


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


def copied(files: SourceFiles, folder: Path) -> str:
    """Return what a process prints that imports a copy under another name."""
    write_source_files(folder, files)
    return run(LOAD, folder, files.reference)


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
    write_source_files(tmp_path / "checkpoint", files)
    assert run(LOAD.replace('assert "pkg"', 'assert "other"'), tmp_path / "checkpoint", "pkg.A") == "copied.pkg 3 3\n"
