"""Release one package: `hatch run release <package> <bump>`.

Bumps the version, folds the change notes into the changelog, checks that the siblings still admit the
package, builds it twice, commits and tags. All of it happens in a worktree beside the checkout, which only
receives the finished commit: a release that is refused half-way leaves nothing behind. Nothing is uploaded.
"""

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from workspace import ROOT, Member, members, range_problems

BUMP = "major, minor, patch, rc, release (what `hatch version` takes) or a version"


class RefusedError(Exception):
    """Why there is no release, and the way out."""


@dataclass(frozen=True, slots=True)
class Release:
    """A finished release that the checkout does not have yet.

    Attributes:
        commit: The commit to fast-forward to.
        tag: The tag to give it.
        notes: What the changelog says about it.
        artifacts: Where the sdist and the wheel lie for now.
    """

    commit: str
    tag: str
    notes: str
    artifacts: tuple[Path, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(prog="hatch run release", description="Release one package.")
    parser.add_argument("package", help="its short name, such as config, or its folder")
    parser.add_argument("bump", help=BUMP)
    parser.add_argument("--dry-run", action="store_true", help="show what would come out, and keep nothing")
    options = parser.parse_args(arguments)
    try:
        release(options.package, options.bump, dry_run=options.dry_run)
    except RefusedError as refusal:
        sys.exit(f"no release: {refusal}")


def release(package: str, bump: str, *, dry_run: bool) -> None:
    """Release a package from the checkout that this file lies in.

    Raises:
        RefusedError: If something stands in the way; the checkout is then as it was.
    """
    find(package, ROOT)
    if not dry_run and run("git", "status", "--porcelain"):
        message = "the checkout has uncommitted changes. Commit or stash them, or pass --dry-run."
        raise RefusedError(message)
    with worktree() as copy:
        finished = prepare(find(package, copy), bump, copy)
        show(finished)
        if dry_run:
            print("This was a dry run: the checkout has no new commit, tag or file.")
        else:
            keep(finished)


def find(package: str, root: Path) -> Member:
    """Return the member that a short name or a folder stands for."""
    family = members(root)
    for member in family:
        if package.rstrip("/") in {member.short_name, member.folder.relative_to(root).as_posix()}:
            return member
    known = ", ".join(member.short_name for member in family)
    message = f"there is no package {package!r}. Known are {known}."
    raise RefusedError(message)


@contextmanager
def worktree() -> Generator[Path]:
    """Yield a copy of the checkout, uncommitted changes included, that shares its history and settings."""
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        copy = Path(folder, "checkout")
        run("git", "worktree", "add", "--detach", copy, "HEAD")
        try:
            bring_changes(copy)
            yield copy
        finally:
            run("git", "worktree", "remove", "--force", copy)


def bring_changes(copy: Path) -> None:
    """Copy into a worktree what the checkout has not committed, so that a dry run tells of it."""
    changed = run("git", "ls-files", "-z", "--modified", "--others", "--exclude-standard")
    for name in filter(None, changed.split("\0")):
        if (ROOT / name).exists():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)


def prepare(member: Member, bump: str, root: Path) -> Release:
    """Make the commit and the artifacts of a release in a worktree."""
    bump_version(member, bump)
    bumped = find(member.short_name, root)
    tag = f"{bumped.name}-v{bumped.version}"
    if run("git", "tag", "--list", tag):
        message = f"{tag} has been released already."
        raise RefusedError(message)
    notes = fold_notes(bumped)
    check_ranges(root)
    artifacts = build(bumped, root.parent)
    # Hooks are for what people write; these files were written by tools.
    subject = f"Release {bumped.name} v{bumped.version}"
    run("git", "commit", "--all", "--no-verify", "--quiet", "--message", subject, cwd=root)
    return Release(run("git", "rev-parse", "HEAD", cwd=root).strip(), tag, notes, artifacts)


def bump_version(member: Member, bump: str) -> None:
    """Write the next version into the member's pyproject.toml."""
    # The version that stands there is released as it is if asked for by name: so the first one gets out.
    if bump == member.version:
        return
    try:
        run(sys.executable, "-m", "hatch", "version", bump, cwd=member.folder)
    except RefusedError as refusal:
        reason = str(refusal).splitlines()[-1]
        message = f"{member.name} {member.version} cannot be bumped by {bump!r}: {reason}"
        raise RefusedError(message) from refusal


def fold_notes(member: Member) -> str:
    """Move the change notes into the changelog, and return them as one text."""
    if not any((member.folder / "changes").glob("[!.]*")):
        message = f"changes/ of {member.name} holds no note, so there is nothing to tell. Write one first."
        raise RefusedError(message)
    towncrier = (sys.executable, "-m", "towncrier", "build", "--version", member.version)
    notes = run(*towncrier, "--draft", cwd=member.folder)
    run(*towncrier, "--yes", cwd=member.folder)
    return notes.strip()


def check_ranges(root: Path) -> None:
    """Refuse a version that a sibling does not admit; a person decides whether it may."""
    problems = list(range_problems(members(root)))
    if problems:
        lines = "\n  ".join(problems)
        message = (
            f"the family would not fit together.\n  {lines}\n"
            "Try the new version with each package named here. Then widen its range in its pyproject.toml, "
            "write a change note there, commit, and release again."
        )
        raise RefusedError(message)


def build(member: Member, folder: Path) -> tuple[Path, ...]:
    """Build sdist and wheel twice and return them, if both times the bytes are the same."""
    first, second = (build_once(member, folder / name) for name in ("first", "second"))
    if digests(first) != digests(second):
        message = f"{member.name} does not build to the same bytes twice: {digests(first)}, {digests(second)}."
        raise RefusedError(message)
    return first


def build_once(member: Member, folder: Path) -> tuple[Path, ...]:
    """Build sdist and wheel into a folder and return them in the order of their names."""
    hatchling = (sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel")
    run(*hatchling, "-d", folder, cwd=member.folder)
    return tuple(sorted(folder.iterdir()))


def digests(artifacts: Sequence[Path]) -> dict[str, str]:
    """Return the SHA-256 of each artifact by its name."""
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in artifacts}


def show(finished: Release) -> None:
    """Print what a release consists of."""
    print(f"{finished.tag}\n\n{finished.notes}\n")
    for name, digest in digests(finished.artifacts).items():
        print(f"{digest}  dist/{name}")


def keep(finished: Release) -> None:
    """Give the checkout the commit, the tag and the artifacts."""
    run("git", "merge", "--ff-only", "--quiet", finished.commit)
    run("git", "tag", "--annotate", "--message", finished.tag, finished.tag, finished.commit)
    (ROOT / "dist").mkdir(exist_ok=True)
    for path in finished.artifacts:
        shutil.copy2(path, ROOT / "dist" / path.name)
    print("Committed and tagged. To publish: `git push --follow-tags`, then `hatch publish` with these files.")


def run(*command: str | os.PathLike[str], cwd: Path = ROOT) -> str:
    """Return what a command prints, or refuse the release with its own words."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, check=False, text=True)
    if done.returncode:
        words = " ".join(os.fspath(part) for part in command)
        message = f"`{words}` failed.\n{done.stdout}{done.stderr}".rstrip()
        raise RefusedError(message)
    return done.stdout


if __name__ == "__main__":
    main()
