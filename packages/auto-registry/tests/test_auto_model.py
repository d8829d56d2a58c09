"""Auto classes: a config leads to the model class for a task, and every option reaches that class."""

import json
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import nameplate_auto
from nameplate_auto import (
    CONFIG_MAPPING,
    AutoClass,
    AutoConfig,
    AutoModel,
    AutoModelForImageClassification,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    RegistryError,
    RemoteCodeError,
    UnknownArchitectureError,
    UnknownModelTypeError,
)
from nameplate_auto._auto_class import OF_A_LOAD
from nameplate_config import PreTrainedConfig, UnknownOptionError, open_source
from nameplate_model import LOAD_OPTIONS, MismatchError, PreTrainedModel


class KiteConfig(PreTrainedConfig):
    """The config of the tiny architecture."""

    model_type = "test_kite"

    width: int = 3


class KiteModel(PreTrainedModel):
    """One linear layer."""

    config_class = KiteConfig
    head_prefixes = ("head.",)

    def __init__(self, config: KiteConfig) -> None:
        super().__init__(config)
        self.body = nn.Linear(config.width, config.width)


class KiteClassifier(KiteModel):
    """The same with a head."""

    def __init__(self, config: KiteConfig) -> None:
        super().__init__(config)
        self.head = nn.Linear(config.width, 2)


class StuntKiteConfig(KiteConfig):
    """A config derived from another one, of a type of its own."""

    model_type = "test_stunt_kite"


class StuntKiteModel(KiteModel):
    """A model for the derived config only."""

    config_class = StuntKiteConfig


class LoneConfig(PreTrainedConfig):
    """A config that no model is registered for."""

    model_type = "test_lone"


class LoneModel(PreTrainedModel):
    """A model that is not registered for it."""

    config_class = LoneConfig


class AutoModelForFlying(AutoClass):
    """A task of our own."""


TASKS = [
    "AutoBackbone",
    "AutoModel",
    "AutoModelForDepthEstimation",
    "AutoModelForImageClassification",
    "AutoModelForInstanceSegmentation",
    "AutoModelForMaskedImageModeling",
    "AutoModelForObjectDetection",
    "AutoModelForPreTraining",
    "AutoModelForSemanticSegmentation",
]


@pytest.fixture(autouse=True)
def registrations() -> Iterator[None]:
    """Register the tiny architecture for the length of a test."""
    with ExitStack() as stack:
        for config_class in (KiteConfig, StuntKiteConfig, LoneConfig):
            stack.enter_context(CONFIG_MAPPING.override(config_class.model_type, config_class))
        stack.enter_context(AutoModel.model_mapping.override(KiteConfig, KiteModel))
        yield


