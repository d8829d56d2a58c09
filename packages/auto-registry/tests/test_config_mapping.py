"""`CONFIG_MAPPING`: what may stand under a `model_type`."""

from typing import Any

import pytest

from nameplate_auto import CONFIG_MAPPING, InconsistentRegistrationError, Registry
from nameplate_config import PreTrainedConfig


class HeronConfig(PreTrainedConfig):
    """A config of a name that nobody else has."""

    model_type = "test_heron"


@pytest.mark.parametrize("name", [5, None, "", HeronConfig])
@pytest.mark.parametrize("value", [HeronConfig, "no_such_module:Config"])
def test_a_name_that_no_file_can_hold_is_refused(name: Any, value: Any) -> None:
    """A model_type is a text, with a class and with a lazy text alike."""
    with pytest.raises(InconsistentRegistrationError, match=r"^a model_type is a text that a file can name, found "):
        CONFIG_MAPPING.register(name, value)


@pytest.mark.parametrize("value", [HeronConfig(), (HeronConfig,), 5])
def test_what_is_no_class_is_refused(value: Any) -> None:
    """Under a model_type stands one config class."""
    with pytest.raises(InconsistentRegistrationError, match=r"^model_type 'test_heron' must stand for a config class"):
        CONFIG_MAPPING.register("test_heron", value)

    assert "test_heron" not in CONFIG_MAPPING


def test_a_class_of_another_name_is_refused() -> None:
    """The name in a file must be the one that the class writes."""
    with pytest.raises(InconsistentRegistrationError) as error:
        CONFIG_MAPPING.register("test_egret", HeronConfig)

    assert str(error.value) == (
        "HeronConfig.model_type is 'test_heron', but it is being registered as 'test_egret'.\n"
        "  A checkpoint could not be found again under its own name. Make the two agree."
    )


def test_an_alias_may_have_a_name_that_its_class_does_not_write() -> None:
    """Files of an old name are read by the class of the new one."""
    with CONFIG_MAPPING.override("test_heron", HeronConfig):
        CONFIG_MAPPING.alias("test_egret", "test_heron")
        found = CONFIG_MAPPING["test_egret"]
        CONFIG_MAPPING.unregister("test_egret")

    assert found is HeronConfig


def test_entries_of_another_registry_are_checked_alike() -> None:
    """A registry that knows no model_type brings nothing in that could not be registered by itself."""
    others: Registry[str, Any] = Registry("bird")
    others.register("test_egret", HeronConfig)

    with pytest.raises(InconsistentRegistrationError, match="being registered as 'test_egret'"):
        CONFIG_MAPPING.update(others)

    assert "test_egret" not in CONFIG_MAPPING
