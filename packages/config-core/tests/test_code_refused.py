"""Source that would not work beside a checkpoint is refused, with its line and the way out."""

import importlib
import py_compile
import subprocess
import sys
import types
import zipfile
from collections.abc import Callable
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

import pytest

from nameplate_config import NameplateError, SourceCodeError
from nameplate_config.code import source_files

Define = Callable[..., type]


def refusal(cls: type) -> str:
    """Return the message with which a class is refused, less its first line, which is always the same."""
    with pytest.raises(SourceCodeError) as caught:
        source_files(cls)
    assert isinstance(caught.value, NameplateError)
    assert isinstance(caught.value, ValueError)
    title, _, rest = str(caught.value).partition("\n  ")
    assert title == f"the code of {cls.__qualname__} cannot be saved beside a checkpoint."
    return rest


# ---- where a class may be defined


def test_a_class_can_be_copied_by_its_own_decorator(define: Define):
    """While the decorators of a class run its module has no name for it yet, but its definition stands in the file."""
    cls = define(
        {
            "deco.py": (
                "from nameplate_config.code import source_files\n"
                "FOUND = []\n"
                "def keep(cls):\n    FOUND.append(source_files(cls))\n    return cls\n"
                "@keep\nclass A: pass"
            )
        },
        "deco.A",
    )

    assert sys.modules[cls.__module__].FOUND[0].references[0] == "deco.A"


def test_a_class_made_by_a_call_is_found_by_its_name(define: Define):
    """A class that no statement defines counts if its module knows it by its name."""
    assert source_files(define({"made.py": "A = type('A', (), {})"}, "made.A")).references[0] == "made.A"


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
from nameplate_config import SourceCodeError; from nameplate_config.code import source_files
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
    (tmp_path / "site-packages").mkdir()
    (tmp_path / "site-packages" / "single.py").write_text("import installed\nclass A: pass")
    (tmp_path / "site-packages" / "installed.py").write_text("")
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
    file.write_bytes(b" " * ((4 << 20) - len(text)))
    assert len(source_files(cls).files) == 2

    file.write_bytes(b" " * ((4 << 20) - len(text) + 1))
    assert f"a.py:3: with {str(file)!r}, which this line needs, it would be more than 4 MiB of source." in refusal(cls)

    file.write_bytes(b" " * ((4 << 20) + 1))
    assert refusal(cls) == f"{str(file)!r} has 4,194,305 bytes; at most 4,194,304 are read."


@pytest.mark.parametrize(("each", "files"), [(60_001, 1), (50_001, 2)])
def test_source_that_would_not_be_read_again_is_not_copied(define: Define, each: int, files: int):
    """Whoever loads the copy parses at most 60,000 words and marks of one module, and 100,000 in all."""
    names = [f"m{number}" for number in range(files)]
    cls = define({"pkg/__init__.py": "", "pkg/a.py": LATER + f"from . import {', '.join(names)}"})
    for name in names:
        Path(str(sys.modules["pkg.a"].__file__)).with_name(f"{name}.py").write_text("# " + "word " * each)

    assert "At most 100,000 are read again, 60,000 of one file. Publish the package." in refusal(cls)
