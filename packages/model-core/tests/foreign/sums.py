"""What is in a tensor, in a form that any reader can be asked for: dtype, shape, and the hash of its bytes."""

from collections.abc import Mapping
from hashlib import sha256

import torch


def sums(tensors: Mapping[str, torch.Tensor]) -> dict[str, str]:
    """Return dtype, shape and SHA-256 of each tensor by name."""
    return {name: sum_of(tensor) for name, tensor in tensors.items()}


def sum_of(tensor: torch.Tensor) -> str:
    """Return dtype, shape and SHA-256 of one tensor."""
    plain = tensor.detach().cpu().contiguous().reshape(-1)
    data = plain.view(torch.uint8).numpy().tobytes() if plain.numel() else b""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)} {sha256(data).hexdigest()}"
