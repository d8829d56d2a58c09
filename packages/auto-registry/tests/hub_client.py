"""What a process that talks to the Hub on loopback runs: one answer, as JSON, to each question it reads.

`Plain` is registered here; other architectures are those of code that a repository brings, or of a package.
"""

import ctypes
import hashlib
import importlib
import json
import os
import sys
import time
from typing import Any

import torch
from huggingface_hub import constants, file_download
from torch import nn

from nameplate_auto import AutoConfig, AutoModel, read_remote_code
from nameplate_config import NameplateError, PreTrainedConfig
from nameplate_model import PreTrainedModel

PATIENCE = os.environ.get("PATIENCE")


@AutoConfig.register("plain")
class PlainConfig(PreTrainedConfig):
    """The config of a model that is registered."""

    model_type = "plain"
    width: int = 8


@AutoModel.register(PlainConfig)
class Plain(PreTrainedModel):
    """A model that is registered."""

    config_class = PlainConfig

    def __init__(self, config: PlainConfig) -> None:
        super().__init__(config)
        self.one, self.two = nn.Linear(config.width, config.width), nn.Linear(config.width, config.width)


def shown(model: Any) -> list[str]:
    """Return the class of a model and the hash of all its tensors."""
    tensors = [(name, each.tolist()) for name, each in model.state_dict().items()]
    return [type(model).__name__, hashlib.sha256(repr(tensors).encode()).hexdigest()]


def built(module: str, seed: int) -> Any:
    """Return a model of this module, or of one that can be imported, with random weights."""
    torch.manual_seed(seed)
    if not module:
        return Plain(PlainConfig())
    model_class = importlib.import_module(module).Block
    return model_class(model_class.config_class())


def save(folder: str, seed: int = 0, **options: Any) -> list[str]:
    """Save a model."""
    model = built("", seed)
    model.save_pretrained(folder, **options)
    return shown(model)


def push(repository: str, module: str = "", seed: int = 0, **options: Any) -> list[str]:
    """Publish a model; return the commit and what it is."""
    model = built(module, seed)
    return [model.push_to_hub(repository, **options).rpartition("/")[2], *shown(model)]


def config(source: str, **options: Any) -> list[Any]:
    """Load a config."""
    found = AutoConfig.from_pretrained(source, **options)
    return [type(found).__name__, found.width]


def model(source: str, **options: Any) -> list[str]:
    """Load a model."""
    return shown(AutoModel.from_pretrained(source, **options))


def plan(source: str, **options: Any) -> list[int]:
    """Plan the load of a model that is registered; return what it would take."""
    found = Plain.plan_load(source, **options)
    return [found.bytes, found.memory]


def digest(source: str, **options: Any) -> str:
    """Return the digest of the code that a checkpoint brings."""
    return read_remote_code(source, **options).digest


def answer(verb: str, **arguments: Any) -> Any:
    """Answer one question; what is no error of ours has escaped."""
    try:
        return globals()[verb](**arguments)
    except NameplateError as error:
        return {"error": type(error).__name__, "text": str(error)}
    except Exception as error:  # noqa: BLE001 - that is what is looked for
        return {"escaped": repr(error)}


def give_up_privileges() -> None:
    """Let not even root write where nobody may."""
    version = 0x20080522  # of Linux's interface; then the process, and six words of what it may do
    assert ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * 6)()) == 0


if os.environ.get("UNPRIVILEGED") and os.geteuid() == 0:
    give_up_privileges()
time.sleep = lambda _: None  # between two tries of the Hub's client
if PATIENCE:
    constants.HF_HUB_ETAG_TIMEOUT = constants.HF_HUB_DOWNLOAD_TIMEOUT = float(PATIENCE)
    file_download._ETAG_RETRY_TIMEOUT = float(PATIENCE)
for line in sys.stdin:
    sys.stdout.write(json.dumps(answer(**json.loads(line))) + "\n")
    sys.stdout.flush()
