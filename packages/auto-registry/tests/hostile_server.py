"""Loads repositories that may be hostile, each in a process of its own, and says what came of it and what it did.

Run as a script it is a server: a line ``{"folder": …, "options": …, "calls": …}`` on its input is answered by one line
on its output. `hostile_repositories.py` holds the repositories. Nothing is trusted, unless *options* say so.
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

from nameplate_auto import AutoConfig, AutoModel, read_remote_code
from nameplate_config import NameplateError, PreTrainedConfig
from nameplate_model import PreTrainedModel

_SECONDS = 5
_MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024

_WATCHED = (
    "exec",
    "import",
    "compile",
    "code.",
    "marshal.",
    "pickle.",
    "cpython.run",
    "subprocess.",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "os.spawn",
    "os.fork",
    "os.startfile",
    "os.putenv",
    "os.kill",
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.link",
    "os.symlink",
    "os.chmod",
    "shutil.",
    "socket.",
    "urllib.",
    "http.",
    "ctypes.addressof",
    "ctypes.call",
    "ctypes.dlopen",
    "ctypes.dlsym",
    "ctypes.string_at",
    "builtins.input",
    "webbrowser.",
    "tempfile.",
    "setopencodehook",
)
"""How the names of the events begin that the loading of data has no reason for."""

_PARSED = "<unknown>"
"""What `ast.parse` calls its source; nothing is run by it."""

_READ_ONLY = os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_DIRECTORY", 0)


class TargetConfig(PreTrainedConfig):
    """The config of an architecture that is registered here."""

    model_type = "target"

    width: int = 8
    part: PreTrainedConfig | None = None
    anything: Any = None


class Target(PreTrainedModel):
    """Its model."""

    config_class = TargetConfig

    def __init__(self, config: TargetConfig) -> None:
        super().__init__(config)
        self.one = nn.Linear(2, 3)


AutoConfig.register("target", TargetConfig)
AutoModel.register(TargetConfig, Target)

CALLS = {
    "config": AutoConfig.from_pretrained,
    "distrusted config": lambda folder, **options: AutoConfig.from_pretrained(
        folder, **{"trust_remote_code": False} | options
    ),
    "model": AutoModel.from_pretrained,
    "untrusted model": lambda folder, **options: AutoModel.from_pretrained(
        folder, **{"trust_remote_code": None} | options
    ),
    "code": read_remote_code,
}
"""What is done with each repository."""


class Watch:
    """What a process does that matters."""

    def __init__(self) -> None:
        self.events: list[str] = []
        self.looking = False
        sys.addaudithook(self._note)

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.looking and (event.startswith(_WATCHED) or event == "open") and len(self.events) < 20:
            self.looking = False
            if _matters(event, arguments):
                self.events.append(f"{event} {str(arguments)[:200]}")
            self.looking = True


def _matters(event: str, arguments: tuple[Any, ...]) -> bool:
    if event == "compile":
        return arguments[1] != _PARSED
    if event == "open":
        return bool(arguments[2] & ~_READ_ONLY)
    return True


def called(call: str, folder: str, options: dict[str, Any]) -> dict[str, Any]:
    """Return what came of one call."""
    started = _seconds()
    found: dict[str, Any] = {"error": "", "message": "", "ours": True}
    try:
        CALLS[call](folder, **options)
    except BaseException as error:  # noqa: BLE001 - whatever it is, the test will judge it
        ours = isinstance(error, NameplateError)
        found = {"error": type(error).__name__, "message": str(error), "ours": ours}
    return {**found, "seconds": _seconds() - started}


def outcome(folder: str, options: dict[str, Any], calls: list[str]) -> dict[str, Any]:
    """Return what came of all calls, and what they did besides."""
    canary = Path(os.environ["CANARY"])
    os.chdir(folder)
    registered = _registered()
    watch = Watch()
    _reset_peak()
    peak = _peak()
    watch.looking = True
    found = {call: called(call, folder, options) for call in calls}
    watch.looking = False
    took = _peak() - peak
    ran = hasattr(sys, "canary") or canary.exists()
    canary.unlink(missing_ok=True)
    return {
        "calls": found,
        "events": watch.events,
        "bytes": took,
        "ran": ran,
        "registered": sorted(_registered() - registered),
    }


def _registered() -> set[str]:
    from nameplate_auto import CONFIG_MAPPING  # noqa: PLC0415 - not of what is watched

    private = {name for name in sys.modules if name.startswith("_nameplate")}
    return set(CONFIG_MAPPING.names()) | {str(key) for key in AutoModel.model_mapping.names()} | private


def apart(folder: str, options: dict[str, Any], calls: list[str]) -> dict[str, Any]:
    """Return the outcome from a fork of this process, which is killed if it takes too long."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        with suppress(BaseException):
            os.close(reading)
            signal.alarm(len(calls) * _SECONDS)
            answer = json.dumps(outcome(folder, options, calls)).encode()
            with os.fdopen(writing, "wb") as pipe:
                pipe.write(answer)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        data = pipe.read()
    _, status = os.waitpid(child, 0)
    return json.loads(data) if data else {"died": os.waitstatus_to_exitcode(status)}


def _seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


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
        if "save" in asked:
            torch.manual_seed(0)
            Target(TargetConfig()).save_pretrained(asked["save"])
            answer: dict[str, Any] = {}
        elif asked.get("here"):  # so that what is imported at first use is there before anybody looks
            answer = {call: called(call, asked["folder"], asked["options"]) for call in asked["calls"]}
        else:
            answer = apart(asked["folder"], asked["options"], asked["calls"])
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve()