@contextmanager
def freed(auto_class: type[AutoClass], config_class: type[PreTrainedConfig]) -> Iterator[None]:
    """Let no model be registered for a config at the start of a block, nor after it."""
    with auto_class.model_mapping.override(config_class, "no_such_module:Model"):
        auto_class.unregister(config_class)
        yield


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a folder with a saved `KiteModel`."""
    KiteModel(KiteConfig(width=4)).save_pretrained(tmp_path)
    return tmp_path


# ---- registering


def test_a_registered_model_is_found_by_its_config() -> None:
    """`register` links a config class to a model class for one task."""
    with freed(AutoModelForImageClassification, KiteConfig):
        AutoModelForImageClassification.register(KiteConfig, KiteClassifier)

        assert AutoModelForImageClassification.model_class(KiteConfig()) is KiteClassifier


def test_a_decorated_model_is_registered_and_unchanged() -> None:
    """Without a model class, `register` is a decorator that gives back the very class."""
    with freed(AutoModelForFlying, KiteConfig):

        class Flier(KiteModel):
            pass

        decorated = AutoModelForFlying.register(KiteConfig)(Flier)

        assert decorated is Flier
        assert AutoModelForFlying.model_class(KiteConfig()) is Flier


def test_a_model_can_be_registered_as_text(write_module: Callable[[str], str]) -> None:
    """A lazy text is imported when the model is needed."""
    module = write_module(f"import sys\nKiteModel = sys.modules[{__name__!r}].KiteModel")
    with AutoModelForFlying.model_mapping.override(KiteConfig, f"{module}:KiteModel"):
        before = AutoModelForFlying.model_mapping.find(KiteConfig).lazy
        found = AutoModelForFlying.model_class(KiteConfig())

    assert (before, found) == (True, KiteModel)


def test_a_second_model_is_refused() -> None:
    """A config class has one model per task; the error names both."""
    with pytest.raises(DuplicateRegistrationError) as error:
        AutoModel.register(KiteConfig, KiteClassifier)

    said = str(error.value).splitlines()
    first, other = f"{__name__}.KiteModel", f"{__name__}.KiteClassifier"
    assert said[0] == f"AutoModel KiteConfig is already registered by {first}; {other} asks for it."
    assert said[-1] == "  Choose another name, unregister the first one, or pass exist_ok=True to replace it."
    assert AutoModel.model_class(KiteConfig()) is KiteModel


def test_a_second_model_replaces_the_first_on_demand() -> None:
    """With `exist_ok` the new model class takes the place."""
    AutoModel.register(KiteConfig, KiteClassifier, exist_ok=True)

    assert AutoModel.model_class(KiteConfig()) is KiteClassifier


def test_tasks_are_independent() -> None:
    """One config class has another model for each task."""
    with AutoModelForImageClassification.model_mapping.override(KiteConfig, KiteClassifier):
        found = AutoModel.model_class(KiteConfig()), AutoModelForImageClassification.model_class(KiteConfig())

    assert found == (KiteModel, KiteClassifier)


def test_a_model_of_another_config_is_refused() -> None:
    """A model class cannot be registered for a config that it is not built from."""
    with pytest.raises(InconsistentRegistrationError) as error:
        AutoModel.register(LoneConfig, KiteModel)

    assert str(error.value) == (
        "KiteModel is built from KiteConfig, but it is being registered for LoneConfig.\n"
        "  Register it for its own config class."
    )
    assert LoneConfig not in AutoModel.model_mapping


def test_a_model_of_a_base_config_is_accepted() -> None:
    """A model class that is built from a base class can serve the derived config."""
    with freed(AutoModel, StuntKiteConfig):
        AutoModel.register(StuntKiteConfig, KiteClassifier)

        assert AutoModel.model_class(StuntKiteConfig()) is KiteClassifier


def test_a_class_without_a_config_class_is_refused() -> None:
    """What does not say which config it is built from is no model class."""
    with pytest.raises(InconsistentRegistrationError) as error:
        AutoModel.register(LoneConfig, dict)

    expected = "<class 'dict'> has no config_class, so it cannot be registered as a model class."
    assert str(error.value) == expected


def test_a_name_is_no_config_class() -> None:
    """Models are registered for config classes, not for the names of architectures."""
    with pytest.raises(InconsistentRegistrationError) as error:
        AutoModel.register("test_kite", KiteModel)  # type: ignore[arg-type]

    assert str(error.value) == "models are registered for a config class, found 'test_kite'."


def test_namesakes_are_told_apart() -> None:
    """Config classes are matched by identity: one that merely has the same name finds nothing."""
    namesake = type("KiteConfig", (PreTrainedConfig,), {"model_type": "test_kite"})

    with pytest.raises(UnknownArchitectureError):
        AutoModel.model_class(namesake())


def test_unregister_removes_the_model() -> None:
    """After `unregister` the config has no model for the task."""
    AutoModel.unregister(KiteConfig)

    with pytest.raises(UnknownArchitectureError):
        AutoModel.model_class(KiteConfig())


def test_unregister_refuses_what_nobody_registered() -> None:
    """The error names the config class plainly."""
    with (
        freed(AutoModelForFlying, KiteConfig),
        AutoModelForFlying.model_mapping.override(StuntKiteConfig, StuntKiteModel),
        pytest.raises(UnknownModelTypeError) as error,
    ):
        AutoModelForFlying.unregister(KiteConfig)

    expected = "AutoModelForFlying KiteConfig is not registered.\n  Did you mean 'StuntKiteConfig'?"
    assert str(error.value) == expected


# ---- Auto classes


def test_an_auto_class_of_our_own_has_its_own_mapping() -> None:
    """A subclass of one line is a whole Auto class, and shares its registrations with no other."""
    with AutoModelForFlying.model_mapping.override(KiteConfig, KiteClassifier):
        built = AutoModelForFlying.from_config(KiteConfig())

    assert type(built) is KiteClassifier
    assert type(AutoModel.from_config(KiteConfig())) is KiteModel


def test_an_auto_class_derived_from_another_does_not_share_its_models() -> None:
    """Deriving from an Auto class starts with an empty mapping."""

    class AutoModelForStunts(AutoModelForFlying):
        pass

    assert AutoModelForStunts.model_mapping is not AutoModelForFlying.model_mapping
    assert len(AutoModelForStunts.model_mapping) == 0


@pytest.mark.parametrize("name", TASKS)
def test_each_task_has_its_own_mapping(name: str) -> None:
    """The tasks that everybody knows have Auto classes of their own."""
    auto_class = getattr(nameplate_auto, name)
    with auto_class.model_mapping.override(LoneConfig, LoneModel):
        served = [each for each in TASKS if LoneConfig in getattr(nameplate_auto, each).model_mapping]

    assert served == [name]


def test_an_auto_class_may_say_what_it_returns() -> None:
    """A type argument is for type checkers; the Auto class is one like any other."""

    class AutoModelForGliding(AutoClass[KiteModel]):
        pass

    with AutoModelForGliding.model_mapping.override(KiteConfig, KiteModel):
        assert type(AutoModelForGliding.from_config(KiteConfig())) is KiteModel
    assert AutoModelForGliding.model_mapping is not AutoClass.model_mapping


@pytest.mark.parametrize("auto_class", [AutoModel, AutoModelForFlying])
@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a folder",), {}), ((), {"config": 1})])
def test_an_auto_class_is_not_instantiated(
    auto_class: type[AutoClass], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    """Calling an Auto class says what to call instead, whatever it is given."""
    with pytest.raises(RegistryError) as error:
        auto_class(*args, **kwargs)

    assert str(error.value) == (
        f"{auto_class.__name__} is not instantiated; call from_pretrained(source) or from_config(config)."
    )


# ---- from a config


def test_from_config_builds_a_fresh_model() -> None:
    """The model is of the registered class and has the config that it was built from."""
    config = KiteConfig(width=5)

    model = AutoModel.from_config(config)

    assert type(model) is KiteModel
    assert model.config is config
    assert model.body.in_features == 5


def test_from_config_changes_a_copy() -> None:
    """Arguments are fields that the model's config has another value for; the given one stays as it is."""
    config = KiteConfig(width=5)

    model = AutoModel.from_config(config, width=6, trust_remote_code=False)

    assert (model.config.width, config.width) == (6, 5)


