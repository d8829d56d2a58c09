"""What can go wrong with names: the branch of the error tree that grows from `nameplate_config.NameplateError`.

NameplateError
├─ RegistryError                    (ValueError)
│  ├─ UnknownModelTypeError         (KeyError)      a name that nothing is registered under
│  ├─ UnknownArchitectureError      (LookupError)   a config that an Auto class has no model for
│  ├─ DuplicateRegistrationError                    a name that is taken; names both owners
│  ├─ InconsistentRegistrationError                 a class that contradicts the name it is registered under
│  └─ BrokenPluginError             (ImportError)   an installed package that announces a name and fails to load
├─ ForeignClassError                (ValueError, RuntimeError) a class of another library that failed
├─ BridgeError                      (ImportError)   Transformers is absent, or not as the bridge to it knows it
└─ RemoteCodeError                  (ValueError)    a checkpoint that needs code from its repository
   ├─ RemoteCodeRefusedError                        code that nobody allowed to run
   ├─ RemoteCodeImportError         (ImportError)   allowed code that fails, or needs what is not installed
   └─ TrustFileError                                a trust.toml that cannot be relied on

RemoteCodeWarning                   (UserWarning)   allowed code that nothing holds in place
"""

from typing import Any

from nameplate_config import NameplateError


class RegistryError(NameplateError, ValueError):
    """A registry cannot do what it was asked for."""


class UnknownModelTypeError(RegistryError, KeyError):
    """Nothing is registered under a name. A `KeyError`, so that a registry reads like any mapping."""

    def __str__(self) -> str:
        return Exception.__str__(self)  # a KeyError would show the quoted repr of the text


class UnknownArchitectureError(RegistryError, LookupError):
    """An Auto class has no model for a config."""


class DuplicateRegistrationError(RegistryError):
    """A name is taken; the message says by whom, and who asked for it."""


class InconsistentRegistrationError(RegistryError):
    """A class contradicts the name or the config that it is being registered under."""


class BrokenPluginError(RegistryError, ImportError):
    """An installed package announces a name but cannot be loaded."""


class ForeignClassError(NameplateError, ValueError, RuntimeError):
    """A class of another library refused a checkpoint, or would have left weights random; its error is the cause."""


class BridgeError(NameplateError, ImportError):
    """Transformers is not installed, or not in a version that the bridge to it knows."""


class RemoteCodeError(NameplateError, ValueError):
    """A checkpoint can only be loaded with code from its own repository."""


class RemoteCodeRefusedError(RemoteCodeError):
    """Nobody allowed the code of a checkpoint to run, and nothing of it did.

    Attributes:
        code: What was refused, a `RemoteCode`; None if it could not be looked at.
    """

    def __init__(self, message: str, *, code: Any = None) -> None:
        super().__init__(message)
        self.code = code


class RemoteCodeImportError(RemoteCodeError, ImportError):
    """The code of a checkpoint was allowed to run, but fails, or imports what is not installed."""


class TrustFileError(RemoteCodeError):
    """A ``trust.toml``, or a rule for one, cannot be relied on."""


class RemoteCodeWarning(UserWarning):
    """Code ran that may be other code the next time."""


for _error in (
    RegistryError,
    UnknownModelTypeError,
    UnknownArchitectureError,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    BrokenPluginError,
    ForeignClassError,
    BridgeError,
    RemoteCodeError,
    RemoteCodeRefusedError,
    RemoteCodeImportError,
    TrustFileError,
    RemoteCodeWarning,
):
    _error.__module__ = "nameplate_auto"  # tracebacks show the name that users import
