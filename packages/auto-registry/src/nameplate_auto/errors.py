"""What can go wrong with names: the branch of the error tree that grows from `nameplate_config.NameplateError`.

NameplateError
├─ RegistryError                    (ValueError)
│  ├─ UnknownModelTypeError         (KeyError)      a name that nothing is registered under
│  ├─ UnknownArchitectureError      (LookupError)   a config that an Auto class has no model for
│  ├─ DuplicateRegistrationError                    a name that is taken; names both owners
│  ├─ InconsistentRegistrationError                 a class that contradicts the name it is registered under
│  └─ BrokenPluginError             (ImportError)   an installed package that announces a name and fails to load
└─ RemoteCodeError                  (ValueError)    a checkpoint that needs code from its repository
"""

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


class RemoteCodeError(NameplateError, ValueError):
    """A checkpoint can only be loaded with code from its own repository."""


for _error in (
    RegistryError,
    UnknownModelTypeError,
    UnknownArchitectureError,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    BrokenPluginError,
    RemoteCodeError,
):
    _error.__module__ = "nameplate_auto"  # tracebacks show the name that users import