def test_from_config_refuses_what_is_no_field() -> None:
    """A misspelt field is an error with a suggestion."""
    with pytest.raises(UnknownOptionError, match=r"KiteConfig has no field 'widht'\.\n  Did you mean 'width'\?"):
        AutoModel.from_config(KiteConfig(), widht=6)


@pytest.mark.parametrize("name", ["dtype", "torch_dtype"])
def test_from_config_casts_nothing(name: str) -> None:
    """A dtype is refused rather than written into a config whose model has another one."""
    with pytest.raises(UnknownOptionError) as error:
        AutoModel.from_config(KiteConfig(), **{name: "bfloat16"})

    assert str(error.value) == "a fresh model has torch's default dtype. Call .to(dtype) on it."


def test_a_derived_config_finds_the_model_of_its_base() -> None:
    """Where nothing is registered for the derived class, the nearest base class decides."""
    assert AutoModel.model_class(StuntKiteConfig()) is KiteModel


def test_a_derived_config_prefers_its_own_model() -> None:
    """The most specific registration wins, whichever was made first."""
    with AutoModel.model_mapping.override(StuntKiteConfig, StuntKiteModel):
        found = AutoModel.model_class(StuntKiteConfig()), AutoModel.model_class(KiteConfig())

    assert found == (StuntKiteModel, KiteModel)


def test_a_config_without_a_model_is_refused() -> None:
    """The error names the Auto class, the config class and the line to write."""
    with pytest.raises(UnknownArchitectureError) as error:
        AutoModel.from_config(LoneConfig())

    assert str(error.value) == (
        "AutoModel has no model class for LoneConfig.\n"
        "  model_type 'test_lone' has one for: none.\n"
        "  Register one with AutoModel.register(LoneConfig, YourModel)."
    )


