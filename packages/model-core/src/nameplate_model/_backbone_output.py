"""What a backbone answers: a dict whose entries are attributes too, so that it reads like Transformers' own."""

from typing import Any

from torch import Tensor
from torch.utils import _pytree as pytree  # the only way to tell torch.export of a class; Transformers takes it too


class BackboneOutput(dict[str, Any]):
    """The feature maps of a backbone, by key or by attribute.

    Example:
        >>> import torch
        >>> answer = BackboneOutput(feature_maps=(torch.zeros(1, 4, 8, 8),))
        >>> answer.feature_maps is answer["feature_maps"], answer.hidden_states
        (True, None)
    """

    @property
    def feature_maps(self) -> tuple[Tensor, ...]:
        """The map of each stage that the config asks for, ``(batch, channels, height, width)``."""
        maps: tuple[Tensor, ...] = self["feature_maps"]
        return maps

    @property
    def hidden_states(self) -> tuple[Tensor, ...] | None:
        """The map of every stage, or None if nobody asked for them."""
        return self.get("hidden_states")

    @property
    def attentions(self) -> tuple[Tensor, ...] | None:
        """The attention of every layer, or None if nobody asked for it or there is none."""
        return self.get("attentions")


def _taken_apart(output: BackboneOutput) -> tuple[list[Any], list[str]]:
    return list(output.values()), list(output)


def _put_together(values: Any, names: list[str]) -> BackboneOutput:
    return BackboneOutput(zip(names, values, strict=True))


pytree.register_pytree_node(
    BackboneOutput, _taken_apart, _put_together, serialized_type_name="nameplate_model.BackboneOutput"
)
