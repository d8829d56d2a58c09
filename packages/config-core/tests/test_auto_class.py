"""Classes that go with their configs: `register_for_auto_class`, and what saving then writes."""

import importlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from nameplate_config import PreTrainedConfig, SourceCodeError, UnknownOptionError, UnsafePathError
from nameplate_config.files import locked

CONFIGURATION = """
from nameplate_config import PreTrainedConfig
from .sizes import WIDTH

class BlockConfig(PreTrainedConfig):
    model_type = "block"
    width: int = WIDTH

class WideConfig(BlockConfig):
    model_type = "wide"
    groups: int = 1
"""

FILES = {
    "blocks/__init__.py": "",
    "blocks/configuration.py": CONFIGURATION,
    "blocks/sizes.py": "WIDTH = 8\n",
    "blocks/deep/__init__.py": "# deep\n",
    "blocks/deep/configuration.py": CONFIGURATION.replace("from .sizes", "from ..sizes"),
}

Define = Callable[..., Any]


@pytest.fixture
def define(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Define]:
    """Return a function that imports a module of the package `blocks`, of which a test has a copy of its own."""
    folder = tmp_path / "code"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield lambda name="blocks.configuration": importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "blocks"]:
        del sys.modules[name]


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Return a folder that does not exist yet."""
    return tmp_path / "checkpoint"


def tree(folder: Path) -> dict[str, str]:
    """Return the text of every file below a folder, by its path."""
    return {path.relative_to(folder).as_posix(): path.read_text() for path in folder.rglob("*") if path.is_file()}


def values(folder: Path) -> dict[str, Any]:
    """Return what a config file holds."""
    return json.loads((folder / "config.json").read_text())


# ---- what is written


def test_a_class_that_is_not_registered_goes_without_its_source(define: Define, target: Path):
    """Saving writes the config alone."""
    define().BlockConfig().save_pretrained(target)

    assert tree(target).keys() == {"config.json"}
    assert "auto_map" not in values(target)


def test_a_registered_class_goes_with_its_source(define: Define, target: Path):
    """Saving writes the module, what it imports relatively, and where the class lies."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls(width=3).save_pretrained(target)

    assert values(target) == {
        "auto_map": {"AutoConfig": "configuration.BlockConfig"},
        "model_type": "block",
        "width": 3,
    }
    assert {name: text for name, text in tree(target).items() if name != "config.json"} == {
        "configuration.py": FILES["blocks/configuration.py"],
        "sizes.py": FILES["blocks/sizes.py"],
    }


def test_a_class_in_a_sub_package_keeps_its_layout(define: Define, target: Path):
    """A module that imports from above itself is copied with the folder that it lies in."""
    cls = define("blocks.deep.configuration").BlockConfig
    cls.register_for_auto_class()
    cls().save_pretrained(target)

    assert values(target)["auto_map"] == {"AutoConfig": "deep.configuration.BlockConfig"}
    assert {name: text for name, text in tree(target).items() if name != "config.json"} == {
        name.removeprefix("blocks/"): FILES[name]
        for name in ("blocks/deep/__init__.py", "blocks/deep/configuration.py", "blocks/sizes.py")
    }


def test_the_auto_class_can_be_another(define: Define, target: Path):
    """The name under which the class is found is the caller's choice; the last one counts."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls.register_for_auto_class("AutoBackbone")
    cls().save_pretrained(target)

    assert values(target)["auto_map"] == {"AutoBackbone": "configuration.BlockConfig"}


def test_the_auto_class_can_be_given_itself(define: Define, target: Path):
    """Transformers passes the Auto class and not its name."""

    class AutoBackbone: ...

    cls = define().BlockConfig
    cls.register_for_auto_class(auto_class=AutoBackbone)
    cls().save_pretrained(target)

    assert values(target)["auto_map"] == {"AutoBackbone": "configuration.BlockConfig"}


@pytest.mark.parametrize("auto_class", ["", "Auto Config", "module.AutoConfig", 3, None])
def test_what_is_no_auto_class_is_refused(auto_class: Any, define: Define):
    """Whatever could not be a key of `auto_map` is an error, and registers nothing."""
    cls = define().BlockConfig
    with pytest.raises(UnknownOptionError) as caught:
        cls.register_for_auto_class(auto_class)

    assert str(caught.value) == (
        f"auto_class must be the name of an Auto class, or the class, found {auto_class!r}.\n"
        "  Give a name such as 'AutoModelForImageClassification'."
    )
    assert "_auto_classes" not in vars(cls)


def test_what_auto_map_says_of_other_classes_stays(define: Define, target: Path):
    """Entries for models stay, and the one of the config is brought up to date."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls(auto_map={"AutoConfig": "old.OldConfig", "AutoModel": "modeling.Block"}).save_pretrained(target)

    assert values(target)["auto_map"] == {"AutoConfig": "configuration.BlockConfig", "AutoModel": "modeling.Block"}


