"""Folders of other libraries: the class that reads one is told by the keys of its config, never by its name."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
import torch

from nameplate_auto import CONFIG_MAPPING, AutoConfig, AutoModel, RemoteCodeError, UnknownModelTypeError
from nameplate_config import ConfigFileError, ForeignFormat, PreTrainedConfig
from nameplate_model import PreTrainedModel


def is_wide(values: Any) -> bool:
    """Tell a file of the other library by its key."""
    return "wide" in values


def narrowed(values: dict[str, Any]) -> dict[str, Any]:
    """Call the width of the other library as we do."""
    return {"width": values["wide"]}


class ReedConfig(PreTrainedConfig):
    """A config that reads another library's file."""

    model_type = "test_reed"
    foreign_formats = (ForeignFormat("wide", is_wide, narrowed),)

    width: int = 3


class Reed(PreTrainedModel):
    """A model of it."""

    def __init__(self, config: ReedConfig) -> None:
        super().__init__(config)
        self.layer = torch.nn.Linear(config.width, 1)


class RushConfig(PreTrainedConfig):
    """Another one, whose format asks for more keys."""

    model_type = "test_rush"
    foreign_formats = (ForeignFormat("tall", lambda values: {"wide", "tall"} <= values.keys(), narrowed),)

    width: int = 3


class FaultyConfig(PreTrainedConfig):
    """One whose predicate fails."""

    model_type = "test_faulty"
    foreign_formats = (ForeignFormat("faulty", lambda values: values["absent"], narrowed),)


@pytest.fixture(autouse=True)
def registered() -> Iterator[None]:
    """Register the first architecture for the length of a test."""
    with CONFIG_MAPPING.override("test_reed", ReedConfig), AutoModel.model_mapping.override(ReedConfig, Reed):
        yield


def write_config(folder: Path, **values: Any) -> Path:
    """Write a config file as somebody else's program would, and return the folder."""
    (folder / "config.json").write_text(json.dumps(values), encoding="utf-8")
    return folder


@pytest.mark.parametrize("named", [{}, {"model_type": None}, {"model_type": "theirs"}])
def test_a_foreign_file_is_read_by_the_class_that_declares_it(tmp_path: Path, named: dict[str, Any]) -> None:
    """A file without a registered `model_type` is converted by the one class whose format it is of."""
    write_config(tmp_path, wide=7, **named)

    assert AutoConfig.from_pretrained(tmp_path) == ReedConfig(width=7)


def test_overrides_win_over_a_foreign_file(tmp_path: Path) -> None:
    """Arguments are fields of the class, whatever the file calls them."""
    write_config(tmp_path, wide=7)

    assert AutoConfig.from_pretrained(tmp_path, width=8) == ReedConfig(width=8)


@pytest.mark.parametrize("named", [{}, {"model_type": "theirs"}])
def test_a_model_is_loaded_from_a_foreign_folder(tmp_path: Path, named: dict[str, Any]) -> None:
    """Config and weights of another library's folder are read by one call, and arguments reach the config."""
    model = Reed(ReedConfig(width=7))
    model.save_pretrained(tmp_path)
    write_config(tmp_path, wide=7, **named)

    loaded = AutoModel.from_pretrained(tmp_path, num_labels=3)

    assert torch.equal(loaded.layer.weight, model.layer.weight)
    assert loaded.config == ReedConfig(width=7, num_labels=3)


def test_the_caller_may_say_what_a_foreign_file_is_of(tmp_path: Path) -> None:
    """`model_type=` names the class; the file is converted all the same."""
    write_config(tmp_path, wide=7, model_type="theirs")

    assert AutoConfig.from_pretrained(tmp_path, model_type="test_reed") == ReedConfig(width=7)


def test_a_registered_model_type_is_never_foreign(tmp_path: Path) -> None:
    """A file that names a registered class is read by it, also if a format of another one matches."""
    write_config(tmp_path, model_type="test_rush", wide=7)

    with CONFIG_MAPPING.override("test_rush", RushConfig):
        assert type(AutoConfig.from_pretrained(tmp_path)) is RushConfig


