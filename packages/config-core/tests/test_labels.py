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
    """Maps that contradict each other are refused in code."""
    with pytest.raises(ConfigError) as caught:
        Block(id2label={0: "cat"}, label2id=label2id)

    assert str(caught.value) == f"Block: 1 problem.\n  label2id: expected {problem}"


@pytest.mark.parametrize("label2id", [{"cat": 1}, {"cat": 0, "dog": 1}, {}])
def test_labels_overrule_their_inverse_in_a_file(label2id):
    """A file with a stale inverse, as Transformers writes it, is read with a warning."""
    with pytest.warns(UserWarning, match="contradicts itself: label2id is not the inverse of id2label, which counts"):
        config = Block.from_dict({"id2label": {"0": "cat"}, "label2id": label2id})

    assert config.label2id == {"cat": 0}


def test_two_labels_cannot_have_one_index():
    """An inverse that would lose a label is refused."""
    with pytest.raises(ConfigError, match="label2id: expected another index for each label"):
        Block.from_dict({"label2id": {"cat": 0, "dog": 0}})


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


# ---- how many there are


@pytest.mark.parametrize(
    ("given", "count", "labels"),
    [
        ({}, 2, {0: "LABEL_0", 1: "LABEL_1"}),
        ({"num_labels": 3}, 3, {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}),
        ({"num_labels": 0}, 0, {}),
        ({"id2label": {0: "cat"}}, 1, {0: "cat"}),
        ({"id2label": {}}, 0, {}),
        ({"id2label": None}, 2, {0: "LABEL_0", 1: "LABEL_1"}),
        ({"id2label": {0: "cat", 5: "dog"}, "num_labels": 2}, 2, {0: "cat", 5: "dog"}),
    ],
)
def test_labels_are_counted(given, count, labels):
    """`num_labels` is the number of labels, and makes numbered ones where there are none."""
    config = Block(**given)
    loaded = Block.from_dict(json.loads(config.to_json_string()))

    assert (config.num_labels, config.id2label) == (count, labels)
    assert (loaded.num_labels, loaded.id2label) == (count, labels)


def test_another_number_makes_numbered_labels():
    """Setting another number replaces the labels; setting the same one keeps them."""
    config = Block(id2label={0: "cat", 1: "dog"})
    config.num_labels = 2
    assert config.id2label == {0: "cat", 1: "dog"}

    config.num_labels = 1
    assert config.id2label == {0: "LABEL_0"}


def test_loading_may_change_the_number(tmp_path):
    """`from_pretrained(folder, num_labels=3)`, as people fine-tune, replaces the labels of the file."""
    Block(id2label={0: "cat", 1: "dog"}).save_pretrained(tmp_path)

    assert Block.from_pretrained(tmp_path, num_labels=3).id2label == {0: "LABEL_0", 1: "LABEL_1", 2: "LABEL_2"}
    assert Block.from_pretrained(tmp_path, num_labels=2).num_labels == 2


def test_a_number_that_contradicts_labels_is_refused_in_code():
    """A caller who gives both must mean the same."""
    with pytest.raises(ConfigError) as caught:
        Block(id2label={0: "cat"}, num_labels=2)

    assert str(caught.value) == (
        "Block: 1 problem.\n  num_labels: expected 1, the number of labels, found 2. Leave it out: it follows."
    )


def test_a_number_that_contradicts_labels_counts_in_a_file(tmp_path):
    """A file in which both stand is read with a warning, as Transformers reads it: the number counts."""
    (tmp_path / "config.json").write_text('{"id2label": {"0": "cat"}, "num_labels": 2}')
    with pytest.warns(
        UserWarning, match=r"contradicts itself: num_labels is 2, which counts; the 1 labels are dropped\."
    ):
        config = Block.from_pretrained(tmp_path)

    assert (config.num_labels, config.to_dict()) == (
        2,
        {"model_type": "block", "layers": [2, 2], "width": 8, "activation": "relu", "dropout": 0.0},
    )


@pytest.mark.parametrize("count", [-1, 1.5, "3", True, 10**9])
def test_a_number_of_labels_is_small_and_whole(count):
    """A billion labels are refused before they are made, from code, from a file and by assignment."""
    config = Block()
    for attempt in (
        lambda: Block(num_labels=count),
        lambda: Block.from_dict({"num_labels": count}),
        lambda: setattr(config, "num_labels", count),
    ):
        with pytest.raises(ConfigError, match=r"num_labels: expected an int from 0 to 50,000, found"):
            attempt()


def test_labels_made_on_the_way_can_be_changed():
    """Labels that nobody named are there to be changed, and are saved once they differ."""
    config = Block()
    config.id2label[0] = "cat"

    assert Block.from_dict(config.to_dict()).id2label == {0: "cat", 1: "LABEL_1"}
    assert "id2label" not in Block().to_dict()


class Counted(PreTrainedConfig):
    """A config with a field of its own for the number of classes."""

    model_type = "counted"
    attribute_map = {"num_labels": "num_classes"}

    num_classes: int = 5


class Passing(PreTrainedConfig):
    """A config whose `__init__` takes the number and passes it on, as many do for Transformers."""

    def __init__(self, num_labels=4, **kwargs):
        super().__init__(num_labels=num_labels, **kwargs)


@pytest.mark.parametrize(("kind", "default"), [(Counted, 5), (Passing, 4)])
def test_a_class_may_count_in_a_field(kind, default):
    """Labels follow the field: numbered ones are made from it, named ones must agree, and alone they set it."""
    assert (kind().num_labels, len(kind().id2label), "id2label" in kind().to_dict()) == (default, default, False)
    assert kind(id2label={0: "cat"}).num_labels == 1
    assert kind.from_dict(kind(num_labels=7).to_dict()).num_labels == 7

    config = kind()
    assert config.id2label[3] == "LABEL_3"
    config.num_labels = 2
    assert config.id2label == {0: "LABEL_0", 1: "LABEL_1"}


@pytest.mark.parametrize("kind", [Counted, Passing])
def test_names_and_a_counting_field_must_agree(kind):
    """Labels for other classes than the field counts are an error, from code and by assignment."""
    with pytest.raises(
        ConfigError, match=r"id2label: expected one label for each of the 3 classes, found labels for 0"
    ):
        kind(num_labels=3, id2label={0: "cat"})
    config = kind(id2label={0: "cat"})
    with pytest.raises(ConfigError, match="id2label: expected one label for each of the 2 classes"):
        config.num_labels = 2

    assert config.num_labels == 1


def test_a_billion_classes_have_no_labels():
    """A class that counts without a bound makes no labels beyond what a file may hold; all else works."""
    config = Counted(num_classes=10**9)

    assert Counted.from_dict(config.to_dict()).freeze() == config
    with pytest.raises(ConfigError, match="id2label: expected at most 50,000 labels, found 1,000,000,000 classes"):
        config.id2label  # noqa: B018 - reading it is what is refused
