"""Workers: whatever an architecture does to its process is the verdict on one cell, and the others have theirs.

One run judges everything that can go wrong here, because every process that ends is replaced by one that imports torch.
"""

import signal
from contextlib import chdir
from pathlib import Path

import pytest

from nameplate_conformance import Result, Status
from nameplate_conformance.judging.bench import Terms, here_too
from nameplate_conformance.judging.session import Audience, Plan, conduct
from nameplate_conformance.judging.workers import Crew

HOSTILE = """
import ctypes, os, signal, sys
from typing import Annotated, Literal
from annotated_types import Ge
from nameplate_config import PreTrainedConfig, Tiny
from nameplate_conformance import Architecture


class Base(PreTrainedConfig):
    model_type = "hostile"
    width: Annotated[int, Ge(1), Tiny(1, 2, 3)] = 1
    act: Literal["relu", "tanh", "gelu"] = "relu"


def architecture(name, deed):
    body = {"model_type": name, "__module__": __name__, "validate_deed": lambda config: deed()}
    return Architecture(config=type(name, (Base,), body), name=name)


def needs_repeatable_sums():
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert os.environ["OMP_NUM_THREADS"] == "1"


CRASHES = architecture("crashes", lambda: ctypes.string_at(0))
SLEEPS = architecture("sleeps", lambda: ctypes.CDLL(None).sleep(10_000))
LEAVES = architecture("leaves", lambda: sys.exit("gone"))
FINE = architecture("fine", needs_repeatable_sums)
"""

ENDING = """
import os, sys
print("printed")
print("the last words", file=sys.stderr, flush=True)
os._exit(7)
"""

TEXTS = ("CRASHES", "SLEEPS", "LEAVES", "FINE")


class Noting(Audience):
    """Writes down what it hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []

    def found(self, result: Result) -> None:
        """Note a result."""
        self.heard.append(result.architecture)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with modules of architectures that misbehave."""
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "hostile.py").write_text(HOSTILE, encoding="utf-8")
    (folder / "ending.py").write_text(ENDING, encoding="utf-8")
    (folder / "raising.py").write_text("raise RuntimeError('half installed')", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def noting() -> Noting:
    """Return who listens to the run."""
    return Noting()


@pytest.fixture(scope="module")
def results(folder: Path, noting: Noting) -> dict[str, Result]:
    """Judge all of them by one law in two workers, and return what was found by the architectures' names."""
    texts = ("ending:ANY", "raising:ANY", *(f"hostile:{name}" for name in TEXTS))
    with chdir(folder):
        plan = Plan(texts=texts, laws=("A01",), workers=2, limit=8, terms=Terms(profile="glance"))
        report, _ = conduct(plan, noting)
    return {result.architecture: result for result in report.results}


def test_a_module_that_raises_is_an_error_of_its_own(results: dict[str, Result]):
    """An architecture whose module raises when it is imported is one error, which names module and cause."""
    message = "it cannot be loaded: 'raising:ANY' cannot be imported: RuntimeError: half installed."

    assert (results["raising:ANY"].status, results["raising:ANY"].message) == (Status.ERROR, message)


def test_a_module_that_ends_the_process_is_an_error_of_its_own(results: dict[str, Result]):
    """One whose module ends the process is one error too, with the exit code and the last words."""
    assert results["ending:ANY"].status is Status.ERROR
    assert results["ending:ANY"].message.startswith("it cannot be loaded: it ended its process with exit code 7.\n")
    assert results["ending:ANY"].message.endswith("the last words")


def test_a_crash_says_where(results: dict[str, Result]):
    """A fault in compiled code is an error with the signal and the lines of Python that led to it."""
    assert results["crashes"].status is Status.ERROR
    assert results["crashes"].message.startswith("its process was killed by SIGSEGV.\n  It was in:\nFile ")
    assert 'hostile.py", line' in results["crashes"].message


def test_code_that_never_returns_to_python_is_ended(results: dict[str, Result]):
    """Whoever sleeps where no interruption reaches is killed when the time is over, and the error says where it was."""
    assert results["sleeps"].status is Status.ERROR
    assert results["sleeps"].message.startswith("it did not end within 8 seconds, so its process was killed.")
    assert 'hostile.py", line' in results["sleeps"].message


def test_what_only_raises_fails_without_losing_the_worker(results: dict[str, Result]):
    """An exception, `SystemExit` included, is a verdict of the worker itself, not its end."""
    assert "gone" in results["leaves"].message
    assert results["leaves"].status in {Status.FAIL, Status.ERROR}


def test_the_others_go_on(results: dict[str, Result], noting: Noting):
    """Beside all that, a healthy architecture passes, in an environment that is set before torch starts."""
    assert results["fine"].status is Status.PASS, results["fine"].message
    assert sorted(noting.heard) == sorted(results)


def test_the_current_folder_is_searched_last():
    """Modules beside whoever runs the command are found, after installed ones, and once."""
    assert here_too(["/lib"]) == ["/lib", str(Path.cwd())]
    assert here_too(["", "/lib"]) == ["", "/lib"]


def test_nobody_is_left_behind():
    """When the block of a crew ends, by an error too, its processes and its folder are gone."""
    with pytest.raises(KeyboardInterrupt), Crew(Terms(profile="glance")) as crew:
        raise KeyboardInterrupt

    (worker,) = crew._workers
    assert worker.process.returncode == -signal.SIGKILL
    assert not Path(worker.scratch).exists()


def test_a_kill_is_explained():
    """Of a worker that somebody kills it is said by what, and who does such things as a rule."""
    with Crew(Terms(profile="glance")) as crew:
        crew._workers[0].process.kill()
        found = crew.load(["nameplate_conformance.zoo:ANY"])

    said = found["nameplate_conformance.zoo:ANY"].failure
    assert said == "its process was killed by SIGKILL, as the system does where memory runs out."
