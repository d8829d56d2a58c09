"""Code that a checkpoint brings and somebody allowed: it runs as an ordinary package would, from memory.

Its configs are asked for, so no torch is needed here. Who may allow it is tested in `test_remote_trust.py`.
"""

import inspect
import json
import linecache
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    RemoteCodeError,
    RemoteCodeImportError,
    read_remote_code,
)

CONFIG = "from nameplate_config import PreTrainedConfig\n\n\nclass C(PreTrainedConfig):\n    model_type = 'brought'\n"

Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Return what writes a checkpoint that brings code, into a folder of its own."""

    def writing(
        files: dict[str, str | bytes], reference: str = "conf.C", name: str = "checkpoint", **others: str
    ) -> Path:
        folder = tmp_path / name
        for path, data in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(data if isinstance(data, bytes) else data.encode())
        values = {"model_type": "brought", "auto_map": {"AutoConfig": reference, **others}}
        (folder / "config.json").write_text(json.dumps(values))
        return folder

    return writing


def loaded(folder: Path) -> Any:
    """Return the config that trusted code makes."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=True)


# ---- packages

LAYOUTS: dict[str, tuple[dict[str, str], str]] = {
    "a file": ({"conf.py": CONFIG + "X = 5\n"}, "conf.C"),
    "a file in a package": ({"pkg/__init__.py": "", "pkg/conf.py": CONFIG + "X = 5\n"}, "pkg.conf.C"),
    "a file in a folder without __init__": ({"pkg/conf.py": CONFIG + "X = 5\n"}, "pkg.conf.C"),
    "a package itself": ({"pkg/__init__.py": CONFIG + "X = 5\n"}, "pkg.C"),
    "deep": ({"a/b/c/d/conf.py": CONFIG + "from ....x import X\n", "a/x.py": "X = 5\n"}, "a.b.c.d.conf.C"),
    "a sibling": ({"conf.py": CONFIG + "from .part import X\n", "part.py": "X = 5\n"}, "conf.C"),
    "a sibling as a module": ({"conf.py": CONFIG + "from . import part\nX = part.X\n", "part.py": "X = 5\n"}, "conf.C"),
    "a sibling under another name": (
        {"conf.py": CONFIG + "from . import part as p, other\nX = p.X\n", "part.py": "X = 5\n", "other.py": ""},
        "conf.C",
    ),
    "a module of a sub-package": (
        {"conf.py": CONFIG + "from .pkg.part import X\n", "pkg/__init__.py": "", "pkg/part.py": "X = 5\n"},
        "conf.C",
    ),
    "a sub-package": ({"conf.py": CONFIG + "from .pkg import X\n", "pkg/__init__.py": "X = 5\n"}, "conf.C"),
    "a sub-package that hands on": (
        {
            "conf.py": CONFIG + "from .pkg import X\n",
            "pkg/__init__.py": "from .part import *\n",
            "pkg/part.py": "__all__ = ['X']\nX = 5\n",
        },
        "conf.C",
    ),
    "all names": ({"conf.py": CONFIG + "from .part import *\n", "part.py": "X = 5\n"}, "conf.C"),
    "all names that are modules": (
        {"conf.py": CONFIG + "from .pkg import *\nX = part.X\n", "pkg/__init__.py": "__all__ = ['part']\n",
         "pkg/part.py": "X = 5"},
        "conf.C",
    ),
    "the root's own": ({"conf.py": CONFIG + "from . import X\n", "__init__.py": "X = 5\n"}, "conf.C"),
    "the folder above": (
        {"pkg/conf.py": CONFIG + "from ..part import X\n", "part.py": "X = 5\n"},
        "pkg.conf.C",
    ),
    "a circle": (
        {"conf.py": CONFIG + "from . import a\nX = a.get()\n", "a.py": "from . import b\nget = lambda: b.X\n",
         "b.py": "from . import a\nX = 5\n"},
        "conf.C",
    ),
    "a circle with the start": (
        {"conf.py": CONFIG + "from . import a\nX = a.X\n", "a.py": "from . import conf\nX = 5\n"},
        "conf.C",
    ),
    "an import in a function": (
        {"conf.py": CONFIG + "def f():\n    from .part import X\n    return X\nX = f()\n", "part.py": "X = 5\n"},
        "conf.C",
    ),
    "an import in a method": (
        {"conf.py": CONFIG + "    def f(self):\n        from . import part\n        return part.X\nX = C().f()\n",
         "part.py": "X = 5\n"},
        "conf.C",
    ),
    "an import that may fail": (
        {"conf.py": CONFIG + "try:\n    from .absent import X\nexcept ImportError:\n    X = 5\n"},
        "conf.C",
    ),
    "a package that may be absent": (
        {"conf.py": CONFIG + "try:\n    import nothing_of_that_name\nexcept ImportError:\n    X = 5\n"},
        "conf.C",
    ),
    "a package under a condition": (
        {"conf.py": CONFIG + "import os\nif os.environ.get('NOPE'):\n    import nothing_of_that_name\nX = 5\n"},
        "conf.C",
    ),
    "imports for type checkers": (
        {"conf.py": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .absent import T\n    import x_y\n"
         + CONFIG + "X = 5\n"},
        "conf.C",
    ),
    "names like modules of Python": (
        {"conf.py": CONFIG + "from . import json, torch\nX = json.X + torch.X\n", "json.py": "X = 2\n",
         "torch.py": "X = 3\n"},
        "conf.C",
    ),
    "a module and a folder of one name": (
        {"conf.py": CONFIG + "from .part import X\n", "part.py": "X = 5\n", "part/labels.txt": ""},
        "conf.C",
    ),
    "the file of a package as a module": (
        {"pkg/conf.py": CONFIG + "from .__init__ import X\n", "pkg/__init__.py": "from .part import X\n",
         "pkg/part.py": "X = 5\n"},
        "pkg.conf.C",
    ),
    "a module that is called like a local name of its package": (
        {"conf.py": CONFIG + "from .pkg import part\nX = part.X\n",
         "pkg/__init__.py": "def f():\n    part = 1\n    return part\n", "pkg/part.py": "X = 5\n"},
        "conf.C",
    ),
    "a name that a function makes global": (
        {"conf.py": CONFIG + "from .pkg import X\n",
         "pkg/__init__.py": "def f():\n    global X\n    X = 5\nf()\n"},
        "conf.C",
    ),
    "all names that are modules, annotated": (
        {"conf.py": CONFIG + "from .pkg import *\nX = part.X\n",
         "pkg/__init__.py": "__all__: list[str] = []\n__all__ += ['part']\n", "pkg/part.py": "X = 5"},
        "conf.C",
    ),
    "another encoding of UTF-8": ({"conf.py": "\ufeff# coding: utf-8\n" + CONFIG + "X = len('äöü—x')\n"}, "conf.C"),
    "ends of lines of Windows": ({"conf.py": (CONFIG + "X = 5\n").replace("\n", "\r\n")}, "conf.C"),
    "annotations that come later": (
        {"conf.py": "from __future__ import annotations\n" + CONFIG + "    width: int = 5\nX = C().width\n"},
        "conf.C",
    ),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_way_to_lay_out_a_package_works(layout: str, write: Write):
    """Packages, sub-packages and every style of relative import work as in a package that is installed."""
    files, reference = LAYOUTS[layout]

    config = loaded(write(files, reference))

    assert type(config).__name__ == "C"
    assert sys.modules[type(config).__module__].X == 5


@pytest.mark.parametrize("layout", LAYOUTS)
def test_only_what_is_imported_is_of_the_code(layout: str, write: Write):
    """A file that nothing imports is neither read nor hashed, whatever it holds."""
    files, reference = LAYOUTS[layout]
    digest = read_remote_code(write(files, reference)).digest

    more = write({**files, "unrelated.py": "def", "unrelated.txt": b"\xff", "other/__init__.py": "1/0"}, reference)

    assert read_remote_code(more).digest == digest


@pytest.mark.filterwarnings("ignore")
def test_code_that_python_warns_about_loads(write: Write):
    """An escape that Python does not know is a text, as in a package that is installed."""
    assert sys.modules[type(loaded(write({"conf.py": CONFIG + "X = '\\d'\n"}))).__module__].X == "\\d"


def test_data_lies_beside_the_code(write: Write):
    """Files beside a module are found by `importlib.resources` and `pkgutil`, without being on disk."""
    code = CONFIG + (
        "import pkgutil\nfrom importlib.resources import files\n"
        "X = files(__package__).joinpath('labels.txt').read_text()\n"
        "Y = pkgutil.get_data(__name__, 'labels.txt')\n"
        "Z = sorted(each.name for each in (files(__package__) / 'tables').iterdir())\n"
        "W = (files(__package__) / 'tables/a.csv').open('rb').read()\n"
        "T = 'tables/b.csv'\n"
    )
    folder = write(
        {"conf.py": code, "labels.txt": "cat\ndog", "tables/a.csv": b"1", "tables/b.csv": b"2", "tables/c.csv": b"3"}
    )

    module = sys.modules[type(loaded(folder)).__module__]

    assert (module.X, module.Y, module.Z, module.W) == ("cat\ndog", b"cat\ndog", ["a.csv", "b.csv"], b"1")


def test_data_that_was_not_approved_is_not_there(write: Write):
    """A file that no module names is not there for the code, though it lies in the folder."""
    lines = "from importlib.resources import files\nX = files(__package__).joinpath('no' + 'tes.txt').is_file()\n"

    module = sys.modules[type(loaded(write({"conf.py": CONFIG + lines, "notes.txt": "x"}))).__module__]

    assert module.X is False


# ---- classes


def test_config_and_model_are_of_one_code(write: Write):
    """The config class that a model is built from is the one that `AutoConfig` returns."""
    model = """
from .conf import C


class M:
    config_class = C

    @classmethod
    def from_pretrained(cls, source, config=None, **kwargs):
        self = cls()
        self.config = config
        return self

    @classmethod
    def from_config(cls, config):
        return cls()
"""
    folder = write({"conf.py": CONFIG, "model.py": model}, AutoModel="model.M")

    config = loaded(folder)
    made = AutoModel.from_pretrained(folder, trust_remote_code=True)

    assert type(made.config) is type(config) is type(made).config_class
    assert type(AutoModel.from_config(config)) is type(made)


@pytest.mark.parametrize("files", [{}, {"modeling.py": "class M: pass\n"}])
def test_a_model_of_another_repository_is_none_of_the_config_s(files: dict[str, str], write: Write):
    """From a config no model is built whose code lies elsewhere, nor a class of the same name beside the config."""
    uses = "".join(f"from . import {path.removesuffix('.py')}\n" for path in files)
    config = loaded(write({"conf.py": CONFIG + uses, **files}, AutoModel="org/code--modeling.M"))

    with pytest.raises(RemoteCodeError, match=r"names 'org/code--modeling.M' for AutoModel, which is no part of"):
        AutoModel.from_config(config)


def test_the_same_code_is_the_same_class(write: Write):
    """Two checkpoints with the same code share its classes, so what belongs to one fits the other."""
    one, two = (loaded(write({"conf.py": CONFIG + "# same\n"}, name=name)) for name in ("one", "two"))

    assert type(one) is type(two)
    assert one == two


def test_other_code_is_another_class(write: Write):
    """Two checkpoints whose files are called alike have classes of their own."""
    one, two = (loaded(write({"conf.py": CONFIG + f"X = {name!r}\n"}, name=name)) for name in ("one", "two"))

    assert type(one) is not type(two)
    assert [sys.modules[type(each).__module__].X for each in (one, two)] == ["one", "two"]


def test_two_folders_of_one_name_are_told_apart(write: Write):
    """What a folder is called says nothing about its code."""
    one, two = (loaded(write({"conf.py": CONFIG + f"X = {name!r}\n"}, name=name)) for name in ("a/m.1", "b/m.1"))

    assert type(one) is not type(two)


def test_a_repository_with_odd_names_loads(write: Write):
    """The name of the folder is part of no module's name."""
    assert type(loaded(write({"conf.py": CONFIG}, name="a.b-c d/ünïcode.v1.0"))).__name__ == "C"


def test_nothing_is_registered(write: Write):
    """Code that a checkpoint brings is in no registry afterwards: the next load is none the wiser."""
    before = set(CONFIG_MAPPING.names()), set(AutoModel.model_mapping.names())
    folder = write({"conf.py": CONFIG})

    loaded(folder)

    assert (set(CONFIG_MAPPING.names()), set(AutoModel.model_mapping.names())) == before
    with pytest.raises(RemoteCodeError, match="nobody allowed that"):
        AutoConfig.from_pretrained(folder)


def test_a_class_that_is_not_of_the_code_is_refused(write: Write):
    """`auto_map` cannot reach through the code to a class that it merely imports."""
    folder = write({"conf.py": CONFIG + "from subprocess import Popen\n"}, "conf.Popen")

    with pytest.raises(RemoteCodeError, match="Popen"):
        loaded(folder)


@pytest.mark.parametrize("line", ["C = 5\n", "def C(): pass\n", "from os import path as C\n"])
def test_what_is_no_class_is_refused(write: Write, line: str):
    """A name that stands for something else than a class is refused."""
    with pytest.raises(RemoteCodeError, match="no class 'C'"):
        loaded(write({"conf.py": line}))


# ---- what it looks like


def test_two_files_for_one_module_are_refused(write: Write):
    """Python would take the package and leave the file unread: nobody could say which one was meant."""
    code = {"conf.py": CONFIG + "from .a.b import X\nfrom .a import Y\n", "a.py": "Y = 1\n"}
    folder = write({**code, "a/__init__.py": "", "a/b.py": "X = 5\n"}, "conf.C")

    with pytest.raises(RemoteCodeError, match=r"__init__\.py and 'a\.py' are both there for one module\. Keep one of"):
        loaded(folder)


def test_the_source_can_be_shown(write: Write):
    """`inspect` and tracebacks show the lines that run, though no file holds them any more."""
    folder = write({"conf.py": CONFIG + "def fail():\n    raise ValueError('here')\n"})
    config = loaded(folder)
    (folder / "conf.py").unlink()

    module = sys.modules[type(config).__module__]
    assert "model_type = 'brought'" in inspect.getsource(type(config))
    with pytest.raises(ValueError, match="here") as caught:
        module.fail()
    assert "raise ValueError('here')" in "".join(traceback.format_exception(caught.value))


def test_the_source_shown_is_what_ran(write: Write, monkeypatch: pytest.MonkeyPatch):
    """A file in the current folder that is called like the code is not shown in its place, nor compiled from."""
    folder = write({"conf.py": CONFIG + "def fail():\n    raise ValueError('true')\n"})
    config = loaded(folder)
    module = sys.modules[type(config).__module__]
    squatted = folder / module.__file__
    squatted.parent.mkdir()
    squatted.write_text((folder / "conf.py").read_text().replace("true", "false").replace("brought", "squatted"))
    monkeypatch.chdir(folder)

    linecache.checkcache()

    assert "model_type = 'brought'" in inspect.getsource(type(config))
    with pytest.raises(ValueError, match="true") as caught:
        module.fail()
    assert "raise ValueError('true')" in "".join(traceback.format_exception(caught.value))


def test_what_was_read_is_what_runs(write: Write, monkeypatch: pytest.MonkeyPatch):
    """A file that is swapped between reading and running is not seen: the bytes that were approved run."""
    folder = write({"conf.py": CONFIG + "from . import part\nX = part.X\n", "part.py": "X = 'approved'\n"})
    digest = read_remote_code(folder).digest
    import nameplate_auto._remote as room  # noqa: PLC0415 - where both happen, one after the other

    check = room.check_approved

    def swapping(*args: Any) -> None:
        check(*args)
        (folder / "part.py").write_text("X = 'swapped'\n")
        (folder / "conf.py").write_text("X = 'swapped'\n")

    monkeypatch.setattr(room, "check_approved", swapping)
    config = AutoConfig.from_pretrained(folder, trust_remote_code=digest)

    assert (folder / "part.py").read_text() == "X = 'swapped'\n"
    assert sys.modules[type(config).__module__].X == "approved"


# ---- what fails


def test_missing_packages_are_named_with_their_lines(write: Write):
    """Packages that are not installed are named, with the lines that import them and no command to install them."""
    code = "import os\nimport nothing_one\nfrom nothing_two.x import y, z\n" + CONFIG + "from . import part\n"
    folder = write({"conf.py": code, "part.py": "\nimport nothing_one, nothing_three as n\n"})

    with pytest.raises(RemoteCodeImportError, match="not installed") as caught:
        loaded(folder)

    message = str(caught.value)
    assert "nothing_two (conf.py:3)" in message
    assert "nothing_three (part.py:2)" in message
    assert message.count("nothing_one") == 1
    assert "pip" not in message


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("1 / 0", "conf.py:7: ZeroDivisionError"),
        ("raise SystemExit(3)", "conf.py:7: SystemExit"),
        ("import sys; sys.exit()", "conf.py:7: SystemExit"),
        ("exit()", "SystemExit"),
        ("raise KeyError", "conf.py:7: KeyError"),
        ("from . import part", "part.py:1: NameError"),
        ("from os import nothing_of_that_name", "conf.py:7: ImportError"),
        ("raise RecursionError('deep')", "RecursionError: deep"),
        ("def f(): f()\nf()", "RecursionError"),
        ("raise StopIteration", "conf.py:7: StopIteration"),
        ("class B(C, C): pass", "TypeError"),
    ],
)
def test_code_that_fails_is_one_error(write: Write, line: str, says: str):
    """Whatever an import does, one error of ours names the file and the line, with the code's own as its cause."""
    folder = write({"conf.py": CONFIG + "\n" + line + "\n", "part.py": "nothing\n"})

    with pytest.raises(RemoteCodeImportError, match="fails") as caught:
        loaded(folder)

    assert says in str(caught.value)
    assert caught.value.__cause__ is not None


