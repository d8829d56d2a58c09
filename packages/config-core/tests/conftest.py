"""What the tests of this package share: a Hub of their own."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

NAME = "loopback_hub"


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