def test_code_waits_for_whoever_saves_into_the_folder(define: Define, target: Path):
    """As long as the folder is locked no draft of code lies in it: a model that is saved there would remove it."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    target.mkdir()
    saving = Thread(target=cls().save_pretrained, args=(target,))
    with locked(target) as held:
        saving.start()
        saving.join(0.2 if held else None)
        meanwhile = tree(target)
    saving.join()

    assert not (held and meanwhile)
    assert tree(target).keys() == {"config.json", "configuration.py", "sizes.py"}


# ---- what stays as it is


def test_saving_does_not_change_the_config(define: Define, target: Path):
    """The config says after a save what it said before, in every form but the file."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    config = cls(width=3, auto_map={"AutoModel": "modeling.Block"})
    before = (config.copy(), config.to_dict(), config.to_json_string(), repr(config))
    config.save_pretrained(target)

    assert (config, config.to_dict(), config.to_json_string(), repr(config)) == before
    assert config.auto_map == {"AutoModel": "modeling.Block"}
    assert not cls().auto_map


def test_a_frozen_config_is_saved(define: Define, target: Path):
    """A config that cannot be changed is saved with its source like any other."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls(auto_map={"AutoModel": "modeling.Block"}).freeze().save_pretrained(target)

    assert values(target)["auto_map"].keys() == {"AutoConfig", "AutoModel"}


def test_what_was_saved_is_loaded(define: Define, target: Path):
    """The class reads its file; what that says of the class belongs to the config from then on, and is saved again."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls(width=3).save_pretrained(target)
    config = cls.from_pretrained(target)
    config.save_pretrained(target / "again")

    assert (config.width, config.auto_map) == (3, {"AutoConfig": "configuration.BlockConfig"})
    assert tree(target / "again") == {name: text for name, text in tree(target).items() if "again" not in name}


def test_a_subclass_is_not_registered(define: Define, target: Path):
    """A subclass of a registered class is saved without its source, until it is registered itself."""
    module = define()
    module.BlockConfig.register_for_auto_class()
    module.WideConfig().save_pretrained(target)

    assert (tree(target).keys(), values(target).get("auto_map")) == ({"config.json"}, None)

    module.WideConfig.register_for_auto_class()
    module.WideConfig().save_pretrained(target)

    assert values(target)["auto_map"] == {"AutoConfig": "configuration.WideConfig"}


def test_registering_leaves_the_base_class_alone(define: Define, target: Path):
    """A class that is registered registers neither its bases nor every config."""
    module = define()
    module.WideConfig.register_for_auto_class()
    module.BlockConfig().save_pretrained(target / "block")
    PreTrainedConfig().save_pretrained(target / "root")

    assert tree(target).keys() == {"block/config.json", "root/config.json"}


def test_saving_twice_leaves_unchanged_files_alone(define: Define, target: Path):
    """A source file that is there already is not written again; one that was edited is."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls(width=3).save_pretrained(target)
    first = (target / "configuration.py").stat()
    (target / "sizes.py").write_text("WIDTH = 9\n")
    cls(width=4).save_pretrained(target)

    last = (target / "configuration.py").stat()
    assert (last.st_ino, last.st_mtime_ns) == (first.st_ino, first.st_mtime_ns)
    assert (target / "sizes.py").read_text() == "WIDTH = 8\n"
    assert values(target)["width"] == 4


def test_source_that_was_edited_since_is_saved_as_it_is_now(define: Define, target: Path, tmp_path: Path):
    """The files are read when the config is saved, not when its class was registered."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    (tmp_path / "code" / "blocks" / "sizes.py").write_text("WIDTH = 8  # wide\n")
    cls().save_pretrained(target)

    assert (target / "sizes.py").read_text() == "WIDTH = 8  # wide\n"


# ---- what is refused


