"""Classes of other libraries: what they are given, and what becomes of what they raise.

The classes here do what those of Transformers do, without being them; the real ones are in
`test_transformers_bridge.py`.
"""

from pathlib import Path
from typing import Any, ClassVar

import pytest

from nameplate_auto import ForeignClassError, RemoteCodeRefusedError, UnknownModelTypeError
from nameplate_auto._duck import config_of, model_of, new_model_of, refuse_unused
from nameplate_config import Source, SourceNotFoundError, UnknownOptionError

HERE = Source("checkpoint", Path("/models/checkpoint"))


class ForeignConfig:
    """A config as another library writes it: it changes what it is given and keeps the rest as attributes."""

    model_type = "foreign"

    def __init__(self, **values: Any) -> None:
        self.width = values.pop("width", 3)
        self.architectures = values.pop("architectures", None)
        self.name_or_path = values.pop("name_or_path", "")

    @classmethod
    def from_dict(cls, values: dict[str, Any], *, return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """Read the contents of a file."""
        values.update({name: kwargs.pop(name) for name in ("width", "name_or_path") if name in kwargs})
        values.get("layers", []).append("changed")
        config = cls(**values)
        return (config, kwargs) if return_unused_kwargs else config


class ForeignModel:
    """A model that answers with what it was given."""

    config_class = ForeignConfig

    def __init__(self, config: ForeignConfig, *args: Any, **kwargs: Any) -> None:
        self.config, self.args, self.kwargs = config, args, kwargs

    @classmethod
    def from_pretrained(cls, *args: Any, config: ForeignConfig, **kwargs: Any) -> Any:
        """Answer with what was given."""
        return cls(config, *args, **kwargs)


def failing(error: Exception) -> type[Any]:
    """Return a class all of whose methods raise an error."""

    def fail(*_args: object, **_kwargs: object) -> None:
        raise error

    return type("Failing", (), {"from_dict": fail, "from_pretrained": fail, "_from_config": fail})


def reporting(missing: list[str], *, name: str = "Reporting") -> type[Any]:
    """Return a class that descends from one of Transformers' and reports what a checkpoint lacks."""

    def load(cls: type[Any], _place: str, *, config: Any, output_loading_info: bool, **_: Any) -> Any:
        assert output_loading_info
        model = cls()
        model.config = config
        return model, {"missing_keys": set(missing), "unexpected_keys": set()}

    base = type("PreTrainedModel", (), {"__module__": "transformers.modeling_utils"})
    return type(name, (base,), {"from_pretrained": classmethod(load)})


# ---- configs


def test_a_config_class_reads_its_own_values() -> None:
    """The config is what the class itself makes of the values."""
    config, unused = config_of(ForeignConfig, {"width": 5}, source=HERE, overrides={})

    assert (type(config), config.width, unused) == (ForeignConfig, 5, {})


def test_overrides_go_before_the_file_and_unknown_ones_come_back() -> None:
    """An override gets into the config if the class knows it, and is returned if not."""
    config, unused = config_of(ForeignConfig, {"width": 5}, source=HERE, overrides={"width": 7, "wdth": 1})

    assert (config.width, unused) == (7, {"wdth": 1})


def test_the_config_knows_where_it_came_from() -> None:
    """A class that has a place for it is told the name of the source, as by its own library."""
    config, _ = config_of(ForeignConfig, {}, source=HERE, overrides={})

    assert config.name_or_path == "checkpoint"


def test_a_class_that_knows_no_place_keeps_it_to_itself() -> None:
    """The name of the source is no override of the caller's, and never returned as one."""
    plain = type("Plain", (), {"from_dict": staticmethod(lambda values, **options: (values, options))})

    assert config_of(plain, {"width": 5}, source=HERE, overrides={}) == ({"width": 5}, {})


@pytest.mark.parametrize(
    "values",
    [
        {"attn_implementation": "org/kernel"},
        {"_attn_implementation_internal": "paged|org/kernel@v1:forward"},
        {"attn_implementation": {"": "eager", "text_config": "org/kernel"}},
        {"parts": [{"deep": {"_experts_implementation": "org/kernel"}}]},
    ],
)
def test_a_file_cannot_choose_code_of_a_repository(values: dict[str, Any]) -> None:
    """Kernels that Transformers would fetch and run are refused, in the config and in configs inside of it."""
    with pytest.raises(RemoteCodeRefusedError, match=r"_implementation\w* in .* is .*code of another repository"):
        config_of(ForeignConfig, values, source=HERE, overrides={})


def test_a_file_may_choose_an_implementation_that_is_installed() -> None:
    """A name that is no repository's is the class's own business."""
    config, _ = config_of(ForeignConfig, {"attn_implementation": "sdpa", "width": 5}, source=HERE, overrides={})

    assert config.width == 5


def test_the_values_are_not_changed() -> None:
    """A class that changes what it is given does not change what the caller holds."""
    values = {"width": 5, "layers": [1]}

    config_of(ForeignConfig, values, source=HERE, overrides={"width": 7})

    assert values == {"width": 5, "layers": [1]}


@pytest.mark.parametrize("error", [TypeError("no width"), KeyError("width"), RuntimeError("broken")])
def test_what_a_config_class_raises_is_an_error_of_ours(error: Exception) -> None:
    """A refusal of any kind names the class and the source, and has the error as its cause."""
    with pytest.raises(ForeignClassError) as caught:
        config_of(failing(error), {}, source=HERE, overrides={})

    assert str(caught.value).startswith(f"{__name__}.Failing.from_dict refuses 'checkpoint': {type(error).__name__}: ")
    assert caught.value.__cause__ is error


def test_a_config_class_that_returns_no_pair_is_refused() -> None:
    """A `from_dict` that does not tell the unused arguments is no such method."""
    odd = type("Odd", (), {"from_dict": staticmethod(lambda _values, **_options: object())})

    with pytest.raises(ForeignClassError, match=r"Odd\.from_dict refuses 'checkpoint': TypeError"):
        config_of(odd, {}, source=HERE, overrides={})


def test_errors_of_this_family_pass() -> None:
    """A class that raises an error of ours has said it well enough."""
    error = UnknownModelTypeError("said")

    for ask in (
        lambda cls: config_of(cls, {}, source=HERE, overrides={}),
        lambda cls: model_of(cls, HERE, None, {}),
        lambda cls: new_model_of(cls, None),
    ):
        with pytest.raises(UnknownModelTypeError) as caught:
            ask(failing(error))
        assert caught.value is error


def test_an_override_that_nobody_knows_is_refused_by_name() -> None:
    """The error about an unused override names it, and the attribute that was meant."""
    with pytest.raises(UnknownOptionError) as caught:
        refuse_unused(ForeignConfig(), {"wdth": 1})

    assert str(caught.value) == "ForeignConfig has no field 'wdth'.\n  Did you mean 'width'?"


def test_no_unused_override_is_no_error() -> None:
    """Nothing is refused where everything was used."""
    refuse_unused(ForeignConfig(), {})


# ---- models


def test_a_folder_is_loaded_from_its_path() -> None:
    """A model class gets the folder, the config and the options, and is not to ask the Hub."""
    config = ForeignConfig()

    model = model_of(ForeignModel, HERE, config, {"dtype": "float16"})

    assert model.config is config
    assert (model.args, model.kwargs) == ((str(HERE.folder),), {"local_files_only": True, "dtype": "float16"})


def test_a_repository_is_loaded_at_its_commit() -> None:
    """A model class gets the repository's id, the commit that its config came from, and how to fetch it."""
    source = Source("org/name", None, "org/name", "c0ffee", {"revision": "main", "subfolder": "", "cache_dir": "x"})

    model = model_of(ForeignModel, source, ForeignConfig(), {})

    assert (model.args, model.kwargs) == (("org/name",), {"revision": "c0ffee", "cache_dir": "x"})


def test_a_file_is_no_place_of_a_model() -> None:
    """A source that is one file has a config, and no weights."""
    source = Source("config.json", None, file=Path("/models/config.json"))

    with pytest.raises(SourceNotFoundError, match=r"'/models/config\.json' is a file. Give the folder that holds it\."):
        model_of(ForeignModel, source, ForeignConfig(), {})


def test_an_option_that_the_class_does_not_take_is_named() -> None:
    """A `TypeError` about an option is the error about an unknown option."""
    error = TypeError("__init__() got an unexpected keyword argument 'wrong'")

    with pytest.raises(UnknownOptionError) as caught:
        model_of(failing(error), HERE, ForeignConfig(), {"wrong": 1})

    assert str(caught.value) == (
        f"{__name__}.Failing.from_pretrained does not take an option: "
        "TypeError: __init__() got an unexpected keyword argument 'wrong'"
    )


def test_weights_that_are_not_there_are_a_source_that_is_not_found() -> None:
    """An `OSError`, which Transformers raises about absent weights, is a `SourceNotFoundError`."""
    with pytest.raises(SourceNotFoundError) as caught:
        model_of(failing(OSError("no file named model.safetensors")), HERE, ForeignConfig(), {})

    assert str(caught.value) == (
        f"{__name__}.Failing cannot read 'checkpoint': OSError: no file named model.safetensors"
    )


@pytest.mark.parametrize("error", [RuntimeError("shapes"), TypeError("deep inside"), ImportError("no natten")])
def test_what_a_model_class_raises_is_an_error_of_ours(error: Exception) -> None:
    """A refusal of any other kind is a `ForeignClassError`, which is the `RuntimeError` that Transformers raises."""
    with pytest.raises(ForeignClassError) as caught:
        model_of(failing(error), HERE, ForeignConfig(), {"dtype": "float16"})

    assert str(caught.value).startswith(f"{__name__}.Failing.from_pretrained refuses 'checkpoint': ")
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.__cause__ is error


def test_a_class_of_its_own_is_not_asked_for_a_report() -> None:
    """Only what descends from Transformers is known to report; another class gets the options as they are."""
    model = model_of(ForeignModel, HERE, ForeignConfig(), {"output_loading_info": True})

    assert model.kwargs["output_loading_info"] is True


def test_weights_left_at_random_are_an_error() -> None:
    """A checkpoint that says it was saved from the class, and lacks tensors of it, is refused with their names."""
    with pytest.raises(ForeignClassError) as caught:
        model_of(reporting(["b", "a"]), HERE, ForeignConfig(architectures=["Reporting"]), {})

    assert str(caught.value) == (
        f"'checkpoint' lacks 2 of the tensors of {__name__}.Reporting: a, b.\n"
        "  It says that it was saved from this class. Its own loading would give them random values and a warning.\n"
        "  Load the right checkpoint, or pass strict=False if that is what you want."
    )


@pytest.mark.parametrize("saved_from", [None, ["AnotherHead"]])
def test_a_head_may_be_new(saved_from: list[str] | None) -> None:
    """A checkpoint of another class, or of nobody knows which, may lack the head: it is to be trained."""
    model = model_of(reporting(["head"]), HERE, ForeignConfig(architectures=saved_from), {})

    assert type(model).__name__ == "Reporting"


def test_random_weights_can_be_allowed() -> None:
    """With `strict=False`, which the class never sees, its own way of loading is good enough."""
    model = model_of(reporting(["a"]), HERE, ForeignConfig(architectures=["Reporting"]), {"strict": False})

    assert type(model).__name__ == "Reporting"


def test_the_report_is_returned_to_who_asks() -> None:
    """With `output_loading_info=True` the report of the class comes with the model."""
    config = ForeignConfig(architectures=["Reporting"])

    model, report = model_of(reporting([]), HERE, config, {"output_loading_info": True})

    assert (model.config, report["missing_keys"]) == (config, set())


# ---- fresh models


class Built:
    """A class with none of the methods."""

    how: ClassVar[str] = "called"

    def __init__(self, config: Any, how: str = "called") -> None:
        self.config, self.built = config, how


@pytest.mark.parametrize("methods", [("_from_config",), ("from_config",), ("_from_config", "from_config"), ()])
def test_a_fresh_model_is_built_as_its_class_does(methods: tuple[str, ...]) -> None:
    """The class's `_from_config` comes first, then its `from_config`, then the class itself."""
    made = {name: classmethod(lambda cls, config, name=name: cls(config, name)) for name in methods}
    config = ForeignConfig()

    model = new_model_of(type("Made", (Built,), made), config)

    assert (model.config, model.built) == (config, methods[0] if methods else "called")


def test_a_model_that_cannot_be_built_is_an_error_of_ours() -> None:
    """What a class raises while it builds itself names the class."""
    with pytest.raises(ForeignClassError) as caught:
        new_model_of(failing(AssertionError("cardinality")), ForeignConfig())

    assert str(caught.value) == (
        f"{__name__}.Failing cannot build a model from its config: AssertionError: cardinality"
    )
