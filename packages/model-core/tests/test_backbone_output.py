"""`BackboneOutput`: a dict and an object at once, which torch takes apart and puts together again."""

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from nameplate_model import BackboneOutput

MAPS = (torch.rand(1, 2, 4, 4), torch.rand(1, 4, 2, 2))


class Pyramid(nn.Module):
    """Two maps of an image."""

    def forward(self, image: Tensor) -> BackboneOutput:
        """Return the image and its half."""
        return BackboneOutput(feature_maps=(image * 2, image[..., ::2, ::2]), hidden_states=(image,))


def same(one: BackboneOutput, other: BackboneOutput) -> bool:
    """Whether two outputs have the same type, keys and bits."""
    pairs = zip(one.feature_maps, other.feature_maps, strict=True)
    return type(one) is type(other) and list(one) == list(other) and all(torch.equal(*pair) for pair in pairs)


def test_entries_are_attributes():
    """Each entry is read by its key or as an attribute; what was not asked for is None and no entry."""
    output = BackboneOutput(feature_maps=MAPS)

    assert output.feature_maps is output["feature_maps"] is MAPS
    assert (output.hidden_states, output.attentions, list(output)) == (None, None, ["feature_maps"])
    assert BackboneOutput(feature_maps=MAPS, hidden_states=MAPS).hidden_states is MAPS


@pytest.mark.parametrize("way", [copy.copy, copy.deepcopy, lambda each: pickle.loads(pickle.dumps(each))])
def test_copies_are_outputs(way: Any):
    """A copy, also one that was pickled, is an output with the same maps."""
    assert same(way(BackboneOutput(feature_maps=MAPS)), BackboneOutput(feature_maps=MAPS))


def test_torch_takes_it_apart():
    """Every tensor inside is a leaf to torch, and what is put together is an output again."""
    output = BackboneOutput(feature_maps=MAPS, hidden_states=MAPS[:1])
    leaves, spec = pytree.tree_flatten(output)

    assert [id(each) for each in leaves] == [id(each) for each in (*MAPS, MAPS[0])]
    assert same(pytree.tree_unflatten(leaves, spec), output)


def test_it_is_exported_and_compiled():
    """A module that answers it is exported and compiled whole."""
    image = torch.rand(1, 2, 4, 4)
    program = torch.export.export(Pyramid(), (image,))

    assert same(program.module()(image), Pyramid()(image))
    assert same(torch.compile(Pyramid(), backend="eager", fullgraph=True)(image), Pyramid()(image))
