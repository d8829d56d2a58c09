"""Configs that cannot change any more: `freeze`, and the hash that goes with it."""

import copy
import pickle
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import field
from typing import Any, NamedTuple

import pytest

from nameplate_config import FrozenConfigError, PreTrainedConfig


class Leaf(PreTrainedConfig):
    """A config that is held by another."""

    model_type = "leaf"

    sizes: list[int] = field(default_factory=list)


class Span(NamedTuple):
    """A named tuple with a list."""

    sizes: list[int]


class Tree(PreTrainedConfig):
    """A config with a container of each kind that can change."""

    model_type = "tree"
    attribute_map = {"hidden": "width"}

    width: int = 8
    layers: list[list[int]] = [[1, 2], [3]]
    names: dict[str, list[str]] = {"a": ["b"]}
    order: OrderedDict[str, int] = OrderedDict(b=1, a=2)
    kinds: set[int] = {1, 2}
    leaf: Leaf = Leaf(sizes=[1])
    leaves: list[Leaf] = [Leaf(sizes=[1])]
    leaf_of: dict[str, Leaf | None] = {"a": Leaf()}
    span: Span = Span([1])
    either: list[int] | tuple[int, ...] = [1]


def frozen() -> Tree:
    """Return a frozen config with an extra."""
    return Tree.from_dict({"note": {"deep": [1]}}).freeze()


CHANGES: list[Callable[[Any], Any]] = [
    lambda config: setattr(config, "width", 16),
    lambda config: setattr(config, "hidden", 16),
    lambda config: setattr(config, "note", 1),
    lambda config: setattr(config, "num_labels", 3),
    lambda config: setattr(config.leaf, "sizes", []),
    lambda config: delattr(config, "note"),
    lambda config: config.update({"width": 16}),
    lambda config: config.layers.append([4]),
    lambda config: config.layers[0].append(4),
    lambda config: config.layers.__setitem__(0, []),
    lambda config: config.layers.sort(),
    lambda config: config.names.update(c=[]),
    lambda config: config.names["a"].clear(),
    lambda config: config.names.pop("a"),
    lambda config: config.order.move_to_end("b"),
    lambda config: config.order.popitem(),
    lambda config: config.kinds.add(3),
    lambda config: config.kinds.discard(1),
    lambda config: config.leaf.sizes.extend([2]),
    lambda config: setattr(config.leaves[0], "sizes", []),
    lambda config: config.leaves[0].sizes.append(2),
    lambda config: setattr(config.leaf_of["a"], "sizes", [2]),
    lambda config: config.span.sizes.append(2),
    lambda config: config.note["deep"].append(2),
    lambda config: config.id2label.clear(),
]


@pytest.mark.parametrize("change", CHANGES, ids=range(len(CHANGES)))
def test_nothing_of_a_frozen_config_can_change(change: Callable[[Any], Any]):
    """Neither its fields, aliases, extras and labels, nor the containers and configs inside it."""
    config = frozen()
    before = config.to_json_string()
    with pytest.raises(FrozenConfigError):
        change(config)

    assert config.to_json_string() == before


def test_the_refusal_says_what_to_do_instead():
    """Both messages name the way out: a changed copy."""
    with pytest.raises(FrozenConfigError, match=r"^Tree is frozen\. Change a copy: config\.copy\(width=\.\.\.\)\.$"):
        frozen().width = 1
    with pytest.raises(FrozenConfigError, match=r"^this list belongs to a frozen config\. Change a copy: "):
        frozen().layers.append([])


def test_a_frozen_config_is_the_same_config():
    """Freezing changes no value: the config equals what it was, and has the same file, repr and types."""
    plain, fixed = Tree.from_dict({"note": {"deep": [1]}}), frozen()

    assert fixed == plain
    assert (fixed.to_json_string(), repr(fixed)) == (plain.to_json_string(), repr(plain))
    assert isinstance(fixed.layers, list)
    assert isinstance(fixed.order, OrderedDict)


def test_equal_frozen_configs_are_one_key():
    """The hash agrees with equality, which sees every field."""
    seen = {frozen(): "first", frozen(): "second", frozen().copy(width=9).freeze(): "other"}

    assert list(seen.values()) == ["second", "other"]


def test_a_copy_is_not_frozen():
    """`copy` returns a config that can change, with the builtin containers, and leaves the frozen one alone."""
    config = frozen()
    other = config.copy()
    other.layers[0].append(4)
    other.leaf.sizes.append(5)

    assert (type(other.layers), type(other.names), type(other.kinds)) == (list, dict, set)
    assert (config.layers, config.leaf.sizes) == ([[1, 2], [3]], [1])


@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy, lambda config: pickle.loads(pickle.dumps(config))])
def test_a_clone_of_a_frozen_config_is_frozen(clone: Callable[[Any], Any]):
    """Copied by the copy and pickle modules, it stays what it is."""
    config = frozen()
    twin = clone(config)

    assert (twin, hash(twin)) == (config, hash(config))
    with pytest.raises(FrozenConfigError):
        twin.layers[0].append(1)
