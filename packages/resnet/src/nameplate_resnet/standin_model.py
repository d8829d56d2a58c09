"""What stands in for `nameplate_model` where a checkpoint of this package is loaded by Transformers alone.

It lies beside published checkpoints; `model_core` takes it if the core is not installed. A model then is one of
Transformers, which builds it on the meta device, fills in the tensors of the file and warns of those that are missing.
"""

import re
from collections.abc import Sequence
from typing import Any, ClassVar

import transformers
from torch import nn
from transformers.modeling_outputs import BackboneOutput
from transformers.utils import ModelOutput

__all__ = ["BackboneOutput", "ModelOutput", "PreTrainedModel"]


class _Finishing(type(transformers.PreTrainedModel)):
    """Calls `post_init` when the outermost `__init__` has returned, as the core does."""

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        model = super().__call__(*args, **kwargs)
        model.post_init()
        return model


class PreTrainedModel(transformers.PreTrainedModel, metaclass=_Finishing):
    """A model of Transformers around the network ``model``, whose tensors the file names with or without ``model.``.

    Attributes:
        head_prefixes: Beginnings of the keys of a head, which a body leaves aside.
    """

    base_model_prefix = "model"
    main_input_name = "pixel_values"
    accepts_loss_kwargs = False
    head_prefixes: ClassVar[Sequence[str]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        heads = (prefix.removeprefix("model.") for prefix in cls.head_prefixes)
        cls._keys_to_ignore_on_load_unexpected = [rf"^(?:model\.)?{re.escape(head)}" for head in heads]

    def init_weights(self) -> None:
        """Do nothing: the network has initialised itself, and what a file lacks is for `_init_weights`."""

    def _init_weights(self, module: nn.Module) -> None:
        """Make what no file holds: buffers that are not saved, and the tensors of a layer that was not in it."""
        for way in ("init_non_persistent_buffers", "reset_parameters"):
            if hasattr(module, way):
                getattr(module, way)()
                return
        super()._init_weights(module)
