"""The names of `nameplate_model` that the code of a checkpoint uses, or what stands in for them; see `config_core`."""

from typing import TYPE_CHECKING

try:
    from nameplate_model import BackboneOutput, ModelOutput, PreTrainedModel
except ModuleNotFoundError as error:
    if TYPE_CHECKING or error.name != "nameplate_model":
        raise
    from .standin_model import BackboneOutput, ModelOutput, PreTrainedModel

__all__ = ["BackboneOutput", "ModelOutput", "PreTrainedModel"]
