"""Code of a checkpoint in several processes: starts at once, classes sent to workers, and nowhere to write."""

import importlib
import json
import multiprocessing
import operator
import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import AutoConfig, AutoModel, RemoteCodeRefusedError, read_remote_code

ROUNDS = int(os.environ.get("NAMEPLATE_COLD_STARTS", "3"))
"""How often several processes load code at once for the first time."""

COLD_STARTS = Path(__file__).with_name("cold_starts.py")

CONFIG = """
from nameplate_config import PreTrainedConfig
from .sizes import WIDTH


class C(PreTrainedConfig):
    model_type = 'sent'
    width: int = WIDTH

    class Inner(PreTrainedConfig):
        model_type = 'sent-inner'
        depth: int = 2
"""
MODEL = """
from torch import nn
from nameplate_model import PreTrainedModel
from .conf import C


class M(PreTrainedModel):
    config_class = C

    def __init__(self, config):
        super().__init__(config)
        self.one = nn.Linear(2, config.width)
"""
EVIL = "import os\nopen(os.environ['CANARY'], 'w').close()\nraise ImportError('squatted')\n"
UNPICKLE = "import pickle, sys; print(repr(pickle.load(open(sys.argv[1], 'rb'))))"
LOAD = "import sys; from nameplate_auto import AutoConfig; print(AutoConfig.from_pretrained(sys.argv[1], trust_remote_code=sys.argv[2]).width)"  # noqa: E501

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a checkpoint that brings code."""
    folder = tmp_path_factory.mktemp("sent")
    (folder / "conf.py").write_text(CONFIG)
    (folder / "sizes.py").write_text("WIDTH = 3\n")
    (folder / "model.py").write_text(MODEL)
    auto_map = {"AutoConfig": "conf.C", "AutoModel": "model.M"}
    (folder / "config.json").write_text(json.dumps({"model_type": "sent", "auto_map": auto_map}))
    return folder


@pytest.fixture(scope="module")
def config(folder: Path) -> Any:
    """Return its config."""
    return AutoConfig.from_pretrained(folder, trust_remote_code=True)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Return what runs a script in a process of its own, in an empty folder."""
    place = tmp_path / "place"
    place.mkdir()

    def running(script: str, *arguments: Any, **env: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, *map(str, arguments)],
            env={**os.environ, "CANARY": str(tmp_path / "canary"), **env},
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )

    return running


# ---- starts at once


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
def test_processes_that_start_at_once_all_succeed(tmp_path: Path):
    """Eight processes that load the same code at once, for the first time, all get it, in every round."""
    done = subprocess.run(
        [sys.executable, str(COLD_STARTS), str(tmp_path), str(ROUNDS)], capture_output=True, text=True, check=False
    )

    assert done.stderr == ""
    assert json.loads(done.stdout) == {"rounds": ROUNDS, "loads": 8 * ROUNDS, "failures": 0}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the processes are forks")
def test_a_process_that_fails_is_counted(tmp_path: Path):
    """The counting sees a load that fails."""
    script = COLD_STARTS.read_text().replace("EXPECTED = [8, 4]", "EXPECTED = [8, 5]")
    done = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path), "1"], capture_output=True, text=True, check=False
    )

    assert json.loads(done.stdout)["failures"] == 8
    assert "AssertionError" in done.stderr


def test_fresh_processes_that_start_at_once_all_succeed(folder: Path):
    """Eight interpreters that are started at once load it as well."""
    command = [sys.executable, "-c", LOAD, str(folder), read_remote_code(folder).digest]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(8)]

    assert [(process.communicate()[0], process.returncode) for process in started] == [("3\n", 0)] * 8


# ---- what is sent


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """Start two processes that have imported nothing."""
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        yield pool


