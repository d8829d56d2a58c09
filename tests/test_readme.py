"""The commands that we tell people to type exist, and tables of what a command has are complete."""

import re
from collections.abc import Iterator
from typing import Any

import click
import pytest
from workspace import ROOT, read_toml

from nameplate_conformance.cli import main
from nameplate_conformance.judging.profiles import PROFILES
from nameplate_conformance.law import LEVELS
from nameplate_conformance.result import Status

COMMAND = re.compile(r"\bhatch run (?:(?P<environment>[\w-]+):)?(?P<script>[\w-]+)")
PAGES = ("README.md", "CONTRIBUTING.md", ".ci/run")

CONFORMANCE = re.compile(r"\b(?:hatch run conformance|nameplate-conformance)((?:[ \n][-\w./:]+)+)")
CONFORMANCE_PAGES = ("README.md", "CONTRIBUTING.md", "conformance/README.md", "packages/resnet/README.md")
SUITE = ROOT / "conformance" / "README.md"


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


# ---- the conformance suite


def unknown_words(text: str) -> Iterator[str]:
    """Yield each `nameplate-conformance …` of a text whose command, or an option of it, does not exist."""
    for typed in CONFORMANCE.finditer(text):
        words = typed[1].split()
        command: click.Command | None = main
        while words and isinstance(command, click.Group) and not words[0].startswith("-"):
            command = command.commands.get(words.pop(0))
        known = {name for each in command.params for name in each.opts} if command is not None else set()
        if command is None or not known.issuperset(word for word in words if word.startswith("-")):
            yield " ".join(typed[0].split())


def rows(heading: str, columns: int) -> list[tuple[str, ...]]:
    """Return the first columns of the table below a heading of the suite's page."""
    section = SUITE.read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [tuple(cell.strip().strip("`") for cell in line.split("|")[1 : columns + 1]) for line in lines]


@pytest.mark.parametrize("page", CONFORMANCE_PAGES)
def test_every_conformance_command_exists(page: str) -> None:
    """Whatever a page lets people type after `nameplate-conformance` is a command, with options that it has."""
    text = (ROOT / page).read_text(encoding="utf-8")

    assert CONFORMANCE.search(text), "there is no command to look for"
    assert list(unknown_words(text)) == []


def test_a_conformance_command_that_does_not_exist_is_reported() -> None:
    """The probe reports a command, a command of a group and an option that do not exist."""
    text = "`nameplate-conformance run x -j 4`, `nameplate-conformance rum`, `hatch run conformance golden erase x`"

    assert list(unknown_words(f"{text}, `hatch run conformance list --levels 3`")) == [
        "nameplate-conformance rum",
        "hatch run conformance golden erase x",
        "hatch run conformance list --levels 3",
    ]


def test_the_table_of_profiles_is_true() -> None:
    """Each profile is described with its numbers."""
    assert rows("Profiles", 5) == [
        (each.name, str(each.examples), str(each.rows), str(each.costly), f"0-{each.level}")
        for each in PROFILES.values()
    ]
    assert len(LEVELS) - 1 == max(each.level for each in PROFILES.values())


def test_the_table_of_verdicts_is_true() -> None:
    """Each verdict is explained, and those that fail a run are said to."""
    assert {(name, says == "fails") for name, _, says in rows("Verdicts", 3)} == {
        (each.value, each.is_bad) for each in Status
    }