def test_two_readers_are_an_error(tmp_path: Path) -> None:
    """Where formats of several architectures match, none is taken; the error names them and the way out."""
    write_config(tmp_path, wide=7, tall=8)

    with CONFIG_MAPPING.override("test_rush", RushConfig):
        with pytest.raises(UnknownModelTypeError) as error:
            AutoConfig.from_pretrained(tmp_path)
        told = AutoConfig.from_pretrained(tmp_path, model_type="test_rush")

    assert str(error.value) == (
        f"{tmp_path / 'config.json'} could be read by several architectures: "
        "'test_reed' (as wide), 'test_rush' (as tall).\n"
        "  Pass one of them as model_type=."
    )
    assert told == RushConfig(width=7)


def test_a_failing_predicate_is_named(tmp_path: Path) -> None:
    """A format that cannot be asked harms no other, and is named if nobody reads the file."""
    with CONFIG_MAPPING.override("test_faulty", FaultyConfig):
        assert AutoConfig.from_pretrained(write_config(tmp_path, wide=7)) == ReedConfig(width=7)
        with pytest.raises(UnknownModelTypeError) as error:
            AutoConfig.from_pretrained(write_config(tmp_path, high=7))

    assert str(error.value).splitlines()[2] == (
        "  Its format could not be asked for: "
        "FaultyConfig: the predicate of the foreign format 'faulty' failed: KeyError: 'absent'."
    )


def test_a_file_that_cannot_be_converted_is_reported(tmp_path: Path) -> None:
    """A file of a known format with a wrong value is an error about that file, not about an unknown architecture."""
    write_config(tmp_path, wide="very")

    with pytest.raises(ConfigFileError, match=r"config\.json.*\n  width: expected an int, found 'very'"):
        AutoConfig.from_pretrained(tmp_path)


def test_a_foreign_format_comes_before_code_of_the_checkpoint(tmp_path: Path) -> None:
    """What a registered class reads needs no code of the checkpoint; only what nobody reads does."""
    auto_map = {"AutoConfig": "code.RemoteConfig"}
    (tmp_path / "code.py").write_text("raise SystemExit('it ran')", encoding="utf-8")

    read = AutoConfig.from_pretrained(write_config(tmp_path, wide=7, auto_map=auto_map), trust_remote_code=True)
    with pytest.raises(RemoteCodeError):
        AutoConfig.from_pretrained(write_config(tmp_path, high=7, auto_map=auto_map))

    assert type(read) is ReedConfig


# ---- formats of packages that are not imported

PACKAGE = {
    "configuration": """
        from nameplate_config import PreTrainedConfig
        from fake_reeds.formats import FORMATS

        class Config(PreTrainedConfig):
            model_type = "fake-reeds"
            foreign_formats = FORMATS
            width: int = 3
        """,
    "architecture": """
        ARCHITECTURE = {"AutoConfig": "fake_reeds.configuration:Config"}
        """,
    "formats": """
        from nameplate_config import ForeignFormat

        FORMATS = (ForeignFormat("wide", lambda values: "wide" in values, lambda values: {"width": values["wide"]}),)
        """,
    "leaving": "raise SystemExit(3)",
    "broken": """
        raise OSError("no such library")
        """,
    "empty": """
        FORMATS = "none"
        """,
}

PROBE = """
import json, sys
sys.path.insert(0, sys.argv[1])
from nameplate_auto import CONFIG_MAPPING, AutoConfig, UnknownModelTypeError
from nameplate_config import PreTrainedConfig

def imported():
    return sorted(name for name in sys.modules if name.startswith("fake_reeds."))

answer = []
try:
    for _ in range(2):
        answer.append(AutoConfig.from_pretrained(sys.argv[2]).width)
except UnknownModelTypeError as error:
    answer.append(str(error))
print(json.dumps([answer, imported()]))
"""


def install(site: Path, formats: str) -> None:
    """Lay a distribution into a folder that announces an architecture, and its formats as the given object."""
    metadata = site / "fake_reeds-1.0.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: fake-reeds\nVersion: 1.0\n", encoding="utf-8")
    points = f"""
        [nameplate.architectures]
        fake-reeds = fake_reeds.architecture:ARCHITECTURE
        [nameplate.foreign_formats]
        fake-reeds = {formats}
        """
    (metadata / "entry_points.txt").write_text(dedent(points), encoding="utf-8")
    package = site / "fake_reeds"
    package.mkdir()
    (package / "__init__.py").touch()
    for module, text in PACKAGE.items():
        (package / f"{module}.py").write_text(dedent(text), encoding="utf-8")


