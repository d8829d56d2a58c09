"""Typed configs that come back exactly as they went in, without torch."""

from nameplate_config._backbone import BackboneConfigMixin as BackboneConfigMixin
from nameplate_config._codec import decode_value as decode_value
from nameplate_config._codec import encode_value as encode_value
from nameplate_config._codec import register_codec as register_codec
from nameplate_config._config import PreTrainedConfig as PreTrainedConfig
from nameplate_config._dtype import DType as DType
from nameplate_config._fields import MISSING as MISSING
from nameplate_config._fields import Field as Field
from nameplate_config._foreign import ForeignFormat as ForeignFormat
from nameplate_config._inspection import argument_names as argument_names
from nameplate_config._inspection import config_from_values as config_from_values
from nameplate_config._inspection import fields as fields
from nameplate_config._inspection import given_fields as given_fields
from nameplate_config._inspection import refuse_unknown_fields as refuse_unknown_fields
from nameplate_config._migrations import migrates as migrates
from nameplate_config._nested import dispatch_configs as dispatch_configs
from nameplate_config._publish import check_options as check_publish_options
from nameplate_config._publish import check_repository_id as check_repository_id
from nameplate_config._publish import model_card as model_card
from nameplate_config._publish import publish as publish
from nameplate_config._source import HUB_OPTIONS as HUB_OPTIONS
from nameplate_config._source import Source as Source
from nameplate_config._source import open_repository as open_repository
from nameplate_config._source import open_source as open_source
from nameplate_config._source import split_options as split_options
from nameplate_config.errors import FILE_CODES as FILE_CODES
from nameplate_config.errors import ConfigError as ConfigError
from nameplate_config.errors import ConfigFileError as ConfigFileError
from nameplate_config.errors import FrozenConfigError as FrozenConfigError
from nameplate_config.errors import HubError as HubError
from nameplate_config.errors import NameplateError as NameplateError
from nameplate_config.errors import Problem as Problem
from nameplate_config.errors import SourceCodeError as SourceCodeError
from nameplate_config.errors import SourceNotFoundError as SourceNotFoundError
from nameplate_config.errors import UnknownOptionError as UnknownOptionError
from nameplate_config.errors import UnsafePathError as UnsafePathError
from nameplate_config.record import read_config_values as read_config_values
from nameplate_config.typing import OnlyWhen as OnlyWhen
from nameplate_config.typing import Tiny as Tiny

__all__ = [
    "FILE_CODES",
    "HUB_OPTIONS",
    "MISSING",
    "BackboneConfigMixin",
    "ConfigError",
    "ConfigFileError",
    "DType",
    "Field",
    "ForeignFormat",
    "FrozenConfigError",
    "HubError",
    "NameplateError",
    "OnlyWhen",
    "PreTrainedConfig",
    "Problem",
    "Source",
    "SourceCodeError",
    "SourceNotFoundError",
    "Tiny",
    "UnknownOptionError",
    "UnsafePathError",
    "argument_names",
    "check_publish_options",
    "check_repository_id",
    "config_from_values",
    "decode_value",
    "dispatch_configs",
    "encode_value",
    "fields",
    "given_fields",
    "migrates",
    "model_card",
    "open_repository",
    "open_source",
    "publish",
    "read_config_values",
    "refuse_unknown_fields",
    "register_codec",
    "split_options",
]


def __getattr__(name: str) -> str:
    """Answer `__version__` from the installed metadata, which is the only place it is written."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - costs more than the rest of this package

        return version("nameplate-config")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
