"""Configs in folders: `save_pretrained`, `from_pretrained`, and what is never written."""

import json
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from annotated_types import Ge

from nameplate_config import (
    ConfigError,
    ConfigFileError,
    PreTrainedConfig,
    Problem,
    UnknownOptionError,
    UnsafePathError,
)


class Block(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "block"

    layers: tuple[int, ...] = (2, 2)
    width: Annotated[int, Ge(1)] = 8
    activation: Literal["relu", "gelu"] = "relu"
    dropout: float = 0.0


class Plain(PreTrainedConfig):
    """A config in the style of the seed, which calls `super().__init__` last."""

    model_type = "plain"

    def __init__(self, layers=[3, 4], width=8, **kwargs):  # noqa: B006 - what users write
        self.layers = layers
        self.width = width
        super().__init__(**kwargs)


class Stage(PreTrainedConfig):
    """A config that others hold."""

    depth: int = 1
    ratio: float = 1.0


class Outer(PreTrainedConfig):
    """A config that holds another."""

    stage: Stage = Stage()
    extra_stages: list[Stage] = field(default_factory=list)
    head: Stage | None = None


def test_a_config_comes_back_from_its_folder(tmp_path: Path):
    """`from_pretrained` gives the config that `save_pretrained` wrote, in a folder that it created."""
    config = Block(width=16, id2label={0: "cat"})
    config.save_pretrained(tmp_path / "new" / "checkpoint")

    assert Block.from_pretrained(tmp_path / "new" / "checkpoint") == config
    assert Block.from_pretrained(str(tmp_path / "new" / "checkpoint")) == config


def test_saving_twice_gives_the_same_bytes(tmp_path: Path):
    """Saving, loading and saving again writes the same file."""
    Block(width=16, architectures=["Net"]).save_pretrained(tmp_path)
    first = (tmp_path / "config.json").read_bytes()
    Block.from_pretrained(tmp_path).save_pretrained(tmp_path)

    assert (tmp_path / "config.json").read_bytes() == first


def test_the_file_is_the_canonical_text(tmp_path: Path):
    """A file has sorted keys, two spaces of indentation, only ASCII and a line feed at its end."""
    Plain(layers=[1], note="é").save_pretrained(tmp_path)

    assert (tmp_path / "config.json").read_bytes() == (
        b'{\n  "layers": [\n    1\n  ],\n  "model_type": "plain",\n  "note": "\\u00e9",\n  "width": 8\n}\n'
    )


def test_from_pretrained_takes_overrides(tmp_path: Path):
    """A keyword of `from_pretrained` that names a field replaces the file's value."""
    Block(width=16).save_pretrained(tmp_path)
    config, unused = Block.from_pretrained(tmp_path, return_unused_kwargs=True, dropout=0.5, not_a_field=1)

    assert (config, unused) == (Block(width=16, dropout=0.5), {"not_a_field": 1})


def test_from_pretrained_refuses_unknown_keywords(tmp_path: Path):
    """A keyword of `from_pretrained` that is neither option nor field is an error with a suggestion."""
    Block().save_pretrained(tmp_path)
    with pytest.raises(UnknownOptionError) as caught:
        Block.from_pretrained(tmp_path, widht=16)

    assert str(caught.value) == "Block has no field 'widht'.\n  Did you mean 'width'?"


def test_errors_name_the_file(tmp_path: Path):
    """A value that does not fit is reported with the file that holds it."""
    (tmp_path / "config.json").write_text('{"width": "8"}')
    with pytest.raises(ConfigError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"Block in {tmp_path / 'config.json'}: 1 problem.\n  width: expected an int, found '8'"
    )


def test_the_file_of_another_architecture_is_named(tmp_path: Path):
    """Loading another architecture's folder names the file and both model types."""
    Plain().save_pretrained(tmp_path)
    with pytest.raises(ConfigError) as caught:
        Block.from_pretrained(tmp_path)

    assert str(caught.value) == (
        f"Block in {tmp_path / 'config.json'}: 1 problem.\n"
        "  model_type: expected 'block', found 'plain'. Load it with AutoConfig instead."
    )


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        (json.loads("[" * 70 + "]" * 70), "nests lists and objects more than 64 deep."),
        ("x" * (4 << 20), "would have 4,194,322 bytes; at most 4,194,304 are read."),
    ],
    ids=["depth", "size"],
)
def test_nothing_is_written_that_could_not_be_read(value, problem, tmp_path: Path):
    """A config whose file would exceed a budget of the reader is not saved, and the old file stays."""

    class Anything(PreTrainedConfig):
        value: Any = None

    Anything(value=1).save_pretrained(tmp_path)
    with pytest.raises(ConfigFileError) as caught:
        Anything(value=value).save_pretrained(tmp_path)

    assert str(caught.value) == f"the config file of Anything {problem}"
    assert Anything.from_pretrained(tmp_path).value == 1


def test_a_container_spoilt_in_place_is_not_saved(tmp_path: Path):
    """A value that was changed in place to what its field refuses is reported before the file is touched."""
    config = Outer()
    config.save_pretrained(tmp_path)
    config.extra_stages.append("deep")
    with pytest.raises(ConfigError) as caught:
        config.save_pretrained(tmp_path)

    assert str(caught.value) == "Outer: 1 problem.\n  extra_stages[0]: expected a Stage, found 'deep'"
    assert Outer.from_pretrained(tmp_path) == Outer()


def test_hooks_run_before_saving():
    """A config that a `validate_*` method refuses after a change in place is not written."""

    class Counted(PreTrainedConfig):
        layers: list[int] = field(default_factory=lambda: [1])

        def validate_layers(self) -> Iterator[Problem]:
            """Yield a problem unless there is a layer."""
            if not self.layers:
                yield Problem("layers", "at least one layer", "none")

    config = Counted()
    config.layers.clear()
    with pytest.raises(ConfigError) as caught:
        config.to_json_string()

    assert str(caught.value) == "Counted: 1 problem.\n  layers: expected at least one layer, found none"


def test_a_config_is_saved_at_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A tilde at the beginning of the folder is the user's home, as it is where a model is saved or loaded."""
    monkeypatch.setenv("HOME", str(tmp_path))
    config = PreTrainedConfig(architectures=["Model"])
    config.save_pretrained("~/new")

    assert PreTrainedConfig.from_pretrained(tmp_path / "new") == PreTrainedConfig.from_pretrained("~/new") == config


@pytest.mark.parametrize("folder", ["", "a\0b", "~nobody-of-that-name/x"])
def test_a_config_is_saved_nowhere_but_in_a_folder(folder: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """A path that is none is refused, instead of taken for the present folder."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UnsafePathError, match="Give the path of a folder"):
        PreTrainedConfig().save_pretrained(folder)

    assert list(tmp_path.iterdir()) == []


def test_a_config_is_not_saved_into_a_file(tmp_path: Path):
    """Saving to the path of a file is refused, and the file is untouched."""
    (tmp_path / "file").write_text("precious")
    with pytest.raises(UnsafePathError) as caught:
        Block().save_pretrained(tmp_path / "file")

    assert str(caught.value) == (
        f"{str(tmp_path / 'file')!r} is not a folder, so nothing can be saved into it. Give the path of a folder."
    )
    assert (tmp_path / "file").read_text() == "precious"