def test_a_config_reaches_a_worker(config: Any, workers: Any):
    """A config is sent to a process that was spawned, is used there and comes back as one of the same class."""
    assert workers.map(operator.attrgetter("width"), [config, config.copy(width=5)]) == [3, 5]
    assert workers.map(operator.attrgetter("__class__"), [config]) == [type(config)]
    assert workers.apply(operator.methodcaller("copy", width=7), (config,)) == config.copy(width=7)


def test_a_class_reaches_a_worker(config: Any, workers: Any):
    """A class is sent by itself, and so is one that is defined inside of another."""
    assert workers.map(operator.attrgetter("model_type"), [type(config), type(config).Inner]) == ["sent", "sent-inner"]
    assert workers.apply(operator.methodcaller("__call__", depth=9), (type(config).Inner,)).depth == 9


def test_a_model_reaches_a_worker(config: Any, workers: Any):
    """A model is sent with its weights."""
    model = AutoModel.from_config(config)

    back = workers.apply(operator.methodcaller("eval"), (model,))

    assert type(back) is type(model)
    assert all((back.state_dict()[name] == tensor).all() for name, tensor in model.state_dict().items())


@pytest.mark.parametrize("what", ["config", "class", "inner", "listed"])
def test_it_is_brought_along(config: Any, what: str, run: Run, tmp_path: Path):
    """A process that has never seen the checkpoint unpickles it: the code comes with it."""
    cls = type(config)
    things = {
        "config": config,
        "class": cls,
        "inner": cls.Inner(),
        "listed": [{"x": (cls, config)}],
    }
    (tmp_path / "sent").write_bytes(pickle.dumps(things[what]))

    done = run(UNPICKLE, tmp_path / "sent")

    assert (done.stdout.strip(), done.stderr) == (repr(things[what]), "")


def test_a_class_of_the_root_package_is_brought_once(run: Run, tmp_path: Path):
    """A class that the `__init__` of the folder defines is sent like any other, and its code runs once."""
    (tmp_path / "__init__.py").write_text(CONFIG.replace("from .sizes import WIDTH", "WIDTH = 3"))
    (tmp_path / "conf.py").write_text("from . import C\n")
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "sent", "auto_map": {"AutoConfig": "conf.C"}}))
    config = AutoConfig.from_pretrained(tmp_path, trust_remote_code=True)
    (tmp_path / "sent").write_bytes(pickle.dumps(config))

    done = run(
        UNPICKLE + "; print([each for each in sys.modules if each.startswith('_nameplate_code_')])", tmp_path / "sent"
    )

    assert type(pickle.loads(pickle.dumps(config))) is type(config)
    assert (done.stdout, done.stderr) == (f"{config!r}\n{[type(config).__module__]}\n", "")


def test_every_protocol_brings_it(config: Any):
    """Whatever protocol is chosen of those that configs can be pickled with, what comes back is of the same class."""
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        assert type(pickle.loads(pickle.dumps(config, protocol))) is type(config)


@pytest.mark.parametrize("old", [b"WIDTH = 3", b"'sent'", b"int = WIDTH", b"'sent-inner'", b"depth: int = 2"])
def test_code_that_was_changed_on_the_way_is_refused(config: Any, old: bytes):
    """Of a pickle whose code is not that of its hash, nothing runs."""
    data = pickle.dumps(config)
    assert data.count(old) == 1

    with pytest.raises(RemoteCodeRefusedError, match="other code than that of its hash"):
        pickle.loads(data.replace(old, old[:-1] + b"4"))


def test_any_changed_byte_of_the_code_is_refused(config: Any):
    """Any byte of any file that is sent along is checked."""
    data, code = pickle.dumps(config), CONFIG.encode()
    start = data.index(code)

    for position in range(start, start + len(code), 7):
        changed = data[:position] + bytes([data[position] ^ 1]) + data[position + 1 :]
        with pytest.raises(RemoteCodeRefusedError, match="other code"):
            pickle.loads(changed)


