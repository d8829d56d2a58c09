"""Files of older versions: `config_version` and `migrates`, replayed from files that those versions wrote."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import ConfigError, ConfigFileError, PreTrainedConfig, migrates

GOLDEN = Path(__file__).with_name("versions")
"""What three versions of one config class wrote, each beside the others; version 1 knew no versions."""


class Block(PreTrainedConfig):
    """The third version of a config: it renamed a field, then turned a number into a list."""

    model_type = "block"
    config_version = 3

    width: int = 8
    strides: list[int] = [1]

    @migrates(1, 2)
    @staticmethod
    def hidden_size_became_width(values: dict[str, Any]) -> dict[str, Any]:
        """Version 2 calls it what everybody does."""
        values["width"] = values.pop("hidden_size")
        return values

    @migrates(2, 3)
    @staticmethod
    def stride_became_a_list(values: dict[str, Any]) -> dict[str, Any]:
        """Version 3 has one stride for each stage."""
        values["strides"] = [values.pop("stride", 1)]
        return values


class Holder(PreTrainedConfig):
    """A config without versions that holds one with them."""

    model_type = "holder"

    block: Block = Block()


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_every_version_are_read(version: int):
    """A file that an older version of the class wrote means what it meant, unknown keys included."""
    config = Block.from_pretrained(GOLDEN / str(version))

    assert (config.width, config.strides, config.note) == (64, [2], "kept")


def test_a_file_read_and_saved_is_of_the_present_version(tmp_path: Path):
    """Saving what was read writes the present version, byte for byte what that version wrote."""
    Block.from_pretrained(GOLDEN / "1").save_pretrained(tmp_path)

    assert (tmp_path / "config.json").read_bytes() == (GOLDEN / "3" / "config.json").read_bytes()


def test_the_version_is_part_of_every_dict():
    """The file, the dict and the difference say the version; a class of version 1 writes none."""
    assert (Block().to_dict()["config_version"], Block().to_diff_dict()) == (
        3,
        {"model_type": "block", "config_version": 3},
    )
    assert "config_version" not in Holder().to_dict()


def test_nested_configs_have_versions_of_their_own():
    """The part of a file that holds an old config is read as such."""
    old = {"model_type": "holder", "block": {"model_type": "block", "hidden_size": 5, "stride": 3}}

    assert Holder.from_dict(old).block == Block(width=5, strides=[3])


def test_a_migration_does_not_change_what_it_is_given():
    """The caller's dict stays as it is, whatever the steps do to theirs."""
    given = {"hidden_size": 5, "deep": {"a": [1]}}
    Block.from_dict(given)

    assert given == {"hidden_size": 5, "deep": {"a": [1]}}


def test_a_later_class_inherits_the_steps():
    """A subclass of a newer version adds its own step to those that it inherits."""

    class Wide(Block):
        model_type = "wide"
        config_version = 4

        @migrates(3, 4)
        @staticmethod
        def widths_doubled(values: dict[str, Any]) -> dict[str, Any]:
            return {**values, "width": 2 * values["width"]}

    assert Wide.from_dict({"hidden_size": 4, "stride": 2}) == Wide(width=8, strides=[2])


def test_one_step_may_skip_versions_that_have_steps():
    """Each version below the present one needs a step on; a step may lead further than the next."""

    class Skipping(Block):
        config_version = 3

        @migrates(1, 3)
        @staticmethod
        def at_once(values: dict[str, Any]) -> dict[str, Any]:
            return {"width": values["hidden_size"]}

    assert Skipping.from_dict({"hidden_size": 4}) == Skipping(width=4)


def test_a_version_without_a_way_on_is_refused_when_the_class_is_made():
    """A class that could not read its own older files is an error at once, which says what to add."""
    with pytest.raises(ConfigError) as caught:

        class Gap(PreTrainedConfig):
            config_version = 2

    assert str(caught.value) == (
        "Gap is of version 2, but cannot read version 1.\n  Add a method with @migrates(1, 2)."
    )


@pytest.mark.parametrize("version", [0, True, "2"])
def test_a_version_is_a_positive_int(version: Any):
    """A class with another version is an error at once."""
    with pytest.raises(ConfigError, match="config_version must be an int of at least 1"):
        type("Strange", (PreTrainedConfig,), {"config_version": version})


def test_steps_go_forward():
    """A step that leads nowhere is refused where it is declared."""
    with pytest.raises(ConfigError, match=r"@migrates\(2, 2\) goes nowhere"):
        migrates(2, 2)


@pytest.mark.parametrize(
    ("version", "says"),
    [
        (4, "expected an int from 1 to 3, found 4. It was written by a newer version of the class: update"),
        (0, "expected an int from 1 to 3, found 0"),
        ("3", "expected an int from 1 to 3, found '3'"),
        (True, "expected an int from 1 to 3, found True"),
    ],
)
def test_an_unknown_version_is_refused(version: Any, says: str, tmp_path: Path):
    """A file of a newer version, or of none, is an error that says which are read."""
    (tmp_path / "config.json").write_text(json.dumps({"config_version": version}))
    with pytest.raises(ConfigFileError) as caught:
        Block.from_pretrained(tmp_path)

    assert caught.value.code == "wrong-version"
    assert f"{tmp_path / 'config.json'}: 1 problem.\n  config_version: {says}" in str(caught.value)


def test_a_step_that_fails_is_named(tmp_path: Path):
    """A file that a step cannot read is an error that names the file, the step and the reason."""
    shutil.copy(GOLDEN / "2" / "config.json", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "block"}')
    with pytest.raises(ConfigFileError) as caught:
        Block.from_pretrained(tmp_path)

    assert caught.value.code == "failed-migration"
    assert str(caught.value) == (
        f"{tmp_path / 'config.json'}: the migration of Block from version 1 to 2 raised KeyError: 'hidden_size'."
    )


def test_a_step_that_returns_nothing_is_named():
    """A step that forgets to return the values is an error, not an empty config."""

    class Forgetful(PreTrainedConfig):
        config_version = 2

        @migrates(1, 2)
        @staticmethod
        def forget(values: dict[str, Any]) -> dict[str, Any]:
            values["a"] = 1
            return None  # type: ignore[return-value]

    with pytest.raises(ConfigError, match="from version 1 to 2 returned None instead of the values"):
        Forgetful.from_dict({})


def test_a_key_of_that_name_without_versions_is_any_key():
    """A class that has no versions keeps a text under that key; other tools write such files."""
    config = Holder.from_dict({"config_version": "1.0"})

    assert config.to_dict()["config_version"] == "1.0"
