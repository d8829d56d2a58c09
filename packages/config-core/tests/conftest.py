"""What the tests of this package share: a Hub of their own with processes of its real client, and modules to import."""

import contextlib
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

NAME = "loopback_hub"
PATIENCE = 60
"""Seconds after which a client that does not answer is ended."""


@pytest.fixture(scope="session")
def hub_server() -> Iterator[Any]:
    """Serve a Hub on the loopback interface until the end of the tests."""
    spec = importlib.util.spec_from_file_location(NAME, Path(__file__).with_name(f"{NAME}.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    with module.LoopbackHub().serving() as serving:
        yield serving


@pytest.fixture
def hub(hub_server: Any) -> Any:
    """Return the Hub, empty."""
    hub_server.reset()
    return hub_server


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which clients run, and which holds their cache."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture
def empty_home(home: Path) -> Path:
    """Return the folder in which clients run, empty."""
    for entry in home.iterdir():
        shutil.rmtree(entry)
    return home


@pytest.fixture(scope="module")
def talk(home: Path) -> Iterator[Callable[[str, dict[str, str], dict[str, Any]], Any]]:
    """Return a function that gets one answer, as JSON, from a script in a process of its own.

    A process is started for every script and environment that is asked for, once: the Hub's client reads the
    environment when it is imported.
    """
    started: dict[str, subprocess.Popen[str]] = {}
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    ours |= {
        "HF_HOME": str(home / "hf"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "NO_PROXY": "127.0.0.1,localhost",
    }

    def talking(script: str, env: dict[str, str], question: dict[str, Any]) -> Any:
        key = json.dumps([script, env])
        if key not in started:
            command, pipe = [sys.executable, "-c", script], subprocess.PIPE
            process = subprocess.Popen(command, env=ours | env, cwd=home, stdin=pipe, stdout=pipe, text=True)
            started[key] = stack.enter_context(process)
        client = started[key]
        assert client.stdin is not None
        assert client.stdout is not None
        patience = threading.Timer(PATIENCE, client.kill)
        patience.start()
        try:
            print(json.dumps(question), file=client.stdin, flush=True)
            return json.loads(client.stdout.readline())
        finally:
            patience.cancel()
            patience.join()

    with contextlib.ExitStack() as stack:
        yield talking


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
def define(tmp_path: Path, clean_imports: None) -> Callable[..., type]:
    """Return a function that writes files below the folder `code`, and imports the class at `module.Class`."""
    del clean_imports

    def write_and_import(files: Mapping[str, str], reference: str = "pkg.a.A") -> type:
        for name, text in files.items():
            (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "code" / name).write_text(text, encoding="utf-8")
        sys.path.insert(0, str(tmp_path / "code"))
        importlib.invalidate_caches()
        module, _, name = reference.rpartition(".")
        return getattr(importlib.import_module(module), name)

    return write_and_import