def test_the_name_of_other_code_is_refused(config: Any):
    """A pickle cannot bring code under the name of code that was approved."""
    package = type(config).__module__.partition(".")[0]
    data = pickle.dumps(config).replace(package.encode(), package[:-4].encode() + b"0000")

    with pytest.raises(RemoteCodeRefusedError, match="other code"):
        pickle.loads(data)


def test_the_environment_forbids_it_there_too(config: Any, run: Run, tmp_path: Path):
    """A process in which no code of checkpoints may run refuses what is sent to it."""
    (tmp_path / "sent").write_bytes(pickle.dumps(config))

    done = run(UNPICKLE, tmp_path / "sent", NAMEPLATE_REMOTE_CODE="never")

    assert done.returncode == 1
    assert "RemoteCodeRefusedError" in done.stderr


# ---- names that somebody else took


@pytest.mark.parametrize("as_folder", [True, False])
@pytest.mark.parametrize("sent", [True, False])
def test_a_squatted_name_does_not_win(folder: Path, config: Any, run: Run, tmp_path: Path, as_folder: bool, sent: bool):
    """A module in the current folder that is called like the private package is never imported, nor one of its own."""
    package = type(config).__module__.partition(".")[0]
    place = tmp_path / "place"
    for name in (package, "conf", "sizes", "model", "transformers_modules"):
        path = place / name / "__init__.py" if as_folder else place / f"{name}.py"
        path.parent.mkdir(exist_ok=True)
        path.write_text(EVIL)
    (tmp_path / "sent").write_bytes(pickle.dumps(config))

    if sent:
        done = run("import sys; sys.path.insert(0, '')\n" + UNPICKLE, tmp_path / "sent", PYTHONPATH=str(place))
        assert (done.stdout.strip(), done.stderr) == (repr(config), "")
    else:
        done = run(LOAD, folder, read_remote_code(folder).digest, PYTHONPATH=str(place))
        assert (done.stdout, done.stderr) == ("3\n", "")
    assert not (tmp_path / "canary").exists()


def test_nobody_else_may_have_such_a_name(config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A package that is called like approved code, and was not approved, is not imported from anywhere."""
    assert config is not None
    package = "_nameplate_code_" + "0" * 32
    (tmp_path / package).mkdir()
    (tmp_path / package / "__init__.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(ModuleNotFoundError, match="was approved"):
        importlib.import_module(package)


def test_the_path_stays_as_it_is(folder: Path):
    """Loading code adds nothing to `sys.path`, and one finder to the import system."""
    path, finders = list(sys.path), len(sys.meta_path)

    for _ in range(3):
        AutoConfig.from_pretrained(folder, trust_remote_code=True)

    assert sys.path == path
    assert len(sys.meta_path) - finders in {0, 1}


# ---- nowhere to write


WATCHED = """
import os, sys

def seen(event, arguments):
    if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        raise SystemExit(f"writes {arguments}")
    if event in {"os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.chmod", "shutil.copyfile"}:
        raise SystemExit(f"{event} {arguments}")

sys.addaudithook(seen)
"""


@pytest.mark.parametrize("home", ["/nonexistent/home", "/proc/version", ""])
def test_nothing_is_written(folder: Path, run: Run, tmp_path: Path, home: str):
    """A load writes nothing anywhere, so it works where there is no home and everything is read-only."""
    env = {"HOME": home, "XDG_CACHE_HOME": home, "HF_HOME": home, "PYTHONDONTWRITEBYTECODE": "1"}
    before = sorted(folder.rglob("*"))

    done = run(WATCHED + LOAD, folder, read_remote_code(folder).digest, **env)

    assert (done.stdout, done.stderr) == ("3\n", "")
    assert sorted(folder.rglob("*")) == before
    assert list((tmp_path / "place").iterdir()) == []


def test_a_write_would_be_seen(run: Run):
    """The watch ends a process that writes."""
    assert "writes" in run(WATCHED + "open('x', 'w')").stderr
    assert "os.mkdir" in run(WATCHED + "os.mkdir('x')").stderr
