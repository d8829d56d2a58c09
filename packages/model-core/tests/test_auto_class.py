"""Models that go with their code: `register_for_auto_class`, and what saving then writes, in which order."""

import importlib
import json
import os
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from nameplate_config import ForeignFormat, SourceCodeError, UnknownOptionError, UnsafePathError
from nameplate_config.code import FILES_ATTRIBUTE
from nameplate_model import PreTrainedModel, SaveError

CONFIGURATION = """
from nameplate_config import PreTrainedConfig

class BlockConfig(PreTrainedConfig):
    model_type = "block"
    width: int = 3
"""

MODELING = """
import torch
from torch import nn
from nameplate_model import PreTrainedModel
from {0} import BlockConfig

LABELS = "labels.txt"

class BlockModel(PreTrainedModel):
    config_class = BlockConfig

    def __init__(self, config):
        super().__init__(config)
        self.linear = nn.Linear(config.width, 1)

class Classifier(BlockModel):
    pass
"""

FILES = {
    "blocks/__init__.py": "",
    "blocks/configuration.py": CONFIGURATION,
    "blocks/modeling.py": MODELING.format(".configuration"),
    "blocks/labels.txt": "one\n",
    "blocks/configs/__init__.py": "",
    "blocks/configs/block.py": CONFIGURATION,
    "blocks/nets/__init__.py": "",
    "blocks/nets/block.py": MODELING.format("..configs.block"),
    "strangers/__init__.py": "",
    "strangers/modeling.py": MODELING.format("blocks.configuration"),
}

Define = Callable[..., Any]


@pytest.fixture
def define(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Define]:
    """Return a function that imports a module of packages of which every test has copies of its own."""
    folder = tmp_path / "code"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield lambda name="blocks.modeling": importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in {"blocks", "strangers"}]:
        del sys.modules[name]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a folder that does not exist yet."""
    return tmp_path / "checkpoint"


def built(module: Any, name: str = "BlockModel", *, fill: float = 0.5, **fields: Any) -> Any:
    """Return a model of a module whose weights are all the same number."""
    model = getattr(module, name)(module.BlockConfig(**fields))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(fill)
    return model


def code(folder: Path) -> dict[str, str]:
    """Return the text of the code in a folder, by its path."""
    files = (path for path in folder.rglob("*") if path.suffix in {".py", ".txt"})
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def everything(folder: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a folder."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def auto_map(folder: Path) -> Any:
    """Return what the config says of code."""
    return json.loads((folder / "config.json").read_text()).get("auto_map")


# ---- what is written


def test_a_model_that_is_not_registered_goes_without_code(define: Define, target: Path):
    """Saving writes weights and config alone."""
    built(define()).save_pretrained(target)

    assert everything(target).keys() == {"config.json", "model.safetensors"}
    assert auto_map(target) is None


def test_a_registered_model_goes_with_its_code(define: Define, target: Path):
    """Saving writes the source of model and config, the data that it names, and where the classes lie."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)

    assert auto_map(target) == {"AutoConfig": "configuration.BlockConfig", "AutoModel": "modeling.BlockModel"}
    assert code(target) == {name: FILES[f"blocks/{name}"] for name in ("configuration.py", "labels.txt", "modeling.py")}


def test_the_record_says_the_same(define: Define, target: Path):
    """The config inside the weight file is the text of `config.json`, with its `auto_map`."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)

    with safe_open(target / "model.safetensors", "pt") as file:
        assert file.metadata()["nameplate.config"] == (target / "config.json").read_text()


def test_a_model_can_have_several_auto_classes(define: Define, target: Path):
    """Every registration counts, once, by name or by the Auto class itself; their order makes no difference."""

    class AutoModelForImageClassification: ...

    module = define()
    for auto_class in (AutoModelForImageClassification, "AutoModel", "AutoModel"):
        module.BlockModel.register_for_auto_class(auto_class)
    built(module).save_pretrained(target)

    assert list(auto_map(target).items()) == [
        ("AutoConfig", "configuration.BlockConfig"),
        ("AutoModel", "modeling.BlockModel"),
        ("AutoModelForImageClassification", "modeling.BlockModel"),
    ]


def test_model_and_config_have_one_root(define: Define, target: Path):
    """Classes in sub-packages are found from the folder that holds both."""
    module = define("blocks.nets.block")
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)

    assert auto_map(target) == {"AutoConfig": "configs.block.BlockConfig", "AutoModel": "nets.block.BlockModel"}
    assert code(target).keys() == {"configs/__init__.py", "configs/block.py", "nets/__init__.py", "nets/block.py"}


def test_a_registered_config_goes_with_any_model(define: Define, target: Path):
    """If only the config class is registered, its source goes along, and the model's does not."""
    module = define()
    module.BlockConfig.register_for_auto_class()
    built(module).save_pretrained(target)

    assert auto_map(target) == {"AutoConfig": "configuration.BlockConfig"}
    assert code(target).keys() == {"configuration.py"}


