"""Filling a model with values that initialisation would not give.

A freshly built network is mostly constants: ones, zeros, counters. Saving and loading such a state proves little,
because a loader that loses those tensors and initialises them again looks right. Poison differs from the initial
values everywhere, keeps variances positive and activations alive, and depends only on a seed and the tensor's name.
"""

import zlib

import torch
from torch import Tensor, nn

_LOW, _HIGH = 0.25, 0.75


def poison(model: nn.Module, seed: int) -> int:
    """Overwrite every parameter and persistent buffer in place; return how many tensors were changed.

    Floating and complex values come from [0.25, 0.75]; integers and booleans are changed within their own range of
    values, because they may be indices.
    """
    state = nn.Module.state_dict(model, keep_vars=True)
    done: set[int] = set()
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.data_ptr() in done and tensor.numel():
                continue
            done.add(tensor.data_ptr())
            tensor.copy_(_values(tensor, zlib.crc32(f"{seed}/{name}".encode())))
    return len(done)


def _values(tensor: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if tensor.is_floating_point() or tensor.is_complex():
        drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float32)
        return (drawn * (_HIGH - _LOW) + _LOW).to(tensor.dtype)
    host = tensor.detach().cpu()
    if host.dtype == torch.bool:
        return ~host
    constant = host.numel() < 2 or bool((host == host.flatten()[0]).all())  # noqa: PLR2004 - nothing to permute
    return host + 1 if constant else host.flatten().flip(0).reshape(host.shape)
