"""Entry points by name: read once, again after a change, and only from distributions that are allowed."""

import importlib
import os
import sys
from pathlib import Path

import pytest

from nameplate_auto import _metadata
from nameplate_auto._metadata import EntryPoints, distribution_title

GROUP = "group.of.a.test"


class Site:
    """A folder on the search path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def install(self, distribution: str, *names: str, group: str = GROUP) -> None:
        """Install version 1.0 of a distribution that has entry points of these names."""
        metadata = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        metadata.mkdir()
        header = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        (metadata / "METADATA").write_text(header, encoding="utf-8")
        lines = [f"{name} = no_such_module:{name.title()}\n" for name in names]
        (metadata / "entry_points.txt").write_text("".join([f"[{group}]\n", *lines]), encoding="utf-8")
        importlib.invalidate_caches()
        os.utime(self.folder, ns=(0, self.folder.stat().st_mtime_ns + 10**9))  # later, whatever the clock's grain


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    """Return a folder on the search path without distributions."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delenv("NAMEPLATE_PLUGINS", raising=False)
    return Site(tmp_path)


@pytest.fixture
def scans(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Return a list that grows with every scan."""
    seen: list[None] = []
    read = _metadata.entry_points
    monkeypatch.setattr(_metadata, "entry_points", lambda: seen.append(None) or read())
    return seen


def owners(points: EntryPoints, name: str) -> list[str]:
    """Return who has an entry point of a name."""
    return [distribution_title(point) for point in points.under(name)]


def test_entry_points_are_found_by_name(site: Site) -> None:
    """Of one group, with their distribution; those of other groups are not there."""
    site.install("kites", "kite", "dragon")
    site.install("swans", "swan", group="another.group")

    points = EntryPoints(GROUP)

    assert sorted(points.by_name()) == ["dragon", "kite"]
    assert (owners(points, "kite"), owners(points, "swan")) == (["kites 1.0"], [])


def test_metadata_is_scanned_once(site: Site, scans: list[None]) -> None:
    """Names that are known, unknown or listed are answered from one scan while nothing changes."""
    site.install("kites", "kite")
    points = EntryPoints(GROUP)

    for _ in range(3):
        points.under("kite"), points.under("swan"), points.by_name()

    assert len(scans) == 1


def test_a_package_that_is_installed_meanwhile_is_found(site: Site, scans: list[None]) -> None:
    """An unknown name looks at the folders of the search path, and a change makes it scan again."""
    points = EntryPoints(GROUP)
    before = owners(points, "kite")

    site.install("kites", "kite")

    assert (before, owners(points, "kite"), len(scans)) == ([], ["kites 1.0"], 2)


def test_a_folder_that_joins_the_search_path_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A known name may get another owner, an unknown one its first."""
    points = EntryPoints(GROUP)
    (tmp_path / "later").mkdir()
    later = Site(tmp_path / "later")
    later.install("kites", "kite")
    before = owners(points, "kite")

    monkeypatch.syspath_prepend(tmp_path / "later")

    assert (before, owners(points, "kite")) == ([], ["kites 1.0"])


def test_refresh_reads_what_changed_in_place(site: Site) -> None:
    """A file that was rewritten where it is changes no folder of the path, so somebody has to say so."""
    site.install("kites", "kite")
    points = EntryPoints(GROUP)
    assert sorted(points.by_name()) == ["kite"]
    file = site.folder / "kites-1.0.dist-info" / "entry_points.txt"
    file.write_text(f"[{GROUP}]\ndragon = no_such_module:Dragon\n", encoding="utf-8")

    points.refresh()

    assert sorted(points.by_name()) == ["dragon"]


@pytest.mark.parametrize(
    ("allowed", "names"),
    [
        ("kites", ["kite"]),
        (" SWANS_of.lake , kites,", ["kite", "swan"]),
        ("geese", []),
        ("", []),
        (" ", []),
    ],
)
def test_only_allowed_distributions_announce(
    site: Site, monkeypatch: pytest.MonkeyPatch, allowed: str, names: list[str]
) -> None:
    """`NAMEPLATE_PLUGINS` names the distributions, however spelt; an empty text means none of them."""
    site.install("kites", "kite")
    site.install("swans-of-lake", "swan")

    monkeypatch.setenv("NAMEPLATE_PLUGINS", allowed)

    assert sorted(EntryPoints(GROUP).by_name()) == names


def test_the_allow_list_may_change_while_the_program_runs(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read under another list is not answered any more."""
    site.install("kites", "kite")
    points = EntryPoints(GROUP)
    before = owners(points, "kite")

    monkeypatch.setenv("NAMEPLATE_PLUGINS", "swans")

    assert (before, owners(points, "kite")) == (["kites 1.0"], [])


def test_two_distributions_may_have_one_name(site: Site) -> None:
    """Both entry points are there; one that a distribution says twice is one."""
    site.install("kites", "kite", "kite")
    site.install("dragons", "kite")

    assert sorted(owners(EntryPoints(GROUP), "kite")) == ["dragons 1.0", "kites 1.0"]


def test_a_path_that_does_not_exist_is_no_error(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Search paths hold all kinds of things."""
    monkeypatch.setattr("sys.path", [str(site.folder / "missing"), "", *sys.path])

    assert owners(EntryPoints(GROUP), "kite") == []
