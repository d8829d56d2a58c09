"""Classes that came as code from a checkpoint: saved again, that code goes with them as it is."""

import json
import sys
import types
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nameplate_config import PreTrainedConfig, SourceCodeError
from nameplate_config.code import FILES_ATTRIBUTE, code_beside, source_files

CODE = {
    "configuration.py": b"""
from nameplate_config import PreTrainedConfig

class BlockConfig(PreTrainedConfig):
    model_type = "block"
    width: int = 8
""",
    "deep/modeling.py": b"class Block: pass\nclass Other: pass\n",
    "labels.txt": b"one",
}

Bring = Callable[..., Any]


@pytest.fixture
def bring(clean_imports: None) -> Bring:
    """Return a function that runs code from memory below a root package, and returns the module that is asked for."""
    del clean_imports

    def run(module: str, root: str = "brought.code", files: Mapping[str, bytes] = CODE) -> Any:
        sys.modules[root] = package = types.ModuleType(root)
        setattr(package, FILES_ATTRIBUTE, files)
        for path, data in files.items():
            if path.endswith(".py"):
                name = f"{root}.{path.removesuffix('.py').replace('/', '.')}"
                sys.modules[name] = made = types.ModuleType(name)
                exec(compile(data, path, "exec"), vars(made))  # noqa: S102 - as whoever loads a checkpoint does
        return sys.modules[f"{root}.{module}"]

    return run


def test_files_are_returned_as_they_are(bring: Bring):
    """All files of the root package go along, and a reference is the name below it."""
    found = source_files(bring("deep.modeling").Block, bring("configuration").BlockConfig)

    assert found.files == CODE
    assert found.references == ("deep.modeling.Block", "configuration.BlockConfig")


def test_a_config_takes_its_code_along(bring: Bring, tmp_path: Path):
    """A config whose class came as code is saved with all of it, without a registration."""
    bring("configuration").BlockConfig(width=3).save_pretrained(tmp_path)

    written = {path.relative_to(tmp_path).as_posix(): path.read_bytes() for path in tmp_path.rglob("*.*")}
    assert json.loads(written.pop("config.json")) == {
        "auto_map": {"AutoConfig": "configuration.BlockConfig"},
        "model_type": "block",
        "width": 3,
    }
    assert written == CODE


def test_entries_of_another_repository_name_the_copy(bring: Bring):
    """What `auto_map` said of the repository that the code came from is said of the folder it is saved to."""
    auto_map = {
        "AutoConfig": "user/name--configuration.BlockConfig",
        "AutoModel": "user/name--deep.modeling.Block",
        "AutoModelForImageClassification": "user/name--deep.modeling.Other",
        "AutoImageProcessor": "user/name--processing.Processor",
        "AutoBackbone": "user/other--deep.modeling.Block",
        "AutoTokenizer": ["user/name--slow.Slow", None],
    }
    config = bring("configuration").BlockConfig(auto_map=auto_map)
    before = config.copy()

    assert code_beside(config).auto_map == {
        **auto_map,
        "AutoConfig": "configuration.BlockConfig",
        "AutoModel": "deep.modeling.Block",
        "AutoModelForImageClassification": "deep.modeling.Other",
    }
    assert config == before


def test_a_model_keeps_its_auto_classes(bring: Bring):
    """A model class is found again by every Auto class by which it was found before."""
    auto_map = {"AutoModel": "u/n--deep.modeling.Block", "AutoX": "deep.modeling.Block", "AutoY": "a.Y"}
    config = bring("configuration").BlockConfig(auto_map=auto_map)

    assert code_beside(config, sys.modules["brought.code.deep.modeling"].Block).auto_map == {
        "AutoConfig": "configuration.BlockConfig",
        "AutoModel": "deep.modeling.Block",
        "AutoX": "deep.modeling.Block",
        "AutoY": "a.Y",
    }


def test_code_of_two_repositories_stays_where_it_is(bring: Bring):
    """If config and model came from different code, neither is copied, and both go on being named."""
    auto_map = {"AutoConfig": "u/a--configuration.BlockConfig", "AutoModel": "u/b--deep.modeling.Block"}
    config = bring("configuration", "brought.one").BlockConfig(auto_map=auto_map)
    code = code_beside(config, bring("deep.modeling", "brought.two").Block)

    assert (code.auto_map, code.files) == (auto_map, {})


def test_a_class_of_a_module_beside_the_code_does_not_take_it_along(bring: Bring):
    """A subclass that was defined elsewhere is no part of the code that its base came from."""
    base = bring("configuration").BlockConfig
    own = type("OwnConfig", (base,), {"__module__": __name__})

    assert (code_beside(own()).auto_map, code_beside(own()).files) == ({}, {})


def test_a_class_from_a_file_and_one_from_memory_are_refused(bring: Bring):
    """A registered class cannot take along code that came with a checkpoint, of which it is no part."""
    brought = bring("configuration").BlockConfig
    with pytest.raises(SourceCodeError) as caught:
        source_files(brought, PreTrainedConfig)

    assert str(caught.value) == (
        "the code of BlockConfig, PreTrainedConfig cannot be saved beside a checkpoint.\n"
        "  BlockConfig is defined in 'brought.code.configuration', "
        "and PreTrainedConfig in 'nameplate_config._config'.\n"
        "  Define both in one package, or register only the one whose code is to be copied."
    )


def test_a_nested_class_from_memory_is_refused(bring: Bring):
    """A class that `module.Class` does not name is refused, wherever its module came from."""
    nested = bring("a", files={"a.py": b"class A:\n    class B: pass\n"}).A.B
    with pytest.raises(SourceCodeError, match=r"brought\.code\.a: A\.B is defined inside another class\."):
        source_files(nested)
