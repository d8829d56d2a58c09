"""Loads checkpoints that may be hostile, each in a process of its own, and says what came of it and what it cost.

Run as a script it is a server: a line ``{"path": …, "options": …}`` on its input is answered by one line on its output.
`test_hostile.py` writes the checkpoints.
"""

import json
import os
import resource
import signal
import sys
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nameplate_config import PreTrainedConfig
from nameplate_model import PreTrainedModel, load_weights, read_tensors

_SECONDS = 5
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024


class TargetConfig(PreTrainedConfig):
    """The config of the model that is attacked."""

    model_type = "target"


class Target(PreTrainedModel):
    """Two layers and a buffer, whose values say whether a load has touched them."""

    config_class = TargetConfig

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        self.one = nn.Linear(4, 8)
        self.two = nn.Linear(8, 4)
        self.register_buffer("steps", torch.tensor(7))


def good() -> Target:
    """Return the model whose checkpoint is spoilt."""
    torch.manual_seed(0)
    return Target(TargetConfig())


def outcome(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what a load says, and whether a model that was there before is as it was."""
    there = good()
    before = {key: tensor.clone() for key, tensor in there.state_dict().items()}
    found: dict[str, Any] = {}
    try:
        loaded = Target.from_pretrained(path, **options)
        found = {"error": None, "same": _same(loaded.state_dict(), before)}
    except Exception as error:  # noqa: BLE001 - it is what is being looked at
        found = {"error": type(error).__name__, "message": str(error)}
    kept = {key: value for key, value in options.items() if key in {"variant", "use_safetensors", "verify"}}
    with suppress(Exception):
        if found["error"]:
            load_weights(there, path, **kept)
    if found["error"] is None:
        with suppress(Exception):
            read_tensors(path)
    return {**found, "untouched": _same(there.state_dict(), before)}


def _same(state: dict[str, torch.Tensor], before: dict[str, torch.Tensor]) -> bool:
    return state.keys() == before.keys() and all(torch.equal(state[key], before[key]) for key in before)


def apart(path: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return the outcome from a fork of this process, with the seconds and the bytes that it took on top."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.close(reading)
        signal.alarm(_SECONDS)
        _reset_peak()
        peak = _peak()
        started = resource.getrusage(resource.RUSAGE_SELF)
        found = outcome(path, options)
        ended = resource.getrusage(resource.RUSAGE_SELF)
        seconds = ended.ru_utime + ended.ru_stime - started.ru_utime - started.ru_stime
        answer = {**found, "seconds": seconds, "bytes": _peak() - peak}
        os.write(writing, json.dumps(answer).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(data) if data else {"error": f"died of {os.waitstatus_to_exitcode(status)}", "message": ""}


def _reset_peak() -> None:
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak() -> int:
    """Return the most memory that this process has ever had, in bytes."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _MAXRSS_UNIT


def serve() -> None:
    """Answer line by line."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    for line in sys.stdin:
        asked = json.loads(line)
        sys.stdout.write(json.dumps(apart(asked["path"], asked["options"])) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
