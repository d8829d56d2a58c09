"""What a model weighs and where it is: its parameters counted, its bytes, its device and its dtype."""

from collections.abc import Iterable, Iterator
from itertools import chain

import torch
from torch import Tensor, nn


class Measures(nn.Module):
    """The part of a model that answers what it weighs and where it is."""

    @property
    def device(self) -> torch.device:
        """The device of the first parameter, or of the first buffer; the CPU if there is neither."""
        first = next(_tensors(self), None)
        return torch.device("cpu") if first is None else first.device

    @property
    def dtype(self) -> torch.dtype:
        """The dtype of the first floating parameter, or of the first such buffer; else torch's default."""
        first = next((each for each in _tensors(self) if each.is_floating_point()), None)
        return torch.get_default_dtype() if first is None else first.dtype

    def num_parameters(self, *, only_trainable: bool = False, exclude_embeddings: bool = False) -> int:
        """Return the number of parameters, shared ones counted once.

        Args:
            only_trainable: Leave out those that are frozen.
            exclude_embeddings: Leave out the weights of embeddings, also where they are shared with other modules.

        Example:
            >>> from nameplate_config import PreTrainedConfig
            >>> from nameplate_model import PreTrainedModel
            >>> class Words(PreTrainedModel):
            ...     def __init__(self, config: PreTrainedConfig) -> None:
            ...         super().__init__(config)
            ...         self.embedding = nn.Embedding(100, 4)
            ...         self.linear = nn.Linear(4, 2)
            >>> words = Words(PreTrainedConfig())
            >>> words.num_parameters(), words.num_parameters(exclude_embeddings=True)
            (410, 10)
        """
        embeddings = {id(each.weight) for each in self.modules() if isinstance(each, nn.Embedding)}
        left_out = embeddings if exclude_embeddings else set()
        return sum(
            parameter.numel()
            for parameter in self.parameters()
            if id(parameter) not in left_out and (parameter.requires_grad or not only_trainable)
        )

    def get_memory_footprint(self, *, return_buffers: bool = True) -> int:
        """Return the bytes of memory that the parameters and buffers keep, shared memory counted once.

        Args:
            return_buffers: Count buffers too.
        """
        return _bytes(_tensors(self) if return_buffers else self.parameters())


def _tensors(module: nn.Module) -> Iterator[Tensor]:
    return chain(module.parameters(), module.buffers())


def _bytes(tensors: Iterable[Tensor]) -> int:
    """Return how many bytes tensors span in memory; those that overlap count once."""
    spans: dict[int, list[tuple[int, int]]] = {}
    for tensor in tensors:
        if tensor.numel():
            reach = sum((size - 1) * step for size, step in zip(tensor.shape, tensor.stride(), strict=True))
            start = int(tensor.storage_offset()) * tensor.itemsize
            span = (start, start + (int(reach) + 1) * tensor.itemsize)
            spans.setdefault(tensor.untyped_storage()._cdata, []).append(span)  # noqa: SLF001 - its identity
    return sum(map(_covered, spans.values()))


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    total = end = 0
    for start, stop in sorted(spans):
        total += max(0, stop - max(start, end))
        end = max(end, stop)
    return total
