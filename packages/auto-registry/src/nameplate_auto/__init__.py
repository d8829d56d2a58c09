"""Find every architecture by name: a registry, AutoConfig and Auto classes that never import torch."""

from typing import TYPE_CHECKING, Any

from nameplate_auto._auto_class import AutoClass as AutoClass
from nameplate_auto._auto_class import Loadable as Loadable
from nameplate_auto._auto_config import AutoConfig as AutoConfig
from nameplate_auto._auto_model import AutoBackbone as AutoBackbone
from nameplate_auto._auto_model import AutoModel as AutoModel
from nameplate_auto._auto_model import AutoModelForDepthEstimation as AutoModelForDepthEstimation
from nameplate_auto._auto_model import AutoModelForImageClassification as AutoModelForImageClassification
from nameplate_auto._auto_model import AutoModelForInstanceSegmentation as AutoModelForInstanceSegmentation
from nameplate_auto._auto_model import AutoModelForMaskedImageModeling as AutoModelForMaskedImageModeling
from nameplate_auto._auto_model import AutoModelForObjectDetection as AutoModelForObjectDetection
from nameplate_auto._auto_model import AutoModelForPreTraining as AutoModelForPreTraining
from nameplate_auto._auto_model import AutoModelForSemanticSegmentation as AutoModelForSemanticSegmentation
from nameplate_auto._config_mapping import CONFIG_MAPPING as CONFIG_MAPPING
from nameplate_auto._providers import Provider as Provider
from nameplate_auto._registration import Registration as Registration
from nameplate_auto._registry import Registry as Registry
from nameplate_auto.errors import BridgeError as BridgeError
from nameplate_auto.errors import BrokenPluginError as BrokenPluginError
from nameplate_auto.errors import DuplicateRegistrationError as DuplicateRegistrationError
from nameplate_auto.errors import ForeignClassError as ForeignClassError
from nameplate_auto.errors import InconsistentRegistrationError as InconsistentRegistrationError
from nameplate_auto.errors import RegistryError as RegistryError
from nameplate_auto.errors import RemoteCodeError as RemoteCodeError
from nameplate_auto.errors import RemoteCodeImportError as RemoteCodeImportError
from nameplate_auto.errors import RemoteCodeRefusedError as RemoteCodeRefusedError
from nameplate_auto.errors import RemoteCodeWarning as RemoteCodeWarning
from nameplate_auto.errors import TrustFileError as TrustFileError
from nameplate_auto.errors import UnknownArchitectureError as UnknownArchitectureError
from nameplate_auto.errors import UnknownModelTypeError as UnknownModelTypeError

if TYPE_CHECKING:
    from nameplate_auto._remote import RemoteCode as RemoteCode
    from nameplate_auto._remote import TrustPolicy as TrustPolicy
    from nameplate_auto._remote import TrustRule as TrustRule
    from nameplate_auto._remote import read_remote_code as read_remote_code

__all__ = [
    "CONFIG_MAPPING",
    "AutoBackbone",
    "AutoClass",
    "AutoConfig",
    "AutoModel",
    "AutoModelForDepthEstimation",
    "AutoModelForImageClassification",
    "AutoModelForInstanceSegmentation",
    "AutoModelForMaskedImageModeling",
    "AutoModelForObjectDetection",
    "AutoModelForPreTraining",
    "AutoModelForSemanticSegmentation",
    "BridgeError",
    "BrokenPluginError",
    "DuplicateRegistrationError",
    "ForeignClassError",
    "InconsistentRegistrationError",
    "Loadable",
    "Provider",
    "Registration",
    "Registry",
    "RegistryError",
    "RemoteCode",
    "RemoteCodeError",
    "RemoteCodeImportError",
    "RemoteCodeRefusedError",
    "RemoteCodeWarning",
    "TrustFileError",
    "TrustPolicy",
    "TrustRule",
    "UnknownArchitectureError",
    "UnknownModelTypeError",
    "read_remote_code",
]

_ABOUT_CODE = frozenset({"RemoteCode", "TrustPolicy", "TrustRule", "read_remote_code"})


def __getattr__(name: str) -> Any:
    """Answer `__version__` from the installed metadata, and import what only code of checkpoints needs."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - only when somebody asks

        return version("nameplate-auto")
    if name in _ABOUT_CODE:
        from nameplate_auto import _remote  # noqa: PLC0415 - only when somebody asks

        return getattr(_remote, name)
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
