"""Configs of backbones: `out_features` and `out_indices` agree, whoever says one of them, and are checked."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_config import BackboneConfigMixin, ConfigError, PreTrainedConfig

STAGES = ("stem", "stage1", "stage2", "stage3")


class Tower(BackboneConfigMixin):
    """A config whose stages follow from a field."""

    model_type = "tower"

    depth: int = 3

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The stem and the stages."""
        return ("stem", *(f"stage{number + 1}" for number in range(self.depth)))


class Plain(BackboneConfigMixin, PreTrainedConfig):
    """A config with an `__init__` of its own, as one for Transformers is written."""

    model_type = "plain"

    def __init__(self, depth=3, out_features=None, out_indices=None, **kwargs):
        self.depth = depth
        self.stage_names = ["stem", *(f"stage{number + 1}" for number in range(depth))]
        super().__init__(out_features=out_features, out_indices=out_indices, **kwargs)


both_styles = pytest.mark.parametrize("cls", [Tower, Plain])


def said(config: BackboneConfigMixin) -> tuple[Any, Any]:
    """Return both fields."""
    return config.out_features, config.out_indices


def problem(**values: Any) -> str:
    """Return what is wrong with a config."""
    with pytest.raises(ConfigError) as caught:
        Tower(**values)
    (only,) = caught.value.problems
    return str(only)


@both_styles
def test_without_a_word_the_last_stage_is_meant(cls: type[Any]):
    """Neither field given, both name the last stage."""
    assert said(cls()) == (("stage3",), (3,))
    assert said(cls(depth=5)) == (("stage5",), (5,))


@both_styles
def test_one_field_follows_from_the_other(cls: type[Any]):
    """Names give numbers and numbers give names; negative ones are kept as they were given."""
    assert said(cls(out_features=["stage1", "stage3"])) == (("stage1", "stage3"), (1, 3))
    assert said(cls(out_indices=[0, -1])) == (("stem", "stage3"), (0, -1))
    assert said(cls(out_features=["stem"], out_indices=(-4,))) == (("stem",), (-4,))


@both_styles
def test_assigning_one_replaces_the_other(cls: type[Any]):
    """Whatever was said before, the field that is assigned counts; a value that is refused changes neither."""
    config = cls(out_features=["stem"], out_indices=[0])
    config.out_indices = [1, 2]
    assert said(config) == (("stage1", "stage2"), (1, 2))
    config.out_features = ["stage3"]
    assert said(config) == (("stage3",), (3,))
    with pytest.raises(ConfigError):
        config.out_indices = [9]
    assert said(config) == (("stage3",), (3,))


def test_none_leaves_it_to_the_other():
    """Unsetting one field keeps what the other says."""
    config = Tower(out_indices=(1,))
    config.out_features = None
    assert said(config) == (("stage1",), (1,))
    config.out_indices = None
    assert said(config) == (("stage3",), (3,))


@both_styles
def test_a_load_may_ask_for_other_stages(cls: type[Any], tmp_path: Path):
    """An override of one field replaces both of the file; without one, both come back as they were."""
    config = cls(out_features=["stem", "stage2"])
    config.save_pretrained(tmp_path)

    assert cls.from_pretrained(tmp_path) == config
    assert said(cls.from_pretrained(tmp_path)) == (("stem", "stage2"), (0, 2))
    assert said(cls.from_pretrained(tmp_path, out_indices=(1, -1))) == (("stage1", "stage3"), (1, -1))
    assert said(config.copy(out_indices=[1])) == (("stage1",), (1,))


def test_a_file_of_transformers_is_read(tmp_path: Path):
    """Transformers writes both fields and the names of the stages; the names are not kept."""
    values = {"model_type": "tower", "out_features": ["stage2"], "out_indices": [2], "stage_names": list(STAGES)}
    (tmp_path / "config.json").write_text(json.dumps(values))
    config = Tower.from_pretrained(tmp_path)

    assert said(config) == (("stage2",), (2,))
    assert config.to_dict() == {"model_type": "tower", "depth": 3, "out_features": ["stage2"], "out_indices": [2]}


