"""Classes that a checkpoint brings: which tasks they serve, beside which registered ones, and that they stay out.

What code may run, and how it is run, is tested with `nameplate_auto._remote`.
"""

import importlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

import nameplate_auto
from nameplate_auto import (
    CONFIG_MAPPING,
    AutoClass,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    RemoteCodeError,
    RemoteCodeRefusedError,
    UnknownArchitectureError,
    UnknownModelTypeError,
)
from nameplate_config import PreTrainedConfig, UnknownOptionError
from nameplate_model import PreTrainedModel

pytestmark = pytest.mark.filterwarnings("ignore::nameplate_auto.RemoteCodeWarning")

CODE = """
    import torch
    from nameplate_config import PreTrainedConfig
    from nameplate_model import PreTrainedModel

    class PearlConfig(PreTrainedConfig):
        model_type = "test_pearl"
        width: int = 3

    class PearlModel(PreTrainedModel):
        config_class = PearlConfig

        def __init__(self, config: PearlConfig) -> None:
            super().__init__(config)
            self.body = torch.nn.Linear(config.width, 1)

    class PearlClassifier(PearlModel):
        pass
    """

AUTO_MAP = {
    "AutoConfig": "pearls.PearlConfig",
    "AutoModel": "pearls.PearlModel",
    "AutoModelForImageClassification": "pearls.PearlClassifier",
}


class PearlConfig(PreTrainedConfig):
    """The config of the same architecture as it is installed here."""

    model_type = "test_pearl"

    width: int = 3


class PearlModel(PreTrainedModel):
    """Its model."""

    def __init__(self, config: PearlConfig) -> None:
        super().__init__(config)
        self.body = torch.nn.Linear(config.width, 1)


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a checkpoint that brings the code of its config and of two models."""
    PearlModel(PearlConfig(width=5)).save_pretrained(tmp_path)
    (tmp_path / "pearls.py").write_text(dedent(CODE), encoding="utf-8")
    say(tmp_path, auto_map=AUTO_MAP)
    return tmp_path


def say(folder: Path, **values: Any) -> None:
    """Change values of a config file; None takes one out."""
    changed = {**json.loads((folder / "config.json").read_text(encoding="utf-8")), **values}
    kept = {name: value for name, value in changed.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")


@pytest.fixture(autouse=True)
def unchanged() -> Iterator[None]:
    """See to it that no test leaves anything in a registry, whatever it loads."""
    registries = [CONFIG_MAPPING, *(each.model_mapping for each in AutoClass.__subclasses__())]
    before = [each.registered() for each in registries]
    yield
    assert [each.registered() for each in registries] == before


def came_along(value: object) -> bool:
    """Whether something is an instance of a class that a checkpoint brought."""
    return not isinstance(value, (PearlConfig, PearlModel)) and type(value).__module__.endswith(".pearls")


def test_config_and_model_are_of_one_code(checkpoint: Path) -> None:
    """Where nothing is registered, both classes are those that the checkpoint brings, with its weights."""
    loaded = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)

    assert came_along(loaded)
    assert came_along(loaded.config)
    assert type(loaded).config_class is type(loaded.config)
    assert torch.equal(loaded.body.weight, PearlModel.from_pretrained(checkpoint).body.weight)


def test_arguments_reach_both(checkpoint: Path) -> None:
    """Fields go to the config and options to the load, as with registered classes."""
    loaded, report = AutoModel.from_pretrained(
        checkpoint, trust_remote_code=True, width=6, ignore_mismatched_sizes=True, output_loading_info=True
    )

    assert loaded.config.width == 6
    assert [each.name for each in report.mismatched] == ["body.weight"]


def test_a_config_finds_its_models_without_being_trusted_again(checkpoint: Path) -> None:
    """`from_config` takes the model from the code that the config's class came from."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)

    model = AutoModelForImageClassification.from_config(config)

    assert came_along(model)
    assert type(model).__name__ == "PearlClassifier"
    assert type(model.config) is type(config)


