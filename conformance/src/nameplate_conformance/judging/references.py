"""Finding an architecture by what a person types: a name, a place in a module, a folder, a repository on the Hub.

Whoever only wants to know whether a text could name something imports neither torch nor the architecture.
"""

import importlib.util
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nameplate_auto import CONFIG_MAPPING, AutoConfig, RemoteCodeRefusedError, UnknownArchitectureError
from nameplate_config import Source, open_repository, open_source, read_config_values
from nameplate_config.typing import HubOptions
from nameplate_config.wording import brief, did_you_mean, listed, sentences, shown
from nameplate_conformance.errors import ConformanceError

if TYPE_CHECKING:
    from nameplate_auto import TrustPolicy
    from nameplate_conformance.architecture import Architecture

    Trust = bool | str | tuple[str, ...] | list[str] | TrustPolicy | None

GROUP = "nameplate.conformance"
"""The group of entry points by which packages say how their architectures are judged.

An entry point's name is the `model_type`, its object an `Architecture`.
"""

ANNOUNCED = "nameplate.architectures"
"""The group of entry points by which packages announce architectures to the registry."""

HUB = "hub:"

_PLUGINS = "NAMEPLATE_PLUGINS"
"""The environment variable that lists the distributions which may announce anything, as for the registry."""


@dataclass(frozen=True, slots=True)
class _Repository:
    """A repository on the Hub as a text names it: ``hub:user/name`` or ``hub:user/name@revision``."""

    name: str
    revision: str | None

    @classmethod
    def of(cls, text: str, revision: str | None) -> "_Repository":
        name, _, own = text.removeprefix(HUB).partition("@")
        if own and revision is not None:
            message = f"{text!r} names a revision, and revision={revision!r} another. Give one of them."
            raise ConformanceError(message)
        return cls(name, own or revision)


def names() -> list[str]:
    """Return every name that can be judged without saying where it is: those registered and those announced."""
    return sorted({*CONFIG_MAPPING.names(), *(point.name for point in _points())})


def refuse_unknown(text: str) -> None:
    """Refuse a text that can name no architecture. Imports none, so what it lets through may still be broken.

    Raises:
        ConformanceError: If nothing has that name, or there is no such folder.
    """
    if text.startswith(HUB):
        return
    if _is_path(text):
        open_source(Path(text))
        return
    if ":" not in text and text not in names() and text not in CONFIG_MAPPING:
        known = names()
        message = sentences(
            f"no architecture is registered as {text!r}.",
            did_you_mean(text, known) or f"Registered: {listed(known)}.",
            f"If the folder is meant, write './{text}'." if Path(text).is_dir() else "",
            _unannounced(text) if _is_package(text) else "",
        )
        raise ConformanceError(message)


def named(text: str, *, trust_remote_code: "Trust" = False, revision: str | None = None) -> "Architecture":
    """Return the architecture that a text names.

    Args:
        text: A `model_type`, which a package announces or somebody has registered; ``"package.module:NAME"`` of an
            `Architecture`; the path of a folder with a ``config.json``, such as ``"./checkpoint"``; or
            ``"hub:user/name"``, ``"hub:user/name@revision"``.
        trust_remote_code: Which code that a folder or repository brings may run, as for an Auto class.
        revision: The branch, tag or commit of a repository.

    Raises:
        ConformanceError: If there is no such architecture, or it cannot be imported.
        NameplateError: Whatever else a folder or repository is refused for, untrusted code among it.

    Example:
        >>> from nameplate_auto import AutoConfig, AutoModel
        >>> AutoConfig.register("doc_zoo", "nameplate_conformance.zoo.reference:ZooConfig")
        >>> named("doc_zo")
        Traceback (most recent call last):
        nameplate_conformance.ConformanceError: no architecture is registered as 'doc_zo'. Did you mean 'doc_zoo'?
        >>> AutoConfig.unregister("doc_zoo")
    """
    if revision is not None and not text.startswith(HUB):
        message = f"revision={revision!r} has no effect on {text!r}, which is no repository. Leave it out."
        raise ConformanceError(message)
    refuse_unknown(text)
    if text.startswith(HUB):
        wanted = _Repository.of(text, revision)
        options: HubOptions = {} if wanted.revision is None else {"revision": wanted.revision}
        source = open_repository(wanted.name, **options)
        return replace(_in_source(source, trust_remote_code), reference=f"{HUB}{wanted.name}@{source.commit}")
    if _is_path(text):
        return replace(_in_source(open_source(Path(text)), trust_remote_code), reference=text)
    return _in_module(text) if ":" in text else _by_name(text)


def _unannounced(package: str) -> str:
    """Return what to do about an installed package that announces no architecture of its own name."""
    return (
        f"The package {package} is here: announce its Architecture as an entry point of the group {GROUP!r}, and "
        f"install it again; or name the place of it, such as '{package}.conformance:ARCHITECTURE'."
    )


