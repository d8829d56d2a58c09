"""Entry points of installed packages, by name: read from metadata once, and again only when something changed.

Importing a package is nobody's business here. Which packages may announce anything is the business of whoever runs
the program: `NAMEPLATE_PLUGINS` lists their distributions, separated by commas; empty means none, unset means all.
"""

import importlib
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import Any
from weakref import WeakKeyDictionary

ALLOWED = "NAMEPLATE_PLUGINS"
"""The environment variable that lists the distributions which may announce anything."""

_lock = threading.Lock()
if hasattr(os, "register_at_fork"):  # a child that is forked while another thread scans could else never scan
    os.register_at_fork(before=_lock.acquire, after_in_parent=_lock.release, after_in_child=_lock.release)


@dataclass(frozen=True, slots=True)
class _Scan:
    """What was found, and where it was looked for.

    Attributes:
        points: The entry points of the group under each name.
        where: What `_where` said when they were read.
        changed: What `_changed` said when they were read.
    """

    points: Mapping[str, tuple[EntryPoint, ...]]
    where: tuple[object, ...]
    changed: tuple[int, ...]


class EntryPoints:
    """The entry points of one group, by name.

    A name that is known is answered from the last scan, as long as the search path and the allow-list are the same.
    A listing, and a name that is not known, first look whether a folder of the path has changed since.

    Args:
        group: The name of the group.

    Example:
        >>> sorted(EntryPoints("no.such.group").by_name())
        []
    """

    def __init__(self, group: str) -> None:
        self._group = group
        self._last: _Scan | None = None

    def by_name(self) -> Mapping[str, tuple[EntryPoint, ...]]:
        """Return the entry points under every name."""
        return self._scanned(_where(), look=True).points

    def under(self, name: str) -> tuple[EntryPoint, ...]:
        """Return the entry points under a name, which several packages may have chosen."""
        where = _where()
        return self._scanned(where).points.get(name) or self._scanned(where, look=True).points.get(name, ())

    def last_seen(self, name: str) -> tuple[EntryPoint, ...]:
        """Return what the last scan found under a name, without looking whether a folder has changed since."""
        return self._scanned(_where()).points.get(name, ())

    def refresh(self) -> None:
        """Forget what was read, and what the import system remembers of its folders."""
        importlib.invalidate_caches()
        with _lock:
            self._last = None
            _latest.clear()

    def _scanned(self, where: tuple[object, ...], *, look: bool = False) -> _Scan:
        with _lock:
            last = self._last
            if last is None or last.where != where or (look and last.changed != _changed()):
                changed = _changed()  # asked before reading: what changes meanwhile is seen next time
                last = self._last = _Scan(_read(self._group, _every(where, changed)), where, changed)
            return last


def _where() -> tuple[object, ...]:
    """Return what decides, besides the disk, which entry points there are."""
    return os.environ.get(ALLOWED), *sys.path


def _changed() -> tuple[int, ...]:
    """Return when each folder of the search path was last changed."""
    return tuple(map(_time_of_change, sys.path))


def _time_of_change(folder: str) -> int:
    try:
        return os.stat(folder or ".").st_mtime_ns  # noqa: PTH116 - asked often, and a Path takes longer than the answer
    except (OSError, ValueError):
        return 0


def _every(where: tuple[object, ...], changed: tuple[int, ...]) -> Any:
    """Return the entry points of every group; several groups that are asked in turn share one look at the disk."""
    if _latest.get("key") != (where, changed):
        _latest.update(key=(where, changed), points=entry_points())
    return _latest["points"]


_latest: dict[str, Any] = {}


def _read(group: str, every: Any) -> dict[str, tuple[EntryPoint, ...]]:
    allowed = _allowed()
    found: dict[str, list[EntryPoint]] = {}
    if allowed is not None and not allowed:
        return {}
    for point in every.select(group=group):
        if allowed is None or normalized(distribution_name(point)) in allowed:
            found.setdefault(point.name, []).append(point)
    return {name: _distinct(points) for name, points in found.items()}


def _allowed() -> frozenset[str] | None:
    text = os.environ.get(ALLOWED)
    return None if text is None else frozenset(normalized(each) for each in text.split(",") if each.strip())


def _distinct(points: list[EntryPoint]) -> tuple[EntryPoint, ...]:
    """Return entry points without those that a distribution says twice."""
    if len(points) == 1:
        return tuple(points)
    return tuple({(distribution_name(each), each.value): each for each in points}.values())


def normalized(distribution: str) -> str:
    """Return the one spelling of a distribution's name that all its spellings share.

    Example:
        >>> normalized(" My_Kites.Core")
        'my-kites-core'
    """
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def distribution_name(point: EntryPoint) -> str:
    """Return the name of the distribution that an entry point belongs to, or an empty text."""
    return _identity(point.dist)[0] if point.dist is not None else ""


def distribution_title(point: EntryPoint) -> str:
    """Return name and version of the distribution that an entry point belongs to."""
    return " ".join(_identity(point.dist)) if point.dist is not None else "an unknown distribution"


_identities: WeakKeyDictionary[Distribution, tuple[str, str]] = WeakKeyDictionary()


def _identity(distribution: Distribution) -> tuple[str, str]:
    """Return name and version; each is parsed from a file, so both are remembered."""
    known = _identities.get(distribution)
    if known is None:
        known = _identities[distribution] = str(distribution.name), str(distribution.version)
    return known