def test_the_error_lists_the_heads_that_exist() -> None:
    """Who asks for the wrong head is told which ones there are."""
    with (
        AutoModelForFlying.model_mapping.override(KiteConfig, KiteClassifier),
        pytest.raises(UnknownArchitectureError) as error,
    ):
        AutoModelForImageClassification.from_config(KiteConfig())

    assert str(error.value) == (
        "AutoModelForImageClassification has no model class for KiteConfig.\n"
        "  model_type 'test_kite' has one for: AutoModel, AutoModelForFlying.\n"
        "  Register one with AutoModelForImageClassification.register(KiteConfig, YourModel)."
    )


def test_the_error_imports_no_model() -> None:
    """To say which heads there are, none of them is imported."""
    with (
        AutoModelForFlying.model_mapping.override(KiteConfig, "no_such_module:Kite"),
        pytest.raises(UnknownArchitectureError, match=r"has one for: AutoModel, AutoModelForFlying\.\n"),
    ):
        AutoModelForImageClassification.from_config(KiteConfig())


def test_the_error_tells_namesakes_apart() -> None:
    """Who has a second class of the same name is told where both come from."""
    namesake = type("KiteConfig", (PreTrainedConfig,), {"model_type": "test_kite", "__module__": "elsewhere"})

    with pytest.raises(UnknownArchitectureError) as error:
        AutoModel.from_config(namesake())

    assert str(error.value).splitlines()[2] == (
        f"  One is {__name__}.KiteConfig, the other elsewhere.KiteConfig; "
        "classes are matched by identity, never by name."
    )


def test_a_head_of_a_derived_auto_class_is_listed() -> None:
    """The error knows every Auto class there is, however far down it was derived."""

    class AutoModelForLooping(AutoModelForFlying):
        pass

    AutoModelForLooping.register(LoneConfig, "no_such_module:Model")

    with pytest.raises(UnknownArchitectureError, match=r"has one for: AutoModelForLooping\.\n"):
        AutoModel.from_config(LoneConfig())

    AutoModelForLooping.unregister(LoneConfig)


def test_an_unregistered_config_class_is_called_so() -> None:
    """The error makes no claim about a `model_type` that is not registered."""
    anonymous = type("AnonymousConfig", (PreTrainedConfig,), {})

    with pytest.raises(UnknownArchitectureError, match=r"\n  This config class has one for: none\.\n"):
        AutoModel.from_config(anonymous())


@pytest.mark.parametrize("value", [{"model_type": "test_kite"}, "test_kite", None, KiteConfig])
def test_what_is_no_config_is_refused(value: object) -> None:
    """A dict, a name or a class in the place of a config is refused in our words."""
    with pytest.raises(UnknownArchitectureError, match=r"^AutoModel finds a model class by a config, found "):
        AutoModel.from_config(value)  # type: ignore[arg-type]


# ---- from a checkpoint


@pytest.mark.parametrize("as_source", [str, Path, open_source])
def test_a_saved_model_comes_back(checkpoint: Path, as_source: type) -> None:
    """The class is the registered one, the weights are those of the file."""
    loaded = AutoModel.from_pretrained(as_source(checkpoint))

    expected = KiteModel.from_pretrained(checkpoint).state_dict()
    assert type(loaded) is KiteModel
    assert all(torch.equal(tensor, expected[name]) for name, tensor in loaded.state_dict().items())


def test_a_field_is_overridden_on_the_way(checkpoint: Path) -> None:
    """An argument that names a field of the config goes there."""
    loaded, report = AutoModel.from_pretrained(
        checkpoint, width=6, ignore_mismatched_sizes=True, output_loading_info=True
    )

    assert loaded.config.width == 6
    assert [each.name for each in report.mismatched] == ["body.bias", "body.weight"]


class RecordingKite(KiteModel):
    """A model class that only notes what it is asked for."""

    @classmethod
    def from_pretrained(cls, source: Any, **kwargs: Any) -> Any:
        """Return what was passed."""
        return source, kwargs


class Recorder:
    """The same without a base class of ours."""

    config_class = KiteConfig

    @classmethod
    def from_pretrained(cls, source: Any, /, **kwargs: Any) -> Any:
        """Return what was passed."""
        return source, kwargs


