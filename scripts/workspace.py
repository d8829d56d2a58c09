"""The members of this workspace as their own pyproject.toml files describe them.

One room for the questions that scripts and repository laws share: which packages there are, what each is
called and which versions of its siblings it asks for. Nothing here changes a file.
"""

import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
"""The checkout that this file lies in."""

FAMILY = "nameplate-"
"""How the name of every distribution begins."""

_LOWER = {">=", ">", "~="}
_UPPER = {"<", "<=", "~="}


@dataclass(frozen=True, slots=True)
class Member:
    """One package of the workspace.

    Attributes:
        folder: Where its pyproject.toml lies.
        name: Its distribution.
        version: The version that stands in its pyproject.toml.
        requirements: What it depends on, siblings and third parties.
    """

    folder: Path
    name: str
    version: str
    requirements: tuple[Requirement, ...]

    @property
    def short_name(self) -> str:
        """What people type: the distribution without the family's prefix."""
        return self.name.removeprefix(FAMILY)

    @property
    def import_name(self) -> str:
        """The package that it installs."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> Path:
        """The folder of that package."""
        return self.folder / "src" / self.import_name


def read_toml(path: Path) -> dict[str, Any]:
    """Return the tables of a TOML file."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def members(root: Path = ROOT) -> list[Member]:
    """Return the packages that hatch.toml names as the workspace, in the order of their names."""
    patterns = read_toml(root / "hatch.toml")["envs"]["default"]["workspace"]["members"]
    folders = {folder for pattern in patterns for folder in root.glob(pattern) if folder.is_dir()}
    return sorted(map(_read_member, folders), key=lambda member: member.name)


def range_problems(family: Sequence[Member]) -> Iterator[str]:
    """Yield a sentence for each requirement between siblings that is unbounded or shuts the sibling out."""
    versions = {member.name: member.version for member in family}
    for member in family:
        for requirement in member.requirements:
            if requirement.name in versions:
                yield from _range_problems(member.name, requirement, versions[requirement.name])


def _range_problems(owner: str, requirement: Requirement, version: str) -> Iterator[str]:
    operators = {specifier.operator for specifier in requirement.specifier}
    asked = f"{owner} asks for {requirement}"
    if not operators & _LOWER:
        yield f"{asked}, which has no lower bound"
    if not operators & _UPPER:
        yield f"{asked}, which has no upper bound"
    if not requirement.specifier.contains(version, prereleases=True):
        yield f"{asked}, which shuts out {version}"


def _read_member(folder: Path) -> Member:
    project = read_toml(folder / "pyproject.toml")["project"]
    requirements = tuple(Requirement(text) for text in project.get("dependencies", []))
    return Member(folder, project["name"], project["version"], requirements)
