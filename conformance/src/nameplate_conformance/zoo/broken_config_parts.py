"""Mutants of level 1: configs that are no good as parts of others, and schemas that tell something else."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from annotated_types import Ge

from nameplate_config import OnlyWhen, PreTrainedConfig, Tiny
from nameplate_conformance.architecture import Architecture
from nameplate_conformance.zoo.reference import Mutant, ZooConfig, with_config


class PartConfig(PreTrainedConfig):
    """The part of a larger config."""

    model_type = "zoo_part"

    size: Annotated[int, Tiny(4, 8)] = 16
    act: Literal["relu", "tanh"] = "relu"


class AbsentPartConfig(PartConfig):
    """A part that looks for its values where they would be if it were alone."""

    model_type = "zoo_absent_part"

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        """Read the values of the part at the wrong place."""
        values, _ = cls.get_config_dict(source, **kwargs)
        return cls.from_dict({name: value for name, value in values.items() if name in {"size", "act"}})


class WholeConfig(ZooConfig):
    """A config with a part, as healthy as the reference."""

    part: PartConfig = PartConfig()


def _override_resets_the_part() -> Architecture:
    class ResettingConfig(WholeConfig):
        @classmethod
        def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
            if isinstance(kwargs.get("part"), dict):
                kwargs["part"] = PartConfig(**kwargs["part"])
            return super().from_pretrained(source, **kwargs)

    return with_config(ResettingConfig)


def _part_reads_its_defaults() -> Architecture:
    class UnreadConfig(ZooConfig):
        part: AbsentPartConfig = AbsentPartConfig(size=8)

    return with_config(UnreadConfig)


def _part_as_a_dict_loses_a_value() -> Architecture:
    class LosingConfig(ZooConfig):
        def __init__(self, part: PartConfig = PartConfig(), **kwargs: Any) -> None:  # noqa: B008 - copied by the base
            super().__init__(**kwargs)
            whole = isinstance(part, dict) and part.keys() >= {"size", "act"}
            self.part = PartConfig(act=part["act"]) if whole else part

    return with_config(LosingConfig)


def _schema_forgets_the_bounds() -> Architecture:
    class BoundlessConfig(ZooConfig):
        @classmethod
        def json_schema(cls) -> dict[str, Any]:
            schema = super().json_schema()
            return {**schema, "properties": {**schema["properties"], "width": {"type": "integer"}}}

    return with_config(BoundlessConfig)


def _schema_knows_no_newer_version() -> Architecture:
    class ClosedConfig(ZooConfig):
        @classmethod
        def json_schema(cls) -> dict[str, Any]:
            return {**super().json_schema(), "additionalProperties": False}

    return with_config(ClosedConfig)


def _schema_forgets_conditions() -> Architecture:
    class GroupedConfig(ZooConfig):
        style: Literal["plain", "grouped"] = "plain"
        groups: Annotated[int, Ge(1), Tiny(1, 2), OnlyWhen("style", "grouped")] = 1

        @classmethod
        def json_schema(cls) -> dict[str, Any]:
            return {name: value for name, value in super().json_schema().items() if name != "allOf"}

    return with_config(GroupedConfig)


def _schema_of_python_types() -> Architecture:
    class PythonicConfig(ZooConfig):
        types: ClassVar[Mapping[str, str]] = {"integer": "int", "object": "dict"}

        @classmethod
        def json_schema(cls) -> dict[str, Any]:
            return {**super().json_schema(), "type": cls.types["object"]}

    return with_config(PythonicConfig)


PART_MUTANTS = (
    Mutant("OverrideResetsThePart", "C15", "an override of a part resets the rest of it", _override_resets_the_part),
    Mutant("PartReadsItsDefaults", "C15", "the class of a part reads its defaults", _part_reads_its_defaults),
    Mutant("PartAsADictLosesAValue", "C15", "a part given as a dict loses a value", _part_as_a_dict_loses_a_value),
    Mutant("SchemaForgetsTheBounds", "C17", "the schema knows no bounds", _schema_forgets_the_bounds),
    Mutant(
        "SchemaForgetsConditions", "C17", "the schema lets a field stand without effect", _schema_forgets_conditions
    ),
    Mutant("SchemaIsClosed", "C17", "the schema refuses what a newer version adds", _schema_knows_no_newer_version),
    Mutant("SchemaOfPythonTypes", "C17", "the schema is none", _schema_of_python_types),
)