def ask(tmp_path: Path, **values: Any) -> Any:
    """Load a config in a fresh interpreter; return what came of it, and what of the package was imported."""
    folder = tmp_path / "checkpoint"
    folder.mkdir()
    write_config(folder, **values)
    command = [sys.executable, "-I", "-W", "error", "-c", PROBE, str(tmp_path / "site"), str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_an_announced_format_finds_its_class(tmp_path: Path) -> None:
    """A package need not be imported for its formats to be known; its config class is when one matches."""
    install(tmp_path / "site", "fake_reeds.formats:FORMATS")

    answer, imported = ask(tmp_path, wide=7)

    assert answer == [7, 7]
    assert imported == ["fake_reeds.architecture", "fake_reeds.configuration", "fake_reeds.formats"]


def test_only_the_formats_are_imported_to_ask(tmp_path: Path) -> None:
    """A file that no format is of imports the formats alone."""
    install(tmp_path / "site", "fake_reeds.formats:FORMATS")

    (message,), imported = ask(tmp_path, high=7)

    assert "names no model_type" in message
    assert imported == ["fake_reeds.formats"]


def test_a_file_of_a_registered_class_asks_nobody(tmp_path: Path) -> None:
    """Where the `model_type` is known, no formats are loaded, and a key of theirs means nothing."""
    install(tmp_path / "site", "fake_reeds.broken:FORMATS")

    answer, imported = ask(tmp_path, model_type="fake-reeds", width=7, wide=8)

    assert answer == [7, 7]
    assert imported == ["fake_reeds.architecture", "fake_reeds.configuration", "fake_reeds.formats"]


@pytest.mark.parametrize(
    ("formats", "says"),
    [
        ("fake_reeds.broken:FORMATS", "OSError: no such library"),
        ("fake_reeds.leaving:FORMATS", "SystemExit: 3"),
        ("fake_reeds.absent:FORMATS", "ModuleNotFoundError: No module named 'fake_reeds.absent'"),
        ("fake_reeds.empty:FORMATS", "TypeError: it is 'none' instead of a sequence of ForeignFormat"),
    ],
)
def test_broken_formats_are_named_and_not_fatal(tmp_path: Path, formats: str, says: str) -> None:
    """Formats that cannot be loaded are named with their distribution in the error about the file."""
    install(tmp_path / "site", formats)

    ((message,), _) = ask(tmp_path, wide=7)

    assert f"\n  Its format could not be asked for: fake-reeds 1.0 ({formats}): {says}." in message


TWO = """
import json, sys
sys.path.insert(0, sys.argv[1])
from nameplate_auto import AutoConfig, DuplicateRegistrationError

try:
    AutoConfig.from_pretrained(sys.argv[2])
except DuplicateRegistrationError as error:
    print(json.dumps([str(error), AutoConfig.from_pretrained(sys.argv[2], model_type="rival/fake-reeds").width]))
"""


def test_the_caller_may_say_whose_model_type_it_is(tmp_path: Path) -> None:
    """Where two packages announce the name in the file, `model_type=` with the distribution's name in front decides."""
    site, folder = tmp_path / "site", tmp_path / "checkpoint"
    install(site, "fake_reeds.formats:FORMATS")
    rival = site / "rival-1.0.dist-info"
    rival.mkdir()
    (rival / "METADATA").write_text("Metadata-Version: 2.1\nName: rival\nVersion: 1.0\n", encoding="utf-8")
    points = (site / "fake_reeds-1.0.dist-info" / "entry_points.txt").read_text(encoding="utf-8")
    (rival / "entry_points.txt").write_text(points, encoding="utf-8")
    folder.mkdir()
    write_config(folder, model_type="fake-reeds", width=7)

    command = [sys.executable, "-I", "-W", "error", "-c", TWO, str(site), str(folder)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    message, width = json.loads(done.stdout)
    assert "'rival/fake-reeds'" in message
    assert width == 7