def test_code_that_failed_can_be_mended(write: Write):
    """After a failure nothing half-done is left: the mended repository loads in the same process."""
    broken = {"conf.py": CONFIG + "from . import a, b\n", "a.py": "X = 5\n", "b.py": "1 / 0\n"}
    with pytest.raises(RemoteCodeImportError, match=r"b\.py:1"):
        loaded(write(broken))

    config = loaded(write({**broken, "b.py": "X = 0\n"}))

    assert sys.modules[type(config).__module__].a.X == 5


def test_code_that_failed_runs_anew(write: Write, monkeypatch: pytest.MonkeyPatch):
    """Code that failed for a reason outside of it is run again when it is asked for again."""
    monkeypatch.setattr(sys, "ready", False, raising=False)
    folder = write({"conf.py": CONFIG + "import sys\nassert sys.ready\n"})
    with pytest.raises(RemoteCodeImportError, match="AssertionError"):
        loaded(folder)

    monkeypatch.setattr(sys, "ready", True)

    assert type(loaded(folder)).__name__ == "C"


def test_a_failed_import_of_its_own_is_no_missing_package(write: Write):
    """A relative import that fails in a function says so when it is called, as everywhere."""
    config = loaded(write({"conf.py": CONFIG + "    def f(self):\n        from .absent import x\n"}))

    with pytest.raises(ModuleNotFoundError, match="absent"):
        config.f()


# ---- threads


@pytest.fixture
def slow_switches() -> Iterator[None]:
    """Let threads take turns as often as they can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("slow_switches")
@pytest.mark.parametrize("round_", range(5))
def test_threads_that_load_at_once_get_one_class(write: Write, round_: int):
    """Many threads that load the same code for the first time get one class, and it runs once."""
    code = CONFIG + f"import sys\nsys.times_run.append({round_})\nfrom . import a, b\n"
    folder = write({"conf.py": code, "a.py": "from . import b\n", "b.py": "from . import a\n"})
    barrier, found = threading.Barrier(8), []
    sys.times_run = []

    def load() -> None:
        barrier.wait()
        found.append(type(loaded(folder)))

    threads = [threading.Thread(target=load) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(found) == 8
    assert len(set(found)) == 1
    assert sys.times_run == [round_]
