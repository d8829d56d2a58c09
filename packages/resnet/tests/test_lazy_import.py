"""The package is free to import: each class costs its own module and no more, when it is asked for."""

import importlib
import subprocess
import sys
from importlib.metadata import entry_points, version

import pytest

import nameplate_resnet
from nameplate_resnet.architecture import ARCHITECTURE

FRAMEWORKS = {"torch", "timm", "numpy", "torchvision"}


def loaded_after(code: str) -> set[str]:
    """Return the names of all modules that a fresh interpreter has loaded after some code."""
    probe = subprocess.run(
        [sys.executable, "-I", "-W", "error", "-c", f"{code}\nimport sys\nprint(*sys.modules)"],
        capture_output=True,
        check=False,
        text=True,
    )

    assert probe.returncode == 0, probe.stderr
    return set(probe.stdout.split())


@pytest.mark.parametrize(
    "code",
    [
        "import nameplate_resnet",
        "import nameplate_resnet.architecture",
        "import nameplate_resnet.foreign",
        "from nameplate_resnet import ResnetConfig",
        "from nameplate_auto import AutoConfig; AutoConfig.for_model('nameplate_resnet')",
        "from nameplate_auto import AutoModel, CONFIG_MAPPING; 'nameplate_resnet' in CONFIG_MAPPING",
    ],
)
def test_no_framework_is_imported(code: str) -> None:
    """Whatever does not need a network costs neither torch nor timm."""
    assert FRAMEWORKS.isdisjoint(loaded_after(code))


def test_the_package_alone_loads_none_of_its_modules() -> None:
    """Importing the package imports the package, not even its config."""
    loaded = loaded_after("import nameplate_resnet")

    assert {name for name in loaded if name.startswith("nameplate")} == {"nameplate_resnet"}


def test_a_model_brings_its_frameworks() -> None:
    """The probe above can fail: naming a model class does import torch and timm."""
    assert {"torch", "timm"} <= loaded_after("from nameplate_resnet import ResnetModel")


@pytest.mark.parametrize("name", nameplate_resnet.__all__)
def test_every_public_name_is_there(name: str) -> None:
    """Each name of `__all__` is a class of that name."""
    assert getattr(nameplate_resnet, name).__name__ == name


def test_the_version_is_that_of_the_distribution() -> None:
    """`__version__` is read from the installed metadata."""
    assert nameplate_resnet.__version__ == version("nameplate-resnet")


def test_an_unknown_attribute_is_refused() -> None:
    """A name that the package does not have is an error in Python's own words."""
    with pytest.raises(AttributeError) as error:
        _ = nameplate_resnet.ResnetModle

    assert str(error.value) == "module 'nameplate_resnet' has no attribute 'ResnetModle'"


def test_the_distribution_announces_the_architecture() -> None:
    """The entry point of the `model_type` leads to the table of classes."""
    (point,) = entry_points(group="nameplate.architectures", name="nameplate_resnet")

    assert point.load() is ARCHITECTURE


@pytest.mark.parametrize("target", ARCHITECTURE.values())
def test_every_announced_class_exists(target: str) -> None:
    """Each lazy text leads to a class that the package also exports."""
    module, _, name = target.partition(":")

    assert getattr(importlib.import_module(module), name) is getattr(nameplate_resnet, name)
