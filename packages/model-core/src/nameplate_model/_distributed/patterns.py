"""Which modules and parameters a pattern of a plan means."""

from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from torch import nn

from nameplate_config.wording import did_you_mean, sentences
from nameplate_model.errors import ShardingPlanError

_ANY_DEPTH = "**"


class Place(NamedTuple):
    """Where a parameter sits. Tied parameters sit in several places, a shared module has one place with several keys.

    Attributes:
        module: The module that owns the place.
        name: The name inside that module.
    """

    module: nn.Module
    name: str

    @property
    def parameter(self) -> nn.Parameter:
        """What sits there."""
        found = self.module._parameters[self.name]  # noqa: SLF001 - no attribute may stand for it
        assert found is not None
        return found

    def put(self, parameter: nn.Parameter | None) -> None:
        """Let *parameter* sit there instead, in the same order among the others."""
        self.module._parameters[self.name] = parameter  # noqa: SLF001 - setting the attribute would move it to the end


class Names:
    """The modules and parameters of a model, by every name that they have.

    Attributes:
        modules: Each module by its path; a shared one has several.
        places: Each place of a parameter by its key.
    """

    def __init__(self, model: nn.Module) -> None:
        self.modules = dict(model.named_modules(remove_duplicate=False))
        self.places = {
            f"{path}.{name}" if path else name: Place(module, name)
            for path, module in self.modules.items()
            for name, parameter in module._parameters.items()  # noqa: SLF001 - one that is None is no parameter
            if parameter is not None
        }
        self._kind = type(model).__name__

    def meant_by(self, pattern: str) -> tuple[list[str], list[str]]:
        """Return the paths of the modules that a pattern matches, or, if there are none, the keys of parameters.

        Raises:
            ShardingPlanError: If it matches neither.
        """
        paths = [path for path in self.modules if matches(path, pattern)]
        keys = [key for key in self.places if not paths and matches(key, pattern)]
        if paths or keys:
            return paths, keys
        message = sentences(
            f"The plan has the pattern {pattern!r}, which matches no module and no parameter of {self._kind}.",
            did_you_mean(pattern, self._like(pattern))
            or "Patterns are matched part by part, as in 'layers.*.up'; '**' stands for any number of parts.",
        )
        raise ShardingPlanError(message)

    def _like(self, pattern: str) -> list[str]:
        """Return names that a mistyped pattern could have meant, with a star where it has one."""
        parts = pattern.split(".")
        alike = (name.split(".") for name in (*self.modules, *self.places) if name.count(".") == len(parts) - 1)
        stars = ([star if star == "*" else part for part, star in zip(each, parts, strict=True)] for each in alike)
        return sorted({".".join(each) for each in stars if each != [""]})


def matches(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a dotted name: part by part, where ``**`` is any number of parts, also none.

    Example:
        >>> matches("layers.0.up", "layers.*.up"), matches("layers.0.up", "*.up"), matches("layers.0.up", "**.up")
        (True, False, True)
        >>> matches("", ""), matches("up", "**.up")
        (True, True)
    """
    return _match(name.split(".") if name else [], pattern.split(".") if pattern else [])


def _match(parts: list[str], wanted: list[str]) -> bool:
    if not wanted:
        return not parts
    if wanted[0] == _ANY_DEPTH:
        return any(_match(parts[skipped:], wanted[1:]) for skipped in range(len(parts) + 1))
    return bool(parts) and fnmatchcase(parts[0], wanted[0]) and _match(parts[1:], wanted[1:])


def shared(names: Names) -> Iterator[list[tuple[str, Place]]]:
    """Yield the keys and places of each parameter once; of a tied one there are several."""
    found: dict[int, list[tuple[str, Place]]] = {}
    for key, place in names.places.items():
        found.setdefault(id(place.parameter), []).append((key, place))
    yield from found.values()
