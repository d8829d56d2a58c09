"""Codecs of small classes: dataclasses and named tuples, field by field, and classes that bring their own codec."""

import copy
import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nameplate_config._containers import ANYTHING, Record, each_converted, identical
from nameplate_config._scalars import MOST_PROBLEMS, Codec, InvalidValueError, JSONSchema, Site
from nameplate_config.errors import Problem
from nameplate_config.typing import JSONValue
from nameplate_config.wording import brief, did_you_mean, reason, with_article


@dataclass(frozen=True, slots=True)
class NamedTupleCodec(Codec):
    """A `NamedTuple`: a list in JSON, one codec per position."""

    kind: type[Any]
    elements: dict[str, Codec] = field(default_factory=dict)  # filled after it is made: it may hold its own kind

    @property
    def expected(self) -> str:
        return f"{with_article(self.kind.__name__)}({', '.join(self.elements)})"

    def convert(self, value: Any, site: Site) -> Any:
        if not isinstance(value, (list, tuple)) or len(value) != len(self.elements):
            raise site.refuse(self.expected, value)
        return self.kind(*each_converted(value, self.elements.values(), site))

    def encode(self, value: Any) -> JSONValue:
        return self._positions.encode(value)

    def schema(self) -> JSONSchema:
        return self._positions.schema()

    @property
    def _positions(self) -> Record:
        return Record(tuple(self.elements.values()))


@dataclass(frozen=True, slots=True)
class DataclassCodec(Codec):
    """A dataclass: an object in JSON, one codec per field that its `__init__` takes."""

    kind: type[Any]
    elements: dict[str, Codec] = field(default_factory=dict)  # filled after it is made: it may hold its own kind

    @property
    def expected(self) -> str:
        return with_article(self.kind.__name__)

    def convert(self, value: Any, site: Site) -> Any:
        if type(value) is self.kind:
            return self._copied(value, site)
        if isinstance(value, dict):
            return self._built(value, site)
        raise site.refuse(self.expected, value)

    def _copied(self, value: Any, site: Site) -> Any:
        """Copy an instance without running its `__init__` again, which may compute something."""
        own = copy.copy(value)
        for name, converted in self._each({name: getattr(value, name) for name in self.elements}, site).items():
            object.__setattr__(own, name, converted)
        if not site.from_file and hasattr(self.kind, "__post_init__"):
            again = self._built(_object(self.encode(own)), Site(site.field, from_file=True, keys=site.keys))
            if not identical(self.encode(again), self.encode(own)):
                hint = f"{self.kind.__name__}.__post_init__ would change it again whenever it is read."
                raise site.refuse(self.expected, value, hint)
        return own

    def _built(self, values: Mapping[str, Any], site: Site) -> Any:
        required = {each.name for each in _init_fields(self.kind) if _has_no_default(each)}
        problems = [
            Problem(
                site.attribute(name).path, f"a field of {self.kind.__name__}", "", did_you_mean(name, self.elements)
            )
            for name in values
            if name not in self.elements
        ]
        problems += [
            Problem(site.attribute(name).path, f"{self.elements[name].expected}, and it has no default")
            for name in self.elements
            if name in required and name not in values
        ]
        if problems:
            raise InvalidValueError(*problems[:MOST_PROBLEMS])
        try:
            return self.kind(**self._each(values, site))
        except InvalidValueError:
            raise
        except Exception as error:
            if not (site.from_file or isinstance(error, (ValueError, TypeError))):
                raise
            raise InvalidValueError(Problem(site.path, "", hint=reason(error))) from error

    def _each(self, values: Mapping[str, Any], site: Site) -> dict[str, Any]:
        problems: list[Problem] = []
        converted: dict[str, Any] = {}
        for name, value in values.items():
            try:
                converted[name] = self.elements[name].convert(value, site.attribute(name))
            except InvalidValueError as error:
                problems += error.problems
        if problems:
            raise InvalidValueError(*problems)
        return converted

    def encode(self, value: Any) -> JSONValue:
        return {name: codec.encode(getattr(value, name)) for name, codec in self.elements.items()}

    def schema(self) -> JSONSchema:
        return {
            "type": "object",
            "title": self.kind.__name__,
            "properties": {name: codec.schema() for name, codec in self.elements.items()},
            "required": [each.name for each in _init_fields(self.kind) if _has_no_default(each)],
            "additionalProperties": False,
        }


def _object(value: JSONValue) -> Mapping[str, Any]:
    assert isinstance(value, dict)
    return value


def _init_fields(kind: type[Any]) -> list[dataclasses.Field[Any]]:
    return [each for each in dataclasses.fields(kind) if each.init]


def _has_no_default(each: dataclasses.Field[Any]) -> bool:
    return each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING


@dataclass(frozen=True, slots=True)
class CustomCodec(Codec):
    """A class whose values are turned into JSON and back by two functions of the caller's (`register_codec`)."""

    kind: type[Any]
    to_json: Callable[[Any], Any]
    from_json: Callable[[Any], Any]
    json_schema: JSONSchema

    @property
    def expected(self) -> str:
        return with_article(self.kind.__name__)

    def convert(self, value: Any, site: Site) -> Any:
        if type(value) is self.kind:
            return self._copied(value, site)
        if not site.from_file:
            raise site.refuse(self.expected, value)
        return self._read(value, site)

    def _copied(self, value: Any, site: Site) -> Any:
        """Copy a value by writing and reading it: a codec that loses something is found out here, not after a save."""
        encoded = ANYTHING.convert(self.to_json(value), site)
        own = self._read(self.encode(value), site)
        if not identical(ANYTHING.convert(self.to_json(own), site), encoded):
            hint = f"The codec of {self.kind.__name__} reads back {self.to_json(own)!r} where it wrote {encoded!r}."
            raise site.refuse(self.expected, value, hint)
        return own

    def _read(self, value: Any, site: Site) -> Any:
        try:
            found = self.from_json(value)
        except Exception as error:
            raise site.refuse(self.expected, value, f"{type(error).__name__}: {brief(error)}") from error
        if type(found) is not self.kind:
            hint = f"Its codec made a {type(found).__name__} of it."
            raise site.refuse(self.expected, value, hint)
        return found

    def encode(self, value: Any) -> JSONValue:
        return ANYTHING.encode(ANYTHING.convert(self.to_json(value), Site(self.kind.__name__)))

    def schema(self) -> JSONSchema:
        return dict(self.json_schema)
