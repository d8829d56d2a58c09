"""Checkpoints of other libraries that the ResNet reads and writes: the tutorial's, timm's and Transformers' own.

Each is told by the keys of its config and turned into our fields without a look at any code that lies beside it; what
one side cannot express is an error that names the key. Only the gathering is here: each format has a module of its
own. Imports neither torch nor timm.
"""

from collections.abc import Mapping
from types import MappingProxyType

from .timm_format import TIMM, TIMM_KEYS
from .transformers_format import TRANSFORMERS, TRANSFORMERS_KEYS
from .tutorial_format import TUTORIAL

FOREIGN_FORMATS = (TUTORIAL, TIMM, TRANSFORMERS)
"""What `ResnetConfig` reads besides its own files; announced through the entry point ``nameplate.foreign_formats``."""

FOREIGN_KEYS: Mapping[str, str] = MappingProxyType({**TIMM_KEYS, **TRANSFORMERS_KEYS})
"""From the names of timm and of Transformers to ours, which are timm's below ``model.``."""
