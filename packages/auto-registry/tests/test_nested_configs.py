"""Fields that hold configs of any registered class: which one is found by the `model_type`."""

import json
from pathlib import Path

import pytest

from nameplate_auto import CONFIG_MAPPING, AutoConfig
from nameplate_config import ConfigError, PreTrainedConfig


class Small(PreTrainedConfig):
    """One kind of body."""

    model_type = "small_body"

    width: int = 4


class Large(PreTrainedConfig):
    """Another kind of body."""

    model_type = "large_body"

    depth: int = 40


class Whole(PreTrainedConfig):
    """A config whose body may be of any class; both annotations mean the same."""

    model_type = "whole"

    body: AutoConfig | None = None
    others: list[PreTrainedConfig] = []


@pytest.fixture(autouse=True)
def registered():
    """Both kinds of body are registered during a test."""
    with CONFIG_MAPPING.override("small_body", Small), CONFIG_MAPPING.override("large_body", Large):
        yield


def test_each_body_comes_back_as_its_class(tmp_path: Path):
    """What was saved as a config of a registered class is loaded as one of that class."""
    config = Whole(body=Large(depth=50), others=[Small(), Large()])
    config.save_pretrained(tmp_path)
    loaded = Whole.from_pretrained(tmp_path)

    assert loaded == config
    assert [type(each) for each in (loaded.body, *loaded.others)] == [Large, Small, Large]


def test_a_dict_says_its_model_type():
    """A dict stands for a config, and its `model_type` for the class."""
    assert Whole(body={"model_type": "small_body", "width": 1}).body == Small(width=1)


def test_a_body_is_copied():
    """The config shares no nested config with its caller."""
    body = Small()
    config = Whole(body=body)
    body.width = 9

    assert config.body == Small()


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({"width": 1}, "Its model_type must say which class reads it."),
        ({"model_type": "unknown"}, "body: expected a config of a registered model_type or None, found"),
        ({"model_type": ["small_body"]}, "Its model_type must say which class reads it."),
        ({"model_type": "small_body", "width": "x"}, "body.width: expected an int, found 'x'"),
        ("small_body", "body: expected a config of a registered model_type or None, found 'small_body'"),
    ],
)
def test_what_no_class_reads_is_refused(body: object, says: str):
    """The error names the field and the way out, in code and in a file alike."""
    for build in (lambda: Whole(body=body), lambda: Whole.from_dict(json.loads(json.dumps({"body": body})))):
        with pytest.raises(ConfigError) as caught:
            build()
        assert says in str(caught.value)


def test_a_config_that_could_not_be_found_again_is_refused():
    """A config of a class that is not registered, or not under its name, is refused when it is set."""

    class Stranger(PreTrainedConfig):
        model_type = "stranger"

    class Impostor(PreTrainedConfig):
        model_type = "small_body"

    with pytest.raises(ConfigError, match=r"'stranger'"):
        Whole(body=Stranger())
    with pytest.raises(ConfigError, match=r"'small_body' is registered for another class, .*\.Small\."):
        Whole(body=Impostor())
