"""The commands that we tell people to type exist."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from workspace import ROOT, read_toml

COMMAND = re.compile(r"\bhatch run (?:(?P<environment>[\w-]+):)?(?P<script>[\w-]+)")
PAGES = ("README.md", "CONTRIBUTING.md", ".ci/run")


def unknown_commands(text: str, environments: dict[str, dict[str, dict[str, Any]]]) -> Iterator[str]:
    """Yield each `hatch run …` of a text that no environment has a script for."""
    for command in COMMAND.finditer(text):
        scripts = environments.get(command["environment"] or "default", {}).get("scripts", {})
        if command["script"] not in scripts:
            yield command[0]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_exists(page: str) -> None:
    """Whatever `hatch run` command a page shows is a script in hatch.toml."""
    text = (ROOT / page).read_text(encoding="utf-8")

    assert COMMAND.search(text), "there is no command to look for"
    assert list(unknown_commands(text, read_toml(ROOT / "hatch.toml")["envs"])) == []


def test_an_unknown_command_is_reported() -> None:
    """The probe reports a script that no environment has, and one asked of the wrong environment."""
    environments = {"default": {"scripts": {"test": "pytest"}}, "bench": {"scripts": {"run": "python"}}}
    text = "`hatch run test -x`, `hatch run tset`, `hatch run bench:run`, `hatch run bench:test`"

    assert list(unknown_commands(text, environments)) == ["hatch run tset", "hatch run bench:test"]