@pytest.mark.parametrize("name", ["model_type", "code_revision"])
def test_what_a_passed_config_leaves_without_effect_is_refused(name: str, checkpoint: Path) -> None:
    """With `config=` nothing is read of the file, so what would say how to read it is an error."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)

    with pytest.raises(UnknownOptionError, match=f"reads no config if it is given, so {name} has no effect"):
        AutoModel.from_pretrained(checkpoint, config=config, **{name: "main"})


def test_trust_that_is_none_is_refused_where_no_code_is_needed(checkpoint: Path) -> None:
    """A value of `trust_remote_code` that means nothing is an error also for a registered class."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)

    with pytest.raises(RemoteCodeError, match="trust_remote_code is 'yes'"):
        AutoModel.from_pretrained(checkpoint, config=config, trust_remote_code="yes")


@pytest.mark.parametrize("trust", [1, "yes", []])
@pytest.mark.parametrize("auto_class", [AutoConfig, AutoModel])
def test_a_registered_class_does_not_hide_a_mistaken_trust(auto_class: Any, trust: Any, tmp_path: Path) -> None:
    """What `trust_remote_code` says is checked by every Auto class, whether or not the checkpoint brings code."""
    PearlConfig(width=5).save_pretrained(tmp_path)

    refused = pytest.raises(RemoteCodeError, match="trust_remote_code is")
    with CONFIG_MAPPING.override(PearlConfig.model_type, PearlConfig), refused:
        auto_class.from_pretrained(tmp_path, trust_remote_code=trust)


def test_a_passed_config_brings_its_model_along(checkpoint: Path) -> None:
    """With `config=` too, the model is of the code that the config's class came from."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)

    loaded = AutoModel.from_pretrained(checkpoint, config=config)

    assert came_along(loaded)
    assert loaded.config is config


def test_what_is_registered_serves_first(checkpoint: Path) -> None:
    """Where config and model are registered, nothing is asked and no code of the checkpoint is looked at."""
    (checkpoint / "pearls.py").write_text("raise SystemExit('it ran')", encoding="utf-8")

    with CONFIG_MAPPING.override("test_pearl", PearlConfig), AutoModel.model_mapping.override(PearlConfig, PearlModel):
        loaded = AutoModel.from_pretrained(checkpoint)

    assert type(loaded) is PearlModel


def test_a_model_for_a_task_without_one_comes_with_its_own_config(checkpoint: Path) -> None:
    """Where only the config is registered, config and model are both the checkpoint's, as they fit each other."""
    with CONFIG_MAPPING.override("test_pearl", PearlConfig):
        with pytest.raises(RemoteCodeRefusedError):
            AutoModel.from_pretrained(checkpoint)
        loaded = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)

    assert came_along(loaded)
    assert came_along(loaded.config)


def test_what_the_caller_says_is_registered_is_not_replaced(checkpoint: Path) -> None:
    """With `model_type=` the registered config is meant, and code of the checkpoint is no substitute."""
    with (
        CONFIG_MAPPING.override("test_pearl", PearlConfig),
        pytest.raises(UnknownArchitectureError, match="AutoModel has no model class for PearlConfig"),
    ):
        AutoModel.from_pretrained(checkpoint, model_type="test_pearl", trust_remote_code=True)


def test_a_model_may_be_registered_for_a_config_that_came_along(checkpoint: Path) -> None:
    """Who registers a model for the very class that came along gets that model."""
    config = AutoConfig.from_pretrained(checkpoint, trust_remote_code=True)

    class OwnModel(PreTrainedModel):
        config_class = type(config)

    with AutoModel.model_mapping.override(type(config), OwnModel):
        assert AutoModel.model_class(config) is OwnModel
        found = AutoModel.from_pretrained(checkpoint, trust_remote_code=True, strict=False)

    assert type(found) is OwnModel