def test_a_class_of_the_script_is_refused_at_once(tmp_path: Path):
    """A class in the script that is being run is refused when it is registered, and stays unregistered."""
    script = tmp_path / "train.py"
    script.write_text(
        "from nameplate_config import PreTrainedConfig, SourceCodeError\n"
        "class BlockConfig(PreTrainedConfig):\n"
        "    width: int = 8\n"
        "try:\n"
        "    BlockConfig.register_for_auto_class()\n"
        "except SourceCodeError as error:\n"
        "    print(error)\n"
        "BlockConfig().save_pretrained('here')\n"
    )
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, check=True, encoding="utf-8"
    )

    assert done.stdout == (
        "the code of BlockConfig cannot be saved beside a checkpoint.\n"
        f"  {script}:2: BlockConfig is defined in the script that is being run.\n"
        "  Move the class to a module, and import it from there.\n"
    )
    assert tree(tmp_path / "here").keys() == {"config.json"}


def test_a_class_of_an_interactive_session_is_refused_at_once(tmp_path: Path):
    """A class without a file is refused when it is registered."""
    code = (
        "from nameplate_config import PreTrainedConfig\n"
        "class BlockConfig(PreTrainedConfig): pass\n"
        "BlockConfig.register_for_auto_class()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False)

    assert done.stderr.endswith(
        "nameplate_config.SourceCodeError: the code of BlockConfig cannot be saved beside a checkpoint.\n"
        "  it was defined interactively.\n"
        "  Define the class in a file, and import it from there.\n"
    )


def test_a_class_inside_a_function_is_refused():
    """A class that its module does not know is refused, and its line named."""

    class Local(PreTrainedConfig):
        pass

    with pytest.raises(SourceCodeError, match=r"test_auto_class\.py:\d+: .*Local is defined inside a function\."):
        Local.register_for_auto_class()


def test_source_that_breaks_later_leaves_the_folder_alone(define: Define, target: Path, tmp_path: Path):
    """Source that can no longer be copied when the config is saved is an error before anything is replaced."""
    cls = define().BlockConfig
    cls.register_for_auto_class()
    cls(width=3).save_pretrained(target)
    before = tree(target)
    (tmp_path / "code" / "blocks" / "configuration.py").write_text("from .absent import x\n")
    with pytest.raises(SourceCodeError):
        cls(width=4).save_pretrained(target)

    assert tree(target) == before


def test_source_never_leaves_the_folder(define: Define, target: Path, tmp_path: Path):
    """A link in the folder does not lead the source elsewhere, and the config is not replaced either."""
    cls = define("blocks.deep.configuration").BlockConfig
    cls.register_for_auto_class()
    target.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (target / "deep").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    with pytest.raises(UnsafePathError, match="is a link"):
        cls().save_pretrained(target)

    assert tree(tmp_path / "elsewhere") == {}
    assert not (target / "config.json").exists()


def test_registering_costs_only_whoever_registers(tmp_path: Path):
    """The module that copies source is not imported before a class is registered."""
    code = (
        "import sys; from nameplate_config import PreTrainedConfig\n"
        "PreTrainedConfig().save_pretrained(sys.argv[1])\n"
        "print('nameplate_config._code' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)

    assert done.stdout == "False\n"


# ---- Transformers' Auto classes


def test_what_auto_classes_of_transformers_add_is_accepted(define: Define, target: Path):
    """`_from_auto`, and the name of the source once more, are no fields; without the first the second is unknown."""
    cls = define().BlockConfig
    cls(width=3).save_pretrained(target)
    options = {"name_or_path": str(target), "return_unused_kwargs": True, "revision": None}

    assert cls.from_pretrained(target, _from_auto=True, **options, strict=False) == (cls(width=3), {"strict": False})
    assert cls.from_pretrained(target, **options)[1] == {"name_or_path": str(target)}
    with pytest.raises(UnknownOptionError, match="strickt"):
        cls.from_pretrained(target, _from_auto=True, name_or_path="x", strickt=False)


def test_a_dict_can_say_where_it_lies(define: Define):
    """`from_dict` takes `name_or_path`, which answers under Transformers' name as well."""
    cls = define().BlockConfig
    config, unused = cls.from_dict({"width": 3}, name_or_path="user/name", return_unused_kwargs=True)

    assert (config.name_or_path, config._name_or_path, unused) == ("user/name", "user/name", {})
    assert (cls().name_or_path, cls()._name_or_path, cls().sub_configs) == ("", "", {})


def test_a_file_keeps_its_own_keys_of_these_names(define: Define):
    """`_name_or_path` in a file of an old version of Transformers is kept, and is not the place it was read from."""
    values = {"_name_or_path": "theirs", "sub_configs": {"a": 1}, "model_type": "block", "width": 8}
    config = define().BlockConfig.from_dict(values, name_or_path="ours")

    assert config._name_or_path == "ours"
    assert config.to_dict() == values
