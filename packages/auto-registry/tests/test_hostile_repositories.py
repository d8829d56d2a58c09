"""Hundreds of hostile repositories: with nothing trusted, nothing of them runs, and each is refused at once.

`hostile_repositories.py` holds them as data. `hostile_server.py` loads each in a process of its own, in which an audit
hook sees what Python is about to do.
"""

import json
import os
import re
import runpy
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each repository is loaded in a fork")

SERVER = Path(__file__).with_name("hostile_server.py")
CORPUS = runpy.run_path(str(SERVER.with_name("hostile_repositories.py")))
EVERY: dict[str, Any] = CORPUS["EVERY"]
EVIL, BOTH = CORPUS["EVIL"], CORPUS["BOTH"]
Repository = CORPUS["Repository"]

MOST_SECONDS = 1.0
"""The time of a processor that one call may take."""

MOST_BYTES = 64 << 20
"""The memory that a repository may take above that of the process."""

LONGEST_MESSAGE = 4000
CALLS = ["config", "distrusted config", "model", "untrusted model"]
READING = [*CALLS, "code"]
FIRST_USES = (
    "the key 'revision'",
    "a pipe",
    "names 'conf'",
    "GHSA-pqww-w348-m542 weights that are a pickle",
    "no such class",
    "model_type is a class",
    "subfolder '..'",
    "variant '..'",
    "a link to itself",
)
"""Repositories through which everything is imported that is imported at first use."""

Ask = Callable[..., Any]
Look = Callable[..., dict[str, Any]]


def write(repository: Any, folder: Path, weights: Path) -> None:
    """Write a repository into a folder, beside files that are not of it."""
    folder.mkdir()
    config = repository.config
    (folder / "config.json").write_bytes(config if isinstance(config, bytes) else json.dumps(config).encode())
    for name, data in repository.files.items():
        made = data() if callable(data) else data
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(made if isinstance(made, bytes) else made.encode("utf-8", "surrogateescape"))
    for name, (kind, argument) in repository.special.items():
        make_special(folder / name, kind, argument)
    if repository.weights:
        (folder / "model.safetensors").write_bytes(weights.read_bytes())
    outside = folder.parent / "outside"
    outside.mkdir()
    for path in (outside / "__init__.py", outside / "labels.txt", folder.parent / "outside.py"):
        path.write_text(EVIL)


