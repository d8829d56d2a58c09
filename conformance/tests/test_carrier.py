"""What laws add to an architecture: carriers, ties, odd values."""

import pytest
import torch
from torch import nn

from nameplate_conformance.instruments.bits import bits, state_bits
from nameplate_conformance.instruments.carrier import carrying, judging
from nameplate_conformance.instruments.poison import any_bits, poison, poison_with_oddities
from nameplate_conformance.instruments.sharing import ties, untied
from nameplate_conformance.judging.case import Case
from nameplate_conformance.zoo.reference import ZooConfig, ZooModel, reference

CASE = Case(reference(), "AutoModel", {"width": 4}, torch.device("cpu"))


def test_a_carrier_has_more():
    """The subclass keeps name, config class and tensors of its parent, and has what was registered."""
    case = carrying(CASE, lambda model: model.register_buffer("more", torch.zeros(2)), note="seen")
    model = case.model()

    assert isinstance(model, ZooModel)
    assert (type(model).__name__, type(model).config_class, type(model).note) == ("ZooModel", ZooConfig, "seen")
    assert set(state_bits(model)) == {*state_bits(CASE.model()), "more"}


def test_a_carrier_leaves_the_case_alone():
    """The case that it was made from judges the class that it judged."""
    carrying(CASE, lambda model: model.register_buffer("more", torch.zeros(2)))

    assert CASE.model_class is ZooModel


def test_another_class_can_be_judged():
    """The class of a case is replaced, the rest stays."""
    other = type("Other", (ZooModel,), {})

    assert judging(CASE, other).model_class is other
    assert judging(CASE, other).config().width == 4


def test_ties_are_found_by_memory():
    """Two names of one object, and two objects over the same memory, are ties; a view of a part is none."""
    model = nn.Module()
    model.a = nn.Parameter(torch.ones(4))
    model.b = model.a
    model.c = nn.Parameter(model.a.detach())
    model.register_buffer("part", model.a.detach()[:2])
    model.register_buffer("alone", torch.ones(4))

    assert ties(model) == {frozenset("abc")}
    assert untied(model) == ["alone"]


def test_empty_tensors_are_not_tied_by_their_address():
    """Tensors without elements may have the same address and are still two."""
    model = nn.Module()
    model.a, model.b = nn.Parameter(torch.empty(0)), nn.Parameter(torch.empty(0))

    assert ties(model) == set()


FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64, torch.float8_e5m2)


@pytest.mark.parametrize("dtype", FLOATS)
def test_oddities_are_odd(dtype: torch.dtype):
    """Every floating dtype gets NaN, -0.0, both infinities and a subnormal."""
    model = nn.Module()
    model.register_buffer("x", torch.zeros(40, dtype=dtype))
    poison_with_oddities(model, 0)
    x = model.get_buffer("x")
    values = torch.view_as_real(x).flatten() if x.is_complex() else x
    wide = values.to(torch.float64)

    assert bool(wide.isnan().any())
    assert {float("inf"), float("-inf")} <= set(wide.tolist())
    assert any(value == 0 and signed for value, signed in zip(wide.tolist(), wide.signbit().tolist(), strict=True))
    assert bool(((wide != 0) & (wide.abs() < torch.finfo(dtype).smallest_normal)).any())


def test_oddities_leave_integers_alone():
    """Integers and booleans are poisoned, and nothing more: they may be indices."""
    odd, plain = nn.Module(), nn.Module()
    for model in (odd, plain):
        model.register_buffer("n", torch.arange(5))
        model.register_buffer("flag", torch.tensor([True, False]))
    poison_with_oddities(odd, 3)
    poison(plain, 3)

    assert state_bits(odd) == state_bits(plain)


@pytest.mark.parametrize("dtype", [torch.uint16, torch.uint64, torch.bool, torch.int8])
def test_constants_of_every_integer_dtype_are_poisoned(dtype: torch.dtype):
    """A constant tensor of integers is another one afterwards, also where torch has no arithmetic for its dtype."""
    model = nn.Module()
    model.register_buffer("x", torch.zeros(3, dtype=dtype))
    poison(model, 0)

    assert bits(model.get_buffer("x")) != bits(torch.zeros(3, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.complex64, torch.float8_e4m3fn])
def test_any_bits_have_the_shape_and_dtype(dtype: torch.dtype):
    """Drawn bytes make a tensor like the given one, the same for the same seed and another for another."""
    like = torch.zeros((4, 5), dtype=dtype)

    assert (any_bits(like, 1).dtype, any_bits(like, 1).shape) == (dtype, like.shape)
    assert bits(any_bits(like, 1)) == bits(any_bits(like, 1)) != bits(any_bits(like, 2))