OPTIONS = {
    "allow_missing": ["head.*"],
    "allow_unexpected": ["tail.*"],
    "device": "cpu",
    "dtype": torch.bfloat16,
    "engine": "ring",
    "ignore_mismatched_sizes": True,
    "output_loading_info": True,
    "strict": False,
    "device_map": {"body": "cpu"},
    "device_mesh": "a mesh",
    "keep_in_fp32": ["body"],
    "key_mapping": {"^old": "new"},
    "memory": "copy",
    "plan": "fsdp",
    "state_dict": {"body.weight": torch.ones(1)},
    "timeout": 5.0,
    "use_safetensors": True,
    "variant": "fp16",
    "verify": "full",
}


def test_every_option_of_the_model_class_is_known_here() -> None:
    """The table above lists all that a model class takes, `config` aside, and the Auto classes know the same."""
    assert OPTIONS.keys() == LOAD_OPTIONS - {"config"}
    assert LOAD_OPTIONS | {"torch_dtype"} == OF_A_LOAD


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_reaches_the_model_class(checkpoint: Path, option: str) -> None:
    """What the model class's own `from_pretrained` takes is passed on unchanged; it reads the config itself."""
    with AutoModel.model_mapping.override(KiteConfig, RecordingKite):
        source, passed = AutoModel.from_pretrained(checkpoint, **{option: OPTIONS[option]})

    assert (source, passed) == (open_source(checkpoint), {option: OPTIONS[option]})


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_reaches_a_class_that_cannot_read_configs(checkpoint: Path, option: str) -> None:
    """Any class with a `config_class` gets the options too, beside the config that was read for it."""
    with AutoModel.model_mapping.override(KiteConfig, Recorder):
        source, passed = AutoModel.from_pretrained(checkpoint, **{option: OPTIONS[option]})

    config = passed.pop("config")
    assert source == open_source(checkpoint)
    assert config == AutoConfig.from_pretrained(checkpoint)
    assert passed == {option: OPTIONS[option]}


class ClashingConfig(KiteConfig):
    """A config with fields that are called like options of a load."""

    model_type = "test_clashing"

    strict: str = "of the config"
    variant: str = "of the config"
    memory: str = "of the config"


class ClashingModel(KiteModel):
    """A model for it."""

    config_class = ClashingConfig


@pytest.mark.parametrize("model_class", [ClashingModel, KiteModel])
def test_an_option_goes_before_a_field_of_its_name(tmp_path: Path, model_class: type[KiteModel]) -> None:
    """An argument that is an option of the load is never taken for a field, whoever reads the config."""
    ClashingModel(ClashingConfig()).save_pretrained(tmp_path)

    with (
        CONFIG_MAPPING.override("test_clashing", ClashingConfig),
        AutoModel.model_mapping.override(ClashingConfig, model_class),
    ):
        loaded = AutoModel.from_pretrained(tmp_path, memory="copy", strict=True, variant=None)

    assert type(loaded.config) is ClashingConfig
    assert {loaded.config.strict, loaded.config.variant, loaded.config.memory} == {"of the config"}


def test_a_field_of_that_name_is_changed_in_the_config(tmp_path: Path) -> None:
    """A field that is called like an option gets another value in the config that is passed."""
    ClashingModel(ClashingConfig()).save_pretrained(tmp_path)

    with (
        CONFIG_MAPPING.override("test_clashing", ClashingConfig),
        AutoModel.model_mapping.override(ClashingConfig, ClashingModel),
    ):
        config = AutoConfig.from_pretrained(tmp_path, memory="of the caller")
        loaded = AutoModel.from_pretrained(tmp_path, config=config, memory="copy")

    assert loaded.config.memory == "of the caller"


def test_tensors_may_be_given(checkpoint: Path) -> None:
    """With a config and tensors no source is needed."""
    saved = KiteModel.from_pretrained(checkpoint)

    loaded = AutoModel.from_pretrained(None, config=saved.config, state_dict=saved.state_dict())

    assert type(loaded) is KiteModel
    assert torch.equal(loaded.body.weight, saved.body.weight)


def test_without_a_source_there_must_be_a_config() -> None:
    """None as the source and no config is refused in our words."""
    with pytest.raises(UnknownOptionError) as error:
        AutoModel.from_pretrained(None)

    expected = "AutoModel.from_pretrained needs a source, or None together with config= and state_dict=."
    assert str(error.value) == expected


