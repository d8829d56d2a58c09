"""Which architecture reads the config file of another library: told by its keys, never by the name of its folder.

A config class says in its `foreign_formats` what it reads besides its own files. Those of registered classes are
asked directly. A package whose classes are not imported yet announces them as an entry point of the group
``nameplate.foreign_formats``, whose name is the `model_type` and whose object is the same sequence of
`ForeignFormat`::

    [project.entry-points."nameplate.foreign_formats"]
    my_type = "my_package.formats:FORMATS"

The module that holds it should import nothing heavy: it is loaded for any file that nothing else could read. What
fails here keeps no other package from being asked; it is named if in the end nobody reads the file.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from typing import Any

from nameplate_auto._config_mapping import CONFIG_MAPPING
from nameplate_auto._metadata import EntryPoints, distribution_title
from nameplate_config import ConfigError, ForeignFormat
from nameplate_config.wording import brief, shown

GROUP = "nameplate.foreign_formats"

_points = EntryPoints(GROUP)


@dataclass(frozen=True, slots=True)
class Claims:
    """Who reads a file that names no registered `model_type`.

    Attributes:
        formats: The name of the format under which each `model_type` claims the file.
        failures: A clause about each owner of formats that could not be asked.
    """

    formats: dict[str, str] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)


def claims_on(values: Mapping[str, Any]) -> Claims:
    """Ask every known foreign format about the values of a file."""
    claims = Claims()
    for model_type, owner, formats in _known_formats(claims.failures):
        for each in formats:
            try:
                if each.claims(values):
                    claims.formats.setdefault(model_type, each.name)
            except ConfigError as error:
                claims.failures.append(f"{_title(owner)}: {brief(error).rstrip('.')}")
    return claims


def _known_formats(failures: list[str]) -> Iterator[tuple[str, type[Any] | EntryPoint, Sequence[ForeignFormat]]]:
    """Yield `model_type`, owner and formats; of a registered class its own, of an announced name those announced."""
    imported = {name: entry.value for name, entry in CONFIG_MAPPING.registered().items() if not entry.lazy}
    for model_type, config_class in imported.items():
        formats = vars(config_class).get("foreign_formats", ())  # a derived class would claim what its base does
        if formats:
            yield model_type, config_class, formats
    for model_type, points in _points.by_name().items():
        if model_type in imported or model_type not in CONFIG_MAPPING:
            continue
        for point in points:
            try:
                formats = _loaded(point)
            except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever a package does at import
                failures.append(f"{_title(point)}: {type(error).__name__}: {brief(error).rstrip('.')}")
            else:
                yield model_type, point, formats


def _title(owner: type[Any] | EntryPoint) -> str:
    """Return how messages name whoever declares a format."""
    if isinstance(owner, EntryPoint):
        return f"{distribution_title(owner)} ({owner.value})"
    return owner.__name__


def _loaded(point: EntryPoint) -> Sequence[ForeignFormat]:
    formats = point.load()
    if isinstance(formats, (list, tuple)) and all(isinstance(each, ForeignFormat) for each in formats):
        return formats
    message = f"it is {shown(formats)} instead of a sequence of ForeignFormat"
    raise TypeError(message)