@pytest.mark.parametrize("registered", [False, True])
def test_a_model_may_come_without_a_config(checkpoint: Path, registered: bool) -> None:
    """Where the checkpoint names no config class, that of its model counts, also beside a registered one."""
    say(checkpoint, auto_map={"AutoModel": "pearls.PearlModel"})

    with CONFIG_MAPPING.override("test_pearl", PearlConfig):
        if not registered:
            CONFIG_MAPPING.unregister("test_pearl")
        loaded = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)

    assert came_along(loaded)
    assert came_along(loaded.config)


def test_a_task_that_nothing_serves_is_refused(checkpoint: Path) -> None:
    """The error says for which tasks the checkpoint brings code."""
    with pytest.raises(UnknownArchitectureError) as error:
        nameplate_auto.AutoModelForDepthEstimation.from_pretrained(checkpoint, trust_remote_code=True)

    assert str(error.value) == (
        "AutoModelForDepthEstimation has no model class for PearlConfig.\n"
        "  This config class has one for: none.\n"
        "  The checkpoint brings code for: AutoConfig, AutoModel, AutoModelForImageClassification.\n"
        "  Register one with AutoModelForDepthEstimation.register(PearlConfig, YourModel)."
    )


def test_code_for_no_config_and_another_task_is_no_help(checkpoint: Path) -> None:
    """An unknown `model_type` stays unknown if the checkpoint brings neither its config nor a model for the task."""
    say(checkpoint, auto_map={"AutoModel": "pearls.PearlModel"})

    with pytest.raises(UnknownModelTypeError, match=r"The checkpoint brings code for AutoModel, not for this\."):
        AutoModelForImageClassification.from_pretrained(checkpoint, trust_remote_code=True)


def test_a_load_of_what_came_along_changes_no_later_load(checkpoint: Path) -> None:
    """After a trusted load the same checkpoint is refused again, and its name is as unknown as before."""
    AutoModel.from_pretrained(checkpoint, trust_remote_code=True)

    with pytest.raises(RemoteCodeRefusedError):
        AutoModel.from_pretrained(checkpoint)
    with pytest.raises(UnknownModelTypeError):
        AutoConfig.for_model("test_pearl")


DERIVED = """
    from {module} import ShellConfig, Shell

    class PearlConfig(ShellConfig):
        model_type = "test_pearl"

    class PearlModel(Shell):
        config_class = PearlConfig
    """

INSTALLED = """
    import torch
    from nameplate_config import PreTrainedConfig
    from nameplate_model import PreTrainedModel

    class ShellConfig(PreTrainedConfig):
        model_type = "test_shell"
        width: int = 3

    class Shell(PreTrainedModel):
        config_class = ShellConfig

        def __init__(self, config: ShellConfig) -> None:
            super().__init__(config)
            self.body = torch.nn.Linear(config.width, 1)
    """


def test_a_config_derived_from_a_registered_one_has_its_models(
    checkpoint: Path, write_module: Callable[[str], str]
) -> None:
    """For a task that the checkpoint brings a model for, that one serves; for others, that of the base class."""
    name = write_module(dedent(INSTALLED))
    installed = importlib.import_module(name)
    (checkpoint / "pearls.py").write_text(dedent(DERIVED).format(module=name), encoding="utf-8")
    say(checkpoint, auto_map={"AutoConfig": "pearls.PearlConfig", "AutoModel": "pearls.PearlModel"})

    with (
        AutoModel.model_mapping.override(installed.ShellConfig, installed.Shell),
        AutoModelForImageClassification.model_mapping.override(installed.ShellConfig, installed.Shell),
    ):
        body = AutoModel.from_pretrained(checkpoint, trust_remote_code=True)
        head = AutoModelForImageClassification.from_pretrained(checkpoint, trust_remote_code=True)
        fresh = [AutoModel.from_config(head.config), AutoModelForImageClassification.from_config(head.config)]

    assert [came_along(each) for each in (body, head, *fresh)] == [True, False, True, False]
    assert type(head) is type(fresh[1]) is installed.Shell
    assert came_along(head.config)
