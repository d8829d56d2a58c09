"""Configs inside configs: the codec of a field whose annotation is a config class.

Beside `_config` and not among the codecs, because it needs the base class, whose fields need them.
"""

from collections.abc import Callable, Mapping
from typing import Any

from nameplate_config._codec import extend_codecs
from nameplate_config._config import PreTrainedConfig
from nameplate_config._fields import DERIVED, schema_for
from nameplate_config._json_schema import ConfigReference
from nameplate_config._scalars import MOST_PROBLEMS, Codec, InvalidValueError, JSONSchema, Site
from nameplate_config.errors import ConfigError, NameplateError, Problem
from nameplate_config.typing import JSONValue
from nameplate_config.wording import did_you_mean, listed, shown, with_article

Lookup = Callable[[str], type[PreTrainedConfig]]
"""Finds the config class of a `model_type`, or raises."""

_lookups: dict[Any, Lookup] = {}


class ConfigCodec(Codec):
    """What codecs of configs have in common: an instance is copied, a dict is read, or changes one."""

    holds_config = True

    def changed(self, before: Any, changes: Any, site: Site) -> Any:
        part = self.convert(before, Site(site.field, from_file=True, keys=site.keys))
        return _changed(part, changes, site) or self.convert(changes, site)

    def encode(self, value: PreTrainedConfig) -> JSONValue:
        return value.to_dict()


class NestedConfig(ConfigCodec):
    """The codec of a field that is itself a config of one class."""

    def __init__(self, kind: type[PreTrainedConfig]) -> None:
        self._kind = kind

    @property
    def expected(self) -> str:
        return with_article(self._kind.__name__)

    def convert(self, value: Any, site: Site) -> PreTrainedConfig:
        if type(value) is self._kind:
            return value.copy()
        if isinstance(value, PreTrainedConfig):
            hint = f"Annotate the field with {type(value).__name__}, or it could not be restored."
            raise site.refuse(self.expected, value, hint)
        if not isinstance(value, dict):
            raise site.refuse(self.expected, value)
        return read_nested(self._kind, value, site)

    def schema(self) -> JSONSchema:
        return ConfigReference(self._kind)

    def claims(self, value: Any) -> bool:
        model_type = self._kind.model_type
        return bool(model_type) and value.get("model_type") == model_type


class AnyConfig(ConfigCodec):
    """The codec of a field that may hold a config of any registered class, found by its `model_type`."""

    expected = "a config of a registered model_type"

    def convert(self, value: Any, site: Site) -> PreTrainedConfig:
        if isinstance(value, PreTrainedConfig):
            found = self._found(value.model_type, value, site)
            if found is not type(value):
                hint = f"{value.model_type!r} is registered for another class, {found.__module__}.{found.__qualname__}."
                raise site.refuse(self.expected, value, hint)
            return value.copy()
        if not isinstance(value, dict):
            raise site.refuse(self.expected, value)
        return read_nested(self._found(value.get("model_type"), value, site), value, site)

    def _found(self, model_type: Any, value: Any, site: Site) -> type[PreTrainedConfig]:
        if not isinstance(model_type, str) or not model_type:
            hint = "Its model_type must say which class reads it."
            raise site.refuse(self.expected, value, hint)
        if not _lookups:
            hint = "Nothing is registered before nameplate_auto is imported."
            raise site.refuse(self.expected, value, hint)
        try:
            return next(iter(_lookups.values()))(model_type)
        except NameplateError as error:
            raise site.refuse(self.expected, value, str(error)) from error

    def schema(self) -> JSONSchema:
        return {"type": "object", "properties": {"model_type": {"type": "string"}}, "required": ["model_type"]}


def read_nested(kind: type[PreTrainedConfig], value: Mapping[str, Any], site: Site) -> PreTrainedConfig:
    """Build a nested config from a dict; unknown keys are kept if it stood in a file, else refused."""
    if not site.from_file:
        _refuse_unknown(kind, value, site)
    try:
        config, _ = kind._read(value, {}, where="")  # noqa: SLF001 - a config reads its nested ones
    except ConfigError as error:
        raise _placed(error, site) from None
    return config


def _changed(part: PreTrainedConfig, changes: Mapping[str, Any], site: Site) -> PreTrainedConfig | None:
    """Return a nested config with some fields changed; None if the changes are of another architecture."""
    if changes.get("model_type", part.model_type) != part.model_type:
        return None
    own = {name: value for name, value in changes.items() if name != "model_type"}
    _refuse_unknown(type(part), {name: value for name, value in own.items() if name not in part}, site)
    try:
        return part.copy(**own)
    except ConfigError as error:
        raise _placed(error, site) from None


def _placed(error: ConfigError, site: Site) -> InvalidValueError:
    """Return the problems of a nested config as those of the whole."""
    at = site.path
    problems = error.problems or (Problem("", "", hint=str(error)),)
    return InvalidValueError(*(Problem(f"{at}.{p.path}".rstrip("."), p.expected, p.found, p.hint) for p in problems))


def _refuse_unknown(kind: type[PreTrainedConfig], value: Mapping[str, Any], site: Site) -> None:
    schema = schema_for(kind)
    unknown = [name for name in value if not schema.knows(name) and name not in DERIVED]
    if unknown and not schema.open:
        names = schema.known_names()
        expected = f"a field of {schema.owner}"
        own = f"Its fields are: {listed(field.name for field in schema.fields.values() if not field.inherited)}."
        raise InvalidValueError(
            *(
                Problem(site.attribute(name).path, expected, shown(value[name]), did_you_mean(name, names) or own)
                for name in unknown[:MOST_PROBLEMS]
            )
        )


def dispatch_configs(annotation: Any, lookup: Lookup) -> None:
    """Let fields annotated with *annotation*, or with `PreTrainedConfig`, hold configs of any registered class.

    `nameplate_auto` calls it for `AutoConfig`.

    Args:
        annotation: The class that stands for any config.
        lookup: Finds the config class of a `model_type`; raises `NameplateError` if there is none.
    """
    _lookups[annotation] = lookup


def _nested(annotation: Any) -> Codec | None:
    if annotation is PreTrainedConfig or annotation in _lookups:
        return AnyConfig()
    is_config = isinstance(annotation, type) and issubclass(annotation, PreTrainedConfig)
    return NestedConfig(annotation) if is_config else None


extend_codecs(_nested)
