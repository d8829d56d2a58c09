"""A release goes through as a whole or not at all; shown with the real tools on a copy of this checkout."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from workspace import ROOT, members

CLEAN = shutil.ignore_patterns("__pycache__", ".hypothesis", ".*_cache", "+*.md", "[0-9]*.md")
"""What a copy leaves behind: caches, and the change notes that happen to wait for a release now."""


CHANGING = """
import time
from hatchling.builders.hooks.plugin.interface import BuildHookInterface

class Stamp(BuildHookInterface):
    def initialize(self, version, build_data):
        with open(f"{self.root}/stamp.txt", "w") as file:
            file.write(str(time.time_ns()))
        build_data["force_include"][f"{self.root}/stamp.txt"] = "nameplate_resnet/stamp.txt"
"""
"""A build that stamps the time into the wheel."""


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command that sees no git settings but those of the copy."""
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, check=False, text=True)


def git(checkout: Path, *arguments: str) -> str:
    """Return what a git command prints."""
    done = run(checkout, "git", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def release(checkout: Path, *arguments: str) -> str:
    """Return what a successful release prints."""
    done = run(checkout, sys.executable, "-B", "scripts/release.py", *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(checkout: Path, *arguments: str) -> str:
    """Return why a release was refused, having seen that it left nothing behind."""
    before = state(checkout)
    done = run(checkout, sys.executable, "-B", "scripts/release.py", *arguments)
    assert done.returncode == 1, done.stdout
    assert state(checkout) == before
    return done.stderr


def state(checkout: Path) -> list[str]:
    """Return all that a release could change: commits, tags, files and worktrees."""
    questions = ("log --format=%H", "tag --list", "status --porcelain --ignored", "worktree list")
    return [git(checkout, *question.split()) for question in questions]


def copy_workspace(folder: Path) -> Path:
    """Commit a copy of the workspace in which configs and the reference have one note each to tell."""
    shutil.copytree(ROOT / "scripts", folder / "scripts", ignore=CLEAN)
    for name in ("hatch.toml", ".gitignore"):
        shutil.copy2(ROOT / name, folder)
    for member in members():
        shutil.copytree(member.folder, folder / member.folder.relative_to(ROOT), ignore=CLEAN)
    (folder / "packages/config-core/changes/+faster.changed.md").write_text("Configs load faster.\n")
    (folder / "packages/resnet/changes/12.fixed.md").write_text("`forward()` takes empty batches.\n")
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "config", "user.name", "A Maintainer")
    git(folder, "config", "user.email", "maintainer@example.org")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "--message", "Start")
    return folder


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one's own."""
    return copy_workspace(tmp_path)


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A checkout from which the reference was just released, and what that printed."""
    checkout = copy_workspace(tmp_path_factory.mktemp("released"))
    return checkout, release(checkout, "packages/resnet/", "9.0.0")


def test_a_release_is_one_commit(released: tuple[Path, str]) -> None:
    """The commit bumps the version and moves the note into the changelog, and touches nothing else."""
    checkout, _ = released

    assert git(checkout, "log", "-1", "--format=%s").strip() == "Release nameplate-resnet v9.0.0"
    assert git(checkout, "show", "--format=", "--name-status", "HEAD").splitlines() == [
        "M\tpackages/resnet/CHANGELOG.md",
        "D\tpackages/resnet/changes/12.fixed.md",
        "M\tpackages/resnet/pyproject.toml",
    ]
    assert git(checkout, "status", "--porcelain") == ""


def test_a_release_is_tagged(released: tuple[Path, str]) -> None:
    """The tag names the distribution and the version, and points at the commit."""
    checkout, _ = released

    assert git(checkout, "tag", "--points-at", "HEAD").split() == ["nameplate-resnet-v9.0.0"]


def test_a_release_tells_its_notes(released: tuple[Path, str]) -> None:
    """The newest section of the changelog has the version, the kind of change, the note and its issue."""
    checkout, _ = released
    text = (checkout / "packages/resnet/CHANGELOG.md").read_text()
    _, _, section = text.partition("<!-- towncrier release notes start -->\n\n## 9.0.0 (")

    assert section.partition(")\n")[2].startswith("\n### Fixed\n\n- `forward()` takes empty batches. (#12)\n")


def test_a_release_leaves_the_artifacts_it_names(released: tuple[Path, str]) -> None:
    """`dist/` holds the sdist and the wheel whose digests were printed."""
    checkout, printed = released
    dist = sorted((checkout / "dist").iterdir())

    assert [path.name for path in dist] == [
        "nameplate_resnet-9.0.0-py3-none-any.whl",
        "nameplate_resnet-9.0.0.tar.gz",
    ]
    for path in dist:
        assert f"{hashlib.sha256(path.read_bytes()).hexdigest()}  dist/{path.name}" in printed


def test_the_version_that_stands_there_can_be_released(checkout: Path) -> None:
    """The first release bumps nothing, and happens once."""
    (version,) = [member.version for member in members() if member.short_name == "resnet"]
    release(checkout, "resnet", version)
    (checkout / "packages/resnet/changes/13.fixed.md").write_text("More.\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "More")

    assert refusal(checkout, "resnet", version) == (
        f"no release: nameplate-resnet-v{version} has been released already.\n"
    )


def test_a_step_is_taken_from_the_version_that_stands_there(checkout: Path) -> None:
    """`hatch run release resnet minor` raises the second number, and what is built has it."""
    (version,) = [member.version for member in members() if member.short_name == "resnet"]
    major, minor, *_ = version.split(".")
    release(checkout, "resnet", "minor")
    raised = f"{major}.{int(minor) + 1}.0"

    assert git(checkout, "tag", "--points-at", "HEAD").split() == [f"nameplate-resnet-v{raised}"]
    assert (checkout / "dist" / f"nameplate_resnet-{raised}-py3-none-any.whl").is_file()


def test_anyone_can_build_what_was_released(released: tuple[Path, str], tmp_path: Path) -> None:
    """The tag, checked out elsewhere and later, builds to the same bytes."""
    checkout, _ = released
    git(tmp_path, "clone", "--quiet", "--branch", "nameplate-resnet-v9.0.0", str(checkout), "elsewhere")
    package = tmp_path / "elsewhere" / "packages" / "resnet"
    done = run(package, sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel", "-d", str(tmp_path))

    assert done.returncode == 0, done.stderr
    for path in (checkout / "dist").iterdir():
        assert (tmp_path / path.name).read_bytes() == path.read_bytes()


def test_a_package_that_builds_differently_each_time_is_refused(checkout: Path) -> None:
    """What nobody could build again is not released; the digests of both tries are shown."""
    package = checkout / "packages/resnet"
    (package / "hatch_build.py").write_text(CHANGING)
    with (package / "pyproject.toml").open("a") as file:
        file.write("\n[tool.hatch.build.targets.wheel.hooks.custom]\n")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "Stamp the time")

    assert "nameplate-resnet does not build to the same bytes twice: " in refusal(checkout, "resnet", "9.0.0")


def test_a_dry_run_changes_nothing(checkout: Path) -> None:
    """A dry run shows the tag, the notes and the artifacts, those of uncommitted changes included."""
    (checkout / "packages/resnet/changes/+new.added.md").write_text("`Neck` is new.\n")
    before = state(checkout)
    printed = release(checkout, "resnet", "9.0.0", "--dry-run")

    assert state(checkout) == before
    for expected in (
        "nameplate-resnet-v9.0.0",
        "- `Neck` is new.",
        "empty batches. (#12)",
        ".whl",
        ".tar.gz",
    ):
        assert expected in printed


def test_a_dirty_checkout_is_refused(checkout: Path) -> None:
    """What is not committed is not released."""
    (checkout / "notes.txt").write_text("forgotten")

    assert refusal(checkout, "resnet", "9.0.0") == (
        "no release: the checkout has uncommitted changes. Commit or stash them, or pass --dry-run.\n"
    )


def test_an_unknown_package_is_refused(checkout: Path) -> None:
    """The message lists the packages that there are."""
    assert refusal(checkout, "resnot", "minor") == (
        "no release: there is no package 'resnot'. Known are auto, config, conformance, model, resnet.\n"
    )


def test_a_version_that_siblings_shut_out_is_refused(checkout: Path) -> None:
    """The message names each range that somebody has to widen on purpose."""
    message = refusal(checkout, "config", "9.0.0")

    for name in ("auto", "conformance", "model", "resnet"):
        assert f"\n  nameplate-{name} asks for nameplate-config<" in message
    assert message.count("which shuts out 9.0.0") == 4
    assert "widen its range in its pyproject.toml" in message


def test_a_release_without_notes_is_refused(checkout: Path) -> None:
    """There is no release that has nothing to tell."""
    expected = "changes/ of nameplate-model holds no note, so there is nothing to tell. Write one first."

    assert refusal(checkout, "model", "patch") == f"no release: {expected}\n"


@pytest.mark.parametrize(
    ("bump", "reason"),
    [
        ("0.0.1", "ValueError: Version `0.0.1` is not higher than the original version"),
        ("mayor", "InvalidVersion: Invalid version: 'mayor'"),
    ],
)
def test_a_step_that_is_none_is_refused(checkout: Path, bump: str, reason: str) -> None:
    """A version goes up, by a step that hatch knows."""
    message = refusal(checkout, "resnet", bump)

    assert message.startswith("no release: nameplate-resnet ")
    assert f"cannot be bumped by {bump!r}: {reason}" in message
