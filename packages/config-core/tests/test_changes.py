"""Changing configs: `copy`, `update`, `update_from_string`, `diff`, and which fields somebody set."""

import copy
from pathlib import Path
from typing import Any, Literal

import pytest

from nameplate_config import MISSING, ConfigError, PreTrainedConfig, UnknownOptionError, given_fields


class Stage(PreTrainedConfig):
    """A config that is held by another."""

    model_type = "stage"

    depth: int = 2
    act: Literal["relu", "gelu"] = "relu"


class Net(PreTrainedConfig):
    """A config of annotated fields."""

    model_type = "net"
    attribute_map = {"hidden": "width"}

    width: int = 8
    ratio: float = 0.5
    bias: bool = True
    name: str = "net"
    layers: tuple[int, ...] = (2, 2)
    home: Path = Path("a")
    stage: Stage = Stage()
    extra_stage: Stage | None = None

    def validate_width(self) -> None:
        """Widths are even, and wide nets have a bias."""
        if self.width % 2:
            message = "the width must be even"
            raise ValueError(message)
        if self.width > 100 and not self.bias:
            message = "a wide net needs a bias"
            raise ValueError(message)


class Plain(PreTrainedConfig):
    """A config whose `__init__` computes something."""

    model_type = "plain"

    def __init__(self, depths=(1, 2), scale=1, **kwargs):
        super().__init__(**kwargs)
        self.depths = depths
        self.scale = scale
        self.stage_names = [f"stage{index}" for index in range(len(depths))]


def test_a_copy_has_other_values():
    """`copy` takes fields and aliases, checks them together, and leaves the config as it is."""
    config = Net()
    other = config.copy(hidden=200, layers=[1], home="b")

    assert (other.width, other.layers, other.home, type(other)) == (200, (1,), Path("b"), Net)
    assert config == Net()


def test_a_copy_runs_the_plain_init():
    """What an `__init__` computes follows from the changed values."""
    assert Plain().copy(depths=(1, 2, 3)).stage_names == ["stage0", "stage1", "stage2"]


def test_a_copy_keeps_extras():
    """Keys of a file that no field knows are copied, and may be changed too."""
    config = Net.from_dict({"note": [1]})

    assert (config.copy(width=4).note, config.copy(note=2).note) == ([1], 2)


def test_a_dict_changes_part_of_a_nested_config():
    """A dict for a nested config names only what changes; where there was none it is the whole."""
    config = Net(stage=Stage(depth=5))

    assert config.copy(stage={"act": "gelu"}).stage == Stage(depth=5, act="gelu")
    assert config.copy(extra_stage={"depth": 1}).extra_stage == Stage(depth=1)
    assert Net.from_dict(config.to_dict(), stage={"act": "gelu"}).stage == Stage(depth=5, act="gelu")


@pytest.mark.parametrize(
    ("changes", "kind", "says"),
    [
        ({"width": "wide"}, ConfigError, "Net: 1 problem.\n  width: expected an int, found 'wide'"),
        ({"width": 3, "ratio": 1}, ConfigError, "the width must be even"),
        ({"widht": 4}, UnknownOptionError, "Net has no field 'widht'.\n  Did you mean 'width'?"),
        ({"stage": {"dept": 4}}, ConfigError, "stage.dept: expected a field of Stage, found 4. Did you mean 'depth'?"),
        ({"width": 4, "hidden": 6}, ConfigError, "width: expected one value, found 4 and, as 'hidden', 6"),
        ({"layers": {1}}, ConfigError, "layers: expected a tuple, found {1}"),
    ],
)
@pytest.mark.parametrize("how", ["copy", "update"])
def test_a_change_that_does_not_fit_changes_nothing(how: str, changes: dict[str, Any], kind: type, says: str):
    """All changes are made or none; the message is that of an argument."""
    config = Net.from_dict({"note": 1})
    with pytest.raises(kind) as caught:
        config.copy(**changes) if how == "copy" else config.update(changes)

    assert says in str(caught.value)
    assert config == Net.from_dict({"note": 1})


