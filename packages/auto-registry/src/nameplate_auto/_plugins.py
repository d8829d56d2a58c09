"""Architectures that installed packages announce, read from their metadata without importing them.

A package announces one as an entry point of the group ``nameplate.architectures``. The entry point's name is the
`model_type`; its object is a mapping from the names of Auto classes to lazy classes, the same shape as `auto_map`::

    [project.entry-points."nameplate.architectures"]
    my_type = "my_package.architecture:ARCHITECTURE"

    ARCHITECTURE = {
        "AutoConfig": "my_package.configuration:MyConfig",
        "AutoModel": "my_package.modeling:MyModel",
    }

The group is scanned once, on the first name that nobody registered, and an entry point is loaded only when its own
name is asked for. The module that it names should import nothing heavy.
"""

import threading
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points

from nameplate_auto._registry import Registration
from nameplate_auto.errors import BrokenPluginError, DuplicateRegistrationError
from nameplate_config.wording import listed, sentences, shown

GROUP = "nameplate.architectures"

_lock = threading.Lock()


def announced() -> list[str]:
    """Return the names that installed packages announce; imports nothing."""
    return list(_entry_points())


def announced_class(model_type: str, auto_class: str) -> Registration | None:
    """Return the lazy class that a package announces for an Auto class, or None.

    Raises:
        BrokenPluginError: If the package announces this very name and cannot be loaded.
        DuplicateRegistrationError: If two packages announce this very name.
    """
    points = _entry_points().get(model_type)
    if points is None:
        return None
    value = _architecture(model_type).get(auto_class)
    return None if value is None else Registration(value, _owner(points[0]))


def _entry_points() -> dict[str, list[EntryPoint]]:
    with _lock:
        return _scan()


@cache
def _scan() -> dict[str, list[EntryPoint]]:
    found: dict[str, list[EntryPoint]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, []).append(point)
    return found


@cache
def _architecture(model_type: str) -> Mapping[str, str]:
    point = _only_one(model_type, _scan()[model_type])
    try:
        architecture = point.load()
    except Exception as error:
        message = sentences(
            f"{_owner(point)} announces {model_type!r} but cannot be loaded: {type(error).__name__}: {error}.",
            "Repair or uninstall that package; everything else keeps working.",
        )
        raise BrokenPluginError(message) from error
    if not isinstance(architecture, Mapping) or "AutoConfig" not in architecture or not _all_lazy(architecture):
        message = (
            f"{_owner(point)} announces {model_type!r} as {shown(architecture)}; "
            "expected a mapping with at least the key 'AutoConfig', to texts such as 'package.module:Class'."
        )
        raise BrokenPluginError(message)
    return architecture


def _all_lazy(architecture: Mapping[str, object]) -> bool:
    return all(isinstance(value, str) for value in architecture.values())


def _only_one(model_type: str, points: list[EntryPoint]) -> EntryPoint:
    if len(points) == 1:
        return points[0]
    owners = sorted(_owner(point) for point in points)
    message = sentences(
        f"model_type {model_type!r} is announced by {listed(owners)}: nothing says which one counts.",
        "Uninstall all but one, or register the classes that you mean, which then win.",
    )
    raise DuplicateRegistrationError(message)


def _owner(point: EntryPoint) -> str:
    distribution = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unknown distribution"
    return f"{distribution} ({point.value})"
