"""Codecs of alternatives and conditions: `A | None`, `A | B`, and `Annotated` bounds."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from nameplate_config._containers import Anything, identical
from nameplate_config._freeze import thawed_type
from nameplate_config._scalars import (
    SPECIAL_FLOATS,
    Bytes,
    Codec,
    Float,
    InvalidValueError,
    JSONSchema,
    Site,
    tagged_float,
)
from nameplate_config.typing import JSONValue

TYPE_TAG = "__type__"
"""Where JSON cannot tell the members of a union apart, a value is written as ``{"__type__": …, "value": …}``."""


@dataclass(frozen=True, slots=True)
class OptionalCodec(Codec):
    """`T | None`."""

    inner: Codec

    @property
    def expected(self) -> str:
        return f"{self.inner.expected} or None"

    def convert(self, value: Any, site: Site) -> Any:
        if value is None:
            return None
        try:
            return self.inner.convert(value, site)
        except InvalidValueError as error:
            problem = error.problems[0]
            if problem.path != site.path or not problem.expected:
                raise
            expected = f"{problem.expected} or None"
            raise site.refuse(expected, value, problem.hint) from None

    def encode(self, value: Any) -> JSONValue:
        return None if value is None else self.inner.encode(value)

    def schema(self) -> JSONSchema:
        return {"anyOf": [self.inner.schema(), {"type": "null"}]}


@dataclass(frozen=True, slots=True)
class UnionCodec(Codec):
    """`A | B`: the first member whose type is exactly the value's, else the first that accepts it.

    A value that JSON would give back as that of another member, such as a `Path` where a `str` may stand too, is
    written with the name of its own.

    Attributes:
        members: Their codecs by name.
    """

    members: dict[str, Codec]

    @property
    def expected(self) -> str:
        return " or ".join(dict.fromkeys(member.expected for member in self.members.values()))

    def convert(self, value: Any, site: Site) -> Any:
        if site.from_file and isinstance(value, dict) and value.keys() == {TYPE_TAG, "value"}:
            label = value[TYPE_TAG]
            if isinstance(label, str) and label in self.members:
                return self.members[label].convert(value["value"], site)
        return self._chosen(value, site)[1]

    def _chosen(self, value: Any, site: Site) -> tuple[str, Any]:
        """Return the name of the member that takes a value, and what it makes of it."""
        accepted: list[tuple[str, Any]] = []
        refusals: list[InvalidValueError] = []
        for label, member in self._candidates(value).items():
            try:
                converted = member.convert(value, site)
            except InvalidValueError as error:
                refusals.append(error)
                continue
            if type(converted) is thawed_type(value):
                return label, converted
            accepted.append((label, converted))
        if accepted:
            return accepted[0]
        deepest = max((error.problems[0] for error in refusals), key=lambda problem: len(problem.path))
        if deepest.path != site.path:  # a container of the right kind with a wrong element: name the element
            raise InvalidValueError(deepest)
        hints = (problem.hint for error in refusals for problem in error.problems)
        raise site.refuse(self.expected, value, next(filter(None, hints), ""))

    def _candidates(self, value: Any) -> dict[str, Codec]:
        """Return the members that a value may be of.

        A dict is judged by one of the configs alone: the one that it names by its `model_type`, else the first. If
        each judged it, configs inside configs would take twice as long for each level.
        """
        configs = [label for label, member in self.members.items() if member.holds_config]
        if not isinstance(value, dict) or len(configs) <= 1:
            return self.members
        judge = next((label for label in configs if self.members[label].claims(value)), configs[0])
        return {label: member for label, member in self.members.items() if label == judge or label not in configs}

    def encode(self, value: Any) -> JSONValue:
        label, own = self._chosen(value, Site(""))
        encoded = self.members[label].encode(own)
        try:
            again = self.convert(encoded, Site("", from_file=True))
        except InvalidValueError:
            again = self
        return encoded if identical(again, own) else {TYPE_TAG: label, "value": encoded}

    def schema(self) -> JSONSchema:
        plain = [member.schema() for member in self.members.values()]
        tagged = [
            {
                "type": "object",
                "properties": {TYPE_TAG: {"const": label}, "value": member.schema()},
                "required": [TYPE_TAG, "value"],
                "additionalProperties": False,
            }
            for label, member in self.members.items()
            if not isinstance(member, Anything)
        ]
        return {"anyOf": plain + tagged}


@dataclass(frozen=True, slots=True)
class Bounded(Codec):
    """`Annotated[T, Ge(1), …]`: another codec's value, within bounds."""

    inner: Codec
    bounds: tuple["Bound", ...]

    @property
    def expected(self) -> str:
        return " and ".join([self.inner.expected, *(bound.expected for bound in self.bounds)])

    def convert(self, value: Any, site: Site) -> Any:
        converted = self.inner.convert(value, site)
        if self._within(converted):
            return converted
        raise site.refuse(self.expected, value, self._nearest(converted))

    def _within(self, value: Any) -> bool:
        """Whether the bounds hold. None has no size; what cannot be compared is out of bounds."""
        try:
            return value is None or all(bound.holds(value) for bound in self.bounds)
        except TypeError:
            return False

    def _nearest(self, value: Any) -> str:
        """Say which multiple comes nearest; of other bounds the limit itself does, and the message names it."""
        steps = [bound.step for bound in self.bounds if bound.step]
        if type(value) is not int or len(steps) != 1 or type(steps[0]) is not int:
            return ""
        around = sorted({value // steps[0] * steps[0] + offset * steps[0] for offset in (-1, 0, 1, 2)})
        allowed = [each for each in around if self._within(each)]
        return f"The nearest allowed is {min(allowed, key=lambda each: abs(each - value))}." if allowed else ""

    def encode(self, value: Any) -> JSONValue:
        return self.inner.encode(value)

    def schema(self) -> JSONSchema:
        if isinstance(self.inner, Bytes):  # its text has another length
            return self.inner.schema()
        conditions: JSONSchema = {}
        for bound in self.bounds:
            conditions |= bound.keywords
        if isinstance(self.inner, Float):  # a special float is an object, which no bound of a schema applies to
            tags = [name for name, value in SPECIAL_FLOATS.items() if self._within(value)]
            return {"anyOf": [{"type": "number", **conditions}, tagged_float(tags)]}
        return {"allOf": [self.inner.schema(), conditions]}


@dataclass(frozen=True, slots=True)
class Bound:
    """One condition on a value: how to test it, to say it, and to write it in a JSON Schema.

    Attributes:
        expected: The condition in words.
        holds: Whether a value meets it.
        keywords: The keywords of a schema that say the same; empty if none can.
        step: What a value must be a multiple of, or None.
    """

    expected: str
    holds: Callable[[Any], bool]
    keywords: JSONSchema
    step: Any = None