def test_update_changes_several_fields_together():
    """Values that only fit together can be set together, which no order of assignments could."""
    config = Net(bias=False)
    config.update({"width": 200, "bias": True})

    assert (config.width, config.bias) == (200, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("width=16", {"width": 16}),
        ("width=16,bias=false", {"width": 16, "bias": False}),
        ("bias=True, ratio=1", {"bias": True, "ratio": 1.0}),
        ("bias=n", {"bias": False}),
        ("hidden=4", {"width": 4}),
        ("name=12", {"name": "12"}),
        ("name=a b", {"name": "a b"}),
        ('name="a,b"', {"name": "a,b"}),
        ("layers=[1, 2, 3],width=4", {"layers": (1, 2, 3), "width": 4}),
        ("home=some/where", {"home": Path("some/where")}),
        ('stage={"act": "gelu"}', {"stage": Stage(act="gelu")}),
        ("extra_stage=none", {"extra_stage": None}),
        ("note=2", {"note": 2}),
        ("", {}),
    ],
)
def test_a_line_of_text_sets_fields(text: str, expected: dict[str, Any]):
    """Each value is read as its field has it."""
    config = Net.from_dict({"note": 1})
    config.update_from_string(text)

    assert config == Net.from_dict({"note": 1}).copy(**expected)


def test_an_untyped_text_stays_a_text():
    """A value of a bare parameter that is a text now is taken as one, digits or not."""

    class Bare(PreTrainedConfig):
        def __init__(self, tag="a", count=1):
            self.tag = tag
            self.count = count

    config = Bare()
    config.update_from_string("tag=1,count=2")

    assert (config.tag, config.count) == ("1", 2)


@pytest.mark.parametrize(
    ("text", "kind", "says"),
    [
        ("width", ConfigError, "'width' is no setting: write name=value, and commas between them."),
        ("=1", ConfigError, "'=1' is no setting"),
        ("width=wide,ratio=x", ConfigError, "Net: 2 problems.\n  width: expected an int, found 'wide'\n  ratio:"),
        ("widht=1", UnknownOptionError, "Did you mean 'width'?"),
    ],
)
def test_a_line_that_cannot_be_read_changes_nothing(text: str, kind: type, says: str):
    """What is wrong with it is said at once."""
    config = Net()
    with pytest.raises(kind) as caught:
        config.update_from_string(text)

    assert says in str(caught.value)
    assert config == Net()


def test_a_difference_names_paths():
    """`diff` goes into nested configs, tells 1 from 1.0, and knows what one side lacks."""
    one = Net.from_dict({"width": 4, "stage": {"depth": 3}, "note": 1})
    other = Net.from_dict({"extra_stage": {}, "note": 1.0, "more": None})

    assert one.diff(other) == {
        "width": (4, 8),
        "stage.depth": (3, 2),
        "extra_stage": (None, Stage()),
        "note": (1, 1.0),
        "more": (MISSING, None),
    }
    assert one.diff(one.copy()) == {}


def test_a_difference_shares_nothing():
    """The values of a difference can be changed without changing a config."""
    one, other = Net.from_dict({"note": [1]}), Net()
    one.diff(other)["note"][0].append(2)

    assert one.note == [1]


def test_a_config_knows_which_fields_were_set():
    """Fields that a caller, a file or an assignment set count, equal to the default or not; a copy remembers."""
    config = Net(width=8)
    config.bias = False

    assert given_fields(Net()) == frozenset()
    assert given_fields(config) == {"width", "bias"}
    assert given_fields(copy.deepcopy(config)) == {"width", "bias"}
    assert given_fields(config.copy(hidden=4, name="x")) == {"width", "bias", "name"}
    assert given_fields(Net.from_dict({"ratio": 0.5, "note": 1})) == {"ratio"}


def test_names_can_be_listed_and_looked_up():
    """Iterating yields what a file would hold; `in` knows fields, aliases and extras."""
    config = Net.from_dict({"note": 1})

    assert {"width", "stage", "note"} <= set(config)
    assert [name in config for name in ("width", "hidden", "note", "to_dict", 1)] == [True, True, True, False, False]


def test_a_field_cannot_be_deleted():
    """A config without one of its fields could not be saved; an extra can go."""
    config = Net.from_dict({"note": 1})
    del config.note
    with pytest.raises(ConfigError, match="Net must have 'width': the attribute cannot be deleted"):
        del config.width

    assert "note" not in config
    assert config == Net()
