"""What a backbone answers, by the names that Transformers gives it."""

from dataclasses import dataclass

from torch import Tensor

from nameplate_model._model_output import ModelOutput


@dataclass
class BackboneOutput(ModelOutput):
    """The feature maps of a backbone, by key or by attribute.

    Attributes:
        feature_maps: The map of each stage that the config asks for, ``(batch, channels, height, width)``.
        hidden_states: The map of every stage, or None if nobody asked for them.
        attentions: The attention of every layer, or None if nobody asked for it or there is none.

    Example:
        >>> import torch
        >>> answer = BackboneOutput(feature_maps=(torch.zeros(1, 4, 8, 8),))
        >>> answer.feature_maps is answer["feature_maps"], answer.hidden_states
        (True, None)
    """

    __module__ = "nameplate_model"  # part of every exported program that answers one

    feature_maps: tuple[Tensor, ...]
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None
