"""`AutoBackbone`: backbones come from folders and repositories, and their stages are fields of the config."""

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

from nameplate_auto import CONFIG_MAPPING, AutoBackbone, AutoConfig
from nameplate_config import BackboneConfigMixin, ConfigError, SourceNotFoundError, UnknownOptionError
from nameplate_model import PreTrainedModel


class TowerConfig(BackboneConfigMixin):
    """The config of a body of three stages."""

    model_type = "test_tower"

    width: int = 4

    @property
    def stage_names(self) -> tuple[str, ...]:
        """The names of the stages."""
        return ("cellar", "floor", "attic")


class Tower(PreTrainedModel):
    """A body that answers the stages that its config asks for."""

    config_class = TowerConfig

    def __init__(self, config: TowerConfig) -> None:
        super().__init__(config)
        self.stages = torch.nn.ModuleList(torch.nn.Linear(config.width, config.width) for _ in config.stage_names)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return what the wanted stages make of it."""
        found = {}
        for name, stage in zip(self.config.stage_names, self.stages, strict=True):
            x = stage(x)
            found[name] = x
        return {name: found[name] for name in self.config.out_features}


@pytest.fixture(autouse=True)
def registrations() -> Iterator[None]:
    """Register the body for the length of a test."""
    with CONFIG_MAPPING.override("test_tower", TowerConfig), AutoBackbone.model_mapping.override(TowerConfig, Tower):
        yield


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    """Return a folder with a saved body."""
    Tower(TowerConfig(out_features=("cellar",))).save_pretrained(tmp_path)
    return tmp_path


STAGES = [
    ({}, ("cellar",)),
    ({"out_indices": (1, -1)}, ("floor", "attic")),
    ({"out_indices": [0, 2]}, ("cellar", "attic")),
    ({"out_features": ("floor",)}, ("floor",)),
]


@pytest.mark.parametrize(("options", "stages"), STAGES)
def test_the_stages_are_chosen_when_it_is_loaded(
    checkpoint: Path, options: dict[str, Any], stages: tuple[str, ...]
) -> None:
    """`out_indices` and `out_features` reach the config, in place of what the file says."""
    loaded = AutoBackbone.from_pretrained(checkpoint, **options)

    assert type(loaded) is Tower
    assert tuple(loaded(torch.zeros(1, 4))) == stages


@pytest.mark.parametrize(("options", "stages"), STAGES)
def test_the_stages_are_chosen_when_it_is_built(options: dict[str, Any], stages: tuple[str, ...]) -> None:
    """`from_config` takes them as well, and leaves the config that it is given as it was."""
    config = TowerConfig(out_features=("cellar",))

    built = AutoBackbone.from_config(config, **options)

    assert tuple(built(torch.zeros(1, 4))) == stages
    assert config.out_features == ("cellar",)


def test_stages_that_do_not_exist_are_refused(checkpoint: Path) -> None:
    """A stage that the body lacks is the config's error."""
    with pytest.raises(ConfigError, match=r"out_indices: expected numbers from -3 to 2, found 3"):
        AutoBackbone.from_pretrained(checkpoint, out_indices=(3,))


def test_a_misspelt_option_is_refused(checkpoint: Path) -> None:
    """An unknown argument is answered with the nearest field."""
    with pytest.raises(UnknownOptionError, match=r"no option 'out_index'\.\n  Did you mean 'out_indices'\?"):
        AutoBackbone.from_pretrained(checkpoint, out_index=(1,))


def test_a_backbone_is_loaded_again_as_it_was_saved(checkpoint: Path, tmp_path: Path) -> None:
    """What was asked for when it was loaded is what its own checkpoint says."""
    AutoBackbone.from_pretrained(checkpoint, out_indices=(0, 1)).save_pretrained(tmp_path / "again")

    assert AutoBackbone.from_pretrained(str(tmp_path / "again")).config.out_features == ("cellar", "floor")
    assert AutoConfig.from_pretrained(tmp_path / "again").to_dict()["out_indices"] == [0, 1]


OFFLINE = """
import sys
from nameplate_auto import AutoBackbone, AutoConfig
from nameplate_config import BackboneConfigMixin

@AutoConfig.register("test_tower")
class TowerConfig(BackboneConfigMixin):
    model_type = "test_tower"
    width: int = 4
    stage_names = ("cellar", "floor", "attic")

@AutoBackbone.register(TowerConfig)
class Tower:
    config_class = TowerConfig

    @classmethod
    def from_pretrained(cls, source, *, config):
        return config.out_features

print(AutoBackbone.from_pretrained(sys.argv[1], out_indices=(1,)), "huggingface_hub" in sys.modules)
"""


@pytest.mark.parametrize("relative", [False, True])
def test_a_folder_needs_no_network(checkpoint: Path, relative: bool) -> None:
    """A backbone in a folder is loaded without a question to the Hub, whose client is not even imported."""
    name = checkpoint.name if relative else str(checkpoint)
    command = [sys.executable, "-I", "-W", "error", "-c", OFFLINE, name]

    done = subprocess.run(command, cwd=checkpoint.parent, capture_output=True, check=False, text=True)

    assert done.returncode == 0, done.stderr
    assert done.stdout == "('floor',) False\n"


class EmptyHub(BaseHTTPRequestHandler):
    """A Hub without any repository."""

    def do_GET(self) -> None:
        """Answer that there is no such repository."""
        self.send_response(HTTPStatus.NOT_FOUND)
        self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_HEAD(self) -> None:
        """Answer the same."""
        self.do_GET()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


@pytest.fixture
def empty_hub() -> Iterator[str]:
    """Return the address of a Hub without any repository."""
    with ThreadingHTTPServer(("127.0.0.1", 0), EmptyHub) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


ABSENT = """
import sys
from nameplate_auto import AutoBackbone
from nameplate_config import SourceNotFoundError

try:
    AutoBackbone.from_pretrained("resnet18")
except SourceNotFoundError as error:
    print(error)
    print("timm" in sys.modules)
"""


def test_a_name_of_timm_is_no_repository(empty_hub: str, tmp_path: Path) -> None:
    """An id that the Hub does not know is an error, never taken for the name of a model of timm."""
    environment = {**os.environ, "HF_ENDPOINT": empty_hub, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, "-c", ABSENT]

    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False, text=True)

    assert done.stdout.startswith("there is no folder 'resnet18' here and no repository 'resnet18' on the Hub")
    assert done.stdout.endswith("\nFalse\n"), done.stderr


def test_a_path_is_never_looked_up_on_the_hub(tmp_path: Path) -> None:
    """A path that does not exist is an error about the folder."""
    with pytest.raises(SourceNotFoundError, match="there is no folder"):
        AutoBackbone.from_pretrained(tmp_path / "resnet18")