def test_a_config_of_another_package_stays_there(define: Define, target: Path):
    """Code that imports its config from an installed package needs that anyway, so it is not copied."""
    module = define("strangers.modeling")
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)

    assert auto_map(target) == {"AutoModel": "modeling.BlockModel"}
    assert code(target).keys() == {"modeling.py"}


def test_a_subclass_is_not_registered(define: Define, target: Path):
    """A registration is of one class, neither of its subclasses nor of its bases."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module, "Classifier").save_pretrained(target / "before")
    module.Classifier.register_for_auto_class("AutoModelForImageClassification")
    built(module, "Classifier").save_pretrained(target / "after")

    assert (auto_map(target / "before"), code(target / "before")) == (None, {})
    assert auto_map(target / "after") == {
        "AutoConfig": "configuration.BlockConfig",
        "AutoModelForImageClassification": "modeling.Classifier",
    }


@pytest.mark.parametrize("options", [{"max_shard_size": 12}, {"variant": "fp16"}], ids=["sharded", "variant"])
def test_code_goes_with_weights_of_any_kind(options: dict[str, Any], define: Define, target: Path):
    """Shards and variants are saved with the same code, and load."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target, **options)
    loaded = module.BlockModel.from_pretrained(target, variant=options.get("variant"))

    assert code(target).keys() == {"configuration.py", "labels.txt", "modeling.py"}
    assert torch.equal(loaded.linear.weight, torch.full((1, 3), 0.5))
    assert loaded.config.auto_map == auto_map(target)


def test_code_goes_with_a_layout_that_tells_of_it(define: Define, target: Path):
    """In the words of another library code is written if its config keeps `auto_map`; else nobody would find it."""
    module = define()
    module.BlockModel.register_for_auto_class()
    module.BlockConfig.foreign_formats = (
        ForeignFormat("told", lambda _: False, dict, dict),
        ForeignFormat("untold", lambda _: False, dict, lambda values: {"size": values["width"]}),
    )
    built(module).save_pretrained(target / "told", layout="told")
    built(module).save_pretrained(target / "untold", layout="untold")

    assert code(target / "told").keys() == {"configuration.py", "labels.txt", "modeling.py"}
    assert everything(target / "untold").keys() == {"config.json", "model.safetensors"}


def test_who_does_not_save_writes_no_code(define: Define, target: Path):
    """Of many processes one saves, code included."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target, is_main_process=False)

    assert not target.exists()


# ---- saved again


def test_saving_changes_neither_model_nor_config(define: Define, target: Path):
    """What a save says in the file, the config of the model does not say."""
    module = define()
    module.BlockModel.register_for_auto_class()
    model = built(module)
    before = model.config.copy()
    model.save_pretrained(target)

    assert (model.config, model.config.auto_map) == (before, {})


def test_an_equal_save_touches_nothing(define: Define, target: Path):
    """What is there already is not written again, so every file is the very same file."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)
    before = {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.iterdir()}
    built(module).save_pretrained(target)

    assert {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in target.iterdir()} == before