def test_a_class_may_have_other_stages_by_default():
    """A derived class says another default for one field, and what is given for either replaces it."""

    class Two(Tower):
        out_indices = (1, 2)

    assert said(Two()) == (("stage1", "stage2"), (1, 2))
    assert said(Two(out_features=["stem"])) == (("stem",), (0,))
    assert said(Two(out_indices=None)) == (("stage3",), (3,))


def test_configs_are_equal_that_mean_the_same_stages():
    """Whether one field was said, the other, both or none, does not matter; how numbers count does."""
    same = [
        Tower(),
        Tower(out_features=["stage3"]),
        Tower(out_indices=[3]),
        Tower(out_features=["stage3"], out_indices=[3]),
    ]

    assert all(each == Tower() and each.diff(Tower()) == {} for each in same)
    assert len({each.freeze() for each in same}) == 1
    assert Tower(out_indices=[-1]) != Tower()
    assert Tower(out_indices=[2]).diff(Tower()) == {
        "out_features": (("stage2",), ("stage3",)),
        "out_indices": ((2,), (3,)),
    }


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (
            {"out_features": ["stage4"]},
            (
                "out_features: expected only stages of the network: stem, stage1, stage2, stage3, found 'stage4'. "
                "Did you mean 'stage3'?"
            ),
        ),
        ({"out_features": ["stem", "stem"]}, "out_features: expected each stage once, found ('stem', 'stem')"),
        (
            {"out_features": ["stage2", "stem"]},
            "out_features: expected the order of the network, ('stem', 'stage2'), found ('stage2', 'stem')",
        ),
        ({"out_features": []}, "out_features: expected at least one stage, found ()"),
        ({"out_indices": [4]}, "out_indices: expected numbers from -4 to 3, found 4"),
        ({"out_indices": [-5]}, "out_indices: expected numbers from -4 to 3, found -5"),
        ({"out_indices": [3, -1]}, "out_indices: expected each stage once, found (3, -1)"),
        ({"out_indices": [-1, 0]}, "out_indices: expected the order of the network, (0, -1), found (-1, 0)"),
        (
            {"out_features": ["stem"], "out_indices": [1]},
            (
                "out_features: expected ('stage1',), which out_indices means, found ('stem',). "
                "Give one of out_features and out_indices: the other follows."
            ),
        ),
    ],
)
def test_what_is_no_choice_of_stages_is_refused(values: dict[str, Any], expected: str):
    """Stages that do not exist, come twice, are out of order or contradict each other are problems."""
    assert problem(**values) == expected


def test_fewer_stages_than_are_asked_for():
    """The stages of the config itself count, also when they change."""
    config = Tower(out_indices=(3,))
    with pytest.raises(ConfigError, match=r"out_indices: expected numbers from -2 to 1, found 3"):
        config.depth = 1
    assert config.depth == 3


def test_stages_that_are_a_field_are_saved(tmp_path: Path):
    """A class may declare its stages as a field: they come back from its file, and decide what may be asked for."""

    class Named(BackboneConfigMixin):
        model_type = "named"
        stage_names: tuple[str, ...] = ("a", "b")

    Named(stage_names=("x", "y", "z"), out_features=("z",)).save_pretrained(tmp_path)
    loaded = Named.from_pretrained(tmp_path)

    assert (loaded.stage_names, loaded.out_indices) == (("x", "y", "z"), (2,))


def test_a_class_without_stages_says_so():
    """A class that never says its stages is an error of ours that names the property."""

    class Nothing(BackboneConfigMixin):
        model_type = "nothing"

    with pytest.raises(ConfigError, match=r"Nothing does not say its stages\. Add a property stage_names"):
        Nothing().out_features  # noqa: B018 - reading it is the test


@given(st.lists(st.integers(-4, 3), min_size=1, max_size=4, unique_by=lambda index: index % 4))
@settings(max_examples=50, deadline=None)
def test_numbers_survive_every_way(numbers: list[int]):
    """Any numbers in the order of the network come back from dict, names and copy."""
    numbers.sort(key=lambda index: index % 4)
    config = Tower(out_indices=numbers)

    assert config.out_indices == tuple(numbers)
    assert Tower.from_dict(config.to_dict()) == config
    assert Tower(out_features=config.out_features).out_indices == tuple(index % 4 for index in numbers)
    assert said(config.copy()) == said(config)
