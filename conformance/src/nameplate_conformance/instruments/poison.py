"""Filling a model with values that initialisation would not give.

A freshly built network is mostly constants: ones, zeros, counters. Saving and loading such a state proves little,
because a loader that loses those tensors and initialises them again looks right. Poison differs from the initial
values everywhere, keeps variances positive and activations alive, and depends only on a seed and the tensor's name.
"""

import zlib
from collections.abc import Callable

import torch
from torch import Tensor, nn

_LOW, _HIGH = 0.25, 0.75

_PATTERNS = {
    1: (0x7F, 0xFF, 0x80, 0x01, 0x7C, 0xFC, 0x7D, 0x83),
    2: (0x7C01, 0xFE55, 0x8000, 0x7C00, 0xFC00, 0x0001, 0x83FF, 0x7F80, 0xFF80, 0x7F81, 0x007F),
    4: (0x7F80_0001, 0xFFC1_2345, 0x8000_0000, 0x7F80_0000, 0xFF80_0000, 0x0000_0001, 0x807F_FFFF),
    8: (0x7FF0_0000_0000_0001, 0xFFF8_0000_DEAD_BEEF, 1 << 63, 0x7FF0 << 48, 0xFFF0 << 48, 1, 0x800F_FFFF_FFFF_FFFF),
}
"""By the width of a float in bytes: NaN with a payload, quiet and signalling; -0.0; both infinities; the smallest and
the largest subnormal. The narrow ones are those of each format with that width."""

_INTEGERS = {1: torch.int8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def poison(model: nn.Module, seed: int) -> int:
    """Overwrite every parameter and persistent buffer in place; return how many tensors were changed.

    Floating and complex values come from [0.25, 0.75]; integers and booleans are changed within their own range of
    values, because they may be indices.
    """
    return _overwrite(model, seed, _values)


def poison_with_oddities(model: nn.Module, seed: int) -> int:
    """Do what `poison` does, then put NaN with a payload, -0.0, infinities and subnormals into every floating tensor.

    A tensor that is too small for all of them gets some, another one others.
    """
    poison(model, seed)
    return _overwrite(model, seed, _with_oddities)


def any_bits(tensor: Tensor, seed: int) -> Tensor:
    """Return a tensor of the same shape and dtype whose bytes are drawn, whatever numbers they are."""
    generator = torch.Generator().manual_seed(seed)
    highest = 2 if tensor.dtype == torch.bool else 256
    size = tensor.numel() * tensor.element_size()
    drawn = torch.randint(0, highest, (size,), generator=generator, dtype=torch.uint8, device="cpu")
    return drawn.view(tensor.dtype).reshape(tensor.shape)


def seed_of(name: str, seed: int) -> int:
    """Return what decides the values of one tensor."""
    return zlib.crc32(f"{seed}/{name}".encode())


def _overwrite(model: nn.Module, seed: int, values: Callable[[Tensor, int], Tensor]) -> int:
    state = nn.Module.state_dict(model, keep_vars=True)
    done: set[int] = set()
    with torch.no_grad():
        for name, tensor in state.items():
            if tensor.data_ptr() in done and tensor.numel():
                continue
            done.add(tensor.data_ptr())
            tensor.copy_(values(tensor, seed_of(name, seed)))
    return len(done)


def _values(tensor: Tensor, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    if tensor.is_floating_point() or tensor.is_complex():
        drawn = torch.rand(tensor.shape, generator=generator, dtype=torch.float32, device="cpu")
        return (drawn * (_HIGH - _LOW) + _LOW).to(tensor.dtype)
    host = tensor.detach().cpu()
    if host.dtype == torch.bool:
        return ~host
    constant = host.numel() < 2 or bool((host == host.flatten()[0]).all())  # noqa: PLR2004 - nothing to permute
    return (host.long() + 1).to(host.dtype) if constant else host.flatten().flip(0).reshape(host.shape)


def _with_oddities(tensor: Tensor, seed: int) -> Tensor:
    """Return the values of a tensor with its first ones replaced, beginning at another oddity for each tensor."""
    host = tensor.detach().cpu().clone(memory_format=torch.contiguous_format)
    parts = torch.view_as_real(host) if host.is_complex() else host
    if not parts.is_floating_point():
        return host
    width = parts.element_size()
    patterns = [_signed(pattern, width) for pattern in _PATTERNS[width]]
    start, number = seed % len(patterns), min(len(patterns), parts.numel())
    chosen = (patterns[start:] + patterns[:start])[:number]
    raw = parts.reshape(-1).view(_INTEGERS[width])
    raw[:number] = torch.tensor(chosen, dtype=raw.dtype, device="cpu")
    odd = raw.view(parts.dtype).reshape(parts.shape)
    return torch.view_as_complex(odd) if host.is_complex() else odd


def _signed(pattern: int, width: int) -> int:
    return pattern - (1 << 8 * width) if pattern >> (8 * width - 1) else pattern
