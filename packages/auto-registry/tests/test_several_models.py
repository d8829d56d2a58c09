"""Several models for one config and task: `architectures` chooses, and where it does not, the first is taken."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoClass,
    BrokenPluginError,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
)
from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel


class WingConfig(PreTrainedConfig):
    """A config that several models are built from."""

    model_type = "test_wing"

    width: int = 3


class Wing(PreTrainedModel):
    """One linear layer."""

    def __init__(self, config: WingConfig) -> None:
        super().__init__(config)
        self.body = torch.nn.Linear(config.width, config.width)


class Delta(Wing):
    """Another model of the same shape."""


class Canard(Wing):
    """A third one."""


class StrangeConfig(PreTrainedConfig):
    """The config of something else."""

    model_type = "test_strange"


class Stranger(PreTrainedModel):
    """A model that is not built from the config."""

    config_class = StrangeConfig


class AutoModelForLifting(AutoClass):
    """A task that several models do."""


@pytest.fixture
def canard(write_module: Callable[[str], str]) -> str:
    """Return a text that stands for the third model."""
    return write_module(f"import sys\nCanard = sys.modules[{__name__!r}].Canard") + ":Canard"


@pytest.fixture(autouse=True)
def registrations(canard: str) -> Iterator[None]:
    """Register three models for the length of a test."""
    with CONFIG_MAPPING.override("test_wing", WingConfig):
        AutoModelForLifting.register(WingConfig, [Wing, Delta, canard])
        yield
        AutoModelForLifting.unregister(WingConfig)


@pytest.mark.parametrize("saved", [Wing, Delta, Canard])
def test_the_class_that_saved_loads(tmp_path: Path, saved: type[Wing]) -> None:
    """A checkpoint is loaded by the class that its config names."""
    saved(WingConfig()).save_pretrained(tmp_path)

    assert type(AutoModelForLifting.from_pretrained(tmp_path)) is saved


@pytest.mark.parametrize(
    ("architectures", "expected"),
    [
        (None, Wing),
        ([], Wing),
        (["Unheard"], Wing),
        (["Delta"], Delta),
        (["Unheard", "Canard"], Canard),
        (["Canard", "Delta"], Canard),
        (["Delta", "Canard"], Delta),
    ],
)
def test_the_architectures_choose(architectures: list[str] | None, expected: type[Wing]) -> None:
    """The first registered class that they name is taken; if they name none, the first that was registered."""
    config = WingConfig(architectures=architectures)

    assert AutoModelForLifting.model_class(config) is expected
    assert AutoModelForLifting.model_class_of(WingConfig, architectures) is expected
    assert type(AutoModelForLifting.from_config(config)) is expected


def test_an_argument_goes_before_the_file(tmp_path: Path) -> None:
    """`architectures` is a field like any other: an argument has the last word."""
    Delta(WingConfig()).save_pretrained(tmp_path)

    assert type(AutoModelForLifting.from_pretrained(tmp_path, architectures=["Canard"])) is Canard
    assert type(AutoModelForLifting.from_config(WingConfig(), architectures=["Delta"])) is Delta


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(["Delta", "Canard"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(JSON)
def test_whatever_stands_in_a_file_chooses_one(architectures: Any) -> None:
    """No value of `architectures` can be so strange that none of the classes is chosen."""
    found = AutoModelForLifting.model_class_of(WingConfig, architectures)

    named = [name for name in architectures if name in ["Delta", "Canard"]] if isinstance(architectures, list) else []
    assert found.__name__ == (named[0] if named else "Wing")


def test_only_the_chosen_class_is_imported(write_module: Callable[[str], str]) -> None:
    """Lazy texts are told apart by the names of the classes, so a broken one harms nobody else."""
    broken = write_module("raise OSError('no such library')")
    with AutoModelForLifting.model_mapping.override(WingConfig, (f"{broken}:Biplane", Delta)):
        assert AutoModelForLifting.model_class(WingConfig(architectures=["Delta"])) is Delta
        with pytest.raises(BrokenPluginError, match="no such library"):
            AutoModelForLifting.model_class(WingConfig())


def test_each_must_be_built_from_the_config() -> None:
    """One class of another config makes the whole registration an error."""
    with pytest.raises(InconsistentRegistrationError, match="Stranger is built from StrangeConfig"):
        AutoModelForLifting.register(WingConfig, [Delta, Stranger], exist_ok=True)

    assert AutoModelForLifting.model_class(WingConfig()) is Wing


def test_a_lazy_one_is_checked_when_it_is_imported(write_module: Callable[[str], str]) -> None:
    """A text that stands for a model of another config is refused when it is chosen."""
    module = write_module(f"import sys\nStranger = sys.modules[{__name__!r}].Stranger")
    with (
        AutoModelForLifting.model_mapping.override(WingConfig, (Wing, f"{module}:Stranger")),
        pytest.raises(InconsistentRegistrationError, match="Stranger is built from StrangeConfig"),
    ):
        AutoModelForLifting.model_class(WingConfig(architectures=["Stranger"]))


def test_none_at_all_is_refused() -> None:
    """A list must hold a class."""
    with pytest.raises(InconsistentRegistrationError, match="no model class is given for StrangeConfig"):
        AutoModelForLifting.register(StrangeConfig, [])


def test_the_same_list_again_changes_nothing(canard: str) -> None:
    """Registering twice what is there already is no error, as with one class."""
    AutoModelForLifting.register(WingConfig, [Wing, Delta, canard])

    assert AutoModelForLifting.model_class(WingConfig(architectures=["Delta"])) is Delta


def test_a_list_of_one_is_that_one() -> None:
    """To register a class alone, or alone in a list, is the same."""
    with AutoModelForLifting.model_mapping.override(StrangeConfig, Stranger):
        AutoModelForLifting.register(StrangeConfig, [Stranger])

        assert AutoModelForLifting.model_mapping[StrangeConfig] is Stranger


def test_another_list_is_refused_by_the_names_of_its_classes() -> None:
    """The error about a taken config says which models were registered, and which were asked for."""

    class AutoModelForSoaring(AutoClass):
        """A task of its own."""

    AutoModelForSoaring.register(WingConfig, [Wing, Delta])
    with pytest.raises(DuplicateRegistrationError) as caught:
        AutoModelForSoaring.register(WingConfig, [Delta, Wing])

    place = f"{__name__}."
    assert f"already registered by {place}Wing, {place}Delta; {place}Delta, {place}Wing asks for it" in str(
        caught.value
    )


def test_reading_an_entry_of_several_imports_them_all(canard: str) -> None:
    """The mapping gives classes, never the texts that they were registered by; loading still imports one alone."""

    class AutoModelForGliding(AutoClass):
        """A task of its own."""

    AutoModelForGliding.register(WingConfig, [Delta, canard])
    mapping = AutoModelForGliding.model_mapping
    assert mapping.find(WingConfig).lazy

    assert mapping[WingConfig] == (Delta, Canard)
    assert not mapping.find(WingConfig).lazy