def test_a_loaded_model_is_saved_to_the_same_bytes(define: Define, target: Path):
    """A folder that was loaded and saved elsewhere is the same folder."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target / "one")
    module.BlockModel.from_pretrained(target / "one").save_pretrained(target / "two")

    assert everything(target / "two") == everything(target / "one")


def test_changed_code_takes_its_place_and_other_files_stay(define: Define, target: Path, tmp_path: Path):
    """Code is as it is when the model is saved; what nobody names any more is left alone."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)
    (target / "notes.py").write_text("# theirs\n")
    (tmp_path / "code" / "blocks" / "modeling.py").write_text(
        FILES["blocks/modeling.py"].replace('LABELS = "labels.txt"', "")
    )
    built(module).save_pretrained(target)

    assert '"labels.txt"' not in code(target)["modeling.py"]
    assert code(target).keys() == {"configuration.py", "labels.txt", "modeling.py", "notes.py"}


# ---- what is refused


def test_models_are_not_found_by_auto_config(define: Define):
    """A model class that is registered for configs is a mistake, and named as one."""
    model_class = define().BlockModel
    with pytest.raises(UnknownOptionError) as caught:
        model_class.register_for_auto_class("AutoConfig")

    assert str(caught.value) == (
        "BlockModel is a model class, and AutoConfig finds configs.\n"
        "  Its config class is saved with it. Give the name of an Auto class of models, such as 'AutoModel'."
    )


def test_a_local_class_is_refused_at_once():
    """A class whose code cannot be copied stays unregistered."""

    class Local(PreTrainedModel):
        pass

    with pytest.raises(SourceCodeError, match=r"test_auto_class\.py:\d+: .*Local is defined inside a function\."):
        Local.register_for_auto_class()
    assert "_auto_classes" not in vars(Local)


def test_code_that_cannot_be_copied_changes_nothing(define: Define, target: Path, tmp_path: Path):
    """Code that broke since its registration is an error before anything is written, also into a new folder."""
    module = define()
    module.BlockModel.register_for_auto_class()
    built(module).save_pretrained(target)
    before = everything(target)
    (tmp_path / "code" / "blocks" / "configuration.py").write_text("from .absent import x\n")
    for folder in (target, tmp_path / "new"):
        with pytest.raises(SourceCodeError) as caught:
            built(module, fill=1.5).save_pretrained(folder)
        title = str(caught.value).splitlines()[0]
        assert title == "the code of BlockModel, BlockConfig cannot be saved beside a checkpoint."

    assert everything(target) == before
    assert not (tmp_path / "new").exists()


def test_code_never_leaves_the_folder(define: Define, target: Path, tmp_path: Path):
    """A link among the folders of a checkpoint is refused, and neither weights nor config are replaced."""
    module = define("blocks.nets.block")
    built(module).save_pretrained(target)
    before = everything(target)
    (tmp_path / "elsewhere").mkdir()
    (target / "nets").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    module.BlockModel.register_for_auto_class()
    with pytest.raises(UnsafePathError, match="is a link"):
        built(module, fill=1.5).save_pretrained(target)

    assert {name: data for name, data in everything(target).items() if "/" not in name} == before
    assert list((tmp_path / "elsewhere").iterdir()) == []


CALLS = ("open", "write", "fsync", "replace")