def make_special(path: Path, kind: str, argument: Any) -> None:
    """Make what is no file."""
    if kind == "link":
        path.symlink_to(argument)
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(argument)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for what all repositories of this module share."""
    return tmp_path_factory.mktemp("hostile")


@pytest.fixture(scope="module")
def ask(place: Path) -> Iterator[Ask]:
    """Start the process that loads the repositories of this module, and return what asks it."""
    env = {**os.environ, "CANARY": str(place / "canary"), "HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(place)}
    command, pipe = [sys.executable, str(SERVER)], subprocess.PIPE
    with subprocess.Popen(command, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None

        def asking(**question: Any) -> Any:
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        asking(save=str(place / "good"))
        for number, name in enumerate(FIRST_USES):
            (place / str(number)).mkdir()
            folder = place / str(number) / "repository"
            write(EVERY[name], folder, place / "good" / "model.safetensors")
            asking(folder=str(folder), options=dict(EVERY[name].options), calls=READING, here=True)
        yield asking
        process.stdin.close()


@pytest.fixture
def look(ask: Ask, place: Path, tmp_path: Path) -> Look:
    """Return what writes a repository, loads it in every way, and returns what came of it."""

    def looking(repository: Any, **options: Any) -> dict[str, Any]:
        folder = tmp_path / "repository"
        write(repository, folder, place / "good" / "model.safetensors")
        calls = CALLS if repository.code_error is None else READING
        return ask(folder=str(folder), options={**repository.options, **options}, calls=calls)

    return looking


def check(found: dict[str, Any], repository: Any) -> None:
    """Make sure that a repository did nothing, and was refused as it should be."""
    assert "died" not in found, found
    assert found["events"] == []
    assert not found["ran"]
    assert found["registered"] == []
    assert found["bytes"] <= MOST_BYTES
    for call, outcome in found["calls"].items():
        expected = getattr(repository, f"{call.rpartition(' ')[2]}_error")
        assert (call, outcome["error"]) == (call, expected), outcome
        assert outcome["ours"]
        assert outcome["seconds"] <= MOST_SECONDS, outcome
        if expected:
            check_message(outcome["message"], repository.says)


def check_message(message: str, says: str) -> None:
    """Make sure that a message is one that can be shown to anybody."""
    assert says in message
    assert len(message) <= LONGEST_MESSAGE
    assert message.replace("\n", "").isprintable()
    assert re.search(r"\b(pip|uv|conda) (install|add)\b", message) is None


@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_a_repository_runs(name: str, look: Look):
    """Untrusted, a hostile repository is data: it is loaded as such or refused with one error of ours, at once."""
    check(look(EVERY[name]), EVERY[name])


# ---- the probe


@pytest.mark.parametrize("name", CORPUS["RUNNING"])
def test_what_would_run_does_run(name: str, look: Look):
    """Code that is attacked through is code: where it is trusted, it runs, so it is not the corpus that is tame."""
    assert look(CORPUS["RUNNING"][name], trust_remote_code=True)["ran"]


def test_the_probe_sees_what_runs(look: Look):
    """Where code is trusted, the probe sees that it is run, and what it does."""
    source = EVIL + "import subprocess, socket, ctypes\nsubprocess.run(['true'])\nsocket.socket().close()\n" + BOTH

    found = look(CORPUS["remote"](source), trust_remote_code=True)

    assert found["ran"]
    assert found["registered"]
    seen = {event.partition(" ")[0] for event in found["events"]}
    assert {"exec", "compile", "import", "open", "subprocess.Popen", "socket.__new__"} <= seen


GOOD = {
    "calls": {"config": {"error": "RemoteCodeRefusedError", "message": "no: x", "ours": True, "seconds": 0.1}},
    "events": [],
    "ran": False,
    "registered": [],
    "bytes": 0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"died": -14},
        {"events": ["exec x"]},
        {"ran": True},
        {"registered": ["foreign"]},
        {"bytes": 65 << 20},
        {"error": ""},
        {"error": "ValueError"},
        {"ours": False},
        {"seconds": 1.1},
        {"message": "no"},
        {"message": "x" * (LONGEST_MESSAGE + 1)},
        {"message": "x \x1b[2J"},
        {"message": "x: pip install evil"},
    ],
)
def test_the_check_sees_everything(change: dict[str, Any]):
    """The check fails if any one thing about a refusal is wrong."""
    repository = Repository({}, says="x")
    check(GOOD, repository)
    call = {**GOOD["calls"]["config"], **change}

    with pytest.raises(AssertionError):
        check({**GOOD, **change, "calls": {"config": call}}, repository)


# ---- the corpus


def test_there_are_hundreds():
    """The corpus is large, and each part of it has something to say."""
    assert len(EVERY) >= 400
    assert sum(len(part) for name, part in CORPUS.items() if name.isupper() and _is_part(part)) == 2 * len(EVERY)


def _is_part(part: object) -> bool:
    return isinstance(part, dict) and bool(part) and all(isinstance(each, Repository) for each in part.values())


def test_every_advisory_has_a_number():
    """The shapes of attacks of the past are called after them, and there are at least fifteen."""
    numbered = re.compile(r"(CVE-\d{4}-\d{4,5}|GHSA(-\w{4}){3}|[a-zA-Z-]+ [\d.]+)\b")
    numbers = {match[0] for name in CORPUS["ADVISORIES"] if (match := numbered.match(name))}

    assert len(numbers) >= 30


def test_no_two_repositories_are_alike():
    """Each is there for a reason of its own."""
    texts = Counter(
        str(hash(json.dumps([each.config, each.options, each.special], default=repr)))
        + repr([(name, hash(data() if callable(data) else data)) for name, data in each.files.items()])
        for each in EVERY.values()
    )

    assert max(texts.values()) == 1
