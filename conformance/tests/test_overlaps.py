"""Overlapping tensors are found by where they lie, whatever they are called."""

import torch
from torch import nn

from nameplate_conformance.instruments.overlaps import by_memory, in_common, overlapping, same_objects


class Views(nn.Module):
    """Has a buffer, its first half, its second half, one of its own, and one without elements."""

    def __init__(self):
        super().__init__()
        whole = torch.zeros(4)
        self.register_buffer("whole", whole)
        self.register_buffer("left", whole[:2])
        self.register_buffer("right", whole[2:])
        self.register_buffer("alone", torch.zeros(4))
        self.register_buffer("empty", whole[:0])


def test_views_overlap_with_the_whole():
    """Halves that do not touch each other are in one group through the whole that both lie in."""
    assert overlapping(Views()) == {frozenset({"whole", "left", "right"})}


def test_neighbours_do_not_overlap():
    """Two halves of one piece of memory without the whole have nothing in common."""
    halves = Views()
    del halves.whole

    assert overlapping(halves) == set()


def test_views_are_other_objects():
    """Only a tensor that is registered twice is one object under two names."""
    tied = Views()
    tied.register_buffer("again", tied.alone)

    assert same_objects(tied) == {frozenset({"alone", "again"})}


def test_two_modules_have_in_common_what_one_lent():
    """A tensor of one module that another was given is found by the name that the first has for it."""
    one, other = Views(), nn.Module()
    other.register_buffer("borrowed", one.right)

    assert in_common(one, other) == ["whole", "right"]
    assert in_common(one, Views()) == []


def test_tensors_without_memory_overlap_nothing():
    """On the meta device every address is zero, which makes no two tensors one."""
    assert overlapping(nn.Linear(2, 2, device="meta")) == set()


def test_names_are_sorted_by_memory():
    """Every name is listed once, beside those that it overlaps."""
    module = Views()

    listed = by_memory(dict(module.named_buffers()), overlapping(module))

    assert listed == [["alone"], ["empty"], ["left", "right", "whole"]]
