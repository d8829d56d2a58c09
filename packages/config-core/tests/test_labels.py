"""The names of classes: `id2label` and its inverse, `label2id`."""

import json
from dataclasses import field
from typing import Annotated, Literal

import pytest
from annotated_types import Ge

from nameplate_config import ConfigError, PreTrainedConfig


class Block(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    activation: Literal["relu", "gelu"] = "relu"
    dropout: float = 0.0


def test_label2id_follows_from_id2label():
    """The inverse of the labels is readable and saved, though never given."""
    config = Block(id2label={0: "cat", 1: "dog"})

    assert config.label2id == {"cat": 0, "dog": 1}
    assert (config.to_dict()["id2label"], config.to_dict()["label2id"]) == (
        {"0": "cat", "1": "dog"},
        {"cat": 0, "dog": 1},
    )


def test_there_are_two_labels_by_default():
    """A config without labels has the two that Transformers gives it, and writes neither map."""
    assert (Block().num_labels, Block().id2label) == (2, {0: "LABEL_0", 1: "LABEL_1"})
    assert Block().label2id == {"LABEL_0": 0, "LABEL_1": 1}
    assert {"id2label", "label2id"} & Block().to_dict().keys() == set()


def test_id2label_follows_from_label2id():
    """Giving only the inverse sets both, from code, from a file, as an override and by assignment."""
    labels = {"cat": 0, "dog": 1}
    assigned = Block()
    assigned.label2id = labels
    built = [Block(label2id=labels), Block.from_dict({"label2id": labels}), Block.from_dict({}, label2id=labels)]

    assert [config.id2label for config in [assigned, *built]] == [{0: "cat", 1: "dog"}] * 4


def test_labels_can_be_removed():
    """Assigning None to either map brings the default labels back."""
    config = Block(id2label={0: "cat"})
    config.label2id = None

    assert config == Block()
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}


def test_both_maps_may_override():
    """`from_dict` takes both maps, as tutorials of Transformers pass them."""
    config = Block.from_dict({"id2label": {"0": "a"}, "label2id": {"a": 0}}, id2label={0: "cat"}, label2id={"cat": 0})

    assert config.id2label == {0: "cat"}


@pytest.mark.parametrize(
    "labels",
    [
        {0: "cat", 1: "dog"},
        {-1: "ignored", 0: "cat"},
        {0: "crane", 1: "dog", 2: "crane"},
        {},
    ],
    ids=str,
)
def test_labels_round_trip(labels):
    """Negative indices, one label for two indices and no labels at all come back."""
    config = Block(id2label=labels)

    assert Block.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_either_index_of_a_repeated_label_is_accepted():
    """A file of Transformers may name either index of a label that two classes share."""
    values = {"id2label": {"0": "crane", "1": "crane"}, "label2id": {"crane": 0}}

    assert Block.from_dict(values).id2label == {0: "crane", 1: "crane"}


@pytest.mark.parametrize(
    ("label2id", "problem"),
    [
        ({"cat": 1}, "the inverse of id2label, found {'cat': 1}. Remove it: it is derived."),
        ({"cat": 0, "dog": 1}, "the inverse of id2label, found {'cat': 0, 'dog': 1}. Remove it: it is derived."),
        ({"cat": [0]}, "a dict from a str to an int, found {'cat': [0]}"),
        ("cat", "a dict from a str to an int, found 'cat'"),
    ],
)
def test_label_maps_must_agree(label2id, problem):
    """A file whose maps contradict each other is refused."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"id2label": {"0": "cat"}, "label2id": label2id})

    assert str(caught.value) == f"Block: 1 problem.\n  label2id: expected {problem}"


def test_a_map_of_labels_is_a_dict():
    """What is no map of labels is refused as such, whatever the other map says."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"id2label": "cat", "label2id": {"cat": 0}})

    assert str(caught.value) == "Block: 1 problem.\n  id2label: expected a dict or None, found 'cat'"


def test_labels_are_checked():
    """A label that is no text is named by its index."""
    with pytest.raises(ConfigError) as caught:
        Block.from_dict({"id2label": {"0": ["cat"]}, "label2id": {}})

    assert str(caught.value) == "Block: 1 problem.\n  id2label[0]: expected a str, found ['cat']"


def test_a_class_may_declare_its_own_label2id():
    """A field called `label2id` is an ordinary field."""

    class Own(PreTrainedConfig):
        label2id: dict[str, int] = field(default_factory=dict)

    assert Own.from_dict(Own(label2id={"a": 1, "b": 1}).to_dict()).label2id == {"a": 1, "b": 1}
