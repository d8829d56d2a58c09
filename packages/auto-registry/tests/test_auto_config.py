"""`AutoConfig`: the `model_type` in a file leads to the class registered under it, or to a clear refusal."""

import inspect
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from nameplate_auto import (
    CONFIG_MAPPING,
    AutoConfig,
    DuplicateRegistrationError,
    InconsistentRegistrationError,
    RegistryError,
    RemoteCodeError,
    UnknownModelTypeError,
)
from nameplate_config import ConfigError, ConfigFileError, PreTrainedConfig, SourceNotFoundError, UnknownOptionError
from nameplate_config import open_source as opened
from nameplate_config.wording import listed


class KiteConfig(PreTrainedConfig):
    """A config with annotated fields."""

    model_type = "test_kite"

    width: int = 8
    spars: tuple[int, ...] = (1, 2)


class OtherKiteConfig(PreTrainedConfig):
    """A competitor for the same name."""

    model_type = "test_kite"


class SeedConfig(PreTrainedConfig):
    """A config in the style of Transformers, with an alias."""

    model_type = "test_seed"
    attribute_map = {"hidden_size": "d_model"}

    def __init__(self, hidden_size: int = 768, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.hidden_size = hidden_size


@pytest.fixture
def kite() -> Iterator[None]:
    """Register `KiteConfig` for the length of a test."""
    with CONFIG_MAPPING.override("test_kite", KiteConfig):
        yield


@contextmanager
def freed(name: str) -> Iterator[None]:
    """Let nothing be registered under a name at the start of a block, nor after it."""
    with CONFIG_MAPPING.override(name, "no_such_module:Config"):
        CONFIG_MAPPING.unregister(name)
        yield


@pytest.fixture
def free_name() -> Iterator[str]:
    """Return a name that is free before a test and after it."""
    with freed("test_kite"):
        yield "test_kite"


def write_config(folder: Path, **values: Any) -> Path:
    """Write a config file as somebody else's program would, and return the folder."""
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


# ---- registering


def test_a_registered_class_is_in_the_mapping(free_name: str) -> None:
    """`AutoConfig.register` and `CONFIG_MAPPING` are one registry."""
    AutoConfig.register(free_name, KiteConfig)

    assert CONFIG_MAPPING[free_name] is KiteConfig


def test_a_class_in_the_mapping_is_found_by_auto_config(free_name: str) -> None:
    """`CONFIG_MAPPING.register` serves `AutoConfig` as its own `register` does."""
    CONFIG_MAPPING.register(free_name, KiteConfig)

    assert type(AutoConfig.for_model(free_name)) is KiteConfig


def test_the_mapping_registers_by_decorator() -> None:
    """A config class can be registered where it is defined."""
    with freed("test_comet"):

        @CONFIG_MAPPING.register("test_comet")
        class CometConfig(PreTrainedConfig):
            model_type = "test_comet"

        assert CONFIG_MAPPING["test_comet"] is CometConfig


@pytest.mark.usefixtures("kite")
def test_a_taken_name_is_refused() -> None:
    """A second class under one `model_type` is an error that names both classes, and changes nothing."""
    with pytest.raises(DuplicateRegistrationError) as error:
        AutoConfig.register("test_kite", OtherKiteConfig)

    first, other = (f"{each.__module__}.{each.__qualname__}" for each in (KiteConfig, OtherKiteConfig))

    said = str(error.value).splitlines()
    assert said[0] == f"model_type 'test_kite' is already registered by {first}; {other} asks for it."
    assert said[-1] == "  Choose another name, unregister the first one, or pass exist_ok=True to replace it."
    assert CONFIG_MAPPING["test_kite"] is KiteConfig


@pytest.mark.usefixtures("kite")
def test_a_taken_name_is_replaced_on_demand() -> None:
    """With `exist_ok` the second class takes the name."""
    AutoConfig.register("test_kite", OtherKiteConfig, exist_ok=True)

    assert CONFIG_MAPPING["test_kite"] is OtherKiteConfig


def test_a_class_of_another_model_type_is_refused() -> None:
    """The name and the class's own `model_type` must agree."""
    with pytest.raises(InconsistentRegistrationError) as error:
        AutoConfig.register("test_dragon", KiteConfig)

    assert str(error.value) == (
        "KiteConfig.model_type is 'test_kite', but it is being registered as 'test_dragon'.\n"
        "  A checkpoint could not be found again under its own name. Make the two agree."
    )
    assert "test_dragon" not in CONFIG_MAPPING


def test_the_class_registers_by_decorator_too() -> None:
    """Without a class, `AutoConfig.register` is a decorator that gives back the very class."""
    with freed("test_comet"):

        @AutoConfig.register("test_comet")
        class CometConfig(PreTrainedConfig):
            model_type = "test_comet"

        assert AutoConfig.for_model("test_comet") == CometConfig()


def test_a_decorator_replaces_on_demand(free_name: str) -> None:
    """`exist_ok` means the same to the decorator."""
    AutoConfig.register(free_name, KiteConfig)
    AutoConfig.register(free_name, exist_ok=True)(OtherKiteConfig)

    assert CONFIG_MAPPING[free_name] is OtherKiteConfig


def test_a_class_can_be_registered_as_text(free_name: str, write_module: Callable[[str], str]) -> None:
    """A lazy text is imported when somebody asks for the name, and found without that."""
    module = write_module(f"import sys\nConfig = sys.modules[{__name__!r}].KiteConfig")
    AutoConfig.register(free_name, f"{module}:Config")
    before = AutoConfig.find(free_name).lazy

    assert (before, type(AutoConfig.for_model(free_name))) == (True, KiteConfig)


def test_an_unregistered_class_is_unknown(free_name: str) -> None:
    """After `unregister` nothing stands under the name."""
    AutoConfig.register(free_name, KiteConfig)
    AutoConfig.unregister(free_name)

    with pytest.raises(UnknownModelTypeError):
        AutoConfig.find(free_name)


def test_an_instance_is_refused() -> None:
    """A name stands for a class, not for a config."""
    with pytest.raises(InconsistentRegistrationError) as error:
        AutoConfig.register("test_kite", KiteConfig())  # type: ignore[arg-type]

    assert str(error.value) == "model_type 'test_kite' must stand for a config class, found KiteConfig()."


# ---- building by name


@pytest.mark.usefixtures("kite")
def test_for_model_builds_a_config() -> None:
    """Keyword arguments are the fields."""
    assert AutoConfig.for_model("test_kite", width=3) == KiteConfig(width=3)


@pytest.mark.usefixtures("kite")
def test_for_model_suggests_the_nearest_name() -> None:
    """A misspelt name is answered with the one that was meant."""
    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.for_model("test_kyte")

    assert str(error.value) == "model_type 'test_kyte' is not registered.\n  Did you mean 'test_kite'?"


@pytest.mark.usefixtures("kite")
def test_for_model_leaves_the_arguments_to_the_class() -> None:
    """A wrong argument is the config class's error."""
    with pytest.raises(UnknownOptionError) as error:
        AutoConfig.for_model("test_kite", widht=3)

    assert str(error.value) == "KiteConfig has no field 'widht'.\n  Did you mean 'width'?"


@pytest.mark.parametrize(("args", "kwargs"), [((), {}), (("a folder",), {}), ((), {"width": 3})])
def test_auto_config_is_not_instantiated(args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """`AutoConfig()` says what to call instead, whatever it is given."""
    with pytest.raises(RegistryError) as error:
        AutoConfig(*args, **kwargs)

    assert str(error.value) == "AutoConfig is not instantiated; call AutoConfig.from_pretrained(source)."


# ---- loading


@pytest.mark.usefixtures("kite")
@pytest.mark.parametrize("as_source", [str, Path, opened])
def test_a_saved_config_comes_back(tmp_path: Path, as_source: type) -> None:
    """A folder, given as text, path or opened source, gives the class and the values that were saved."""
    config = KiteConfig(width=3, spars=(5, 6, 7))
    config.save_pretrained(tmp_path)

    assert AutoConfig.from_pretrained(as_source(tmp_path)) == config


@pytest.mark.usefixtures("kite")
def test_overrides_win_over_the_file(tmp_path: Path) -> None:
    """An argument that names a field replaces the file's value; the file stays as it is."""
    KiteConfig(width=3).save_pretrained(tmp_path)
    before = (tmp_path / "config.json").read_bytes()

    loaded = AutoConfig.from_pretrained(tmp_path, width=4)

    assert (loaded.width, (tmp_path / "config.json").read_bytes()) == (4, before)


@pytest.mark.usefixtures("kite")
def test_a_wrong_override_is_refused(tmp_path: Path) -> None:
    """An override is checked as the field is; the file is not to blame."""
    KiteConfig().save_pretrained(tmp_path)

    with pytest.raises(ConfigError) as error:
        AutoConfig.from_pretrained(tmp_path, width="wide")

    assert str(error.value) == "KiteConfig: 1 problem.\n  width: expected an int, found 'wide'"


@pytest.mark.usefixtures("kite")
def test_a_config_knows_where_it_is_from(tmp_path: Path) -> None:
    """What `AutoConfig` loads says the folder that it was loaded from, as what its class loads does."""
    KiteConfig().save_pretrained(tmp_path)

    assert AutoConfig.from_pretrained(tmp_path).name_or_path == str(tmp_path)


@pytest.mark.usefixtures("kite")
def test_an_unknown_argument_is_refused(tmp_path: Path) -> None:
    """An argument that is neither an option nor a field is an error with the nearest field."""
    KiteConfig().save_pretrained(tmp_path)

    with pytest.raises(UnknownOptionError) as error:
        AutoConfig.from_pretrained(tmp_path, widht=4)

    assert str(error.value) == "KiteConfig has no field 'widht'.\n  Did you mean 'width'?"


def test_unused_arguments_are_returned_on_demand(tmp_path: Path) -> None:
    """With `return_unused_kwargs` a field, even by its alias, is set and the rest is handed back."""
    SeedConfig(hidden_size=512).save_pretrained(tmp_path)

    with CONFIG_MAPPING.override("test_seed", SeedConfig):
        answer = AutoConfig.from_pretrained(
            tmp_path,
            hidden_size=640,
            not_a_field=1,
            return_unused_kwargs=True,
        )

    loaded, unused = answer

    assert type(loaded) is SeedConfig
    assert (loaded.hidden_size, loaded.d_model, unused) == (640, 640, {"not_a_field": 1})


def test_an_alias_survives_the_file(tmp_path: Path) -> None:
    """A value that was given by its alias is there when the file is read without overrides."""
    SeedConfig(hidden_size=512).save_pretrained(tmp_path)

    with CONFIG_MAPPING.override("test_seed", SeedConfig):
        loaded = AutoConfig.from_pretrained(tmp_path)

    assert (loaded.hidden_size, loaded.d_model) == (512, 512)


@pytest.mark.usefixtures("kite")
def test_every_used_argument_leaves_nothing_unused(tmp_path: Path) -> None:
    """The rest is an empty dict if every argument was a field or an option of the source."""
    (tmp_path / "inner").mkdir()
    KiteConfig().save_pretrained(tmp_path / "inner")

    loaded = AutoConfig.from_pretrained(tmp_path, subfolder="inner", width=4, return_unused_kwargs=True)

    assert loaded == (KiteConfig(width=4), {})


@pytest.mark.usefixtures("kite")
def test_an_unknown_model_type_names_the_file_and_the_nearest_name(tmp_path: Path) -> None:
    """The error says which file asks for what, and suggests a registered name."""
    write_config(tmp_path, model_type="test_kites")

    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.from_pretrained(tmp_path)

    assert str(error.value) == (
        f"model_type 'test_kites' in {tmp_path / 'config.json'} is not registered.\n"
        "  Did you mean 'test_kite'?\n"
        "  Install the package that defines it, register its config class with AutoConfig.register, "
        "or pass a registered name as model_type=.\n"
        f"  Installed packages announce: {listed(sorted(CONFIG_MAPPING.keys() - CONFIG_MAPPING.registered()))}."
    )


def test_packages_that_may_announce_nothing_are_hinted_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where an allow-list of packages may be why a name is unknown, the error says so."""
    monkeypatch.setenv("NAMEPLATE_PLUGINS", "kites")
    write_config(tmp_path, model_type="test_kites")

    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.from_pretrained(tmp_path)

    said = "  Installed packages announce: none; NAMEPLATE_PLUGINS lets none but 'kites' do so."
    assert str(error.value).splitlines()[-1] == said


def test_an_unknown_model_type_without_a_neighbour_lists_the_registered_ones(tmp_path: Path) -> None:
    """Where no name is near, the error lists those that are known."""
    write_config(tmp_path, model_type="zzzzzzzzzz")

    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.from_pretrained(tmp_path)

    assert str(error.value).splitlines()[1] == f"  Registered: {listed(CONFIG_MAPPING.names())}."


def test_an_endless_model_type_is_shortened(tmp_path: Path) -> None:
    """A hostile file cannot flood the log through an error message."""
    write_config(tmp_path, model_type="x" * 500_000)

    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.from_pretrained(tmp_path)

    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("values", [{}, {"model_type": ""}, {"model_type": None}, {"model_type": 5}])
def test_a_missing_model_type_is_not_guessed(tmp_path: Path, values: dict[str, Any]) -> None:
    """A file that does not say what it is of is refused, and the error names the ways out."""
    write_config(tmp_path, width=3, **values)

    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.from_pretrained(tmp_path)

    assert str(error.value) == (
        f"{tmp_path / 'config.json'} names no model_type, so nothing says which architecture it is of.\n"
        f"  Registered: {listed(CONFIG_MAPPING.names())}. "
        "Pass one of them as model_type=, load it with the class itself, or add the key."
    )


@pytest.mark.usefixtures("kite")
def test_the_name_of_the_folder_says_nothing(tmp_path: Path) -> None:
    """A folder that is called like a registered `model_type` is not taken for one of it."""
    (tmp_path / "test_kite").mkdir()
    folder = write_config(tmp_path / "test_kite", width=3)

    with pytest.raises(UnknownModelTypeError, match="names no model_type"):
        AutoConfig.from_pretrained(folder)


@pytest.mark.usefixtures("kite")
@pytest.mark.parametrize("values", [{}, {"model_type": None}, {"model_type": "test_others"}, {"model_type": 5}])
def test_the_caller_may_say_the_model_type(tmp_path: Path, values: dict[str, Any]) -> None:
    """`model_type=` counts whatever the file says, and is no field of the config."""
    write_config(tmp_path, width=3, **values)

    loaded = AutoConfig.from_pretrained(tmp_path, model_type="test_kite")

    assert loaded == KiteConfig(width=3)


@pytest.mark.usefixtures("kite")
def test_what_the_caller_says_must_be_registered(tmp_path: Path) -> None:
    """A misspelt `model_type=` is not replaced by that of the file."""
    KiteConfig().save_pretrained(tmp_path)

    with pytest.raises(UnknownModelTypeError) as error:
        AutoConfig.from_pretrained(tmp_path, model_type="test_kyte")

    assert str(error.value) == "model_type 'test_kyte' is not registered.\n  Did you mean 'test_kite'?"


@pytest.mark.usefixtures("kite")
@pytest.mark.parametrize("model_type", [["test_kite"], 5, KiteConfig])
def test_what_the_caller_says_must_be_a_name(tmp_path: Path, model_type: Any) -> None:
    """A class or a list in the place of a name is refused in our words."""
    KiteConfig().save_pretrained(tmp_path)

    with pytest.raises(UnknownOptionError, match=r"^model_type must be a registered name, found "):
        AutoConfig.from_pretrained(tmp_path, model_type=model_type)


@pytest.mark.usefixtures("kite")
def test_a_file_may_name_an_alias(tmp_path: Path) -> None:
    """A file of an older name is read by the class that has the new one, and saved under that."""
    with freed("test_dragon"):
        CONFIG_MAPPING.alias("test_dragon", "test_kite")
        write_config(tmp_path, model_type="test_dragon", width=3)
        loaded = AutoConfig.from_pretrained(tmp_path)

    assert (loaded, loaded.to_dict()["model_type"]) == (KiteConfig(width=3), "test_kite")


@pytest.mark.usefixtures("kite")
def test_a_file_that_nests_too_deep_for_the_stack_is_refused(tmp_path: Path) -> None:
    """What the stack of the caller has no room for is an error about the file."""
    text = '{"model_type": "test_kite", "extra": ' + "[" * 60 + "]" * 60 + "}"
    (tmp_path / "config.json").write_text(text, encoding="utf-8")
    assert isinstance(AutoConfig.from_pretrained(tmp_path), KiteConfig)

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        with pytest.raises(ConfigFileError, match="nests deeper than the stack of its caller") as error:
            AutoConfig.from_pretrained(tmp_path)
    finally:
        sys.setrecursionlimit(limit)

    assert error.value.code == "too-deep"


def test_a_missing_file_is_reported_with_what_is_there(tmp_path: Path) -> None:
    """A folder without a config is refused with a list of what it holds."""
    (tmp_path / "notes.txt").touch()

    with pytest.raises(SourceNotFoundError) as error:
        AutoConfig.from_pretrained(tmp_path)

    assert str(error.value) == f"{tmp_path / 'config.json'} does not exist.\n  The folder holds: notes.txt."


# ---- code of the repository


@pytest.mark.parametrize("trusted", [None, False])
def test_code_of_a_checkpoint_is_not_run(tmp_path: Path, trusted: bool | None) -> None:
    """An unregistered checkpoint that brings code is refused unless somebody trusts it, and its code does not run."""
    write_config(tmp_path, model_type="test_remote", auto_map={"AutoConfig": "code.RemoteConfig"})
    (tmp_path / "code.py").write_text("raise SystemExit('it ran')", encoding="utf-8")

    with pytest.raises(RemoteCodeError):
        AutoConfig.from_pretrained(tmp_path, trust_remote_code=trusted)


@pytest.mark.usefixtures("kite")
@pytest.mark.parametrize("trusted", [None, False, True])
def test_a_registered_class_wins_over_code_of_the_checkpoint(tmp_path: Path, trusted: bool | None) -> None:
    """Whether or not the code is trusted, a registered `model_type` is read by the registered class."""
    write_config(tmp_path, model_type="test_kite", width=3, auto_map={"AutoConfig": "code.RemoteConfig"})
    (tmp_path / "code.py").write_text("raise SystemExit('it ran')", encoding="utf-8")

    loaded = AutoConfig.from_pretrained(tmp_path, trust_remote_code=trusted)

    assert loaded == KiteConfig(width=3, auto_map={"AutoConfig": "code.RemoteConfig"})


@pytest.mark.parametrize("auto_map", [None, {}, {"AutoModel": "code.RemoteModel"}, ["code.RemoteConfig"], "code.C"])
def test_code_for_something_else_is_no_code_for_the_config(tmp_path: Path, auto_map: object) -> None:
    """A file that brings no config class is unknown, however far it is trusted."""
    write_config(tmp_path, model_type="test_remote", auto_map=auto_map)

    with pytest.raises(UnknownModelTypeError, match=r"'test_remote' in .* is not registered"):
        AutoConfig.from_pretrained(tmp_path, trust_remote_code=True)


def test_the_error_says_which_code_there_is(tmp_path: Path) -> None:
    """Who cannot load the config is told for which Auto classes the checkpoint brings code."""
    write_config(tmp_path, model_type="test_remote", auto_map={"AutoModel": "code.RemoteModel"})

    with pytest.raises(UnknownModelTypeError, match=r"\n  The checkpoint brings code for AutoModel, not for this\.$"):
        AutoConfig.from_pretrained(tmp_path)


# ---- classes of others


class ForeignConfig:
    """A config class that is merely like one."""

    model_type = "test_foreign"

    def __init__(self, width: int) -> None:
        self.width = width

    @classmethod
    def from_dict(cls, values: dict[str, Any], **kwargs: Any) -> Any:
        """Return a config and what is left of the keywords, as Transformers does."""
        kwargs.pop("return_unused_kwargs")
        return cls(kwargs.pop("width", values["width"])), kwargs


@pytest.fixture
def foreign(tmp_path: Path) -> Iterator[Path]:
    """Return a folder with a config whose registered class is none of ours."""
    with CONFIG_MAPPING.override("test_foreign", ForeignConfig):  # type: ignore[arg-type]
        yield write_config(tmp_path, model_type="test_foreign", width=3)


def test_a_class_of_others_reads_the_file(foreign: Path) -> None:
    """A registered class is asked for `from_dict` if it is none of ours; arguments go before the file."""
    assert type(AutoConfig.from_pretrained(foreign)) is ForeignConfig
    assert AutoConfig.from_pretrained(foreign, width=4).width == 4
    assert AutoConfig.from_pretrained(foreign, depth=4, return_unused_kwargs=True)[1] == {"depth": 4}


def test_a_class_of_others_refuses_unknown_arguments(foreign: Path) -> None:
    """A misspelt field is an error here, also where the class itself would have kept it."""
    with pytest.raises(UnknownOptionError, match=r"ForeignConfig has no field 'widht'\.\n  Did you mean 'width'\?"):
        AutoConfig.from_pretrained(foreign, widht=4)