def test_the_config_is_that_of_the_variant(tmp_path: Path) -> None:
    """A variant is loaded with the config that was saved with it, not with what was left beside it."""
    KiteModel(KiteConfig(width=4)).save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()
    KiteModel(KiteConfig(width=5)).save_pretrained(tmp_path, variant="wide")
    (tmp_path / "config.json").write_bytes(before)  # as if the second save had been cut off there

    for model_class in (KiteModel, Recorder):
        with AutoModel.model_mapping.override(KiteConfig, model_class):
            found: Any = AutoModel.from_pretrained(tmp_path, variant="wide")
        assert (found.config if model_class is KiteModel else found[1]["config"]).width == 5


def test_a_file_that_names_no_architecture_is_read_as_the_caller_says(checkpoint: Path) -> None:
    """`model_type=` finds config and model of a checkpoint whose file does not tell."""
    values = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    del values["model_type"]
    (checkpoint / "config.json").write_text(json.dumps(values), encoding="utf-8")

    loaded = AutoModel.from_pretrained(checkpoint, model_type="test_kite")

    assert (type(loaded), loaded.config.width) == (KiteModel, 4)


@pytest.mark.parametrize("dtype", ["bfloat16", torch.bfloat16])
def test_the_dtype_is_that_of_the_weights(checkpoint: Path, dtype: object) -> None:
    """`dtype` casts the weights, although every config has a field of that name."""
    loaded = AutoModel.from_pretrained(checkpoint, dtype=dtype)

    assert loaded.body.weight.dtype is torch.bfloat16


def test_options_of_the_source_decide_where_to_look(tmp_path: Path) -> None:
    """The subfolder holds for the config and for the weights."""
    KiteModel(KiteConfig()).save_pretrained(tmp_path / "inner")

    assert type(AutoModel.from_pretrained(tmp_path, subfolder="inner")) is KiteModel


def test_an_unknown_option_is_refused_with_a_suggestion(checkpoint: Path) -> None:
    """A misspelt option is an error that names the one that was meant."""
    with pytest.raises(UnknownOptionError) as error:
        AutoModel.from_pretrained(checkpoint, strickt=False)

    expected = "KiteModel.from_pretrained has no option 'strickt'.\n  Did you mean 'strict'?"
    assert str(error.value) == expected


def test_a_config_can_be_passed(checkpoint: Path) -> None:
    """A config that is given is the one that the model has; the file's is not read."""
    config = KiteConfig(width=4)
    (checkpoint / "config.json").write_text("torn", encoding="utf-8")

    assert AutoModel.from_pretrained(checkpoint, config=config).config is config


def test_a_passed_config_chooses_the_class(checkpoint: Path) -> None:
    """The class of the given config decides, not the `model_type` in the file."""
    with AutoModel.model_mapping.override(StuntKiteConfig, StuntKiteModel):
        loaded = AutoModel.from_pretrained(checkpoint, config=StuntKiteConfig(width=4))

    assert type(loaded) is StuntKiteModel


def test_a_passed_config_of_the_wrong_kind_is_refused(checkpoint: Path) -> None:
    """A dict in the place of a config is refused in our words."""
    with pytest.raises(UnknownArchitectureError) as error:
        AutoModel.from_pretrained(checkpoint, config={"width": 4})

    assert str(error.value) == "AutoModel finds a model class by a config, found {'width': 4}."


def test_a_derived_config_is_read_as_itself(tmp_path: Path) -> None:
    """A model that is registered for the base class gets the config of the derived class from the file."""
    KiteClassifier(StuntKiteConfig()).save_pretrained(tmp_path)

    with AutoModel.model_mapping.override(KiteConfig, KiteClassifier):
        loaded = AutoModel.from_pretrained(tmp_path)

    assert (type(loaded), type(loaded.config)) == (KiteClassifier, StuntKiteConfig)


def test_a_head_is_started_from_the_body_of_another(checkpoint: Path) -> None:
    """The Auto class of a task opens the checkpoint of a body; the report names the new head."""
    with AutoModelForImageClassification.model_mapping.override(KiteConfig, KiteClassifier):
        loaded, report = AutoModelForImageClassification.from_pretrained(checkpoint, output_loading_info=True)

    assert type(loaded) is KiteClassifier
    assert report.missing == report.transferred == ("head.bias", "head.weight")


