"""What laws about names need: classes to register, names that are free, and what stands under every name."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from nameplate_auto import CONFIG_MAPPING, Registration, Registry, RegistryError
from nameplate_config import PreTrainedConfig
from nameplate_conformance.judging.case import Case
from nameplate_conformance.law import broken, inapplicable, require


def is_first_head(case: Case) -> bool:
    """Whether this is the first model of the architecture, or it has none: once is enough for what all heads share."""
    return case.head == next(iter(case.architecture.models), case.head)


def own_name(case: Case) -> str:
    """Return the `model_type` of the config class; a law about names does not apply to a config without one."""
    name = case.config_class.model_type
    if not name:
        inapplicable("the config class has no model_type under which it could be registered")
    return name


def free_name(case: Case, purpose: str) -> str:
    """Return a name made from the architecture's own under which nothing is registered."""
    name = f"{own_name(case)}_{purpose}"
    while name in CONFIG_MAPPING:
        name += "_"
    return name


def another_config(case: Case, name: str, title: str = "Stranger") -> type[PreTrainedConfig]:
    """Return a subclass of the config class with a `model_type` of its own."""
    return type(case.config_class)(title, (case.config_class,), {"model_type": name, "__module__": __name__})


def another_model(case: Case, config_class: type[PreTrainedConfig], title: str = "Stranger") -> type[Any]:
    """Return a subclass of the model class that is built from configs of another class."""
    parent = case.model_class
    return type(parent)(title, (parent,), {"config_class": config_class, "__module__": __name__})


def standing(registry: Registry[Any, Any]) -> dict[Any, object]:
    """Return what stands under every name, without importing it."""
    found: dict[Any, object] = {}
    for name in registry.names():
        try:
            found[name] = registry.find(name).value
        except RegistryError as error:
            found[name] = str(error)
    return found


class Announcing:
    """A provider: announces values under names, as an installed package does."""

    def __init__(self, values: Mapping[Any, object]) -> None:
        self.values = dict(values)

    def find(self, name: Any) -> Registration | None:
        """Return what is announced under a name."""
        return Registration(self.values[name], "a package of the law's own") if name in self.values else None

    def names(self) -> list[Any]:
        """Return every announced name."""
        return list(self.values)


@contextmanager
def providing(registry: Registry[Any, Any], provider: Announcing) -> Iterator[None]:
    """Let a provider announce its names for the length of a block."""
    registry.add_provider(provider)
    try:
        yield
    finally:
        registry.remove_provider(provider)


def require_refused(attempt: Any, error: type[Exception], what: str) -> str:
    """Require an attempt to raise an error of a type; return what it says."""
    said = ""
    try:
        attempt()
    except error as refusal:
        said = str(refusal)
    except Exception as other:  # noqa: BLE001 - whatever else it raises is not the refusal that was promised
        broken(f"{what} raises {type(other).__name__} instead of {error.__name__}: {other}")
    require(said, f"{what} is not refused")
    return said


def require_standing(before: dict[Any, object], registry: Registry[Any, Any], when: str) -> int:
    """Require every name to stand for what it stood for before; return the number of names."""
    after = standing(registry)
    differing = [str(name) for name in before.keys() | after.keys() if before.get(name) != after.get(name)]
    require(not differing, f"{when}: {', '.join(sorted(differing))} stands for something else than before")
    return len(after)
