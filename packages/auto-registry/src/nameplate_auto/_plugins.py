"""Architectures that installed packages announce, read from their metadata without importing them.

A package announces one as an entry point of the group ``nameplate.architectures``. The entry point's name is the
`model_type`; its object is a mapping from the names of Auto classes to lazy classes, the same shape as `auto_map`.
Where one config has several models for a task, a list of them stands for the one that its `architectures` name::

    [project.entry-points."nameplate.architectures"]
    my_type = "my_package.architecture:ARCHITECTURE"

    ARCHITECTURE = {
        "AutoConfig": "my_package.configuration:MyConfig",
        "AutoModel": "my_package.modeling:MyModel",
    }

An entry point is loaded only when its own name is asked for. The module that it names should import nothing heavy.
Where two packages announce one name, ``"distribution/my_type"`` still finds each of them.
"""

from collections.abc import Iterable, Mapping
from importlib.metadata import EntryPoint
from typing import Any

from nameplate_auto._metadata import EntryPoints, distribution_name, distribution_title, normalized
from nameplate_auto._registration import Registration, names_an_object, stands_for
from nameplate_auto.errors import BrokenPluginError, DuplicateRegistrationError, RegistryError
from nameplate_config.wording import listed, sentences, shown

GROUP = "nameplate.architectures"

Architecture = Mapping[str, str | tuple[str, ...]]

_points = EntryPoints(GROUP)
_loaded: dict[str, Architecture] = {}
"""What the text of an entry point was found to stand for."""


def announced_class(model_type: str, auto_class: str) -> Registration | None:
    """Return the lazy class that a package announces for an Auto class, or None; several are one value, a tuple.

    Args:
        model_type: The name, or ``"distribution/model_type"``.
        auto_class: The name of the Auto class.

    Raises:
        BrokenPluginError: If the package announces this very name and cannot be loaded.
        DuplicateRegistrationError: If two packages announce this very name.
    """
    points = _announcing(model_type)
    if not points:
        return None
    return _registration(_only_one(model_type, points), auto_class)


def announced_for(config_class: type[Any], auto_class: str) -> Registration | None:
    """Return the models that a package announces together with this very config class, or None.

    Goes by identity: a namesake gets nothing, and where several packages announce the name, each class gets its own.

    Raises:
        BrokenPluginError: If no package that announces the name can be loaded.
    """
    model_type = getattr(config_class, "model_type", None)
    failures: list[RegistryError] = []
    points = _announcing(model_type) if isinstance(model_type, str) and model_type else ()
    for point in points:
        try:
            own = _registration(point, "AutoConfig")
        except BrokenPluginError as error:
            failures.append(error)
            continue
        if own is not None and stands_for(str(own.value), config_class):
            return _registration(point, auto_class)
    if failures and len(failures) == len(points):
        raise failures[0]
    return None


class InstalledPackages:
    """Provides the config classes that installed packages announce."""

    def find(self, name: str) -> Registration | None:
        """Return the config class that is announced under a name or ``"distribution/name"``, lazy, or None."""
        return announced_class(name, "AutoConfig")

    def names(self) -> Iterable[str]:
        """Return the names that are announced; imports nothing."""
        return _points.by_name().keys()

    def knows(self, name: str) -> bool:
        """Whether a name, or ``"distribution/name"``, is announced; imports nothing."""
        return bool(_announcing(name))

    def rival(self, name: str, new: Registration) -> str | None:
        """Say who announces a name, if that is something else than what is being registered; imports no stranger.

        A package that registers what it announces itself is no rival of its own.
        """
        points = _points.last_seen(name)
        if not points or any(_announces(point, new) for point in points):
            return None
        return listed(sorted(_owner(point) for point in points))

    def offers(self, name: str, known: Registration) -> bool:
        """Whether a name still stands for what it stood for when its value was read."""
        points = _announcing(name)
        return len(points) == 1 and _loaded.get(points[0].value, {}).get("AutoConfig") == known.value

    def refresh(self) -> None:
        """Read the metadata again when it is asked for next."""
        _points.refresh()
        _loaded.clear()


def _announcing(name: str) -> tuple[EntryPoint, ...]:
    """Return the entry points that announce a name, which may be that of a distribution and its own."""
    if not isinstance(name, str):
        return ()
    points = _points.under(name)
    distribution, _, rest = name.partition("/")
    if points or not rest:
        return points
    return tuple(
        each for each in _points.under(rest) if normalized(distribution_name(each)) == normalized(distribution)
    )


def _registration(point: EntryPoint, auto_class: str) -> Registration | None:
    value = _architecture(point).get(auto_class)
    if value is None:
        return None
    return Registration(value, _owner(point), name=point.name, announced_by=distribution_title(point))


def _architecture(point: EntryPoint) -> Architecture:
    known = _loaded.get(point.value)
    if known is not None:
        return known
    try:
        architecture = point.load()
    except (Exception, SystemExit) as error:  # whatever it does at import
        message = sentences(
            f"{_owner(point)} announces {point.name!r} but cannot be loaded: {type(error).__name__}: {error}.",
            "Repair or uninstall that package; everything else keeps working.",
        )
        raise BrokenPluginError(message) from error
    if not _is_architecture(architecture):
        message = (
            f"{_owner(point)} announces {point.name!r} as {shown(architecture)}; "
            "expected a mapping with at least the key 'AutoConfig', to texts such as 'package.module:Class'."
        )
        raise BrokenPluginError(message)
    several = {key: tuple(value) if isinstance(value, list) else value for key, value in architecture.items()}
    return _loaded.setdefault(point.value, several)


def _is_architecture(value: object) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("AutoConfig"), str)
        and all(_all_lazy(each) for each in value.values())
    )


def _all_lazy(value: object) -> bool:
    every = value if isinstance(value, (list, tuple)) else (value,)
    return bool(every) and all(isinstance(each, str) and names_an_object(each) for each in every)


def _announces(point: EntryPoint, new: Registration) -> bool:
    """Whether an entry point announces what is being registered.

    Exact where its module is imported or can be, since its package is. A text that names something in the package of
    the entry point is taken for it: to find out would import the package.
    """
    related = new.module.partition(".")[0] == point.value.partition(".")[0].partition(":")[0]
    if point.value not in _loaded and (new.lazy or not related):
        return related and new.lazy
    try:
        own = _architecture(point)["AutoConfig"]
    except BrokenPluginError:
        return False
    return own == new.value if new.lazy else stands_for(str(own), new.value)


def _only_one(name: str, points: tuple[EntryPoint, ...]) -> EntryPoint:
    if len(points) == 1:
        return points[0]
    keys = sorted({f"{distribution_name(point)}/{point.name}" for point in points})
    apart = f"Ask for {' or '.join(map(repr, keys))}, uninstall" if len(keys) == len(points) else "Uninstall"
    message = sentences(
        f"model_type {name!r} is announced by {listed(sorted(map(_owner, points)))}: nothing says which one counts.",
        f"{apart} all but one, or register the classes that you mean, which then win.",
    )
    raise DuplicateRegistrationError(message)


def _owner(point: EntryPoint) -> str:
    return f"{distribution_title(point)} ({point.value})"
