"""Auto classes and classes of other libraries: whatever has a `model_type` and a `from_dict` may be registered.

What such classes are given, and what becomes of their errors, is tested in `test_duck.py`.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    ForeignClassError,
    UnknownArchitectureError,
)
from nameplate_config import UnknownOptionError


class CoralConfig:
    """A config class that has no base class of ours."""

    model_type = "test_coral"

    def __init__(self, **values: Any) -> None:
        self.width = values.get("width", 3)
        self.architectures = values.get("architectures")

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, return_unused_kwargs: bool, **kwargs: Any) -> Any:
        """Read a file, and return what is no field."""
        assert return_unused_kwargs
        known = {name: kwargs.pop(name) for name in ("width", "architectures") if name in kwargs}
        return cls(**{**values, **known}), kwargs


class Coral:
    """A model class that has none either."""

    config_class = CoralConfig

    def __init__(self, config: CoralConfig, **options: Any) -> None:
        self.config, self.options = config, options

    @classmethod
    def from_pretrained(cls, place: str, *, config: CoralConfig, **options: Any) -> "Coral":
        """Note where it is loaded from, and how."""
        return cls(config, place=place, **options)

    @classmethod
    def _from_config(cls, config: CoralConfig) -> "Coral":
        return cls(config)


class CoralReef(Coral):
    """Another one."""


class SmallCoralConfig(CoralConfig):
    """A config derived from it."""


@pytest.fixture(autouse=True)
def registrations() -> Iterator[None]:
    """Register both classes for the length of a test."""
    with (
        CONFIG_MAPPING.override("test_coral", CoralConfig),  # type: ignore[arg-type]
        AutoModel.model_mapping.override(CoralConfig, (Coral, CoralReef)),  # type: ignore[arg-type]
    ):
        yield


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a folder with a config."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "test_coral", "width": 5}), encoding="utf-8")
    return tmp_path


def test_its_own_class_loads_it(checkpoint: Path) -> None:
    """The model class gets the folder, the config that was read, and the options; fields go to the config."""
    loaded = AutoModel.from_pretrained(checkpoint, width=6, dtype="bfloat16", depth=2)

    assert type(loaded) is Coral
    assert loaded.config.width == 6
    assert loaded.options == {"place": str(checkpoint), "local_files_only": True, "dtype": "bfloat16", "depth": 2}


def test_its_architectures_choose_too(checkpoint: Path) -> None:
    """Several classes of another library are told apart as ours are."""
    assert type(AutoModel.from_pretrained(checkpoint, architectures=["CoralReef"])) is CoralReef
    assert type(AutoModel.from_config(CoralConfig(architectures=["CoralReef"]))) is CoralReef  # type: ignore[arg-type]


def test_a_derived_config_is_served_as_well() -> None:
    """The nearest base class decides, whoever wrote it."""
    assert type(AutoModel.from_config(SmallCoralConfig())) is Coral  # type: ignore[arg-type]


def test_a_fresh_model_is_built_its_own_way() -> None:
    """`from_config` asks for what such a class offers."""
    config = CoralConfig(width=4)

    assert AutoModel.from_config(config).config is config  # type: ignore[arg-type]


def test_its_config_is_not_changed_on_the_way() -> None:
    """Only a config of ours can be copied with other fields."""
    with pytest.raises(UnknownOptionError) as error:
        AutoModel.from_config(CoralConfig(), width=4)  # type: ignore[arg-type]

    expected = "CoralConfig is no config of Nameplate; change it before the model is built from it."
    assert str(error.value) == expected


def test_tensors_are_for_models_of_ours() -> None:
    """Another library's class is loaded from a source."""
    with pytest.raises(UnknownOptionError) as error:
        AutoModel.from_pretrained(None, config=CoralConfig(), state_dict={})

    assert str(error.value) == "Coral is no class of Nameplate, so it is loaded from a source, not from None."


def test_a_wrong_head_is_refused_alike() -> None:
    """The error lists the tasks that there are, for any config class."""
    with pytest.raises(UnknownArchitectureError) as error:
        AutoModelForImageClassification.from_config(CoralConfig())  # type: ignore[arg-type]

    assert str(error.value).splitlines()[:2] == [
        "AutoModelForImageClassification has no model class for CoralConfig.",
        "  model_type 'test_coral' has one for: AutoModel.",
    ]


def test_what_it_raises_is_an_error_of_ours(checkpoint: Path) -> None:
    """A class that fails is named, and its error is the cause."""
    (checkpoint / "config.json").write_text('{"model_type": "test_coral"}', encoding="utf-8")

    class Failing(CoralConfig):
        @classmethod
        def from_dict(cls, *_: Any, **__: Any) -> Any:
            message = "no such reef"
            raise RuntimeError(message)

    with (
        CONFIG_MAPPING.override("test_coral", Failing),  # type: ignore[arg-type]
        pytest.raises(ForeignClassError, match="no such reef") as error,
    ):
        AutoConfig.from_pretrained(checkpoint)

    assert isinstance(error.value.__cause__, RuntimeError)
