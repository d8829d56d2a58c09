"""Whatever stands in a config file, the Auto classes answer with a config, a model, or an error of ours."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nameplate_auto import CONFIG_MAPPING, AutoConfig, AutoModel, UnknownModelTypeError
from nameplate_config import ForeignFormat, NameplateError, PreTrainedConfig
from nameplate_model import PreTrainedModel


class PebbleConfig(PreTrainedConfig):
    """The config of a model of nothing."""

    model_type = "test_pebble"
    foreign_formats = (
        ForeignFormat("round", lambda values: values["round"] > 1, lambda values: dict(values["round"])),
    )

    width: int = 3


class Pebble(PreTrainedModel):
    """A model of nothing."""

    def __init__(self, config: PebbleConfig) -> None:
        super().__init__(config)


@pytest.fixture(autouse=True, scope="module")
def registrations() -> Iterator[None]:
    """Register them while this module is tested."""
    with CONFIG_MAPPING.override("test_pebble", PebbleConfig), AutoModel.model_mapping.override(PebbleConfig, Pebble):
        yield


NAMES = st.sampled_from(
    ["test_pebble", "Pebble", "AutoConfig", "AutoModel", "code.Pebble", "a--code.Pebble", "../x.C", ""]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | NAMES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5) | NAMES, inner, max_size=3),
    max_leaves=8,
)
KEYS = ["model_type", "auto_map", "architectures", "width", "round", "config_version", "dtype", "id2label", "from_dict"]
FILES = st.dictionaries(st.sampled_from(KEYS) | st.text(max_size=5), ANYTHING, max_size=5)


def outcome(values: dict[str, Any], load: Any, **options: Any) -> Any:
    """Return what a load of a folder with such a config answers, or the error."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "config.json").write_text(json.dumps(values), encoding="utf-8")
        (Path(folder) / "code.py").write_text("raise SystemExit('it ran')", encoding="utf-8")
        try:
            return load(folder, **options)
        except NameplateError as error:
            return error


@settings(deadline=None, max_examples=50)
@given(FILES)
def test_a_config_or_an_error_of_ours(values: dict[str, Any]) -> None:
    """No file makes `AutoConfig` fail in any other way, run its code, or return anything but a config."""
    found = outcome(values, AutoConfig.from_pretrained)

    assert isinstance(found, (PreTrainedConfig, NameplateError))
    assert not isinstance(found, PreTrainedConfig) or values.get("model_type") == "test_pebble" or "round" in values


@settings(deadline=None, max_examples=50)
@given(FILES)
def test_a_folder_without_weights_is_an_error_of_ours(values: dict[str, Any]) -> None:
    """No config makes `AutoModel` fail in any other way; without weights it cannot succeed."""
    assert isinstance(outcome(values, AutoModel.from_pretrained), NameplateError)


@settings(deadline=None, max_examples=50)
@given(FILES)
def test_what_the_caller_says_it_is_it_is(values: dict[str, Any]) -> None:
    """With `model_type=` the file is never taken for anything else, and never unknown."""
    found = outcome(values, AutoConfig.from_pretrained, model_type="test_pebble")

    assert isinstance(found, (PebbleConfig, NameplateError))
    assert not isinstance(found, UnknownModelTypeError)
