"""The JSON Schema (draft 2020-12) of a config class, put together from the schemas of its codecs."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nameplate_config._fields import Field, Schema, schema_for
from nameplate_config._labels import COUNT, INVERSE, LABELS, counted_by
from nameplate_config._migrations import VERSION
from nameplate_config._scalars import JSONSchema
from nameplate_config.strict_json import CONFIG_BUDGET
from nameplate_config.typing import OnlyWhen

DRAFT = "https://json-schema.org/draft/2020-12/schema"


class ConfigReference(dict[str, Any]):
    """A reference to the schema of a nested config, which the schema of the whole must define.

    Attributes:
        config_class: The class of the nested config.
    """

    def __init__(self, config_class: Any) -> None:
        super().__init__()
        self.config_class = config_class


def schema_of_class(config_class: Any) -> JSONSchema:
    """Return the schema of the files of a config class, with a definition of each nested one."""
    whole = _object(config_class)
    definitions: dict[Any, JSONSchema] = {}
    waiting = list(_references(whole))
    while waiting:
        nested = waiting.pop(0).config_class
        if nested not in definitions:
            definitions[nested] = _object(nested)
            waiting += _references(definitions[nested])
    names = _names(definitions)
    schema: JSONSchema = {"$schema": DRAFT, **_plain(whole, names)}
    if definitions:
        schema["$defs"] = {names[nested]: _plain(each, names) for nested, each in definitions.items()}
    return schema


def _names(classes: Iterable[Any]) -> dict[Any, str]:
    """Return a name for each class; those of one name are numbered."""
    names: dict[Any, str] = {}
    for each in classes:
        same = sum(other.__name__ == each.__name__ for other in names)
        names[each] = f"{each.__name__}_{same + 1}" if same else each.__name__
    return names


def _references(value: Any) -> Iterator[ConfigReference]:
    if isinstance(value, ConfigReference):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _references(each)
    elif isinstance(value, list):
        for each in value:
            yield from _references(each)


def _plain(value: Any, names: Mapping[Any, str]) -> Any:
    """Return a schema of plain dicts and lists, which any tool takes."""
    if isinstance(value, ConfigReference):
        return {"$ref": f"#/$defs/{names[value.config_class]}"}
    if isinstance(value, dict):
        return {key: _plain(each, names) for key, each in value.items()}
    return [_plain(each, names) for each in value] if isinstance(value, (list, tuple)) else value


def _object(config_class: Any) -> JSONSchema:
    declared = schema_for(config_class)
    properties = {name: _property(each) for name, each in declared.fields.items()}
    properties |= {alias: properties[name] for alias, name in declared.aliases.items() if name in properties}
    properties |= _derived(declared)
    schema: JSONSchema = {"title": config_class.__name__, "type": "object"}
    if config_class.model_type:
        properties["model_type"] = {"const": config_class.model_type}
    if config_class.config_version > 1:
        properties[VERSION] = {"const": config_class.config_version}
    schema["properties"] = properties
    schema["propertyNames"] = {"not": {"enum": sorted(declared.reserved)}}
    required = [VERSION] if config_class.config_version > 1 else []
    needs: list[JSONSchema] = []
    for name, each in declared.fields.items():
        names = [name, *(alias for alias, target in declared.aliases.items() if target == name)]
        if each.required and len(names) == 1:
            required.append(name)
        elif each.required:
            needs.append({"anyOf": [{"required": [one]} for one in names]})
        needs += _conditions(each, declared)
    return {**schema, **({"required": required} if required else {}), **({"allOf": needs} if needs else {})}


def _property(field: Field) -> JSONSchema:
    schema = field.codec.schema()
    if field.required or field.inherited or isinstance(schema, ConfigReference):
        return schema
    return {**schema, "default": field.codec.encode(field.default)}


def _derived(declared: Schema) -> dict[str, JSONSchema]:
    """Return the schemas of keys that are no fields, but follow from them."""
    nothing: JSONSchema = {"type": "null"}
    derived: dict[str, JSONSchema] = {}
    if "dtype" in declared.fields:
        derived["torch_dtype"] = declared.fields["dtype"].codec.schema()
    if LABELS in declared.fields:
        indices: JSONSchema = {"type": "object", "additionalProperties": {"type": "integer"}}
        derived[INVERSE] = {"anyOf": [indices, nothing]}
        if counted_by(declared) is None:
            count: JSONSchema = {"type": "integer", "minimum": 0, "maximum": CONFIG_BUDGET.keys}
            derived[COUNT] = {"anyOf": [count, nothing]}
    return {name: each for name, each in derived.items() if name not in declared.fields}


def _conditions(field: Field, declared: Schema) -> Iterator[JSONSchema]:
    """Yield what `OnlyWhen` means: the default, or one of the values of the other field."""
    for mark in field.marks:
        if not isinstance(mark, OnlyWhen):
            continue
        other = declared.fields[mark.field]
        allowed = [other.codec.encode(value) for value in mark.values]
        when: JSONSchema = {"properties": {other.name: {"enum": allowed}}}
        if other.required or other.default not in mark.values:
            when["required"] = [other.name]
        yield {"anyOf": [{"properties": {field.name: {"const": field.codec.encode(field.default)}}}, when]}
