"""Configs inside configs: the codec of a field whose annotation is a config class.

Beside `_config` and not in `_codec`, because it needs the base class, whose fields need the codecs.
"""

from collections.abc import Mapping
from typing import Any

from nameplate_config._arguments import DERIVED
from nameplate_config._codec import extend_codecs
from nameplate_config._config import PreTrainedConfig
from nameplate_config._scalars import Codec, InvalidValueError, Site
from nameplate_config.errors import ConfigError, Problem
from nameplate_config.typing import JSONValue
from nameplate_config.wording import did_you_mean


class NestedConfig:
    """The codec of a field that is itself a config: an instance is copied, a dict is read."""

    def __init__(self, kind: type[PreTrainedConfig]) -> None:
        self._kind = kind
        self.expected = f"a {kind.__name__}"

    def convert(self, value: Any, site: Site) -> PreTrainedConfig:
        if type(value) is self._kind:
            value = value.to_dict()
        elif isinstance(value, PreTrainedConfig):
            hint = f"Annotate the field with {type(value).__name__}, or it could not be restored."
            raise site.refuse(self.expected, value, hint)
        elif not isinstance(value, dict):
            raise site.refuse(self.expected, value)
        elif not site.from_file:
            self._refuse_unknown(value, site)
        try:
            config, _ = self._kind._read(value, {}, "")  # noqa: SLF001 - a config reads its nested ones
        except ConfigError as error:
            raise InvalidValueError(
                *(Problem(f"{site.path}.{p.path}", p.expected, p.found, p.hint) for p in error.problems)
            ) from None
        return config

    def _refuse_unknown(self, value: Mapping[str, Any], site: Site) -> None:
        schema = self._kind._schema  # noqa: SLF001 - of our own base class
        unknown = [name for name in value if not schema.knows(name) and name not in {"model_type", DERIVED}]
        if unknown and not schema.open:
            names = schema.known_names()
            problems = (
                Problem(f"{site.path}.{name}", f"a field of {schema.owner}", "", did_you_mean(name, names))
                for name in unknown
            )
            raise InvalidValueError(*problems)

    def encode(self, value: PreTrainedConfig) -> JSONValue:
        return value.to_dict()


def _nested(annotation: type) -> Codec | None:
    return NestedConfig(annotation) if issubclass(annotation, PreTrainedConfig) else None


extend_codecs(_nested)
