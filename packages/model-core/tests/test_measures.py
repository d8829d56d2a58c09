"""What a model weighs and where it is."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel


def model(build: Callable[[PreTrainedModel], None]) -> PreTrainedModel:
    """Return a model that a function has filled."""

    class Filled(PreTrainedModel):
        def __init__(self, config: PreTrainedConfig) -> None:
            super().__init__(config)
            build(self)

    return Filled(PreTrainedConfig())


def speller(self: PreTrainedModel) -> None:
    """Fill a model with an embedding, a head that shares its weight, a frozen scale and a buffer."""
    self.embedding = nn.Embedding(10, 4)
    self.layer = nn.Linear(4, 4)
    self.head = nn.Linear(4, 10)
    self.head.weight = self.embedding.weight
    self.scale = nn.Parameter(torch.ones(3), requires_grad=False)
    self.register_buffer("steps", torch.zeros(5, dtype=torch.int64))


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, 40 + 20 + 10 + 3),
        ({"only_trainable": True}, 40 + 20 + 10),
        ({"exclude_embeddings": True}, 20 + 10 + 3),
        ({"only_trainable": True, "exclude_embeddings": True}, 20 + 10),
    ],
)
def test_parameters_are_counted(options: dict[str, bool], expected: int):
    """A shared parameter counts once; frozen ones and embeddings can be left out, shared with a head or not."""
    assert model(speller).num_parameters(**options) == expected


def test_bytes_are_counted():
    """The memory is that of parameters and buffers, in their own dtypes."""
    spelling = model(speller)

    assert spelling.get_memory_footprint() == 73 * 4 + 5 * 8
    assert spelling.get_memory_footprint(return_buffers=False) == 73 * 4
    assert spelling.bfloat16().get_memory_footprint() == 73 * 2 + 5 * 8


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        (lambda base: (base, base.t()), 48),
        (lambda base: (base[:2], base[1:]), 48),
        (lambda base: (base[:1], base[2:]), 32),
        (lambda base: (base.t(), base.clone()), 96),
        (lambda base: (base[:0], torch.zeros(())), 4),
        (lambda base: (base[:1, :1].expand(50, 50),), 4),
        (lambda base: (base.to("meta"),), 48),
    ],
    ids=["transposed", "overlapping", "apart", "copied", "empty", "expanded", "meta"],
)
def test_shared_memory_counts_once(tensors: Callable[[Tensor], tuple[Tensor, ...]], expected: int):
    """What counts is the memory that is kept: views of it, overlapping or not, do not add to it."""

    def build(self: PreTrainedModel) -> None:
        for number, tensor in enumerate(tensors(torch.zeros(3, 4))):
            self.register_buffer(f"part{number}", tensor)

    assert model(build).get_memory_footprint() == expected


def integers(self: PreTrainedModel) -> None:
    """Give a model a first parameter that is no floating one."""
    self.index = nn.Parameter(torch.zeros(2, dtype=torch.int32), requires_grad=False)


PLACES = {
    "parameters": (speller, torch.float32),
    "integers before": (lambda self: integers(self) or speller(self), torch.float32),
    "half precision": (lambda self: speller(self) or self.half(), torch.float16),
    "buffers alone": (lambda self: self.register_buffer("table", torch.zeros(2, dtype=torch.float64)), torch.float64),
    "integers alone": (integers, torch.float32),
    "nothing": (lambda _: None, torch.float32),
}


@pytest.mark.parametrize(("build", "dtype"), PLACES.values(), ids=PLACES)
def test_a_model_says_where_it_is(build: Callable[[PreTrainedModel], None], dtype: torch.dtype):
    """Device and dtype are those of the first parameter, or buffer; a model without either has an answer too."""
    filled = model(build)

    assert (filled.device, filled.dtype) == (torch.device("cpu"), dtype)


def test_the_device_is_that_of_the_tensors():
    """A model that was moved says so; one without tensors is on the CPU."""
    assert model(speller).to("meta").device == torch.device("meta")
    with torch.device("meta"):
        assert model(lambda _: None).device == torch.device("cpu")
