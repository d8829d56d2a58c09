"""Answers are compared by name: with what is promised, with another batch, up to rounding."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor

from nameplate_conformance.architecture import Architecture
from nameplate_conformance.errors import LawBrokenError
from nameplate_conformance.instruments.answers import (
    another_batch,
    batch_size,
    close,
    named,
    require_close,
    require_promised,
)
from nameplate_conformance.zoo.reference import ZooConfig


@dataclass
class Answer:
    """An answer that is no dict."""

    y: Tensor
    features: list[Tensor]


def promising(outputs: Mapping[str, Any]) -> Architecture:
    """Return an architecture that promises these outputs for every config and all inputs."""
    return Architecture(config=ZooConfig, outputs=lambda *_: outputs)


def test_names_are_those_of_a_promise():
    """Keys of a dict and fields of a dataclass are names; a tensor alone is `output`."""
    one = torch.ones(1)

    assert list(named({"y": one, "features": [one, one]})) == ["y", "features[0]", "features[1]"]
    assert list(named(Answer(one, [one]))) == ["y", "features[0]"]
    assert list(named(one)) == ["output"]


def test_another_batch_of_several_rows_is_the_first():
    """Inputs with a row for each row of the first input are cut; the others stay."""
    inputs = {"x": torch.ones(3, 2), "mask": torch.ones(3), "scale": torch.ones(2), "rate": torch.tensor(1.0)}

    fewer = another_batch(inputs)

    assert {name: tuple(each.shape) for name, each in fewer.items()} == {
        "x": (1, 2),
        "mask": (1,),
        "scale": (2,),
        "rate": (),
    }


def test_another_batch_of_one_row_has_it_twice():
    """A single row is repeated."""
    assert another_batch({"x": torch.ones(1, 2)})["x"].shape == (2, 2)


def test_inputs_without_an_axis_are_no_batch():
    """A number, and nothing, have no rows."""
    assert batch_size({"rate": torch.tensor(1.0)}) == batch_size({}) == 0


@pytest.mark.parametrize(
    ("promised", "said"),
    [
        ({"y": ((2, 3), torch.float32)}, r"y: promised is \(\(2, 3\), .*\), answered \(\(2, 2\), .*\)"),
        ({"y": ((2, 2), torch.float64)}, "y: promised is .*float64.*, answered .*float32"),
        ({}, "y: promised is nothing, answered"),
        ({"y": ((2, 2), torch.float32), "z": ((1,), torch.bool)}, "z: promised is .*, answered nothing"),
    ],
)
def test_a_broken_promise_is_named(promised: Mapping[str, Any], said: str):
    """Another shape, another dtype, an output too many and one too few each break the law."""
    with pytest.raises(LawBrokenError, match=said):
        require_promised(promising(promised), "AutoModel", None, {}, {"y": torch.ones(2, 2)})


def test_a_kept_promise_counts_its_outputs():
    """Shapes may be promised as lists."""
    assert require_promised(promising({"output": ([2], torch.float32)}), "AutoModel", None, {}, torch.ones(2)) == 1


def test_an_answer_without_tensors_breaks_every_promise():
    """Even where nothing is promised, something must be answered."""
    with pytest.raises(LawBrokenError, match="without any tensor"):
        require_promised(Architecture(config=ZooConfig), "AutoModel", None, {}, {})


def test_close_allows_rounding_of_the_dtype():
    """Half a percent is rounding for bfloat16, and a difference for float32."""
    one, other = torch.tensor([1.0]), torch.tensor([1.005])

    assert close(one.bfloat16(), other.bfloat16())
    assert not close(one, other)


@pytest.mark.parametrize(
    "other", [torch.tensor([1, 3]), torch.tensor([1.0, 2.0]), torch.tensor([[1, 2]])], ids=["value", "dtype", "shape"]
)
def test_whole_numbers_are_close_only_if_equal(other: Tensor):
    """Integers do not round, and neither dtype nor shape may differ."""
    assert not close(torch.tensor([1, 2]), other)


def test_complex_numbers_and_nan_are_compared():
    """The same NaN is close to itself, and an imaginary part counts."""
    assert close(torch.tensor([float("nan")]), torch.tensor([float("nan")]))
    assert not close(torch.tensor([1 + 1j]), torch.tensor([1 + 2j]))


def test_answers_of_other_names_are_apart():
    """A lost output is named."""
    with pytest.raises(LawBrokenError, match=r"exported: it answers \[\], not \['y'\]"):
        require_close({"y": torch.ones(1)}, {}, "exported")
