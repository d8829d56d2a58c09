"""What several rooms of these tests share: modules that exist on disk, and nowhere else yet, and a Hub on loopback.

The Hub, and the processes that talk to it, are those of the tests of configs.
"""

import importlib
import importlib.util
import itertools
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_SOURCE = Path(__file__).parents[2] / "config-core" / "tests" / "conftest.py"
_spec = importlib.util.spec_from_file_location("loopback_fixtures", _SOURCE)
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

hub_server, hub = _fixtures.hub_server, _fixtures.hub
home, empty_home, talk = _fixtures.home, _fixtures.empty_home, _fixtures.talk

_CLIENT = Path(__file__).with_name("hub_client.py").read_text(encoding="utf-8")

_CODE = {
    "configuration_brought.py": """
from nameplate_config import PreTrainedConfig
from .parts.sizes import WIDTH

class BroughtConfig(PreTrainedConfig):
    model_type = "brought"
    width: int = WIDTH
""",
    "modeling_brought.py": """
from torch import nn
from nameplate_model import PreTrainedModel
from .configuration_brought import BroughtConfig

class Brought(PreTrainedModel):
    config_class = BroughtConfig

    def __init__(self, config: BroughtConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(config.width, config.width), nn.Linear(config.width, config.width)
""",
    "parts/sizes.py": "WIDTH = 8\n",  # of a folder without an __init__.py
}

_numbers = itertools.count()


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], str]]:
    """Return a function that writes a module which can be imported, and was not, and returns its name."""
    monkeypatch.syspath_prepend(tmp_path)
    written: list[str] = []

    def write(text: str) -> str:
        name = f"not_imported_yet_{next(_numbers)}"
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
        importlib.invalidate_caches()
        written.append(name)
        return name

    yield write
    for name in written:
        sys.modules.pop(name, None)


@pytest.fixture
def ask(hub: Any, talk: Callable[..., Any], empty_home: Path) -> Callable[..., Any]:
    """Return a function that gets an answer from a process of its own, with a cache that is empty at first."""
    del empty_home

    def asking(verb: str, *, env: dict[str, str] | None = None, **arguments: Any) -> Any:
        return talk(_CLIENT, {"HF_ENDPOINT": hub.endpoint, **(env or {})}, {"verb": verb, **arguments})

    return asking


@pytest.fixture
def saved(ask: Callable[..., Any], home: Path) -> Callable[..., dict[str, bytes]]:
    """Return a function that returns the files of a checkpoint: of an architecture that is registered, or of another.

    The class of that other one is looked for where *code* says: beside the checkpoint if that is empty, and then its
    files are among them, or in the repository that it begins with.
    """

    def saving(*, code: str | None = None, **options: Any) -> dict[str, bytes]:
        folder = home / "saved"
        ask("save", folder=folder.name, **options)
        files = {path.name: path.read_bytes() for path in folder.iterdir()}
        shutil.rmtree(folder)
        if code is None:
            return files
        auto_map = {
            "AutoConfig": f"{code}configuration_brought.BroughtConfig",
            "AutoModel": f"{code}modeling_brought.Brought",
        }
        config = json.dumps({"model_type": "brought", "width": 8, "auto_map": auto_map})
        brought = {} if code else {path: text.encode() for path, text in _CODE.items()}
        return {**files, **brought, "config.json": config.encode()}

    return saving
