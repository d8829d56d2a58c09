"""Modules that know no library of checkpoints: the ones that the golden folders hold, and that tests fill again."""

import torch
from torch import nn


class Speaker(nn.Module):
    """A word in, the next word out; the two tables of words are one tensor, as in most language models."""

    def __init__(self, words: int = 12, width: int = 4) -> None:
        super().__init__()
        furnish(self, words, width)


def furnish(module: nn.Module, words: int, width: int) -> None:
    """Give a module the parts of a `Speaker`."""
    module.words = nn.Embedding(words, width)
    module.norm = nn.BatchNorm1d(width)
    module.mix = nn.Linear(width, width)
    module.out = nn.Linear(width, words, bias=False)
    module.out.weight = module.words.weight


class Odd(nn.Module):
    """What loaders trip over: old names of scales, buffers of every kind, one that no file holds, a 0-dim one."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.randn(width))
        self.beta = nn.Parameter(torch.randn(width))
        self.inner = nn.ModuleDict({"gamma_1": nn.Linear(width, width, bias=False)})
        self.scale = nn.Parameter(torch.tensor(0.5, dtype=torch.float64))
        self.register_buffer("mask", torch.tensor([True, False, True]))
        self.register_buffer("counts", torch.arange(5, dtype=torch.int16))
        self.register_buffer("empty", torch.zeros(0, 3))
        self.register_buffer("sixteen", torch.randn(3).to(torch.float16))
        self.register_buffer("grid", torch.linspace(0, 1, width), persistent=False)


def fill(module: nn.Module, seed: int) -> nn.Module:
    """Give every floating tensor values that no construction gives, the running statistics too; return the module."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in dict.fromkeys([*module.parameters(), *module.buffers()]):
            if tensor.is_floating_point():
                tensor.copy_(torch.rand(tensor.shape, generator=generator, dtype=torch.float64) + 0.25)
            elif tensor.dtype == torch.int64:
                tensor.copy_(torch.randint(1, 1 << 40, tensor.shape, generator=generator))
    return module