def _is_package(text: str) -> bool:
    """Whether a name is that of a package or module, and not only of some folder."""
    with suppress(ValueError):  # of `__main__`
        spec = importlib.util.find_spec(text) if text.isidentifier() else None
        return spec is not None and spec.origin is not None
    return False


def _is_path(text: str) -> bool:
    return text.startswith((".", "~")) or Path(text).is_absolute()


# ---- by a name


def _by_name(name: str) -> "Architecture":
    from nameplate_conformance.architecture import registered  # noqa: PLC0415 - torch takes seconds

    points = [point for point in _points() if point.name == name]
    if len(points) > 1:
        message = sentences(
            f"how {name!r} is judged is announced by {listed(sorted(map(_owner, points)))}.",
            "Uninstall all but one, or name the one that you mean as 'package.module:NAME'.",
        )
        raise ConformanceError(message)
    if points:
        return replace(_loaded(points[0]), reference=name)
    reference = name if entry_points(group=ANNOUNCED, name=name.rpartition("/")[2]) else ""
    return replace(registered(name), reference=reference)


def _points() -> Iterator[EntryPoint]:
    """Yield the entry points of the group that may count, each once."""
    allowed = os.environ.get(_PLUGINS)
    names = None if allowed is None else {_normalized(each) for each in allowed.split(",")}
    seen: set[tuple[str, str, str]] = set()
    for point in entry_points(group=GROUP):
        distribution = _normalized(point.dist.name) if point.dist is not None else ""
        key = (distribution, point.name, point.value)
        if (names is None or distribution in names) and key not in seen:
            seen.add(key)
            yield point


def _normalized(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution.strip()).lower()


def _owner(point: EntryPoint) -> str:
    title = f"{point.dist.name} {point.dist.version}" if point.dist is not None else "an unnamed package"
    return f"{title} ({point.value})"


def _loaded(point: EntryPoint) -> "Architecture":
    from nameplate_conformance.architecture import Architecture  # noqa: PLC0415 - torch takes seconds

    try:
        value = point.load()
    except (Exception, SystemExit) as error:  # whatever it does at import
        message = sentences(
            f"{_owner(point)} announces how {point.name!r} is judged but cannot be loaded: "
            f"{type(error).__name__}: {brief(error)}.",
            "Repair or uninstall that package; everything else keeps working.",
        )
        raise ConformanceError(message) from error
    if not isinstance(value, Architecture):
        message = f"{_owner(point)} announces {point.name!r} as {shown(value)}; expected an Architecture."
        raise ConformanceError(message)
    return value


# ---- in a module


def _in_module(text: str) -> "Architecture":
    from nameplate_conformance.architecture import Architecture  # noqa: PLC0415 - torch takes seconds

    name, _, attribute = text.partition(":")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:  # whatever it does at import
        message = sentences(
            f"{text!r} cannot be imported: {type(error).__name__}: {brief(error)}.",
            f"Run from the folder that holds {name}, or install it." if _is_absent(error, name) else "",
        )
        raise ConformanceError(message) from error
    value = getattr(module, attribute, None)
    if isinstance(value, Architecture):
        return replace(value, reference=text)
    there = [key for key, each in vars(module).items() if isinstance(each, Architecture)]
    found = f"is {shown(value)}" if hasattr(module, attribute) else "does not exist"
    message = sentences(
        f"{text!r} {found}; expected an Architecture.",
        did_you_mean(attribute, there) or f"The module holds: {listed(there)}.",
    )
    raise ConformanceError(message)


def _is_absent(error: BaseException, name: str) -> bool:
    """Whether a module, or the package that it is in, is what could not be found."""
    return isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")


# ---- in a folder, or in a repository


def _in_source(source: Source, trust: "Trust") -> "Architecture":
    """Return the architecture of a checkpoint: the one that is registered, else the one that it brings."""
    from nameplate_conformance.judging.brought import brought_architecture  # noqa: PLC0415 - torch takes seconds

    values, where = read_config_values(source)
    try:
        config_class: type[Any] | None = type(AutoConfig.from_pretrained(source))
    except RemoteCodeRefusedError:
        config_class = None
    if config_class is not None and _has_model(config_class):
        return _by_name(config_class.model_type)
    auto_map = values.get("auto_map")
    if not isinstance(auto_map, dict) or not auto_map:
        message = sentences(
            f"no Auto class has a model for the config in {where}, and it brings no code.",
            "Save it with its code: `Model.register_for_auto_class()` before `save_pretrained`.",
        )
        raise ConformanceError(message)
    return brought_architecture(source, auto_map, config_class, trust)


def _has_model(config_class: type[Any]) -> bool:
    """Whether a class is the registered one of its name, and an Auto class has a model for it."""
    from nameplate_conformance.architecture import auto_classes  # noqa: PLC0415 - torch takes seconds

    name = config_class.model_type
    if name not in CONFIG_MAPPING or CONFIG_MAPPING[name] is not config_class:
        return False
    for auto_class in auto_classes().values():
        with suppress(UnknownArchitectureError):
            auto_class.model_class_of(config_class)
            return True
    return False
