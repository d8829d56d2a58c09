"""What each package may drag in when it is imported, measured in a fresh interpreter.

`test_layers.py` reads the imports that we write; this room watches those that they cause.
"""

import subprocess
import sys

import pytest

LIBRARIES = ("torch", "numpy", "huggingface_hub", "httpx", "httpx2", "requests", "timm", "transformers")

PROBES = {
    "import nameplate_config, nameplate_auto": LIBRARIES,
    "import nameplate_model": (
        "torch._dynamo",
        "torch.distributed.tensor",
        "torchvision",
        "sympy",
        "timm",
        "huggingface_hub.hf_api",
    ),
    "import nameplate_resnet, nameplate_auto; sorted(nameplate_auto.CONFIG_MAPPING)": ("torch", "timm"),
    "import nameplate_conformance.plugin": ("torch", "hypothesis"),
}
"""Statements, and the modules that must not have been imported after them."""

MOST_ADDED = 4
"""Modules of others that the model base may load on top of those that torch has loaded."""


def loaded_after(statement: str) -> set[str]:
    """Return the names of all modules that an interpreter has loaded after one line of code."""
    # Isolated, so that neither the current folder nor an environment variable lends it anything.
    probe = subprocess.run(
        [sys.executable, "-I", "-c", f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"],
        capture_output=True,
        check=False,
        text=True,
    )
    assert probe.returncode == 0, probe.stderr
    return set(probe.stdout.split())


def dragged_in(statement: str, unwanted: tuple[str, ...]) -> list[str]:
    """Return which of the unwanted modules are loaded after one line of code, whole or in part."""
    loaded = loaded_after(statement)
    return [name for name in unwanted if any(f"{module}.".startswith(f"{name}.") for module in loaded)]


@pytest.mark.parametrize("statement", PROBES)
def test_an_import_stays_light(statement: str) -> None:
    """A package loads only what its own layer is for."""
    assert dragged_in(statement, PROBES[statement]) == []


def test_the_model_base_adds_little_to_torch() -> None:
    """What the model base imports besides its family and torch is a handful of small modules."""
    added = loaded_after("import nameplate_model") - loaded_after("import torch")

    assert len([name for name in added if not name.startswith("nameplate_")]) <= MOST_ADDED


def test_listing_names_finds_the_reference() -> None:
    """The probe of listed names has something to list: the entry point of the reference architecture."""
    statement = "import nameplate_auto; assert 'nameplate_resnet' in list(nameplate_auto.CONFIG_MAPPING)"

    assert "nameplate_auto" in loaded_after(statement)


def test_a_loaded_module_is_reported() -> None:
    """The probe reports a module that was imported, and one of which only a part was asked for."""
    found = dragged_in("import json, xml.dom.minidom", ("json", "xml", "xml.dom", "xml.sax"))

    assert found == ["json", "xml", "xml.dom"]


def test_a_similar_name_is_not_reported() -> None:
    """The probe compares whole names: `jsonschema` would not be `json`."""
    assert dragged_in("import json", ("jso", "json.dec")) == []


def test_a_broken_statement_fails_the_probe() -> None:
    """A statement that cannot run is a failure, not a light import."""
    with pytest.raises(AssertionError, match="ModuleNotFoundError"):
        loaded_after("import nameplate_nowhere")
