"""Find every architecture by name: a registry, AutoConfig and Auto classes that never import torch."""

from nameplate_auto._auto_config import CONFIG_MAPPING as CONFIG_MAPPING
from nameplate_auto._auto_config import AutoConfig as AutoConfig
from nameplate_auto._auto_model import AutoClass as AutoClass
from nameplate_auto._auto_model import AutoModel as AutoModel
from nameplate_auto._auto_model import AutoModelForImageClassification as AutoModelForImageClassification
from nameplate_auto._auto_model import Loadable as Loadable
from nameplate_auto._registry import Registration as Registration
from nameplate_auto._registry import Registry as Registry
from nameplate_auto.errors import BrokenPluginError as BrokenPluginError
from nameplate_auto.errors import DuplicateRegistrationError as DuplicateRegistrationError
from nameplate_auto.errors import InconsistentRegistrationError as InconsistentRegistrationError
from nameplate_auto.errors import RegistryError as RegistryError
from nameplate_auto.errors import RemoteCodeError as RemoteCodeError
from nameplate_auto.errors import UnknownArchitectureError as UnknownArchitectureError
from nameplate_auto.errors import UnknownModelTypeError as UnknownModelTypeError

__all__ = [
    "CONFIG_MAPPING",
    "AutoClass",
    "AutoConfig",
    "AutoModel",
    "AutoModelForImageClassification",
    "BrokenPluginError",
    "DuplicateRegistrationError",
    "InconsistentRegistrationError",
    "Loadable",
    "Registration",
    "Registry",
    "RegistryError",
    "RemoteCodeError",
    "UnknownArchitectureError",
    "UnknownModelTypeError",
]


def __getattr__(name: str) -> str:
    """Answer `__version__` from the installed metadata, which is the only place it is written."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - only when somebody asks

        return version("nameplate-auto")
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
