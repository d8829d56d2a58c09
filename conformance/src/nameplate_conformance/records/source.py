"""Values as the Python that makes them again, with the imports it needs: what a script to be pasted is made of."""

import collections
import dataclasses
import enum
import math
import pathlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from nameplate_config import PreTrainedConfig, given_fields
from nameplate_config.wording import shown
from nameplate_conformance.errors import ConformanceError
from nameplate_conformance.records.encoded import Unread, encoded

_PLAIN = (type(None), type(...), bool, int, str, bytes, range)


@dataclass
class Source:
    """Writes expressions and remembers what they import.

    Example:
        >>> source = Source()
        >>> source.expression({"path": pathlib.PurePosixPath("a"), "scale": (math.inf,)})
        "{'path': PurePosixPath('a'), 'scale': (float('inf'),)}"
        >>> source.imports()
        ['from pathlib import PurePosixPath']
    """

    _homes: dict[str, str] = field(default_factory=dict)
    _modules: set[str] = field(default_factory=set)

    def imports(self) -> list[str]:
        """Return the statements that what was written so far needs, sorted as a formatter would."""
        found = collections.defaultdict[str, list[str]](list)
        for name, module in sorted(self._homes.items()):
            found[module].append(name)
        whole = [f"import {module}" for module in sorted(self._modules)]
        return whole + [f"from {module} import {', '.join(names)}" for module, names in sorted(found.items())]

    def name(self, kind: type) -> str:
        """Return how code calls a class, and import it.

        Raises:
            ConformanceError: If the class was made inside a function, where nothing can import it.
        """
        module, path = kind.__module__, kind.__qualname__
        if "<" in path:
            message = (
                f"{kind.__qualname__} was made inside a function, so no script can import it. Define it in a module."
            )
            raise ConformanceError(message)
        if module == "builtins":
            return path
        outer = path.partition(".")[0]
        if self._homes.setdefault(outer, module) == module:
            return path
        self._modules.add(module)
        return f"{module}.{path}"

    def expression(self, value: Any) -> str:
        """Return an expression that evaluates to an equal value of the same type.

        Raises:
            ConformanceError: If there is none.
        """
        kind = type(value)
        if kind in _PLAIN:
            return repr(value)
        if kind in self._exact:
            return self._exact[kind](value)
        for parent, write in self._by_parent.items():
            if isinstance(value, parent):
                return write(value)
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return self._call(kind, {name: getattr(value, name) for name in kind._fields})
        if dataclasses.is_dataclass(value):
            return self._call(
                kind, {each.name: getattr(value, each.name) for each in dataclasses.fields(value) if each.init}
            )
        return self._encoded(value)

    @property
    def _exact(self) -> Mapping[type, Callable[[Any], str]]:
        return {
            float: lambda value: repr(value) if math.isfinite(value) else f"float({str(value)!r})",
            complex: lambda value: f"complex({self.expression(value.real)}, {self.expression(value.imag)})",
            list: lambda value: f"[{self._joined(value)}]",
            tuple: lambda value: f"({self._joined(value)}{',' if len(value) == 1 else ''})",
            set: lambda value: f"{{{self._sorted(value)}}}" if value else "set()",
            frozenset: lambda value: f"frozenset({{{self._sorted(value)}}})" if value else "frozenset()",
            dict: lambda value: f"{{{self._pairs(value)}}}",
            collections.OrderedDict: self._ordered,
            torch.dtype: self._dtype,
        }

    @property
    def _by_parent(self) -> Mapping[type, Callable[[Any], str]]:
        return {enum.Enum: self._member, pathlib.PurePath: self._path, PreTrainedConfig: self._config}

    def _joined(self, values: Iterable[Any]) -> str:
        return ", ".join(map(self.expression, values))

    def _sorted(self, values: Iterable[Any]) -> str:
        return ", ".join(sorted(map(self.expression, values)))

    def _pairs(self, values: Mapping[Any, Any]) -> str:
        return ", ".join(f"{self.expression(key)}: {self.expression(value)}" for key, value in values.items())

    def _call(self, kind: type, arguments: Mapping[str, Any]) -> str:
        inside = ", ".join(f"{name}={self.expression(value)}" for name, value in arguments.items())
        return f"{self.name(kind)}({inside})"

    def _ordered(self, value: collections.OrderedDict[Any, Any]) -> str:
        return f"{self.name(collections.OrderedDict)}({self.expression(list(value.items()))})"

    def _dtype(self, value: torch.dtype) -> str:
        self._modules.add("torch")
        return repr(value)

    def _member(self, value: enum.Enum) -> str:
        kind, name = self.name(type(value)), value.name
        if name is None or type(value).__members__.get(name) is not value:  # several flags at once
            return f"{kind}({self.expression(value.value)})"
        return f"{kind}.{name}" if name.isidentifier() else f"{kind}[{name!r}]"

    def _path(self, value: pathlib.PurePath) -> str:
        kind = pathlib.Path if isinstance(value, pathlib.Path) else type(value)
        return f"{self.name(kind)}({value.as_posix()!r})"

    def _config(self, value: PreTrainedConfig) -> str:
        return self._call(type(value), {name: getattr(value, name) for name in sorted(given_fields(value))})

    def _encoded(self, value: Any) -> str:
        """Write a value of a class that only its codec can take apart: as the JSON of a file, and what reads that."""
        json: Any = encoded(value)
        if "__dtype__" in json:  # a text that equals the dtype it names
            return repr(json["__dtype__"])
        if isinstance(value, Unread) or "value" not in json.get("__object__", {"value": None}):
            message = f"no expression makes {shown(value)}: register a codec for {type(value).__name__}."
            raise ConformanceError(message)
        if "__object__" in json:
            self.name(type(value))  # what reads it imports nothing
        self._homes["decoded"] = "nameplate_conformance.records.encoded"
        return f"decoded({json!r})"