def test_weights_of_another_shape_are_refused(checkpoint: Path) -> None:
    """The model class's own strictness holds behind an Auto class."""
    with pytest.raises(MismatchError, match=r"body\.weight \(expected \(7, 7\), found \(4, 4\)\)"):
        AutoModel.from_pretrained(checkpoint, width=7)


@pytest.mark.parametrize("trusted", [None, False])
@pytest.mark.parametrize("model_type", ["test_remote", "test_lone"])
def test_code_of_a_checkpoint_is_not_run(tmp_path: Path, model_type: str, trusted: bool | None) -> None:
    """A checkpoint whose model class is its own is refused unless trusted, also if its config is registered."""
    values = {
        "model_type": model_type,
        "auto_map": {"AutoConfig": "code.RemoteConfig", "AutoModel": "code.RemoteModel"},
    }
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (tmp_path / "code.py").write_text("raise SystemExit('it ran')", encoding="utf-8")

    with pytest.raises(RemoteCodeError):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=trusted)


@pytest.mark.parametrize("trusted", [None, False, True])
def test_registered_classes_win_over_code_of_the_checkpoint(checkpoint: Path, trusted: bool | None) -> None:
    """Where config and model are registered, no code of the checkpoint runs, whoever trusts it."""
    values = json.loads((checkpoint / "config.json").read_text(encoding="utf-8"))
    values["auto_map"] = {"AutoConfig": "code.RemoteConfig", "AutoModel": "code.RemoteModel"}
    (checkpoint / "config.json").write_text(json.dumps(values), encoding="utf-8")
    (checkpoint / "code.py").write_text("raise SystemExit('it ran')", encoding="utf-8")

    assert type(AutoModel.from_pretrained(checkpoint, trust_remote_code=trusted)) is KiteModel


def test_the_error_says_for_which_heads_the_checkpoint_brings_code(tmp_path: Path) -> None:
    """A checkpoint whose config is registered, and that brings code for another task only, is refused cheaply."""
    values = {"model_type": "test_lone", "auto_map": {"AutoModelForSinging": "code.RemoteModel"}}
    (tmp_path / "config.json").write_text(json.dumps(values), encoding="utf-8")

    with pytest.raises(UnknownArchitectureError, match=r"\n  The checkpoint brings code for: AutoModelForSinging\.\n"):
        AutoModel.from_pretrained(tmp_path, trust_remote_code=True)


# ---- what it costs

PROBE = """
import sys
from nameplate_auto import AutoConfig, AutoModel, AutoModelForImageClassification, CONFIG_MAPPING
from nameplate_config import PreTrainedConfig

@CONFIG_MAPPING.register("test_kite")
class KiteConfig(PreTrainedConfig):
    model_type = "test_kite"
    width: int = 3

AutoModel.register(KiteConfig, "no_such_module:KiteModel")
AutoModelForImageClassification.register(KiteConfig, "no_such_module:KiteClassifier")

KiteConfig(width=5).save_pretrained(sys.argv[1])
assert AutoConfig.from_pretrained(sys.argv[1]).width == 5
assert AutoConfig.for_model("test_kite").width == 3
assert AutoModel.model_mapping.names() == [KiteConfig]
list(CONFIG_MAPPING)
print(*sys.modules)
"""


def test_registering_and_resolving_configs_imports_no_torch(tmp_path: Path) -> None:
    """A program that registers classes, lists names and loads configs never pays for torch or the Hub."""
    probe = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", PROBE, str(tmp_path)],
        capture_output=True,
        check=False,
        text=True,
    )

    assert probe.returncode == 0, probe.stderr
    assert {"torch", "numpy", "huggingface_hub"}.isdisjoint(probe.stdout.split())


def test_registering_with_the_base_is_refused():
    """AutoClass itself serves no task, and says with what to register instead."""
    with pytest.raises(RegistryError, match=r"AutoClass is the base of Auto classes; register .* such as AutoModel\."):
        AutoClass.register(PreTrainedConfig, PreTrainedModel)


def test_the_models_of_an_auto_class_pickle_by_its_name() -> None:
    """A pickle of the mapping says where it is, and brings none of its classes along."""
    assert pickle.loads(pickle.dumps(AutoModel.model_mapping)) is AutoModel.model_mapping