@pytest.mark.parametrize("size", ["1GB", 12], ids=["single", "sharded"])
def test_new_weights_are_never_beside_old_code(
    size: Any, define: Define, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Wherever the system fails, code is old or new, file by file, and where the new weights count it is new."""
    module = define()
    module.BlockModel.register_for_auto_class()
    old, new = FILES["blocks/modeling.py"], FILES["blocks/modeling.py"] + "\n# new\n"
    source = tmp_path / "code" / "blocks" / "modeling.py"
    outcomes = []
    for last in range(200):
        folder = target / str(last)
        source.write_text(old)
        built(module).save_pretrained(folder, max_shard_size=size)
        source.write_text(new)
        with monkeypatch.context() as patched:
            left = iter(range(last))
            for name in CALLS:
                patched.setattr(os, name, failing(getattr(os, name), left, folder))
            try:
                built(module, fill=1.5).save_pretrained(folder, max_shard_size=size)
                failed = False
            except SaveError:
                failed = True
        loaded = module.BlockModel.from_pretrained(folder)
        outcomes.append((loaded.linear.bias.item(), code(folder)["modeling.py"] == new))
        assert code(folder)["modeling.py"] in {old, new}
        if not failed:
            break

    assert outcomes[0] == (0.5, False)
    assert outcomes[-1] == (1.5, True)
    assert set(outcomes) <= {(0.5, False), (0.5, True), (1.5, True)}
    assert outcomes.count((0.5, True)) <= 3  # the flush of the folder, and the rename that is the commit


def failing(call: Callable[..., Any], left: Iterator[int], folder: Path) -> Callable[..., Any]:
    """Return a call of `os` that fails when no more are left, unless it is about something outside of a folder."""

    def counted(first: Any, *args: Any, **kwargs: Any) -> Any:
        if (isinstance(first, int) or str(folder) in str(first)) and next(left, None) is None:
            raise OSError(28, "No space left on device")
        return call(first, *args, **kwargs)

    return counted


# ---- models that came as code


def test_a_model_that_came_as_code_takes_it_along(target: Path, monkeypatch: pytest.MonkeyPatch):
    """A model whose class was run from memory is saved with that code, and references of its own folder."""
    files = {"configuration.py": CONFIGURATION.encode(), "modeling.py": MODELING.format(".configuration").encode()}
    root = types.ModuleType("brought")
    setattr(root, FILES_ATTRIBUTE, {**files, "labels.txt": b"one"})
    root.__path__ = []
    monkeypatch.setitem(sys.modules, "brought", root)
    for name in ("configuration", "modeling"):
        made = types.ModuleType(f"brought.{name}")
        made.__package__ = "brought"
        monkeypatch.setitem(sys.modules, made.__name__, made)
        exec(compile(files[f"{name}.py"], name, "exec"), vars(made))  # noqa: S102 - as whoever loads a checkpoint does
    entries = {"AutoConfig": "u/n--configuration.BlockConfig", "AutoModel": "u/n--modeling.BlockModel"}
    built(sys.modules["brought.modeling"], auto_map=entries).save_pretrained(target)

    assert auto_map(target) == {"AutoConfig": "configuration.BlockConfig", "AutoModel": "modeling.BlockModel"}
    assert code(target) == {"labels.txt": "one", **{name: data.decode() for name, data in files.items()}}


# ---- what Transformers' Auto classes pass


def test_what_auto_classes_of_transformers_add_is_accepted(define: Define, target: Path):
    """What they add to the options is dropped; without their mark it is unknown, and a typo always is."""
    model_class = define().BlockModel
    built(define()).save_pretrained(target)
    added = {"trust_remote_code": True, "_from_auto": True}

    assert model_class.from_pretrained(target, adapter_kwargs={"revision": None}, **added).load_report.exact
    for options, name in (({"adapter_kwargs": None, "strickt": 1}, "strickt"), (added, "trust_remote_code")):
        with pytest.raises(UnknownOptionError, match=name):
            model_class.from_pretrained(target, **options)


def test_an_adapter_is_not_lost(define: Define, target: Path):
    """An adapter that Transformers found beside the weights is an error, not weights without it."""
    built(define()).save_pretrained(target)
    with pytest.raises(UnknownOptionError) as caught:
        define().BlockModel.from_pretrained(target, adapter_kwargs={"_adapter_model_path": "there"})

    assert str(caught.value) == (
        "BlockModel cannot load the adapter in 'there'.\n"
        "  Load the model without it, and give both to `peft.PeftModel.from_pretrained`."
    )


def test_a_config_of_the_same_code_run_twice_is_taken(define: Define, target: Path):
    """Transformers runs the code of a config twice; a config of the twin class becomes one of the model's."""
    module = define()
    built(module, width=5).save_pretrained(target)
    twin = types.ModuleType("twin")
    exec(CONFIGURATION, vars(twin))  # noqa: S102 - the code is written above
    config = twin.BlockConfig.from_pretrained(target)
    for model in (
        module.BlockModel.from_pretrained(target, config=config, adapter_kwargs={}),
        module.BlockModel._from_config(config),
    ):
        assert type(model.config) is module.BlockConfig
        assert (model.config.to_dict(), model.config.name_or_path) == (config.to_dict(), str(target))

    with pytest.raises(UnknownOptionError, match="BlockModel is built from a BlockConfig"):
        module.BlockModel._from_config(type("OtherConfig", (twin.BlockConfig,), {})())
