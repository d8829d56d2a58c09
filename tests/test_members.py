"""Every package of the workspace carries what a package needs to be published on its own."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from workspace import ROOT, Member, members, read_toml

REQUIRED = ("README.md", "CHANGELOG.md", "LICENSE", "changes")
NOTE = re.compile(r"(\d+|\+[a-z0-9-]+)\.(added|changed|deprecated|removed|fixed|security)(\.\d+)?\.md")
"""The name of a change note; towncrier passes over any other in silence."""


def shortcomings(folder: Path, import_name: str, licence: bytes) -> Iterator[str]:
    """Yield what a member's folder lacks."""
    for name in REQUIRED:
        if not (folder / name).exists():
            yield f"{name} is missing"
    if not (folder / "src" / import_name / "py.typed").is_file():
        yield "py.typed is missing"
    if (folder / "LICENSE").is_file() and (folder / "LICENSE").read_bytes() != licence:
        yield "LICENSE differs from the one at the root"
    yield from _metadata_shortcomings(folder / "pyproject.toml")
    for note in sorted((folder / "changes").glob("[!.]*")):
        if not NOTE.fullmatch(note.name):
            yield f"changes/{note.name} is not the name of a change note"


def _metadata_shortcomings(path: Path) -> Iterator[str]:
    tables = read_toml(path)
    project = tables["project"]
    for key in ("version", "requires-python", "readme", "license"):
        if key not in project:
            yield f"project.{key} is missing"
    if project.get("license-files") != ["LICENSE"]:
        yield "project.license-files is not the package's own LICENSE"
    sdist = tables.get("tool", {}).get("hatch", {}).get("build", {}).get("targets", {}).get("sdist", {})
    if not sdist.get("include"):
        yield "the sdist has no list of what it includes"


@pytest.mark.parametrize("member", members(), ids=lambda member: member.short_name)
def test_a_member_is_complete(member: Member) -> None:
    """A package has its licence, notes, marks and metadata, so that it can be released from here."""
    licence = (ROOT / "LICENSE").read_bytes()

    assert list(shortcomings(member.folder, member.import_name, licence)) == []


def test_an_empty_member_lacks_everything(tmp_path: Path) -> None:
    """The probe reports each thing that a bare pyproject.toml does not bring."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "nameplate-new"\nversion = "0.1.0"\n')

    assert list(shortcomings(tmp_path, "nameplate_new", b"licence")) == [
        "README.md is missing",
        "CHANGELOG.md is missing",
        "LICENSE is missing",
        "changes is missing",
        "py.typed is missing",
        "project.requires-python is missing",
        "project.readme is missing",
        "project.license is missing",
        "project.license-files is not the package's own LICENSE",
        "the sdist has no list of what it includes",
    ]


def test_a_foreign_licence_is_reported(tmp_path: Path) -> None:
    """The probe compares the licence byte by byte with the one at the root."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "LICENSE").write_bytes(b"another licence")

    assert "LICENSE differs from the one at the root" in shortcomings(tmp_path, "nameplate_new", b"licence")


@pytest.mark.parametrize("name", ["12.bugfix.md", "slug.added.md", "+slug.added.txt", "+Slug.added.md"])
def test_a_note_that_towncrier_would_skip_is_reported(tmp_path: Path, name: str) -> None:
    """The probe knows the only forms of a note's name."""
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "changes").mkdir()
    (tmp_path / "changes" / name).write_text("Something.\n")

    assert f"changes/{name} is not the name of a change note" in shortcomings(tmp_path, "nameplate_new", b"")
