"""What the tests of this package share: the Hub on loopback, and its clients, that the tests of configs use."""

import importlib.util
from pathlib import Path

_SOURCE = Path(__file__).parents[2] / "config-core" / "tests" / "conftest.py"
_spec = importlib.util.spec_from_file_location("loopback_fixtures", _SOURCE)
assert _spec is not None
assert _spec.loader is not None
_fixtures = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_fixtures)

hub_server, hub = _fixtures.hub_server, _fixtures.hub
home, empty_home, talk = _fixtures.home, _fixtures.empty_home, _fixtures.talk
